//! What the retry layer sends again, what it does not, and what it leaves behind.

use std::task::Poll;
use std::time::Duration;

use surefoot::{
    CircuitState, Classification, Classify, DefaultClassifier, Error, ManualClock, StopReason,
};
use surefoot_tower::{CircuitBreakerLayer, RetryLayer, ServiceError, TimeoutLayer};
use tower::ServiceBuilder;

use crate::support::*;

#[test]
fn a_failure_is_sent_again_until_there_is_an_answer() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [fails("down"), fails("down"), gives(200)]);
    let layer = RetryLayer::idempotent(retry(&clock).build().unwrap());
    let mut service = ServiceBuilder::new().layer(layer).service(api.clone());
    assert_eq!(value(call(&clock, &mut service)), 200);
    assert_eq!(api.started(), [ZERO, SEC, 2 * SEC]);
    assert!(api.calls().iter().all(|call| call.request == 1));
}

#[test]
fn the_last_error_is_inside_what_a_retry_gives_up_with() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [fails("first"), fails("then")]);
    let layer = RetryLayer::idempotent(retry(&clock).max_attempts(3).build().unwrap());
    let mut service = ServiceBuilder::new().layer(layer).service(api);
    let error = call(&clock, &mut service).unwrap_err();
    assert_eq!(failure(&error), Some("then"));
    let Error::Exhausted { attempts, stop, elapsed, .. } = error else { panic!("{error:?}") };
    assert_eq!((attempts, stop, elapsed), (3, StopReason::Attempts, 2 * SEC));
}

/// policies.md §4 rule 49.
#[test]
fn a_discarded_response_is_dropped_before_the_wait() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(503), gives(200)]);
    let by_status = |result: Result<&Reply, &ServiceError>| match result {
        Ok(reply) => Classification::from_http_status(reply.value, None),
        Err(_) => Classification::TRANSIENT,
    };
    let layer = RetryLayer::idempotent(retry(&clock).build().unwrap()).classify(by_status);
    let mut service = ServiceBuilder::new().layer(layer).service(api.clone());
    let mut answer = Task::new(ask(&mut service));
    assert!(answer.poll().is_pending());
    assert_eq!((api.answered(), api.open(), clock.waiting()), (1, 0, 1));
    answer.wait(&clock);
    let Poll::Ready(answer) = answer.poll() else { panic!("there is an answer") };
    assert_eq!(api.open(), 1, "the one that is returned is not closed");
    assert_eq!(value(answer), 200);
}

#[test]
fn a_response_that_was_not_liked_is_still_the_answer_there_is() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(503)]);
    let never_good = |_: Result<&Reply, &ServiceError>| Classification::TRANSIENT;
    let layer = RetryLayer::idempotent(retry(&clock).max_attempts(2).build().unwrap());
    let mut service = ServiceBuilder::new().layer(layer.classify(never_good)).service(api.clone());
    assert_eq!(value(call(&clock, &mut service)), 503);
    assert_eq!(api.calls().len(), 2);
}

/// policies.md §4 rule 81.
#[test]
fn a_request_that_is_not_idempotent_is_not_sent_again_once_it_was_dispatched() {
    let clock = ManualClock::new();
    for step in [fails("reset"), hangs()] {
        let api = Api::new(&clock, [step]);
        let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let ear = std::sync::Arc::clone(&told);
        let retry = retry(&clock)
            .attempt_timeout(SEC)
            .on_event(move |event| ear.lock().unwrap().push(event.clone()))
            .build()
            .unwrap();
        let mut service =
            ServiceBuilder::new().layer(RetryLayer::new(retry, NotIdempotent)).service(api.clone());
        let error = call(&clock, &mut service).unwrap_err();
        let Error::Exhausted { attempts, stop, .. } = error else { panic!("{error:?}") };
        assert_eq!((attempts, stop), (1, StopReason::Unrepeatable), "{step:?}");
        assert_eq!(api.calls().len(), 1, "{step:?}");
        let told = told.lock().unwrap();
        let [surefoot::Event::RetryStopped { stop, attempts: 1, .. }] = told[..] else {
            panic!("{told:?}")
        };
        assert_eq!(stop, StopReason::Unrepeatable, "listeners hear of it");
    }
}

