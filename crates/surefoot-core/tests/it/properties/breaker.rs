//! The circuit breaker against its model, one property for each rule of tripping.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use surefoot_core::circuit_breaker::{
    CircuitBreakerBuilder, CircuitBreakerConfig, TimeoutGrowth, Trip,
};
use surefoot_core::{
    CircuitBreaker, CircuitState, Clock, DropReason, Event, ManualClock, Name, Permit, Timestamp,
    Verdict, with_drop_reason,
};

use super::breaker_model::{Model, Ticket};
use super::{Draw, check};

#[test]
fn failures_within_the_window_decide_as_the_model_does() {
    check(10, &cases(Kind::Failures), |case| compare(&case));
}

#[test]
fn failures_in_a_row_decide_as_the_model_does() {
    check(7, &cases(Kind::Consecutive), |case| compare(&case));
}

#[test]
fn a_rate_over_calls_decides_as_the_model_does() {
    check(10, &cases(Kind::RateCount), |case| compare(&case));
}

#[test]
fn a_rate_over_time_decides_as_the_model_does() {
    check(10, &cases(Kind::RateTime), |case| compare(&case));
}

#[test]
fn slow_calls_decide_as_the_model_does() {
    check(9, &cases(Kind::Slow), |case| compare(&case));
}

#[test]
fn a_clock_that_runs_backwards_never_panics_and_leaves_the_breaker_usable() {
    let any_kind = (0..KINDS.len()).prop_flat_map(|kind| cases(KINDS[kind]));
    check(3, &any_kind, |case| survive(&case));
}

#[test]
fn jitter_adds_at_most_its_share_to_an_open_time_and_the_same_seed_repeats_it() {
    let cases = (1..=1_000_000_000u64, 0.0..=1.0, any::<u32>(), 1.0..4.0, 1..=8u32);
    check(1, &cases, |(timeout, share, seed, factor, longest)| {
        let timeout = Duration::from_nanos(timeout);
        let waits = || -> Vec<Duration> {
            let clock = ManualClock::new();
            let breaker = CircuitBreaker::builder("jitter")
                .failure_threshold(1)
                .timeout(timeout)
                .timeout_growth(factor, timeout * longest)
                .timeout_jitter(share)
                .seed(seed)
                .clock(&clock)
                .build()
                .unwrap();
            let reopen = |_| {
                breaker.admit().unwrap().failure();
                let wait = breaker.status().retry_after.unwrap();
                clock.advance(wait);
                wait
            };
            (0..6).map(reopen).collect()
        };
        let drawn = waits();
        for (reopened, wait) in (0..).zip(&drawn) {
            let cap = (timeout * longest).as_secs_f64();
            let least = (timeout.as_secs_f64() * factor.powi(reopened)).min(cap);
            let most = (least * (1.0 + share)).min(cap);
            let wait = wait.as_secs_f64();
            prop_assert!((least - 1e-8..=most + 1e-8).contains(&wait), "{} {:?}", reopened, drawn);
        }
        prop_assert_eq!(waits(), drawn);
        Ok(())
    });
}

// ---- cases ---------------------------------------------------------------------------------

#[derive(Clone)]
struct Case {
    /// The first is what the breaker is built with; `Reconfigure` changes to the others.
    configs: Vec<CircuitBreakerConfig>,
    steps: Vec<Step>,
}

impl fmt::Debug for Case {
    /// One line for each config and step, however the line is asked for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for config in &self.configs {
            let config = format!("{config:?}"); // one line, even if asked for many
            write!(f, "\n  {config}")?;
        }
        self.steps.iter().enumerate().try_for_each(|(number, step)| {
            let step = format!("{step:?}");
            write!(f, "\n  step {number}: {step}")
        })
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Advance(u64),
    /// Asks for a permit and keeps it.
    Admit,
    /// Asks for a permit and settles it at once.
    Call(End),
    /// Settles one of the permits kept, perhaps a very old one.
    Settle(usize, End),
    Reset,
    ForceOpen,
    Disable,
    Automatic,
    Reconfigure(usize),
}

#[derive(Clone, Copy, Debug)]
enum End {
    Verdict(Verdict),
    /// Dropped because our own deadline ended the call.
    Deadline,
    /// Dropped by the caller.
    Drop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Failures,
    Consecutive,
    RateCount,
    RateTime,
    Slow,
}

const KINDS: [Kind; 5] =
    [Kind::Failures, Kind::Consecutive, Kind::RateCount, Kind::RateTime, Kind::Slow];

const RATES: [f64; 6] = [1.0, 0.5, 0.25, 1.0 / 3.0, 2.0 / 3.0, 0.75];

fn cases(kind: Kind) -> impl Strategy<Value = Case> {
    let steps = vec((any::<u8>(), any::<u8>(), any::<u8>()), 1..50);
    (vec(any::<u8>(), 64), any::<u8>(), steps).prop_map(move |(options, operators, raw)| Case {
        configs: configs(kind, &mut Draw::new(&options)),
        // In half of all cases no operator interferes.
        steps: raw.into_iter().map(|raw| step(raw, operators % 2 == 1)).collect(),
    })
}

