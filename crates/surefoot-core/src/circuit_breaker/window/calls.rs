//! The last N calls: trips on a share of failures, or of slow calls, among them.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Call, Counts, reaches};

/// A window over the last `size` calls that remembers only the places of failed and slow ones.
///
/// The place of a call is its number since the breaker closed; what lies `size` or more before
/// the latest has left. A decision costs the same whatever the history; memory is 8 bytes for
/// each failed and for each slow call in the window.
#[derive(Debug)]
pub(in crate::circuit_breaker) struct CallWindow {
    judged: Judged,
    rate: f64,
    size: u64,
    min_calls: u64,
    /// Whether the share has been looked at since the window last held too few calls for that.
    rate_known: bool,
    /// All failures since the breaker closed, in the window or not.
    failures_ever: u64,
    failed: VecDeque<u64>,
    /// Places of slow calls; empty where only failures are judged.
    slow: VecDeque<u64>,
}

/// Which calls the share is taken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    Failures,
    /// Calls that took this long or longer, failed or not.
    SlowerThan(Duration),
}

impl CallWindow {
    pub(super) fn new(judged: Judged, rate: f64, size: u32, min_calls: u32) -> Self {
        Self {
            judged,
            rate,
            size: size.into(),
            min_calls: min_calls.into(),
            rate_known: false,
            failures_ever: 0,
            failed: VecDeque::new(),
            slow: VecDeque::new(),
        }
    }

    pub(super) fn clear(&mut self) {
        self.rate_known = false;
        self.failures_ever = 0;
        self.failed.clear();
        self.slow.clear();
    }

    pub(super) fn inherit(&mut self, earlier: &mut Self, successes: u64) -> bool {
        let judges_alike = self.slow_after().is_some() == earlier.slow_after().is_some();
        if judges_alike {
            self.failures_ever = earlier.failures_ever;
            self.failed = std::mem::take(&mut earlier.failed);
            self.slow = std::mem::take(&mut earlier.slow);
            let calls = self.calls_ever(successes);
            self.forget_before(calls);
            self.rate_known = calls.min(self.size) >= self.min_calls;
        }
        judges_alike
    }

    pub(super) fn slow_after(&self) -> Option<Duration> {
        match self.judged {
            Judged::Failures => None,
            Judged::SlowerThan(limit) => Some(limit),
        }
    }

    pub(super) fn record(&mut self, call: Call) -> bool {
        self.failures_ever += u64::from(call.failed);
        let place = self.calls_ever(call.successes);
        if call.failed {
            self.failed.push_back(place);
        }
        if self.slow_after().is_some_and(|limit| call.took >= limit) {
            self.slow.push_back(place);
        }
        self.forget_before(place);
        let calls = place.min(self.size);
        self.rate_known = calls >= self.min_calls;
        self.rate_known && reaches(self.bad().len() as u64, calls, self.rate)
    }

    /// Successes only ever lower the share, but for one moment: when they complete `min_calls`,
    /// the share so far is judged for the first time.
    pub(super) fn trips_by_count(&self, successes: u64) -> bool {
        !self.rate_known
            && self.calls_ever(successes) >= self.min_calls
            && reaches(self.bad().len() as u64, self.min_calls, self.rate)
    }

    pub(super) fn is_watchful(&self, successes: u64) -> bool {
        let calls = self.calls_ever(successes).min(self.size);
        let bad = self.bad().len() as u64;
        bad > 0 && (calls < self.min_calls || reaches(bad, calls, self.rate))
    }

    pub(super) fn counts(&self, successes: u64) -> Counts {
        let calls = self.calls_ever(successes);
        let left = calls.saturating_sub(self.size);
        let failures =
            (self.failed.len() - self.failed.partition_point(|place| *place <= left)) as u64;
        Counts { failures, successes: calls.min(self.size).saturating_sub(failures) }
    }

    /// Forgets what is not among the last calls once there are `calls`.
    fn forget_before(&mut self, calls: u64) {
        let left = calls.saturating_sub(self.size);
        for places in [&mut self.failed, &mut self.slow] {
            while places.front().is_some_and(|place| *place <= left) {
                places.pop_front();
            }
        }
    }

    fn calls_ever(&self, successes: u64) -> u64 {
        successes + self.failures_ever
    }

    /// Places of the calls that count against the callee.
    fn bad(&self) -> &VecDeque<u64> {
        match self.judged {
            Judged::Failures => &self.failed,
            Judged::SlowerThan(_) => &self.slow,
        }
    }
}
