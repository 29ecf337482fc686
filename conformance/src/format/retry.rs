//! Cases of the retry.

use std::time::Duration;

use super::fields::{Fields, Problem, Value};
use super::settings::{Kind, Settings};
use super::{Refusal, ends};

#[derive(Clone, Debug)]
pub(crate) struct RetryCase {
    pub(crate) config: Settings,
    pub(crate) rules: RetryRules,
    pub(crate) refusal: Refusal,
    /// What successive attempts give, the last one repeated.
    pub(crate) outcomes: Vec<Outcome>,
    /// One of these has to hold, unless building has to fail.
    pub(crate) accepted: Vec<RetryExpectation>,
}

/// Which errors and results are tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RetryRules {
    /// `None`: every error.
    pub(crate) retry_on: Option<Vec<String>>,
    pub(crate) permanent: Vec<String>,
    pub(crate) retry_on_result: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) kind: OutcomeKind,
    pub(crate) takes: Duration,
    pub(crate) retry_after: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OutcomeKind {
    Ok,
    Error(String),
    Result(String),
    /// A refusal by one's own policy.
    Rejected,
}

/// What a call has to have done; what is absent is not checked. Times are in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RetryExpectation {
    pub(crate) attempts: Option<u64>,
    pub(crate) delays: Option<Delays>,
    pub(crate) outcome: Option<OutcomeKind>,
    pub(crate) elapsed: Option<u128>,
}

/// The waits, each between two bounds; `then` holds for all beyond the `first`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delays {
    pub(crate) first: Vec<(u128, u128)>,
    pub(crate) then: Option<(u128, u128)>,
    pub(crate) count: u64,
}

const OPTIONS: &[(&str, Kind)] = &[
    ("max_attempts", Kind::Count),
    ("initial_delay", Kind::Time),
    ("max_delay", Kind::Time),
    ("exponential_base", Kind::Ratio),
    ("linear_increment", Kind::Time),
    ("jitter", Kind::Word),
    ("max_elapsed", Kind::Time),
];

impl RetryCase {
    pub(super) fn take(fields: &mut Fields<'_>) -> Result<Self, Problem> {
        let (config, rules) = read_config(&fields.require("config")?)?;
        let (refusal, accepted) = ends(fields, RetryExpectation::read)?;
        let outcomes = Outcome::take_all(fields, refusal.required)?;
        Ok(Self { config, rules, refusal, outcomes, accepted })
    }
}

fn read_config(value: &Value<'_>) -> Result<(Settings, RetryRules), Problem> {
    let mut fields = value.fields()?;
    let settings = Settings::take(&mut fields, OPTIONS)?;
    let rules = RetryRules::take(&mut fields)?;
    fields.finish()?;
    Ok((settings, rules))
}

impl RetryRules {
    pub(super) fn take(fields: &mut Fields<'_>) -> Result<Self, Problem> {
        Ok(Self {
            retry_on: fields.read("retry_on", Value::texts)?,
            permanent: fields.read("permanent", Value::texts)?.unwrap_or_default(),
            retry_on_result: fields.read("retry_on_result", Value::texts)?.unwrap_or_default(),
        })
    }
}

impl OutcomeKind {
    pub(super) fn read(value: &Value<'_>) -> Result<Self, Problem> {
        let text = value.text()?;
        match text.split_once(':') {
            None if text == "ok" => Ok(Self::Ok),
            None if text == "rejected" => Ok(Self::Rejected),
            Some(("error", name)) if !name.is_empty() => Ok(Self::Error(name.to_owned())),
            Some(("result", name)) if !name.is_empty() => Ok(Self::Result(name.to_owned())),
            _ => Err(value.problem(format_args!(
                "unknown outcome `{text}`; known are `ok`, `error:X`, `result:Y`, `rejected`"
            ))),
        }
    }
}

impl std::fmt::Display for OutcomeKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ok => f.write_str("ok"),
            Self::Error(name) => write!(f, "error:{name}"),
            Self::Result(name) => write!(f, "result:{name}"),
            Self::Rejected => f.write_str("rejected"),
        }
    }
}

