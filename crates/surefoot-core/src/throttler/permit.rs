//! What an admitted call holds while it runs.

use std::borrow::Borrow;
use std::fmt;

use super::Throttler;
use super::grant::Grant;
use crate::{DropReason, Verdict};

/// One of the calls that may run at once. Dropping it, on any thread and in any way, lets the next
/// one in.
///
/// How the call ended matters only where the limit is adaptive: say so with
/// [`settle`](Self::settle). Without a word, a call that ended is one that worked, unless one of our
/// own deadlines or a panic ended it ([`DropReason::current`]).
#[must_use = "a permit that is dropped at once protects nothing"]
pub struct Permit<B: Borrow<Throttler> = Throttler> {
    /// `None` once it is returned.
    throttler: Option<B>,
    grant: Grant,
}

impl<B: Borrow<Throttler>> Permit<B> {
    #[inline(always)]
    pub(super) fn new(throttler: B, grant: Grant) -> Self {
        Self { throttler: Some(throttler), grant }
    }

    /// Returns it, and tells how the call ended: the latency of a success, and whether it ended by
    /// a time limit of ours or was throttled by the callee, are what an adaptive limit goes by.
    #[inline(always)]
    pub fn settle(mut self, verdict: Verdict) {
        self.close(verdict);
    }

    /// The same in place, for a permit that is part of something else. Only the first time counts.
    #[inline(always)]
    pub fn close(&mut self, verdict: Verdict) {
        self.close_for(|| verdict);
    }

    /// The same, for hosts that work out the verdict only if it matters.
    #[inline(always)]
    pub fn close_for(&mut self, verdict: impl FnOnce() -> Verdict) {
        if self.is_closed() {
            return;
        }
        // While the permit is still held: if this panics, it is returned when it is dropped.
        let verdict = (!self.grant.is_untimed()).then(verdict);
        if let Some(throttler) = self.throttler.take() {
            throttler.borrow().machine.release(self.grant, verdict);
        }
    }

    /// Whether it is returned.
    #[inline(always)]
    pub fn is_closed(&self) -> bool {
        self.throttler.is_none()
    }

    /// Moves it out of where it is, unless it is returned. What stays there is one that is.
    #[inline(always)]
    pub fn take(&mut self) -> Option<Self> {
        Some(Self::new(self.throttler.take()?, self.grant))
    }

    /// Moves what this permit stands for into one with a handle of its own to the throttler, which
    /// can outlive a borrow. This one is closed then.
    pub fn hand_over(&mut self) -> Option<Permit> {
        let throttler = self.throttler.take()?;
        Some(Permit::new(throttler.borrow().clone(), self.grant))
    }
}

impl<B: Borrow<Throttler>> Drop for Permit<B> {
    #[inline(always)]
    fn drop(&mut self) {
        self.close_for(|| match DropReason::current() {
            DropReason::Cancelled => Verdict::Success,
            reason => reason.verdict(),
        });
    }
}

impl<B: Borrow<Throttler>> fmt::Debug for Permit<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let throttler = self.throttler.as_ref().map(|throttler| throttler.borrow().name());
        f.debug_struct("Permit").field("throttler", &throttler).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(surefoot_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_permit_is_taken_out_of_its_place_once() {
        let throttler = Throttler::builder("jobs").max_concurrent(1).build().unwrap();
        let mut place = throttler.try_acquire().unwrap();
        let taken = place.take().unwrap();
        assert!(place.is_closed() && place.take().is_none());
        drop(place);
        assert!(throttler.try_acquire().is_err(), "the one that was taken is held");
        drop(taken);
        assert!(throttler.try_acquire().is_ok());
    }
}
