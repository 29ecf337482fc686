//! What was seen against what was expected: the same for every host.

mod client_throttle;
mod queue;

use std::fmt;
use std::time::Duration;

use surefoot_core::Timestamp;
use surefoot_core::budget::Dimension;
use surefoot_core::load_shedder::Signal;

use crate::format::{
    Amounts, BudgetCase, BudgetExpectation, BudgetNews, CircuitBreakerCase, Delays, FallbackCase,
    FallbackExpectation, HedgeCase, HedgeExpectation, LimiterExpectation, LoadShedderCase,
    OutcomeKind, Promise, RateLimiterCase, Refusal, RetryCase, RetryExpectation,
    ShedderExpectation, StepExpectation,
};
use crate::hosts::{Answered, Limited, Raced, Seen, Shed, Spent, Tried, Trouble};

pub(crate) use client_throttle::client_throttle;
pub(crate) use queue::queue;

/// Times compare equal within this.
const NANOS_TOLERANCE: u128 = 1;
/// Rates compare equal within this.
const RATE_TOLERANCE: f64 = 1e-9;
/// Loads that a rejection tells compare equal within this: they are told in single precision.
const TOLD_TOLERANCE: f64 = 1e-6;

pub(crate) fn circuit_breaker(
    case: &CircuitBreakerCase,
    seen: Result<Vec<Seen>, Trouble>,
) -> Result<(), String> {
    let Some(seen) = built(&case.refusal, seen)? else { return Ok(()) };
    all(case.steps.iter().enumerate().map(|(index, step)| {
        let seen = seen.iter().find(|seen| seen.step == index);
        (index, &*step.title, judge(&step.accepted, seen, step_shows))
    }))
}

pub(crate) fn rate_limiter(
    case: &RateLimiterCase,
    seen: Result<Vec<Limited>, Trouble>,
) -> Result<(), String> {
    let Some(seen) = built(&case.refusal, seen)? else { return Ok(()) };
    all(case.steps.iter().enumerate().map(|(index, step)| {
        let seen = seen.iter().find(|seen| seen.step == index);
        (index, &*step.title, judge(&step.accepted, seen, limiter_shows))
    }))
}

pub(crate) fn budget(case: &BudgetCase, seen: Result<Vec<Spent>, Trouble>) -> Result<(), String> {
    let Some(seen) = built(&case.refusal, seen)? else { return Ok(()) };
    all(case.steps.iter().enumerate().map(|(index, step)| {
        let seen = seen.iter().find(|seen| seen.step == index);
        (index, &*step.title, judge(&step.accepted, seen, budget_shows))
    }))
}

pub(crate) fn load_shedder(
    case: &LoadShedderCase,
    seen: Result<Vec<Shed>, Trouble>,
) -> Result<(), String> {
    let Some(seen) = built(&case.refusal, seen)? else { return Ok(()) };
    all(case.steps.iter().enumerate().map(|(index, step)| {
        let seen = seen.iter().find(|seen| seen.step == index);
        (index, &*step.title, judge(&step.accepted, seen, shedder_shows))
    }))
}

/// Whether what a host saw of a step is one of what is accepted, if anything has to be.
fn judge<E, S>(
    accepted: &[E],
    seen: Option<&S>,
    shows: impl Fn(&E, &S) -> Differences,
) -> Result<(), String> {
    if accepted.is_empty() {
        return Ok(());
    }
    let seen = seen.ok_or("the host did not tell what it saw")?;
    any(accepted, |expectation| shows(expectation, seen))
}

/// The first step that differs, and how many later ones do.
fn all<'a>(
    steps: impl Iterator<Item = (usize, &'a str, Result<(), String>)>,
) -> Result<(), String> {
    let mut differing = steps.filter_map(|(index, title, found)| {
        found.err().map(|what| format!("step {index} ({title}): {what}"))
    });
    let Some(first) = differing.next() else { return Ok(()) };
    match differing.count() {
        0 => Err(first),
        1 => Err(format!("{first}; 1 later step differs too")),
        later => Err(format!("{first}; {later} later steps differ too")),
    }
}

pub(crate) fn retry(case: &RetryCase, tried: Result<Tried, Trouble>) -> Result<(), String> {
    let Some(tried) = built(&case.refusal, tried)? else { return Ok(()) };
    any(&case.accepted, |expectation| call_went(expectation, &tried))
}

