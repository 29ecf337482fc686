//! Cases of the rate limiter.

use surefoot_core::Timestamp;

use super::circuit_breaker::Promise;
use super::fields::{Fields, Problem, Value};
use super::settings::{Kind, Settings};
use super::{Refusal, expectations};

#[derive(Clone, Debug)]
pub(crate) struct RateLimiterCase {
    pub(crate) config: Settings,
    pub(crate) refusal: Refusal,
    pub(crate) steps: Vec<LimiterStep>,
}

/// One call that asks to be admitted.
#[derive(Clone, Debug)]
pub(crate) struct LimiterStep {
    pub(crate) at: Timestamp,
    /// As the file writes it, for messages.
    pub(crate) title: String,
    /// Without one, the limiter without keys is asked.
    pub(crate) key: Option<String>,
    pub(crate) n: u64,
    /// One of these has to hold; with none, nothing is checked.
    pub(crate) accepted: Vec<LimiterExpectation>,
}

/// What a step has to show; what is absent is not checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LimiterExpectation {
    pub(crate) admitted: Option<bool>,
    pub(crate) retry_after: Option<Promise>,
    pub(crate) remaining: Option<u64>,
    pub(crate) current_rate: Option<f64>,
}

const OPTIONS: &[(&str, Kind)] = &[
    ("algorithm", Kind::Word),
    ("max_requests", Kind::Count),
    ("time_window", Kind::Time),
    ("burst", Kind::Count),
];

const ALGORITHMS: [(&str, ()); 6] = [
    ("sliding_log", ()),
    ("gcra", ()),
    ("gcra_exact", ()),
    ("token_bucket", ()),
    ("bucket_ring", ()),
    ("fixed_window", ()),
];

impl RateLimiterCase {
    pub(super) fn take(fields: &mut Fields<'_>) -> Result<Self, Problem> {
        let options = fields.require("config")?;
        let config = Settings::read(&options, OPTIONS)?;
        if let Some(algorithm) = options.fields()?.take("algorithm") {
            algorithm.word("algorithm", &ALGORITHMS)?;
        }
        let refusal = Refusal::take(fields)?;
        let steps = match fields.take("steps") {
            Some(steps) => steps.list()?.iter().map(LimiterStep::read).collect::<Result<_, _>>()?,
            None if refusal.required => Vec::new(),
            None => return Err(fields.missing("steps")),
        };
        Ok(Self { config, refusal, steps })
    }
}

impl LimiterStep {
    fn read(value: &Value<'_>) -> Result<Self, Problem> {
        let mut fields = value.fields()?;
        let at = fields.require("at")?;
        let key = fields.read("key", |key| key.text().map(str::to_owned))?;
        let n = fields.read("n", Value::count)?.unwrap_or(1);
        let accepted = expectations(&mut fields, LimiterExpectation::read)?;
        fields.finish()?;
        let number = at.number()?;
        let title = match &key {
            Some(key) => format!("at {}, {n} for {key}", number.text()),
            None => format!("at {}, {n}", number.text()),
        };
        Ok(Self { at: at.timestamp()?, title, key, n, accepted })
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
        };
        fields.finish()?;
        Ok(expectation)
    }
}
