//! What is taken and when it leaves: the one memory of all algorithms that count in windows.
//!
//! They differ only in when a unit leaves ([`Leaving`]). A ledger is a ring of (when it leaves,
//! running total), in order of both. How much has left is a look at the front; when enough will
//! have left for `n` more is a search in the totals. Neither depends on how long the history is,
//! but for the search's logarithm.

use std::collections::VecDeque;

use super::bucket_ring::BucketRing;
use super::fixed_window::FixedWindow;
use super::machine::{Machine, Taken};
use super::sliding_log::SlidingLog;

/// A limit on units taken and not yet left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windowed {
    pub(super) limit: u64,
    pub(super) leaving: Leaving,
}

/// When a unit leaves that was taken at some time. Never decreases with that time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Leaving {
    Sliding(SlidingLog),
    Buckets(BucketRing),
    Fixed(FixedWindow),
}

impl Leaving {
    #[inline]
    fn leaves_at(self, taken_at: u64) -> u64 {
        match self {
            Self::Sliding(log) => log.leaves_at(taken_at),
            Self::Buckets(ring) => ring.leaves_at(taken_at),
            Self::Fixed(window) => window.leaves_at(taken_at),
        }
    }
}

/// What was taken and has not left, oldest first.
///
/// Totals count all units ever taken and wrap; only their differences mean something.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: VecDeque<Entry>,
    /// The total when the last unit left that has left.
    left: u64,
    /// The total now: that of the last entry, if there is one.
    taken: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    leaves_at: u64,
    /// The total once these units were taken.
    total: u64,
}

/// The most that can be taken and not left, debts included: far from where totals wrap.
const LIVE_MOST: u64 = 1 << 62;

impl Ledger {
    #[inline]
    fn live(&self) -> u64 {
        self.taken.wrapping_sub(self.left)
    }

    /// Whether one more entry needs no larger ring.
    #[inline]
    fn has_room(&self) -> bool {
        self.entries.len() < self.entries.capacity()
    }

    #[inline]
    fn expire(&mut self, now: u64) {
        // Usually as many leave as come, so this is short.
        for _ in 0..2 {
            match self.entries.front() {
                Some(oldest) if oldest.leaves_at <= now => self.left = oldest.total,
                _ => return,
            }
            self.entries.pop_front();
        }
        self.expire_many(now);
    }

    /// Drops any number in a time that does not depend on it.
    #[inline(never)]
    fn expire_many(&mut self, now: u64) {
        let gone = match self.entries.back() {
            Some(newest) if newest.leaves_at <= now => self.entries.len(),
            _ => self.entries.partition_point(|entry| entry.leaves_at <= now),
        };
        if let Some(last) = gone.checked_sub(1).and_then(|last| self.entries.get(last)) {
            self.left = last.total;
            self.entries.drain(..gone);
        }
    }

    /// When `units` more of those taken will have left.
    fn left_by(&self, units: u64) -> u64 {
        let left = self.left;
        let at = self.entries.partition_point(|entry| entry.total.wrapping_sub(left) < units);
        self.entries.get(at).map_or(0, |entry| entry.leaves_at)
    }
}

impl Machine for Windowed {
    type Cell = Ledger;

    #[inline]
    fn earliest(&self, ledger: &mut Ledger, n: u64, now: u64, behind: u64) -> Option<u64> {
        if n > self.limit {
            return None;
        }
        let at = now.max(behind);
        // What has left is looked for only when its place is needed: most calls fit beside it.
        if ledger.live().saturating_add(n) <= self.limit.min(LIVE_MOST) && ledger.has_room() {
            return Some(at);
        }
        ledger.expire(now);
        match ledger.live().saturating_add(n).saturating_sub(self.limit) {
            0 => Some(at),
            too_many => Some(at.max(ledger.left_by(too_many))),
        }
    }

