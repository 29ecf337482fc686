//! One call that says how everything registered is.

use std::sync::Arc;

use serde_json::json;
use surefoot::health::Inspect;
use surefoot::load_shedder::Recorded;
use surefoot::prelude::*;
use surefoot::rate_limiter::multi::{Limit, RateLimits, Scope};
use surefoot::{Budget, KeyedRateLimiter, ManualClock, RateLimiter};

const SEC: std::time::Duration = std::time::Duration::from_secs(1);

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
fn a_limiter_whose_callee_asked_for_a_pause_is_not_well() {
    let limiter = RateLimiter::builder("search").build().unwrap();
    limiter.pause_for(std::time::Duration::from_secs(60));
    assert!(!limiter.health().is_healthy());
}

#[test]
fn a_dry_run_sheds_nothing_and_is_well() {
    let shedder = LoadShedder::builder("api").capacity(1).dry_run(true).build().unwrap();
    let _inside = shedder.admit(3).unwrap();
    assert!(shedder.health().is_healthy());
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
fn a_throttler_is_well_while_another_call_would_run_or_wait() {
    let throttler = Throttler::builder("reports").max_concurrent(1).queue_size(0).build().unwrap();
    assert!(throttler.health().is_healthy());
    let permit = throttler.try_acquire().unwrap();
    assert_eq!(
        serde_json::to_value(throttler.health()).unwrap(),
        json!({"throttler": {"name": "reports", "in_flight": 1, "limit": 1, "queue_depth": 0,
            "queue_size": 0, "healthy": false}}),
    );
    drop(permit);
    assert!(throttler.health().is_healthy());
    throttler.close();
    assert!(!throttler.health().is_healthy());
    let snapshot = serde_json::to_value(throttler.snapshot()).unwrap();
    assert_eq!(snapshot["throttler"]["closed"], true);
    assert_eq!(snapshot["throttler"]["service_time"], json!(null));
}

#[test]
fn a_bulkhead_names_the_compartments_that_are_exhausted() {
    let bulkhead = Bulkhead::builder("tools")
        .compartment("critical", 1, 0)
        .compartment("background", 1, 0)
        .build()
        .unwrap();
    let _busy = bulkhead.try_acquire("background").unwrap();
    assert_eq!(
        serde_json::to_value(bulkhead.health()).unwrap(),
        json!({"bulkhead": {"name": "tools", "exhausted": ["background"], "healthy": false}}),
    );
}

#[test]
fn a_load_shedder_tells_its_highest_load() {
    let clock = ManualClock::new();
    let shedder = LoadShedder::builder("api")
        .capacity(4)
        .memory(true)
        .load_source(Arc::new(Recorded))
        .clock(&clock)
        .build()
        .unwrap();
    let under_way: Vec<_> = (0..2).map(|_| shedder.admit(3).unwrap()).collect();
    let health = || serde_json::to_value(shedder.health()).unwrap();
    let expected = json!({"name": "api", "load": 0.5, "max_load": 0.8, "healthy": true});
    assert_eq!(health()["load_shedder"], expected);
    shedder.record_memory(0.875);
    assert_eq!(health()["load_shedder"]["load"], 0.875);
    assert_eq!(health()["load_shedder"]["healthy"], false);
    drop(under_way);
}

#[test]
fn a_budget_is_well_while_it_can_pay_for_another_attempt() {
    let run = Budget::builder("run").attempts(1).build().unwrap();
    assert!(run.health().is_healthy());
    drop(run.draw().unwrap());
    let health = serde_json::to_value(run.health()).unwrap();
    assert_eq!(health["budget"]["spent"]["attempts"], 1);
    assert_eq!(health["budget"]["remaining"]["attempts"], 0);
    assert_eq!(health["budget"]["healthy"], false);
}

#[test]
fn a_client_throttle_is_well_while_it_holds_nothing_back() {
    let throttle = ClientThrottle::builder("search").build().unwrap();
    assert_eq!(
        serde_json::to_value(throttle.health()).unwrap(),
        json!({"client_throttle": {"name": "search", "rejection_rate": 0.0, "healthy": true}}),
    );
}

#[test]
fn several_limits_name_the_one_that_binds() {
    let clock = ManualClock::new();
    let limits: RateLimits<&str> = RateLimits::builder("model")
        .limit(Limit::overall("requests", 10, SEC))
        .limit(Limit::overall("tokens", 100, SEC))
        .limit(Limit::per_key("tokens", 60, SEC))
        .clock(&clock)
        .build()
        .unwrap();
    limits.check(&"a", &[("tokens", 50)]).unwrap();
    assert_eq!(
        serde_json::to_value(limits.health()).unwrap(),
        json!({"rate_limits": {"name": "model", "unit": "tokens", "current_rate": 50, "limit": 100,
            "healthy": true}}),
    );
    limits.check(&"b", &[("requests", 9)]).unwrap();
    let health = serde_json::to_value(limits.health()).unwrap();
    assert_eq!(health["rate_limits"]["unit"], "requests");
    assert_eq!(health["rate_limits"]["healthy"], false);
    let registry = registry();
    registry.register(&limits);
    let snapshot = serde_json::to_value(registry.snapshot()).unwrap();
    assert_eq!(snapshot[0]["rate_limits"]["totals"]["admitted"], 2);
    assert_eq!(snapshot[0]["rate_limits"]["limits"][1]["time_window"], "1s");
    clock.advance(SEC);
    assert!(limits.health().is_healthy());
    limits.pause_for(&"a", Scope::Overall, SEC).unwrap();
    assert!(!limits.health().is_healthy());
}

#[test]
fn a_retry_and_a_hedge_are_well_while_their_budget_would_pay() {
    let budget = RetryBudget::builder().initial(1).ratio(0.0).build().unwrap();
    let retry = Retry::builder()
        .name("fetch")
        .initial_delay(std::time::Duration::ZERO)
        .budget(budget.clone())
        .build()
        .unwrap();
    let hedge = Hedge::builder().delay(SEC).budget(budget).build().unwrap();
    let registry = registry();
    registry.register(&retry);
    registry.register(&hedge);
    assert!(registry.health().healthy);
    let failed = retry.call_blocking(|_| Err::<(), _>(std::io::Error::other("down")));
    assert!(matches!(failed, Err(Error::Exhausted { attempts: 2, .. })));
    let report = serde_json::to_value(registry.health()).unwrap();
    assert_eq!(
        report["policies"],
        json!([
            {"retry": {"name": "fetch", "retries": 1, "given_up": 1, "budget_tokens": 0,
                "healthy": false}},
            {"hedge": {"name": "hedge", "hedges": 0, "budget_tokens": 0, "healthy": false}},
        ]),
    );
    let snapshot = serde_json::to_value(registry.snapshot()).unwrap();
    assert_eq!(snapshot[0]["retry"]["max_attempts"], 3);
    assert_eq!(snapshot[1]["hedge"]["delay"], "1s");
}

#[test]
fn a_pipeline_registers_what_it_is_made_of_with_the_budget_it_gave() {
    let retry = Retry::builder().name("fetch").build().unwrap();
    let pipeline = Pipeline::builder("api")
        .add(Timeout::new(SEC).unwrap())
        .add(retry)
        .add(breaker("api"))
        .allow(OrderRule::NoTimeoutInsideBreaker)
        .idempotent()
        .build()
        .unwrap();
    let registry = registry();
    registry.register_pipeline(&pipeline);
    let report = serde_json::to_value(registry.health()).unwrap();
    assert_eq!(report["policies"][0]["retry"]["budget_tokens"], 10);
    assert_eq!(report["policies"][1]["circuit_breaker"]["name"], "api");
    assert_eq!(report["policies"].as_array().unwrap().len(), 2, "a timeout has nothing to tell");
    assert!(registry.deregister("fetch"));
}

#[test]
fn a_signal_that_panics_takes_nobody_elses_report_down() {
    let panics = LoadShedder::builder("api").signal(|| panic!("no load today")).build().unwrap();
    let well = RateLimiter::builder("search").build().unwrap();
    let registry = registry();
    registry.register(&panics);
    registry.register(&well);
    let report = registry.health();
    assert!(!report.healthy);
    assert_eq!(
        serde_json::to_value(&report).unwrap()["policies"][0],
        json!({"unknown": {"name": "api", "healthy": false}}),
    );
    assert_eq!(
        report.unhealthy().map(|policy| policy.name().as_str()).collect::<Vec<_>>(),
        ["api"]
    );
    let snapshot = serde_json::to_value(registry.snapshot()).unwrap();
    assert_eq!(snapshot[0], json!({"unknown": {"name": "api"}}));
    assert_eq!(snapshot[1]["rate_limiter"]["name"], "search");
    #[cfg(feature = "metrics")]
    surefoot::metrics::publish(&registry);
}

/// Whatever a report asks may ask for a report itself.
#[test]
fn a_signal_that_asks_for_a_report_does_not_deadlock() {
    let registry = Arc::new(registry());
    let inner = Arc::clone(&registry);
    let shedder = LoadShedder::builder("api")
        .signal(move || {
            inner.get("host");
            inner.deregister("nobody");
            0.1
        })
        .build()
        .unwrap();
    registry.register(&shedder);
    assert!(registry.health().healthy);
    assert_eq!(registry.snapshot().len(), 2);
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

#[test]
fn asking_a_load_shedder_how_it_is_counts_as_no_call() {
    let shedder = LoadShedder::builder("api").signal(|| 1.0).build().unwrap();
    assert!(!shedder.health().is_healthy());
    assert_eq!(shedder.status().shed(), 0);
}

/// Whoever is asked may ask, register and let go in turn, from any thread.
#[test]
fn a_registry_can_be_asked_and_changed_by_all_at_once_and_from_within() {
    let registry = Arc::new(registry());
    let inner = Arc::downgrade(&registry);
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
