//! The times of the last failures: trips when as many as the threshold lie within the window.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Timestamp;

/// Exact: one timestamp for each of the last `threshold` failures, 8 bytes each, kept only as
/// failures come.
#[derive(Debug)]
pub(in crate::circuit_breaker) struct FailureTimes {
    times: VecDeque<Timestamp>,
    threshold: usize,
    window: Duration,
}

impl FailureTimes {
    pub(super) fn new(threshold: u32, window: Duration) -> Self {
        Self { times: VecDeque::new(), threshold: threshold as usize, window }
    }

    pub(super) fn clear(&mut self) {
        self.times.clear();
    }

    pub(super) fn inherit(&mut self, earlier: &mut Self) -> bool {
        self.times = std::mem::take(&mut earlier.times);
        let surplus = self.times.len().saturating_sub(self.threshold);
        self.times.drain(..surplus);
        true
    }

    pub(in crate::circuit_breaker) fn record(&mut self, at: Timestamp) -> bool {
        if self.times.len() == self.threshold {
            self.times.pop_front();
        }
        self.times.push_back(at);
        self.times.len() == self.threshold
            && self.times.front().is_some_and(|oldest| at - *oldest < self.window)
    }

    /// How many of the remembered failures lie within the window at `now`.
    pub(super) fn count(&self, now: Timestamp) -> u64 {
        self.times.iter().filter(|failed| now - **failed < self.window).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    fn times(threshold: u32, window: u64) -> FailureTimes {
        FailureTimes::new(threshold, Duration::from_secs(window))
    }

    #[test]
    fn a_failure_exactly_as_old_as_the_window_has_left() {
        let mut failures = times(2, 10);
        assert!(!failures.record(at(0)));
        assert!(!failures.record(at(10)));
        assert_eq!(failures.count(at(10)), 1);
        assert!(failures.record(at(19)));
    }

    #[test]
    fn a_lower_threshold_keeps_the_latest_failures() {
        let mut old = times(5, 10);
        for second in 0..4 {
            old.record(at(second));
        }
        let mut new = times(3, 10);
        assert!(new.inherit(&mut old));
        assert_eq!(new.count(at(3)), 3);
        assert!(new.record(at(4)));
    }
}
