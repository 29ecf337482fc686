//! The sliding log: exact, and the default.

use crate::time::nanos;
use std::time::Duration;

/// Units leave the window exactly `window` after they were taken.
///
/// **Bound:** in any window (t − W, t] never more than N, and N is reached. **Frees:** a unit at
/// exactly the instant its request leaves. **Memory:** 16 bytes for each instant at which
/// something was admitted within the window; the ring grows only as it is used.
///
/// The oldest exact method there is; the log of totals, which makes weights as cheap as calls, is
/// the one of a prefix sum.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlidingLog {
    window: u64,
}

impl SlidingLog {
    pub(super) fn new(window: Duration) -> Self {
        Self { window: nanos(window) }
    }

    #[inline]
    pub(super) fn leaves_at(self, taken_at: u64) -> u64 {
        taken_at.saturating_add(self.window)
    }
}
