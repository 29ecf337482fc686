//! Section 3.1: a simple retry, and one with backoff that knows which errors pass.
//!
//! ```python
//! @retry(max_attempts=3)
//! async def flaky_operation():
//!     result = await unreliable_service.call()
//!     return result
//!
//! @retry(
//!     max_attempts=5,
//!     initial_delay=1.0,
//!     max_delay=60.0,
//!     exponential_base=2,
//!     jitter=True,
//!     retry_on=[TimeoutError, ConnectionError]
//! )
//! async def network_call():
//!     return await api.fetch_data()
//! ```

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use surefoot::prelude::*;
use surefoot::{Clock, ManualClock, StopReason, Timestamp};
use surefoot_examples::in_virtual_time;

/// A service that fails twice, and answers from the third call on.
#[derive(Default)]
struct UnreliableService {
    calls: AtomicU32,
}

impl UnreliableService {
    async fn call(&self) -> io::Result<u32> {
        tokio::task::yield_now().await;
        match self.calls.fetch_add(1, Relaxed) + 1 {
            1 | 2 => Err(ErrorKind::ConnectionReset.into()),
            number => Ok(number),
        }
    }
}

async fn simple() -> Result<(), Box<dyn std::error::Error>> {
    let clock = ManualClock::new(); // leave the clock out to use the system's
    let retry = Retry::builder().max_attempts(3).clock(&clock).build()?;

    let unreliable_service = UnreliableService::default();
    let flaky_operation = async || unreliable_service.call().await;
    let answer = in_virtual_time(&clock, retry.call(flaky_operation)).await?;
    assert_eq!(answer, 3, "the third call");
    let waited = clock.now() - Timestamp::ZERO;
    assert_eq!(waited, Duration::from_secs(1 + 2));
    println!("call {answer} was answered, after {waited:?} of waiting");
    Ok(())
}

async fn advanced() -> Result<(), Box<dyn std::error::Error>> {
    let clock = ManualClock::new();
    let retry = Retry::builder()
        .max_attempts(5)
        .initial_delay(Duration::from_secs(1))
        .max_delay(Duration::from_secs(60))
        .exponential_base(2.0)
        .jitter(Jitter::Full) // each wait is anything from zero to its full length
        .seed(2025) // for a repeatable example only
        .clock(&clock)
        .build()?
        .classify(retry_on(|error: &io::Error| {
            use ErrorKind::{ConnectionRefused, ConnectionReset, TimedOut};
            matches!(error.kind(), ConnectionRefused | ConnectionReset | TimedOut)
        }));

    let refused = || async { Err::<(), _>(io::Error::from(ErrorKind::ConnectionRefused)) };
    let error = in_virtual_time(&clock, retry.call(refused)).await.expect_err("always refused");
    println!("{error}");
    assert!(matches!(error, Error::Exhausted { attempts: 5, stop: StopReason::Attempts, .. }));
    assert!(clock.now() - Timestamp::ZERO <= Duration::from_secs(1 + 2 + 4 + 8));

    // Other errors are not tried again: trying does not help.
    let denied = || async { Err::<(), _>(io::Error::from(ErrorKind::PermissionDenied)) };
    let error = retry.call(denied).await.expect_err("always denied");
    println!("{error}");
    assert!(matches!(error, Error::Exhausted { attempts: 1, stop: StopReason::Permanent, .. }));
    assert_eq!(error.operation().map(io::Error::kind), Some(ErrorKind::PermissionDenied));
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    simple().await?;
    advanced().await
}
