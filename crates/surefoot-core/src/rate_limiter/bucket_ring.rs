//! The bucket ring: the log in strokes of W/k, for large limits.

use crate::time::nanos;
use std::time::Duration;

/// Units leave the window when the bucket in which they were taken has left it whole.
///
/// **Bound:** in any window never more than N, because the oldest bucket counts whole until its
/// last instant has left. **Frees:** up to W/k late (k is `buckets`); what is admitted at a steady
/// rate is therefore between N·k/(k+1) and N in each window. **Memory:** 16 bytes for each of at
/// most k+1 buckets, whatever N is.
///
/// The usual sub-window counters interpolate the oldest bucket instead, and admit up to 2N−2 in a
/// window, however many buckets there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct BucketRing {
    window: u64,
    width: u64,
    origin: u64,
}

impl BucketRing {
    pub(super) fn new(window: Duration, buckets: u32, origin: u64) -> Self {
        let window = nanos(window);
        Self { window, width: window.div_ceil(u64::from(buckets.max(1))).max(1), origin }
    }

    #[inline]
    pub(super) fn leaves_at(self, taken_at: u64) -> u64 {
        let since = taken_at.saturating_sub(self.origin);
        let bucket_end = (since / self.width + 1).saturating_mul(self.width);
        self.origin.saturating_add(bucket_end).saturating_add(self.window)
    }
}
