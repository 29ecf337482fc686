//! A call that found no permit free, before it has a place in the queue.

use std::borrow::Borrow;
use std::fmt;

use super::machine::Received;
use super::{Admission, Permit, Throttler, Wait, Waiter};
use crate::{Rejection, TimeSource};

/// A claim to a permit of a [`Throttler`], made by [`Throttler::claim`]. As long as it is held, the next
/// permit that returns is kept for whoever has a claim.
///
/// **Cancellation.** Dropping it withdraws the claim; a permit that has met it meanwhile goes to the next one.
#[must_use = "a claim that is dropped is withdrawn"]
pub struct Claim<B: Borrow<Throttler> = Throttler> {
    /// `None` once it is settled.
    throttler: Option<B>,
}

impl<B: Borrow<Throttler>> Claim<B> {
    #[inline(always)]
    pub(super) fn new(throttler: B) -> Self {
        Self { throttler: Some(throttler) }
    }

    /// Queues it up, unless it is refused or a permit has returned just now. `wait` is told the throttler's clock.
    ///
    /// # Errors
    /// See [`Throttler::enqueue`].
    pub fn enqueue(
        mut self,
        wait: impl FnOnce(&TimeSource) -> Wait,
    ) -> Result<Admission<B>, Rejection> {
        // A panic in `wait` finds the claim unsettled, and withdraws it.
        let wait = self.throttler.as_ref().map(|throttler| wait(throttler.borrow().time()));
        let Some(throttler) = self.throttler.take() else { unreachable!("it settles once") };
        let Throttler { machine, level } = throttler.borrow();
        match machine.receive(*level, wait)? {
            Received::Admitted(grant) => Ok(Admission::Admitted(Permit::new(throttler, grant))),
            Received::Queued { slot, leaves_at, look_at } => {
                Ok(Admission::Queued(Waiter::new(throttler, slot, leaves_at, look_at)))
            }
        }
    }
}

impl<B: Borrow<Throttler>> Drop for Claim<B> {
    fn drop(&mut self) {
        if let Some(throttler) = &self.throttler {
            throttler.borrow().machine.forgo();
        }
    }
}

impl<B: Borrow<Throttler>> fmt::Debug for Claim<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let throttler = self.throttler.as_ref().map(|throttler| throttler.borrow().name());
        f.debug_struct("Claim").field("throttler", &throttler).finish_non_exhaustive()
    }
}
