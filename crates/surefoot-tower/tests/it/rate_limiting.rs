//! Rate limiters around a service: where they wait, and what becomes of a slot that nobody used.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, Waker};

use surefoot::rate_limiter::multi::{Limit, RateLimits};
use surefoot::{Error, KeyedRateLimiter, ManualClock, RateLimiter, Rejection};
use surefoot_tower::{
    CircuitBreakerLayer, RateLimiterLayer, RateLimiterService, RetryLayer, TimeoutLayer,
};
use tower::{Layer as _, Service, ServiceBuilder, ServiceExt as _};

use crate::support::*;

fn get_ready<S: Service<u32>>(service: &mut S) -> Poll<Result<(), S::Error>> {
    service.poll_ready(&mut Context::from_waker(Waker::noop()))
}

/// One call each ten seconds.
fn one_in_ten(clock: &ManualClock) -> RateLimiter {
    limiter(clock, 1, 10 * SEC).max_wait(100 * SEC).build().unwrap()
}

fn around(limiter: &RateLimiter, api: &Api) -> RateLimiterService<Api> {
    RateLimiterLayer::new(limiter.clone()).layer(api.clone())
}

fn promised<T: std::fmt::Debug>(
    result: Result<T, surefoot_tower::Error>,
) -> Option<std::time::Duration> {
    match result {
        Err(Error::Rejected(rejection @ Rejection::RateLimited { .. })) => rejection.retry_after(),
        other => panic!("not a refusal by the limiter: {other:?}"),
    }
}

// ---- one limit for all requests ----------------------------------------------------------------

#[test]
fn a_service_is_ready_when_its_slot_is_due() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200)]);
    let mut service = around(&one_in_ten(&clock), &api);
    for _ in 0..3 {
        assert_eq!(value(call(&clock, &mut service)), 200);
    }
    assert_eq!(api.started(), [ZERO, 10 * SEC, 20 * SEC]);
    assert_eq!(clock.waiting(), 0);
}

#[test]
fn services_that_get_ready_are_served_in_the_order_in_which_they_asked() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200)]);
    let limiter = one_in_ten(&clock);
    limiter.check().unwrap();
    let mut services: Vec<_> = (0..3).map(|_| around(&limiter, &api)).collect();
    assert!(services.iter_mut().all(|service| get_ready(service).is_pending()));
    for ready in 0..3 {
        clock.advance(10 * SEC);
        // Looked at last first: it is the line that decides.
        let found: Vec<_> =
            services.iter_mut().rev().map(|service| get_ready(service).is_ready()).collect();
        let expected: Vec<_> = (0..3).rev().map(|at| at <= ready).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn a_ready_service_that_is_dropped_gives_its_slot_back() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200)]);
    let limiter = one_in_ten(&clock);
    let mut first = around(&limiter, &api);
    assert!(get_ready(&mut first).is_ready());
    assert_eq!((limiter.remaining(), api.reservations()), (0, 1));
    let clone = first.clone();
    drop(first);
    assert_eq!((limiter.remaining(), api.reservations()), (1, 0));
    drop(clone); // had none of its own
    assert_eq!(limiter.remaining(), 1);
}

#[test]
fn a_service_dropped_while_it_waits_lets_those_behind_move_up() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200)]);
    let limiter = one_in_ten(&clock);
    let mut first = around(&limiter, &api);
    assert!(get_ready(&mut first).is_ready());
    let mut second = around(&limiter, &api);
    assert!(get_ready(&mut second).is_pending());
    let mut third = around(&limiter, &api);
    let mut answer = Task::new(ask(&mut third));
    assert!(answer.poll().is_pending());
    drop(second);
    assert!(answer.is_woken() && answer.poll().is_pending());
    drop(first); // its slot was never used
    assert!(answer.is_woken());
    let Poll::Ready(result) = answer.poll() else { panic!("there is room") };
    assert_eq!(value(result), 200);
    assert_eq!((now(&clock), limiter.status().waiting), (ZERO, 0));
}

#[test]
fn a_service_that_has_a_slot_reserves_no_other() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200)]);
    let limiter = limiter(&clock, 2, 10 * SEC).build().unwrap();
    let mut service = around(&limiter, &api);
    for _ in 0..3 {
        assert!(get_ready(&mut service).is_ready());
    }
    assert_eq!(limiter.remaining(), 1);
}

