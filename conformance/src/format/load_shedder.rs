//! Cases of the load shedder.

use std::fmt;
use std::time::Duration;

use surefoot_core::Timestamp;
use surefoot_core::load_shedder::Signal;

use super::fields::{Fields, Problem, Value};
use super::json::Json;
use super::settings::{Kind, Settings};
use super::{Need, Refusal, bounds, expectations};

#[derive(Clone, Debug)]
pub(crate) struct LoadShedderCase {
    pub(crate) config: Settings,
    pub(crate) refusal: Refusal,
    pub(crate) steps: Vec<ShedderStep>,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) struct ShedderStep {
    pub(crate) at: Timestamp,
    /// As the file writes it, for messages.
    pub(crate) title: String,
    pub(crate) action: ShedderAction,
    /// One of these has to hold; with none, nothing is checked.
    pub(crate) accepted: Vec<ShedderExpectation>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ShedderAction {
    /// Calls that are over at once, one after the other.
    Check {
        priority: u32,
        times: u64,
    },
    /// A call that stays under way if it is admitted.
    Admit {
        call: String,
        priority: u32,
    },
    /// A call that is under way has its answer.
    End {
        call: String,
    },
    /// The caller of a call leaves.
    Cancel {
        call: String,
    },
    /// A signal tells a load.
    Tell(Told),
    Observe,
}

/// A sample, or what a function says from now on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Told {
    Cpu(f64),
    Memory(f64),
    QueueDelay(Duration),
    Custom(f64),
}

/// What a step has to show; what is absent is not checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ShedderExpectation {
    pub(crate) admitted: Option<bool>,
    /// What told the load for which the call was shed.
    pub(crate) signal: Option<Signal>,
    pub(crate) load: Option<f64>,
    pub(crate) limit: Option<f64>,
    /// Whether the call was refused because there is no such priority.
    pub(crate) unknown_priority: Option<bool>,
    /// Of the calls of this step, at least and at most.
    pub(crate) shed: Option<(u64, u64)>,
    pub(crate) in_flight: Option<u64>,
    /// Calls so far that only a dry run let in.
    pub(crate) would_shed: Option<u64>,
    pub(crate) admitted_share: Option<f64>,
}

const OPTIONS: &[(&str, Kind)] = &[
    ("max_load", Kind::Ratio),
    ("priority_levels", Kind::Count),
    ("capacity", Kind::Count),
    ("cpu", Kind::Flag),
    ("memory", Kind::Flag),
    ("max_queue_delay", Kind::Time),
    ("hysteresis", Kind::Ratio),
    ("sample_interval", Kind::Time),
    ("dry_run", Kind::Flag),
];

#[derive(Clone, Copy)]
enum Verb {
    Check,
    Admit,
    End,
    Cancel,
    Tell,
    Observe,
}

const VERBS: [(&str, Verb); 6] = [
    ("check", Verb::Check),
    ("admit", Verb::Admit),
    ("end", Verb::End),
    ("cancel", Verb::Cancel),
    ("tell", Verb::Tell),
    ("observe", Verb::Observe),
];

const SIGNALS: [(&str, Signal); 5] = [
    ("in_flight", Signal::InFlight),
    ("cpu", Signal::Cpu),
    ("memory", Signal::Memory),
    ("queue_delay", Signal::QueueDelay),
    ("custom", Signal::Custom),
];

impl LoadShedderCase {
    pub(super) fn take(fields: &mut Fields<'_>) -> Result<Self, Problem> {
        let config = Settings::read(&fields.require("config")?, OPTIONS)?;
        let refusal = Refusal::take(fields)?;
        let steps = match fields.take("steps") {
            Some(steps) => steps.list()?.iter().map(ShedderStep::read).collect::<Result<_, _>>()?,
            None if refusal.required => Vec::new(),
            None => return Err(fields.missing("steps")),
        };
        Ok(Self { config, refusal, steps })
    }

    /// What a host has to be able to do.
    pub(super) fn needs(&self) -> Vec<Need> {
        let leaves = |step: &ShedderStep| matches!(step.action, ShedderAction::Cancel { .. });
        if self.steps.iter().any(leaves) { vec![Need::Interrupt] } else { Vec::new() }
    }

