//! How to test code that waits, without waiting: three ways to move a `ManualClock`.
//!
//! In your own project these are `#[test]`s, with `surefoot = { features = ["test-util"] }` under
//! `[dev-dependencies]`. The code under test takes its clock as an `impl Into<TimeSource>`.

use std::io;
use std::thread;
use std::time::Duration;

use surefoot::prelude::*;
use surefoot::{Clock, ManualClock, TimeSource, Timestamp};
use surefoot_examples::in_virtual_time;

/// The code under test: what a program would build once and keep.
struct Mailer {
    retry: Retry,
    breaker: CircuitBreaker,
}

impl Mailer {
    fn new(clock: impl Into<TimeSource>) -> Result<Self, ConfigError> {
        let clock = clock.into();
        Ok(Self {
            retry: Retry::builder().max_attempts(4).clock(clock.clone()).build()?,
            breaker: CircuitBreaker::builder("smtp").failure_threshold(2).clock(clock).build()?,
        })
    }

    async fn send(
        &self,
        server: impl Fn() -> io::Result<()> + Sync,
    ) -> Result<(), Error<io::Error>> {
        self.retry.call(async || server()).await
    }

    fn send_blocking(&self, server: impl Fn() -> io::Result<()>) -> Result<(), Error<io::Error>> {
        self.retry.call_blocking(|_| server())
    }
}

fn down() -> io::Result<()> {
    Err(io::ErrorKind::ConnectionRefused.into())
}

/// Decisions alone: no future, no thread, only a clock that is moved.
fn the_breaker_tries_again_after_a_minute() -> Result<(), Box<dyn std::error::Error>> {
    let clock = ManualClock::new();
    let mailer = Mailer::new(&clock)?;
    mailer.breaker.admit()?.failure();
    mailer.breaker.admit()?.failure();

    clock.advance(Duration::from_secs(60) - Duration::from_nanos(1));
    assert!(mailer.breaker.admit().is_err());
    clock.advance(Duration::from_nanos(1));
    assert!(mailer.breaker.admit().is_ok());
    Ok(())
}

/// A future: let it run until it waits, look, move the clock.
async fn a_dead_server_is_tried_four_times_in_seven_seconds() -> Result<(), ConfigError> {
    let clock = ManualClock::new();
    let mailer = Mailer::new(&clock)?;
    let (sent, ()) = tokio::join!(biased; mailer.send(down), async {
        for second in [1, 2, 4] {
            assert_eq!(clock.waiting(), 1, "the retry waits");
            clock.advance(Duration::from_secs(second));
            tokio::task::yield_now().await; // lets it run until it waits again
        }
    });
    assert!(matches!(sent, Err(Error::Exhausted { attempts: 4, .. })));

    // The same where the steps between do not matter.
    let start = clock.now();
    let sent = in_virtual_time(&clock, mailer.send(down)).await;
    assert!(sent.is_err());
    assert_eq!(clock.now() - start, Duration::from_secs(7));
    Ok(())
}

/// A thread that blocks: wait until it waits, then move the clock.
fn the_blocking_sender_waits_just_as_long() -> Result<(), ConfigError> {
    let clock = ManualClock::new();
    let mailer = Mailer::new(&clock)?;
    thread::scope(|scope| {
        let sending = scope.spawn(|| mailer.send_blocking(down));
        for _ in 0..3 {
            clock.wait_for_waiters(1);
            clock.advance_to_next_waiter();
        }
        assert!(sending.join().is_ok_and(|sent| sent.is_err()));
    });
    assert_eq!(clock.now(), Timestamp::ZERO + Duration::from_secs(7));
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    the_breaker_tries_again_after_a_minute()?;
    a_dead_server_is_tried_four_times_in_seven_seconds().await?;
    the_blocking_sender_waits_just_as_long()?;
    println!("81 seconds of waiting tested, to the nanosecond, without waiting");
    Ok(())
}
