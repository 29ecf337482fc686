//! The rate limiter against its model, one property for each algorithm.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use surefoot_core::rate_limiter::{
    Algorithm, Charge, KeyedRateLimiter, RateLimiterBuilder, RateLimiterStatus, Reservation,
};
use surefoot_core::{Clock, ManualClock, RateLimiter, Rejection, Timestamp};

use super::limiter_model::{Limit, Model};
use super::{Draw, check};

#[test]
fn a_sliding_log_decides_as_the_model_does() {
    check(3, &cases(&[Algorithm::SlidingLog]), |case| compare(&case));
}

#[test]
fn gcra_and_a_token_bucket_decide_as_the_model_does() {
    check(2, &cases(&[Algorithm::Gcra, Algorithm::TokenBucket]), |case| compare(&case));
}

#[test]
fn exact_gcra_decides_as_the_model_does() {
    check(2, &cases(&[Algorithm::GcraExact]), |case| compare(&case));
}

#[test]
fn a_bucket_ring_decides_as_the_model_does() {
    check(2, &cases(&[Algorithm::BucketRing]), |case| compare(&case));
}

#[test]
fn a_fixed_window_decides_as_the_model_does() {
    check(2, &cases(&[Algorithm::FixedWindow]), |case| compare(&case));
}

#[test]
fn slots_that_are_waited_for_are_due_when_the_model_says_and_cancelled_ones_leave_no_trace() {
    check(4, &cases(&ALL), |case| compare_line(&case));
}

#[test]
fn each_key_decides_as_a_limiter_of_its_own() {
    check(2, &cases(&ALL), |case| compare_keys(&case));
}

#[test]
fn limits_that_do_not_divide_their_window_keep_their_bound_and_their_promise() {
    let cases = (1..5_000u64, 1..5_000u64, 1..5_000u64, 0..3usize, any::<u64>());
    check(2, &cases, |(max_requests, window, burst, kind, seed)| {
        let algorithm = [Algorithm::Gcra, Algorithm::GcraExact, Algorithm::TokenBucket][kind];
        let burst = 1 + burst % max_requests;
        rounded(Limit { algorithm, max_requests, time_window: window, burst, buckets: 1 }, seed)
    });
}

#[test]
fn estimates_corrected_downward_never_admit_more_than_the_bound() {
    check(2, &cases(&ALL), |case| correct_downward(&case));
}

#[test]
fn a_clock_that_runs_backwards_never_panics_and_never_frees_early() {
    check(1, &cases(&ALL), |case| survive(&case));
}

// ---- cases ---------------------------------------------------------------------------------

pub(super) const ALL: [Algorithm; 6] = [
    Algorithm::SlidingLog,
    Algorithm::Gcra,
    Algorithm::GcraExact,
    Algorithm::TokenBucket,
    Algorithm::BucketRing,
    Algorithm::FixedWindow,
];

#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) limit: Limit,
    pub(super) steps: Vec<Step>,
}

/// What a step means is for each property to say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) kind: u32,
    pub(super) advance: u64,
    pub(super) n: u64,
    pub(super) which: usize,
}

pub(super) fn cases(algorithms: &'static [Algorithm]) -> impl Strategy<Value = Case> {
    let steps = vec((0..8u32, 0..24u64, 0..12u64, 0..8usize), 1..40);
    (vec(any::<u8>(), 8), steps).prop_map(move |(bytes, steps)| {
        let mut draw = Draw::new(&bytes);
        let algorithm = draw.one_of(algorithms);
        let max_requests = u64::from(draw.from(1, 8));
        let burst = match algorithm {
            Algorithm::GcraExact => u64::from(draw.from(1, 8)).min(max_requests),
            _ => u64::from(draw.from(1, 12)),
        };
        let limit = Limit {
            algorithm,
            max_requests,
            time_window: u64::from(draw.from(1, 40)),
            burst,
            buckets: u64::from(draw.from(1, 6)),
        };
        let step = |(kind, advance, n, which)| {
            // Most steps happen at one instant, or near it.
            let advance = if advance > 12 { 0 } else { advance };
            Step { kind, advance, n: 1 + n % (limit.capacity() + 1), which }
        };
        Case { limit, steps: steps.into_iter().map(step).collect() }
    })
}

pub(super) fn builder(limit: Limit, clock: &ManualClock) -> RateLimiterBuilder {
    let builder = RateLimiter::builder("model")
        .max_requests(limit.max_requests)
        .time_window(Duration::from_nanos(limit.time_window))
        .max_wait(Duration::from_secs(1))
        .clock(clock);
    match limit.algorithm {
        Algorithm::Gcra => builder.gcra(limit.burst),
        Algorithm::GcraExact => builder.gcra_exact(limit.burst),
        Algorithm::TokenBucket => builder.token_bucket(limit.burst),
        Algorithm::BucketRing => builder.bucket_ring(u32::try_from(limit.buckets).unwrap()),
        other => builder.algorithm(other),
    }
}

