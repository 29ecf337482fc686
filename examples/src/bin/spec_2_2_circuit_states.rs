//! Section 2.2: the three states, and the four transitions between them.
//!
//! ```python
//! class CircuitState(Enum):
//!     CLOSED = "closed"       # Normal operation
//!     OPEN = "open"           # Failing, rejecting requests
//!     HALF_OPEN = "half_open" # Testing recovery
//!
//! # CLOSED → OPEN: When failure threshold exceeded
//! # OPEN → HALF_OPEN: After timeout period
//! # HALF_OPEN → CLOSED: After success threshold met
//! # HALF_OPEN → OPEN: On any failure
//! ```

use std::sync::{Arc, Mutex};
use std::time::Duration;

use surefoot::prelude::*;
use surefoot::{Event, ManualClock};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    assert_eq!(CircuitState::Closed.as_str(), "closed");
    assert_eq!(CircuitState::Open.as_str(), "open");
    assert_eq!(CircuitState::HalfOpen.as_str(), "half_open");
    assert_eq!(serde_json::to_string(&CircuitState::HalfOpen)?, "\"half_open\"");

    let clock = ManualClock::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let listener = seen.clone();
    let circuit = CircuitBreaker::builder("service")
        .clock(&clock)
        .on_event(move |event| {
            if let Event::StateChanged { from, to, .. } = event {
                println!("{from} → {to}");
                listener.lock().expect("no listener panics").push((*from, *to));
            }
        })
        .build()?;

    // Closed → open: the fifth failure within a minute.
    for _ in 0..4 {
        circuit.admit()?.failure();
    }
    assert_eq!(circuit.state(), CircuitState::Closed);
    circuit.admit()?.failure();
    assert_eq!(circuit.state(), CircuitState::Open);
    assert!(circuit.admit().is_err());

    // Open → half-open: when a call comes after the timeout. → open: when it fails.
    clock.advance(Duration::from_secs(60));
    assert_eq!(circuit.state(), CircuitState::Open, "looking at it changes nothing");
    circuit.admit()?.failure();
    assert_eq!(circuit.state(), CircuitState::Open);

    // Open → half-open, and → closed after two successes.
    clock.advance(Duration::from_secs(60));
    circuit.admit()?.success();
    assert_eq!(circuit.state(), CircuitState::HalfOpen);
    circuit.admit()?.success();
    assert_eq!(circuit.state(), CircuitState::Closed);

    let seen = seen.lock().expect("no listener panics");
    let names: Vec<_> = seen.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
    let expected = [
        ("closed", "open"),
        ("open", "half_open"),
        ("half_open", "open"),
        ("open", "half_open"),
        ("half_open", "closed"),
    ];
    assert_eq!(names, expected);
    Ok(())
}
