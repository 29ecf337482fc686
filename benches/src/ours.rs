//! Surefoot's own subjects, configured as their peers are.

use std::time::Duration;

use surefoot::prelude::*;
use surefoot::rate_limiter::{Algorithm, KeyedRateLimiter, RateLimiterBuilder};
use surefoot::{Budget, Identity, ManualClock, Stack, TimeSource};

use crate::operation::{FAILING, operation};

/// The pipeline that is measured.
pub(crate) type ThreePolicies =
    Pipeline<Stack<Stack<Stack<Identity, Timeout>, Retry>, CircuitBreaker>>;

/// How long a call may take in total.
const LIMIT: Duration = Duration::from_secs(30);

/// A breaker's way to trip, by the name of its rows.
#[derive(Clone, Copy)]
pub(crate) struct Mode {
    pub(crate) name: &'static str,
    trip: fn() -> Option<Trip>,
}

pub(crate) const DEFAULT: Mode = Mode { name: "surefoot default", trip: || None };
pub(crate) const CONSECUTIVE: Mode =
    Mode { name: "surefoot consecutive", trip: || Some(Trip::Consecutive { failures: 5 }) };
pub(crate) const COUNT_RATE: Mode = Mode {
    name: "surefoot count-rate",
    trip: || Some(Trip::RateCountWindow { rate: 0.5, window_calls: 100, min_calls: 100 }),
};
pub(crate) const TIME_RATE: Mode = Mode {
    name: "surefoot time-rate",
    trip: || {
        let window = Duration::from_secs(30);
        Some(Trip::RateTimeWindow { rate: 0.5, window, min_calls: 100, buckets: 10 })
    },
};
pub(crate) const SLOW: Mode = Mode {
    name: "surefoot slow",
    trip: || {
        let slow_after = Duration::from_secs(1);
        Some(Trip::Slow { rate: 0.5, slow_after, window_calls: 100, min_calls: 100 })
    },
};
pub(crate) const MODES: [Mode; 5] = [DEFAULT, CONSECUTIVE, COUNT_RATE, TIME_RATE, SLOW];

/// A closed breaker.
pub(crate) fn breaker(mode: Mode) -> CircuitBreaker {
    let builder = CircuitBreaker::builder("measured");
    let builder = match (mode.trip)() {
        Some(trip) => builder.trip(trip),
        None => builder,
    };
    valid(builder.build())
}

/// A breaker that failures have opened.
pub(crate) fn open_breaker() -> CircuitBreaker {
    let breaker = breaker(DEFAULT);
    while breaker.state() == CircuitState::Closed {
        let _ = breaker.call_blocking(|_| operation(FAILING));
    }
    breaker
}

/// A retry with the numbers of its peers.
pub(crate) fn retry() -> Retry {
    valid(Retry::builder().max_attempts(3).build())
}

/// A hedge that is never due here.
pub(crate) fn hedge() -> Hedge {
    valid(Hedge::builder().delay(LIMIT).build())
}

/// A total time limit.
pub(crate) fn timeout() -> Timeout {
    valid(Timeout::new(LIMIT))
}

/// A timeout, in it a retry, in that a breaker, as they are measured one by one.
pub(crate) fn pipeline(clock: impl Into<TimeSource>) -> ThreePolicies {
    let clock = clock.into();
    let breaker = CircuitBreaker::builder("measured").clock(clock.clone());
    let retry = Retry::builder().clock(clock.clone()).budget(RetryBudget::unlimited());
    valid(
        Pipeline::builder("measured")
            .idempotent()
            .allow(OrderRule::NoTimeoutInsideBreaker)
            .add(timeout().on_clock(clock))
            .add(valid(retry.build()))
            .add(valid(breaker.build()))
            .build(),
    )
}

/// Units in a window, more than any run takes.
const UNITS: u64 = 1_000_000_000;

/// A limiter that admits everything.
pub(crate) fn limiter(algorithm: Algorithm, window: Duration) -> RateLimiter {
    limiter_of(UNITS, window, algorithm)
}

/// A limiter of so many units.
pub(crate) fn limiter_of(units: u64, window: Duration, algorithm: Algorithm) -> RateLimiter {
    valid(limiter_builder(units, window, algorithm).build())
}

/// A limiter that admits everything, and would refuse what it does not admit at once.
pub(crate) fn limiter_that_never_waits(algorithm: Algorithm, window: Duration) -> RateLimiter {
    valid(limiter_builder(UNITS, window, algorithm).max_wait(Duration::ZERO).build())
}

/// A limiter that admits everything, for up to `keys` keys.
pub(crate) fn keyed(algorithm: Algorithm, window: Duration, keys: u32) -> KeyedRateLimiter<u64> {
    valid(limiter_builder(UNITS, window, algorithm).max_keys(keys).build_keyed())
}

/// What limiters are made of here.
pub(crate) fn limiter_builder(
    units: u64,
    window: Duration,
    algorithm: Algorithm,
) -> RateLimiterBuilder {
    RateLimiter::builder("measured").max_requests(units).time_window(window).algorithm(algorithm)
}

/// Permits of a throttler that has one free for everybody.
pub(crate) const PERMITS: u32 = 100;

/// A throttler in which up to 2,000 may wait.
pub(crate) fn throttler(permits: u32) -> Throttler {
    valid(Throttler::builder("measured").max_concurrent(permits).queue_size(2_000).build())
}

/// The compartment of [`bulkhead`] that is measured.
pub(crate) const COMPARTMENT: &str = "normal";

/// A bulkhead of three compartments, each with a permit free for everybody.
pub(crate) fn bulkhead() -> Bulkhead {
    let builder = Bulkhead::builder("measured");
    let names = ["critical", COMPARTMENT, "background"];
    valid(names.into_iter().fold(builder, |all, name| all.compartment(name, PERMITS, 10)).build())
}

/// A shedder that judges by the calls under way, of which there are few.
pub(crate) fn load_shedder() -> LoadShedder {
    valid(LoadShedder::builder("measured").capacity(PERMITS).build())
}

/// A shedder whose load is sampled, and low; its clock stands still, so the sample stays new.
pub(crate) fn sampled_load_shedder() -> LoadShedder {
    let clock = ManualClock::new();
    let builder = LoadShedder::builder("measured").clock(&clock);
    let shedder = valid(builder.max_queue_delay(Duration::from_millis(100)).build());
    shedder.record_queue_delay(Duration::from_millis(1));
    shedder
}

/// Attempts, more than any run makes.
const ATTEMPTS: u64 = u64::MAX / 4;

/// A budget with enough for everything.
pub(crate) fn budget() -> Budget {
    valid(Budget::builder("measured").attempts(ATTEMPTS).tokens(ATTEMPTS).build())
}

/// A budget that draws on another, which has enough.
pub(crate) fn nested_budget() -> Budget {
    valid(Budget::builder("inner").attempts(ATTEMPTS).share_of(&budget()))
}

fn valid<T>(built: Result<T, ConfigError>) -> T {
    built.unwrap_or_else(|error| panic!("a measured configuration is valid: {error}"))
}