impl Outcome {
    fn of(kind: OutcomeKind) -> Self {
        Self { kind, takes: Duration::ZERO, retry_after: None }
    }

    /// A case's `outcomes`, of which there has to be one.
    pub(super) fn take_all(fields: &mut Fields<'_>, refused: bool) -> Result<Vec<Self>, Problem> {
        match fields.take("outcomes") {
            Some(outcomes) => {
                let read =
                    outcomes.list()?.iter().map(Self::read).collect::<Result<Vec<_>, _>>()?;
                if read.is_empty() {
                    return Err(outcomes.problem("must have at least one outcome"));
                }
                Ok(read)
            }
            // Should it be built all the same, there is something to call.
            None if refused => Ok(vec![Self::of(OutcomeKind::Ok)]),
            None => Err(fields.missing("outcomes")),
        }
    }

    pub(super) fn read(value: &Value<'_>) -> Result<Self, Problem> {
        if let super::Json::Text(_) = value.json() {
            return OutcomeKind::read(value).map(Self::of);
        }
        let mut fields = value.fields()?;
        let outcome = Self {
            kind: OutcomeKind::read(&fields.require("is")?)?,
            takes: fields.read("takes", Value::seconds)?.unwrap_or_default(),
            retry_after: fields.read("retry_after", Value::seconds)?,
        };
        fields.finish()?;
        Ok(outcome)
    }
}

impl RetryExpectation {
    fn read(fields: &mut Fields<'_>) -> Result<Self, Problem> {
        let exact = fields.read("delays", Delays::read_exact)?;
        let bounds = fields.take("delay_bounds");
        if let Some(bounds) = bounds.as_ref().filter(|_| exact.is_some()) {
            return Err(bounds.problem("stands instead of `delays`, not beside it"));
        }
        let bounds = bounds.map(|bounds| Delays::read_bounds(&bounds)).transpose()?;
        Ok(Self {
            attempts: fields.read("attempts", Value::count)?,
            delays: exact.or(bounds),
            outcome: fields.read("outcome", OutcomeKind::read)?,
            elapsed: fields.read("elapsed", Value::expected_nanos)?,
        })
    }
}

impl Delays {
    fn read_exact(value: &Value<'_>) -> Result<Self, Problem> {
        let exact = |value: &Value<'_>| value.expected_nanos().map(|time| (time, time));
        if let super::Json::List(_) = value.json() {
            return Self::listed(value, exact);
        }
        let mut fields = value.fields()?;
        let first = fields.read("first", |first| first.list()?.iter().map(exact).collect())?;
        let first: Vec<_> = first.unwrap_or_default();
        let then = fields.read("then", exact)?;
        let count = fields.require("count")?;
        let number = count.count()?;
        let listed = first.len() as u64;
        if number < listed || (number > listed && then.is_none()) {
            let rule = format!("counts all waits, and {listed} are listed under `first`");
            return Err(count.problem(rule));
        }
        fields.finish()?;
        Ok(Self { first, then, count: number })
    }

    fn read_bounds(value: &Value<'_>) -> Result<Self, Problem> {
        if let super::Json::List(_) = value.json() {
            return Self::listed(value, bounds);
        }
        let mut fields = value.fields()?;
        let then = bounds(&fields.require("each")?)?;
        let count = fields.require("count")?.count()?;
        fields.finish()?;
        Ok(Self { first: Vec::new(), then: Some(then), count })
    }

    fn listed(
        value: &Value<'_>,
        read: impl Fn(&Value<'_>) -> Result<(u128, u128), Problem>,
    ) -> Result<Self, Problem> {
        let first = value.list()?.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { count: first.len() as u64, first, then: None })
    }
}

/// `[low, high]`.
pub(super) fn bounds(value: &Value<'_>) -> Result<(u128, u128), Problem> {
    match value.list()?.as_slice() {
        [low, high] => {
            let (low, high) = (low.expected_nanos()?, high.expected_nanos()?);
            if low <= high { Ok((low, high)) } else { Err(value.problem("low is above high")) }
        }
        _ => Err(value.problem("must be [low, high]")),
    }
}
