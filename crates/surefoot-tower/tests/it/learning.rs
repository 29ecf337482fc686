//! What limiters learn from the answers of a service.

use surefoot::{
    CircuitState, Classification, KeyedRateLimiter, Limiter, ManualClock, RateLimiter, Rejection,
};
use surefoot_tower::{
    CircuitBreakerLayer, Error, LearningLayer, RateLimiterLayer, RetryLayer, ServiceError,
};
use tower::ServiceBuilder;

use crate::support::*;

/// A 429 asks for 30 s.
fn judge(result: Result<&Reply, &ServiceError>) -> Classification {
    match result {
        Ok(reply) => Classification::from_http_status(reply.value, Some(30 * SEC)),
        Err(_) => Classification::TRANSIENT,
    }
}

fn limiter(clock: &ManualClock) -> RateLimiter {
    let builder = RateLimiter::builder("model").max_requests(9).time_window(10 * SEC);
    builder.max_wait(100 * SEC).clock(clock).build().unwrap()
}

#[test]
fn a_pause_that_an_answer_asks_for_is_kept_by_all_services_of_the_limiter() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(429), gives(200)]);
    let limiter = limiter(&clock);
    let stack = ServiceBuilder::new()
        .layer(RateLimiterLayer::new(limiter.clone()))
        .layer(LearningLayer::new(limiter.learning()).classify(judge));
    let (mut one, mut other) = (stack.service(api.clone()), stack.service(api.clone()));
    assert_eq!(value(call(&clock, &mut one)), 429);
    assert_eq!(value(call(&clock, &mut other)), 200);
    assert_eq!(api.started(), [ZERO, 30 * SEC]);
}

#[test]
fn a_retry_above_waits_once_and_the_breaker_below_does_not_keep_the_pause() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(429), gives(200)]);
    let (limiter, breaker) = (limiter(&clock), breaker(&clock).build().unwrap());
    let retry = retry(&clock).max_delay(60 * SEC).build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(RetryLayer::idempotent(retry).classify(judge))
        .layer(RateLimiterLayer::new(limiter.clone()))
        .layer(LearningLayer::new(limiter.learning()).classify(judge))
        .layer(CircuitBreakerLayer::new(breaker.clone()).classify(judge))
        .service(api.clone());
    assert_eq!(value(call(&clock, &mut service)), 200);
    assert_eq!(api.started(), [ZERO, 30 * SEC]);
    let totals = breaker.status().totals;
    assert_eq!((totals.ignored, totals.throttled, totals.successes), (1, 0, 1));
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[test]
fn the_key_of_a_request_is_the_one_that_learns() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(429), gives(200)]);
    let builder = RateLimiter::builder("model").max_requests(9).max_wait(ZERO).clock(&clock);
    let keyed: KeyedRateLimiter<u32> = builder.build_keyed().unwrap();
    let learns = {
        let keyed = keyed.clone();
        move |request: &u32| keyed.key(*request).learning()
    };
    let mut service = ServiceBuilder::new()
        .layer(RateLimiterLayer::keyed(keyed.clone(), |request: &u32| *request))
        .layer(LearningLayer::by_request(learns).classify(judge))
        .service(api.clone());
    assert_eq!(value(call(&clock, &mut service)), 429); // every request of these is the same one
    let refused = call(&clock, &mut service);
    assert!(matches!(refused, Err(Error::Rejected(Rejection::Throttled { .. }))), "{refused:?}");
    let request = api.calls().len();
    assert_eq!(request, 1);
    assert!(keyed.check(&77).is_ok(), "other keys are not held up");
}

#[test]
fn a_call_that_is_dropped_teaches_nothing() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(429).after(SEC)]);
    let limiter = limiter(&clock);
    let mut service = ServiceBuilder::new()
        .layer(LearningLayer::new(limiter.learning()).classify(judge))
        .service(api.clone());
    assert!(drop_after(&clock, 1, ask(&mut service)).is_none());
    assert_eq!((limiter.status().paused_for, api.running()), (ZERO, 0));
}
