//! Cases of the hedge.

use std::fmt;
use std::time::Duration;

use super::fields::{Fields, Problem, Value};
use super::retry::{Outcome, OutcomeKind, RetryRules, bounds};
use super::settings::{Kind, Settings};
use super::{Refusal, ends};

#[derive(Clone, Debug)]
pub(crate) struct HedgeCase {
    pub(crate) config: Settings,
    /// Which errors and results are not accepted.
    pub(crate) rules: RetryRules,
    /// Tokens of a budget that never grows. Without one every hedge is made.
    pub(crate) budget: Option<u32>,
    pub(crate) refusal: Refusal,
    /// How long the answers took that came before the call, each by its own call.
    pub(crate) seen: Vec<Duration>,
    /// Between the last of them and the call.
    pub(crate) pause: Duration,
    /// What successive attempts give, in the order in which they begin; the last one is repeated.
    pub(crate) outcomes: Vec<Outcome>,
    /// A time limit around the call.
    pub(crate) deadline: Option<Duration>,
    /// When the caller drops the call.
    pub(crate) cancel: Option<Duration>,
    /// One of these has to hold, unless building has to fail.
    pub(crate) accepted: Vec<HedgeExpectation>,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Gave(OutcomeKind),
    /// By the time limit around it.
    Timeout,
    /// Dropped by its caller.
    Cancelled,
}

/// What a call has to have done; what is absent is not checked. Times are in nanoseconds since it began.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HedgeExpectation {
    pub(crate) calls: Option<u64>,
    /// Each between two bounds.
    pub(crate) started: Option<Vec<(u128, u128)>>,
    pub(crate) outcome: Option<Ended>,
    pub(crate) elapsed: Option<u128>,
    pub(crate) cancelled: Option<u64>,
    pub(crate) overdue: Option<u64>,
    pub(crate) tokens: Option<u64>,
}

const OPTIONS: &[(&str, Kind)] = &[
    ("delay", Kind::Time),
    ("percentile", Kind::Ratio),
    ("warm_up", Kind::Count),
    ("window", Kind::Time),
    ("max_hedges", Kind::Count),
];

impl HedgeCase {
    pub(super) fn take(fields: &mut Fields<'_>) -> Result<Self, Problem> {
        let (config, rules, budget) = read_config(&fields.require("config")?)?;
        let (refusal, accepted) = ends(fields, HedgeExpectation::read)?;
        let outcomes = Outcome::take_all(fields, refusal.required)?;
        let seen = fields.read("seen", |seen| seen.list()?.iter().map(Value::seconds).collect())?;
        Ok(Self {
            config,
            rules,
            budget,
            refusal,
            seen: seen.unwrap_or_default(),
            pause: fields.read("pause", Value::seconds)?.unwrap_or_default(),
            outcomes,
            deadline: fields.read("deadline", Value::seconds)?,
            cancel: fields.read("cancel", Value::seconds)?,
            accepted,
        })
    }
}

fn read_config(value: &Value<'_>) -> Result<(Settings, RetryRules, Option<u32>), Problem> {
    let mut fields = value.fields()?;
    let settings = Settings::take(&mut fields, OPTIONS)?;
    let rules = RetryRules::take(&mut fields)?;
    let budget = fields.read("budget", |tokens| {
        let count = tokens.count()?;
        u32::try_from(count).map_err(|_| tokens.problem("is more than any budget holds"))
    })?;
    fields.finish()?;
    Ok((settings, rules, budget))
}

impl Ended {
    pub(super) fn read(value: &Value<'_>) -> Result<Self, Problem> {
        match value.text()? {
            "timeout" => Ok(Self::Timeout),
            "cancelled" => Ok(Self::Cancelled),
            _ => OutcomeKind::read(value).map(Self::Gave),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gave(outcome) => outcome.fmt(f),
            Self::Timeout => f.write_str("timeout"),
            Self::Cancelled => f.write_str("cancelled"),
        }
    }
}

impl HedgeExpectation {
    fn read(fields: &mut Fields<'_>) -> Result<Self, Problem> {
        let exactly_or_between = |value: &Value<'_>| match value.json() {
            super::Json::List(_) => bounds(value),
            _ => value.expected_nanos().map(|time| (time, time)),
        };
        Ok(Self {
            calls: fields.read("calls", Value::count)?,
            started: fields.read("started", |started| {
                started.list()?.iter().map(exactly_or_between).collect()
            })?,
            outcome: fields.read("outcome", Ended::read)?,
            elapsed: fields.read("elapsed", Value::expected_nanos)?,
            cancelled: fields.read("cancelled", Value::count)?,
            overdue: fields.read("overdue", Value::count)?,
            tokens: fields.read("tokens", Value::count)?,
        })
    }
}
