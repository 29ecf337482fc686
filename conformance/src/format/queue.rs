//! Cases of the throttler and the bulkhead.

use std::fmt;
use std::time::Duration;

use surefoot_core::Timestamp;

use super::fields::{Fields, Problem, Value};
use super::json::Json;
use super::settings::{Kind, Settings};
use super::{Need, Refusal, expectations};

/// What calls queue up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueueKind {
    Throttler,
    /// Steps name a compartment.
    Bulkhead,
}

#[derive(Clone, Debug)]
pub(crate) struct QueueCase {
    pub(crate) kind: QueueKind,
    pub(crate) config: Settings,
    pub(crate) refusal: Refusal,
    pub(crate) steps: Vec<QueueStep>,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) struct QueueStep {
    pub(crate) at: Timestamp,
    /// As the file writes it, for messages.
    pub(crate) title: String,
    pub(crate) compartment: Option<String>,
    pub(crate) action: QueueAction,
    /// One of these has to hold; with none, nothing is checked.
    pub(crate) accepted: Vec<QueueExpectation>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum QueueAction {
    /// A call that holds its permit until it is released, and waits for it if it has to.
    Acquire {
        call: String,
        priority: Option<u32>,
        deadline: Option<Duration>,
    },
    /// A call that runs has ended. `then_cancel`: before anybody who waits has run, the caller of this
    /// one leaves.
    Release {
        call: String,
        then_cancel: Option<String>,
    },
    /// The caller of a call leaves.
    Cancel {
        call: String,
    },
    Resize {
        max_concurrent: u32,
    },
    Close,
    Observe,
}

/// Why a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueueRefusal {
    QueueFull,
    QueueTimeout,
    StandingQueue,
    Deadline,
    Displaced,
    BulkheadFull,
    UnknownCompartment,
    Closed,
}

/// A call that was refused, why, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) call: String,
    pub(crate) why: QueueRefusal,
    /// `None` in an expectation: at any time.
    pub(crate) at: Option<Timestamp>,
}

/// What a step has to show; what is absent is not checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct QueueExpectation {
    /// Whether the call of this step has its permit.
    pub(crate) admitted: Option<bool>,
    /// Who has one after the step, in any order.
    pub(crate) holds: Option<Vec<String>>,
    /// Who waits.
    pub(crate) waits: Option<Vec<String>>,
    /// Who was refused since the step before.
    pub(crate) refused: Option<Vec<Refused>>,
    /// The compartments there are, as a refusal lists them.
    pub(crate) known: Option<Vec<String>>,
    /// The option for which the step was refused.
    pub(crate) config_error: Option<String>,
    pub(crate) in_flight: Option<u64>,
    pub(crate) queue_depth: Option<u64>,
    pub(crate) max_concurrent: Option<u64>,
    pub(crate) borrowed: Option<u64>,
    pub(crate) lent: Option<u64>,
}

const THROTTLER: &[(&str, Kind)] = &[
    ("max_concurrent", Kind::Count),
    ("queue_size", Kind::Count),
    ("timeout", Kind::Time),
    ("order", Kind::Word),
    ("priority_levels", Kind::Count),
    ("displace", Kind::Flag),
    ("codel", Kind::Group(&[("target", Kind::Time), ("interval", Kind::Time)])),
    ("expected_service", Kind::Time),
    (
        "adaptive",
        Kind::Group(&[
            ("initial_limit", Kind::Count),
            ("min_limit", Kind::Count),
            ("max_limit", Kind::Count),
        ]),
    ),
];

const BULKHEAD: &[(&str, Kind)] = &[(
    "compartments",
    Kind::Named(&[
        ("max_concurrent", Kind::Count),
        ("queue_size", Kind::Count),
        ("timeout", Kind::Time),
        ("reserve", Kind::Count),
    ]),
)];

#[derive(Clone, Copy)]
enum Verb {
    Acquire,
    Release,
    Cancel,
    Resize,
    Close,
    Observe,
}

const VERBS: [(&str, Verb); 6] = [
    ("acquire", Verb::Acquire),
    ("release", Verb::Release),
    ("cancel", Verb::Cancel),
    ("resize", Verb::Resize),
    ("close", Verb::Close),
    ("observe", Verb::Observe),
];

const REFUSALS: [(&str, QueueRefusal); 8] = [
    ("queue_full", QueueRefusal::QueueFull),
    ("queue_timeout", QueueRefusal::QueueTimeout),
    ("standing_queue", QueueRefusal::StandingQueue),
    ("deadline", QueueRefusal::Deadline),
    ("displaced", QueueRefusal::Displaced),
    ("bulkhead_full", QueueRefusal::BulkheadFull),
    ("unknown_compartment", QueueRefusal::UnknownCompartment),
    ("closed", QueueRefusal::Closed),
];

impl QueueCase {
    pub(super) fn take(kind: QueueKind, fields: &mut Fields<'_>) -> Result<Self, Problem> {
        let options = match kind {
            QueueKind::Throttler => THROTTLER,
            QueueKind::Bulkhead => BULKHEAD,
        };
        let config = Settings::read(&fields.require("config")?, options)?;
        let refusal = Refusal::take(fields)?;
        let read = |step: &Value<'_>| QueueStep::read(kind, step);
        let steps = match fields.take("steps") {
            Some(steps) => steps.list()?.iter().map(read).collect::<Result<_, _>>()?,
            None if refusal.required => Vec::new(),
            None => return Err(fields.missing("steps")),
        };
        Ok(Self { kind, config, refusal, steps })
    }

