//! Steps with hysteresis, for a signal that shedding lowers only slowly.

use std::time::Duration;

use super::freshness::Freshness;
use super::steps::Steps;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, lock};
use crate::{TimeSource, Timestamp};

/// The last sample of memory, and how many levels are shed for it.
///
/// A level that is shed stays shed until the load is `hysteresis` below its threshold: freed memory
/// comes back late, and a load at the threshold would switch the level with every sample.
#[derive(Debug)]
pub(super) struct Memory {
    hysteresis: f64,
    freshness: Freshness,
    /// The levels shed in the upper half, the bits of the load (`f32`) in the lower, so that both
    /// are of one sample.
    word: AtomicU64,
    /// Held while a sample is recorded.
    recording: Mutex<()>,
}

impl Memory {
    pub(super) fn new(hysteresis: f64, interval: Duration) -> Self {
        Self {
            hysteresis,
            freshness: Freshness::new(interval),
            word: AtomicU64::new(0),
            recording: Mutex::new(()),
        }
    }

    pub(super) fn record(&self, load: f64, steps: &Steps, now: Timestamp) {
        let _recording = lock(&self.recording);
        let shed = if self.freshness.is_fresh(now) { self.read().0 } else { 0 };
        let kept = shed.min(steps.shed_levels(load + self.hysteresis));
        let shed = kept.max(steps.shed_levels(load));
        #[expect(clippy::cast_possible_truncation, reason = "shown to people, not judged by")]
        let bits = (load as f32).to_bits();
        self.word.store(u64::from(shed) << 32 | u64::from(bits), Ordering::Relaxed);
        self.freshness.note(now);
    }

    /// The load for which `level` is shed, if it is. Reads the clock only then.
    #[inline]
    pub(super) fn sheds(&self, level: usize, time: &TimeSource) -> Option<f32> {
        let (shed, load) = self.read();
        (level < shed as usize && self.freshness.is_fresh(time.now())).then_some(load)
    }

    /// The last sample, while it counts.
    pub(super) fn load(&self, now: Timestamp) -> Option<f32> {
        self.freshness.is_fresh(now).then(|| self.read().1)
    }

    fn read(&self) -> (u32, f32) {
        let word = self.word.load(Ordering::Relaxed);
        #[expect(clippy::cast_possible_truncation, reason = "the two halves of the word")]
        let halves = ((word >> 32) as u32, word as u32);
        (halves.0, f32::from_bits(halves.1))
    }
}

#[cfg(all(test, not(surefoot_loom)))]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(250);

    fn at(ms: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(ms)
    }

    /// How many of three levels are shed after each sample.
    fn shed_after(samples: &[f64]) -> Vec<u32> {
        let memory = Memory::new(0.05, INTERVAL);
        let steps = Steps::new(0.8, 3);
        let record = |load: &f64| {
            memory.record(*load, &steps, at(0));
            memory.read().0
        };
        samples.iter().map(record).collect()
    }

    #[test]
    fn a_level_that_is_shed_stays_shed_until_the_load_is_the_hysteresis_below_its_threshold() {
        assert_eq!(shed_after(&[0.79, 0.80, 0.76, 0.7501]), [0, 1, 1, 1]);
        assert_eq!(shed_after(&[0.80, 0.7499, 0.76, 0.80]), [1, 0, 0, 1]);
        assert_eq!(shed_after(&[1.0, 0.96, 0.90, 0.849, 0.80, 0.70]), [3, 3, 2, 1, 1, 0]);
        assert_eq!(shed_after(&[0.84, 0.91, 0.84]), [1, 2, 1]);
    }

    #[test]
    fn a_level_is_admitted_again_when_the_samples_cease() {
        let clock = crate::ManualClock::new();
        let time = TimeSource::from(&clock);
        let memory = Memory::new(0.05, INTERVAL);
        let steps = Steps::new(0.8, 3);
        memory.record(0.85, &steps, time.now());
        assert_eq!(memory.sheds(0, &time), Some(0.85));
        assert_eq!(memory.sheds(1, &time), None);
        clock.advance(INTERVAL * 4);
        assert_eq!(memory.sheds(0, &time), Some(0.85));
        clock.advance(Duration::from_nanos(1));
        assert_eq!(memory.sheds(0, &time), None);
        assert_eq!(memory.load(time.now()), None);
        // What was shed before nobody looked is no reason to shed it still.
        memory.record(0.78, &steps, time.now());
        assert_eq!(memory.sheds(0, &time), None);
    }
}
