//! How long calls hold their permits.

use std::time::Duration;

use crate::sync::atomic::{AtomicU64, Ordering};

/// How many of the latest calls are remembered.
const REMEMBERED: usize = 32;
/// A median that is asked for is worked out anew after so many calls; at the beginning, after each.
const EVERY: u64 = 8;

/// The median time for which the last 32 measured calls held their permits.
///
/// Counters only, no lock: where calls end at the same instant, one of them may be missed. The median
/// is worked out by who asks for it, which nobody does where there are no deadlines.
#[derive(Debug)]
pub(super) struct ServiceTimes {
    seen: AtomicU64,
    latest: [AtomicU64; REMEMBERED],
    median: AtomicU64,
    /// How many calls had been seen when the median was worked out.
    known: AtomicU64,
}

impl ServiceTimes {
    pub(super) fn new() -> Self {
        Self {
            seen: AtomicU64::new(0),
            latest: std::array::from_fn(|_| AtomicU64::new(0)),
            median: AtomicU64::new(0),
            known: AtomicU64::new(0),
        }
    }

    /// Notes for how many nanoseconds a call held its permit.
    pub(super) fn record(&self, held: u64) {
        // Not one step: of two calls that end at the same instant, one may be missed. That changes no
        // median worth the name, and costs nothing.
        let before = self.seen.load(Ordering::Relaxed);
        self.latest[place_of(before)].store(held, Ordering::Relaxed);
        self.seen.store(before.wrapping_add(1), Ordering::Release);
    }

    /// The lower median; `None` before any call.
    pub(super) fn median(&self) -> Option<Duration> {
        let (seen, known) = (self.seen.load(Ordering::Acquire), self.known.load(Ordering::Acquire));
        let is_due = if seen <= EVERY { seen > known } else { seen / EVERY != known / EVERY };
        if is_due {
            self.median.store(self.work_out(seen), Ordering::Relaxed);
            self.known.store(seen, Ordering::Release);
        }
        (seen > 0).then(|| Duration::from_nanos(self.median.load(Ordering::Relaxed)))
    }

    #[cold]
    fn work_out(&self, seen: u64) -> u64 {
        let known = usize::try_from(seen).unwrap_or(REMEMBERED).min(REMEMBERED);
        let mut times = [0; REMEMBERED];
        for (time, latest) in times.iter_mut().zip(&self.latest) {
            *time = latest.load(Ordering::Relaxed);
        }
        let (_, median, _) = times[..known].select_nth_unstable((known - 1) / 2);
        *median
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a remainder")]
fn place_of(count: u64) -> usize {
    (count % REMEMBERED as u64) as usize
}

#[cfg(all(test, not(surefoot_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_that_of_the_latest_calls() {
        let times = ServiceTimes::new();
        assert_eq!(times.median(), None);
        let record = |millis: u64| times.record(millis * 1_000_000);
        record(10);
        assert_eq!(times.median(), Some(Duration::from_millis(10)));
        record(30);
        assert_eq!(times.median(), Some(Duration::from_millis(10)));
        record(20);
        assert_eq!(times.median(), Some(Duration::from_millis(20)));
        (0..2 * REMEMBERED).for_each(|_| record(500));
        assert_eq!(times.median(), Some(Duration::from_millis(500)));
    }
}