/// As the classifier says; the error alone could as well be that of a call which a handler made.
#[test]
fn a_request_that_was_never_sent_is_sent_again_even_if_it_is_not_idempotent() {
    #[derive(Clone)]
    struct Knows;
    impl Classify<Reply, ServiceError> for Knows {
        fn classify(&self, result: Result<&Reply, &ServiceError>) -> Classification {
            DefaultClassifier.classify(result)
        }

        fn never_sent(&self, error: &ServiceError) -> bool {
            error.to_string() == "refused"
        }
    }
    let clock = ManualClock::new();
    for (error, sent) in [("refused", 2), ("reset", 1)] {
        let api = Api::new(&clock, [fails(error), gives(200)]);
        let layer = RetryLayer::new(retry(&clock).build().unwrap(), NotIdempotent);
        let layer = layer.classify(Knows);
        let mut service = ServiceBuilder::new().layer(layer).service(api.clone());
        assert_eq!(call(&clock, &mut service).is_ok(), sent == 2);
        assert_eq!(api.calls().len(), sent, "{error}");
    }
}

/// policies.md §4 rule 81.
#[test]
fn a_rejection_is_tried_again_even_if_the_request_is_not_idempotent() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200)]);
    let breaker = breaker(&clock).build().unwrap();
    breaker.admit().unwrap().throttled(3 * SEC);
    let retry = retry(&clock).build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(RetryLayer::new(retry, NotIdempotent))
        .layer(CircuitBreakerLayer::new(breaker))
        .service(api.clone());
    assert_eq!(value(call(&clock, &mut service)), 200);
    assert_eq!(api.started(), [3 * SEC]);
}

#[test]
fn a_rejection_after_a_dispatched_attempt_does_not_make_the_request_repeatable() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [fails("reset"), gives(200)]);
    let breaker = breaker(&clock).build().unwrap();
    breaker.admit().unwrap().throttled(SEC);
    let mut service = ServiceBuilder::new()
        .layer(RetryLayer::new(retry(&clock).build().unwrap(), NotIdempotent))
        .layer(CircuitBreakerLayer::new(breaker))
        .service(api.clone());
    let error = call(&clock, &mut service).unwrap_err();
    let Error::Exhausted { attempts, stop, .. } = error else { panic!("{error:?}") };
    assert_eq!((attempts, stop), (2, StopReason::Unrepeatable));
    assert_eq!(api.calls().len(), 1);
}

/// policies.md §4 rule 68.
#[test]
fn a_retry_over_a_breaker_stops_at_the_first_rejection_whose_time_does_not_fit() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [fails("down")]);
    let breaker = breaker(&clock).failure_threshold(3).timeout(60 * SEC).build().unwrap();
    let retry = retry(&clock).max_attempts(7).max_delay(30 * SEC).build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(RetryLayer::idempotent(retry))
        .layer(CircuitBreakerLayer::new(breaker))
        .service(api.clone());
    let error = call(&clock, &mut service).unwrap_err();
    assert_eq!(api.calls().len(), 3);
    let Error::Exhausted { attempts, stop, retry_after, .. } = &error else { panic!("{error:?}") };
    assert_eq!((*attempts, *stop), (4, StopReason::Rejected));
    assert_eq!(*retry_after, Some(59 * SEC));
    assert_eq!(failure(&error), Some("down"));
    assert!(error.rejection().is_some());
}

