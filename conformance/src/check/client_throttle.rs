//! Which share of the calls was held back.

use super::{Differences, RATE_TOLERANCE, all, built, judge};
use crate::format::{ClientThrottleCase, ThrottleExpectation};
use crate::hosts::{Counted, Trouble};

pub(crate) fn client_throttle(
    case: &ClientThrottleCase,
    seen: Result<Vec<Counted>, Trouble>,
) -> Result<(), String> {
    let Some(seen) = built(&case.refusal, seen)? else { return Ok(()) };
    all(case.steps.iter().enumerate().map(|(index, step)| {
        let seen = seen.iter().find(|seen| seen.step == index);
        (index, &*step.title, judge(&step.accepted, seen, shows))
    }))
}

fn shows(expected: &ThrottleExpectation, seen: &Counted) -> Differences {
    let mut differences = Differences::default();
    if let Some(expected) = expected.admitted.filter(|expected| seen.admitted != Some(*expected)) {
        let got = seen.admitted.map_or("no call".to_owned(), |got| got.to_string());
        differences.note("admitted", expected, got);
    }
    if let Some((low, high)) =
        expected.held_back.filter(|(low, high)| !(low..=high).contains(&&seen.held_back))
    {
        let wanted = if low == high { low.to_string() } else { format!("from {low} to {high}") };
        differences.note("held_back", wanted, seen.held_back);
    }
    differences.equal("requests", expected.requests.as_ref(), &seen.requests);
    differences.equal("accepts", expected.accepts.as_ref(), &seen.accepts);
    let rate = seen.rejection_rate;
    if let Some(expected) =
        expected.rejection_rate.filter(|expected| (expected - rate).abs() > RATE_TOLERANCE)
    {
        differences.note("rejection_rate", expected, rate);
    }
    differences
}
