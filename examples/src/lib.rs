//! What the example programs share: a way to run a future in virtual time.
//!
//! The programs are in `src/bin`, one for each snippet of the specification and some more; the
//! README beside them lists them in reading order.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use surefoot::ManualClock;

/// Runs `future` to its end; whenever it waits, moves `clock` to the moment it waits for.
///
/// A minute of backing off takes no time at all this way, and takes exactly a minute on the
/// clock. For futures that wait for nothing but this clock, or for something that wakes them.
pub async fn in_virtual_time<F: Future>(clock: &ManualClock, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(output);
            }
            if !clock.advance_to_next_waiter() {
                return Poll::Pending;
            }
        }
    })
    .await
}