    /// Whether a function of the caller's is one of the signals.
    pub(crate) fn has_function(&self) -> bool {
        let tells =
            |step: &ShedderStep| matches!(step.action, ShedderAction::Tell(Told::Custom(_)));
        self.steps.iter().any(tells)
    }
}

impl ShedderStep {
    fn read(value: &Value<'_>) -> Result<Self, Problem> {
        let mut fields = value.fields()?;
        let at = fields.require("at")?;
        let verb = fields.read("do", |verb| verb.word("verb", &VERBS))?.unwrap_or(Verb::Check);
        let action = ShedderAction::take(verb, &mut fields)?;
        let accepted = expectations(&mut fields, ShedderExpectation::read)?;
        fields.finish()?;
        let title = format!("at {}, {action}", at.number()?.text());
        Ok(Self { at: at.timestamp()?, title, action, accepted })
    }
}

impl ShedderAction {
    fn take(verb: Verb, fields: &mut Fields<'_>) -> Result<Self, Problem> {
        let call = |fields: &mut Fields<'_>| fields.require("call")?.text().map(str::to_owned);
        let priority = |fields: &mut Fields<'_>| {
            let value = fields.require("priority")?;
            u32::try_from(value.count()?).map_err(|_| value.problem("is more than 4294967295"))
        };
        Ok(match verb {
            Verb::Check => Self::Check {
                priority: priority(fields)?,
                times: fields.read("times", Value::count)?.unwrap_or(1),
            },
            Verb::Admit => Self::Admit { call: call(fields)?, priority: priority(fields)? },
            Verb::End => Self::End { call: call(fields)? },
            Verb::Cancel => Self::Cancel { call: call(fields)? },
            Verb::Tell => Self::Tell(Told::take(fields)?),
            Verb::Observe => Self::Observe,
        })
    }
}

impl Told {
    fn take(fields: &mut Fields<'_>) -> Result<Self, Problem> {
        let signal = fields.require("signal")?;
        let load = |fields: &mut Fields<'_>| {
            let load = fields.require("load")?;
            match load.json() {
                Json::Text(text) if text == "NaN" => Ok(f64::NAN),
                _ => load.float(),
            }
        };
        Ok(match signal.word("signal", &SIGNALS)? {
            Signal::Cpu => Self::Cpu(load(fields)?),
            Signal::Memory => Self::Memory(load(fields)?),
            Signal::QueueDelay => Self::QueueDelay(fields.require("delay")?.seconds()?),
            Signal::Custom => Self::Custom(load(fields)?),
            _ => return Err(signal.problem("is counted, and cannot be told")),
        })
    }
}

impl fmt::Display for ShedderAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Check { priority, times: 1 } => write!(f, "priority {priority}"),
            Self::Check { priority, times } => write!(f, "priority {priority}, {times} times"),
            Self::Admit { call, priority } => write!(f, "admit {call} of priority {priority}"),
            Self::End { call } => write!(f, "end {call}"),
            Self::Cancel { call } => write!(f, "cancel {call}"),
            Self::Tell(told) => write!(f, "{told:?}"),
            Self::Observe => f.write_str("observe"),
        }
    }
}

impl ShedderExpectation {
    fn read(value: &Value<'_>) -> Result<Self, Problem> {
        let mut fields = value.fields()?;
        let expectation = Self {
            admitted: fields.read("admitted", Value::flag)?,
            signal: fields.read("signal", |signal| signal.word("signal", &SIGNALS))?,
            load: fields.read("load", Value::float)?,
            limit: fields.read("limit", Value::float)?,
            unknown_priority: fields.read("unknown_priority", Value::flag)?,
            shed: fields.read("shed", bounds)?,
            in_flight: fields.read("in_flight", Value::count)?,
            would_shed: fields.read("would_shed", Value::count)?,
            admitted_share: fields.read("admitted_share", Value::float)?,
        };
        fields.finish()?;
        Ok(expectation)
    }
}
