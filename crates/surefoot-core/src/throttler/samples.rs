//! What the calls of one window showed, for a limit that is adaptive.

use std::time::Duration;

use super::adaptive::Window;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::time::nanos;
use crate::{DropReason, Timestamp, Verdict};

/// Sums that every call adds to when it ends. Without a lock: a call that ends while a window does
/// may be counted in either.
#[derive(Debug)]
pub(super) struct Samples {
    succeeded: AtomicU64,
    latency: AtomicU64,
    drops: AtomicU64,
    max_in_flight: AtomicU32,
    /// The longest wait of those whose turn came in this window.
    longest_wait: AtomicU64,
    /// When the window may end, in nanoseconds.
    ends: AtomicU64,
}

impl Samples {
    pub(super) fn new(ends: Timestamp) -> Self {
        Self {
            succeeded: AtomicU64::new(0),
            latency: AtomicU64::new(0),
            drops: AtomicU64::new(0),
            max_in_flight: AtomicU32::new(0),
            longest_wait: AtomicU64::new(0),
            ends: AtomicU64::new(ends.as_nanos()),
        }
    }

    /// Notes a call that took `latency`, one of `in_flight`. What failed failed because of load, as
    /// far as anybody can tell here; what says nothing about the callee is left out.
    pub(super) fn note(&self, verdict: &Verdict, latency: Duration, in_flight: u32) {
        match verdict {
            Verdict::Success => {
                self.latency.fetch_add(nanos(latency), Ordering::Relaxed);
                self.succeeded.fetch_add(1, Ordering::Relaxed);
            }
            // Its time went by in the queue, and not in the callee.
            Verdict::Failure if self.waits_were_longer(latency) => return,
            Verdict::Failure | Verdict::Throttled { .. } => {
                self.drops.fetch_add(1, Ordering::Relaxed);
            }
            Verdict::Ignored | Verdict::Cancelled => return,
        }
        if in_flight > self.max_in_flight.load(Ordering::Relaxed) {
            self.max_in_flight.fetch_max(in_flight, Ordering::Relaxed);
        }
    }

    /// Notes how long somebody waited whose turn has come.
    pub(super) fn waited(&self, wait: Duration) {
        self.longest_wait.fetch_max(nanos(wait), Ordering::Relaxed);
    }

    /// Whether a call was ended by a deadline sooner after its turn came than turns took to come: a
    /// call on which the callee could spend less time than the queue had spent.
    fn waits_were_longer(&self, latency: Duration) -> bool {
        DropReason::scoped() == DropReason::Deadline
            && nanos(latency) < self.longest_wait.load(Ordering::Relaxed)
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        now.as_nanos() >= self.ends.load(Ordering::Relaxed)
    }

    /// Calls that have ended in this window.
    pub(super) fn outcomes(&self) -> u64 {
        let counted = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        counted(&self.succeeded).saturating_add(counted(&self.drops))
    }

    /// What there is so far; from here on it counts anew.
    pub(super) fn take(&self) -> Window {
        self.longest_wait.store(0, Ordering::Relaxed);
        let taken = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        Window {
            samples: taken(&self.succeeded),
            latency: Duration::from_nanos(taken(&self.latency)),
            drops: taken(&self.drops),
            max_in_flight: self.max_in_flight.swap(0, Ordering::Relaxed),
        }
    }

    pub(super) fn end_at(&self, ends: Timestamp) {
        self.ends.store(ends.as_nanos(), Ordering::Relaxed);
    }
}
