//! Case files: what they may say, read into cases. The format is `conformance/README.md`.

mod budget;
mod circuit_breaker;
mod client_throttle;
mod decimal;
mod fallback;
mod fields;
mod hedge;
mod json;
mod load_shedder;
mod queue;
mod rate_limiter;
mod retry;
mod settings;
mod state_machine;

pub(crate) use budget::{
    Amounts, BudgetAction, BudgetCall, BudgetCase, BudgetExpectation, BudgetNews, BudgetStep,
    CallEnd, ROOT,
};
pub(crate) use circuit_breaker::{
    Action, CircuitBreakerCase, Ending, Operator, Promise, Step, StepExpectation,
};
pub(crate) use client_throttle::{ClientThrottleCase, ThrottleAction, ThrottleExpectation};
pub(crate) use decimal::Decimal;
pub(crate) use fallback::{FallbackCase, FallbackExpectation, FallbackStep};
pub(crate) use fields::Problem;
pub(crate) use hedge::{Ended, HedgeCase, HedgeExpectation};
pub(crate) use load_shedder::{LoadShedderCase, ShedderAction, ShedderExpectation, Told};
pub(crate) use queue::{
    QueueAction, QueueCase, QueueExpectation, QueueKind, QueueRefusal, QueueStep, Refused,
};
pub(crate) use rate_limiter::{LimiterAction, LimiterExpectation, LimiterStep, RateLimiterCase};
pub(crate) use retry::{Delays, Outcome, OutcomeKind, RetryCase, RetryExpectation, RetryRules};
pub(crate) use settings::{Setting, Settings};

use fields::{Fields, Value};
use json::Json;

/// One case of a file.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// The rule it states.
    pub(crate) name: String,
    /// Where the rule comes from.
    pub(crate) source: Option<String>,
    pub(crate) needs: Vec<Need>,
    pub(crate) body: Body,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    CircuitBreaker(CircuitBreakerCase),
    Retry(RetryCase),
    Hedge(HedgeCase),
    Fallback(FallbackCase),
    RateLimiter(RateLimiterCase),
    Budget(BudgetCase),
    LoadShedder(LoadShedderCase),
    Queue(QueueCase),
    ClientThrottle(ClientThrottleCase),
    /// A case of a policy that this build does not have.
    Absent {
        policy: String,
    },
}

impl Body {
    pub(crate) fn policy(&self) -> &str {
        match self {
            Self::CircuitBreaker(_) => "circuit_breaker",
            Self::Retry(_) => "retry",
            Self::Hedge(_) => "hedge",
            Self::Fallback(_) => "fallback",
            Self::RateLimiter(_) => "rate_limiter",
            Self::Budget(_) => "budget",
            Self::LoadShedder(_) => "load_shedder",
            Self::Queue(QueueCase { kind: QueueKind::Throttler, .. }) => "throttler",
            Self::Queue(QueueCase { kind: QueueKind::Bulkhead, .. }) => "bulkhead",
            Self::ClientThrottle(_) => "client_throttle",
            Self::Absent { policy } => policy,
        }
    }
}

/// Something that not every host can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    ClockBackwards,
    Interrupt,
    Atomic,
    ErrorTransition,
    DefinitionName,
    /// To have attempts race each other; every hedge needs it.
    Race,
    /// To try the links of a fallback; every fallback needs it.
    Chain,
    /// More than two links.
    ManyLinks,
    /// A kept answer as the last link.
    LastGood,
    /// To correct what a call took.
    Settle,
    /// To see those who wait for a rate limiter move up in its line.
    MoveUp,
}

impl Need {
    /// Those that a case names; the others follow from what it does.
    const WORDS: [(&'static str, Self); 5] = [
        ("clock_backwards", Self::ClockBackwards),
        ("interrupt", Self::Interrupt),
        ("atomic", Self::Atomic),
        ("error_transition", Self::ErrorTransition),
        ("definition_name", Self::DefinitionName),
    ];
}

/// Whether the policy may refuse its options, and what the refusal has to name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Options of which one has to be named.
    pub(crate) fields: Vec<String>,
    /// Any refusal will do.
    pub(crate) any: bool,
    /// Building must fail.
    pub(crate) required: bool,
}

/// Policies whose format is still to be written down.
const RESERVED: [&str; 1] = ["idempotency"];

/// A case that cannot be run, by the name it has or its place in the file.
#[derive(Debug)]
pub(crate) struct BadCase {
    pub(crate) name: String,
    pub(crate) problem: Problem,
}

/// Reads a file's text. The outer error is one of the whole file.
pub(crate) fn read(text: &str) -> Result<Vec<Result<Case, BadCase>>, String> {
    let json = Json::parse(text)?;
    let cases = Value::root(&json).list().map_err(|problem| problem.to_string())?;
    Ok(cases.iter().enumerate().map(|(index, case)| read_case(index, case.json())).collect())
}

fn read_case(index: usize, json: &Json) -> Result<Case, BadCase> {
    let value = Value::root(json);
    let mut name = format!("case {index} (unnamed)");
    let mut read = || {
        let mut fields = value.fields()?;
        fields.require("name")?.text()?.clone_into(&mut name);
        let policy = fields.require("policy")?;
        let source = fields.read("source", |source| source.text().map(str::to_owned))?;
        let needs = fields.read("needs", |needs| {
            needs.list()?.iter().map(|need| need.word("need", &Need::WORDS)).collect()
        })?;
        let body = read_body(&policy, fields)?;
        let mut needs: Vec<_> = needs.unwrap_or_default();
        needs.extend(body.needs());
        Ok((source, needs, body))
    };
    match read() {
        Ok((source, needs, body)) => Ok(Case { name, source, needs, body }),
        Err(problem) => Err(BadCase { name, problem }),
    }
}

