//! A second service for when the first has no answer.

use std::sync::{Arc, Mutex};
use std::task::Poll;

use surefoot::fallback::FallbackError;
use surefoot::{Classification, Error, Event, Fallback, ManualClock};
use surefoot_tower::{CircuitBreakerLayer, FallbackLayer, RetryLayer, ServiceError, TimeoutLayer};
use tower::ServiceBuilder;

use crate::support::*;

fn on_second(second: &Api) -> FallbackLayer<Api> {
    FallbackLayer::new(Fallback::new("answers").unwrap(), second.clone())
}

fn by_status(result: Result<&Reply, &ServiceError>) -> Classification {
    match result {
        Ok(reply) => Classification::from_http_status(reply.value, None),
        Err(_) => Classification::TRANSIENT,
    }
}

#[test]
fn the_second_service_answers_when_the_first_fails_and_is_told_the_same_request() {
    let clock = ManualClock::new();
    let (first, second) = (Api::new(&clock, [fails("down")]), Api::new(&clock, [gives(2)]));
    let told = Arc::new(Mutex::new(Vec::new()));
    let fallback = Fallback::new("answers").unwrap();
    let log = told.clone();
    fallback.events().subscribe(move |event| log.lock().unwrap().push(event.clone())).forever();
    let layer = FallbackLayer::new(fallback, second.clone());
    let mut service = ServiceBuilder::new().layer(layer).service(first.clone());
    assert_eq!(value(call(&clock, &mut service)), 2);
    assert_eq!((first.calls().len(), second.calls().len()), (1, 1));
    assert_eq!(second.calls()[0].request, 1);
    let told = told.lock().unwrap();
    assert!(
        matches!(&told[..], [Event::FellBack { policy, link }] if policy == "answers" && link == "first"),
        "{told:?}"
    );
}

#[test]
fn the_second_service_is_not_asked_whether_it_is_ready_until_it_is_needed() {
    let clock = ManualClock::new();
    let (first, second) =
        (Api::new(&clock, [gives(1), fails("down")]), Api::new(&clock, [gives(2)]));
    second.ready_from(9 * SEC);
    let mut service = ServiceBuilder::new().layer(on_second(&second)).service(first);
    assert_eq!(value(call(&clock, &mut service)), 1);
    assert_eq!((now(&clock), second.reservations()), (ZERO, 0));
    assert_eq!(value(call(&clock, &mut service)), 2);
    assert_eq!(now(&clock), 9 * SEC, "it waited until the second was ready");
}

#[test]
fn a_refusal_falls_back_too() {
    let clock = ManualClock::new();
    let (first, second) = (Api::new(&clock, [gives(1)]), Api::new(&clock, [gives(2)]));
    let breaker = breaker(&clock).build().unwrap();
    breaker.force_open();
    let mut service = ServiceBuilder::new()
        .layer(on_second(&second))
        .layer(CircuitBreakerLayer::new(breaker))
        .service(first.clone());
    assert_eq!(value(call(&clock, &mut service)), 2);
    assert_eq!(first.calls().len(), 0);
}

/// policies.md §4 rule 65.
#[test]
fn a_fallback_whose_answer_is_a_failure_counts_as_one_outside() {
    let clock = ManualClock::new();
    let (first, second) = (Api::new(&clock, [gives(500)]), Api::new(&clock, [gives(503)]));
    let breaker = breaker(&clock).build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(breaker.clone()).classify(by_status))
        .layer(on_second(&second).classify(by_status))
        .service(first.clone());
    let answer = call(&clock, &mut service);
    assert_eq!((first.open(), second.open()), (0, 1), "the first answer is closed");
    assert_eq!(value(answer), 503);
    assert_eq!(breaker.status().totals.failures, 1);
}

#[test]
fn a_bad_response_is_the_answer_if_the_second_service_has_none() {
    let clock = ManualClock::new();
    let (first, second) = (Api::new(&clock, [gives(500)]), Api::new(&clock, [fails("down")]));
    let layer = on_second(&second).classify(by_status);
    let mut service = ServiceBuilder::new().layer(layer).service(first);
    assert_eq!(value(call(&clock, &mut service)), 500);
}

