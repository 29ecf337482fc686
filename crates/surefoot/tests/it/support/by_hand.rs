//! Futures polled by hand, with a clock that is moved whenever they wait; for the tests of `surefoot-tower`
//! too.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use surefoot::ManualClock;

/// A future polled by hand.
pub(crate) struct Task<F: Future> {
    future: Pin<Box<F>>,
    woken: Arc<Woken>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl<F: Future> Task<F> {
    pub(crate) fn new(future: F) -> Self {
        Self { future: Box::pin(future), woken: Arc::new(Woken(AtomicBool::new(true))) }
    }

    pub(crate) fn poll(&mut self) -> Poll<F::Output> {
        self.woken.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(self.woken.clone());
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    pub(crate) fn is_woken(&self) -> bool {
        self.woken.0.load(Ordering::SeqCst)
    }

    /// Moves time to the next timer, and on until this task is woken. Polls nothing unasked, so
    /// that a lost wake-up fails the test.
    pub(crate) fn wait(&self, clock: &ManualClock) {
        while !self.is_woken() {
            assert!(clock.advance_to_next_waiter(), "the call waits for nothing: it would hang");
        }
    }
}

/// Polls `future` to its end, moving time whenever it waits.
pub(crate) fn run<F: Future>(clock: &ManualClock, future: F) -> F::Output {
    let mut task = Task::new(future);
    loop {
        if let Poll::Ready(output) = task.poll() {
            return output;
        }
        task.wait(clock);
    }
}

/// Polls `future` at most `polls` times, moving time whenever it waits, then drops it.
pub(crate) fn drop_after<F: Future>(
    clock: &ManualClock,
    polls: usize,
    future: F,
) -> Option<F::Output> {
    let mut task = Task::new(future);
    for poll in 0..polls {
        if poll > 0 {
            task.wait(clock);
        }
        if let Poll::Ready(output) = task.poll() {
            return Some(output);
        }
    }
    None
}

pub(crate) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
