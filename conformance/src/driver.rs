//! The least there can be of a runtime: futures polled by hand, and waits served by moving a
//! [`ManualClock`]. Nothing here sleeps.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use surefoot::{Clock, ManualClock, Timestamp};

/// A future, and whether anybody has woken it since it was polled.
pub(crate) struct Task<'a, T> {
    future: Pin<Box<dyn Future<Output = T> + Send + 'a>>,
    woken: Arc<Woken>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl<'a, T> Task<'a, T> {
    pub(crate) fn new(future: impl Future<Output = T> + Send + 'a) -> Self {
        Self { future: Box::pin(future), woken: Arc::new(Woken(AtomicBool::new(true))) }
    }

    /// Polls it for as long as it is woken, as a runtime would: one that nobody wakes stays where
    /// it is.
    pub(crate) fn run(&mut self) -> Poll<T> {
        while self.woken.0.swap(false, Ordering::SeqCst) {
            let waker = Waker::from(Arc::clone(&self.woken));
            let polled = self.future.as_mut().poll(&mut Context::from_waker(&waker));
            if polled.is_ready() {
                return polled;
            }
        }
        Poll::Pending
    }
}

/// Runs a future to its end. Whenever it waits, time moves on to what it waits for.
pub(crate) fn drive<T>(
    clock: &ManualClock,
    future: impl Future<Output = T> + Send,
) -> Result<T, String> {
    let mut task = Task::new(future);
    loop {
        if let Poll::Ready(output) = task.run() {
            return Ok(output);
        }
        if !clock.advance_to_next_waiter() {
            return Err("the call is pending, and nothing will wake it".into());
        }
    }
}

/// Runs a future to its end, or until its caller leaves and drops it, ahead of whatever else is due at
/// that moment. `look` sees what is left of it: while it still is there if it ended, afterwards if not.
pub(crate) fn drive_until<T, S>(
    clock: &ManualClock,
    leaves: Option<Timestamp>,
    future: impl Future<Output = T> + Send,
    look: impl FnOnce() -> S,
) -> Result<(Option<T>, S), String> {
    // One more waiter, so that time moves no further than to that moment.
    let mut bell = leaves.map(|at| clock.sleep_until(at));
    let nobody = &mut Context::from_waker(Waker::noop());
    let _ = bell.as_mut().map(|bell| Pin::new(bell).poll(nobody));
    let mut task = Task::new(future);
    while leaves.is_none_or(|at| clock.now() < at) {
        if let Poll::Ready(output) = task.run() {
            return Ok((Some(output), look()));
        }
        if !clock.advance_to_next_waiter() {
            return Err("the call is pending, and nothing will wake it".into());
        }
    }
    drop(task);
    Ok((None, look()))
}

/// Runs blocking work on this thread, and moves time on whenever it waits. Gives the result and
/// the time at its end; afterwards the clock shows zero.
pub(crate) fn serve_waits<T>(clock: &ManualClock, work: impl FnOnce() -> T) -> (T, Timestamp) {
    let done = AtomicBool::new(false);
    // One more waiter, for a time that the clock does not show: it wakes the server a last time,
    // and has to outlive it.
    let mut bell = clock.sleep_until(Timestamp::MAX);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                clock.wait_for_waiters(1);
                if done.load(Ordering::SeqCst) {
                    return;
                }
                clock.advance_to_next_waiter();
            }
        });
        // Also if the work panics.
        let ring = OnDrop(|| {
            done.store(true, Ordering::SeqCst);
            clock.set(Timestamp::ZERO);
            let _ = Pin::new(&mut bell).poll(&mut Context::from_waker(Waker::noop()));
        });
        let result = work();
        let ended = clock.now();
        drop(ring);
        (result, ended)
    })
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        self.0();
    }
}

/// An answer that one side waits for and the other gives.
pub(crate) struct Answer<T>(Arc<Mutex<Slot<T>>>);

struct Slot<T> {
    value: Option<T>,
    waker: Option<Waker>,
}

impl<T> Clone for Answer<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Answer<T> {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Slot { value: None, waker: None })))
    }

    pub(crate) fn give(&self, value: T) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.value = Some(value);
        let waker = slot.waker.take();
        drop(slot);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Whether somebody waits for it.
    pub(crate) fn is_awaited(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).waker.is_some()
    }
}

impl<T> Future for Answer<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = slot.value.take() {
            return Poll::Ready(value);
        }
        slot.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_future_is_driven_from_wait_to_wait() {
        let clock = ManualClock::new();
        let driven = drive(&clock, async {
            for seconds in [3, 5] {
                clock.sleep_until(clock.now() + Duration::from_secs(seconds)).await;
            }
            clock.now().as_nanos()
        });
        assert_eq!(driven, Ok(8_000_000_000));
    }

    #[test]
    fn a_future_that_nobody_will_wake_is_an_error() {
        let clock = ManualClock::new();
        assert!(drive(&clock, std::future::pending::<()>()).is_err());
    }

    #[test]
    fn a_caller_leaves_at_their_time_and_what_they_leave_is_dropped_before_anybody_looks() {
        let at = |seconds| Timestamp::ZERO + Duration::from_secs(seconds);
        for (leaves, answer) in [(Some(at(5)), None), (Some(at(6)), Some(())), (None, Some(()))] {
            let clock = ManualClock::new();
            let call = clock.sleep_until(at(5));
            let driven = drive_until(&clock, leaves, call, || clock.waiting());
            // What still waits is the moment at which the caller would have left.
            let waiting = usize::from(leaves.is_some() && answer.is_some());
            assert_eq!(driven, Ok((answer, waiting)));
            assert_eq!(clock.now(), at(5));
        }
    }

    #[test]
    fn a_task_runs_only_when_it_is_woken() {
        let answer = Answer::new();
        let mut task = Task::new(answer.clone());
        assert!(task.run().is_pending());
        assert!(answer.is_awaited());
        assert!(task.run().is_pending());
        answer.give(7);
        assert_eq!(task.run(), Poll::Ready(7));
    }

    #[test]
    fn blocking_waits_are_served_and_the_server_ends() {
        let clock = ManualClock::new();
        for _ in 0..200 {
            let ((), ended) = serve_waits(&clock, || {
                clock.block_until(clock.now() + Duration::from_secs(2));
                clock.advance(Duration::from_secs(1));
                clock.block_until(clock.now() + Duration::from_secs(4));
            });
            assert_eq!(ended.as_nanos(), 7_000_000_000);
        }
    }

    #[test]
    fn the_server_ends_when_the_work_panics() {
        let clock = ManualClock::new();
        let work = || serve_waits(&clock, || panic!("as it should"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err());
    }
}