fn configs(kind: Kind, draw: &mut Draw<'_>) -> Vec<CircuitBreakerConfig> {
    let first = config(kind, draw);
    let places = first.half_open_max_calls.unwrap_or(first.success_threshold);
    // The same window with other thresholds keeps its counters; another kind starts anew.
    let mut retuned = config(kind, draw);
    retuned.half_open_max_calls = Some(places);
    retuned.failure_window = first.failure_window;
    retuned.trip = retune(first.trip, draw);
    let mut other = config(draw.one_of(&KINDS), draw);
    other.half_open_max_calls = Some(places);
    if kind == Kind::RateCount || kind == Kind::Slow {
        // What a larger window remembers of the time when it was smaller is not specified.
        if let Some(Trip::RateCountWindow { .. } | Trip::Slow { .. }) = other.trip {
            other.trip = None;
        }
    }
    if other.trip.is_none() {
        other.failure_window = first.failure_window;
    }
    vec![first, retuned, other]
}

fn config(kind: Kind, draw: &mut Draw<'_>) -> CircuitBreakerConfig {
    let timeout = draw.from(1, 5);
    let growth = draw.maybe(1, 5);
    CircuitBreakerConfig {
        name: Name::from("model"),
        failure_threshold: draw.from(1, 4),
        success_threshold: draw.from(1, 3),
        timeout: ticks(timeout),
        failure_window: ticks(draw.from(1, 8)),
        half_open_max_calls: draw.maybe(1, 3),
        half_open_timeout: draw.maybe(1, 5).map(ticks),
        timeout_growth: growth.map(|times| TimeoutGrowth {
            factor: f64::from(draw.from(1, 3)),
            max: ticks(timeout * times),
        }),
        max_throttle: ticks(draw.from(1, 8)),
        trip: trip(kind, draw),
        ..CircuitBreakerConfig::default()
    }
}

fn trip(kind: Kind, draw: &mut Draw<'_>) -> Option<Trip> {
    let rate = draw.one_of(&RATES);
    let window = draw.from(1, 6);
    let min_calls = draw.from(1, window);
    match kind {
        Kind::Failures => None,
        Kind::Consecutive => Some(Trip::Consecutive { failures: draw.from(1, 4) }),
        Kind::RateCount => Some(Trip::RateCountWindow { rate, window_calls: window, min_calls }),
        Kind::RateTime => {
            // Windows that their buckets do not divide, too: 5 ns in 3 parts.
            let buckets = draw.from(1, 4);
            let window = ticks(draw.from(buckets, 12));
            Some(Trip::RateTimeWindow { rate, window, min_calls, buckets })
        }
        Kind::Slow => {
            let slow_after = ticks(draw.from(1, 3));
            Some(Trip::Slow { rate, slow_after, window_calls: window, min_calls })
        }
    }
}

/// The same window with other limits.
fn retune(trip: Option<Trip>, draw: &mut Draw<'_>) -> Option<Trip> {
    let rate = draw.one_of(&RATES);
    Some(match trip? {
        Trip::Consecutive { .. } => Trip::Consecutive { failures: draw.from(1, 4) },
        Trip::RateCountWindow { window_calls, .. } => {
            Trip::RateCountWindow { rate, window_calls, min_calls: draw.from(1, window_calls) }
        }
        Trip::RateTimeWindow { window, buckets, .. } => {
            Trip::RateTimeWindow { rate, window, min_calls: draw.from(1, 6), buckets }
        }
        Trip::Slow { window_calls, .. } => Trip::Slow {
            rate,
            slow_after: ticks(draw.from(1, 3)),
            window_calls,
            min_calls: draw.from(1, window_calls),
        },
    })
}

fn step((what, which, how): (u8, u8, u8), operators: bool) -> Step {
    match what {
        0..60 => Step::Advance(u64::from(which % 5)),
        60..130 => Step::Call(end(how)),
        130..165 => Step::Admit,
        165..232 => Step::Settle(which.into(), end(how)),
        _ if !operators => Step::Advance(u64::from(which % 9)),
        232..235 => Step::Reset,
        235..239 => Step::ForceOpen,
        239..243 => Step::Disable,
        243..250 => Step::Automatic,
        250.. => Step::Reconfigure((which % 3).into()),
    }
}

fn end(how: u8) -> End {
    match how {
        0..90 => End::Verdict(Verdict::Failure),
        90..180 => End::Verdict(Verdict::Success),
        180..195 => End::Drop,
        195..205 => End::Verdict(Verdict::Cancelled),
        205..220 => End::Verdict(Verdict::Ignored),
        220..230 => End::Deadline,
        230..233 => End::Verdict(Verdict::Throttled { retry_after: None }),
        233.. => {
            let retry_after = Some(ticks(u32::from(how % 10)));
            End::Verdict(Verdict::Throttled { retry_after })
        }
    }
}

/// The unit of all times: so small that rounding has nowhere to hide.
fn ticks(count: u32) -> Duration {
    Duration::from_nanos(count.into())
}

