//! Section 8.2: health checks of a circuit breaker and a rate limiter, and of everything in one call.
//!
//! ```python
//! def check_circuit_health():
//!     return {
//!         "circuit_breaker": {
//!             "state": circuit.state.value,
//!             "failure_rate": circuit.failure_rate(),
//!             "healthy": circuit.state == CircuitState.CLOSED
//!         }
//!     }
//!
//! def check_rate_limiter_health():
//!     return {
//!         "rate_limiter": {
//!             "current_rate": limiter.current_rate(),
//!             "limit": limiter.max_requests,
//!             "healthy": limiter.current_rate() < limiter.max_requests
//!         }
//!     }
//! ```

use serde_json::{json, to_value};
use surefoot::health::Inspect;
use surefoot::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let circuit = CircuitBreaker::builder("external_api").build()?;
    for _ in 0..3 {
        circuit.admit()?.success();
    }
    circuit.admit()?.failure();
    assert_eq!(
        to_value(circuit.health())?,
        json!({"circuit_breaker":
            {"name": "external_api", "state": "closed", "failure_rate": 0.25, "healthy": true}}),
    );

    let limiter = RateLimiter::builder("search").max_requests(2).build()?;
    limiter.check()?;
    assert_eq!(
        to_value(limiter.health())?,
        json!({"rate_limiter": {"name": "search", "current_rate": 1, "limit": 2, "healthy": true}}),
    );

    // One call for everything that is registered, and for the registry's own breakers.
    let registry: Registry = Registry::builder("host").build()?;
    registry.register(&circuit);
    registry.register(&limiter);
    registry.get("api.example.com").force_open();
    let report = registry.health();
    println!("{}", serde_json::to_string_pretty(&report)?);
    assert!(!report.healthy);
    let unwell: Vec<_> = report.unhealthy().map(|policy| policy.name().to_string()).collect();
    assert_eq!(unwell, ["host/api.example.com"]);

    // All that each of them knows about itself.
    let snapshot = to_value(registry.snapshot())?;
    assert_eq!(snapshot[0]["circuit_breaker"]["totals"]["failures"], 1);
    assert_eq!(snapshot[1]["rate_limiter"]["totals"]["admitted"], 1);
    Ok(())
}
