//! Cases of the rate limiter.

use std::fmt;
use std::time::Duration;

use surefoot_core::Timestamp;

use super::circuit_breaker::Promise;
use super::fields::{Fields, Problem, Value};
use super::settings::{Kind, Settings};
use super::{Need, Refusal, expectations};

#[derive(Clone, Debug)]
pub(crate) struct RateLimiterCase {
    pub(crate) config: Settings,
    pub(crate) refusal: Refusal,
    pub(crate) steps: Vec<LimiterStep>,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) struct LimiterStep {
    pub(crate) at: Timestamp,
    /// As the file writes it, for messages.
    pub(crate) title: String,
    /// Without one, the limiter without keys is asked.
    pub(crate) key: Option<String>,
    pub(crate) action: LimiterAction,
    /// One of these has to hold; with none, nothing is checked.
    pub(crate) accepted: Vec<LimiterExpectation>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LimiterAction {
    /// A call that asks to be admitted and does not wait.
    Check {
        n: u64,
    },
    /// A call that waits for its slot, until a time limit passes if it has one.
    Acquire {
        call: String,
        n: u64,
        deadline: Option<Duration>,
    },
    /// The caller of a call leaves.
    Cancel {
        call: String,
    },
    /// A call that has begun turns out to have used so much.
    Settle {
        call: String,
        used: u64,
    },
    /// A call that has begun did not run.
    GiveBack {
        call: String,
    },
    Observe,
}

/// What a step has to show; what is absent is not checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LimiterExpectation {
    pub(crate) admitted: Option<bool>,
    pub(crate) retry_after: Option<Promise>,
    pub(crate) remaining: Option<u64>,
    pub(crate) current_rate: Option<f64>,
    pub(crate) waiting: Option<u64>,
    /// The calls that began since the step before, this one included, and when.
    pub(crate) began: Option<Vec<(String, Timestamp)>>,
}

const OPTIONS: &[(&str, Kind)] = &[
    ("algorithm", Kind::Word),
    ("max_requests", Kind::Count),
    ("time_window", Kind::Time),
    ("burst", Kind::Count),
    ("buckets", Kind::Count),
    ("max_wait", Kind::Time),
    ("max_keys", Kind::Count),
    ("when_full", Kind::Word),
];

#[derive(Clone, Copy)]
enum Verb {
    Check,
    Acquire,
    Cancel,
    Settle,
    GiveBack,
    Observe,
}

const VERBS: [(&str, Verb); 6] = [
    ("check", Verb::Check),
    ("acquire", Verb::Acquire),
    ("cancel", Verb::Cancel),
    ("settle", Verb::Settle),
    ("give_back", Verb::GiveBack),
    ("observe", Verb::Observe),
];

impl RateLimiterCase {
    pub(super) fn take(fields: &mut Fields<'_>) -> Result<Self, Problem> {
        let config = Settings::read(&fields.require("config")?, OPTIONS)?;
        let refusal = Refusal::take(fields)?;
        let steps = match fields.take("steps") {
            Some(steps) => steps.list()?.iter().map(LimiterStep::read).collect::<Result<_, _>>()?,
            None if refusal.required => Vec::new(),
            None => return Err(fields.missing("steps")),
        };
        Ok(Self { config, refusal, steps })
    }
}

impl RateLimiterCase {
    /// What a host has to be able to do.
    pub(super) fn needs(&self) -> Vec<Need> {
        let mut needs = Vec::new();
        let count = |is_it: fn(&LimiterAction) -> bool| {
            self.steps.iter().filter(|step| is_it(&step.action)).count()
        };
        let waits = count(|action| matches!(action, LimiterAction::Acquire { .. }));
        let leaves = count(|action| matches!(action, LimiterAction::Cancel { .. }));
        let corrected = count(|action| {
            matches!(action, LimiterAction::Settle { .. } | LimiterAction::GiveBack { .. })
        });
        if leaves > 0 {
            needs.push(Need::Interrupt);
        }
        if corrected > 0 {
            needs.push(Need::Settle);
        }
        if leaves > 0 || corrected > 0 && waits > corrected {
            needs.push(Need::MoveUp);
        }
        needs
    }
}

impl LimiterStep {
    fn read(value: &Value<'_>) -> Result<Self, Problem> {
        let mut fields = value.fields()?;
        let at = fields.require("at")?;
        let verb = fields.read("do", |verb| verb.word("verb", &VERBS))?.unwrap_or(Verb::Check);
        let key = fields.read("key", |key| key.text().map(str::to_owned))?;
        let action = LimiterAction::take(verb, &mut fields)?;
        let accepted = expectations(&mut fields, LimiterExpectation::read)?;
        fields.finish()?;
        let at_text = at.number()?.text().to_owned();
        let whose = key.as_ref().map(|key| format!(" for {key}")).unwrap_or_default();
        let title = format!("at {at_text}, {action}{whose}");
        Ok(Self { at: at.timestamp()?, title, key, action, accepted })
    }
}

impl LimiterAction {
    fn take(verb: Verb, fields: &mut Fields<'_>) -> Result<Self, Problem> {
        let call = |fields: &mut Fields<'_>| fields.require("call")?.text().map(str::to_owned);
        let units = |fields: &mut Fields<'_>| fields.read("n", Value::count);
        Ok(match verb {
            Verb::Check => Self::Check { n: units(fields)?.unwrap_or(1) },
            Verb::Acquire => Self::Acquire {
                call: call(fields)?,
                n: units(fields)?.unwrap_or(1),
                deadline: fields.read("deadline", Value::seconds)?,
            },
            Verb::Cancel => Self::Cancel { call: call(fields)? },
            Verb::Settle => {
                Self::Settle { call: call(fields)?, used: fields.require("used")?.count()? }
            }
            Verb::GiveBack => Self::GiveBack { call: call(fields)? },
            Verb::Observe => Self::Observe,
        })
    }
}

impl fmt::Display for LimiterAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Check { n } => write!(f, "{n}"),
            Self::Acquire { call, n, .. } => write!(f, "acquire {n} as {call}"),
            Self::Cancel { call } => write!(f, "cancel {call}"),
            Self::Settle { call, used } => write!(f, "settle {call} with {used}"),
            Self::GiveBack { call } => write!(f, "give back {call}"),
            Self::Observe => f.write_str("observe"),
        }
    }
}

impl LimiterExpectation {
    fn read(value: &Value<'_>) -> Result<Self, Problem> {
        let mut fields = value.fields()?;
        let expectation = Self {
            admitted: fields.read("admitted", Value::flag)?,
            retry_after: fields.read("retry_after", Promise::read)?,
            remaining: fields.read("remaining", Value::count)?,
            current_rate: fields.read("current_rate", Value::float)?,
            waiting: fields.read("waiting", Value::count)?,
            began: fields.read("began", |began| began.list()?.iter().map(begin).collect())?,
        };
        fields.finish()?;
        Ok(expectation)
    }
}

/// `[call, time]`.
fn begin(value: &Value<'_>) -> Result<(String, Timestamp), Problem> {
    match value.list()?.as_slice() {
        [call, at] => Ok((call.text()?.to_owned(), at.timestamp()?)),
        _ => Err(value.problem("must be a call and a time")),
    }
}
