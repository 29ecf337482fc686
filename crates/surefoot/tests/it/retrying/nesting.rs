//! Retries inside retries.

use std::sync::Mutex;

use surefoot::{Classification, Event, ManualClock, OrderRule, Pipeline, Retry};

use crate::support::*;

/// policies.md §3, retry amplification; §5 trap 9.
#[test]
fn a_retry_inside_a_retry_is_reported_once_and_by_the_inner_one() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [fails("down")]);
        let outer = retry(&clock).name("outer").max_attempts(3).build().unwrap();
        let inner = retry(&clock).name("inner").max_attempts(3).build().unwrap();
        let (outer_log, inner_log) = (Log::of(outer.events()), Log::of(inner.events()));
        for _ in 0..2 {
            let answer = match host {
                Host::Async => {
                    let call = || async { inner.call(|| service.answer()).await };
                    run(&clock, outer.call(call)).map_err(drop)
                }
                Host::Blocking => block(&clock, || {
                    let call = |_: &surefoot::Attempt| {
                        inner.call_blocking(|attempt| service.answer_blocking(attempt))
                    };
                    outer.call_blocking(call).map_err(drop)
                }),
            };
            assert_eq!(answer, Err(()), "{host:?}");
        }
        assert_eq!(service.calls(), 2 * 9, "{host:?}: they do multiply");
        let nested = |event: &Event| matches!(event, Event::NestedRetry { .. });
        assert_eq!(inner_log.count(nested), 1, "{host:?}: once, not once per call");
        assert_eq!(outer_log.count(nested), 0, "{host:?}");
        let told = inner_log.events().into_iter().find(nested).unwrap();
        assert_eq!(told, Event::NestedRetry { policy: "inner".into() });
    }
}

/// The same across two pipelines, whose own order checks cannot see it.
#[test]
fn nesting_across_pipelines_is_noticed() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let inner_retry = retry(&clock).build().unwrap();
        let log = Log::of(inner_retry.events());
        let pipeline = |retry: Retry| {
            Pipeline::builder("p")
                .idempotent()
                .add(timeout(&clock, "total", 60 * SEC))
                .add(retry)
                .build()
                .unwrap()
        };
        let inner = pipeline(inner_retry);
        let outer = pipeline(retry(&clock).build().unwrap());
        let answer = match host {
            Host::Async => {
                let call = || async { inner.call(|| service.answer()).await };
                run(&clock, outer.call(call)).map_err(drop)
            }
            Host::Blocking => block(&clock, || {
                let call = |_: &surefoot::Attempt| {
                    inner.call_blocking(|attempt| service.answer_blocking(attempt))
                };
                outer.call_blocking(call).map_err(drop)
            }),
        };
        assert_eq!(answer, Ok(200));
        assert_eq!(log.events(), [Event::NestedRetry { policy: "retry".into() }], "{host:?}");
    }
}

/// A call that reaches the inner retry only later is noticed too, once attempts multiply: when the
/// outer one tries again. Each retry counts its own attempts.
#[test]
fn nesting_that_comes_up_later_is_noticed_when_attempts_multiply() {
    let clock = ManualClock::new();
    let outer = retry(&clock).name("outer").max_attempts(2).build().unwrap();
    let inner = retry(&clock).name("inner").max_attempts(2).build().unwrap();
    let log = Log::of(inner.events());
    let nested = |event: &Event| matches!(event, Event::NestedRetry { .. });
    let numbers = Mutex::new(Vec::new());
    let attempt = |answer: Result<u16, &'static str>| {
        numbers.lock().unwrap().push(surefoot::Attempt::current().number());
        answer
    };

    assert_eq!(run(&clock, outer.call(|| async { attempt(Ok(200)) })), Ok(200));
    assert_eq!(run(&clock, inner.call(|| async { attempt(Ok(200)) })), Ok(200));
    let call = |answer| {
        let (inner, attempt) = (&inner, &attempt);
        run(&clock, outer.call(|| async move { inner.call(|| async { attempt(answer) }).await }))
    };
    assert!(call(Ok(200)).is_ok());
    assert_eq!(log.count(nested), 0, "nothing was tried again");
    assert!(call(Err("down")).is_err());
    assert_eq!(log.count(nested), 1);
    assert_eq!(*numbers.lock().unwrap(), [1, 1, 1, 1, 2, 1, 2]);
}

/// policies.md §4 rule 43: what the inner retry knows to be beyond mending, the outer one does not
/// try again.
#[test]
fn a_permanent_error_stops_both_of_two_nested_retries() {
    for host in Host::BOTH {
        for (retryable, calls) in [(false, 1), (true, 9)] {
            let clock = ManualClock::new();
            let service = Service::new(&clock, [fails("down")]);
            let pipeline = Pipeline::builder("p")
                .allow(OrderRule::RetryInsideRetry)
                .idempotent()
                .classify(move |result: Result<&u16, &&'static str>| match result {
                    Ok(_) => Classification::SUCCESS,
                    Err(_) if retryable => Classification::TRANSIENT,
                    Err(_) => Classification::PERMANENT,
                })
                .add(retry(&clock).name("outer").max_attempts(3).build().unwrap())
                .add(retry(&clock).name("inner").max_attempts(3).build().unwrap())
                .build()
                .unwrap();
            assert!(call!(host, clock, pipeline, service).is_err());
            assert_eq!(service.calls(), calls, "{host:?}, retryable: {retryable}");
        }
    }
}

#[test]
fn retries_one_after_the_other_are_not_nested() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let retry = retry(&clock).build().unwrap();
        let log = Log::of(retry.events());
        for _ in 0..3 {
            assert_eq!(call!(host, clock, retry, service), Ok(200));
        }
        assert_eq!(log.events(), [], "{host:?}");
    }
}
