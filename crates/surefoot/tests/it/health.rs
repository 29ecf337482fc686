//! One call that says how everything registered is.

use serde_json::json;
use surefoot::health::Inspect;
use surefoot::prelude::*;
use surefoot::{
    Budget, Bulkhead, ClientThrottle, KeyedRateLimiter, LoadShedder, RateLimiter, Throttler,
};

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

fn in_json(policy: &impl Inspect) -> serde_json::Value {
    serde_json::to_value(policy.health()).unwrap()
}

#[test]
fn a_throttler_is_well_while_one_more_may_run_or_wait() {
    let throttler = Throttler::builder("db").max_concurrent(1).queue_size(0).build().unwrap();
    assert!(throttler.health().is_healthy());
    let running = throttler.try_acquire().unwrap();
    assert_eq!(
        in_json(&throttler),
        json!({"throttler": {"name": "db", "in_flight": 1, "max_concurrent": 1,
            "queue_depth": 0, "queue_size": 0, "healthy": false}}),
    );
    drop(running);
    assert!(throttler.health().is_healthy());
    throttler.close();
    assert!(!throttler.health().is_healthy());
    let patient = Throttler::builder("db").max_concurrent(1).queue_size(1).build().unwrap();
    let _running = patient.try_acquire().unwrap();
    assert!(patient.health().is_healthy(), "one may wait");
}

#[test]
fn a_bulkhead_tells_of_each_compartment() {
    let builder = Bulkhead::builder("tools").compartment("critical", 2, 0);
    let bulkhead = builder.compartment("background", 1, 0).build().unwrap();
    assert!(bulkhead.health().is_healthy());
    let _running = bulkhead.try_acquire("background").unwrap();
    let health = &in_json(&bulkhead)["bulkhead"];
    assert_eq!((&health["name"], &health["healthy"]), (&json!("tools"), &json!(false)));
    let compartments: Vec<_> = (0..2)
        .map(|at| &health["compartments"][at]["throttler"])
        .map(|compartment| (&compartment["name"], &compartment["healthy"]))
        .collect();
    assert_eq!(
        compartments,
        [(&json!("tools/background"), &json!(false)), (&json!("tools/critical"), &json!(true)),]
    );
}

#[test]
fn a_load_shedder_is_well_while_it_sheds_nobody() {
    let shedder = LoadShedder::builder("api").capacity(10).build().unwrap();
    let mut running: Vec<_> = (0..7).map(|_| shedder.admit(1).unwrap()).collect();
    assert!(shedder.health().is_healthy() && shedder.check(1).is_ok());
    running.push(shedder.admit(1).unwrap());
    assert!(shedder.check(1).is_err());
    assert_eq!(
        in_json(&shedder),
        json!({"load_shedder": {"name": "api", "load": 0.8, "max_load": 0.8, "healthy": false}}),
    );
    let told = LoadShedder::builder("told").signal(|| f64::NAN).build().unwrap();
    assert_eq!(in_json(&told)["load_shedder"]["load"], json!(null));
    assert!(told.health().is_healthy(), "what is unknown admits");
    let dry = LoadShedder::builder("dry").signal(|| 1.0).dry_run(true).build().unwrap();
    assert!(dry.health().is_healthy(), "it lets everybody in");
}

#[test]
fn asking_a_load_shedder_how_it_is_counts_as_no_call() {
    let shedder = LoadShedder::builder("api").signal(|| 1.0).build().unwrap();
    assert!(!shedder.health().is_healthy());
    assert_eq!(shedder.status().shed(), 0);
}

#[test]
fn a_client_throttle_is_well_while_it_holds_nothing_back() {
    let throttle = ClientThrottle::builder("search").build().unwrap();
    assert_eq!(
        in_json(&throttle),
        json!({"client_throttle": {"name": "search", "rejection_rate": 0.0, "healthy": true}}),
    );
    throttle.admit().unwrap().failure();
    assert!(!throttle.health().is_healthy());
}

#[test]
fn a_budget_is_well_while_a_call_can_be_paid() {
    let run = Budget::builder("run").attempts(1).build().unwrap();
    assert!(run.health().is_healthy());
    run.draw().unwrap().settle(surefoot::budget::Cost::attempts(1));
    assert_eq!(
        in_json(&run),
        json!({"budget": {"name": "run", "healthy": false,
            "remaining": {"attempts": 0, "tokens": null, "money": null}}}),
    );
}

#[test]
fn every_kind_can_be_registered_and_is_in_report_and_snapshot() {
    let registry = registry();
    let expected = std::time::Duration::from_millis(250);
    registry.register(&Throttler::builder("a").expected_service(expected).build().unwrap());
    registry.register(&Bulkhead::builder("b").compartment("c", 1, 1).build().unwrap());
    registry.register(&LoadShedder::builder("d").capacity(1).build().unwrap());
    registry.register(&ClientThrottle::builder("e").build().unwrap());
    registry.register(&Budget::builder("f").tokens(5).build().unwrap());
    let report = registry.health();
    assert!(report.healthy);
    let names: Vec<_> = report.policies.iter().map(|policy| policy.name().as_str()).collect();
    assert_eq!(names, ["a", "b", "d", "e", "f"]);
    let snapshots = serde_json::to_value(registry.snapshot()).unwrap();
    let kinds = ["throttler", "bulkhead", "load_shedder", "client_throttle", "budget"];
    for (at, (kind, name)) in kinds.into_iter().zip(names).enumerate() {
        assert_eq!(snapshots[at][kind]["name"], name);
    }
    assert_eq!(snapshots[0]["throttler"]["service_time"], "250ms");
}

/// Whoever is asked may ask, register and let go in turn, from any thread.
#[test]
fn a_registry_can_be_asked_and_changed_by_all_at_once_and_from_within() {
    let registry = std::sync::Arc::new(registry());
    let inner = std::sync::Arc::downgrade(&registry);
    let nosy = LoadShedder::builder("nosy").signal(move || {
        let Some(registry) = inner.upgrade() else { return 0.0 };
        registry.register(&breaker("from within"));
        registry.deregister("from within");
        0.0
    });
    registry.register(&nosy.build().unwrap());
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let registry = &registry;
            scope.spawn(move || {
                for call in 0..200 {
                    let throttler = Throttler::builder(format!("{thread}")).build().unwrap();
                    registry.register(&throttler);
                    registry.get(&format!("host {}", call % 7));
                    assert!(registry.health().healthy);
                    let _ = registry.snapshot();
                    assert!(registry.deregister(throttler.name()));
                }
            });
        }
    });
    let report = registry.health();
    assert_eq!(report.policies.len(), 8, "{report:?}");
}
