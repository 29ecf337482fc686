//! The adaptive limit, over any history at all.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use surefoot_core::Timestamp;
use surefoot_core::throttler::adaptive::{AdaptiveConfig, AdaptiveLimit, Window};

use super::{Draw, check};

/// The first limit, and the limit after each window; every window lasts a second.
fn limits(config: &AdaptiveConfig, windows: &[Window]) -> Vec<u32> {
    let mut limit = AdaptiveLimit::new(config.clone(), Timestamp::ZERO).expect("valid");
    let mut limits = vec![limit.current()];
    let mut now = Timestamp::ZERO;
    for window in windows {
        now = now + Duration::from_secs(1);
        limits.push(limit.end_window(window, now));
    }
    limits
}

fn window(bytes: &[u8]) -> Window {
    let mut draw = Draw::new(bytes);
    let samples = draw.one_of(&[0, 1, 10, 100]);
    Window {
        samples,
        latency: Duration::from_millis(draw.from(0, 250).into()) * draw.from(1, 100),
        drops: u64::from(draw.from(0, 12)) * samples.max(1) / 100,
        max_in_flight: draw.from(0, 80),
    }
}

fn histories() -> impl Strategy<Value = (AdaptiveConfig, Vec<Window>)> {
    let bounds = (1..=30u32, 0..=60u32, 1..=400u32);
    (bounds, vec(any::<[u8; 6]>(), 1..150)).prop_map(|((min, room, long_window), windows)| {
        let config = AdaptiveConfig {
            min_limit: min,
            max_limit: min + room,
            long_window,
            ..AdaptiveConfig::default()
        };
        (config, windows.iter().map(|bytes| window(bytes)).collect())
    })
}

#[test]
fn an_adaptive_limit_stays_in_its_bounds_and_moves_by_no_more_than_it_says() {
    check(1, &histories(), |(config, windows)| {
        let limits = limits(&config, &windows);
        let initial = 20.clamp(config.min_limit, config.max_limit);
        prop_assert_eq!(limits[0], initial);
        let mut highest = initial;
        for (step, window) in limits.windows(2).zip(&windows) {
            let (before, after) = (step[0], step[1]);
            prop_assert!((config.min_limit..=config.max_limit).contains(&after));
            // A window raises it by one at most, unless it ends a try: then up to where that began.
            prop_assert!(after <= before + 1 || after <= highest, "{:?}", step);
            highest = highest.max(after);
            let drops = window.drops * 10 > window.samples + window.drops;
            prop_assert!(!drops || after <= before, "{:?} raised it: {:?}", window, step);
            // A tenth for drops, a fifth for a try or for latency, and what is beyond use at once.
            let in_use = before.min(initial.max(5 * window.max_in_flight));
            prop_assert!(after >= (in_use * 4 / 5).max(config.min_limit + 1) - 1, "{:?}", step);
        }
        Ok(())
    });
}
