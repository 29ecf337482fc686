//! Section 3.2: the options of a retry as a value, and a callback on each retry.
//!
//! ```python
//! retry_config = RetryConfig(
//!     max_attempts=3,
//!     initial_delay=1.0,        # Start with 1 second
//!     max_delay=30.0,           # Cap at 30 seconds
//!     exponential_base=2,       # Double each retry
//!     jitter=True,              # Add randomness
//!     retry_on=[TimeoutError],  # Only retry on specific errors
//!     on_retry=log_retry        # Callback on each retry
//! )
//!
//! @retry(config=retry_config)
//! async def operation():
//!     pass
//! ```

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use surefoot::ManualClock;
use surefoot::prelude::*;
use surefoot::retry::{RetryBuilder, RetryConfig};
use surefoot_examples::in_virtual_time;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let retry_config = RetryConfig {
        max_attempts: 3,
        initial_delay: Duration::from_secs(1),
        max_delay: Duration::from_secs(30),
        exponential_base: 2.0,
        jitter: Jitter::Full,
        ..RetryConfig::default()
    };

    let clock = ManualClock::new();
    let logged = Arc::new(AtomicU32::new(0));
    let log = logged.clone();
    let retry = RetryBuilder::from(retry_config)
        .on_retry(move |attempt, delay| {
            log.fetch_add(1, Relaxed);
            println!("attempt {attempt} failed, the next one follows in {delay:?}");
        })
        .clock(&clock)
        .build()?
        .classify(retry_on(|error: &io::Error| error.kind() == ErrorKind::TimedOut));

    let operation = || async { Err::<(), _>(io::Error::from(ErrorKind::TimedOut)) };
    let error = in_virtual_time(&clock, retry.call(operation)).await.expect_err("times out");
    println!("{error}");
    assert!(matches!(error, Error::Exhausted { attempts: 3, .. }));
    assert_eq!(logged.load(Relaxed), 2, "before the second attempt and before the third");

    // What cannot be is refused when it is built, with the option's name and the rule.
    let error = RetryConfig { max_attempts: 0, ..RetryConfig::default() }.build().unwrap_err();
    println!("{error}");
    assert_eq!((error.field(), error.value()), ("max_attempts", "0"));
    Ok(())
}
