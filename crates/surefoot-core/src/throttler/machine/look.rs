//! Looking who has waited too long, and when to look again.

use std::time::Duration;

use super::super::codel::Codel;
use super::super::queue::{Cause, Wakes};
use super::super::service::ServiceTimes;
use super::{Machine, State};
use crate::sync::atomic::Ordering;
use crate::sync::lock;
use crate::{Event, Timestamp};

/// Whoever is to be looked at later than this, after centuries, is never looked at.
const LATEST: u64 = u64::MAX / 2;

impl Machine {
    /// Sends away whoever has waited too long. Tells when to look again, if anybody waits.
    pub(in crate::throttler) fn look_now(&self) -> Option<Timestamp> {
        let now = self.time.now();
        let mut wakes = Wakes::default();
        let mut state = lock(&self.state);
        let told = state.look(now, &self.service);
        loop {
            let late = state.queue.oldest().find_map(|waiting| {
                let reason = self.is_late(&state, waiting.since, now)?;
                Some((waiting.slot, reason))
            });
            let Some((slot, reason)) = late else { break };
            self.send_away(&mut state, slot, Cause::Left { at: now, reason }, &mut wakes);
        }
        let next = self.next_look(&state);
        self.finish(state, &mut wakes);
        self.tell_standing(told, now);
        next
    }

    fn next_look(&self, state: &State) -> Option<Timestamp> {
        let oldest = state.queue.oldest().map(|waiting| waiting.since).min()?;
        Some(self.look_for(state.codel.as_ref(), oldest))
    }

    /// When to look for somebody who waits since then.
    pub(super) fn look_for(&self, codel: Option<&Codel>, since: Timestamp) -> Timestamp {
        let longest = codel.and_then(Codel::longest_wait).unwrap_or(Duration::MAX);
        let next = since + self.config.timeout.min(longest);
        codel.map_or(next, |codel| next.min(codel.next_look()))
    }

    /// Whether a timer is set for `at`, or earlier.
    #[inline]
    pub(in crate::throttler) fn is_watched(&self, at: Timestamp) -> bool {
        let watched = self.watched.load(Ordering::Acquire);
        watched != 0 && watched <= at.as_nanos()
    }

    /// Whether the host that asks has to set a timer for `at`, as none is set that early.
    pub(in crate::throttler) fn claim_watch(&self, at: Timestamp) -> bool {
        let at = at.as_nanos().max(1);
        if at > LATEST {
            return false;
        }
        let mut watched = self.watched.load(Ordering::Acquire);
        while watched == 0 || watched > at {
            match self.watched.compare_exchange(watched, at, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => watched = now,
            }
        }
        false
    }

    /// What a timer that was set for `at` has to do; and for when it is to be set again.
    pub(in crate::throttler) fn look(&self, at: Timestamp) -> Option<Timestamp> {
        // Before the lock: whoever queues up too late for this look finds that nobody watches.
        let (set, none) = (at.as_nanos().max(1), 0);
        let is_last =
            self.watched.compare_exchange(set, none, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        let next = self.look_now()?;
        // Otherwise an earlier timer has taken over.
        (is_last && self.claim_watch(next)).then_some(next)
    }

    pub(super) fn tell_standing(&self, told: Option<bool>, at: Timestamp) {
        if let Some(stands) = told {
            let policy = self.config.name.clone();
            self.events.send(&Event::QueueStanding { policy, at, stands });
        }
    }
}

impl State {
    pub(super) fn look(&mut self, now: Timestamp, service: &ServiceTimes) -> Option<bool> {
        let codel = self.codel.as_mut()?;
        let oldest = self.queue.oldest().map(|waiting| waiting.since).min();
        codel.look(now, oldest, service.median())
    }
}
