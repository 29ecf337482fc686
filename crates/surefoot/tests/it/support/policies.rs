//! Policies as most tests want them; for the tests of `surefoot-tower` too.

use std::time::Duration;

use surefoot::circuit_breaker::{CircuitBreakerBuilder, CircuitTotals};
use surefoot::retry::RetryBuilder;
use surefoot::{CircuitBreaker, ManualClock, Retry, Timeout};

pub(crate) const ZERO: Duration = Duration::ZERO;
pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SEC: Duration = Duration::from_secs(1);

pub(crate) fn breaker(clock: &ManualClock) -> CircuitBreakerBuilder {
    CircuitBreaker::builder("api").clock(clock)
}

/// Five tries a second apart, without a budget.
pub(crate) fn retry(clock: &ManualClock) -> RetryBuilder {
    Retry::builder().max_attempts(5).exponential_base(1.0).clock(clock)
}

pub(crate) fn timeout(clock: &ManualClock, name: &'static str, limit: Duration) -> Timeout {
    Timeout::new(limit).unwrap().named(name).on_clock(clock)
}

/// A breaker that has tripped and waited, so that the next call is a trial call.
pub(crate) fn about_to_try(clock: &ManualClock, builder: CircuitBreakerBuilder) -> CircuitBreaker {
    let breaker = builder.failure_threshold(1).timeout(SEC).build().unwrap();
    breaker.admit().unwrap().failure();
    clock.advance(SEC);
    breaker
}

/// Verdicts that closed a permit.
pub(crate) fn settled(totals: CircuitTotals) -> u64 {
    let CircuitTotals { successes, failures, ignored, throttled, cancelled, .. } = totals;
    successes + failures + ignored + throttled + cancelled
}