/// An error from `poll_ready` would mean that the service is to be discarded.
#[test]
fn a_wait_that_is_too_long_is_refused_by_the_call_and_not_by_readiness() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200)]);
    let limiter = limiter(&clock, 1, 10 * SEC).max_wait(SEC).build().unwrap();
    limiter.check().unwrap();
    let mut service = around(&limiter, &api);
    for _ in 0..2 {
        assert_eq!(promised(call(&clock, &mut service)), Some(10 * SEC));
    }
    assert_eq!((now(&clock), api.calls().len(), limiter.status().waiting), (ZERO, 0, 0));
    // Whoever asks again later gets another answer.
    assert!(get_ready(&mut service).is_ready());
    clock.advance(9 * SEC);
    assert!(get_ready(&mut service).is_pending());
    assert_eq!(value(call(&clock, &mut service)), 200);
    assert_eq!(api.started(), [10 * SEC]);
}

#[test]
fn with_a_max_wait_of_zero_nothing_is_reserved_and_the_call_decides() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200)]);
    let limiter = limiter(&clock, 1, 10 * SEC).max_wait(ZERO).build().unwrap();
    let mut service = around(&limiter, &api);
    assert!(get_ready(&mut service).is_ready());
    assert_eq!(limiter.remaining(), 1);
    assert_eq!(value(run(&clock, service.call(1))), 200);
    assert_eq!(promised(call(&clock, &mut service)), Some(10 * SEC));
    clock.advance(10 * SEC);
    assert_eq!(value(call(&clock, &mut service)), 200);
}

/// The contract forbids it, and nothing panics.
#[test]
fn a_service_called_without_asking_whether_it_is_ready_decides_in_the_call() {
    let clock = ManualClock::new();
    let limiter = one_in_ten(&clock);
    let always_ready = tower::service_fn(|request: u32| async move { Ok::<_, Failure>(request) });
    let mut service = RateLimiterLayer::new(limiter).layer(always_ready);
    assert!(matches!(run(&clock, service.call(7)), Ok(7)));
    assert_eq!(promised(run(&clock, service.call(7))), Some(10 * SEC));
}

#[test]
fn a_call_that_a_layer_below_refuses_gives_its_slot_back() {
    let clock = ManualClock::new();
    for max_wait in [ZERO, 100 * SEC] {
        let api = Api::new(&clock, [gives(200)]);
        let limiter = limiter(&clock, 1, 10 * SEC).max_wait(max_wait).build().unwrap();
        let breaker = breaker(&clock).build().unwrap();
        breaker.force_open();
        let mut service = ServiceBuilder::new()
            .layer(RateLimiterLayer::new(limiter.clone()))
            .layer(CircuitBreakerLayer::new(breaker.clone()))
            .service(api.clone());
        for _ in 0..3 {
            let refused = call(&clock, &mut service);
            assert!(matches!(refused, Err(Error::Rejected(Rejection::CircuitOpen { .. }))));
        }
        assert_eq!(limiter.remaining(), 1);
        breaker.automatic();
        assert_eq!(value(call(&clock, &mut service)), 200);
        assert_eq!(limiter.remaining(), 0, "this one was started");
    }
}

#[test]
fn a_call_that_fails_panics_or_is_dropped_has_used_its_slot() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [fails("down"), panics(), panics_in_call(), hangs()]);
    let limiter = limiter(&clock, 4, 10 * SEC).build().unwrap();
    let mut service = around(&limiter, &api);
    assert!(call(&clock, &mut service).is_err());
    for _ in 0..2 {
        assert!(catch_unwind(AssertUnwindSafe(|| call(&clock, &mut service))).is_err());
    }
    assert!(drop_after(&clock, 1, ask(&mut service)).is_none());
    assert_eq!((limiter.remaining(), api.running(), clock.waiting()), (0, 0, 0));
}

#[test]
fn a_retry_above_takes_a_slot_for_each_attempt() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [fails("down"), fails("down"), gives(200)]);
    let mut service = ServiceBuilder::new()
        .layer(RetryLayer::idempotent(retry(&clock).initial_delay(SEC).build().unwrap()))
        .layer(RateLimiterLayer::new(one_in_ten(&clock)))
        .service(api.clone());
    assert_eq!(value(call(&clock, &mut service)), 200);
    assert_eq!(api.started(), [ZERO, 10 * SEC, 20 * SEC]);
}