/// policies.md §4 rule 68.
#[test]
fn a_retry_over_a_breaker_waits_for_a_rejection_whose_time_fits() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [fails("down"), fails("down"), fails("down"), gives(200)]);
    let breaker = breaker(&clock).failure_threshold(3).timeout(10 * SEC).build().unwrap();
    let retry = retry(&clock).max_attempts(7).max_delay(30 * SEC).build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(RetryLayer::idempotent(retry))
        .layer(CircuitBreakerLayer::new(breaker.clone()))
        .service(api.clone());
    assert_eq!(value(call(&clock, &mut service)), 200);
    assert_eq!(api.started(), [ZERO, SEC, 2 * SEC, 12 * SEC]);
    assert_eq!(breaker.state(), CircuitState::HalfOpen);
}

/// policies.md §4 rule 71.
#[test]
fn a_breaker_outside_does_not_see_the_rejections_inside() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200)]);
    let inner = breaker(&clock).build().unwrap();
    let outer = breaker(&clock).failure_threshold(1).build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(outer.clone()))
        .layer(RetryLayer::idempotent(retry(&clock).max_attempts(2).build().unwrap()))
        .layer(CircuitBreakerLayer::new(inner.clone()))
        .service(api.clone());

    inner.admit().unwrap().throttled(20 * SEC);
    assert_eq!(value(call(&clock, &mut service)), 200);
    assert_eq!(api.started(), [20 * SEC], "not before its time, and no attempt in vain");

    inner.force_open();
    assert!(matches!(call(&clock, &mut service), Err(Error::Rejected(_))));
    let totals = outer.status().totals;
    assert_eq!((totals.successes, totals.failures, totals.ignored), (1, 0, 1));
}

/// policies.md §4 rule 69.
#[test]
fn a_breaker_over_a_retry_counts_one_failure_for_each_request() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [fails("down")]);
    let breaker = breaker(&clock).build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(breaker.clone()))
        .layer(RetryLayer::idempotent(retry(&clock).max_attempts(3).build().unwrap()))
        .service(api.clone());
    assert!(call(&clock, &mut service).is_err());
    assert_eq!((api.calls().len(), breaker.status().failure_count), (3, 1));
}

/// policies.md §4 rule 80.
#[test]
fn a_caller_who_is_gone_during_the_wait_causes_no_further_call() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [fails("down")]);
    let budget = tokens(&clock, 5);
    let layer = RetryLayer::idempotent(retry(&clock).budget(budget.clone()).build().unwrap());
    let mut service = ServiceBuilder::new().layer(layer).service(api.clone());
    let mut answer = Task::new(ask(&mut service));
    assert!(answer.poll().is_pending());
    assert_eq!(budget.balance(), 4, "taken before the wait");
    drop(answer);
    clock.advance(60 * SEC);
    assert_eq!((api.calls().len(), budget.balance(), clock.waiting()), (1, 5, 0));
}

#[test]
fn a_caller_who_is_gone_while_the_service_gets_ready_gives_the_token_back() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [fails("down")]);
    let budget = tokens(&clock, 5);
    let layer = RetryLayer::idempotent(retry(&clock).budget(budget.clone()).build().unwrap());
    let mut service = ServiceBuilder::new().layer(layer).service(api.clone());
    let mut answer = Task::new(ask(&mut service));
    assert!(answer.poll().is_pending());
    api.ready_from(60 * SEC);
    answer.wait(&clock);
    assert!(answer.poll().is_pending());
    assert_eq!(now(&clock), SEC);
    drop(answer);
    assert_eq!((api.calls().len(), budget.balance()), (1, 5));
}

