//! One call that says how everything registered is.

use serde_json::json;
use surefoot::health::Inspect;
use surefoot::prelude::*;
use surefoot::{KeyedRateLimiter, RateLimiter};

fn registry() -> Registry {
    Registry::builder("host").build().unwrap()
}

fn breaker(name: &'static str) -> CircuitBreaker {
    CircuitBreaker::builder(name).failure_threshold(1).build().unwrap()
}

#[test]
fn a_policy_says_how_it_is_in_the_specifications_shape() {
    let breaker = CircuitBreaker::builder("billing").build().unwrap();
    for _ in 0..3 {
        breaker.admit().unwrap().success();
    }
    breaker.admit().unwrap().failure();
    assert_eq!(
        serde_json::to_value(breaker.health()).unwrap(),
        json!({"circuit_breaker":
            {"name": "billing", "state": "closed", "failure_rate": 0.25, "healthy": true}}),
    );
    let snapshot = serde_json::to_value(breaker.snapshot()).unwrap();
    assert_eq!(snapshot["circuit_breaker"], serde_json::to_value(breaker.status()).unwrap());
}

#[test]
fn a_rate_limiter_says_how_it_is_in_the_specifications_shape() {
    let limiter = RateLimiter::builder("search").max_requests(2).build().unwrap();
    limiter.check().unwrap();
    assert_eq!(
        serde_json::to_value(limiter.health()).unwrap(),
        json!({"rate_limiter": {"name": "search", "current_rate": 1, "limit": 2, "healthy": true}}),
    );
    limiter.check().unwrap();
    assert!(!limiter.health().is_healthy());
    let snapshot = serde_json::to_value(limiter.snapshot()).unwrap();
    assert_eq!(snapshot["rate_limiter"]["totals"]["admitted"], 2);
}

#[test]
fn a_keyed_limiter_is_well_while_there_is_room_for_a_key() {
    let limiter: KeyedRateLimiter<u32> =
        RateLimiter::builder("users").max_requests(1).max_keys(1).build_keyed().unwrap();
    assert!(limiter.health().is_healthy());
    limiter.check(&1).unwrap();
    assert_eq!(
        serde_json::to_value(limiter.health()).unwrap(),
        json!({"keyed_rate_limiter": {"name": "users", "keys": 1, "max_keys": 1, "healthy": false}}),
    );
}

#[test]
fn a_report_holds_what_is_registered_and_every_breaker_by_name() {
    let registry = registry();
    registry.register(&breaker("payments"));
    registry.register(&breaker("mail"));
    for host in ["b", "a"] {
        registry.get(host);
    }
    let report = registry.health();
    assert!(report.healthy);
    let names: Vec<_> = report.policies.iter().map(|policy| policy.name().as_str()).collect();
    assert_eq!(names, ["payments", "mail", "host/a", "host/b"]);
    let snapshots = serde_json::to_value(registry.snapshot()).unwrap();
    let names: Vec<_> = (0..4).map(|at| &snapshots[at]["circuit_breaker"]["name"]).collect();
    assert_eq!(names, ["payments", "mail", "host/a", "host/b"]);
}

#[test]
fn one_that_is_unwell_makes_the_report_unwell_and_is_named() {
    let registry = registry();
    let payments = breaker("payments");
    registry.register(&payments);
    registry.get("a");
    payments.admit().unwrap().failure();
    let report = registry.health();
    assert!(!report.healthy);
    assert_eq!(
        report.unhealthy().map(|policy| policy.name().as_str()).collect::<Vec<_>>(),
        ["payments"]
    );
    let report = serde_json::to_value(report).unwrap();
    assert_eq!(report["healthy"], false);
    assert_eq!(report["policies"][0]["circuit_breaker"]["state"], "open");
}

#[test]
fn what_is_deregistered_is_reported_no_more() {
    let registry = registry();
    registry.register(&breaker("payments"));
    assert!(registry.deregister("payments"));
    assert!(!registry.deregister("payments"));
    assert!(registry.health().policies.is_empty());
}

#[test]
fn a_registry_without_anything_is_well() {
    assert!(registry().health().healthy);
}