pub(crate) fn hedge(case: &HedgeCase, raced: Result<Raced, Trouble>) -> Result<(), String> {
    let Some(raced) = built(&case.refusal, raced)? else { return Ok(()) };
    any(&case.accepted, |expectation| race_went(expectation, &raced))
}

pub(crate) fn fallback(
    case: &FallbackCase,
    answered: Result<Vec<Answered>, Trouble>,
) -> Result<(), String> {
    let Some(answered) = built(&case.refusal, answered)? else { return Ok(()) };
    for (index, (step, answered)) in case.steps.iter().zip(&answered).enumerate() {
        if step.accepted.is_empty() {
            continue;
        }
        any(&step.accepted, |expectation| chain_went(expectation, answered))
            .map_err(|what| format!("step {index}: {what}"))?;
    }
    Ok(())
}

/// What there is to judge; `None` if the policy was right to refuse its options.
fn built<T>(refusal: &Refusal, result: Result<T, Trouble>) -> Result<Option<T>, String> {
    match result {
        Ok(_) if refusal.required => {
            let fields = refusal.fields.join("` or `");
            Err(format!("expected a config error about `{fields}`, got a policy that was built"))
        }
        Ok(seen) => Ok(Some(seen)),
        Err(Trouble::Broken(what)) => Err(what),
        Err(Trouble::Refused { field, message }) => {
            let named = refusal.fields.iter().any(|expected| names(expected, &field));
            let expected = match refusal.fields.as_slice() {
                _ if named || refusal.any => return Ok(None),
                [] => "a policy".to_owned(),
                fields => format!("a config error about `{}`", fields.join("` or `")),
            };
            Err(format!("expected {expected}, got the config error: {message}"))
        }
    }
}