/// policies.md §4 rule 66.
#[test]
fn a_caller_who_drops_the_call_causes_no_fallback() {
    let clock = ManualClock::new();
    let (first, second) = (Api::new(&clock, [hangs()]), Api::new(&clock, [gives(2)]));
    let mut service = ServiceBuilder::new().layer(on_second(&second)).service(first.clone());
    assert!(drop_after(&clock, 1, ask(&mut service)).is_none());
    assert_eq!((first.running(), second.calls().len()), (0, 0));
}

/// policies.md §4 rule 67.
#[test]
fn if_both_fail_both_errors_are_told() {
    let clock = ManualClock::new();
    let (first, second) = (Api::new(&clock, [fails("one")]), Api::new(&clock, [fails("two")]));
    let mut service = ServiceBuilder::new().layer(on_second(&second)).service(first);
    let error = call(&clock, &mut service).unwrap_err();
    let both = error.operation().and_then(ServiceError::downcast_ref::<FallbackError<_>>);
    let FallbackError { link, last, earlier } = both.expect("both");
    assert_eq!((link.as_str(), failure(last)), ("second", Some("two")));
    let earlier: Vec<_> = earlier.iter().map(|(link, e)| (link.as_str(), failure(e))).collect();
    assert_eq!(earlier, [("first", Some("one"))]);
    assert_eq!(error.to_string(), "`second` failed: two; before that `first` failed: one");
}

#[test]
fn a_request_that_is_itself_at_fault_runs_no_fallback() {
    let clock = ManualClock::new();
    let (first, second) = (Api::new(&clock, [gives(404)]), Api::new(&clock, [gives(2)]));
    let layer = on_second(&second).classify(by_status);
    let mut service = ServiceBuilder::new().layer(layer).service(first);
    assert_eq!(value(call(&clock, &mut service)), 404);

    let first = Api::new(&clock, [fails("bad request")]);
    let permanent = |_: Result<&Reply, &ServiceError>| Classification::PERMANENT;
    let layer = on_second(&second).classify(permanent);
    let mut service = ServiceBuilder::new().layer(layer).service(first.clone());
    assert_eq!(failure(&call(&clock, &mut service).unwrap_err()), Some("bad request"));

    let mut service = ServiceBuilder::new()
        .layer(on_second(&second))
        .layer(RetryLayer::idempotent(retry(&clock).build().unwrap()).classify(permanent))
        .service(first);
    assert_eq!(failure(&call(&clock, &mut service).unwrap_err()), Some("bad request"));
    assert_eq!(second.calls().len(), 0);
}

/// policies.md §4 rule 54.
#[test]
fn a_limit_inside_does_not_cut_the_fallback_short() {
    let clock = ManualClock::new();
    let first = Api::new(&clock, [fails("down").after(MS)]);
    let second = Api::new(&clock, [gives(2).after(10 * SEC)]);
    let mut service = ServiceBuilder::new()
        .layer(on_second(&second))
        .layer(TimeoutLayer::new(timeout(&clock, "first", SEC)))
        .service(first);
    assert_eq!(value(call(&clock, &mut service)), 2);
    assert_eq!(second.told(), [(1, None)]);
}

#[test]
fn a_deadline_during_the_fallback_tells_the_first_failure() {
    let clock = ManualClock::new();
    let (first, second) = (Api::new(&clock, [fails("down")]), Api::new(&clock, [hangs()]));
    let breaker = breaker(&clock).build().unwrap();
    let guarded = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(breaker.clone()))
        .service(second.clone());
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(timeout(&clock, "total", SEC)))
        .layer(FallbackLayer::new(Fallback::new("answers").unwrap(), guarded))
        .service(first);
    let mut answer = Task::new(ask(&mut service));
    assert!(answer.poll().is_pending());
    answer.wait(&clock);
    let Poll::Ready(Err(error)) = answer.poll() else { panic!("its time is over") };
    assert!(matches!(error, Error::Timeout { dispatched: true, last: Some(_), .. }), "{error:?}");
    assert_eq!((failure(&error), second.running()), (Some("down"), 0));
    assert_eq!(breaker.status().totals.failures, 1, "the second service kept us waiting");
}
