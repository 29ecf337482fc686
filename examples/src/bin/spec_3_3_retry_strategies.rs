//! Section 3.3: exponential, linear and fixed delays.
//!
//! ```python
//! # Exponential backoff. Delays: 1s, 2s, 4s, 8s, 16s
//! @retry(initial_delay=1, exponential_base=2, max_attempts=5)
//!
//! # Linear backoff. Delays: 1s, 2s, 3s, 4s, 5s
//! @retry(initial_delay=1, linear_increment=1, max_attempts=5)
//!
//! # Fixed delay. Delays: 5s, 5s, 5s
//! @retry(initial_delay=5, exponential_base=1, max_attempts=3)
//! ```
//!
//! The comments list the first `max_attempts` delays of each schedule. `max_attempts` counts the
//! first call too, so that one delay less is waited: there is none after the last attempt.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use surefoot::prelude::*;
use surefoot::retry::RetryBuilder;
use surefoot::{Clock, ManualClock, Timestamp};
use surefoot_examples::in_virtual_time;

/// Checks the schedule, and that a call which always fails waits just that.
async fn check(
    strategy: &str,
    options: RetryBuilder,
    schedule: &[u64],
) -> Result<(), Box<dyn std::error::Error>> {
    let clock = ManualClock::new();
    let waits = Arc::new(Mutex::new(Vec::new()));
    let noted = waits.clone();
    let retry = options
        .clock(&clock)
        .on_retry(move |_, delay| noted.lock().expect("no listener panics").push(delay.as_secs()))
        .build()?;

    let delays: Vec<_> = retry.delays().take(schedule.len()).map(|delay| delay.as_secs()).collect();
    assert_eq!(delays, schedule);
    println!("{strategy}: delays of {delays:?} seconds");

    let failed = in_virtual_time(&clock, retry.call(|| async { Err::<(), _>("down") })).await;
    assert!(matches!(failed, Err(Error::Exhausted { .. })));
    let waited = &schedule[..schedule.len() - 1];
    assert_eq!(*waits.lock().expect("no listener panics"), waited);
    assert_eq!(clock.now() - Timestamp::ZERO, Duration::from_secs(waited.iter().sum()));
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let second = Duration::from_secs(1);

    let exponential = Retry::builder().initial_delay(second).exponential_base(2.0).max_attempts(5);
    check("exponential", exponential, &[1, 2, 4, 8, 16]).await?;

    let linear = Retry::builder().initial_delay(second).linear_increment(second).max_attempts(5);
    check("linear", linear, &[1, 2, 3, 4, 5]).await?;

    let fixed = Retry::builder().initial_delay(5 * second).exponential_base(1.0).max_attempts(3);
    check("fixed", fixed, &[5, 5, 5]).await
}
