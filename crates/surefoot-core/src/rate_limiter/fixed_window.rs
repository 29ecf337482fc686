//! The fixed window: one counter, and its well-known flaw.

use crate::time::nanos;
use std::time::Duration;

/// Units leave when the window in which they were taken ends. Windows begin with the limiter.
///
/// **Bound:** 2N in a sliding window of the same length: N at the end of one window and N at the
/// beginning of the next. **Frees:** all at once, at the boundary. **Memory:** one entry of 16
/// bytes.
///
/// Choose it to mirror a callee that counts like this, and nothing else.
#[derive(Clone, Copy, Debug)]
pub(super) struct FixedWindow {
    window: u64,
    origin: u64,
}

impl FixedWindow {
    pub(super) fn new(window: Duration, origin: u64) -> Self {
        Self { window: nanos(window).max(1), origin }
    }

    #[inline]
    pub(super) fn leaves_at(self, taken_at: u64) -> u64 {
        let since = taken_at.saturating_sub(self.origin);
        let end = (since / self.window + 1).saturating_mul(self.window);
        self.origin.saturating_add(end)
    }
}
