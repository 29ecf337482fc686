//! Waiting for a throttler's permit: as a future, and on the calling thread.

use std::borrow::Borrow;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};

use surefoot_core::throttler::{Admission, Claim, Permit, Wait, Waiter};
use surefoot_core::{Clock, Rejection, SystemClock, Throttler, TimeSource, Timestamp};

use crate::scope;
use crate::time::{self, Sleep};

/// Waiting for one's turn: what a [`Throttler`] needs a host for.
///
/// ```
/// use surefoot::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let throttler = Throttler::builder("reports").max_concurrent(10).build()?;
/// let permit = throttler.acquire().await?;
/// // … the expensive operation …
/// drop(permit); // lets the next one in; so does leaving the block
/// # Ok(())
/// # }
/// ```
pub trait Acquire: sealed::Sealed {
    /// Waits for a permit, which borrows the throttler.
    ///
    /// The time in the queue is bounded by the throttler's `timeout` and by the deadline around this
    /// call, if there is one.
    ///
    /// **Cancellation.** Dropping the future leaves the queue at once. A permit that was given
    /// meanwhile goes to the next one.
    ///
    /// Its output is the permit, or a [`Rejection`]: the queue is full, the wait was too long, or
    /// the throttler was closed.
    fn acquire(&self) -> Acquiring<&Throttler>;

    /// The same with a permit that keeps the throttler alive and can go anywhere.
    fn acquire_owned(&self) -> Acquiring<Throttler>;

    /// The same on the calling thread, which it blocks.
    ///
    /// # Errors
    /// See [`acquire`](Self::acquire).
    fn acquire_blocking(&self) -> Result<Permit<&Throttler>, Rejection>;
}

impl Acquire for Throttler {
    #[inline]
    fn acquire(&self) -> Acquiring<&Throttler> {
        Acquiring::new(self)
    }

    fn acquire_owned(&self) -> Acquiring<Throttler> {
        Acquiring::new(self.clone())
    }

    #[inline]
    fn acquire_blocking(&self) -> Result<Permit<&Throttler>, Rejection> {
        let deadline = scope::deadline_on(self.time());
        if deadline.is_some_and(|deadline| deadline.is_over(self.time().now())) {
            return Err(self.refuse_late());
        }
        let mut bell = None;
        let wait = |_: &TimeSource| {
            let waker = Waker::from(bell.insert(Arc::new(Bell::default())).clone());
            Wait { deadline, waker }
        };
        match Throttler::enqueue(self, wait)? {
            Admission::Admitted(permit) => Ok(permit),
            Admission::Queued(waiter) => wait_for(waiter, &bell.unwrap_or_default()),
        }
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for surefoot_core::Throttler {}
}

/// A future that gives a permit; made by [`Acquire::acquire`]. It asks when it is first polled.
#[must_use = "it asks for nothing until it is awaited"]
pub struct Acquiring<B: Borrow<Throttler> = Throttler> {
    asks: Option<B>,
    waits: Option<Waiting<B>>,
}

impl<B: Borrow<Throttler>> Acquiring<B> {
    /// Of a throttler, by reference or with a handle to it.
    #[inline]
    pub fn new(throttler: B) -> Self {
        Self { asks: Some(throttler), waits: None }
    }

    /// Of one that has a claim already, and its first poll.
    #[cold]
    pub fn begin(
        claim: Claim<B>,
        cx: &mut Context<'_>,
    ) -> (Self, Poll<Result<Permit<B>, Rejection>>) {
        let mut acquiring = Self { asks: None, waits: None };
        let answer = acquiring.queue_up(claim, cx);
        (acquiring, answer)
    }
}

impl<B: Borrow<Throttler> + Unpin> Future for Acquiring<B> {
    type Output = Result<Permit<B>, Rejection>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(throttler) = self.asks.take() else { return self.poll_waiting(cx) };
        if scope::has_expired() {
            return Poll::Ready(Err(throttler.borrow().refuse_late()));
        }
        match Throttler::claim(throttler) {
            Ok(permit) => Poll::Ready(Ok(permit)),
            Err(claim) => self.queue_up(claim, cx),
        }
    }
}