/// The wait of an answer: zero if admitted, `None` if never.
pub(super) fn wait(answer: Result<(), Rejection>) -> Option<u64> {
    match answer {
        Ok(()) => Some(0),
        Err(rejection) => rejection.retry_after().map(nanos),
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap()
}

// ---- properties ----------------------------------------------------------------------------

/// Every answer and everything that can be seen is the model's; what was admitted keeps the bound.
fn compare(case: &Case) -> TestCaseResult {
    let clock = ManualClock::new();
    let limiter = builder(case.limit, &clock).max_wait(Duration::ZERO).build().unwrap();
    let mut model = Model::new(case.limit);
    for (number, step) in case.steps.iter().enumerate() {
        clock.advance(Duration::from_nanos(step.advance));
        let now = clock.now().as_nanos();
        // Half of all calls weigh one.
        let n = if step.kind < 4 { 1 } else { step.n };
        let earliest = model.earliest(n, now);
        let expected = earliest.map(|at| at - now);
        prop_assert_eq!(limiter.retry_after(n).map(nanos), expected, "step {}", number);
        prop_assert_eq!(wait(limiter.check_n(n)), expected, "step {}", number);
        if earliest == Some(now) {
            model.take(n, now);
        }
        let status = limiter.status();
        prop_assert_eq!(status.current_rate, model.used(now), "step {}", number);
        prop_assert_eq!(status.remaining, model.remaining(now), "step {}", number);
        prop_assert_eq!(status.reset_at.as_nanos(), model.reset_at(now), "step {}", number);
    }
    prop_assert!(model.most_in_a_window() <= case.limit.bound());
    Ok(())
}

/// A place in the line as the test holds it.
enum Held {
    Waiting(Reservation),
    Begun(Charge),
    Gone,
}

/// Reserving, cancelling, beginning, correcting: dues and all that can be seen are the model's.
fn compare_line(case: &Case) -> TestCaseResult {
    let clock = ManualClock::new();
    let limiter = builder(case.limit, &clock).build().unwrap();
    let in_windows = !case.limit.is_bucket();
    let mut model = Model::new(case.limit);
    // For each place of the model, what is held of it.
    let mut held: Vec<Held> = vec![];
    for (number, step) in case.steps.iter().enumerate() {
        clock.advance(Duration::from_nanos(step.advance));
        let now = clock.now().as_nanos();
        let which = held.len().checked_sub(1 + step.which);
        match (step.kind, which) {
            (0 | 1, _) => {
                let expected = model.earliest(1, now).map(|at| at - now);
                prop_assert_eq!(wait(limiter.check()), expected, "step {}", number);
                if expected == Some(0) {
                    model.take(1, now);
                    held.push(Held::Gone);
                }
            }
            (2..=4, _) => {
                let latest = now + 3 * case.limit.time_window;
                let due = model.earliest(step.n, now);
                match limiter.reserve(step.n, Timestamp::from_nanos(latest)) {
                    Ok(slot) => {
                        prop_assert_eq!(Some(slot.due().as_nanos()), due, "step {}", number);
                        prop_assert!(due.is_some_and(|due| due <= latest), "step {}", number);
                        model.take(step.n, due.unwrap());
                        held.push(Held::Waiting(slot));
                    }
                    Err(rejection) => {
                        let told = rejection.retry_after().map(|wait| now + nanos(wait));
                        prop_assert_eq!(told, due, "step {}", number);
                        prop_assert!(due.is_none_or(|due| due > latest), "step {}", number);
                    }
                }
            }
            // Give it back or settle it, whatever it is.
            (_, Some(which)) => match std::mem::replace(&mut held[which], Held::Gone) {
                Held::Waiting(slot) if model.taken[which].at > now => {
                    drop(slot.begin().expect_err("it is not due"));
                    let n = model.taken[which].n;
                    model.give_back(which, n, now);
                }
                Held::Waiting(slot) => {
                    held[which] = Held::Begun(slot.begin().expect("it is due"));
                }
                Held::Begun(charge) if step.kind == 5 => drop(charge),
                Held::Begun(charge) => {
                    let n = model.taken[which].n;
                    let used = if in_windows { step.n - 1 } else { n + step.n };
                    charge.settle(used);
                    if used > n {
                        model.owe(used - n, now);
                        held.push(Held::Gone);
                    } else if case.limit.leaves_at(model.taken[which].at) > now {
                        model.give_back(which, n - used, now);
                    }
                }
                Held::Gone => {}
            },
            (_, None) => {}
        }
        for (place, held) in held.iter().enumerate() {
            if let Held::Waiting(slot) = held {
                prop_assert_eq!(slot.due().as_nanos(), model.taken[place].at, "step {}", number);
            }
        }
        let status = limiter.status();
        prop_assert_eq!(status.remaining, model.remaining(now), "step {}", number);
        if in_windows {
            prop_assert_eq!(status.current_rate, model.used(now), "step {}", number);
        }
    }
    Ok(())
}

fn compare_keys(case: &Case) -> TestCaseResult {
    let clock = ManualClock::new();
    let keyed: KeyedRateLimiter<usize> = builder(case.limit, &clock).build_keyed().unwrap();
    let single: Vec<_> = (0..8).map(|_| builder(case.limit, &clock).build().unwrap()).collect();
    for step in &case.steps {
        clock.advance(Duration::from_nanos(step.advance));
        let (key, single) = (&step.which, &single[step.which]);
        if step.kind == 0 {
            keyed.evict_idle();
        }
        prop_assert_eq!(keyed.retry_after(key, step.n), single.retry_after(step.n));
        prop_assert_eq!(keyed.check_n(key, step.n), single.check_n(step.n));
        // Totals are those of all keys.
        let alone = RateLimiterStatus { totals: keyed.totals(), ..single.status() };
        prop_assert_eq!(keyed.status(key), alone);
    }
    let totals = single.iter().map(RateLimiter::totals);
    let [admitted, rejected] = totals.fold([0, 0], |[admitted, rejected], totals| {
        [admitted + totals.admitted, rejected + totals.rejected]
    });
    let all = keyed.totals();
    prop_assert_eq!([all.admitted, all.rejected], [admitted, rejected]);
    Ok(())
}

/// Obeying every `retry_after` gets every call through, and no window sees more than the bound.
fn rounded(limit: Limit, seed: u64) -> TestCaseResult {
    let clock = ManualClock::new();
    let limiter = builder(limit, &clock).build().unwrap();
    let mut model = Model::new(limit);
    let mut random = seed;
    for _ in 0..60 {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let n = 1 + (random >> 33) % limit.burst;
        if let Err(refusal) = limiter.check_n(n) {
            let wait = refusal.retry_after().expect("it fits some time");
            clock.advance(wait);
            prop_assert_eq!(limiter.check_n(n), Ok(()));
        }
        model.take(n, clock.now().as_nanos());
        clock.advance(Duration::from_nanos(
            (random >> 20) % (limit.time_window / limit.max_requests + 2),
        ));
    }
    prop_assert!(model.most_in_a_window() <= limit.bound());
    Ok(())
}

/// Units that calls really used keep the bound, whatever was taken for them at first.
fn correct_downward(case: &Case) -> TestCaseResult {
    let clock = ManualClock::new();
    let limiter = builder(case.limit, &clock).build().unwrap();
    let mut used = Model::new(case.limit);
    let mut open: Vec<(usize, u64, Charge)> = vec![];
    for step in &case.steps {
        clock.advance(Duration::from_nanos(step.advance));
        let now = clock.now().as_nanos();
        if step.kind < 5 {
            if let Ok(charge) = limiter.try_reserve(step.n) {
                open.push((used.taken.len(), step.n, charge));
                used.take(step.n, now);
            }
        } else if !open.is_empty() {
            let (place, n, charge) = open.remove(step.which % open.len());
            let really = step.n.min(n) - 1;
            charge.settle(really);
            used.taken[place].n = really;
        }
    }
    // Still open means used as estimated.
    prop_assert!(used.most_in_a_window() <= case.limit.bound());
    Ok(())
}

/// In the order in which things happened, whatever the clock showed, no more than the bound
/// within any stretch in which the clock moved by less than a window.
fn survive(case: &Case) -> TestCaseResult {
    let clock = ManualClock::new();
    let limiter = builder(case.limit, &clock).build().unwrap();
    let mut slots = vec![];
    for step in &case.steps {
        let now = clock.now().as_nanos();
        let to =
            if step.kind % 3 == 0 { now.saturating_sub(step.advance) } else { now + step.advance };
        clock.set(Timestamp::from_nanos(to));
        match step.kind {
            0..=3 => drop(limiter.check_n(step.n)),
            4 | 5 => slots.extend(limiter.reserve(step.n, Timestamp::MAX)),
            _ if slots.is_empty() => {}
            6 => drop(slots.remove(step.which % slots.len())),
            _ => {
                if let Ok(charge) = slots.remove(step.which % slots.len()).begin() {
                    charge.settle(step.n - 1);
                }
            }
        }
        let _ = limiter.status();
    }
    drop(slots);
    // Once everything has left it is as good as new.
    let reset = limiter.reset_at().max(clock.now());
    clock.set(reset + Duration::from_nanos(2 * case.limit.time_window));
    prop_assert_eq!(limiter.remaining(), case.limit.capacity());
    prop_assert_eq!(limiter.check_n(case.limit.capacity()), Ok(()));
    Ok(())
}
