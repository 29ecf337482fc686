//! The latencies that a hedge learns from.

use std::time::Duration;

use surefoot_core::{Hedge, Timestamp};

/// Whatever meets whatever while the banks change, a percentile is a time that was recorded, or there
/// is none.
#[test]
fn answers_recorded_while_the_window_moves_on_are_forgotten_or_told_as_they_were() {
    loom::model(|| {
        let hedge = Hedge::builder().percentile(1.0).warm_up(1).build().unwrap();
        let other = hedge.clone();
        let [short, long] = [1_100, 1_900].map(Duration::from_nanos);
        let later = Timestamp::ZERO + Duration::from_secs(30);
        let thread = loom::thread::spawn(move || other.record(short, Timestamp::ZERO));
        hedge.record(long, later);
        let told = hedge.delay(later);
        thread.join().unwrap();
        for told in [told, hedge.delay(later)] {
            // At most a sixteenth too long.
            assert!(told.is_none_or(|told| told > short && told <= long * 17 / 16), "{told:?}");
        }
        assert!(hedge.delay(later).is_some_and(|told| told > long), "the later answer is there");
    });
}