// ---- limits that depend on the request ---------------------------------------------------------

fn keyed(clock: &ManualClock, max_wait: std::time::Duration) -> KeyedRateLimiter<u32> {
    limiter(clock, 1, 10 * SEC).max_wait(max_wait).build_keyed().unwrap()
}

#[test]
fn each_key_waits_for_itself_in_its_response_future() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200)]);
    let layer = RateLimiterLayer::keyed(keyed(&clock, 100 * SEC), |request: &u32| *request);
    let mut service = layer.layer(api.clone());
    let mut answers: Vec<_> = [1, 1, 2, 1]
        .into_iter()
        .map(|request| {
            assert!(get_ready(&mut service).is_ready(), "no key is known yet");
            Task::new(service.call(request))
        })
        .collect();
    while !answers.is_empty() {
        answers.retain_mut(|answer| !answer.is_woken() || answer.poll().is_pending());
        assert!(answers.is_empty() || clock.advance_to_next_waiter());
    }
    let calls: Vec<_> = api.calls().iter().map(|call| (call.request, call.at)).collect();
    assert_eq!(calls, [(1, ZERO), (2, ZERO), (1, 10 * SEC), (1, 20 * SEC)]);
    drop(service);
    assert_eq!((api.reservations(), clock.waiting()), (0, 0));
}

#[test]
fn a_response_future_that_waits_holds_nothing_of_the_service_below() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200)]);
    let layer = RateLimiterLayer::keyed(keyed(&clock, 100 * SEC), |request: &u32| *request);
    let mut service = layer.layer(api.clone());
    assert_eq!(value(call(&clock, &mut service)), 200);
    assert!(get_ready(&mut service).is_ready());
    let mut waits = Task::new(service.call(1));
    assert!(waits.poll().is_pending());
    assert_eq!(api.reservations(), 1, "that of the service itself, for its next call");
    drop(service);
    assert_eq!(api.reservations(), 0);
    waits.wait(&clock);
    let Poll::Ready(result) = waits.poll() else { panic!("its slot is due") };
    assert_eq!(value(result), 200);
}

#[test]
fn a_response_future_dropped_while_it_waits_lets_its_key_move_up() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200)]);
    let limiter = keyed(&clock, 100 * SEC);
    let layer = RateLimiterLayer::keyed(limiter.clone(), |request: &u32| *request);
    let mut service = layer.layer(api);
    assert_eq!(value(call(&clock, &mut service)), 200);
    let mut ready = || {
        assert!(get_ready(&mut service).is_ready());
        service.call(1)
    };
    let (second, third) = (ready(), ready());
    assert_eq!(limiter.status(&1).waiting, 2);
    drop(second);
    let mut third = Task::new(third);
    assert!(third.poll().is_pending());
    clock.advance(10 * SEC);
    assert!(third.is_woken() && third.poll().is_ready());
}

#[test]
fn a_time_limit_above_refuses_at_once_what_could_not_be_in_time() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200)]);
    let limiter = keyed(&clock, 100 * SEC);
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(timeout(&clock, "total", 10 * SEC)))
        .layer(RateLimiterLayer::keyed(limiter.clone(), |request: &u32| *request))
        .service(api.clone());
    assert_eq!(value(call(&clock, &mut service)), 200);
    assert_eq!(promised(call(&clock, &mut service)), Some(10 * SEC));
    clock.advance(MS);
    assert_eq!(value(call(&clock, &mut service)), 200);
    assert_eq!(api.started(), [ZERO, 10 * SEC]);
}

#[test]
fn a_request_weighs_what_is_said_of_it_and_one_of_nothing_always_passes() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200)]);
    let tokens = limiter(&clock, 10, 10 * SEC).max_wait(ZERO).build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(RateLimiterLayer::weighed(tokens.clone(), |request: &u32| u64::from(*request)))
        .service(api.clone());
    let mut send = |request| run(&clock, async { service.ready().await?.call(request).await });
    assert_eq!(value(send(7)), 200);
    assert_eq!(promised(send(4)), Some(10 * SEC));
    assert_eq!(value(send(3)), 200);
    assert_eq!(value(send(0)), 200);
    assert_eq!(promised(send(11)), None, "it never fits");
    assert_eq!((tokens.remaining(), api.calls().len()), (0, 3));
}

