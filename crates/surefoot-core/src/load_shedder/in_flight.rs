//! Calls under way, counted exactly.

use super::steps::Steps;
use crate::sync::atomic::{AtomicU32, Ordering};

/// How many calls are under way, and how many may be when one more of each level is admitted.
#[derive(Debug)]
pub(super) struct InFlight {
    capacity: u32,
    limits: Box<[u32]>,
    calls: AtomicU32,
}

impl InFlight {
    pub(super) fn new(capacity: u32, steps: &Steps) -> Self {
        Self { capacity, limits: steps.limits(capacity), calls: AtomicU32::new(0) }
    }

    pub(super) fn capacity(&self) -> u32 {
        self.capacity
    }

    pub(super) fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Counts a call of `level`, unless as many are under way as its limit allows: then it gives
    /// the load. One step looks and counts, so the limit holds whoever else is counting.
    #[inline]
    pub(super) fn enter(&self, level: usize) -> Result<(), f32> {
        let limit = self.limits[level];
        // Nothing but the count itself is shared through it, so no ordering is needed.
        self.calls
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |calls| {
                (calls < limit).then(|| calls + 1)
            })
            .map(drop)
            .map_err(|calls| self.share(calls))
    }

    /// Counts a call whatever the limit is.
    pub(super) fn enter_anyway(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn leave(&self) {
        self.calls.fetch_sub(1, Ordering::Relaxed);
    }

    /// What [`enter`](Self::enter) would say.
    pub(super) fn look(&self, level: usize) -> Result<(), f32> {
        let calls = self.calls();
        if calls < self.limits[level] { Ok(()) } else { Err(self.share(calls)) }
    }

    /// `calls` as a share of the capacity.
    pub(super) fn share(&self, calls: u32) -> f32 {
        #[expect(clippy::cast_possible_truncation, reason = "shown to people, not judged by")]
        let share = (f64::from(calls) / f64::from(self.capacity)) as f32;
        share
    }
}
