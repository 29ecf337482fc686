//! Refusals of our own between attempts, and what the caller is told then.

use surefoot::{CircuitState, ManualClock, OpenReason, OrderRule, Pipeline, Rejection, StopReason};

use super::exhausted;
use crate::support::*;

/// policies.md §4 rule 68; §5 trap 1.
#[test]
fn a_retry_over_a_breaker_stops_at_the_first_rejection() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [fails("down")]);
        let breaker = breaker(&clock).failure_threshold(3).timeout(120 * SEC).build().unwrap();
        let pipeline = Pipeline::builder("api")
            .idempotent()
            .add(retry(&clock).max_attempts(7).build().unwrap())
            .add(breaker.clone())
            .add(timeout(&clock, "attempt", 5 * SEC))
            .build()
            .unwrap();
        let answer = call!(host, clock, pipeline, service);
        let Err(error) = &answer else { panic!("{host:?}: {answer:?}") };
        assert_eq!(error.retry_after(), Some(119 * SEC), "{host:?}: and says when to come back");
        assert!(error.rejection().is_some(), "{host:?}");
        let (last, stop, attempts) = exhausted(answer);
        assert_eq!(last, Error::Operation("down"), "{host:?}: what the service said is kept");
        assert_eq!((stop, attempts), (StopReason::Rejected, 4), "{host:?}");
        assert_eq!(service.calls(), 3, "{host:?}");
        let totals = breaker.status().totals;
        assert_eq!((totals.rejected, totals.failures), (1, 3), "{host:?}");
    }
}

/// policies.md §4 rules 68 and 71: unless its `retry_after` fits.
#[test]
fn a_retry_waits_for_an_open_breaker_if_the_wait_fits() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [fails("down"), fails("down"), gives(200)]);
        let breaker = breaker(&clock).failure_threshold(2).timeout(10 * SEC).build().unwrap();
        let pipeline = Pipeline::builder("api")
            .idempotent()
            .add(retry(&clock).max_attempts(7).build().unwrap())
            .add(breaker.clone())
            .add(timeout(&clock, "attempt", 5 * SEC))
            .build()
            .unwrap();
        assert_eq!(call!(host, clock, pipeline, service), Ok(200), "{host:?}");
        // Tripped at 1 s, rejected at 2 s, admitted as a trial call exactly at 11 s.
        assert_eq!(service.started(), [ZERO, SEC, 11 * SEC], "{host:?}");
        assert_eq!(breaker.status().totals.rejected, 1, "{host:?}");
        assert_eq!(breaker.state(), CircuitState::HalfOpen, "{host:?}");
    }
}

/// What the service said is kept through refusals, also where a deadline ends the wait after one;
/// once the service has spoken again, the refusals are history.
#[test]
fn refusals_between_attempts_do_not_hide_what_the_service_said() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [fails("first"), fails("second")]);
    let breaker = breaker(&clock).failure_threshold(1).timeout(10 * SEC).build().unwrap();
    let patient = retry(&clock).max_attempts(3).min_attempt_time(SEC).build().unwrap();
    let pipeline = |limit| {
        Pipeline::builder("api")
            .idempotent()
            .add(timeout(&clock, "total", limit))
            .add(patient.clone())
            .add(breaker.clone())
            .allow(OrderRule::NoTimeoutInsideBreaker)
            .build()
            .unwrap()
    };
    // Failed at 0 s, refused at 1 s, to be tried again at 10 s, which is too late for this caller.
    let error = run(&clock, pipeline(10 * SEC).call(|| service.answer())).unwrap_err();
    assert_eq!(error.operation(), Some(&"first"));
    let Error::Exhausted { refusal: Some(refusal), stop, retry_after, .. } = error else {
        panic!("{error:?}")
    };
    assert!(refusal.rejection().is_some(), "{refusal:?}");
    assert_eq!((stop, retry_after), (StopReason::Time, Some(9 * SEC)));
    breaker.reset();
    // The same, and the trial call at 11 s fails; nothing has been refused since.
    let service = Service::new(&clock, [fails("first"), fails("second")]);
    let error = run(&clock, pipeline(60 * SEC).call(|| service.answer())).unwrap_err();
    assert_eq!(error.operation(), Some(&"second"));
    assert!(matches!(error, Error::Exhausted { refusal: None, attempts: 3, .. }), "{error:?}");
}

