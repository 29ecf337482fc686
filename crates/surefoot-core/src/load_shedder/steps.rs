//! From which load each priority is shed: the rule for signals that are known at the instant.

/// What the arithmetic of a threshold may be off by: 9 of 10 calls are 0.9 of the capacity.
const ROUNDING: f64 = 1e-9;

/// The load from which each level is shed, the lowest first.
///
/// Level p of n is shed from `max_load + (1 − max_load)·(p−1)/(n−1)` upward, so the lowest goes
/// first, and the highest only at full load. A single level is shed from `max_load`.
#[derive(Debug)]
pub(super) struct Steps {
    thresholds: Box<[f64]>,
}

impl Steps {
    pub(super) fn new(max_load: f64, levels: u32) -> Self {
        let last = f64::from(levels.saturating_sub(1));
        let threshold = |level: u32| match level {
            0 => max_load,
            // One rounding less than in the form above: the highest is shed at 1.0 exactly.
            level => (max_load * (last - f64::from(level)) + f64::from(level)) / last,
        };
        Self { thresholds: (0..levels).map(threshold).collect() }
    }

    /// The load from which `level` is shed, counted from 0.
    pub(super) fn threshold(&self, level: usize) -> f64 {
        self.thresholds[level]
    }

    pub(super) fn sheds(&self, level: usize, load: f64) -> bool {
        load >= self.thresholds[level] - ROUNDING
    }

    /// How many levels are shed at `load`, from the lowest.
    pub(super) fn shed_levels(&self, load: f64) -> u32 {
        let levels = (0..self.thresholds.len()).take_while(|level| self.sheds(*level, load));
        u32::try_from(levels.count()).unwrap_or(u32::MAX)
    }

    /// How many of `capacity` calls may be under way when one more of each level is admitted.
    pub(super) fn limits(&self, capacity: u32) -> Box<[u32]> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a u32, rounded up"
        )]
        let limit = |threshold: &f64| (threshold * f64::from(capacity) - ROUNDING).ceil() as u32;
        self.thresholds.iter().map(limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_goes_at_the_maximum_load_and_the_highest_only_at_full_load() {
        for (max_load, levels, thresholds) in [
            (0.8, 1, vec![0.8]),
            (0.8, 2, vec![0.8, 1.0]),
            (0.8, 3, vec![0.8, 0.9, 1.0]),
            (0.5, 6, vec![0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
            (1.0, 3, vec![1.0, 1.0, 1.0]),
        ] {
            let steps = Steps::new(max_load, levels);
            for (level, threshold) in thresholds.iter().enumerate() {
                assert!((steps.threshold(level) - threshold).abs() < 1e-12, "{max_load} {level}");
            }
            assert_eq!(steps.thresholds.len(), thresholds.len());
        }
    }

    #[test]
    fn a_level_is_shed_from_its_threshold_on_however_the_load_was_rounded() {
        for levels in 1..=20_u32 {
            for percent in 1..=100_u32 {
                let steps = Steps::new(f64::from(percent) / 100.0, levels);
                for level in 0..levels {
                    // The exact threshold as a fraction of whole numbers.
                    let last = levels.saturating_sub(1).max(1);
                    let over = percent * (last - level) + 100 * level;
                    let last = 100 * last;
                    let load = f64::from(over) / f64::from(last);
                    let level = level as usize;
                    assert!(steps.sheds(level, load), "{percent} % of {levels}: {level}");
                    assert!(!steps.sheds(level, load - 1e-6), "{percent} % of {levels}: {level}");
                }
            }
        }
    }

    #[test]
    fn calls_under_way_are_counted_in_whole_calls() {
        for (max_load, levels, capacity, limits) in [
            (0.8, 3, 10, vec![8, 9, 10]),
            (0.8, 3, 50, vec![40, 45, 50]),
            (0.8, 3, 1, vec![1, 1, 1]),
            (0.8, 1, 4, vec![4]),
            (0.01, 2, 3, vec![1, 3]),
            (0.8, 2, u32::MAX, vec![3_435_973_836, u32::MAX]),
        ] {
            assert_eq!(*Steps::new(max_load, levels).limits(capacity), *limits);
        }
    }
}
