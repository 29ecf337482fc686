//! What the machine says about itself, without changing.

use super::super::status::ThrottlerStatus;
use super::{Machine, State};
use crate::sync::atomic::Ordering;
use crate::sync::lock;

impl Machine {
    pub(in crate::throttler) fn is_closed(&self) -> bool {
        lock(&self.state).is_closed
    }

    pub(in crate::throttler) fn limit(&self) -> u32 {
        self.limit.load(Ordering::Acquire)
    }

    pub(in crate::throttler) fn in_flight(&self) -> u32 {
        self.out(&lock(&self.state))
    }

    pub(in crate::throttler) fn queue_depth(&self) -> u32 {
        lock(&self.state).queue.waiting()
    }

    pub(in crate::throttler) fn status(&self) -> ThrottlerStatus {
        let (borrowed, lent) = self.fellowship.counts();
        let state = lock(&self.state);
        ThrottlerStatus {
            name: self.config.name.clone(),
            max_concurrent: self.limit(),
            in_flight: self.out(&state),
            queue_size: self.config.queue_size,
            queue_depth: state.queue.waiting(),
            stands: state.codel.as_ref().is_some_and(|codel| codel.longest_wait().is_some()),
            borrowed,
            lent,
            closed: state.is_closed,
            service_time: self.expected(),
            totals: self.counters.totals(),
        }
    }

    pub(super) fn out(&self, state: &State) -> u32 {
        let limit = if state.is_closed { 0 } else { self.limit() };
        state.claims.out(&self.word, limit)
    }

    /// Whether no call runs, with a permit of its own or a borrowed one.
    pub(super) fn is_drained(&self, state: &State) -> bool {
        self.out(state) == 0 && self.fellowship.counts().0 == 0
    }
}