impl<B: Borrow<Throttler>> Acquiring<B> {
    /// The first poll of one who has to wait.
    #[cold]
    #[inline(never)]
    fn queue_up(
        &mut self,
        claim: Claim<B>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Permit<B>, Rejection>> {
        let wait = |time: &TimeSource| {
            let (deadline, waker) = (scope::deadline_on(time), cx.waker().clone());
            Wait { deadline, waker }
        };
        match claim.enqueue(wait) {
            Ok(Admission::Admitted(permit)) => Poll::Ready(Ok(permit)),
            Ok(Admission::Queued(waiter)) => {
                // It has just asked: only the alarm is left to be set.
                let waiting = self.waits.insert(Waiting { waiter, alarm: Alarm::Unset });
                if waiting.poll_alarm(cx).is_ready() {
                    self.poll_waiting(cx)
                } else {
                    Poll::Pending
                }
            }
            Err(rejection) => Poll::Ready(Err(rejection)),
        }
    }

    #[cold]
    #[inline(never)]
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Result<Permit<B>, Rejection>> {
        let Some(waiting) = &mut self.waits else { return Poll::Pending };
        if let Some(permit) = waiting.waiter.poll_granted() {
            self.waits = None;
            return Poll::Ready(Ok(permit));
        }
        let answer = ready!(waiting.poll(cx));
        self.waits = None;
        Poll::Ready(answer)
    }
}

impl<B: Borrow<Throttler>> fmt::Debug for Acquiring<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquiring").field("waits", &self.waits.is_some()).finish_non_exhaustive()
    }
}

/// A place in the queue, and what tells that the wait was too long.
struct Waiting<B: Borrow<Throttler>> {
    waiter: Waiter<B>,
    alarm: Alarm,
}

enum Alarm {
    Unset,
    /// On the system's clock all who wait at a throttler share one timer, on the timer thread: it
    /// fires whatever becomes of the task that was first to need it, or of its runtime. To set one
    /// for each would cost more than all the rest of the waiting.
    Shared,
    /// On any other clock each has one of its own.
    Own(Pin<Box<Sleep>>),
}

impl<B: Borrow<Throttler>> Waiting<B> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Permit<B>, Rejection>> {
        let mut has_looked = false;
        loop {
            if let Poll::Ready(answer) = self.waiter.poll(cx) {
                return Poll::Ready(answer);
            }
            ready!(self.poll_alarm(cx));
            self.alarm = Alarm::Unset;
            if has_looked {
                cx.waker().wake_by_ref(); // a clock that is ahead of its own timers
                return Poll::Pending;
            }
            self.waiter.look();
            has_looked = true;
        }
    }

    fn keep_watch(&self) -> bool {
        self.waiter.is_watched() || time::keep_watch(|| self.waiter.watch())
    }

    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Alarm::Unset = self.alarm {
            let Some(throttler) = self.waiter.throttler() else { return Poll::Pending };
            self.alarm = match throttler.time() {
                TimeSource::System if self.keep_watch() => Alarm::Shared,
                time => Alarm::Own(Box::pin(Sleep::until(time, self.waiter.look_at()))),
            };
        }
        match &mut self.alarm {
            Alarm::Own(sleep) => sleep.as_mut().poll(cx),
            Alarm::Unset | Alarm::Shared => Poll::Pending,
        }
    }
}

/// Blocks the thread until there is an answer.
fn wait_for<B: Borrow<Throttler>>(
    mut waiter: Waiter<B>,
    bell: &Arc<Bell>,
) -> Result<Permit<B>, Rejection> {
    let waker = Waker::from(bell.clone());
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(answer) = waiter.poll(&mut cx) {
            return answer;
        }
        let (Some(throttler), at) = (waiter.throttler(), waiter.look_at()) else { continue };
        let is_due = match throttler.time() {
            TimeSource::System => {
                bell.wait_until(at);
                SystemClock.now() >= at
            }
            time => {
                let mut sleep = pin!(Sleep::until(time, at));
                let is_due = sleep.as_mut().poll(&mut cx).is_ready();
                if !is_due {
                    bell.wait_until(Timestamp::MAX);
                }
                is_due
            }
        };
        if is_due {
            waiter.look();
        }
    }
}

/// What a blocked thread listens for. Not `thread::park`, whose one token is everybody's.
#[derive(Default)]
struct Bell {
    has_rung: Mutex<bool>,
    rings: Condvar,
}

impl Bell {
    /// Until it rings, or the system's clock has reached `at`.
    fn wait_until(&self, at: Timestamp) {
        let has_rung = self.has_rung.lock().unwrap_or_else(PoisonError::into_inner);
        let left = at - SystemClock.now();
        let wait = self.rings.wait_timeout_while(has_rung, left, |has_rung| !*has_rung);
        *wait.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.has_rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.rings.notify_one();
    }
}
