//! How long answers took lately, and which time most of them keep.

use std::time::Duration;

use crate::Timestamp;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::time::nanos;

/// Latencies of recent answers in buckets that are a sixteenth wide, from a microsecond to an hour.
///
/// Two banks take turns: one is filled for half the window, while the other still counts. So an
/// answer counts for between half of the window and all of it. Counters only, no lock; a count that
/// is made while the banks change may land in either.
pub(super) struct Latencies {
    half: u64,
    /// The number of the half window in which the banks last changed.
    turn: AtomicU64,
    banks: [Bank; 2],
}

/// How many answers fell into each bucket.
struct Bank(Box<[AtomicU32]>);

/// Everything shorter than 2^10 ns falls into the first bucket.
const SHORTEST: u32 = 10;
/// Doublings of time from there; everything longer, 2^42 ns or 73 minutes, falls into the last bucket.
#[cfg(not(surefoot_loom))]
const OCTAVES: usize = 32;
/// The models need two buckets, and loom every one of them.
#[cfg(surefoot_loom)]
const OCTAVES: usize = 1;
/// Buckets within each doubling, as a power of two.
const STEP_BITS: u32 = 4;
const BUCKETS: usize = OCTAVES << STEP_BITS;

impl Latencies {
    pub(super) fn new(window: Duration) -> Self {
        let half = (nanos(window) / 2).max(1);
        Self { half, turn: AtomicU64::new(0), banks: [Bank::new(), Bank::new()] }
    }

    pub(super) fn record(&self, latency: Duration, now: Timestamp) {
        let turn = self.turn_to(now);
        self.bank(turn).count(bucket_of(nanos(latency)));
    }

    /// The time within which `share` of the answers came, at most a sixteenth too long; `None`
    /// with fewer than `least` answers.
    pub(super) fn percentile(&self, share: f64, least: u32, now: Timestamp) -> Option<Duration> {
        self.turn_to(now);
        // Read once: what is counted meanwhile is for the next one who asks.
        let counts: [u64; BUCKETS] =
            std::array::from_fn(|bucket| self.banks.iter().map(|bank| bank.answers(bucket)).sum());
        let answers: u64 = counts.iter().sum();
        if answers < u64::from(least.max(1)) {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a share of a count that fits an f64 exactly"
        )]
        let rank = ((share * answers as f64).ceil() as u64).max(1);
        let mut seen = 0;
        let bucket = counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        bucket.map(end_of)
    }

    fn bank(&self, turn: u64) -> &Bank {
        &self.banks[usize::from(turn % 2 == 1)]
    }

    /// Brings the banks up to `now`, emptying what has left the window, and gives the turn.
    fn turn_to(&self, now: Timestamp) -> u64 {
        let due = nanos(now - Timestamp::ZERO) / self.half;
        let turn = self.turn.load(Ordering::Relaxed);
        if due <= turn {
            return turn; // time that goes backwards changes nothing
        }
        let won = self.turn.compare_exchange(turn, due, Ordering::Relaxed, Ordering::Relaxed);
        if won.is_ok() {
            self.bank(due).clear();
            if due > turn + 1 {
                self.bank(due + 1).clear();
            }
        }
        due
    }
}

impl Bank {
    fn new() -> Self {
        Self(std::iter::repeat_with(|| AtomicU32::new(0)).take(BUCKETS).collect())
    }

    fn answers(&self, bucket: usize) -> u64 {
        u64::from(self.0[bucket].load(Ordering::Relaxed))
    }

    fn count(&self, bucket: usize) {
        self.0[bucket].fetch_add(1, Ordering::Relaxed);
    }

    fn clear(&self) {
        self.0.iter().for_each(|bucket| bucket.store(0, Ordering::Relaxed));
    }
}

fn bucket_of(nanos: u64) -> usize {
    let octave = nanos.max(1).ilog2();
    if octave < SHORTEST {
        return 0;
    }
    // The leading bits of the time: the first is always set, the others are the step.
    let leading = nanos >> (octave - STEP_BITS);
    let bucket = (u64::from(octave - SHORTEST) << STEP_BITS) + leading - (1 << STEP_BITS);
    usize::try_from(bucket).map_or(BUCKETS - 1, |bucket| bucket.min(BUCKETS - 1))
}

/// The first time that is too long for `bucket`.
fn end_of(bucket: usize) -> Duration {
    let octave = bucket >> STEP_BITS;
    let step = bucket as u64 & ((1 << STEP_BITS) - 1);
    Duration::from_nanos(((1 << STEP_BITS) + step + 1) << octave << (SHORTEST - STEP_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(seconds)
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_percentile_is_at_most_a_sixteenth_too_long() {
        let latencies = Latencies::new(ms(60_000));
        (1..=100).for_each(|answer| latencies.record(ms(answer), at(0)));
        for (share, exact) in [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100)] {
            let told = latencies.percentile(share, 20, at(0)).unwrap();
            assert!(told > ms(exact) && told <= ms(exact).mul_f64(1.0 + 1.0 / 16.0), "{told:?}");
        }
    }

    /// policies.md §4 rule 62.
    #[test]
    fn there_is_none_before_the_warm_up_is_over() {
        let latencies = Latencies::new(ms(60_000));
        (0..19).for_each(|_| latencies.record(ms(5), at(0)));
        assert_eq!(latencies.percentile(0.9, 20, at(0)), None);
        latencies.record(ms(5), at(0));
        assert!(latencies.percentile(0.9, 20, at(0)).is_some());
    }

    #[test]
    fn an_answer_is_forgotten_once_the_window_has_passed_over_it() {
        let latencies = Latencies::new(ms(60_000));
        latencies.record(ms(5), at(29));
        assert!(latencies.percentile(0.9, 1, at(59)).is_some());
        assert_eq!(latencies.percentile(0.9, 1, at(60)), None);
        latencies.record(ms(5), at(70));
        assert_eq!(latencies.percentile(0.9, 1, at(1_000_000)), None);
    }

    #[test]
    fn every_time_has_a_bucket_that_ends_after_it() {
        for nanos in [0, 1, 1_023, 1_024, 1_025, 1_984, 1_000_000, (1 << 42) - 1] {
            assert!(end_of(bucket_of(nanos)) > Duration::from_nanos(nanos), "{nanos}");
        }
        assert!(end_of(bucket_of(1_984)) <= Duration::from_nanos(1_984 + 1_984 / 16));
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert!((1..BUCKETS).all(|bucket| end_of(bucket) > end_of(bucket - 1)));
    }

    #[test]
    fn time_that_goes_backwards_changes_nothing() {
        let latencies = Latencies::new(ms(60_000));
        latencies.record(ms(5), at(100));
        latencies.record(ms(5), at(1));
        assert!(latencies.percentile(1.0, 2, at(1)).is_some());
    }
}
