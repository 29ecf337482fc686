//! Tower's contract: a service is called only after it has said that it is ready, and what readiness
//! reserves is neither lost nor taken twice.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use surefoot::{CircuitState, Error, Fallback, ManualClock};
use surefoot_tower::{
    BoxError, CircuitBreakerLayer, FallbackLayer, HedgeLayer, RateLimiterLayer, RetryLayer,
    TimeoutLayer,
};
use tokio::sync::Semaphore;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::util::BoxCloneService;
use tower::{Service, ServiceBuilder};

use crate::support::*;

type Boxed = BoxCloneService<u32, Reply, surefoot_tower::Error>;

/// Each of our layers around clones of `service`.
fn each_layer<S>(clock: &ManualClock, service: &S) -> Vec<(&'static str, Boxed)>
where
    S: Service<u32, Response = Reply, Error = Failure> + Clone + Send + 'static,
    S::Future: Send,
{
    let build = ServiceBuilder::new;
    let fallback = FallbackLayer::new(Fallback::new("second").unwrap(), service.clone());
    vec![
        (
            "breaker",
            build()
                .boxed_clone()
                .layer(CircuitBreakerLayer::new(breaker(clock).build().unwrap()))
                .service(service.clone()),
        ),
        (
            "retry",
            build()
                .boxed_clone()
                .layer(RetryLayer::idempotent(retry(clock).build().unwrap()))
                .service(service.clone()),
        ),
        (
            "timeout",
            build()
                .boxed_clone()
                .layer(TimeoutLayer::new(timeout(clock, "total", 60 * SEC)))
                .service(service.clone()),
        ),
        (
            "hedge",
            build()
                .boxed_clone()
                .layer(HedgeLayer::idempotent(hedge(clock).build().unwrap()))
                .service(service.clone()),
        ),
        ("fallback", build().boxed_clone().layer(fallback).service(service.clone())),
        (
            "limiter",
            build()
                .boxed_clone()
                .layer(RateLimiterLayer::new(limiter(clock, 1000, SEC).build().unwrap()))
                .service(service.clone()),
        ),
        (
            "limiter by key",
            build()
                .boxed_clone()
                .layer(RateLimiterLayer::keyed(
                    limiter(clock, 1000, SEC).build_keyed().unwrap(),
                    |request: &u32| *request,
                ))
                .service(service.clone()),
        ),
    ]
}

fn get_ready<S: Service<u32>>(service: &mut S) -> Poll<Result<(), S::Error>> {
    service.poll_ready(&mut Context::from_waker(Waker::noop()))
}

/// A limit of one call at a time, shared by all clones.
fn one_at_a_time(
    api: &Api,
) -> (
    Arc<Semaphore>,
    impl Service<u32, Response = Reply, Error = Failure, Future: Send> + Clone + use<>,
) {
    let permits = Arc::new(Semaphore::new(1));
    let limit = GlobalConcurrencyLimitLayer::with_semaphore(permits.clone());
    (permits, ServiceBuilder::new().layer(limit).service(api.clone()))
}

#[test]
fn no_layer_is_ready_before_the_service_below_is() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200)]);
    api.ready_from(5 * SEC);
    for (name, mut service) in each_layer(&clock, &api) {
        assert!(get_ready(&mut service).is_pending(), "{name}");
    }
    clock.advance(5 * SEC);
    for (name, mut service) in each_layer(&clock, &api) {
        assert!(get_ready(&mut service).is_ready(), "{name}");
        assert_eq!(value(call(&clock, &mut service)), 200, "{name}");
    }
}

#[test]
fn a_service_that_is_dropped_between_ready_and_call_gives_back_what_it_reserved() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200)]);
    let (permits, limited) = one_at_a_time(&api);
    for (name, mut service) in each_layer(&clock, &limited) {
        assert!(get_ready(&mut service).is_ready(), "{name}");
        assert_eq!((permits.available_permits(), api.reservations()), (0, 1), "{name}");
        drop(service);
        assert_eq!((permits.available_permits(), api.reservations()), (1, 0), "{name}");
    }
    assert_eq!(api.calls().len(), 0);
}

