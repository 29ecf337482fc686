//! Time limits: what they end, what they let through, and what their error tells.

use std::task::Poll;

use surefoot::{Error, ManualClock};
use surefoot_tower::{CircuitBreakerLayer, HedgeLayer, RetryLayer, TimeoutLayer};
use tower::{Service, ServiceBuilder, ServiceExt as _};

use crate::support::*;

#[test]
fn a_call_that_takes_too_long_is_dropped_at_its_limit() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200).after(5 * SEC)]);
    let layer = TimeoutLayer::new(timeout(&clock, "total", 2 * SEC));
    let mut service = ServiceBuilder::new().layer(layer).service(api.clone());
    let error = call(&clock, &mut service).unwrap_err();
    let Error::Timeout { policy, limit, dispatched, last } = error else { panic!("{error:?}") };
    assert_eq!((policy.as_str(), limit, dispatched), ("total", 2 * SEC, true));
    assert!(last.is_none());
    assert_eq!((now(&clock), api.running(), clock.waiting()), (2 * SEC, 0, 0));
}

#[test]
fn an_answer_that_got_through_is_returned_and_a_late_failure_is_a_timeout() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200).after(2 * SEC), fails("down").after(2 * SEC)]);
    let layer = TimeoutLayer::new(timeout(&clock, "total", 2 * SEC));
    let mut service = ServiceBuilder::new().layer(layer).service(api);
    assert_eq!(value(call(&clock, &mut service)), 200);
    let error = call(&clock, &mut service).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
    assert_eq!(failure(&error), Some("down"));
}

/// policies.md §4 rule 53.
#[test]
fn a_limit_that_passes_during_a_wait_tells_the_failure_before_it() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [fails("down")]);
    // On another clock, so that the retry cannot foresee the deadline.
    let elsewhere = ManualClock::new();
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(timeout(&clock, "total", 100 * MS)))
        .layer(RetryLayer::idempotent(retry(&elsewhere).build().unwrap()))
        .service(api.clone());
    let error = call(&clock, &mut service).unwrap_err();
    let Error::Timeout { last: Some(last), .. } = &error else { panic!("{error:?}") };
    assert!(matches!(**last, Error::Exhausted { attempts: 1, .. }), "{last:?}");
    assert_eq!((failure(&error), api.calls().len()), (Some("down"), 1));
}

/// policies.md §4 rule 79.
#[test]
fn a_silent_service_costs_the_total_limit_and_one_attempt() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [hangs()]);
    let breaker = breaker(&clock).build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(timeout(&clock, "total", 30 * SEC)))
        .layer(RetryLayer::idempotent(retry(&clock).max_attempts(3).build().unwrap()))
        .layer(CircuitBreakerLayer::new(breaker.clone()))
        .layer(TimeoutLayer::new(timeout(&clock, "attempt", 30 * SEC)))
        .service(api.clone());
    let error = call(&clock, &mut service).unwrap_err();
    assert!(matches!(error, Error::Timeout { dispatched: true, .. }), "{error:?}");
    assert_eq!((now(&clock), api.calls().len()), (30 * SEC, 1));
    let totals = breaker.status().totals;
    assert_eq!((totals.failures, settled(totals)), (1, 1));
}

/// policies.md §4 rule 72.
#[test]
fn a_limit_over_a_hedge_ends_every_attempt_and_each_is_a_failure() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [hangs()]);
    let breaker = breaker(&clock).build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(timeout(&clock, "total", SEC)))
        .layer(HedgeLayer::idempotent(hedge(&clock).max_hedges(2).build().unwrap()))
        .layer(CircuitBreakerLayer::new(breaker.clone()))
        .service(api.clone());
    let mut answer = Task::new(ask(&mut service));
    let result = loop {
        if let Poll::Ready(result) = answer.poll() {
            break result;
        }
        answer.wait(&clock);
    };
    assert!(matches!(result, Err(Error::Timeout { .. })));
    assert_eq!((api.calls().len(), api.running()), (3, 0), "gone before the answer");
    assert_eq!(breaker.status().totals.failures, 3);
}

#[test]
fn the_clock_starts_with_the_call_and_not_with_readiness() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200).after(2 * SEC)]);
    api.ready_from(60 * SEC);
    let layer = TimeoutLayer::new(timeout(&clock, "total", 3 * SEC));
    let mut service = ServiceBuilder::new().layer(layer).service(api);
    assert_eq!(value(call(&clock, &mut service)), 200);
    assert_eq!(now(&clock), 62 * SEC);
}

#[test]
fn the_clock_runs_from_the_call_although_nobody_polls() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [hangs()]);
    let layer = TimeoutLayer::new(timeout(&clock, "total", 3 * SEC));
    let mut service = ServiceBuilder::new().layer(layer).service(api);
    run(&clock, async { service.ready().await.map(drop) }).unwrap();
    let mut answer = Task::new(service.call(1));
    clock.advance(3 * SEC);
    let Poll::Ready(result) = answer.poll() else { panic!("its time is over") };
    assert!(matches!(result, Err(Error::Timeout { .. })));
}

#[test]
fn an_inner_deadline_never_outlives_the_outer_one() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [hangs()]);
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(timeout(&clock, "outer", 2 * SEC)))
        .layer(TimeoutLayer::new(timeout(&clock, "inner", 60 * SEC)))
        .service(api.clone());
    let error = call(&clock, &mut service).unwrap_err();
    let Error::Timeout { policy, .. } = error else { panic!("{error:?}") };
    assert_eq!((policy.as_str(), now(&clock)), ("outer", 2 * SEC));
    assert_eq!(api.told(), [(1, Some(2 * SEC))]);
}

#[test]
fn what_was_refused_inside_a_limit_was_never_dispatched() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200)]);
    let breaker = breaker(&clock).build().unwrap();
    breaker.admit().unwrap().throttled(5 * SEC);
    // On another clock, so that the retry cannot foresee the deadline.
    let elsewhere = ManualClock::new();
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(timeout(&clock, "total", SEC)))
        .layer(RetryLayer::idempotent(retry(&elsewhere).build().unwrap()))
        .layer(CircuitBreakerLayer::new(breaker))
        .service(api.clone());
    let error = call(&clock, &mut service).unwrap_err();
    assert!(matches!(error, Error::Timeout { dispatched: false, .. }), "{error:?}");
    assert!(error.is_undispatched() && api.calls().is_empty());
}
