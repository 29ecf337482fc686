//! Those outside the queue who want to know that a permit is back: who waits until all are home, and
//! the compartments that may borrow it.

use std::task::{Poll, Waker};

use super::super::queue::Wakes;
use super::super::word::Flag;
use super::Machine;
use crate::sync::lock;

impl Machine {
    /// Ready when every permit is home; until then `waker` is woken for that.
    pub(in crate::throttler) fn poll_drained(
        &self,
        id: &mut Option<u64>,
        waker: &Waker,
    ) -> Poll<()> {
        let waker = waker.clone();
        let mut state = lock(&self.state);
        // The flag first: a permit that returns after this look then brings its holder here.
        self.word.raise(Flag::Watched);
        if self.is_drained(&state) {
            self.finish(state, &mut Wakes::default());
            return Poll::Ready(());
        }
        let known = state.drains.watch(id, waker);
        drop(state);
        drop(known);
        Poll::Pending
    }

    pub(in crate::throttler) fn leave_drain(&self, id: u64) {
        let known = lock(&self.state).drains.leave(id);
        drop(known);
    }

    pub(super) fn notice_if_watched(&self) {
        if self.word.load().has(Flag::Watched) {
            self.notice();
        }
    }

    /// A permit has returned, and somebody outside the queue may want to know: those who wait until
    /// all are home, and the compartments that may borrow it.
    #[cold]
    pub(super) fn notice(&self) {
        // Down before asking who wants to know, as they raise it themselves, and up before looking: a
        // permit that returns beside this look is noticed as well.
        self.word.lower(Flag::Watched);
        let still_drains = !lock(&self.state).drains.is_empty();
        if still_drains || self.fellowship.others_wait(self) {
            self.word.raise(Flag::Watched);
        }
        self.finish(lock(&self.state), &mut Wakes::default());
        self.fellowship.offer(self);
    }

    /// Has those that may lend a permit tell when they can; tells whether there are any.
    pub(super) fn watch_fellows(&self) -> bool {
        self.fellowship.lenders(self, |lender| lender.word.raise(Flag::Watched))
    }

    /// Gives those who wait what others can spare.
    pub(in crate::throttler) fn serve_from_fellows(&self) {
        self.serve_all(lock(&self.state), self.time.now());
    }

    /// A permit to be lent, if more than `reserve` are free.
    pub(in crate::throttler) fn lend_above(&self, reserve: u32) -> bool {
        self.word.take_above(reserve)
    }
}
