//! The calls of the last time, in buckets: trips on a share of failures among them.

use std::time::Duration;

use super::{Call, Counts, reaches};
use crate::Timestamp;
use crate::time::nanos;

/// A window of `buckets` equal parts of time; a part leaves as a whole.
///
/// A part is numbered `⌊now · buckets / window⌋`, in integers, so parts never drift. Successes of
/// the current part are not stored: they are what the breaker's counter has grown by since the
/// part began.
#[derive(Debug)]
pub(in crate::circuit_breaker) struct TimeWindow {
    rate: f64,
    window: u64,
    min_calls: u64,
    /// Whether the share has been looked at since the window last held too few calls for that.
    rate_known: bool,
    /// Indexed by a part's number modulo their count. The current part's `successes` stay 0.
    buckets: Vec<Counts>,
    /// Sums over all buckets.
    total: Counts,
    /// The number of the current part.
    current: u64,
    /// The breaker's success counter when the current part began.
    successes_before: u64,
}

impl TimeWindow {
    pub(super) fn new(
        rate: f64,
        window: Duration,
        min_calls: u32,
        buckets: u32,
        now: Timestamp,
    ) -> Self {
        let mut this = Self {
            rate,
            window: nanos(window),
            min_calls: min_calls.into(),
            rate_known: false,
            buckets: vec![Counts::default(); buckets as usize],
            total: Counts::default(),
            current: 0,
            successes_before: 0,
        };
        this.current = this.part(now);
        this
    }

    pub(super) fn clear(&mut self, now: Timestamp) {
        self.buckets.fill(Counts::default());
        self.total = Counts::default();
        self.rate_known = false;
        self.successes_before = 0;
        self.current = self.part(now);
    }

    /// Other parts cut time elsewhere: their counts cannot be carried over honestly.
    pub(super) fn inherit(&mut self, earlier: &mut Self, successes: u64) -> bool {
        let cuts_alike =
            earlier.window == self.window && earlier.buckets.len() == self.buckets.len();
        if cuts_alike {
            self.buckets = std::mem::take(&mut earlier.buckets);
            self.total = earlier.total;
            self.current = earlier.current;
            self.successes_before = earlier.successes_before;
            self.rate_known = self.calls(successes) >= self.min_calls;
        }
        cuts_alike
    }

    /// When the current part is over; until then a success need only be counted.
    pub(in crate::circuit_breaker) fn current_ends(&self) -> Timestamp {
        let ends = (u128::from(self.current) + 1) * u128::from(self.window);
        let ends = ends.div_ceil(self.buckets.len() as u128);
        Timestamp::from_nanos(u64::try_from(ends).unwrap_or(u64::MAX))
    }

    pub(super) fn record(&mut self, call: Call) -> bool {
        // A success is counted already; it belongs to the part it is recorded in.
        self.roll_to(call.at, call.successes.saturating_sub(u64::from(!call.failed)));
        if call.failed {
            let index = self.index(self.current);
            self.buckets[index].failures += 1;
            self.total.failures += 1;
        }
        let calls = self.calls(call.successes);
        self.rate_known = calls >= self.min_calls;
        self.rate_known && reaches(self.total.failures, calls, self.rate)
    }

    pub(super) fn trips_by_count(&self, at: Timestamp, successes: u64) -> bool {
        !self.rate_known
            && self.part(at) <= self.current
            && self.calls(successes) >= self.min_calls
            && reaches(self.total.failures, self.min_calls, self.rate)
    }

    pub(super) fn is_watchful(&self, successes: u64) -> bool {
        let calls = self.calls(successes);
        let failures = self.total.failures;
        failures > 0 && (calls < self.min_calls || reaches(failures, calls, self.rate))
    }

    /// What the window holds at `now`, without moving it.
    pub(super) fn counts(&self, now: Timestamp, successes: u64) -> Counts {
        let passed = self.part(now).saturating_sub(self.current);
        let mut counts = self.total;
        for ahead in 1..=passed.min(self.buckets.len() as u64) {
            let part = self.current.saturating_add(ahead);
            let gone = self.buckets[self.index(part)];
            counts.failures -= gone.failures;
            counts.successes -= gone.successes;
        }
        if passed < self.buckets.len() as u64 {
            counts.successes += successes.saturating_sub(self.successes_before);
        }
        counts
    }

    fn roll_to(&mut self, now: Timestamp, successes: u64) {
        let part = self.part(now);
        if part <= self.current {
            return; // the same part, or a clock that went backwards
        }
        let index = self.index(self.current);
        let new = successes.saturating_sub(self.successes_before);
        self.buckets[index].successes += new;
        self.total.successes += new;
        self.successes_before = self.successes_before.max(successes);
        let passed = (part - self.current).min(self.buckets.len() as u64);
        for part in part - passed + 1..=part {
            let index = self.index(part);
            let gone = std::mem::take(&mut self.buckets[index]);
            self.total.failures -= gone.failures;
            self.total.successes -= gone.successes;
        }
        self.current = part;
    }

