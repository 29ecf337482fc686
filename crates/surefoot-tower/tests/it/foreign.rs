//! Between tower's own middleware.

use std::time::Duration;

use surefoot::{CircuitState, Error, ManualClock, Retry, Timeout};
use surefoot_tower::{CircuitBreakerLayer, HedgeLayer, RetryLayer, ServiceError, TimeoutLayer};
use tower::balance::p2c::Balance;
use tower::buffer::Buffer;
use tower::discover::ServiceList;
use tower::limit::{ConcurrencyLimit, ConcurrencyLimitLayer};
use tower::load::Constant;
use tower::load_shed::error::Overloaded;
use tower::{Service, ServiceBuilder, ServiceExt as _};

use crate::support::*;

#[test]
fn behind_a_buffer_callers_share_the_policies() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [fails("down"), gives(200)]);
    let breaker = breaker(&clock).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(RetryLayer::idempotent(retry(&clock).build().unwrap()))
        .layer(CircuitBreakerLayer::new(breaker.clone()))
        .service(api.clone());
    let (buffer, worker) = Buffer::pair(service, 4);
    let answers = run(
        &clock,
        served(worker, async {
            let (mut one, mut other) = (buffer.clone(), buffer);
            [ask(&mut one).await, ask(&mut other).await]
        }),
    );
    assert_eq!(answers.map(|answer| answer.unwrap().value), [200, 200]);
    assert_eq!(breaker.status().totals.successes, 2);
    assert_eq!(api.started(), [ZERO, SEC, SEC]);
}

#[test]
fn a_caller_who_leaves_a_buffer_ends_the_call_behind_it() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [hangs()]);
    let breaker = breaker(&clock).build().unwrap();
    let layer = CircuitBreakerLayer::new(breaker.clone());
    let service = ServiceBuilder::new().layer(layer).service(api.clone());
    let (mut buffer, worker) = Buffer::pair(service, 4);
    assert!(drop_after(&clock, 2, served(worker, ask(&mut buffer))).is_none());
    assert_eq!((api.calls().len(), api.running()), (1, 0));
    assert_eq!(settled(breaker.status().totals), 1);
    assert_eq!(breaker.status().totals.cancelled, 1);
}

#[test]
fn over_a_buffer_a_time_limit_reaches_the_breaker_behind_it() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [hangs()]);
    let breaker = breaker(&clock).failure_threshold(1).build().unwrap();
    let layer = CircuitBreakerLayer::new(breaker.clone());
    let (buffer, worker) = Buffer::pair(ServiceBuilder::new().layer(layer).service(api.clone()), 4);
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(timeout(&clock, "total", SEC)))
        .layer(RetryLayer::idempotent(retry(&clock).build().unwrap()))
        .service(buffer);
    let error = run(&clock, served(worker, ask(&mut service))).unwrap_err();
    assert!(matches!(error, Error::Timeout { dispatched: true, .. }), "{error:?}");
    assert_eq!(breaker.state(), CircuitState::Open);
    assert_eq!(api.running(), 0);
}

#[test]
fn errors_from_behind_a_buffer_do_not_nest() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [fails("down")]);
    let breaker = breaker(&clock).failure_threshold(3).build().unwrap();
    let layer = CircuitBreakerLayer::new(breaker);
    let (buffer, worker) = Buffer::pair(ServiceBuilder::new().layer(layer).service(api.clone()), 4);
    let layer = RetryLayer::idempotent(retry(&clock).build().unwrap());
    let mut service = ServiceBuilder::new().layer(layer).service(buffer);
    let error = run(&clock, served(worker, ask(&mut service))).unwrap_err();
    // The fourth was refused behind the buffer, and the retry over it knows that.
    let Error::Exhausted { attempts: 4, last, refusal: Some(refusal), .. } = &error else {
        panic!("{error:?}")
    };
    assert!(matches!(**refusal, Error::Rejected(_)), "{refusal:?}");
    assert_eq!(failure(last), Some("down"));
    assert_eq!(api.calls().len(), 3);
}

#[test]
fn a_hedge_over_a_buffer_takes_a_place_for_each_attempt() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [hangs(), gives(200)]);
    let (buffer, worker) = Buffer::pair(api.clone(), 1);
    let layer = HedgeLayer::idempotent(hedge(&clock).build().unwrap());
    let mut service = ServiceBuilder::new().layer(layer).service(buffer);
    assert_eq!(value(run(&clock, served(worker, ask(&mut service)))), 200);
    assert_eq!((api.started(), api.running()), (vec![ZERO, 10 * MS], 0));
}

