//! Section 2.1: a circuit breaker around calls to an external API.
//!
//! ```python
//! circuit = CircuitBreaker(
//!     name="external_api",
//!     failure_threshold=5,        # Open after 5 failures
//!     success_threshold=2,        # Close after 2 successes
//!     timeout_seconds=60,         # Try half-open after 60s
//!     failure_window_seconds=60   # Count failures in 60s window
//! )
//!
//! @circuit.protected
//! async def call_external_api():
//!     response = await http_client.get("https://api.example.com/data")
//!     return response.json()
//!
//! try:
//!     result = await call_external_api()
//! except CircuitOpenError:
//!     result = get_cached_data()
//! ```

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use surefoot::ManualClock;
use surefoot::prelude::*;

/// Stands for the API at the other end of the HTTP client.
#[derive(Default)]
struct Api {
    up: AtomicBool,
    requests: AtomicU32,
}

impl Api {
    async fn get(&self) -> io::Result<&'static str> {
        self.requests.fetch_add(1, Relaxed);
        tokio::task::yield_now().await;
        if self.up.load(Relaxed) { Ok("fresh data") } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }
}

/// The protected operation, with cached data for when the circuit is open.
async fn call_external_api(
    circuit: &CircuitBreaker,
    api: &Api,
) -> Result<&'static str, Error<io::Error>> {
    match circuit.call(|| api.get()).await {
        Err(Error::Rejected(rejection)) => {
            println!("{rejection}");
            Ok("cached data")
        }
        result => result,
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock = ManualClock::new(); // leave the clock out to use the system's
    let circuit = CircuitBreaker::builder("external_api")
        .failure_threshold(5)
        .success_threshold(2)
        .timeout(Duration::from_secs(60))
        .failure_window(Duration::from_secs(60))
        .clock(&clock)
        .build()?;
    let api = Api::default();

    // The API is down: five calls find out, and no more are made.
    for _ in 0..5 {
        let failed = call_external_api(&circuit, &api).await;
        assert!(matches!(failed, Err(Error::Operation(_))));
    }
    assert_eq!(circuit.state(), CircuitState::Open);
    assert_eq!(call_external_api(&circuit, &api).await?, "cached data");
    assert_eq!(api.requests.load(Relaxed), 5);

    // It comes back. A minute after it opened the circuit tries, and two successes close it.
    api.up.store(true, Relaxed);
    clock.advance(Duration::from_secs(59));
    assert_eq!(call_external_api(&circuit, &api).await?, "cached data");
    clock.advance(Duration::from_secs(1));
    assert_eq!(call_external_api(&circuit, &api).await?, "fresh data");
    assert_eq!(circuit.state(), CircuitState::HalfOpen);
    assert_eq!(call_external_api(&circuit, &api).await?, "fresh data");
    assert_eq!(circuit.state(), CircuitState::Closed);
    println!("circuit `{}` is {} again", circuit.name(), circuit.state());

    // Failures count for 60 seconds: four, and a fifth too late, are not five.
    api.up.store(false, Relaxed);
    for pause in [0, 0, 0, 60, 0] {
        assert!(call_external_api(&circuit, &api).await.is_err());
        clock.advance(Duration::from_secs(pause));
    }
    assert_eq!(circuit.state(), CircuitState::Closed);
    Ok(())
}