/// policies.md §4 rule 71; §3, permanent errors: own rejections are never recorded.
#[test]
fn a_breaker_never_counts_the_rejections_of_a_policy_inside() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let inner = breaker(&clock).build().unwrap();
        inner.force_open();
        let outer = breaker(&clock).failure_threshold(1).build().unwrap();
        let pipeline = Pipeline::builder("api")
            .add(outer.clone())
            .add(inner.clone())
            .add(timeout(&clock, "attempt", 5 * SEC))
            .build()
            .unwrap();
        let answer = call!(host, clock, pipeline, service);
        assert!(matches!(answer, Err(Error::Rejected(_))), "{host:?}: {answer:?}");
        let totals = outer.status().totals;
        assert_eq!((totals.ignored, totals.failures), (1, 0), "{host:?}");
        assert_eq!(outer.state(), CircuitState::Closed, "{host:?}");
        assert_eq!(inner.status().totals.failures, 0, "{host:?}");
    }
}

/// DESIGN §3: before anything was dispatched, a rejection is a rejection.
#[test]
fn before_any_attempt_was_dispatched_a_rejection_comes_back_bare() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let breaker = breaker(&clock).build().unwrap();
        breaker.force_open();
        let pipeline = Pipeline::builder("api")
            .idempotent()
            .add(retry(&clock).build().unwrap())
            .add(breaker)
            .add(timeout(&clock, "attempt", 5 * SEC))
            .build()
            .unwrap();
        let answer = call!(host, clock, pipeline, service);
        let rejection = Rejection::CircuitOpen {
            policy: "api".into(),
            reason: OpenReason::Forced,
            retry_after: None,
        };
        assert_eq!(answer, Err(Error::Rejected(rejection)), "{host:?}");
    }
}

/// DESIGN §3: the same after several rejections, for still nothing was dispatched.
#[test]
fn several_rejections_in_a_row_are_still_a_bare_rejection() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let breaker = about_to_try(&clock, breaker(&clock).half_open_max_calls(1));
        let _hung = breaker.admit().unwrap();
        let operator = breaker.clone();
        let retry = retry(&clock).on_retry(move |_, _| operator.force_open()).build().unwrap();
        let pipeline = Pipeline::builder("api")
            .idempotent()
            .add(retry.clone())
            .add(breaker.clone())
            .add(timeout(&clock, "attempt", 500 * MS))
            .build()
            .unwrap();
        let answer = call!(host, clock, pipeline, service);
        let rejection = Rejection::CircuitOpen {
            policy: "api".into(),
            reason: OpenReason::Forced,
            retry_after: None,
        };
        assert_eq!(answer, Err(Error::Rejected(rejection)), "{host:?}");
        assert_eq!(breaker.status().totals.rejected, 2, "{host:?}");
        assert_eq!(service.calls(), 0, "{host:?}");
    }
}

/// DESIGN §3: once any attempt was dispatched, retry never answers with a bare `Rejected`.
#[test]
fn once_an_attempt_was_dispatched_a_rejection_comes_back_inside_exhausted() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [fails("down")]);
        let breaker = breaker(&clock).failure_threshold(1).timeout(3600 * SEC).build().unwrap();
        let pipeline = Pipeline::builder("api")
            .idempotent()
            .add(retry(&clock).build().unwrap())
            .add(breaker)
            .add(timeout(&clock, "attempt", 5 * SEC))
            .build()
            .unwrap();
        let answer = call!(host, clock, pipeline, service);
        let Err(error) = &answer else { panic!("{host:?}: {answer:?}") };
        assert!(!error.is_undispatched(), "{host:?}");
        let Error::Exhausted { refusal: Some(refusal), .. } = error else { panic!("{error:?}") };
        assert!(matches!(**refusal, Error::Rejected(_)), "{host:?}: {refusal:?}");
        let (last, stop, attempts) = exhausted(answer);
        assert_eq!(last, Error::Operation("down"), "{host:?}");
        assert_eq!((stop, attempts), (StopReason::Rejected, 2), "{host:?}");
    }
}
