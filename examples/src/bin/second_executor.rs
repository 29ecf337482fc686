//! Without tokio: the same policies under smol, where a timer thread of their own wakes them; and
//! with smol's own timers, through the trait `Timer`.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use surefoot::prelude::*;
use surefoot::{Clock, SystemClock, TimeSource, Timer, Timestamp};

/// The system's clock, waited on with smol's timers.
#[derive(Debug)]
struct SmolTimer;

impl Clock for SmolTimer {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }
}

impl Timer for SmolTimer {
    fn sleep_until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            smol::Timer::after(at - SystemClock.now()).await;
        })
    }
}

/// Fails once; the second attempt hangs, the third answers.
async fn call(clock: impl Into<TimeSource>) -> Result<u32, Box<dyn std::error::Error>> {
    let clock = clock.into();
    let retry = Retry::builder()
        .initial_delay(Duration::from_millis(10))
        .attempt_timeout(Duration::from_millis(20))
        .clock(clock)
        .build()?;
    let calls = AtomicU32::new(0);
    let answer = retry
        .call(async || match calls.fetch_add(1, Relaxed) + 1 {
            1 => Err(io::Error::from(io::ErrorKind::ConnectionReset)),
            2 => std::future::pending().await,
            number => Ok(number),
        })
        .await?;
    Ok(answer)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for clock in [TimeSource::System, TimeSource::from(Arc::new(SmolTimer))] {
        let start = Instant::now();
        let attempt = smol::block_on(call(clock))?;
        let took = start.elapsed();
        println!("attempt {attempt} answered after {took:.0?}");
        assert_eq!(attempt, 3);
        assert!(took >= Duration::from_millis(10 + 20 + 20), "two waits and one time limit");
    }

    // Calls are `Send`: any executor may move them between its threads.
    let breaker = CircuitBreaker::builder("api").build()?;
    let spawned =
        smol::spawn(async move { breaker.call(async || Ok::<_, io::Error>("sent")).await });
    assert_eq!(smol::block_on(spawned)?, "sent");
    Ok(())
}