    /// What a host has to be able to do.
    pub(super) fn needs(&self) -> Vec<Need> {
        let leaves = |step: &QueueStep| {
            matches!(
                step.action,
                QueueAction::Cancel { .. } | QueueAction::Release { then_cancel: Some(_), .. }
            )
        };
        if self.steps.iter().any(leaves) { vec![Need::Interrupt] } else { Vec::new() }
    }
}

impl QueueStep {
    fn read(kind: QueueKind, value: &Value<'_>) -> Result<Self, Problem> {
        let mut fields = value.fields()?;
        let at = fields.require("at")?;
        let verb = fields.require("do")?.word("verb", &VERBS)?;
        let compartment = match kind {
            QueueKind::Throttler => None,
            QueueKind::Bulkhead => fields.read("compartment", text)?,
        };
        let has_one = kind == QueueKind::Throttler || compartment.is_some();
        if !has_one && matches!(verb, Verb::Acquire | Verb::Resize | Verb::Observe) {
            return Err(fields.missing("compartment"));
        }
        let action = QueueAction::take(verb, &mut fields)?;
        let is_call = matches!(action, QueueAction::Acquire { .. }).then_some(&action);
        let accepted = expectations(&mut fields, |value| QueueExpectation::read(is_call, value))?;
        fields.finish()?;
        let place = compartment.as_ref().map(|name| format!(" in {name}")).unwrap_or_default();
        let title = format!("at {}, {action}{place}", at.number()?.text());
        Ok(Self { at: at.timestamp()?, title, compartment, action, accepted })
    }
}

fn text(value: &Value<'_>) -> Result<String, Problem> {
    value.text().map(str::to_owned)
}

impl QueueAction {
    fn take(verb: Verb, fields: &mut Fields<'_>) -> Result<Self, Problem> {
        let call = |fields: &mut Fields<'_>| text(&fields.require("call")?);
        let small = |value: &Value<'_>| {
            u32::try_from(value.count()?).map_err(|_| value.problem("is more than 4294967295"))
        };
        Ok(match verb {
            Verb::Acquire => Self::Acquire {
                call: call(fields)?,
                priority: fields.read("priority", small)?,
                deadline: fields.read("deadline", Value::seconds)?,
            },
            Verb::Release => Self::Release {
                call: call(fields)?,
                then_cancel: fields.read("then_cancel", text)?,
            },
            Verb::Cancel => Self::Cancel { call: call(fields)? },
            Verb::Resize => {
                Self::Resize { max_concurrent: small(&fields.require("max_concurrent")?)? }
            }
            Verb::Close => Self::Close,
            Verb::Observe => Self::Observe,
        })
    }
}

impl fmt::Display for QueueAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acquire { call, .. } => write!(f, "acquire {call}"),
            Self::Release { call, .. } => write!(f, "release {call}"),
            Self::Cancel { call } => write!(f, "cancel {call}"),
            Self::Resize { max_concurrent } => write!(f, "resize to {max_concurrent}"),
            Self::Close => f.write_str("close"),
            Self::Observe => f.write_str("observe"),
        }
    }
}

impl QueueExpectation {
    fn read(action: Option<&QueueAction>, value: &Value<'_>) -> Result<Self, Problem> {
        let mut fields = value.fields()?;
        let refused = |value: &Value<'_>| match (value.json(), action) {
            (Json::Text(_), Some(QueueAction::Acquire { call, .. })) => {
                let why = value.word("refusal", &REFUSALS)?;
                Ok(vec![Refused { call: call.clone(), why, at: None }])
            }
            _ => value.list()?.iter().map(Refused::read).collect(),
        };
        let expectation = Self {
            admitted: fields.read("admitted", Value::flag)?,
            holds: fields.read("holds", Value::texts)?,
            waits: fields.read("waits", Value::texts)?,
            refused: fields.read("refused", refused)?,
            known: fields.read("known", Value::texts)?,
            config_error: fields.read("config_error", text)?,
            in_flight: fields.read("in_flight", Value::count)?,
            queue_depth: fields.read("queue_depth", Value::count)?,
            max_concurrent: fields.read("max_concurrent", Value::count)?,
            borrowed: fields.read("borrowed", Value::count)?,
            lent: fields.read("lent", Value::count)?,
        };
        fields.finish()?;
        Ok(expectation)
    }
}

impl Refused {
    /// `[call, refusal]` or `[call, refusal, time]`.
    fn read(value: &Value<'_>) -> Result<Self, Problem> {
        let list = value.list()?;
        let (call, why, at) = match list.as_slice() {
            [call, why] => (call, why, None),
            [call, why, at] => (call, why, Some(at.timestamp()?)),
            _ => return Err(value.problem("must be a call, a refusal and perhaps a time")),
        };
        Ok(Self { call: text(call)?, why: why.word("refusal", &REFUSALS)?, at })
    }
}

impl fmt::Display for QueueRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = REFUSALS.iter().find(|(_, refusal)| refusal == self);
        f.write_str(word.map_or("", |(word, _)| word))
    }
}
