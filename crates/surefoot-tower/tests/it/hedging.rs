//! Attempts that race each other over clones of a service.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use surefoot::{Classification, Error, Event, Hedge, ManualClock};
use surefoot_tower::{
    CircuitBreakerLayer, Duplicate, HedgeLayer, RetryLayer, ServiceError, TimeoutLayer,
};
use tower::{ServiceBuilder, ServiceExt as _, service_fn};

use crate::support::*;

/// policies.md §4 rule 57.
#[test]
fn an_answer_within_the_delay_needs_no_hedge() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200).after(10 * MS)]);
    let layer = HedgeLayer::idempotent(hedge(&clock).delay(50 * MS).build().unwrap());
    let mut service = ServiceBuilder::new().layer(layer).service(api.clone());
    assert_eq!(value(call(&clock, &mut service)), 200);
    assert_eq!((now(&clock), api.calls().len(), clock.waiting()), (10 * MS, 1, 0));
}

/// policies.md §4 rule 58.
#[test]
fn the_first_answer_wins_and_the_others_are_gone_before_it_is_returned() {
    let clock = ManualClock::new();
    let slow = gives(1).after(100 * MS);
    let api = Api::new(&clock, [slow, gives(2).after(30 * MS), slow]);
    let breaker = breaker(&clock).build().unwrap();
    let mut service = ServiceBuilder::new()
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
    assert_eq!(value(result), 2);
    assert_eq!(api.started(), [ZERO, 10 * MS, 20 * MS]);
    assert_eq!((now(&clock), api.running(), api.answered()), (40 * MS, 0, 1));
    let totals = breaker.status().totals;
    assert_eq!((totals.successes, totals.cancelled, totals.failures), (1, 2, 0));
}

/// policies.md §4 rule 59.
#[test]
fn a_delay_of_nothing_makes_all_attempts_at_once() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200).after(SEC)]);
    let layer = HedgeLayer::idempotent(hedge(&clock).delay(ZERO).max_hedges(2).build().unwrap());
    let mut service = ServiceBuilder::new().layer(layer).service(api.clone());
    assert_eq!(value(call(&clock, &mut service)), 200);
    assert_eq!(api.started(), [ZERO, ZERO, ZERO]);
}

/// policies.md §4 rule 59.
#[test]
fn a_failure_begins_the_next_attempt_however_long_the_delay_is() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [fails("down").after(SEC), gives(200)]);
    let layer = HedgeLayer::idempotent(hedge(&clock).delay(3600 * SEC).build().unwrap());
    let mut service = ServiceBuilder::new().layer(layer).service(api.clone());
    assert_eq!(value(call(&clock, &mut service)), 200);
    assert_eq!(api.started(), [ZERO, SEC]);
}

/// policies.md §4 rule 60.
#[test]
fn with_no_answer_accepted_the_one_that_came_last_is_given() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [fails("slow").after(100 * MS), fails("fast").after(20 * MS)]);
    let layer = HedgeLayer::idempotent(hedge(&clock).build().unwrap());
    let mut service = ServiceBuilder::new().layer(layer).service(api.clone());
    let error = call(&clock, &mut service).unwrap_err();
    assert_eq!((failure(&error), now(&clock)), (Some("slow"), 100 * MS));
}

/// A rejection says that nothing was dispatched, which would not be true of this call.
#[test]
fn a_refused_hedge_does_not_hide_the_failure_of_an_attempt_that_was_dispatched() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [fails("down")]);
    let inner = breaker(&clock).failure_threshold(1).build().unwrap();
    let outer = breaker(&clock).build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(outer.clone()))
        .layer(HedgeLayer::idempotent(hedge(&clock).build().unwrap()))
        .layer(CircuitBreakerLayer::new(inner))
        .service(api.clone());
    let error = call(&clock, &mut service).unwrap_err();
    assert_eq!((failure(&error), api.calls().len()), (Some("down"), 1));
    assert!(!error.is_undispatched());
    assert_eq!(outer.status().totals.failures, 1);
}

