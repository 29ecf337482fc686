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

#[test]
fn callers_get_their_turn_in_the_order_in_which_they_came() {
    let clock = ManualClock::new();
    let limits: RateLimits<&str> = RateLimits::builder("model")
        .limit(Limit::overall("requests", 1, 10 * SEC))
        .max_wait(100 * SEC)
        .clock(&clock)
        .build()
        .unwrap();
    let began = std::sync::Mutex::new(Vec::new());
    let one = |who: &'static str| {
        let (limits, began, clock) = (&limits, &began, &clock);
        async move {
            drop(limits.acquire(&who, &[]).await.unwrap());
            began.lock().unwrap().push((who, clock.now_ms()));
        }
    };
    run(&clock, async {
        let (a, b, c) = (one("a"), one("b"), one("c"));
        futures_lite::future::zip(a, futures_lite::future::zip(b, c)).await;
    });
    assert_eq!(*began.lock().unwrap(), [("a", 0), ("b", 10_000), ("c", 20_000)]);
}

#[test]
fn whoever_walks_away_from_the_line_lets_those_behind_move_up() {
    let clock = ManualClock::new();
    let limits: RateLimits<&str> = RateLimits::builder("model")
        .limit(Limit::overall("requests", 1, 10 * SEC))
        .limit(Limit::per_key("requests", 1, 10 * SEC))
        .max_wait(100 * SEC)
        .clock(&clock)
        .build()
        .unwrap();
    limits.check(&"a", &[]).unwrap();
    run(&clock, async {
        let mut first = Box::pin(limits.acquire(&"b", &[]));
        assert!(futures_lite::future::poll_once(&mut first).await.is_none());
        let mut second = Box::pin(limits.acquire(&"c", &[]));
        assert!(futures_lite::future::poll_once(&mut second).await.is_none());
        drop(first);
        drop(second.await.unwrap());
    });
    assert_eq!(clock.now_ms(), 10_000);
    assert_eq!(limits.overview().waiting, 0);
}

#[test]
fn a_kind_of_call_is_a_policy_of_a_pipeline() {
    let clock = ManualClock::new();
    let limits = limits(&clock);
    let summary = limits.call_of("a", &[("tokens", 400)]).unwrap();
    let pipeline = Pipeline::builder("model").add(summary).build().unwrap();
    let call = || pipeline.call(|| async { Ok::<_, std::io::Error>(7) });
    for _ in 0..3 {
        assert_eq!(run(&clock, call()).unwrap(), 7);
    }
    assert_eq!(clock.now_ms(), 60_000, "tokens were the tightest");
    assert_eq!(limits.remaining("a", "tokens"), Some(600));
    let blocking = block(&clock, || pipeline.call_blocking(|_| Ok::<_, std::io::Error>(7)));
    assert_eq!(blocking.unwrap(), 7);
    assert_eq!(limits.totals().admitted, 4);
}

#[test]
fn a_call_that_a_policy_inside_refused_gives_back_what_it_took_of_every_limit() {
    let clock = ManualClock::new();
    let limits = limits(&clock);
    let shut = breaker(&clock).build().unwrap();
    shut.force_open();
    let summary = limits.call_of("a", &[("tokens", 400)]).unwrap();
    let pipeline = Pipeline::builder("model")
        .add(summary)
        .add(shut)
        .add(timeout(&clock, "attempt", SEC))
        .build()
        .unwrap();
    let refused = run(&clock, pipeline.call(|| async { Ok::<_, std::io::Error>(7) }));
    assert!(matches!(refused, Err(surefoot::Error::Rejected(Rejection::CircuitOpen { .. }))));
    assert_eq!(limits.remaining("a", "tokens"), Some(1000));
    assert_eq!(limits.remaining("a", "requests"), Some(2));
}

#[test]
fn several_limits_learn_from_the_answers_to_a_kind_of_call() {
    use surefoot::{Classification, Limiter, Policy};
    let clock = ManualClock::new();
    let limits = limits(&clock);
    let learning = limits.call_of("a", &[]).unwrap().learning();
    let busy = |_: Result<&u8, &std::io::Error>| Classification::throttled(Some(7 * SEC));
    let model = learning.classify_with(busy);
    assert_eq!(run(&clock, model.call(|| async { Ok(7) })).unwrap(), 7);
    assert_eq!(limits.retry_after("b", &[]).unwrap(), Some(7 * SEC), "all calls, all limits");
    assert_eq!(limits.retry_after("b", &[("requests", 0), ("tokens", 1)]).unwrap(), Some(7 * SEC));
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