#[test]
fn a_call_can_be_dropped_at_every_await_and_leaves_nothing() {
    let mut answers = 0;
    for polls in 1..20 {
        let clock = ManualClock::new();
        let steps = [fails("reset"), hangs(), gives(200)].map(|step| step.after(100 * MS));
        let api = Api::yielding(&clock, 2, steps);
        let budget = tokens(&clock, 10);
        let breaker = breaker(&clock).failure_threshold(100).build().unwrap();
        let retry = retry(&clock).budget(budget.clone()).attempt_timeout(5 * SEC).build().unwrap();
        let mut service = ServiceBuilder::new()
            .layer(TimeoutLayer::new(timeout(&clock, "total", 60 * SEC)))
            .layer(RetryLayer::idempotent(retry))
            .layer(CircuitBreakerLayer::new(breaker.clone()))
            .service(api.clone());
        let ended = drop_after(&clock, polls, ask(&mut service));
        let calls = api.calls().len() as u64;
        answers += usize::from(ended.is_some());
        drop(ended);
        assert_eq!((clock.waiting(), api.running(), api.open()), (0, 0, 0), "{polls} polls");
        let totals = breaker.status().totals;
        assert_eq!(settled(totals), calls, "{polls} polls: {totals:?}");
        assert_eq!(budget.balance(), 11 - calls, "{polls} polls");
    }
    assert!((1..19).contains(&answers), "dropped before the answer, and after");
}

#[test]
fn an_empty_budget_stops_the_retrying_with_the_error_there_is() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [fails("first"), fails("then")]);
    let layer = RetryLayer::idempotent(retry(&clock).budget(tokens(&clock, 1)).build().unwrap());
    let mut service = ServiceBuilder::new().layer(layer).service(api.clone());
    let error = call(&clock, &mut service).unwrap_err();
    assert_eq!((api.calls().len(), failure(&error)), (2, Some("then")));
    let Error::Exhausted { stop, .. } = error else { panic!("{error:?}") };
    assert_eq!(stop, StopReason::Budget);
}

#[test]
fn no_attempt_is_started_that_got_ready_too_late() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [fails("down"), gives(200)]);
    let budget = tokens(&clock, 5);
    let retry = retry(&clock).max_elapsed(10 * SEC).budget(budget.clone()).build().unwrap();
    let mut service =
        ServiceBuilder::new().layer(RetryLayer::idempotent(retry)).service(api.clone());
    let mut answer = Task::new(ask(&mut service));
    assert!(answer.poll().is_pending());
    api.ready_from(11 * SEC);
    let error = loop {
        answer.wait(&clock);
        if let Poll::Ready(result) = answer.poll() {
            break result.unwrap_err();
        }
    };
    let Error::Exhausted { attempts, stop, .. } = error else { panic!("{error:?}") };
    assert_eq!((attempts, stop), (1, StopReason::Time));
    assert_eq!((api.calls().len(), budget.balance()), (1, 5));
    drop(answer);
    assert_eq!(api.reservations(), 0);
}

/// Nothing wakes a service that never gets ready: the retry itself has to look at the time.
#[test]
fn a_service_that_does_not_get_ready_is_not_waited_for_beyond_max_elapsed() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [fails("reset"), gives(200)]);
    let budget = tokens(&clock, 5);
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let ear = std::sync::Arc::clone(&told);
    let retry = retry(&clock)
        .max_elapsed(10 * SEC)
        .min_attempt_time(2 * SEC)
        .budget(budget.clone())
        .on_event(move |event| ear.lock().unwrap().push(event.clone()))
        .build()
        .unwrap();
    let mut service =
        ServiceBuilder::new().layer(RetryLayer::idempotent(retry.clone())).service(api.clone());
    let mut answer = Task::new(ask(&mut service));
    assert!(answer.poll().is_pending());
    api.ready_from(3600 * SEC);
    let error = loop {
        answer.wait(&clock);
        if let Poll::Ready(result) = answer.poll() {
            break result.unwrap_err();
        }
    };
    let Error::Exhausted { attempts, stop, .. } = error else { panic!("{error:?}") };
    assert_eq!((attempts, stop), (1, StopReason::Time));
    assert_eq!(now(&clock), 8 * SEC + Duration::from_nanos(1), "later an attempt has no time");
    assert_eq!((api.calls().len(), budget.balance(), retry.given_up()), (1, 5, 1));
    let last = told.lock().unwrap().last().cloned();
    assert!(matches!(last, Some(surefoot::Event::RetryStopped { stop: StopReason::Time, .. })));
}

