//! One who waits for a permit.

use std::borrow::Borrow;
use std::fmt;
use std::task::{Context, Poll, Waker};

use super::queue::Slot;
use super::{Permit, Throttler, Watch};
use crate::{Deadline, Rejection, Timestamp};

/// How one who has to wait does so.
#[derive(Debug)]
pub struct Wait {
    /// Until when its caller has time, on the throttler's clock.
    pub deadline: Option<Deadline>,
    /// What to wake when there is an answer.
    pub waker: Waker,
}

/// What [`enqueue`](Throttler::enqueue) gives to who is not refused.
#[derive(Debug)]
pub enum Admission<B: Borrow<Throttler> = Throttler> {
    /// A permit was free.
    Admitted(Permit<B>),
    /// There is a place in the queue.
    Queued(Waiter<B>),
}

/// A place in the queue.
///
/// Core decides and the host waits: poll it when its waker is woken. That some have waited too long is
/// found out by looking: either each waiter has a timer, which is set for [`look_at`](Self::look_at) and
/// followed by [`look`](Self::look); or all of a throttler share one, the [`watch`](Self::watch).
///
/// **Cancellation.** Dropping it leaves the queue at once. A permit that was given meanwhile goes to
/// the next one.
#[must_use = "a waiter that is dropped leaves the queue"]
pub struct Waiter<B: Borrow<Throttler> = Throttler> {
    /// `None` once the answer was collected.
    place: Option<(B, Slot)>,
    leaves_at: Timestamp,
    look_at: Timestamp,
}

impl<B: Borrow<Throttler>> Waiter<B> {
    pub(super) fn new(throttler: B, slot: Slot, leaves_at: Timestamp, look_at: Timestamp) -> Self {
        Self { place: Some((throttler, slot)), leaves_at, look_at }
    }

    /// When it gives up, at the latest: its time in the queue is over, or its deadline has passed.
    pub fn leaves_at(&self) -> Timestamp {
        self.leaves_at
    }

    /// When there is something to be found out by looking.
    pub fn look_at(&self) -> Timestamp {
        self.look_at.min(self.leaves_at)
    }

    /// Sends away whoever has waited too long.
    pub fn look(&mut self) {
        if let Some((throttler, _)) = &self.place {
            self.look_at = throttler.borrow().machine.look_now().unwrap_or(Timestamp::MAX);
        }
    }

    /// The throttler; `None` once the answer was collected.
    pub fn throttler(&self) -> Option<&Throttler> {
        self.place.as_ref().map(|(throttler, _)| throttler.borrow())
    }

    /// Whether a timer is set that all who wait share, and early enough for this one.
    #[inline]
    pub fn is_watched(&self) -> bool {
        let throttler = self.place.as_ref().map(|(throttler, _)| throttler.borrow());
        throttler.is_some_and(|throttler| throttler.machine.is_watched(self.look_at))
    }

    /// The timer that all who wait share, if it is this one's part to set it.
    pub fn watch(&self) -> Option<Watch> {
        let (throttler, _) = self.place.as_ref()?;
        Watch::claim(&throttler.borrow().machine, self.look_at)
    }

    /// The permit, or why there will be none. While it waits, the last waker is woken when that
    /// changes. Not to be polled again after it was ready: it stays pending.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Permit<B>, Rejection>> {
        match self.poll_granted() {
            Some(permit) => Poll::Ready(Ok(permit)),
            None => self.poll_otherwise(cx),
        }
    }

    /// The permit, if it was given, without taking a lock. For hosts: otherwise
    /// [`poll`](Self::poll) has to be asked.
    #[inline(always)]
    pub fn poll_granted(&mut self) -> Option<Permit<B>> {
        let (throttler, slot) = self.place.as_ref()?;
        let grant = throttler.borrow().machine.collect(*slot)?;
        let (throttler, _) = self.place.take()?;
        Some(Permit::new(throttler, grant))
    }

    fn poll_otherwise(&mut self, cx: &mut Context<'_>) -> Poll<Result<Permit<B>, Rejection>> {
        let Some((throttler, slot)) = &self.place else { return Poll::Pending };
        let machine = &throttler.borrow().machine;
        match machine.look_up(*slot, self.leaves_at, cx.waker()) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(answer) => Poll::Ready(match (answer, self.place.take()) {
                (Ok(grant), Some((throttler, _))) => Ok(Permit::new(throttler, grant)),
                (Err(rejection), _) => Err(rejection),
                (Ok(_), None) => return Poll::Pending,
            }),
        }
    }
}

impl<B: Borrow<Throttler>> Drop for Waiter<B> {
    fn drop(&mut self) {
        if let Some((throttler, slot)) = self.place.take() {
            throttler.borrow().machine.leave(slot);
        }
    }
}

impl<B: Borrow<Throttler>> fmt::Debug for Waiter<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter").field("leaves_at", &self.leaves_at).finish_non_exhaustive()
    }
}
