//! Cases of the rate limiter: held to the format, and not yet run by any host of this build.

use super::fields::{Fields, Problem, Value};
use super::settings::{Kind, Settings};
use super::{Refusal, expectations};

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

pub(super) fn take(fields: &mut Fields<'_>) -> Result<(), Problem> {
    let config = fields.require("config")?;
    Settings::read(&config, OPTIONS)?;
    if let Some(algorithm) = config.fields()?.take("algorithm") {
        algorithm.word("algorithm", &ALGORITHMS)?;
    }
    let refusal = Refusal::take(fields)?;
    match fields.take("steps") {
        Some(steps) => steps.list()?.iter().try_for_each(step),
        None if refusal.required => Ok(()),
        None => Err(fields.missing("steps")),
    }
}

fn step(value: &Value<'_>) -> Result<(), Problem> {
    let mut fields = value.fields()?;
    fields.require("at")?.timestamp()?;
    fields.read("key", |key| key.text().map(drop))?;
    fields.read("n", |n| n.count().map(drop))?;
    expectations(&mut fields, expectation)?;
    fields.finish()
}

fn expectation(value: &Value<'_>) -> Result<(), Problem> {
    let mut fields = value.fields()?;
    fields.read("admitted", |admitted| admitted.flag().map(drop))?;
    fields.read("retry_after", |time| {
        if time.is_null() { Ok(()) } else { time.expected_nanos().map(drop) }
    })?;
    fields.read("remaining", |remaining| remaining.float().map(drop))?;
    fields.read("current_rate", |rate| rate.float().map(drop))?;
    fields.finish()
}
