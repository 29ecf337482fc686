//! Section 7.2: a time limit around an operation.
//!
//! ```python
//! async def with_timeout(coro, timeout_seconds):
//!     try:
//!         return await asyncio.wait_for(coro, timeout=timeout_seconds)
//!     except asyncio.TimeoutError:
//!         logger.error("Operation timed out")
//!         raise
//!
//! result = await with_timeout(slow_operation(), 30)
//! ```

use std::convert::Infallible;
use std::time::Duration;

use surefoot::prelude::*;
use surefoot::{Clock, ManualClock};
use surefoot_examples::in_virtual_time;

/// Takes as long as it is told.
async fn slow_operation(clock: &ManualClock, takes: Duration) -> Result<&'static str, Infallible> {
    clock.sleep_until(clock.now() + takes).await;
    Ok("done")
}

async fn with_timeout(
    clock: &ManualClock,
    takes: Duration,
    limit: Duration,
) -> Result<&'static str, Box<dyn std::error::Error>> {
    let timeout = Timeout::new(limit)?.on_clock(clock); // leave the clock out to use the system's
    match in_virtual_time(clock, timeout.call(|| slow_operation(clock, takes))).await {
        Ok(result) => Ok(result),
        Err(error) => {
            println!("{error}");
            Err(error.into())
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock = ManualClock::new();
    let limit = Duration::from_secs(30);

    assert_eq!(with_timeout(&clock, Duration::from_secs(29), limit).await?, "done");

    let start = clock.now();
    let error = with_timeout(&clock, Duration::from_secs(31), limit).await.expect_err("too slow");
    assert!(matches!(
        error.downcast_ref(),
        Some(Error::<Infallible>::Timeout { limit: passed, dispatched: true, .. }) if *passed == limit
    ));
    assert_eq!(clock.now() - start, limit, "it ended at the limit and not a moment later");
    assert_eq!(clock.waiting(), 0, "the operation was dropped, and its timer with it");

    // Time limits nest: the inner one never outlives the outer, and whoever's time is up says so.
    let total = Timeout::new(Duration::from_secs(10))?.named("total").on_clock(&clock);
    let attempt = Timeout::new(limit)?.named("attempt").on_clock(&clock);
    let slow = || slow_operation(&clock, Duration::from_secs(3600));
    let error = in_virtual_time(&clock, total.call(|| attempt.call(slow))).await.expect_err("slow");
    println!("{error}");
    assert!(matches!(error, Error::Timeout { policy, .. } if policy == "total"));
    Ok(())
}
