//! What a throttler tells about itself.

use std::time::Duration;

use super::LeftQueue;
use crate::Name;
use crate::sync::atomic::{AtomicU64, Ordering};

/// A throttler at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ThrottlerStatus {
    /// Its name.
    pub name: Name,
    /// Calls that may run at once now: as configured, resized, or found by the adaptive limit.
    pub max_concurrent: u32,
    /// Calls that run. More than `max_concurrent` for a while after that was lowered.
    pub in_flight: u32,
    /// Places in the queue.
    pub queue_size: u32,
    /// Calls that wait.
    pub queue_depth: u32,
    /// Whether the queue stands, so that waits are cut short; only with `codel`.
    pub stands: bool,
    /// Calls that run beside those, with permits that other compartments of the bulkhead lent.
    pub borrowed: u32,
    /// Of `in_flight`, those that other compartments have borrowed.
    pub lent: u32,
    /// Whether it was closed.
    pub closed: bool,
    /// How long a call is expected to hold its permit; `None` before that is known.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::duration_text::option"))]
    pub service_time: Option<Duration>,
    /// Counts since it was made.
    pub totals: ThrottlerTotals,
}

/// Counts of calls that were not simply let in. (Those that were are not counted: it would cost
/// every one of them as much again.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ThrottlerTotals {
    /// Had to wait.
    pub queued: u64,
    /// Refused because the queue was full, or because they would not wait.
    pub queue_full: u64,
    /// Refused after `timeout` in the queue.
    pub timed_out: u64,
    /// Sent away early because the queue stood.
    pub over_delayed: u64,
    /// Refused because they would not have been done by their deadline.
    pub hopeless: u64,
    /// Refused while they waited, for a call of a higher priority.
    pub displaced: u64,
    /// Refused because it was closed.
    pub closed: u64,
    /// Walked away from the queue.
    pub cancelled: u64,
}

impl ThrottlerTotals {
    /// All that were refused.
    pub fn rejected(&self) -> u64 {
        self.queue_full
            + self.timed_out
            + self.over_delayed
            + self.hopeless
            + self.displaced
            + self.closed
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) queued: AtomicU64,
    pub(super) queue_full: AtomicU64,
    timed_out: AtomicU64,
    over_delayed: AtomicU64,
    hopeless: AtomicU64,
    displaced: AtomicU64,
    pub(super) closed: AtomicU64,
    pub(super) cancelled: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The same for one that is counted under a lock.
    pub(super) fn add_alone(counter: &AtomicU64) {
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    pub(super) fn left(&self, reason: LeftQueue) -> &AtomicU64 {
        match reason {
            LeftQueue::Timeout => &self.timed_out,
            LeftQueue::StandingQueue => &self.over_delayed,
            LeftQueue::Deadline => &self.hopeless,
            LeftQueue::Displaced => &self.displaced,
        }
    }

    pub(super) fn totals(&self) -> ThrottlerTotals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ThrottlerTotals {
            queued: read(&self.queued),
            queue_full: read(&self.queue_full),
            timed_out: read(&self.timed_out),
            over_delayed: read(&self.over_delayed),
            hopeless: read(&self.hopeless),
            displaced: read(&self.displaced),
            closed: read(&self.closed),
            cancelled: read(&self.cancelled),
        }
    }
}
