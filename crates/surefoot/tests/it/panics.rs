//! A panic in the operation counts once and goes on to the caller.

use std::panic::{AssertUnwindSafe, catch_unwind};

use surefoot::{CircuitState, Classification, ManualClock, Pipeline};

use crate::support::*;

/// Runs `call`, which panics, and gives the payload's text.
fn panic_of<R>(call: impl FnOnce() -> R) -> &'static str {
    let payload = catch_unwind(AssertUnwindSafe(call)).err().expect("the panic goes on");
    payload.downcast_ref::<&str>().copied().expect("the payload is the operation's own")
}

/// policies.md §4 rule 12; §2 trap c.
#[test]
fn a_panic_is_one_failure_and_propagates() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let breaker = breaker(&clock).build().unwrap();
        for service in
            [Service::new(&clock, [panics()]), Service::new(&clock, [panics().after(MS)])]
        {
            let before = breaker.status().totals.failures;
            assert_eq!(panic_of(|| call!(host, clock, breaker, service)), "boom");
            let totals = breaker.status().totals;
            assert_eq!(totals.failures, before + 1, "{host:?}");
            assert_eq!(settled(totals), before + 1, "{host:?}");
        }
    }
}

/// policies.md §4 rule 12: what the closure does before it gives a future is part of the call.
#[test]
fn a_panic_before_the_future_is_made_is_one_failure_too() {
    type Answer = std::future::Ready<Result<u16, &'static str>>;
    let clock = ManualClock::new();
    let breaker = about_to_try(&clock, breaker(&clock).half_open_max_calls(1));
    let pipeline = Pipeline::builder("api")
        .idempotent()
        .add(timeout(&clock, "total", 60 * SEC))
        .add(retry(&clock).build().unwrap())
        .add(breaker.clone())
        .add(timeout(&clock, "attempt", 5 * SEC))
        .build()
        .unwrap();
    let call = || -> Answer { panic!("boom") };
    assert_eq!(panic_of(|| run(&clock, pipeline.call(call))), "boom");
    let totals = breaker.status().totals;
    assert_eq!((totals.failures, settled(totals), totals.opened), (2, 2, 2));
    assert_eq!((clock.waiting(), told_here()), (0, (1, None)));
}

/// policies.md §4 rule 12: five of them open it.
#[test]
fn panics_open_a_closed_breaker_like_any_failure() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let breaker = breaker(&clock).build().unwrap();
        let service = Service::new(&clock, [panics()]);
        for call in 1..=5 {
            assert_eq!(breaker.state(), CircuitState::Closed, "{host:?}, before call {call}");
            panic_of(|| call!(host, clock, breaker, service));
        }
        assert_eq!(breaker.state(), CircuitState::Open, "{host:?}");
    }
}

/// policies.md §4 rules 12 and 25; §2 trap c: a panicking trial call leaks no place.
#[test]
fn a_panic_in_a_trial_call_reopens_and_leaks_no_place() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let breaker = about_to_try(&clock, breaker(&clock).half_open_max_calls(1));
        let service = Service::new(&clock, [panics()]);
        assert_eq!(panic_of(|| call!(host, clock, breaker, service)), "boom");
        assert_eq!(breaker.state(), CircuitState::Open, "{host:?}");
        assert_eq!(breaker.status().totals.opened, 2, "{host:?}");
        clock.advance(SEC);
        assert!(breaker.admit().is_ok(), "{host:?}: the place is free again");
    }
}

/// policies.md §4 rule 12: a panic is not tried again.
#[test]
fn a_panic_inside_a_retry_is_not_tried_again_and_counts_once() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let breaker = breaker(&clock).build().unwrap();
        let inner = retry(&clock).build().unwrap();
        let pipeline = Pipeline::builder("api")
            .idempotent()
            .add(timeout(&clock, "total", 60 * SEC))
            .add(inner.clone())
            .add(breaker.clone())
            .add(timeout(&clock, "attempt", 5 * SEC))
            .build()
            .unwrap();
        let service = Service::new(&clock, [fails("down"), panics(), gives(200)]);
        assert_eq!(panic_of(|| call!(host, clock, pipeline, service)), "boom");
        assert_eq!(service.calls(), 2, "{host:?}");
        let totals = breaker.status().totals;
        assert_eq!((totals.failures, settled(totals)), (2, 2), "{host:?}");
        assert_eq!((clock.waiting(), service.running()), (0, 0), "{host:?}");
        assert_eq!(told_here(), (1, None), "{host:?}: scopes ended");
    }
}

/// The next call on the same thread is not taken for a nested one.
#[test]
fn after_a_panic_the_thread_is_as_before() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let retry = retry(&clock).build().unwrap();
        let log = Log::of(retry.events());
        let service = Service::new(&clock, [panics(), gives(200)]);
        panic_of(|| call!(host, clock, retry, service));
        assert_eq!(call!(host, clock, retry, service), Ok(200));
        assert_eq!(log.events(), [], "{host:?}: no nesting was seen");
    }
}

#[test]
fn a_panic_in_the_classifier_leaks_no_place() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let breaker = about_to_try(&clock, breaker(&clock).half_open_max_calls(1));
        let judged = breaker
            .clone()
            .classify(|_: Result<&u16, &&'static str>| -> Classification { panic!("no idea") });
        let service = Service::new(&clock, [gives(200)]);
        assert_eq!(panic_of(|| call!(host, clock, judged, service)), "no idea");
        assert_eq!(settled(breaker.status().totals), 2, "{host:?}");
    }
}

/// policies.md §2 trap m: a verdict given while unwinding neither panics nor aborts, even if a
/// listener panics.
#[test]
fn a_listener_that_panics_during_unwinding_is_passed_over() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let breaker =
            breaker(&clock).failure_threshold(1).on_event(|_| panic!("listener")).build().unwrap();
        let log = Log::of(breaker.events());
        let service = Service::new(&clock, [panics()]);
        assert_eq!(panic_of(|| call!(host, clock, breaker, service)), "boom");
        assert_eq!(breaker.state(), CircuitState::Open);
        assert_eq!(log.events().len(), 1, "{host:?}: the other listener was told");
        breaker.reset(); // no lock is poisoned
        assert_eq!(breaker.state(), CircuitState::Closed);
    }
}

/// A panic of somebody else that drops a pending call says nothing about its callee.
#[test]
fn a_call_dropped_by_a_panic_elsewhere_is_cancelled() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).failure_threshold(1).build().unwrap();
    let service = Service::new(&clock, [hangs()]);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let mut task = Task::new(breaker.call(|| service.answer()));
        assert!(task.poll().is_pending());
        panic!("a bug of the caller's");
    }));
    assert!(caught.is_err());
    let totals = breaker.status().totals;
    assert_eq!((totals.cancelled, totals.failures), (1, 0));
}
