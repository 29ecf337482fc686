//! Who decides what a result means, and that all policies of a pipeline hear it.

use surefoot::circuit_breaker::CircuitTotals;
use surefoot::{
    CircuitState, Classification, ManualClock, OrderRule, Pipeline, Rejection, StopReason, retry_on,
};

use crate::support::*;

/// As for HTTP: a value can be a failure, an error can be a success.
fn by_status(result: Result<&u16, &&'static str>) -> Classification {
    match result {
        Ok(429) => Classification::throttled(Some(20 * SEC)),
        Ok(500..) => Classification::TRANSIENT,
        Ok(400..) | Err(&"bad request") => Classification::PERMANENT,
        Ok(_) | Err(&"not modified") => Classification::SUCCESS,
        Err(_) => Classification::TRANSIENT,
    }
}

/// policies.md §4 rules 10 and 11.
#[test]
fn the_classifier_decides_what_counts_values_and_errors_alike() {
    let counts = |totals: CircuitTotals| {
        (totals.successes, totals.failures, totals.ignored, totals.throttled)
    };
    for host in Host::BOTH {
        for (step, expected) in [
            (gives(200), (1, 0, 0, 0)),
            (gives(503), (0, 1, 0, 0)),
            (gives(404), (0, 0, 1, 0)),
            (gives(429), (0, 0, 0, 1)),
            (fails("reset"), (0, 1, 0, 0)),
            (fails("not modified"), (1, 0, 0, 0)),
            // It is an error, and one to be ignored: ignoring wins, for there is one verdict.
            (fails("bad request"), (0, 0, 1, 0)),
        ] {
            let clock = ManualClock::new();
            let service = Service::new(&clock, [step]);
            let breaker = breaker(&clock).build().unwrap();
            let judged = breaker.clone().classify(by_status);
            let _ = call!(host, clock, judged, service);
            assert_eq!(counts(breaker.status().totals), expected, "{host:?}: {step:?}");
        }
    }
}

/// policies.md §4 rule 11.
#[test]
fn without_a_classifier_every_error_is_a_failure_and_every_value_a_success() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let breaker = breaker(&clock).build().unwrap();
        let service = Service::new(&clock, [gives(503), fails("bad request")]);
        assert_eq!(call!(host, clock, breaker, service), Ok(503));
        assert_eq!(call!(host, clock, breaker, service), Err(Error::Operation("bad request")));
        let status = breaker.status();
        assert_eq!((status.success_count, status.failure_count), (1, 1), "{host:?}");
    }
}

/// policies.md §4 rule 13: whatever our own policies wrapped around it, the cause is judged.
#[test]
fn an_error_is_judged_by_its_cause_through_the_policies_inside() {
    for host in Host::BOTH {
        for (error, ignored, failures) in [("bad request", 1, 0), ("reset", 0, 1)] {
            let clock = ManualClock::new();
            let service = Service::new(&clock, [fails(error)]);
            let breaker = breaker(&clock).build().unwrap();
            let pipeline = Pipeline::builder("api")
                .allow(OrderRule::BreakerOutsideRetry)
                .idempotent()
                .classify(by_status)
                .add(breaker.clone())
                .add(timeout(&clock, "total", 60 * SEC))
                .add(retry(&clock).max_attempts(2).build().unwrap())
                .build()
                .unwrap();
            let answer = call!(host, clock, pipeline, service);
            assert!(matches!(answer, Err(Error::Exhausted { .. })), "{host:?}: {answer:?}");
            let totals = breaker.status().totals;
            assert_eq!((totals.ignored, totals.failures), (ignored, failures), "{host:?}: {error}");
        }
    }
}

/// policies.md §4 rules 43 and 74.
#[test]
fn a_permanent_error_stops_the_retrying_at_once() {
    for host in Host::BOTH {
        for (steps, calls) in
            [(vec![fails("bad request")], 1), (vec![fails("reset"), fails("bad request")], 2)]
        {
            let clock = ManualClock::new();
            let service = Service::new(&clock, steps);
            let judged = retry(&clock).build().unwrap().classify(by_status);
            let answer = call!(host, clock, judged, service);
            let Err(Error::Exhausted { last, stop, attempts, .. }) = answer else {
                panic!("{host:?}: {answer:?}")
            };
            assert_eq!((*last, stop), (Error::Operation("bad request"), StopReason::Permanent));
            assert_eq!((attempts as usize, service.calls()), (calls, calls), "{host:?}");
        }
    }
}

