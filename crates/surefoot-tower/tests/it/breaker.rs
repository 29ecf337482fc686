//! What a circuit breaker around a service counts: answers, drops and panics.

use std::panic::{AssertUnwindSafe, catch_unwind};

use surefoot::{CircuitState, Classification, Error, ManualClock};
use surefoot_tower::{CircuitBreakerLayer, ServiceError, TimeoutLayer};
use tower::{Service, ServiceBuilder, ServiceExt as _};

use crate::support::*;

#[test]
fn an_open_breaker_refuses_without_calling_and_tries_again_in_time() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [fails("down"), fails("down"), gives(200)]);
    let breaker = breaker(&clock).failure_threshold(2).success_threshold(1).build().unwrap();
    let layer = CircuitBreakerLayer::new(breaker.clone());
    let mut service = ServiceBuilder::new().layer(layer).service(api.clone());
    for _ in 0..2 {
        assert_eq!(failure(&call(&clock, &mut service).unwrap_err()), Some("down"));
    }
    clock.advance(20 * SEC);
    let Err(Error::Rejected(rejection)) = call(&clock, &mut service) else { panic!("open") };
    assert_eq!(rejection.retry_after(), Some(40 * SEC));
    assert_eq!(api.calls().len(), 2);
    clock.advance(40 * SEC);
    assert_eq!(value(call(&clock, &mut service)), 200);
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[test]
fn one_breaker_is_shared_by_every_service_its_layer_makes() {
    let clock = ManualClock::new();
    let (one, other) = (Api::new(&clock, [fails("down")]), Api::new(&clock, [gives(200)]));
    let breaker = breaker(&clock).failure_threshold(1).build().unwrap();
    let layer = CircuitBreakerLayer::new(breaker);
    let mut one = ServiceBuilder::new().layer(&layer).service(one);
    let mut other = ServiceBuilder::new().layer(&layer).service(other);
    assert!(call(&clock, &mut one).is_err());
    assert!(matches!(call(&clock, &mut other), Err(Error::Rejected(_))));
}

#[test]
fn a_classifier_says_which_responses_are_failures_and_which_ask_for_a_pause() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(503), gives(404), gives(429), gives(200)]);
    let breaker = breaker(&clock).build().unwrap();
    let by_status = |result: Result<&Reply, &ServiceError>| match result {
        Ok(reply) => Classification::from_http_status(reply.value, Some(7 * SEC)),
        Err(_) => Classification::TRANSIENT,
    };
    let layer = CircuitBreakerLayer::new(breaker.clone()).classify(by_status);
    let mut service = ServiceBuilder::new().layer(layer).service(api);
    for status in [503, 404, 429] {
        assert_eq!(value(call(&clock, &mut service)), status);
    }
    let totals = breaker.status().totals;
    assert_eq!((totals.failures, totals.ignored, totals.throttled), (1, 1, 1));
    let Err(Error::Rejected(rejection)) = call(&clock, &mut service) else { panic!("a pause") };
    assert_eq!(rejection.retry_after(), Some(7 * SEC));
}

/// policies.md §4 rule 83.
#[test]
fn a_hanging_service_under_a_time_limit_trips_the_breaker_inside() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [hangs()]);
    let breaker = breaker(&clock).build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(timeout(&clock, "total", SEC)))
        .layer(CircuitBreakerLayer::new(breaker.clone()))
        .service(api.clone());
    for calls in 1..=5 {
        assert_eq!(breaker.state(), CircuitState::Closed);
        let error = call(&clock, &mut service).unwrap_err();
        assert!(matches!(error, Error::Timeout { dispatched: true, .. }), "{error:?}");
        assert_eq!((api.calls().len(), api.running()), (calls, 0));
    }
    assert_eq!(breaker.state(), CircuitState::Open);
}

/// policies.md §4 rule 83.
#[test]
fn a_caller_who_drops_the_call_does_not_trip_the_breaker() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [hangs()]);
    let breaker = breaker(&clock).build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(timeout(&clock, "total", 60 * SEC)))
        .layer(CircuitBreakerLayer::new(breaker.clone()))
        .service(api.clone());
    for _ in 0..5 {
        assert!(drop_after(&clock, 1, ask(&mut service)).is_none());
        assert_eq!((api.running(), clock.waiting()), (0, 0));
    }
    let status = breaker.status();
    assert_eq!((status.state, status.totals.cancelled), (CircuitState::Closed, 5));
}

/// policies.md §4 rule 70.
#[test]
fn a_breaker_over_a_time_limit_counts_what_it_ends() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [hangs()]);
    let breaker = breaker(&clock).failure_threshold(2).build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(breaker.clone()))
        .layer(TimeoutLayer::new(timeout(&clock, "attempt", SEC)))
        .service(api);
    for _ in 0..2 {
        assert!(matches!(call(&clock, &mut service), Err(Error::Timeout { .. })));
    }
    assert_eq!(breaker.state(), CircuitState::Open);
}

/// policies.md §4 rule 12.
#[test]
fn a_panic_is_a_failure_counted_once_and_goes_on_unchanged() {
    let clock = ManualClock::new();
    for (step, text) in [(panics(), "boom"), (panics_in_call(), "boom in call")] {
        let api = Api::new(&clock, [step]);
        let breaker = breaker(&clock).build().unwrap();
        let mut service = ServiceBuilder::new()
            .layer(TimeoutLayer::new(timeout(&clock, "total", SEC)))
            .layer(CircuitBreakerLayer::new(breaker.clone()))
            .service(api.clone());
        let panic = catch_unwind(AssertUnwindSafe(|| call(&clock, &mut service))).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&text));
        let totals = breaker.status().totals;
        assert_eq!((totals.failures, settled(totals)), (1, 1), "{text}");
        assert_eq!((api.running(), clock.waiting()), (0, 0), "{text}");
    }
}

#[test]
fn a_trial_call_that_panics_opens_the_circuit_again() {
    let clock = ManualClock::new();
    let breaker = about_to_try(&clock, breaker(&clock));
    let layer = CircuitBreakerLayer::new(breaker.clone());
    let mut service = ServiceBuilder::new().layer(layer).service(Api::new(&clock, [panics()]));
    assert!(catch_unwind(AssertUnwindSafe(|| call(&clock, &mut service))).is_err());
    assert_eq!(breaker.state(), CircuitState::Open);
}

/// The future of a call that panicked may be kept and dropped much later, as a runtime's task does.
#[test]
fn a_call_that_panicked_is_not_counted_again_when_it_is_dropped() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let layer = CircuitBreakerLayer::new(breaker.clone());
    let mut service = ServiceBuilder::new().layer(layer).service(Api::new(&clock, [panics()]));
    run(&clock, async { service.ready().await.map(drop) }).unwrap();
    let mut answer = Task::new(service.call(1));
    assert!(catch_unwind(AssertUnwindSafe(|| answer.poll())).is_err());
    assert_eq!(settled(breaker.status().totals), 1);
    drop(answer);
    assert_eq!(settled(breaker.status().totals), 1);
}