fn read_body(policy: &Value<'_>, mut fields: Fields<'_>) -> Result<Body, Problem> {
    let name = policy.text()?;
    let body = match name {
        "circuit_breaker" => Body::CircuitBreaker(CircuitBreakerCase::take(&mut fields)?),
        "retry" => Body::Retry(RetryCase::take(&mut fields)?),
        "hedge" => Body::Hedge(HedgeCase::take(&mut fields)?),
        "fallback" => Body::Fallback(FallbackCase::take(&mut fields)?),
        "rate_limiter" => Body::RateLimiter(RateLimiterCase::take(&mut fields)?),
        "budget" => Body::Budget(BudgetCase::take(&mut fields)?),
        "load_shedder" => Body::LoadShedder(LoadShedderCase::take(&mut fields)?),
        "throttler" => Body::Queue(QueueCase::take(QueueKind::Throttler, &mut fields)?),
        "bulkhead" => Body::Queue(QueueCase::take(QueueKind::Bulkhead, &mut fields)?),
        "client_throttle" => Body::ClientThrottle(ClientThrottleCase::take(&mut fields)?),
        "state_machine" => {
            state_machine::take(&mut fields)?;
            Body::Absent { policy: name.to_owned() }
        }
        // Their format is not written yet, so there is nothing to hold them to.
        reserved if RESERVED.contains(&reserved) => {
            return Ok(Body::Absent { policy: name.to_owned() });
        }
        unknown => return Err(policy.problem(format_args!("unknown policy `{unknown}`"))),
    };
    fields.finish()?;
    Ok(body)
}

impl Body {
    /// What a host has to be able to do for such a case.
    fn needs(&self) -> Vec<Need> {
        match self {
            Self::Hedge(_) => vec![Need::Race],
            Self::Fallback(case) => case.needs(),
            Self::RateLimiter(case) => case.needs(),
            Self::LoadShedder(case) => case.needs(),
            Self::Queue(case) => case.needs(),
            Self::ClientThrottle(case) => case.needs(),
            Self::CircuitBreaker(_) | Self::Retry(_) | Self::Budget(_) | Self::Absent { .. } => {
                Vec::new()
            }
        }
    }
}

impl Refusal {
    /// Takes what a case says about refusing, for policies whose other expectations stand with
    /// their steps.
    fn take(fields: &mut Fields<'_>) -> Result<Self, Problem> {
        let mut refusal = Self::take_any(fields)?;
        if let Some(expect) = fields.take("expect") {
            refusal.fields.push(config_error(&expect)?);
            refusal.required = true;
        }
        if let Some(or) = fields.take("or") {
            for expect in or.list()? {
                refusal.fields.push(config_error(&expect)?);
            }
        }
        Ok(refusal)
    }

    fn take_any(fields: &mut Fields<'_>) -> Result<Self, Problem> {
        let any = fields.read("or_config_error", Value::flag)?.unwrap_or_default();
        Ok(Self { any, ..Self::default() })
    }
}

/// `{"config_error": field}` and nothing else.
fn config_error(value: &Value<'_>) -> Result<String, Problem> {
    let mut fields = value.fields()?;
    let field = fields.require("config_error")?.text()?.to_owned();
    fields.finish()?;
    Ok(field)
}

/// What a case that is one call may come to: its options are refused, or the call ends in one of several
/// ways, which are in `expect` and `or`.
fn ends<T>(
    fields: &mut Fields<'_>,
    read: impl Fn(&mut Fields<'_>) -> Result<T, Problem>,
) -> Result<(Refusal, Vec<T>), Problem> {
    let mut refusal = Refusal::take_any(fields)?;
    let mut accepted = Vec::new();
    let expected = expectations(fields, |value| {
        let mut fields = value.fields()?;
        let end = match fields.take("config_error") {
            Some(field) => Err(field.text()?.to_owned()),
            None => Ok(read(&mut fields)?),
        };
        fields.finish()?;
        Ok(end)
    })?;
    if expected.is_empty() {
        return Err(fields.missing("expect"));
    }
    for expected in expected {
        match expected {
            Err(field) => refusal.fields.push(field),
            Ok(end) => accepted.push(end),
        }
    }
    refusal.required = accepted.is_empty();
    Ok((refusal, accepted))
}

/// A step's `expect`, and the further ones accepted beside it under `or`.
fn expectations<T>(
    fields: &mut Fields<'_>,
    read: impl Fn(&Value<'_>) -> Result<T, Problem>,
) -> Result<Vec<T>, Problem> {
    let mut accepted: Vec<T> = fields.read("expect", &read)?.into_iter().collect();
    if let Some(or) = fields.take("or") {
        if accepted.is_empty() {
            return Err(or.problem("stands beside an `expect` only"));
        }
        for value in or.list()? {
            accepted.push(read(&value)?);
        }
    }
    Ok(accepted)
}

/// A count, or `[low, high]`.
fn bounds(value: &Value<'_>) -> Result<(u64, u64), Problem> {
    let Json::List(_) = value.json() else {
        let count = value.count()?;
        return Ok((count, count));
    };
    match value.list()?.as_slice() {
        [low, high] => Ok((low.count()?, high.count()?)),
        _ => Err(value.problem("must be a count or two bounds")),
    }
}

#[cfg(test)]
mod tests;
