//! What becomes of one who waits.

use std::task::{Poll, Waker};

use super::super::LeftQueue;
use super::super::grant::Grant;
use super::super::queue::{Cause, Slot, Standing, Wakes};
use super::super::status::Counters;
use super::Machine;
use crate::sync::lock;
use crate::{Rejection, Timestamp};

impl Machine {
    /// The permit of a waiter who was given one.
    #[inline]
    pub(in crate::throttler) fn collect(&self, slot: Slot) -> Option<Grant> {
        self.answers.take(slot)
    }

    /// What the place has come to of a waiter who was given no permit a moment ago.
    pub(in crate::throttler) fn look_up(
        &self,
        slot: Slot,
        leaves_at: Timestamp,
        waker: &Waker,
    ) -> Poll<Result<Grant, Rejection>> {
        let mut state = lock(&self.state);
        let (standing, since) = state.queue.standing(slot);
        let cause = match standing {
            Standing::Refused(cause) => cause,
            Standing::Granted | Standing::Waiting => {
                // Under the lock nobody is given one meanwhile.
                if let Some(grant) = self.answers.take(slot) {
                    return Poll::Ready(Ok(grant));
                }
                let now = self.time.now();
                if now < leaves_at {
                    let known = state.queue.watch(slot, waker);
                    drop(state);
                    drop(known);
                    return Poll::Pending;
                }
                state.claims.withdraw(&self.word);
                Cause::Left { at: now, reason: self.why_late(since, now) }
            }
        };
        let left = state.queue.leave(slot);
        self.finish(state, &mut Wakes::default());
        drop(left);
        Poll::Ready(Err(self.rejection(cause, since)))
    }

    fn why_late(&self, since: Timestamp, now: Timestamp) -> LeftQueue {
        if now >= since + self.config.timeout { LeftQueue::Timeout } else { LeftQueue::Deadline }
    }

    /// A waiter gives up its place before it has collected an answer.
    pub(in crate::throttler) fn leave(&self, slot: Slot) {
        let mut state = lock(&self.state);
        let left = state.queue.leave(slot);
        match left.standing {
            Standing::Granted => {
                Counters::add(&self.counters.cancelled);
                drop(state);
                if let Some(grant) = self.answers.take(slot) {
                    self.return_permit(grant, self.time.now());
                }
            }
            Standing::Waiting => {
                Counters::add(&self.counters.cancelled);
                state.claims.withdraw(&self.word);
                self.finish(state, &mut Wakes::default());
            }
            Standing::Refused(cause) => {
                drop(state);
                drop(self.rejection(cause, Timestamp::ZERO)); // which counts it
            }
        }
        drop(left);
    }
}