/// policies.md §4 rule 61.
#[test]
fn an_empty_budget_lets_the_attempts_under_way_go_on() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200).after(SEC)]);
    let budget = tokens(&clock, 1);
    let hedge = hedge(&clock).max_hedges(5).budget(budget.clone()).build().unwrap();
    let layer = HedgeLayer::idempotent(hedge.clone());
    let mut service = ServiceBuilder::new().layer(layer).service(api.clone());
    assert_eq!(value(call(&clock, &mut service)), 200);
    assert_eq!((api.calls().len(), hedge.hedges(), budget.balance()), (2, 1, 0));
}

/// policies.md §4 rule 62.
#[test]
fn a_percentile_hedges_nothing_in_its_warm_up() {
    let clock = ManualClock::new();
    let mut steps = vec![gives(1).after(10 * MS); 20];
    steps.extend([hangs(), gives(2)]);
    let api = Api::new(&clock, steps);
    let hedge = Hedge::builder().percentile(0.9).warm_up(20).clock(&clock).build().unwrap();
    let layer = HedgeLayer::idempotent(hedge.clone());
    let mut service = ServiceBuilder::new().layer(layer).service(api.clone());
    for _ in 0..20 {
        assert_eq!(value(call(&clock, &mut service)), 1);
    }
    assert_eq!((hedge.hedges(), api.calls().len()), (0, 20));
    assert_eq!(now(&clock), 200 * MS);
    assert_eq!(value(call(&clock, &mut service)), 2);
    assert!((210 * MS..=211 * MS).contains(&now(&clock)), "{:?}", now(&clock));
    assert_eq!(hedge.hedges(), 1);
}

/// policies.md §4 rule 63: ours passes over a listener that panics.
#[test]
fn a_listener_that_panics_stops_no_hedge_and_leaks_nothing() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [hangs(), gives(200)]);
    let hedge = hedge(&clock).on_event(|_| panic!("listening failed")).build().unwrap();
    let layer = HedgeLayer::idempotent(hedge);
    let mut service = ServiceBuilder::new().layer(layer).service(api.clone());
    assert_eq!(value(call(&clock, &mut service)), 200);
    assert_eq!((api.running(), clock.waiting()), (0, 0));
}

/// policies.md §4 rule 64.
#[test]
fn attempts_share_nothing_but_what_their_request_shares() {
    let clock = ManualClock::new();
    let asked = Arc::new(AtomicU32::new(0));
    let service = {
        let (clock, asked) = (clock.clone(), asked.clone());
        service_fn(move |mut request: Vec<u32>| {
            let number = asked.fetch_add(1, Ordering::SeqCst);
            request.push(number);
            let clock = clock.clone();
            async move {
                match number {
                    0 => clock.sleep_until(surefoot::Timestamp::MAX).await,
                    _ => request.push(100),
                }
                Ok::<_, Failure>(request)
            }
        })
    };
    let layer = HedgeLayer::idempotent(hedge(&clock).build().unwrap());
    let service = ServiceBuilder::new().layer(layer).service(service);
    assert_eq!(run(&clock, service.oneshot(vec![7])).unwrap(), [7, 1, 100]);
}

/// policies.md §4 rule 81.
#[test]
fn a_request_that_is_not_idempotent_is_sent_once() {
    let clock = ManualClock::new();
    for step in [gives(200).after(SEC), fails("down")] {
        let api = Api::new(&clock, [step]);
        let layer = HedgeLayer::new(hedge(&clock).build().unwrap(), NotIdempotent);
        let mut service = ServiceBuilder::new().layer(layer).service(api.clone());
        drop(call(&clock, &mut service));
        assert_eq!(api.calls().len(), 1, "{step:?}");
    }
}

/// Can be copied once, as a body that is kept for one more attempt.
#[derive(Clone, Debug, Default)]
struct OneCopy(Arc<AtomicU32>);

impl Duplicate<u32> for OneCopy {
    fn duplicate(&self, request: &u32) -> Option<u32> {
        (self.0.fetch_add(1, Ordering::SeqCst) == 0).then_some(*request)
    }

    fn is_idempotent(&self, _: &u32) -> bool {
        true
    }
}