    #[inline]
    fn take(&self, ledger: &mut Ledger, n: u64, at: u64) -> Taken {
        let mut leaves_at = self.leaving.leaves_at(at);
        let n = n.min(LIVE_MOST - ledger.live().min(LIVE_MOST));
        ledger.taken = ledger.taken.wrapping_add(n);
        match ledger.entries.back_mut() {
            // Of the same instant, or of a clock that went backwards: those leave no earlier.
            Some(newest) if newest.leaves_at >= leaves_at => {
                newest.total = ledger.taken;
                leaves_at = newest.leaves_at;
            }
            _ => ledger.entries.push_back(Entry { leaves_at, total: ledger.taken }),
        }
        Taken { mark: leaves_at, span: n }
    }

    fn take_until(&self, ledger: &mut Ledger, n: u64, now: u64, until: u64) {
        ledger.expire(now);
        let leaves_at = self.leaving.leaves_at(now).min(until);
        let n = n.min(LIVE_MOST - ledger.live().min(LIVE_MOST));
        if n == 0 || leaves_at <= now {
            return;
        }
        let at = ledger.entries.partition_point(|entry| entry.leaves_at < leaves_at);
        if ledger.entries.get(at).is_none_or(|entry| entry.leaves_at > leaves_at) {
            let before = at.checked_sub(1).and_then(|before| ledger.entries.get(before));
            let total = before.map_or(ledger.left, |entry| entry.total);
            ledger.entries.insert(at, Entry { leaves_at, total });
        }
        for entry in ledger.entries.range_mut(at..) {
            entry.total = entry.total.wrapping_add(n);
        }
        ledger.taken = ledger.taken.wrapping_add(n);
    }

    fn untake(&self, ledger: &mut Ledger, span: u64) {
        ledger.taken = ledger.taken.wrapping_sub(span.min(ledger.live()));
        // All of it was for later, which after a pause need not be full.
        if ledger.live() == 0 {
            ledger.entries.clear();
        }
        let (taken, left) = (ledger.taken.wrapping_sub(ledger.left), ledger.left);
        let kept = ledger.entries.partition_point(|e| e.total.wrapping_sub(left) < taken);
        // The entry in which the last unit kept stands; it may have held later ones too.
        ledger.entries.truncate(kept + 1);
        if let Some(newest) = ledger.entries.back_mut() {
            newest.total = ledger.taken;
        }
    }

    fn give_back(&self, ledger: &mut Ledger, mark: u64, n: u64, now: u64) -> u64 {
        if mark <= now {
            return 0;
        }
        let at = ledger.entries.partition_point(|entry| entry.leaves_at < mark);
        let before = match at.checked_sub(1).and_then(|before| ledger.entries.get(before)) {
            Some(entry) => entry.total,
            None => ledger.left,
        };
        let Some(entry) = ledger.entries.get(at).filter(|entry| entry.leaves_at == mark) else {
            return 0;
        };
        let units = entry.total.wrapping_sub(before);
        let returned = n.min(units);
        for entry in ledger.entries.range_mut(at..) {
            entry.total = entry.total.wrapping_sub(returned);
        }
        ledger.taken = ledger.taken.wrapping_sub(returned);
        if returned == units {
            ledger.entries.remove(at);
        }
        0 // Everything leaves when it would have left anyway.
    }

    fn used(&self, ledger: &mut Ledger, now: u64) -> u64 {
        ledger.expire(now);
        ledger.live()
    }

    fn remaining(&self, ledger: &mut Ledger, now: u64) -> u64 {
        self.limit.saturating_sub(self.used(ledger, now))
    }

    fn idle_at(&self, ledger: &Ledger) -> u64 {
        ledger.entries.back().map_or(0, |newest| newest.leaves_at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_ring_is_no_larger_than_what_is_in_the_window_however_long_it_is_not_looked_through() {
        let log = SlidingLog::new(Duration::from_nanos(10));
        let machine = Windowed { limit: u64::MAX, leaving: Leaving::Sliding(log) };
        let mut ledger = Ledger::default();
        for now in 0..10_000 {
            assert!(machine.try_take(&mut ledger, 1, now));
            assert!(ledger.entries.capacity() <= 16);
        }
        assert_eq!(machine.used(&mut ledger, 9_999), 10);
    }
}
