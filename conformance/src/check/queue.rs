//! Who holds, who waits and who was refused.

use std::fmt;

use super::{Differences, Seconds, all, built, judge};
use crate::format::{QueueCase, QueueExpectation, Refused};
use crate::hosts::{Queued, Trouble};

pub(crate) fn queue(case: &QueueCase, seen: Result<Vec<Queued>, Trouble>) -> Result<(), String> {
    let Some(seen) = built(&case.refusal, seen)? else { return Ok(()) };
    all(case.steps.iter().enumerate().map(|(index, step)| {
        let seen = seen.iter().find(|seen| seen.step == index);
        (index, &*step.title, judge(&step.accepted, seen, shows))
    }))
}

fn shows(expected: &QueueExpectation, seen: &Queued) -> Differences {
    let mut differences = Differences::default();
    if let Some(expected) = expected.admitted.filter(|expected| seen.admitted != Some(*expected)) {
        differences.note("admitted", expected, Or(seen.admitted, "no call"));
    }
    for (what, expected, got) in
        [("holds", &expected.holds, &seen.holds), ("waits", &expected.waits, &seen.waits)]
    {
        if let Some(expected) = expected.as_ref().filter(|it| sorted(it) != sorted(got)) {
            differences.note(what, Names(expected), Names(got));
        }
    }
    if let Some(expected) = expected.refused.as_ref().filter(|it| !same(it, &seen.refused)) {
        differences.note("refused", Refusals(expected), Refusals(&seen.refused));
    }
    if let Some(expected) = expected.known.as_ref().filter(|known| **known != seen.known) {
        differences.note("known", Names(expected), Names(&seen.known));
    }
    if expected.config_error != seen.config_error {
        let named = |field: &Option<String>| field.clone().unwrap_or_else(|| "none".into());
        differences.note("config_error", named(&expected.config_error), named(&seen.config_error));
    }
    let counts = seen.counts;
    for (what, expected, got) in [
        ("in_flight", expected.in_flight, counts.map(|it| it.in_flight)),
        ("queue_depth", expected.queue_depth, counts.map(|it| it.queue_depth)),
        ("max_concurrent", expected.max_concurrent, counts.map(|it| it.max_concurrent)),
        ("borrowed", expected.borrowed, counts.map(|it| it.borrowed)),
        ("lent", expected.lent, counts.map(|it| it.lent)),
    ] {
        let got = got.map(u64::from);
        if let Some(expected) = expected.filter(|expected| got != Some(*expected)) {
            differences.note(what, expected, Or(got, "no compartment"));
        }
    }
    differences
}

fn sorted(names: &[String]) -> Vec<&String> {
    let mut names: Vec<_> = names.iter().collect();
    names.sort_unstable();
    names
}

/// Whether the same calls were refused, in any order.
fn same(expected: &[Refused], seen: &[Refused]) -> bool {
    let is_told = |expected: &Refused| {
        seen.iter().any(|seen| {
            (&seen.call, seen.why) == (&expected.call, expected.why)
                && (expected.at.is_none() || expected.at == seen.at)
        })
    };
    expected.len() == seen.len() && expected.iter().all(is_told)
}

/// A value, or what stands for there being none.
struct Or<T>(Option<T>, &'static str);

impl<T: fmt::Display> fmt::Display for Or<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str(self.1),
        }
    }
}

struct Names<'a>(&'a [String]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("nobody") } else { f.write_str(&self.0.join(", ")) }
    }
}

struct Refusals<'a>(&'a [Refused]);

impl fmt::Display for Refusals<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Refused { call, why, at }) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{call} ({why})")?;
            if let Some(at) = at {
                write!(f, " at {}", Seconds(u128::from(at.as_nanos())))?;
            }
        }
        if self.0.is_empty() { f.write_str("nobody") } else { Ok(()) }
    }
}
