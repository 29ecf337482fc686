//! Another limit, and the end.

use super::super::config::PERMITS_MOST;
use super::super::queue::{Cause, Wakes};
use super::super::samples::Samples;
use super::{Machine, State};
use crate::sync::atomic::Ordering;
use crate::sync::{MutexGuard, lock};
use crate::{Event, Timestamp};

impl Machine {
    pub(in crate::throttler) fn resize(&self, limit: u32) {
        self.set_limit(lock(&self.state), limit);
    }

    pub(super) fn end_window(&self, samples: &Samples, now: Timestamp) {
        let mut state = lock(&self.state);
        let Some(adaptive) = &mut state.adaptive else { return };
        if adaptive.is_over(samples.outcomes(), now) {
            let limit = adaptive.end_window(&samples.take(), now);
            samples.end_at(adaptive.window_ends());
            self.set_limit(state, limit.min(PERMITS_MOST));
        }
    }

    fn set_limit(&self, mut state: MutexGuard<'_, State>, limit: u32) {
        let before = self.limit();
        if before == limit {
            return;
        }
        self.limit.store(limit, Ordering::Release);
        if !state.is_closed {
            if limit > before {
                state.claims.raise(&self.word, limit - before);
            } else {
                state.claims.lower(&self.word, before - limit);
            }
        }
        let at = self.time.now();
        self.serve_all(state, at);
        self.notice_if_watched();
        let policy = self.config.name.clone();
        self.events.send(&Event::LimitChanged { policy, at, from: before, to: limit });
    }

    pub(in crate::throttler) fn close(&self) {
        let mut wakes = Wakes::default();
        let mut state = lock(&self.state);
        if !std::mem::replace(&mut state.is_closed, true) {
            state.claims.lower(&self.word, self.limit());
        }
        while let Some(next) = state.queue.first() {
            self.send_away(&mut state, next.slot, Cause::Closed, &mut wakes);
        }
        self.finish(state, &mut wakes);
    }
}