/// Whether two names mean one option: `trip.rate` is also called `rate`.
fn names(one: &str, other: &str) -> bool {
    let ends_with = |long: &str, short: &str| {
        long.strip_suffix(short).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    !one.is_empty() && !other.is_empty() && (ends_with(one, other) || ends_with(other, one))
}

/// Whether one of several expectations holds; if none does, what the first one misses.
fn any<T>(accepted: &[T], holds: impl Fn(&T) -> Differences) -> Result<(), String> {
    let mut first = None;
    for expectation in accepted {
        let differences = holds(expectation);
        if differences.0.is_empty() {
            return Ok(());
        }
        first.get_or_insert(differences);
    }
    let Some(first) = first else { return Ok(()) };
    let others = match accepted.len() {
        1 => "",
        _ => "; nor does any of its `or` hold",
    };
    Err(format!("{}{others}", first.0.join(", ")))
}

/// Everything that is not as expected.
#[derive(Debug, Default)]
struct Differences(Vec<String>);

impl Differences {
    fn note(&mut self, what: &str, expected: impl fmt::Display, got: impl fmt::Display) {
        self.0.push(format!("{what}: expected {expected}, got {got}"));
    }

    fn equal<T: PartialEq + fmt::Display>(&mut self, what: &str, expected: Option<&T>, got: &T) {
        if let Some(expected) = expected.filter(|expected| *expected != got) {
            self.note(what, expected, got);
        }
    }
}

fn step_shows(expected: &StepExpectation, seen: &Seen) -> Differences {
    let mut differences = Differences::default();
    if let Some(admitted) = seen.admitted {
        differences.equal("admitted", expected.admitted.as_ref(), &admitted);
    }
    differences.equal("state", expected.state.as_ref(), &seen.state);
    if let Some(promise) = expected.retry_after {
        let got = (seen.admitted, seen.retry_after);
        compare_promise(&mut differences, promise, expected.admitted, got);
    }
    differences.equal("failure_count", expected.failure_count.as_ref(), &seen.failure_count);
    differences.equal("success_count", expected.success_count.as_ref(), &seen.success_count);
    let close = |rate: &f64| (rate - seen.failure_rate).abs() <= RATE_TOLERANCE;
    if let Some(rate) = expected.failure_rate.filter(|rate| !close(rate)) {
        differences.note("failure_rate", rate, seen.failure_rate);
    }
    differences
}

fn limiter_shows(expected: &LimiterExpectation, seen: &Limited) -> Differences {
    let mut differences = Differences::default();
    if let (Some(expected), got) = (expected.admitted, seen.admitted)
        && got != Some(expected)
    {
        let got = got.map_or("no call".to_owned(), |got| got.to_string());
        differences.note("admitted", expected, got);
    }
    if let Some(promise) = expected.retry_after {
        let got = (seen.admitted, seen.retry_after);
        compare_promise(&mut differences, promise, expected.admitted, got);
    }
    differences.equal("remaining", expected.remaining.as_ref(), &seen.remaining);
    #[expect(clippy::cast_precision_loss, reason = "cases count to no more than a float can")]
    let rate = seen.current_rate as f64;
    if let Some(expected) = expected.current_rate.filter(|it| (it - rate).abs() > RATE_TOLERANCE) {
        differences.note("current_rate", expected, rate);
    }
    differences.equal("waiting", expected.waiting.as_ref(), &seen.waiting);
    if let Some(expected) = expected.began.as_ref().filter(|began| **began != seen.began) {
        differences.note("began", Began(expected), Began(&seen.began));
    }
    differences
}

fn budget_shows(expected: &BudgetExpectation, seen: &Spent) -> Differences {
    let mut differences = Differences::default();
    let mut same = |what: &str, expected: Option<String>, got: Option<String>| {
        if expected.is_some() && expected != got {
            let got = got.unwrap_or_else(|| "nothing".to_owned());
            differences.note(what, expected.unwrap_or_default(), got);
        }
    };
    let text = |value: &dyn fmt::Display| value.to_string();
    let (refused_by, dimension) = seen.refusal.clone().unzip();
    same("granted", expected.granted.map(|it| text(&it)), seen.granted.map(|it| text(&it)));
    same("refused_by", expected.refused_by.clone(), refused_by);
    same("dimension", expected.dimension.map(|it| text(&it)), dimension.map(|it| text(&it)));
    same("calls", expected.calls.map(|it| text(&it)), seen.calls.map(|it| text(&it)));
    let ends = [&expected.outcome, &seen.outcome].map(|end| end.as_ref().map(|it| text(it)));
    let [outcome, got] = ends;
    same("outcome", outcome, got);
    same("stop", expected.stop.clone(), seen.stop.clone());
    let list =
        |told: &[BudgetNews]| told.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    same("told", expected.told.as_deref().map(list), Some(list(&seen.told)));
    for (name, lines) in &expected.budgets {
        let Some((_, status)) = seen.statuses.iter().find(|(held, _)| held == name) else {
            differences.note(name, "a budget", "none");
            continue;
        };
        let mut compare =
            |what: &str, expected: &Amounts, got: &dyn Fn(Dimension) -> Option<u64>| {
                for (dimension, amount) in expected {
                    if *amount != got(*dimension) {
                        let show =
                            |amount: Option<u64>| amount.map_or("null".into(), |it| it.to_string());
                        let what = format!("{what} {dimension} of {name}");
                        differences.note(&what, show(*amount), show(got(*dimension)));
                    }
                }
            };
        compare("spent", &lines.spent, &|dimension| Some(status.spent.of(dimension)));
        compare("reserved", &lines.reserved, &|dimension| Some(status.reserved.of(dimension)));
        compare("remaining", &lines.remaining, &|dimension| status.remaining.of(dimension));
    }
    differences
}

fn shedder_shows(expected: &ShedderExpectation, seen: &Shed) -> Differences {
    let mut differences = Differences::default();
    if let Some(expected) = expected.admitted.filter(|expected| seen.admitted != Some(*expected)) {
        let got = seen.admitted.map_or("no call".to_owned(), |got| got.to_string());
        differences.note("admitted", expected, got);
    }
    let unknown_priority = expected.unknown_priority.as_ref();
    differences.equal("unknown_priority", unknown_priority, &seen.unknown_priority);
    let reason = seen.reason;
    let signal = reason.map_or("none", |(signal, ..)| signal.as_str());
    differences.equal("signal", expected.signal.map(Signal::as_str).as_ref(), &signal);
    let told = [
        ("load", expected.load, reason.map(|(_, load, _)| load)),
        ("limit", expected.limit, reason.map(|(.., limit)| limit)),
    ];
    for (what, expected, got) in told {
        let got = got.map_or(f64::NAN, f64::from);
        if let Some(expected) =
            expected.filter(|it| got.is_nan() || (it - got).abs() > TOLD_TOLERANCE)
        {
            differences.note(what, expected, got);
        }
    }
    if let Some((low, high)) =
        expected.shed.filter(|(low, high)| !(low..=high).contains(&&seen.refused))
    {
        let wanted = if low == high { low.to_string() } else { format!("from {low} to {high}") };
        differences.note("shed", wanted, seen.refused);
    }
    differences.equal("in_flight", expected.in_flight.as_ref(), &seen.in_flight);
    differences.equal("would_shed", expected.would_shed.as_ref(), &seen.let_in);
    let share = seen.admitted_share;
    if let Some(expected) =
        expected.admitted_share.filter(|expected| (expected - share).abs() > RATE_TOLERANCE)
    {
        differences.note("admitted_share", expected, share);
    }
    differences
}

/// As a file writes it.
struct Began<'a>(&'a [(String, Timestamp)]);

