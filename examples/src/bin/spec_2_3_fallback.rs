//! Section 2.3: an automatic fallback while the circuit is open.
//!
//! ```python
//! def fallback_handler():
//!     return {"data": "cached", "source": "fallback"}
//!
//! circuit = CircuitBreaker(name="service", fallback=fallback_handler)
//!
//! # Automatic fallback when circuit is open
//! result = await circuit.call(risky_operation)
//! ```

use std::io;

use surefoot::Rejection;
use surefoot::prelude::*;

#[derive(Debug, PartialEq, serde::Serialize)]
struct Answer {
    data: &'static str,
    source: &'static str,
}

/// Is told why it is asked.
fn fallback_handler(rejection: &Rejection) -> Answer {
    println!("{rejection}");
    Answer { data: "cached", source: "fallback" }
}

async fn risky_operation() -> io::Result<Answer> {
    tokio::task::yield_now().await;
    Err(io::Error::other("the service is down"))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let breaker = CircuitBreaker::builder("service").build()?;
    let circuit = breaker.clone().with_fallback(fallback_handler);

    // While the circuit is closed, a failure is a failure: nothing is papered over.
    for _ in 0..5 {
        assert!(matches!(circuit.call(risky_operation).await, Err(Error::Operation(_))));
    }

    // The fifth opened it, and now the fallback answers.
    assert_eq!(breaker.state(), CircuitState::Open);
    let result = circuit.call(risky_operation).await?;
    assert_eq!(result, Answer { data: "cached", source: "fallback" });
    println!("{}", serde_json::to_string(&result)?);
    Ok(())
}