#[test]
fn a_hedge_that_cannot_be_made_takes_no_token_and_is_not_counted() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200).after(SEC)]);
    let budget = tokens(&clock, 5);
    let events = Arc::new(Mutex::new(Vec::new()));
    let log = events.clone();
    let hedge = hedge(&clock)
        .max_hedges(3)
        .budget(budget.clone())
        .on_event(move |event| log.lock().unwrap().push(event.clone()))
        .build()
        .unwrap();
    let layer = HedgeLayer::new(hedge.clone(), OneCopy::default());
    let mut service = ServiceBuilder::new().layer(layer).service(api.clone());
    assert_eq!(value(call(&clock, &mut service)), 200);
    assert_eq!((api.calls().len(), hedge.hedges(), budget.balance()), (2, 1, 4));
    let events = events.lock().unwrap();
    assert!(matches!(events[..], [Event::Hedged { attempt: 2, .. }]), "{events:?}");
}

#[test]
fn a_response_that_is_no_success_loses_against_one_that_is() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(503).after(5 * MS), gives(200).after(5 * MS)]);
    let by_status = |result: Result<&Reply, &ServiceError>| match result {
        Ok(reply) => Classification::from_http_status(reply.value, None),
        Err(_) => Classification::TRANSIENT,
    };
    let layer = HedgeLayer::idempotent(hedge(&clock).build().unwrap()).classify(by_status);
    let mut service = ServiceBuilder::new().layer(layer).service(api.clone());
    let answer = call(&clock, &mut service);
    assert_eq!(api.open(), 1, "the other one is closed");
    assert_eq!(value(answer), 200);
}

#[test]
fn a_caller_who_drops_the_call_drops_every_attempt() {
    for polls in 1..5 {
        let clock = ManualClock::new();
        let api = Api::new(&clock, [hangs()]);
        let breaker = breaker(&clock).build().unwrap();
        let mut service = ServiceBuilder::new()
            .layer(HedgeLayer::idempotent(hedge(&clock).max_hedges(5).build().unwrap()))
            .layer(CircuitBreakerLayer::new(breaker.clone()))
            .service(api.clone());
        assert!(drop_after(&clock, polls, ask(&mut service)).is_none());
        assert_eq!((api.calls().len(), api.running(), clock.waiting()), (polls, 0, 0));
        let totals = breaker.status().totals;
        assert_eq!((totals.cancelled, settled(totals)), (polls as u64, polls as u64));
    }
}

#[test]
fn a_panic_in_one_attempt_is_counted_for_that_one_alone() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [hangs(), panics()]);
    let breaker = breaker(&clock).build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(HedgeLayer::idempotent(hedge(&clock).build().unwrap()))
        .layer(CircuitBreakerLayer::new(breaker.clone()))
        .service(api.clone());
    assert!(catch_unwind(AssertUnwindSafe(|| call(&clock, &mut service))).is_err());
    let totals = breaker.status().totals;
    assert_eq!((totals.failures, totals.cancelled, settled(totals)), (1, 1, 2));
    assert_eq!((api.running(), clock.waiting()), (0, 0));
}

#[test]
fn every_attempt_is_told_the_retrys_number_and_the_deadline() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [fails("down").after(15 * MS), fails("down"), hangs(), gives(200)]);
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(timeout(&clock, "total", 10 * SEC)))
        .layer(RetryLayer::idempotent(retry(&clock).build().unwrap()))
        .layer(HedgeLayer::idempotent(hedge(&clock).build().unwrap()))
        .service(api.clone());
    assert_eq!(value(call(&clock, &mut service)), 200);
    let left = |passed| (10 * SEC).checked_sub(passed);
    let told = [(1, left(ZERO)), (1, left(10 * MS)), (2, left(1015 * MS)), (2, left(1025 * MS))];
    assert_eq!(api.calls().iter().map(|call| call.told).collect::<Vec<_>>(), told);
    assert_eq!(api.told(), told);
}

#[test]
fn a_deadline_hands_out_the_failure_that_a_hedge_had() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [fails("down").after(5 * MS), hangs()]);
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(timeout(&clock, "total", SEC)))
        .layer(HedgeLayer::idempotent(hedge(&clock).build().unwrap()))
        .service(api.clone());
    let error = call(&clock, &mut service).unwrap_err();
    assert!(matches!(error, Error::Timeout { dispatched: true, last: Some(_), .. }), "{error:?}");
    assert_eq!((failure(&error), api.running()), (Some("down"), 0));
}