impl fmt::Display for Began<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (call, at)) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{call} at {}", Seconds(u128::from(at.as_nanos())))?;
        }
        if self.0.is_empty() { f.write_str("nobody") } else { Ok(()) }
    }
}

fn compare_promise(
    differences: &mut Differences,
    expected: Promise,
    may_be_admitted: Option<bool>,
    (admitted, retry_after): (Option<bool>, Option<Duration>),
) {
    let got = match retry_after {
        _ if admitted == Some(true) => "an admission".to_owned(),
        Some(got) => Seconds(got.as_nanos()).to_string(),
        None => "none".to_owned(),
    };
    match (expected, retry_after) {
        (Promise::Nanos(nanos), Some(time)) if admitted != Some(true) => {
            if !same_time(nanos, time) {
                differences.note("retry_after", Seconds(nanos), got);
            }
        }
        (Promise::Nanos(nanos), _) => differences.note("retry_after", Seconds(nanos), got),
        // That a rejection promises nothing takes a rejection.
        (Promise::Nothing, _) if admitted == Some(true) => {
            if may_be_admitted != Some(true) {
                differences.note("retry_after", "a rejection without one", got);
            }
        }
        (Promise::Nothing, Some(_)) => differences.note("retry_after", "none", got),
        (Promise::Nothing, None) => {}
    }
}

fn call_went(expected: &RetryExpectation, tried: &Tried) -> Differences {
    let mut differences = Differences::default();
    differences.equal("outcome", expected.outcome.as_ref(), &tried.outcome);
    differences.equal("attempts", expected.attempts.as_ref(), &tried.attempts);
    if let Some(delays) = &expected.delays {
        compare_delays(&mut differences, delays, &tried.delays);
    }
    compare_time(&mut differences, "elapsed", expected.elapsed, tried.elapsed);
    // Announced and made waits are one: what a call took is its attempts and its waits.
    let waits: u128 = tried.delays.iter().map(Duration::as_nanos).sum();
    let sum = waits + tried.spent.as_nanos();
    if sum != tried.elapsed.as_nanos() && sum < u128::from(u64::MAX) {
        let got = Seconds(tried.elapsed.as_nanos());
        differences.note("attempts and announced waits together", got, Seconds(sum));
    }
    if let Some((attempts, elapsed)) = tried.told {
        differences.equal("attempts told by the error", Some(&tried.attempts), &attempts);
        if !same_time(tried.elapsed.as_nanos(), elapsed) {
            let (right, told) = (Seconds(tried.elapsed.as_nanos()), Seconds(elapsed.as_nanos()));
            differences.note("elapsed told by the error", right, told);
        }
    }
    differences
}

fn race_went(expected: &HedgeExpectation, raced: &Raced) -> Differences {
    let mut differences = Differences::default();
    differences.equal("outcome", expected.outcome.as_ref(), &raced.outcome);
    differences.equal("calls", expected.calls.as_ref(), &raced.calls);
    if let Some(started) = &expected.started {
        compare_list(&mut differences, "start", started, &raced.started);
    }
    compare_time(&mut differences, "elapsed", expected.elapsed, raced.elapsed);
    differences.equal("cancelled", expected.cancelled.as_ref(), &raced.cancelled);
    differences.equal("overdue", expected.overdue.as_ref(), &raced.overdue);
    if let Some(expected) = expected.tokens.filter(|expected| raced.tokens != Some(*expected)) {
        let got = raced.tokens.map_or("no budget".to_owned(), |tokens| tokens.to_string());
        differences.note("tokens", expected, got);
    }
    differences
}

