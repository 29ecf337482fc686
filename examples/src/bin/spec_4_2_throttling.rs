//! Section 4.2: bounding how many operations run at once.
//!
//! ```python
//! throttler = Throttler(
//!     max_concurrent=10,        # Max concurrent operations
//!     queue_size=100,           # Queue size for waiting
//!     timeout_seconds=30        # Max wait time
//! )
//!
//! async with throttler.acquire():
//!     await expensive_operation()
//! ```

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use surefoot::Rejection;
use surefoot::prelude::*;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let throttler = Throttler::builder("expensive")
        .max_concurrent(10)
        .queue_size(100)
        .timeout(Duration::from_secs(30))
        .build()?;
    let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));

    // A hundred callers at once: ten run, the others wait their turn.
    let call = async || {
        let _permit = throttler.acquire().await?;
        most.fetch_max(running.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        tokio::task::yield_now().await; // the expensive operation
        running.fetch_sub(1, Ordering::Relaxed);
        Ok::<_, Rejection>(())
    };
    let mut calls: Vec<_> = (0..100).map(|_| Box::pin(call())).collect();
    std::future::poll_fn(|cx| {
        calls.retain_mut(|call| call.as_mut().poll(cx).is_pending());
        if calls.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    assert_eq!(most.load(Ordering::Relaxed), 10);
    assert_eq!(throttler.in_flight(), 0);
    assert_eq!(throttler.status().totals.queued, 90);

    // A full queue and a wait that was too long are different errors.
    let small = Throttler::builder("small").max_concurrent(1).queue_size(0).build()?;
    let held = small.acquire().await?;
    let refused = small.acquire().await.err().ok_or("it is full")?;
    assert!(matches!(refused, Rejection::QueueFull { .. }));
    println!("{refused}");
    drop(held);
    Ok(())
}
