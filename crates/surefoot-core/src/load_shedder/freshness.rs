//! Whether a sample still tells anything.

use std::time::Duration;

use crate::Timestamp;
use crate::sync::atomic::{AtomicU64, Ordering};

/// When a signal was last sampled. What is older than four intervals is as good as unknown.
#[derive(Debug)]
pub(super) struct Freshness {
    stale_after: Duration,
    /// In nanoseconds on the shedder's clock; [`NEVER`] before the first sample.
    sampled_at: AtomicU64,
}

const NEVER: u64 = u64::MAX;
const INTERVALS: u32 = 4;

impl Freshness {
    pub(super) fn new(interval: Duration) -> Self {
        let stale_after = interval.saturating_mul(INTERVALS);
        Self { stale_after, sampled_at: AtomicU64::new(NEVER) }
    }

    /// The age up to which a sample counts.
    pub(super) fn stale_after(&self) -> Duration {
        self.stale_after
    }

    /// Notes a sample.
    pub(super) fn note(&self, now: Timestamp) {
        self.sampled_at.store(now.as_nanos().min(NEVER - 1), Ordering::Relaxed);
    }

    /// Whether there is a sample, and it is at most four intervals old.
    pub(super) fn is_fresh(&self, now: Timestamp) -> bool {
        let sampled_at = self.sampled_at.load(Ordering::Relaxed);
        sampled_at != NEVER && now - Timestamp::from_nanos(sampled_at) <= self.stale_after
    }
}

#[cfg(all(test, not(surefoot_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_sample_counts_for_four_intervals() {
        let at = Timestamp::from_nanos;
        let freshness = Freshness::new(Duration::from_nanos(10));
        assert!(!freshness.is_fresh(at(0)));
        freshness.note(at(5));
        assert!(freshness.is_fresh(at(5)));
        assert!(freshness.is_fresh(at(45)));
        assert!(!freshness.is_fresh(at(46)));
        // A clock that goes backwards makes nothing older.
        assert!(freshness.is_fresh(at(0)));
    }
}