#[test]
fn each_attempt_is_told_its_number_and_the_time_it_has() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [fails("down").after(2 * SEC), hangs(), gives(200)]);
    let retry = retry(&clock).attempt_timeout(10 * SEC).build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(timeout(&clock, "total", 20 * SEC)))
        .layer(RetryLayer::idempotent(retry))
        .service(api.clone());
    assert_eq!(value(call(&clock, &mut service)), 200);
    // The third begins at 14 s, with less than an attempt's own time left in all.
    let told = [(1, Some(10 * SEC)), (2, Some(10 * SEC)), (3, Some(6 * SEC))];
    assert_eq!(api.calls().iter().map(|call| call.told).collect::<Vec<_>>(), told);
    assert_eq!(api.told(), told);
    assert_eq!(told_here(), (1, None), "nothing of it is left behind");
}

#[test]
fn a_retry_inside_a_retry_is_told_once() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [fails("down")]);
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = told.clone();
    let inner = retry(&clock)
        .name("inner")
        .max_attempts(2)
        .on_event(move |event| {
            if let surefoot::Event::NestedRetry { policy } = event {
                log.lock().unwrap().push(policy.to_string());
            }
        })
        .build()
        .unwrap();
    let mut service = ServiceBuilder::new()
        .layer(RetryLayer::idempotent(retry(&clock).max_attempts(2).build().unwrap()))
        .layer(RetryLayer::idempotent(inner))
        .service(api.clone());
    assert!(call(&clock, &mut service).is_err());
    assert_eq!(api.calls().len(), 4);
    assert_eq!(*told.lock().unwrap(), ["inner"]);
}

/// A service whose error type is that of the layers is not for that reason a layer.
#[test]
fn a_service_with_the_layers_error_type_is_dispatched_like_any_other() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let calls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = calls.clone();
    let hangs = tower::service_fn(move |_: u32| {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        std::future::pending::<Result<Reply, surefoot_tower::Error>>()
    });
    let mut service = ServiceBuilder::new()
        .layer(RetryLayer::new(retry(&clock).build().unwrap(), Once))
        .layer(CircuitBreakerLayer::new(breaker.clone()))
        .layer(TimeoutLayer::new(surefoot::Timeout::new(SEC).unwrap().on_clock(&clock)))
        .service(hangs);
    let error = call(&clock, &mut service).unwrap_err();
    assert!(matches!(error, Error::Exhausted { stop: StopReason::Unrepeatable, .. }), "{error}");
    assert_eq!(calls.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert_eq!(breaker.status().totals.failures, 1);
}

/// A handler that has taken effect and then hands on the refusal of a call of its own.
#[test]
fn a_refusal_that_a_service_hands_on_is_not_one_of_ours() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    breaker.force_open();
    let calls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = calls.clone();
    let hands_on = tower::service_fn(move |_: u32| {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let refusal = breaker.admit().map(drop).unwrap_err();
        std::future::ready(Err::<Reply, _>(surefoot_tower::Error::Rejected(refusal)))
    });
    let layer = RetryLayer::new(retry(&clock).build().unwrap(), Once);
    let mut service = ServiceBuilder::new().layer(layer).service(hands_on);
    assert!(call(&clock, &mut service).is_err());
    assert_eq!(calls.load(std::sync::atomic::Ordering::Relaxed), 1);
}

/// Requests that can be copied and must not be sent twice.
#[derive(Clone)]
struct Once;

impl surefoot_tower::Duplicate<u32> for Once {
    fn duplicate(&self, request: &u32) -> Option<u32> {
        Some(*request)
    }

    fn is_idempotent(&self, _: &u32) -> bool {
        false
    }
}
