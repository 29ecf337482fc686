//! Load shedders and client throttles around a service.

use std::panic::{AssertUnwindSafe, catch_unwind};

use surefoot::{ClientThrottle, Error, LoadShedder, ManualClock, Rejection};
use surefoot_tower::{ClientThrottleLayer, LoadShedderLayer, TimeoutLayer};
use tower::{Service, ServiceBuilder, ServiceExt as _};

use crate::support::*;

fn shedder(clock: &ManualClock, capacity: u32) -> LoadShedder {
    LoadShedder::builder("api").capacity(capacity).clock(clock).build().unwrap()
}

#[test]
fn the_priority_is_that_of_the_request() {
    let clock = ManualClock::new();
    let shedder = shedder(&clock, 10);
    let _under_way: Vec<_> = (0..9).map(|_| shedder.admit(3).unwrap()).collect();
    let api = Api::new(&clock, [gives(200)]);
    let layer = LoadShedderLayer::by_priority(shedder.clone(), |request: &u32| *request)
        .by_user(|request: &u32| *request);
    let mut service = ServiceBuilder::new().layer(layer).service(api.clone());
    let mut ask = |priority| {
        run(&clock, async { service.ready().await?.call(priority).await })
            .map(|reply: Reply| reply.value)
    };
    assert_eq!(ask(3).unwrap(), 200);
    for priority in [1, 2] {
        let error = ask(priority).unwrap_err();
        assert!(matches!(error.rejection(), Some(Rejection::Shed { .. })), "{error}");
    }
    for priority in [0, 4] {
        let error = ask(priority).unwrap_err();
        assert!(matches!(error.rejection(), Some(Rejection::UnknownPriority { .. })), "{error}");
    }
    assert_eq!(api.calls().len(), 1);
}

#[test]
fn a_call_is_under_way_until_its_response_is_there_dropped_or_panics() {
    let clock = ManualClock::new();
    let shedder = shedder(&clock, 1);
    let api = Api::new(&clock, [gives(200).after(SEC), hangs(), panics(), panics_in_call()]);
    let layer = LoadShedderLayer::new(shedder.priority(3).unwrap());
    let mut service = ServiceBuilder::new().layer(layer).service(api);
    let under_way = || shedder.status().in_flight;

    let mut call = Task::new(run(&clock, service.ready()).unwrap().call(1));
    assert_eq!(under_way(), 1);
    assert!(call.poll().is_pending());
    clock.advance(SEC);
    assert!(call.poll().is_ready());
    assert_eq!(under_way(), 0); // though the future is still there
    drop(call);

    let call = run(&clock, service.ready()).unwrap().call(1);
    assert_eq!(under_way(), 1);
    drop(call);
    assert_eq!(under_way(), 0);

    for _ in 0..2 {
        let unwound = AssertUnwindSafe(|| crate::support::call(&clock, &mut service));
        assert!(catch_unwind(unwound).is_err());
        assert_eq!(under_way(), 0);
    }
}

#[test]
fn a_service_dropped_while_it_is_ready_has_taken_no_place() {
    let clock = ManualClock::new();
    let shedder = shedder(&clock, 1);
    let layer = LoadShedderLayer::new(shedder.priority(3).unwrap());
    let mut service = ServiceBuilder::new().layer(layer).service(Api::new(&clock, [gives(200)]));
    run(&clock, service.ready()).unwrap();
    drop(service);
    assert_eq!(shedder.status().in_flight, 0);
}

#[test]
fn a_client_throttle_counts_responses_errors_drops_and_deadlines() {
    let clock = ManualClock::new();
    let throttle = ClientThrottle::builder("api").clock(&clock).seed(1).build().unwrap();
    let api =
        Api::new(&clock, [gives(200), fails("overloaded"), hangs(), gives(200), panics(), hangs()]);
    let layer = ClientThrottleLayer::new(throttle.clone());
    let mut service = ServiceBuilder::new().layer(&layer).service(api.clone());
    let counts = || {
        let status = throttle.status();
        (status.requests, status.accepts)
    };
    assert_eq!(value(call(&clock, &mut service)), 200);
    assert_eq!(counts(), (1, 1));
    assert_eq!(failure(&call(&clock, &mut service).unwrap_err()), Some("overloaded"));
    assert_eq!(counts(), (2, 1));
    drop(run(&clock, service.ready()).unwrap().call(1));
    assert_eq!(counts(), (2, 1));
    assert_eq!(value(call(&clock, &mut service)), 200);
    let unwound = AssertUnwindSafe(|| call(&clock, &mut service));
    assert!(catch_unwind(unwound).is_err());
    assert_eq!(counts(), (3, 2));

    let mut limited = ServiceBuilder::new()
        .layer(TimeoutLayer::new(timeout(&clock, "t", SEC)))
        .layer(layer)
        .service(api);
    assert!(matches!(call(&clock, &mut limited), Err(Error::Timeout { .. })));
    assert_eq!(counts(), (4, 2));
}

#[test]
fn a_client_throttle_holds_back_what_would_be_refused() {
    let clock = ManualClock::new();
    let throttle = ClientThrottle::builder("api").clock(&clock).seed(1).build().unwrap();
    let api = Api::new(&clock, [fails("overloaded")]);
    let layer = ClientThrottleLayer::new(throttle.clone());
    let mut service = ServiceBuilder::new().layer(layer).service(api.clone());
    let answers = (0..100).map(|_| call(&clock, &mut service).unwrap_err());
    let held_back = answers
        .filter(|error| matches!(error.rejection(), Some(Rejection::ClientThrottled { .. })))
        .count();
    assert!(held_back > 60, "{held_back}");
    assert_eq!(api.calls().len(), 100 - held_back);
}
