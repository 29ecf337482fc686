//! Texts people read: each names the policy, the limit and what to do.

use std::time::Duration;

use surefoot::circuit_breaker::TripLimit;
use surefoot::{ConfigError, OpenReason, Rejection, StopReason};

use crate::support::*;

fn open(reason: OpenReason, retry_after: Option<Duration>) -> Rejection {
    Rejection::CircuitOpen { policy: "payments".into(), reason, retry_after }
}

#[test]
fn a_rejection_names_who_refused_on_what_ground_and_when_to_come_back() {
    for (rejection, expected) in [
        (
            open(OpenReason::Tripped(TripLimit::Failures(5)), Some(30 * SEC)),
            "circuit breaker `payments` is open after 5 failures: try again in 30s",
        ),
        (
            open(OpenReason::Tripped(TripLimit::ConsecutiveFailures(3)), Some(30 * SEC)),
            "circuit breaker `payments` is open after 3 failures in a row: try again in 30s",
        ),
        (
            open(OpenReason::Tripped(TripLimit::FailureRate(0.5)), Some(SEC)),
            "circuit breaker `payments` is open after 50% of calls failed: try again in 1s",
        ),
        (
            open(OpenReason::Tripped(TripLimit::SlowRate(0.5)), Some(SEC)),
            "circuit breaker `payments` is open after 50% of calls were slow: try again in 1s",
        ),
        (
            open(OpenReason::ProbesOut { limit: 2 }, Some(SEC)),
            "circuit breaker `payments` is half-open and its limit of 2 trial calls at a time is \
             reached: try again in 1s",
        ),
        (
            open(OpenReason::Forced, None),
            "circuit breaker `payments` is held open by an operator: use a fallback until it is \
             released with `automatic`",
        ),
        (
            Rejection::Throttled { policy: "payments".into(), retry_after: 20 * SEC },
            "`payments` holds calls back because the service asked for a pause: \
             try again in 20s",
        ),
    ] {
        assert_eq!(rejection.to_string(), expected);
    }
}

#[test]
fn an_error_tells_its_story_from_the_outside_in() {
    let down = || Box::new(Error::Operation("connection reset"));
    let exhausted = |stop, attempts| Error::Exhausted {
        last: down(),
        stop,
        attempts,
        elapsed: 3 * SEC,
        retry_after: None,
    };
    let timeout = |dispatched, last| Error::Timeout {
        policy: "total".into(),
        limit: 30 * SEC,
        dispatched,
        last,
    };
    for (error, expected) in [
        (*down(), "connection reset"),
        (timeout(true, None), "timeout `total`: no answer within 30s"),
        (
            timeout(false, None),
            "timeout `total`: no answer within 30s (the call was never started)",
        ),
        (
            timeout(true, Some(down())),
            "timeout `total`: no answer within 30s; before that: connection reset",
        ),
        (
            exhausted(StopReason::Attempts, 3),
            "gave up after 3 attempts in 3s (max_attempts reached): connection reset",
        ),
        (
            exhausted(StopReason::Budget, 1),
            "gave up after 1 attempt in 3s (the budget is spent): connection reset",
        ),
    ] {
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn every_reason_to_stop_is_a_text_of_its_own() {
    let all = [
        StopReason::Attempts,
        StopReason::Time,
        StopReason::Budget,
        StopReason::Permanent,
        StopReason::Rejected,
        StopReason::WaitTooLong,
    ];
    let texts: std::collections::BTreeSet<_> = all.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), all.len());
}

/// A program that prints the whole chain says nothing twice: a text contains those of the layers
/// around the operation's error, and the chain goes on below that.
#[test]
fn a_chain_of_errors_says_nothing_twice() {
    type IoError = surefoot::Error<std::io::Error>;
    let cause = std::fmt::Error;
    let io = IoError::Operation(std::io::Error::other(cause));
    let error = IoError::Timeout {
        policy: "total".into(),
        limit: SEC,
        dispatched: true,
        last: Some(Box::new(IoError::Exhausted {
            last: Box::new(io),
            stop: StopReason::Time,
            attempts: 2,
            elapsed: SEC,
            retry_after: None,
        })),
    };
    let io = error.operation().expect("it is inside");
    assert!(error.to_string().contains(&io.to_string()));
    let below = |error: &dyn std::error::Error| error.source().map(ToString::to_string);
    assert_eq!(below(&error), below(io));
}

#[test]
fn a_config_error_is_one_sentence() {
    let error = ConfigError::new("retry", "max_attempts", 0, "must be at least 1");
    assert_eq!(error.to_string(), "retry: `max_attempts` = 0 must be at least 1");
    let error = ConfigError::new("retry", "colour", "", "is not an option");
    assert_eq!(error.to_string(), "retry: `colour` is not an option");
}

/// What a wall clock measures has nanoseconds; a text people read does not need them.
#[test]
fn a_time_in_a_text_is_short_enough_to_read() {
    let left = Duration::from_nanos(29_998_765_432);
    let text = open(OpenReason::Tripped(TripLimit::Failures(5)), Some(left)).to_string();
    assert!(!text.contains("ns"), "{text}");
    let error = Error::Exhausted {
        last: Box::new(Error::Operation("down")),
        stop: StopReason::Attempts,
        attempts: 3,
        elapsed: Duration::from_nanos(3_001_532_017),
        retry_after: None,
    };
    let text = error.to_string();
    assert!(!text.contains("ns"), "{text}");
}
