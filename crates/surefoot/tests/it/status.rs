//! The status as data, in the shape of the specification's section 2.4.

use std::time::Duration;

use serde_json::{Value, json};
use surefoot::circuit_breaker::CircuitStatus;
use surefoot::{CircuitBreaker, ManualClock};

use crate::support::*;

fn shown(status: &CircuitStatus) -> Value {
    serde_json::to_value(status).unwrap()
}

fn spec_fields(breaker: &CircuitBreaker) -> Value {
    let status = shown(&breaker.status());
    json!({
        "state": status["state"],
        "failure_count": status["failure_count"],
        "success_count": status["success_count"],
        "last_failure_time": status["last_failure_time"],
    })
}

#[test]
fn a_new_breaker_is_closed_with_no_failure_time() {
    let breaker = breaker(&ManualClock::new()).build().unwrap();
    assert_eq!(
        spec_fields(&breaker),
        json!({
            "state": "closed", "failure_count": 0, "success_count": 0, "last_failure_time": null,
        })
    );
}

/// The specification's own example: 2 failures, 10 successes, an RFC 3339 time.
#[test]
fn the_status_serialises_to_the_shape_of_the_specification() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        clock.advance(Duration::from_secs(1_766_620_800)); // 2025-12-25, by the manual clock
        let breaker = breaker(&clock).build().unwrap();
        let mut steps = vec![gives(200); 10];
        steps.extend([fails("down"), fails("down")]);
        let service = Service::new(&clock, steps);
        for _ in 0..12 {
            let _ = call!(host, clock, breaker, service);
        }
        assert_eq!(
            spec_fields(&breaker),
            json!({
                "state": "closed",
                "failure_count": 2,
                "success_count": 10,
                "last_failure_time": "2025-12-25T00:00:00Z",
            }),
            "{host:?}"
        );
    }
}

#[test]
fn states_and_modes_have_the_specifications_spelling() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).failure_threshold(1).build().unwrap();
    let look = || {
        let status = shown(&breaker.status());
        (status["state"].clone(), status["mode"].clone())
    };
    assert_eq!(look(), (json!("closed"), json!("automatic")));
    breaker.admit().unwrap().failure();
    assert_eq!(look(), (json!("open"), json!("automatic")));
    assert_eq!(shown(&breaker.status())["retry_after"], json!("1m"));
    clock.advance(60 * SEC);
    breaker.admit().unwrap().cancel();
    assert_eq!(look(), (json!("half_open"), json!("automatic")));
    breaker.force_open();
    assert_eq!(look(), (json!("open"), json!("forced_open")));
    breaker.disable();
    assert_eq!(look(), (json!("closed"), json!("disabled")));
}

#[test]
fn the_failure_rate_is_0_before_any_call_and_a_share_after() {
    let breaker = breaker(&ManualClock::new()).build().unwrap();
    assert_eq!(shown(&breaker.status())["failure_rate"], json!(0.0));
    breaker.admit().unwrap().failure();
    for _ in 0..3 {
        breaker.admit().unwrap().success();
    }
    assert_eq!(shown(&breaker.status())["failure_rate"], json!(0.25));
}

#[test]
fn every_field_is_there() {
    let status = shown(&breaker(&ManualClock::new()).build().unwrap().status());
    let mut fields: Vec<_> = status.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            "failure_count",
            "failure_rate",
            "generation",
            "last_failure_time",
            "mode",
            "name",
            "retry_after",
            "state",
            "success_count",
            "totals",
        ]
    );
    assert_eq!(status["totals"]["rejected"], json!(0));
}

#[test]
fn a_rate_limiter_tells_how_it_stands_as_data() {
    let clock = ManualClock::new();
    let limiter =
        crate::rate_limiting::limiter(&clock, 2, Duration::from_secs(60)).build().unwrap();
    limiter.check().unwrap();
    clock.advance(Duration::from_secs(10));
    limiter.check().unwrap();
    assert!(limiter.check().is_err());
    assert_eq!(
        serde_json::to_value(limiter.status()).unwrap(),
        json!({
            "name": "search", "max_requests": 2, "current_rate": 2, "remaining": 0, "waiting": 0,
            "retry_after": "50s", "reset_after": "1m", "paused_for": "0s",
            "totals": {"admitted": 2, "rejected": 1, "delayed": 0, "paused": 0},
        })
    );
}