#[test]
fn a_balancer_keeps_an_endpoint_whose_breaker_is_open() {
    let clock = ManualClock::new();
    let apis = [Api::new(&clock, [fails("down")]), Api::new(&clock, [gives(200)])];
    let breakers = [1, 2].map(|_| breaker(&clock).failure_threshold(1).build().unwrap());
    let endpoints = apis.iter().zip(&breakers).map(|(api, breaker)| {
        let layer = CircuitBreakerLayer::new(breaker.clone());
        Constant::new(ServiceBuilder::new().layer(layer).service(api.clone()), 1)
    });
    let endpoints = ServiceList::new(endpoints.collect::<Vec<_>>());
    let mut service = Balance::new(endpoints);
    let mut answers = 0;
    for _ in 0..100 {
        answers += usize::from(call(&clock, &mut service).is_ok());
    }
    assert_eq!(apis[0].calls().len(), 1);
    assert_eq!(apis[1].calls().len(), answers);
    assert!(answers > 0 && breakers[0].status().totals.rejected > 0, "both were asked");
    assert_eq!(service.len(), 2, "a refusal is no reason to discard an endpoint");
}

#[test]
fn a_retry_over_a_balancer_finds_the_endpoint_that_works() {
    let clock = ManualClock::new();
    let apis = [Api::new(&clock, [fails("down")]), Api::new(&clock, [gives(200)])];
    let endpoints = apis.iter().map(|api| Constant::new(api.clone(), 1)).collect::<Vec<_>>();
    let (buffer, worker) = Buffer::pair(Balance::new(ServiceList::new(endpoints)), 8);
    let layer = RetryLayer::idempotent(retry(&clock).max_attempts(50).build().unwrap());
    let service = ServiceBuilder::new().layer(layer).service(buffer);
    run(
        &clock,
        served(worker, async {
            for _ in 0..20 {
                assert_eq!(value(ask(&mut service.clone()).await), 200);
            }
        }),
    );
    assert_eq!(apis[1].calls().len(), 20);
}

#[test]
fn under_a_concurrency_limit_a_refused_call_gives_its_permit_back() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200)]);
    let breaker = breaker(&clock).build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(ConcurrencyLimitLayer::new(1))
        .layer(CircuitBreakerLayer::new(breaker.clone()))
        .service(api);
    let mut other: ConcurrencyLimit<_> = service.clone();
    breaker.force_open();
    assert!(matches!(call(&clock, &mut service), Err(Error::Rejected(_))));
    breaker.reset();
    assert_eq!(value(call(&clock, &mut other)), 200);
}

#[test]
fn a_load_shedder_over_the_layers_sheds_by_their_readiness() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200).after(SEC)]);
    let mut service = ServiceBuilder::new()
        .load_shed()
        .layer(RetryLayer::idempotent(retry(&clock).build().unwrap()))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(api.clone());
    let mut other = service.clone();
    let mut first = Task::new(ask(&mut service));
    assert!(first.poll().is_pending());
    let shed = call(&clock, &mut other).unwrap_err();
    assert!(shed.is::<Overloaded>(), "{shed:?}");
    assert_eq!(api.calls().len(), 1);
}

/// To the layers above, what a foreign layer refuses is the service's error: a classifier can tell.
#[test]
fn what_a_load_shedder_inside_refuses_is_found_by_its_type() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [hangs()]);
    api.ready_from(60 * SEC);
    let overloaded = |result: Result<&Reply, &ServiceError>| match result {
        Err(error) if error.downcast_ref::<Overloaded>().is_some() => {
            surefoot::Classification::PERMANENT
        }
        Err(_) => surefoot::Classification::TRANSIENT,
        Ok(_) => surefoot::Classification::SUCCESS,
    };
    let breaker = breaker(&clock).build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(breaker.clone()).classify(overloaded))
        .load_shed()
        .service(api);
    let error = call(&clock, &mut service).unwrap_err();
    let theirs = error.operation().and_then(ServiceError::downcast_ref::<Overloaded>);
    assert!(theirs.is_some(), "{error:?}");
    let totals = breaker.status().totals;
    assert_eq!((totals.ignored, totals.failures), (1, 0));
}

/// tower's own timeout says nothing when it drops a call: to a breaker inside it is a caller who left.
#[tokio::test(start_paused = true)]
async fn towers_own_timeout_works_between_the_layers() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [hangs(), fails("down"), gives(200)]);
    let breaker = breaker(&clock).failure_threshold(1000).build().unwrap();
    let retry = Retry::builder().initial_delay(MS).exponential_base(1.0);
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(Timeout::new(60 * SEC).unwrap()))
        .layer(RetryLayer::idempotent(retry.build().unwrap()))
        .timeout(Duration::from_secs(1))
        .layer(CircuitBreakerLayer::new(breaker.clone()))
        .service(api.clone());
    assert_eq!(service.ready().await.unwrap().call(1).await.unwrap().value, 200);
    let totals = breaker.status().totals;
    assert_eq!((totals.cancelled, totals.failures, totals.successes), (1, 1, 1));
    assert_eq!((api.calls().len(), api.running()), (3, 0));

    breaker.force_open();
    let error = service.ready().await.unwrap().call(1).await.unwrap_err();
    assert!(matches!(error, Error::Rejected(_)), "through tower's timeout: {error:?}");
}