/// policies.md §4 rule 43: spec 3.2, `retry_on`.
#[test]
fn retry_on_tries_again_only_what_it_names_and_all_errors_stay_failures() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [fails("reset"), fails("denied"), gives(200)]);
        let breaker = breaker(&clock).build().unwrap();
        let pipeline = Pipeline::builder("api")
            .idempotent()
            .classify(retry_on(|error: &&'static str| *error == "reset"))
            .add(retry(&clock).build().unwrap())
            .add(breaker.clone())
            .add(timeout(&clock, "attempt", 5 * SEC))
            .build()
            .unwrap();
        let answer = call!(host, clock, pipeline, service);
        let Err(error) = answer else { panic!("{host:?}: {answer:?}") };
        assert_eq!(error.into_operation(), Some("denied"));
        assert_eq!(service.calls(), 2, "{host:?}");
        assert_eq!(breaker.status().failure_count, 2, "{host:?}");
    }
}

/// policies.md §4 rules 73 and 16.
#[test]
fn a_429_holds_every_caller_back_for_the_stated_time_and_counts_no_failure() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(429), gives(200)]);
        let breaker = breaker(&clock).failure_threshold(1).build().unwrap();
        let judged = breaker.clone().classify(by_status);
        assert_eq!(call!(host, clock, judged, service), Ok(429), "{host:?}");
        clock.advance(19 * SEC);
        let expected = Rejection::Throttled { policy: "api".into(), retry_after: SEC };
        let answer = call!(host, clock, judged, service);
        assert_eq!(answer, Err(Error::Rejected(expected)), "{host:?}: another caller waits too");
        clock.advance(SEC);
        assert_eq!(call!(host, clock, judged, service), Ok(200), "{host:?}");
        let status = breaker.status();
        assert_eq!((status.state, status.failure_count), (CircuitState::Closed, 0), "{host:?}");
    }
}

/// policies.md §4 rule 73: one's own next attempt comes no earlier than asked, and is admitted.
#[test]
fn a_retry_obeys_a_429_and_is_admitted_when_its_time_comes() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(429), gives(200)]);
        let breaker = breaker(&clock).build().unwrap();
        let pipeline = Pipeline::builder("api")
            .idempotent()
            .classify(by_status)
            .add(retry(&clock).build().unwrap())
            .add(breaker.clone())
            .add(timeout(&clock, "attempt", 5 * SEC))
            .build()
            .unwrap();
        assert_eq!(call!(host, clock, pipeline, service), Ok(200), "{host:?}");
        assert_eq!(service.started(), [ZERO, 20 * SEC], "{host:?}");
        assert_eq!(breaker.status().totals.rejected, 0, "{host:?}");
    }
}

/// A pipeline's classifier holds for everything in it, whichever way it is called.
#[test]
fn a_fallback_around_a_pipeline_leaves_its_classifier_in_place() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(503)]);
        let breaker = breaker(&clock).failure_threshold(1).build().unwrap();
        let pipeline = Pipeline::builder("api")
            .classify(by_status)
            .add(breaker.clone())
            .add(timeout(&clock, "attempt", 5 * SEC))
            .build()
            .unwrap()
            .with_fallback(|_: &Rejection| 304);
        assert_eq!(call!(host, clock, pipeline, service), Ok(503), "{host:?}");
        assert_eq!(breaker.state(), CircuitState::Open, "{host:?}: 503 is a failure here");
        assert_eq!(call!(host, clock, pipeline, service), Ok(304), "{host:?}");
    }
}

/// The outer pipeline's classifier judges for a pipeline inside it; one with a classifier of its
/// own cannot be added (see `tests/ui`).
#[test]
fn the_outermost_classifier_judges() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(503)]);
        let breaker = breaker(&clock).failure_threshold(1).build().unwrap();
        let inner = Pipeline::builder("inner")
            .add(breaker.clone())
            .add(timeout(&clock, "attempt", 5 * SEC))
            .build()
            .unwrap();
        let outer = Pipeline::builder("outer").classify(by_status).add(inner).build().unwrap();
        assert_eq!(call!(host, clock, outer, service), Ok(503), "{host:?}");
        assert_eq!(breaker.state(), CircuitState::Open, "{host:?}: 503 is a failure here");
    }
}
