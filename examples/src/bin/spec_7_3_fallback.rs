//! Section 7.3: the primary service, a fallback service, and the cache last.
//!
//! ```python
//! async def resilient_operation():
//!     try:
//!         return await primary_service.call()
//!     except Exception as e:
//!         logger.warning(f"Primary failed: {e}, using fallback")
//!         try:
//!             return await fallback_service.call()
//!         except Exception as e2:
//!             logger.error(f"Fallback failed: {e2}, using cache")
//!             return get_cached_result()
//! ```

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use surefoot::prelude::*;
use surefoot::{LastGood, ManualClock};

/// A service that can be taken down.
struct Service {
    name: &'static str,
    breaker: CircuitBreaker,
    down: AtomicBool,
}

impl Service {
    fn new(name: &'static str) -> Result<Self, ConfigError> {
        let breaker = CircuitBreaker::builder(name).build()?;
        Ok(Self { name, breaker, down: AtomicBool::new(false) })
    }

    async fn call(&self) -> Result<String, Error<io::Error>> {
        let ask = || async {
            if self.down.load(Ordering::Relaxed) {
                return Err(io::Error::other(format!("{} is down", self.name)));
            }
            Ok(format!("an answer of {}", self.name))
        };
        self.breaker.call(ask).await
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock = ManualClock::new();
    let (primary, secondary) = (Service::new("primary")?, Service::new("secondary")?);
    let cache = LastGood::new(Duration::from_secs(600))?.on_clock(clock.clone());
    let fallback = Fallback::new("answers")?;
    let _log = fallback.events().subscribe(|event| println!("{event:?}"));

    let resilient_operation = async || {
        fallback
            .first("primary", || primary.call())
            .then("secondary", || secondary.call())
            .last_good(&cache, "why?")
            .call()
            .await
    };

    let answer = resilient_operation().await?;
    assert_eq!((&*answer.value, answer.link.as_str()), ("an answer of primary", "primary"));

    primary.down.store(true, Ordering::Relaxed);
    let answer = resilient_operation().await?;
    assert_eq!((&*answer.value, answer.link.as_str()), ("an answer of secondary", "secondary"));
    assert_eq!(answer.failures.len(), 1); // and why the primary was passed over

    secondary.down.store(true, Ordering::Relaxed);
    clock.advance(Duration::from_secs(599));
    let answer = resilient_operation().await?;
    assert_eq!((&*answer.value, answer.link.as_str()), ("an answer of secondary", "last good"));
    assert_eq!(answer.age, Some(Duration::from_secs(599)));

    // What is too old is no answer, and then every error is told.
    clock.advance(Duration::from_secs(1));
    let error = resilient_operation().await.unwrap_err();
    println!("{error}");
    assert_eq!(
        error.to_string(),
        "`secondary` failed: secondary is down; before that `primary` failed: primary is down"
    );
    Ok(())
}
