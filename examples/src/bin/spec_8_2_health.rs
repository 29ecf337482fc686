//! Section 8.2: a health check of a circuit breaker.
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
//! ```

use serde_json::{Value, json};
use surefoot::prelude::*;

fn check_circuit_health(circuit: &CircuitBreaker) -> Value {
    let status = circuit.status(); // one look, so that the three agree
    json!({
        "circuit_breaker": {
            "state": status.state,
            "failure_rate": status.failure_rate,
            "healthy": status.state == CircuitState::Closed,
        }
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let circuit = CircuitBreaker::builder("external_api").build()?;
    assert_eq!(
        check_circuit_health(&circuit),
        json!({"circuit_breaker": {"state": "closed", "failure_rate": 0.0, "healthy": true}}),
    );

    for _ in 0..3 {
        circuit.admit()?.success();
    }
    circuit.admit()?.failure();
    assert_eq!(
        check_circuit_health(&circuit),
        json!({"circuit_breaker": {"state": "closed", "failure_rate": 0.25, "healthy": true}}),
    );

    circuit.force_open();
    let health = check_circuit_health(&circuit);
    assert_eq!(health["circuit_breaker"]["healthy"], false);
    println!("{health}");
    Ok(())
}
