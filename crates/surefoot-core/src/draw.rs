//! Random numbers without a lock.

use crate::sync::atomic::{AtomicU64, Ordering};

/// A repeatable row of numbers with a seed; each thread's own generator without one.
#[derive(Debug)]
pub(crate) struct Draw {
    /// Unknown to callers unless they chose it, so that nobody can pick a lucky name.
    salt: u64,
    /// How many numbers of the row were drawn.
    drawn: Option<AtomicU64>,
}

impl Draw {
    pub(crate) fn new(seed: Option<u32>) -> Self {
        match seed {
            Some(seed) => Self { salt: mixed(seed.into()), drawn: Some(AtomicU64::new(0)) },
            None => Self { salt: fastrand::u64(..), drawn: None },
        }
    }

    #[inline]
    pub(crate) fn next(&self) -> u64 {
        match &self.drawn {
            Some(drawn) => self.of(drawn.fetch_add(1, Ordering::Relaxed)),
            None => fastrand::u64(..),
        }
    }

    /// A number from 0.0 to below 1.0.
    pub(crate) fn share(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let share = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        share
    }

    /// Always the same number for the same `key`.
    pub(crate) fn of(&self, key: u64) -> u64 {
        mixed(self.salt.wrapping_add(mixed(key)))
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
fn mixed(key: u64) -> u64 {
    let key = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let key = (key ^ key >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let key = (key ^ key >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    key ^ key >> 31
}

#[cfg(all(test, not(surefoot_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_row_and_another_seed_has_another() {
        let row = |seed| {
            let draw = Draw::new(Some(seed));
            [draw.next(), draw.next(), draw.next()]
        };
        assert_eq!(row(1), row(1));
        assert_ne!(row(1), row(2));
    }

    #[test]
    fn shares_are_spread_evenly() {
        for draw in [Draw::new(Some(7)), Draw::new(None)] {
            let shares: Vec<f64> = (0..100_000).map(|_| draw.share()).collect();
            assert!(shares.iter().all(|share| (0.0..1.0).contains(share)));
            for tenths in 1..10_u32 {
                let limit = f64::from(tenths) / 10.0;
                let below = shares.iter().filter(|share| **share < limit).count();
                let expected = tenths as usize * 10_000;
                assert!(below.abs_diff(expected) < 800, "{below} below {limit}");
            }
        }
    }

    /// The first numbers that it draws from a seed of 0, as published with it.
    #[test]
    fn keys_are_mixed_as_split_mix_64_mixes_them() {
        let step = 0x9e37_79b9_7f4a_7c15_u64;
        let drawn = [0, 1, 2, 3].map(|number| mixed(step.wrapping_mul(number)));
        let published = [
            0xe220_a839_7b1d_cdaf,
            0x6e78_9e6a_a1b9_65f4,
            0x06c4_5d18_8009_454f,
            0xf88b_b8a8_724c_81ec,
        ];
        assert_eq!(drawn, published);
    }
}