// ---- rules ---------------------------------------------------------------------------------

fn compare(case: &Case) -> TestCaseResult {
    let clock = ManualClock::new();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let breaker = {
        let heard = Arc::clone(&heard);
        CircuitBreakerBuilder::from(case.configs[0].clone())
            .clock(&clock)
            .on_event(move |event: &Event| heard.lock().unwrap().push(event.clone()))
            .build()
            .unwrap()
    };
    let mut model = Model::new(case.configs[0].clone());
    let mut permits: Vec<(Permit, Ticket)> = Vec::new();
    for (number, step) in case.steps.iter().enumerate() {
        match *step {
            Step::Advance(by) => {
                clock.advance(Duration::from_nanos(by));
                model.advance(by);
            }
            Step::Admit => {
                let (ours, theirs) = (breaker.admit(), model.admit());
                let ours = ours.map(|permit| permits.push((permit, Ticket::default())));
                prop_assert_eq!(&ours, &theirs.clone().map(drop), "step {} {:?}", number, step);
                if let (Ok(ticket), Some(last)) = (theirs, permits.last_mut()) {
                    last.1 = ticket;
                }
            }
            Step::Call(end) => {
                let ours = breaker.admit_borrowed().map(|permit| settle(permit, end));
                let theirs = model.admit().map(|ticket| model.settle(ticket, verdict(end)));
                prop_assert_eq!(ours, theirs, "step {} {:?}", number, step);
            }
            Step::Settle(which, end) if !permits.is_empty() => {
                let (permit, ticket) = permits.remove(which % permits.len());
                if model.is_doubtful(ticket) {
                    permits.push((permit, ticket));
                } else {
                    settle(permit, end);
                    model.settle(ticket, verdict(end));
                }
            }
            Step::Settle(..) => {}
            Step::Reset => {
                breaker.reset();
                model.reset();
            }
            Step::ForceOpen => {
                breaker.force_open();
                model.force_open();
            }
            Step::Disable => {
                breaker.disable();
                model.disable();
            }
            Step::Automatic => {
                breaker.automatic();
                model.automatic();
            }
            Step::Reconfigure(which) => {
                breaker.reconfigure(case.configs[which].clone()).unwrap();
                model.reconfigure(case.configs[which].clone());
            }
        }
        prop_assert_eq!(breaker.state(), model.status().state, "step {} {:?}", number, step);
        prop_assert_eq!(breaker.status(), model.status(), "step {} {:?}", number, step);
        let heard = std::mem::take(&mut *heard.lock().unwrap());
        let expected = std::mem::take(&mut model.events);
        prop_assert_eq!(heard, expected, "step {} {:?}", number, step);
    }
    Ok(())
}

fn settle<B: std::borrow::Borrow<CircuitBreaker>>(permit: Permit<B>, end: End) {
    match end {
        End::Verdict(Verdict::Success) => permit.success(),
        End::Verdict(verdict) => permit.settle(verdict),
        End::Deadline => with_drop_reason(DropReason::Deadline, || drop(permit)),
        End::Drop => drop(permit),
    }
}

fn verdict(end: End) -> Verdict {
    match end {
        End::Verdict(verdict) => verdict,
        End::Deadline => Verdict::Failure,
        End::Drop => Verdict::Cancelled,
    }
}

/// Half of the steps in time go backwards.
fn survive(case: &Case) -> TestCaseResult {
    let clock = ManualClock::new();
    let config = case.configs[0].clone();
    let breaker = CircuitBreakerBuilder::from(config).clock(&clock).build().unwrap();
    let mut permits = Vec::new();
    for step in &case.steps {
        match *step {
            Step::Advance(by) if by % 2 == 0 => clock.advance(Duration::from_nanos(by)),
            Step::Advance(by) => clock.set(clock.now().saturating_sub(Duration::from_nanos(by))),
            Step::Admit => permits.extend(breaker.admit()),
            Step::Call(end) => drop(breaker.admit().map(|permit| settle(permit, end))),
            Step::Settle(which, end) if !permits.is_empty() => {
                settle(permits.remove(which % permits.len()), end);
            }
            Step::Settle(..) => {}
            Step::Reset => breaker.reset(),
            Step::ForceOpen => breaker.force_open(),
            Step::Disable => breaker.disable(),
            Step::Automatic => breaker.automatic(),
            Step::Reconfigure(which) => breaker.reconfigure(case.configs[which].clone()).unwrap(),
        }
        let status = breaker.status();
        prop_assert!((0.0..=1.0).contains(&status.failure_rate), "{:?}", status);
    }
    drop(permits);
    breaker.automatic();
    clock.set(Timestamp::from_nanos(1_000_000));
    for _ in 0..8 {
        // From whatever state, one good call after the other closes it.
        clock.advance(Duration::from_micros(1));
        let rejection = breaker.admit().map(Permit::success).err();
        prop_assert_eq!(&rejection, &None, "{:?}", breaker.status());
    }
    prop_assert_eq!(breaker.state(), CircuitState::Closed);
    Ok(())
}
