//! Cases of the client throttle.

use std::fmt;

use surefoot_core::Timestamp;

use super::circuit_breaker::Ending;
use super::fields::{Fields, Problem, Value};
use super::settings::{Kind, Settings};
use super::{Need, Refusal, bounds, expectations};

#[derive(Clone, Debug)]
pub(crate) struct ClientThrottleCase {
    pub(crate) config: Settings,
    pub(crate) refusal: Refusal,
    pub(crate) steps: Vec<ThrottleStep>,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) struct ThrottleStep {
    pub(crate) at: Timestamp,
    /// As the file writes it, for messages.
    pub(crate) title: String,
    pub(crate) action: ThrottleAction,
    /// One of these has to hold; with none, nothing is checked.
    pub(crate) accepted: Vec<ThrottleExpectation>,
}

#[derive(Clone, Debug)]
pub(crate) enum ThrottleAction {
    /// Calls that are over at once, one after the other, if they are not held back.
    Calls {
        ending: Ending,
        times: u64,
    },
    /// A call that stays under way if it is not held back.
    Admit {
        call: String,
    },
    /// A call that is under way ends.
    End {
        call: String,
        ending: Ending,
    },
    Observe,
}

/// What a step has to show; what is absent is not checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ThrottleExpectation {
    /// Whether the last call of the step was.
    pub(crate) admitted: Option<bool>,
    /// Of the calls of this step, at least and at most.
    pub(crate) held_back: Option<(u64, u64)>,
    pub(crate) requests: Option<u64>,
    pub(crate) accepts: Option<u64>,
    pub(crate) rejection_rate: Option<f64>,
}

const OPTIONS: &[(&str, Kind)] = &[
    ("multiplier", Kind::Ratio),
    ("max_rejection_rate", Kind::Ratio),
    ("window", Kind::Time),
    ("overload", Kind::Word),
];

#[derive(Clone, Copy)]
enum Verb {
    Admit,
    Observe,
    Success,
    Failure,
    Ignore,
    Throttled,
    Cancel,
}

const VERBS: [(&str, Verb); 7] = [
    ("admit", Verb::Admit),
    ("observe", Verb::Observe),
    ("success", Verb::Success),
    ("failure", Verb::Failure),
    ("ignore", Verb::Ignore),
    ("throttled", Verb::Throttled),
    ("cancel", Verb::Cancel),
];

impl ClientThrottleCase {
    pub(super) fn take(fields: &mut Fields<'_>) -> Result<Self, Problem> {
        let config = Settings::read(&fields.require("config")?, OPTIONS)?;
        let refusal = Refusal::take(fields)?;
        let read = ThrottleStep::read;
        let steps = match fields.take("steps") {
            Some(steps) => steps.list()?.iter().map(read).collect::<Result<_, _>>()?,
            None if refusal.required => Vec::new(),
            None => return Err(fields.missing("steps")),
        };
        Ok(Self { config, refusal, steps })
    }

    /// What a host has to be able to do.
    pub(super) fn needs(&self) -> Vec<Need> {
        let leaves = |step: &ThrottleStep| {
            matches!(
                step.action,
                ThrottleAction::End { ending: Ending::Cancel, .. }
                    | ThrottleAction::Calls { ending: Ending::Cancel, .. }
            )
        };
        if self.steps.iter().any(leaves) { vec![Need::Interrupt] } else { Vec::new() }
    }
}

impl ThrottleStep {
    fn read(value: &Value<'_>) -> Result<Self, Problem> {
        let mut fields = value.fields()?;
        let at = fields.require("at")?;
        let verb = fields.require("do")?.word("verb", &VERBS)?;
        let action = ThrottleAction::take(verb, &mut fields)?;
        let accepted = expectations(&mut fields, ThrottleExpectation::read)?;
        fields.finish()?;
        let title = format!("at {}, {action}", at.number()?.text());
        Ok(Self { at: at.timestamp()?, title, action, accepted })
    }
}

impl ThrottleAction {
    fn take(verb: Verb, fields: &mut Fields<'_>) -> Result<Self, Problem> {
        let call = fields.read("call", |call| call.text().map(str::to_owned))?;
        let ending = match verb {
            Verb::Observe => return Ok(Self::Observe),
            Verb::Admit => {
                return Ok(Self::Admit { call: call.ok_or_else(|| fields.missing("call"))? });
            }
            Verb::Success => Ending::Success,
            Verb::Failure => Ending::Failure,
            Verb::Ignore => Ending::Ignore,
            Verb::Throttled => Ending::Throttled { retry_after: None },
            Verb::Cancel => Ending::Cancel,
        };
        Ok(match call {
            Some(call) => Self::End { call, ending },
            None => Self::Calls { ending, times: fields.read("times", Value::count)?.unwrap_or(1) },
        })
    }
}

impl fmt::Display for ThrottleAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Calls { ending, times } => write!(f, "{times} calls: {ending:?}"),
            Self::Admit { call } => write!(f, "admit {call}"),
            Self::End { call, ending } => write!(f, "{call}: {ending:?}"),
            Self::Observe => f.write_str("observe"),
        }
    }
}

impl ThrottleExpectation {
    fn read(value: &Value<'_>) -> Result<Self, Problem> {
        let mut fields = value.fields()?;
        let expectation = Self {
            admitted: fields.read("admitted", Value::flag)?,
            held_back: fields.read("held_back", bounds)?,
            requests: fields.read("requests", Value::count)?,
            accepts: fields.read("accepts", Value::count)?,
            rejection_rate: fields.read("rejection_rate", Value::float)?,
        };
        fields.finish()?;
        Ok(expectation)
    }
}