#[test]
fn a_clone_of_a_ready_service_has_to_get_ready_by_itself() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200)]);
    let (permits, limited) = one_at_a_time(&api);
    for (name, mut service) in each_layer(&clock, &limited) {
        assert!(get_ready(&mut service).is_ready(), "{name}");
        let mut clone = service.clone();
        assert!(get_ready(&mut clone).is_pending(), "{name}: the permit was taken twice");
        assert_eq!(value(run(&clock, service.call(1))), 200, "{name}");
        assert!(get_ready(&mut clone).is_ready(), "{name}: the permit was lost");
        assert_eq!(value(run(&clock, clone.call(1))), 200, "{name}");
        assert_eq!((permits.available_permits(), api.reservations()), (1, 0), "{name}");
    }
}

#[test]
fn a_service_can_be_called_again_as_soon_as_it_is_ready_again() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200).after(MS)]);
    for (name, mut service) in each_layer(&clock, &api) {
        assert!(get_ready(&mut service).is_ready(), "{name}");
        let first = service.call(1);
        assert!(get_ready(&mut service).is_ready(), "{name}: while the first call is under way");
        let second = service.call(2);
        assert_eq!(value(run(&clock, second)), 200, "{name}");
        assert_eq!(value(run(&clock, first)), 200, "{name}");
    }
}

#[test]
fn a_ready_service_stays_ready_and_reserves_once() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200)]);
    for (name, mut service) in each_layer(&clock, &api) {
        for _ in 0..3 {
            assert!(get_ready(&mut service).is_ready(), "{name}");
        }
        assert_eq!(api.reservations(), 1, "{name}");
    }
}

/// A failure closes the limit's permit before the wait, so that others are served meanwhile; the
/// retry waits for a permit of its own.
#[test]
fn a_retry_holds_no_permit_while_it_waits_and_takes_another_for_each_attempt() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [fails("down"), gives(200)]);
    let (permits, limited) = one_at_a_time(&api);
    let mut service = ServiceBuilder::new()
        .layer(RetryLayer::idempotent(retry(&clock).build().unwrap()))
        .service(limited);
    let mut answer = Task::new(ask(&mut service));
    assert!(answer.poll().is_pending());
    assert_eq!((permits.available_permits(), api.reservations()), (1, 0));

    let taken = permits.try_acquire().unwrap();
    clock.advance(SEC);
    assert!(answer.is_woken() && answer.poll().is_pending());
    assert_eq!(api.calls().len(), 1, "there is no permit for a second attempt");
    drop(taken);
    assert!(answer.is_woken(), "it waits for the permit");
    let Poll::Ready(result) = answer.poll() else { panic!("it has its permit") };
    assert_eq!(value(result), 200);
    drop(answer);
    assert_eq!(permits.available_permits(), 1);
}

#[test]
fn a_hedge_waits_for_a_permit_of_its_own() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [hangs(), gives(200)]);
    let permits = Arc::new(Semaphore::new(2));
    let limit = GlobalConcurrencyLimitLayer::with_semaphore(permits.clone());
    let mut service = ServiceBuilder::new()
        .layer(HedgeLayer::idempotent(hedge(&clock).build().unwrap()))
        .layer(limit)
        .service(api.clone());
    let mut answer = Task::new(ask(&mut service));
    assert!(answer.poll().is_pending());
    let taken = permits.try_acquire().unwrap();
    clock.advance(10 * MS);
    assert!(answer.poll().is_pending());
    assert_eq!(api.calls().len(), 1, "there is no permit for a hedge");
    drop(taken);
    let Poll::Ready(result) = answer.poll() else { panic!("it has its permit") };
    assert_eq!(value(result), 200);
    drop(answer);
    assert_eq!((permits.available_permits(), api.running()), (2, 0));
}

