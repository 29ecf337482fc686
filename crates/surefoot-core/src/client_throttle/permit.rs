//! What a call that was not held back reports its result to.

use std::borrow::Borrow;

use super::ClientThrottle;
use crate::{DropReason, Verdict};

/// Leave to make one call, to be closed with its verdict.
///
/// Handed out by [`ClientThrottle::admit`] and [`ClientThrottle::admit_borrowed`]. A permit that is
/// dropped says by [`DropReason::current`] why: our own deadline is a failure; a caller who walked
/// away, or a panic, says nothing about the callee's load.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once reports a cancelled call"]
pub struct Permit<T: Borrow<ClientThrottle> = ClientThrottle> {
    throttle: T,
    is_closed: bool,
}

impl<T: Borrow<ClientThrottle>> Permit<T> {
    #[inline]
    pub(super) fn new(throttle: T) -> Self {
        Self { throttle, is_closed: false }
    }

    /// The callee did its work.
    pub fn success(self) {
        self.settle(Verdict::Success);
    }

    /// The callee failed.
    pub fn failure(self) {
        self.settle(Verdict::Failure);
    }

    /// Closes the permit with a verdict worked out elsewhere.
    pub fn settle(mut self, verdict: Verdict) {
        self.close(verdict);
    }

    /// The same in place, for a permit that is part of something else. Only the first verdict
    /// counts.
    #[inline]
    pub fn close(&mut self, verdict: Verdict) {
        if !std::mem::replace(&mut self.is_closed, true) {
            self.throttle.borrow().record(verdict);
        }
    }

    /// Moves what this permit stands for into one with a handle of its own to the throttle, which
    /// can outlive a borrow. This one is closed then.
    pub fn hand_over(&mut self) -> Permit {
        let is_closed = std::mem::replace(&mut self.is_closed, true);
        Permit { throttle: self.throttle.borrow().clone(), is_closed }
    }

    /// Closes it if it is not, for the reason `why` gives: what a drop does, for hosts that know
    /// more about it than [`DropReason::current`].
    pub fn drop_for(&mut self, why: fn() -> DropReason) {
        if !self.is_closed {
            self.close(match why() {
                DropReason::Deadline => Verdict::Failure,
                DropReason::Cancelled | DropReason::Panic => Verdict::Cancelled,
            });
        }
    }
}

impl<T: Borrow<ClientThrottle>> Drop for Permit<T> {
    #[inline]
    fn drop(&mut self) {
        self.drop_for(DropReason::current);
    }
}
