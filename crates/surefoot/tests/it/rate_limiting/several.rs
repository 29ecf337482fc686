//! Waiting for several limits at once, as a client of a model does.

use surefoot::rate_limiter::multi::{Limit, RateLimits, Scope};
use surefoot::rate_limiter::{ServerBudget, ServerLimits};
use surefoot::{ManualClock, MultiLimiter, Pipeline, Rejection};

use crate::support::*;

fn limits(clock: &ManualClock) -> RateLimits<String> {
    RateLimits::builder("model")
        .limit(Limit::overall("requests", 2, 10 * SEC))
        .limit(Limit::overall("tokens", 1000, 60 * SEC))
        .clock(clock)
        .build()
        .unwrap()
}

#[test]
fn a_call_waits_until_all_limits_fit() {
    let clock = ManualClock::new();
    let limits = limits(&clock);
    let charge = run(&clock, limits.acquire("a", &[("tokens", 900)])).unwrap();
    drop(run(&clock, limits.acquire("a", &[("tokens", 100)])).unwrap());
    drop(run(&clock, limits.acquire("a", &[])).unwrap());
    assert_eq!(clock.now_ms(), 10_000, "requests were the tightest");
    drop(block(&clock, || limits.acquire_blocking("b", &[("tokens", 100)])).unwrap());
    assert_eq!(clock.now_ms(), 60_000, "tokens were");
    drop(charge);
}

#[test]
fn what_a_call_did_not_use_is_there_for_the_next() {
    let clock = ManualClock::new();
    let limits = limits(&clock);
    let charge = run(&clock, limits.acquire("a", &[("tokens", 900)])).unwrap();
    charge.settle(&[("tokens", 300)]).unwrap();
    drop(run(&clock, limits.acquire("a", &[("tokens", 700)])).unwrap());
    assert_eq!(clock.now_ms(), 0);
}

#[test]
fn a_wait_that_cannot_end_in_time_is_refused_at_once() {
    let clock = ManualClock::new();
    let limits = limits(&clock);
    drop(run(&clock, limits.acquire("a", &[("tokens", 1000)])).unwrap());
    limits.pause_for("a", Scope::Overall, 61 * SEC).unwrap();
    let refused = run(&clock, limits.acquire("a", &[])).unwrap_err();
    assert_eq!(refused.retry_after(), Some(61 * SEC));
    assert!(matches!(refused, Rejection::Throttled { .. }));
    let never = block(&clock, || limits.acquire_blocking("a", &[("tokens", 1001)])).unwrap_err();
    assert_eq!(never.retry_after(), None);

    // A deadline bounds the wait as well.
    let limits = &self::limits(&clock);
    drop(run(&clock, limits.acquire("a", &[("tokens", 1000)])).unwrap());
    let pipeline = Pipeline::builder("model").add(timeout(&clock, "total", 59 * SEC));
    let pipeline = pipeline.build().unwrap();
    let answer = run(&clock, pipeline.call(|| limits.acquire("a", &[("tokens", 1)])));
    assert!(matches!(answer, Err(surefoot::Error::Operation(Rejection::RateLimited { .. }))));
    assert_eq!(clock.now_ms(), 0);
}

#[test]
fn whoever_gives_up_waiting_has_taken_nothing() {
    let clock = ManualClock::new();
    let limits = limits(&clock);
    drop(run(&clock, limits.acquire("a", &[("tokens", 1000)])).unwrap());
    assert!(drop_after(&clock, 1, limits.acquire("a", &[("tokens", 1000)])).is_none());
    clock.advance(60 * SEC);
    assert_eq!(limits.remaining("a", "tokens"), Some(1000));
    assert_eq!(clock.waiting(), 0);
}

#[test]
fn what_a_server_says_is_learned_by_those_limits_that_count_it() {
    let clock = ManualClock::new();
    let limits = limits(&clock);
    let left = |unit: &'static str, remaining| ServerBudget {
        remaining: Some(remaining),
        ..ServerBudget::of(unit)
    };
    let budgets = vec![left("tokens", 250), left("images", 0)];
    let said = ServerLimits { budgets, ..ServerLimits::default() };
    limits.learn("a", Scope::Overall, &said).unwrap();
    assert_eq!(limits.remaining("a", "tokens"), Some(250));
    assert_eq!(limits.remaining("a", "requests"), Some(2));
}

#[cfg(feature = "http")]
#[test]
fn usage_settles_the_units_that_are_counted() {
    let clock = ManualClock::new();
    let limits = limits(&clock);
    let charge = run(&clock, limits.acquire("a", &[("tokens", 900)])).unwrap();
    let body = br#"{"usage": {"prompt_tokens": 40, "completion_tokens": 10}}"#;
    surefoot::http::Usage::parse(body).unwrap().settle(charge);
    assert_eq!(limits.remaining("a", "tokens"), Some(950));
}
