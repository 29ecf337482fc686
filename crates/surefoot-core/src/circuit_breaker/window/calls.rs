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
    /// Calls before the window begins: those that a smaller window had forgotten already.
    begins_after: u64,
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
            begins_after: 0,
            failures_ever: 0,
            failed: VecDeque::new(),
            slow: VecDeque::new(),
        }
    }

    pub(super) fn clear(&mut self) {
        self.rate_known = false;
        self.begins_after = 0;
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
            let ever = self.calls_ever(successes);
            self.begins_after = earlier.begins_after.max(ever.saturating_sub(earlier.size));
            self.forget_before(ever);
            self.rate_known = self.calls(ever) >= self.min_calls;
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
        let calls = self.calls(place);
        self.rate_known = calls >= self.min_calls;
        self.rate_known && reaches(self.bad().len() as u64, calls, self.rate)
    }

    /// Successes only ever lower the share, but for one moment: when they complete `min_calls`,
    /// the share so far is judged for the first time.
    pub(super) fn trips_by_count(&self, successes: u64) -> bool {
        !self.rate_known
            && self.calls(self.calls_ever(successes)) >= self.min_calls
            && reaches(self.bad().len() as u64, self.min_calls, self.rate)
    }

    pub(super) fn is_watchful(&self, successes: u64) -> bool {
        let calls = self.calls(self.calls_ever(successes));
        let bad = self.bad().len() as u64;
        bad > 0 && (calls < self.min_calls || reaches(bad, calls, self.rate))
    }

    pub(super) fn counts(&self, successes: u64) -> Counts {
        let ever = self.calls_ever(successes);
        let left = self.left(ever);
        let failures =
            (self.failed.len() - self.failed.partition_point(|place| *place <= left)) as u64;
        Counts { failures, successes: self.calls(ever).saturating_sub(failures) }
    }

    /// The last place that is no longer in the window once there were `ever` calls.
    fn left(&self, ever: u64) -> u64 {
        ever.saturating_sub(self.size).max(self.begins_after)
    }

    /// How many calls the window holds once there were `ever`.
    fn calls(&self, ever: u64) -> u64 {
        ever.saturating_sub(self.left(ever))
    }

    /// Forgets what is not in the window once there were `ever` calls.
    fn forget_before(&mut self, ever: u64) {
        let left = self.left(ever);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    fn record(window: &mut CallWindow, failed: bool, successes: u64) -> bool {
        window.record(Call { at: Timestamp::ZERO, failed, took: Duration::ZERO, successes })
    }

    #[test]
    fn a_window_that_grows_does_not_take_forgotten_failures_for_successes() {
        let mut small = CallWindow::new(Judged::Failures, 1.0, 2, 2);
        for (failed, successes) in [(true, 0), (false, 1), (true, 1), (false, 2), (true, 2)] {
            record(&mut small, failed, successes);
        }
        let mut large = CallWindow::new(Judged::Failures, 1.0, 4, 2);
        assert!(large.inherit(&mut small, 2));
        assert_eq!(large.counts(2), Counts { failures: 1, successes: 1 });
        record(&mut large, true, 2);
        assert_eq!(large.counts(2), Counts { failures: 2, successes: 1 });
    }

    #[test]
    fn a_window_that_shrinks_forgets_at_once() {
        let mut large = CallWindow::new(Judged::Failures, 0.5, 100, 100);
        for _ in 0..30 {
            record(&mut large, true, 0);
        }
        let mut small = CallWindow::new(Judged::Failures, 0.5, 10, 10);
        assert!(small.inherit(&mut large, 30));
        assert_eq!(small.counts(30), Counts { failures: 0, successes: 10 });
        assert!(!record(&mut small, false, 31));
    }

    /// The share is two in four or more of them. Until there are four calls, and from the share on,
    /// a success may decide, or be decided by: it is shown to the window.
    #[test]
    fn a_success_matters_only_beside_failures_that_could_trip() {
        for (failures, successes, watchful) in [
            (0, 0, false),
            (0, 9, false),
            (1, 0, true),
            (1, 2, true),
            (1, 3, false),
            (2, 2, true),
            (2, 3, false),
        ] {
            let mut window = CallWindow::new(Judged::Failures, 0.5, 100, 4);
            (0..failures).for_each(|_| _ = record(&mut window, true, successes));
            let told = window.is_watchful(successes);
            assert_eq!(told, watchful, "{failures} failures, {successes} successes");
        }
    }

    #[test]
    fn counted_successes_trip_by_completing_the_minimum_and_never_later() {
        let mut window = CallWindow::new(Judged::Failures, 0.5, 100, 4);
        (0..2).for_each(|_| _ = record(&mut window, true, 0));
        assert!(!window.trips_by_count(1));
        assert!(window.trips_by_count(2));
        assert!(!record(&mut window, false, 9));
        assert!(!window.trips_by_count(9));
    }

    /// Of ten calls two have failed. With a minimum of six, their share is known already.
    #[test]
    fn a_new_minimum_is_completed_by_calls_to_come_and_not_by_those_before() {
        for (min_calls, completes) in [(6, false), (11, true)] {
            let mut old = CallWindow::new(Judged::Failures, 1.0, 100, 100);
            (0..2).for_each(|_| _ = record(&mut old, true, 8));
            let mut new = CallWindow::new(Judged::Failures, 0.1, 100, min_calls);
            assert!(new.inherit(&mut old, 8));
            assert_eq!(new.trips_by_count(20), completes, "{min_calls}");
        }
    }
}