#[test]
fn a_key_and_a_weight_together() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200)]);
    let limiter: KeyedRateLimiter<bool> =
        limiter(&clock, 10, 10 * SEC).max_wait(ZERO).build_keyed().unwrap();
    let layer = RateLimiterLayer::keyed(limiter.clone(), |request: &u32| request.is_multiple_of(2))
        .weighed(|request: &u32| u64::from(*request));
    let mut service = layer.layer(api);
    let mut send = |request| run(&clock, async { service.ready().await?.call(request).await });
    assert_eq!(value(send(8)), 200);
    assert_eq!(promised(send(4)), Some(10 * SEC));
    assert_eq!(value(send(9)), 200);
    assert_eq!((limiter.remaining(&true), limiter.remaining(&false)), (2, 1));
}

#[test]
fn by_key_too_a_call_that_is_refused_below_gives_back_what_it_took() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200)]);
    let limiter = keyed(&clock, ZERO);
    let breaker = breaker(&clock).build().unwrap();
    breaker.force_open();
    let mut service = ServiceBuilder::new()
        .layer(RateLimiterLayer::keyed(limiter.clone(), |request: &u32| *request))
        .layer(CircuitBreakerLayer::new(breaker))
        .service(api);
    assert!(call(&clock, &mut service).is_err());
    assert_eq!(limiter.remaining(&1), 1);
}

/// Dropped after each number of polls.
#[test]
fn a_call_dropped_at_any_await_keeps_its_unit_only_if_the_service_was_called() {
    for polls in 0.. {
        let clock = ManualClock::new();
        let api = Api::yielding(&clock, 2, [gives(200).after(SEC)]);
        let limiter = keyed(&clock, 100 * SEC);
        limiter.check(&1).unwrap();
        let mut service = ServiceBuilder::new()
            .layer(TimeoutLayer::new(timeout(&clock, "total", 60 * SEC)))
            .layer(RateLimiterLayer::keyed(limiter.clone(), |request: &u32| *request))
            .layer(CircuitBreakerLayer::new(breaker(&clock).build().unwrap()))
            .service(api.clone());
        let answer = drop_after(&clock, polls, ask(&mut service));
        let before = u64::from(now(&clock) < 10 * SEC);
        let called = api.calls().len() as u64;
        assert_eq!(limiter.current_rate(&1), before + called, "dropped after {polls} polls");
        assert_eq!((limiter.status(&1).waiting, clock.waiting(), api.running()), (0, 0, 0));
        if answer.is_some() {
            return;
        }
    }
}

/// Two calls each ten seconds, of which one key gets one.
#[test]
fn requests_wait_for_several_limits_at_once_and_give_back_what_they_do_not_use() {
    let clock = ManualClock::new();
    let limits: RateLimits<u32> = RateLimits::builder("model")
        .limit(Limit::overall("requests", 2, 10 * SEC))
        .limit(Limit::per_key("requests", 1, 10 * SEC))
        .clock(&clock)
        .build()
        .unwrap();
    let api = Api::new(&clock, [gives(200), gives(200), gives(200), gives(200)]);
    let of_request = {
        let limits = limits.clone();
        move |request: &u32| limits.call_of(request, &[]).unwrap()
    };
    let mut service =
        ServiceBuilder::new().layer(RateLimiterLayer::several(of_request)).service(api.clone());
    let mut ask = |key| {
        assert!(get_ready(&mut service).is_ready());
        Task::new(service.call(key))
    };
    let mut first = ask(1);
    assert!(first.poll().is_ready());
    let mut second = ask(1);
    assert!(second.poll().is_pending(), "its key has had one");
    let mut other = ask(2);
    assert!(other.poll().is_ready(), "and holds up nobody else");
    assert_eq!(limits.overview().waiting, 1);
    drop(second);
    assert_eq!((limits.overview().waiting, limits.totals().delayed), (0, 1));
    let mut third = ask(1);
    assert!(third.poll().is_pending());
    third.wait(&clock);
    assert!(third.poll().is_ready());
    assert_eq!(api.started(), [std::time::Duration::ZERO, std::time::Duration::ZERO, 10 * SEC]);
}