    fn calls(&self, successes: u64) -> u64 {
        let current = successes.saturating_sub(self.successes_before);
        self.total.failures + self.total.successes + current
    }

    fn part(&self, now: Timestamp) -> u64 {
        let part =
            u128::from(now.as_nanos()) * self.buckets.len() as u128 / u128::from(self.window);
        u64::try_from(part).unwrap_or(u64::MAX)
    }

    #[expect(clippy::cast_possible_truncation, reason = "less than the number of buckets")]
    fn index(&self, part: u64) -> usize {
        (part % self.buckets.len() as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window() -> TimeWindow {
        TimeWindow::new(1.0, Duration::from_secs(5), 1000, 5, Timestamp::ZERO)
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    fn record(window: &mut TimeWindow, millis: u64, failed: bool, successes: u64) {
        window.record(Call { at: at(millis), failed, took: Duration::ZERO, successes });
    }

    /// policies.md §4 rule 5.
    #[test]
    fn a_part_leaves_as_a_whole() {
        let mut window = window();
        record(&mut window, 0, true, 0);
        record(&mut window, 100, false, 1);
        record(&mut window, 800, true, 1);
        assert_eq!(window.counts(at(4800), 1), Counts { failures: 2, successes: 1 });
        assert_eq!(window.counts(at(5800), 1), Counts::default());
        record(&mut window, 5900, true, 1);
        assert_eq!(window.counts(at(5900), 1), Counts { failures: 1, successes: 0 });
        record(&mut window, 10_900, true, 1);
        assert_eq!(window.counts(at(10_900), 1), Counts { failures: 1, successes: 0 });
    }

    /// policies.md §4 rule 7.
    #[test]
    fn a_jump_over_many_windows_empties_it() {
        let mut window = window();
        record(&mut window, 0, true, 0);
        record(&mut window, 10, false, 1);
        record(&mut window, 50_000, true, 1);
        assert_eq!(window.counts(at(50_000), 1), Counts { failures: 1, successes: 0 });
    }

    #[test]
    fn a_clock_that_goes_backwards_counts_into_the_current_part() {
        let mut window = window();
        record(&mut window, 9000, true, 0);
        record(&mut window, 1000, true, 0);
        assert_eq!(window.counts(at(9000), 0), Counts { failures: 2, successes: 0 });
    }

    /// Parts of the same number that are longer, or of the same length and fewer, are others.
    #[test]
    fn counts_are_not_taken_over_by_a_window_that_cuts_time_elsewhere() {
        for (seconds, buckets, taken) in [(5, 5, true), (10, 5, false), (5, 10, false)] {
            let mut old = window();
            record(&mut old, 0, true, 0);
            let window = Duration::from_secs(seconds);
            let mut new = TimeWindow::new(1.0, window, 2, buckets, Timestamp::ZERO);
            assert_eq!(new.inherit(&mut old, 0), taken, "{seconds} s in {buckets} parts");
            assert_eq!(new.counts(at(0), 0).failures, u64::from(taken));
        }
    }

    /// Of ten calls two have failed. With a minimum of six, their share is known already.
    #[test]
    fn a_new_minimum_is_completed_by_calls_to_come_and_not_by_those_before() {
        for (min_calls, completes) in [(6, false), (11, true)] {
            let mut old = window();
            record(&mut old, 0, true, 0);
            record(&mut old, 0, true, 8);
            let window = Duration::from_secs(5);
            let mut new = TimeWindow::new(0.1, window, min_calls, 5, Timestamp::ZERO);
            assert!(new.inherit(&mut old, 8));
            assert_eq!(new.trips_by_count(at(0), 20), completes, "{min_calls}");
        }
    }

    /// The share is two in four or more of them. Until there are four calls, and from the share on,
    /// a success may decide, or be decided by: it is shown to the window.
    #[test]
    fn a_success_matters_only_beside_failures_that_could_trip() {
        let window = Duration::from_secs(5);
        for (failures, successes, watchful) in [
            (0, 0, false),
            (0, 9, false),
            (1, 0, true),
            (1, 2, true),
            (1, 3, false),
            (2, 2, true),
            (2, 3, false),
        ] {
            let mut window = TimeWindow::new(0.5, window, 4, 5, Timestamp::ZERO);
            (0..failures).for_each(|_| record(&mut window, 0, true, successes));
            let told = window.is_watchful(successes);
            assert_eq!(told, watchful, "{failures} failures, {successes} successes");
        }
    }
}