fn chain_went(expected: &FallbackExpectation, answered: &Answered) -> Differences {
    let mut differences = Differences::default();
    differences.equal("outcome", expected.outcome.as_ref(), &answered.outcome);
    if let Some(link) = expected.link.as_ref().filter(|link| answered.link.as_ref() != Some(link)) {
        differences.note("link", link, answered.link.as_deref().unwrap_or("none"));
    }
    if let Some(failures) = expected.failures.as_ref().filter(|list| **list != answered.failures) {
        differences.note("failures", Failures(failures), Failures(&answered.failures));
    }
    match (expected.age, answered.age) {
        (Some(age), Some(got)) => compare_time(&mut differences, "age", Some(age), got),
        (Some(age), None) => differences.note("age", Seconds(age), "an answer that was not kept"),
        (None, _) => {}
    }
    compare_time(&mut differences, "elapsed", expected.elapsed, answered.elapsed);
    differences
}

fn compare_time(differences: &mut Differences, what: &str, expected: Option<u128>, got: Duration) {
    if let Some(nanos) = expected.filter(|nanos| !same_time(*nanos, got)) {
        differences.note(what, Seconds(nanos), Seconds(got.as_nanos()));
    }
}

fn compare_list(
    differences: &mut Differences,
    what: &str,
    expected: &[(u128, u128)],
    got: &[Duration],
) {
    if expected.len() != got.len() {
        return differences.note(&format!("number of {what}s"), expected.len(), got.len());
    }
    for (index, (bounds, time)) in expected.iter().zip(got).enumerate() {
        compare_bounds(differences, &format!("{what} {index}"), *bounds, *time);
    }
}

/// Whether a time is between two bounds.
fn compare_bounds(
    differences: &mut Differences,
    what: &str,
    (low, high): (u128, u128),
    got: Duration,
) {
    let nanos = got.as_nanos();
    if nanos + NANOS_TOLERANCE < low || nanos > high.saturating_add(NANOS_TOLERANCE) {
        let wanted = if low == high {
            Seconds(low).to_string()
        } else {
            format!("from {} to {}", Seconds(low), Seconds(high))
        };
        differences.note(what, wanted, Seconds(nanos));
    }
}

/// Links that failed, each with what it gave.
struct Failures<'a>(&'a [(String, OutcomeKind)]);

impl fmt::Display for Failures<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<_> =
            self.0.iter().map(|(link, outcome)| format!("{link} {outcome}")).collect();
        write!(f, "[{}]", shown.join(", "))
    }
}

fn compare_delays(differences: &mut Differences, expected: &Delays, got: &[Duration]) {
    if got.len() as u64 != expected.count {
        let shown: Vec<_> =
            got.iter().take(8).map(|delay| Seconds(delay.as_nanos()).to_string()).collect();
        let more = if got.len() > 8 { ", …" } else { "" };
        let found = format!("{} ({}{more})", got.len(), shown.join(", "));
        differences.note("number of delays", expected.count, found);
        return;
    }
    let bounds = expected.first.iter().map(Some).chain(std::iter::repeat(expected.then.as_ref()));
    for (index, (delay, bounds)) in got.iter().zip(bounds).enumerate() {
        let Some(&(low, high)) = bounds else { return };
        let before = differences.0.len();
        compare_bounds(differences, &format!("delay {index}"), (low, high), *delay);
        if differences.0.len() > before {
            return;
        }
    }
}

fn same_time(nanos: u128, time: Duration) -> bool {
    nanos.abs_diff(time.as_nanos()) <= NANOS_TOLERANCE
}

/// Nanoseconds as the case files write them.
struct Seconds(u128);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        if rest == 0 {
            return write!(f, "{whole} s");
        }
        let rest = format!("{rest:09}");
        write!(f, "{whole}.{} s", rest.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_inside_another_goes_by_its_plain_name_too() {
        assert!(names("rate", "trip.rate"));
        assert!(names("timeout_growth.factor", "factor"));
        assert!(names("timeout", "timeout"));
        assert!(!names("timeout", "half_open_timeout"));
        assert!(!names("timeout", ""));
        assert!(!names("trip", "trip.rate"));
    }

    #[test]
    fn times_are_shown_as_the_files_write_them() {
        let shown = [0, 1, 1_500_000_000, 60_000_000_000].map(|nanos| Seconds(nanos).to_string());
        assert_eq!(shown, ["0 s", "0.000000001 s", "1.5 s", "60 s"]);
    }
}
