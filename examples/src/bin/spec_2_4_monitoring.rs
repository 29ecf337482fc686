//! Section 2.4: what a circuit says about itself, and how to reset it.
//!
//! ```python
//! status = circuit.get_status()
//! # {
//! #   "state": "closed",
//! #   "failure_count": 2,
//! #   "success_count": 10,
//! #   "last_failure_time": "2025-12-25T00:00:00Z"
//! # }
//!
//! circuit.reset()
//! ```

use std::time::Duration;

use surefoot::ManualClock;
use surefoot::prelude::*;

/// Seconds from the Unix epoch, where a manual clock begins.
const CHRISTMAS_2025: Duration = Duration::from_secs(1_766_620_800);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock = ManualClock::new();
    clock.advance(CHRISTMAS_2025);
    let circuit = CircuitBreaker::builder("external_api").clock(&clock).build()?;
    for _ in 0..10 {
        circuit.admit()?.success();
    }
    for _ in 0..2 {
        circuit.admit()?.failure();
    }

    let status = circuit.status();
    assert_eq!(status.state, CircuitState::Closed);
    assert_eq!((status.failure_count, status.success_count), (2, 10));
    assert_eq!(status.last_failure_rfc3339().as_deref(), Some("2025-12-25T00:00:00Z"));

    // As JSON it has the specification's fields, and more.
    let json = serde_json::to_value(&status)?;
    assert_eq!(json["state"], "closed");
    assert_eq!(json["failure_count"], 2);
    assert_eq!(json["success_count"], 10);
    assert_eq!(json["last_failure_time"], "2025-12-25T00:00:00Z");
    println!("{json:#}");

    circuit.reset();
    let status = circuit.status();
    assert_eq!((status.failure_count, status.success_count), (0, 0));
    assert_eq!(status.totals.failures, 2, "the totals behind the metrics only ever grow");
    Ok(())
}