#[test]
fn a_half_open_breaker_reserves_no_trial_call_before_it_is_called() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200)]);
    let breaker = about_to_try(&clock, breaker(&clock).half_open_max_calls(1).success_threshold(2));
    let layer = CircuitBreakerLayer::new(breaker.clone());
    let mut services: Vec<_> =
        (0..3).map(|_| ServiceBuilder::new().layer(layer.clone()).service(api.clone())).collect();
    for service in &mut services {
        assert!(get_ready(service).is_ready());
    }
    assert_eq!(breaker.state(), CircuitState::Open, "asking whether it is ready moves nothing");
    assert_eq!(value(run(&clock, services[0].call(1))), 200);
    drop(services); // two of them ready and never called
    breaker.admit().expect("the only place is free").success();
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[test]
fn a_trial_call_that_is_dropped_before_it_is_polled_gives_its_place_back() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200)]);
    let breaker = about_to_try(&clock, breaker(&clock).half_open_max_calls(1));
    let layer = CircuitBreakerLayer::new(breaker.clone());
    let mut service = ServiceBuilder::new().layer(layer).service(api);
    assert!(get_ready(&mut service).is_ready());
    let answer = service.call(1);
    assert_eq!(breaker.state(), CircuitState::HalfOpen);
    assert!(breaker.admit().is_err(), "the only place is taken");
    drop(answer);
    assert_eq!(breaker.status().totals.cancelled, 1);
    assert!(breaker.admit().is_ok());
}

/// What `poll_ready` reserved cannot be given back but by a call or a drop: it serves the next call.
#[test]
fn a_refused_call_leaves_the_service_ready_for_the_next() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200)]);
    let (permits, limited) = one_at_a_time(&api);
    let breaker = breaker(&clock).build().unwrap();
    let layer = CircuitBreakerLayer::new(breaker.clone());
    let mut service = ServiceBuilder::new().layer(layer).service(limited);
    breaker.force_open();
    for _ in 0..3 {
        assert!(matches!(call(&clock, &mut service), Err(Error::Rejected(_))));
    }
    breaker.reset();
    assert_eq!(value(call(&clock, &mut service)), 200);
    assert_eq!((permits.available_permits(), api.reservations()), (1, 0));
}

/// A service whose readiness fails for good.
#[derive(Clone)]
struct Broken {
    /// Calls that it still takes.
    works: u32,
    api: Api,
}

impl Service<u32> for Broken {
    type Response = Reply;
    type Error = BoxError;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Reply, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self.works {
            0 => Poll::Ready(Err(Failure("discard me").into())),
            _ => self.api.poll_ready(cx).map_err(Into::into),
        }
    }

    fn call(&mut self, request: u32) -> Self::Future {
        self.works -= 1;
        let answer = self.api.call(request);
        Box::pin(async { answer.await.map_err(Into::into) })
    }
}

#[test]
fn a_readiness_that_fails_is_passed_on_by_every_layer() {
    let clock = ManualClock::new();
    let broken = Broken { works: 0, api: Api::new(&clock, [gives(200)]) };
    let mut service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(breaker(&clock).build().unwrap()))
        .layer(RetryLayer::idempotent(retry(&clock).build().unwrap()))
        .layer(TimeoutLayer::new(timeout(&clock, "total", SEC)))
        .layer(HedgeLayer::idempotent(hedge(&clock).build().unwrap()))
        .layer(FallbackLayer::new(Fallback::new("second").unwrap(), broken.clone()))
        .layer(RateLimiterLayer::new(limiter(&clock, 1, SEC).build().unwrap()))
        .service(broken);
    let Poll::Ready(Err(error)) = get_ready(&mut service) else { panic!("must be discarded") };
    assert_eq!(failure(&error), Some("discard me"));
}

#[test]
fn a_retry_whose_service_must_be_discarded_ends_with_that_and_tells_the_attempts_made() {
    let clock = ManualClock::new();
    let broken = Broken { works: 1, api: Api::new(&clock, [fails("down")]) };
    let budget = tokens(&clock, 3);
    let mut service = ServiceBuilder::new()
        .layer(RetryLayer::idempotent(retry(&clock).budget(budget.clone()).build().unwrap()))
        .service(broken);
    let error = call(&clock, &mut service).unwrap_err();
    assert_eq!(failure(&error), Some("discard me"));
    let Error::Exhausted { attempts, stop, elapsed, .. } = error else { panic!("{error:?}") };
    assert_eq!((attempts, stop, elapsed), (1, surefoot::StopReason::NotReady, SEC));
    assert_eq!(budget.balance(), 3, "the second attempt was never made");
}
