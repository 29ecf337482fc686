//! The load shedder against a model of its steps; and what holds of sampled signals whatever comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use surefoot_core::load_shedder::{Permit, Recorded, Signal};
use surefoot_core::{Clock, LoadShedder, ManualClock, Rejection, Timestamp};

use super::{Draw, check};

#[test]
fn steps_shed_as_the_model_does_and_never_a_higher_priority_while_a_lower_one_is_admitted() {
    check(2, &vec(any::<u8>(), 200), |bytes| compare(&bytes));
}

#[test]
fn a_sampled_signal_never_sheds_a_higher_priority_while_it_admits_a_lower_one() {
    check(1, &vec(any::<u8>(), 200), |bytes| keep_priorities(&bytes));
}

#[test]
fn samples_of_any_kind_at_any_time_never_panic_and_stay_within_bounds() {
    check(1, &vec(any::<u8>(), 200), |bytes| survive(&bytes));
}

/// The rules of the steps, word for word, in whole percents.
struct Model {
    max_load: u32,
    levels: u32,
    capacity: Option<u32>,
    hysteresis: u32,
    under_way: u32,
    dial: u32,
    memory: Option<(u32, Timestamp)>,
    /// Whether each priority is shed for memory.
    latched: Vec<bool>,
}

const STALE: Duration = Duration::from_secs(1);

impl Model {
    /// Whether `load`, in percent, is at the threshold of `priority`: both sides multiplied with the
    /// denominator of the latter.
    fn reached(&self, priority: u32, load: u32) -> bool {
        if self.levels == 1 {
            return load >= self.max_load;
        }
        let (n, p) = (self.levels, priority);
        load * (n - 1) >= self.max_load * (n - 1) + (100 - self.max_load) * (p - 1)
    }

    fn record_memory(&mut self, load: u32, now: Timestamp) {
        let fresh = self.memory.is_some_and(|(_, at)| now - at <= STALE);
        for priority in 1..=self.levels {
            let index = priority as usize - 1;
            let kept = fresh && self.latched[index];
            let rises = self.reached(priority, load);
            self.latched[index] = rises || (kept && self.reached(priority, load + self.hysteresis));
        }
        self.memory = Some((load, now));
    }

    fn sheds(&self, priority: u32, now: Timestamp) -> Option<Signal> {
        let fresh = self.memory.is_some_and(|(_, at)| now - at <= STALE);
        if fresh && self.latched[priority as usize - 1] {
            return Some(Signal::Memory);
        }
        if self.reached(priority, self.dial) {
            return Some(Signal::Custom);
        }
        // So many of the capacity are as many percent of it, in whole numbers again.
        let capacity = self.capacity?;
        let (n, p) = (self.levels, priority);
        let full = if n == 1 {
            self.under_way * 100 >= self.max_load * capacity
        } else {
            let threshold = self.max_load * (n - 1) + (100 - self.max_load) * (p - 1);
            self.under_way * 100 * (n - 1) >= threshold * capacity
        };
        full.then_some(Signal::InFlight)
    }
}

fn compare(bytes: &[u8]) -> TestCaseResult {
    let mut draw = Draw::new(bytes);
    let max_load = draw.from(1, 100);
    let levels = draw.from(1, 6);
    let capacity = draw.maybe(1, 12);
    let hysteresis = draw.from(0, max_load - 1).min(20);
    let clock = ManualClock::new();
    let dial = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&dial);
    let percent = |percent: u32| f64::from(percent) / 100.0;
    let mut builder = LoadShedder::builder("p")
        .max_load(percent(max_load))
        .priority_levels(levels)
        .memory(true)
        .load_source(Arc::new(Recorded))
        .hysteresis(percent(hysteresis))
        .signal(move || f64::from_bits(told.load(Ordering::Relaxed)))
        .clock(&clock);
    if let Some(capacity) = capacity {
        builder = builder.capacity(capacity);
    }
    let shedder = builder.build().unwrap();
    let mut model = Model {
        max_load,
        levels,
        capacity,
        hysteresis,
        under_way: 0,
        dial: 0,
        memory: None,
        latched: vec![false; levels as usize],
    };
    let mut under_way: Vec<Permit> = Vec::new();
    for _ in 0..60 {
        match draw.from(0, 9) {
            0..=4 => {
                let priority = draw.from(1, levels);
                let expected = model.sheds(priority, clock.now());
                let got = match shedder.admit(priority) {
                    Ok(permit) => {
                        under_way.push(permit);
                        model.under_way += 1;
                        None
                    }
                    Err(Rejection::Shed { signal, .. }) => Some(signal),
                    Err(other) => return Err(TestCaseError::fail(other.to_string())),
                };
                prop_assert_eq!(got, expected);
            }
            5 => {
                if under_way.pop().is_some() {
                    model.under_way -= 1;
                }
            }
            6 => {
                model.dial = draw.from(0, 110);
                dial.store(percent(model.dial).to_bits(), Ordering::Relaxed);
            }
            7 | 8 => {
                let load = draw.from(0, 110);
                shedder.record_memory(percent(load));
                model.record_memory(load, clock.now());
            }
            _ => clock.advance(Duration::from_millis(100 * u64::from(draw.from(0, 12)))),
        }
        let shed: Vec<bool> = (1..=levels).map(|priority| shedder.should_shed(priority)).collect();
        let expected: Vec<bool> =
            (1..=levels).map(|priority| model.sheds(priority, clock.now()).is_some()).collect();
        prop_assert_eq!(&shed, &expected);
        prop_assert!(shed.is_sorted_by(|lower, higher| lower >= higher), "{:?}", shed);
        if capacity.is_some() {
            prop_assert_eq!(shedder.status().in_flight, model.under_way);
        }
    }
    Ok(())
}

/// One window after another with a random mix of priorities and a random load.
fn keep_priorities(bytes: &[u8]) -> TestCaseResult {
    let mut draw = Draw::new(bytes);
    let levels = draw.from(2, 5);
    let clock = ManualClock::new();
    let builder = LoadShedder::builder("p")
        .priority_levels(levels)
        .cpu(true)
        .load_source(Arc::new(Recorded))
        .seed(1);
    let shedder = builder.clock(&clock).build().unwrap();
    for _ in 0..20 {
        let mut all_shed = true;
        for priority in 1..=levels {
            let calls = 10 * draw.from(0, 10) as usize;
            let shed = (0..calls).filter(|_| shedder.should_shed(priority)).count();
            prop_assert!(shed == 0 || all_shed, "{} of {} of {}", shed, calls, priority);
            all_shed &= shed == calls;
        }
        clock.advance(Duration::from_millis(250));
        shedder.record_cpu(f64::from(draw.from(0, 200)) / 100.0);
    }
    Ok(())
}

fn survive(bytes: &[u8]) -> TestCaseResult {
    let mut draw = Draw::new(bytes);
    let loads =
        [0.0, 1e-300, 0.5, 1.0, 1e9, f64::MAX, f64::INFINITY, f64::NAN, -1.0, -f64::INFINITY];
    let times = [0, 1, 250_000_000, u64::MAX / 2, u64::MAX - 1, u64::MAX];
    let clock = ManualClock::new();
    let dial = loads[draw.from(0, 9) as usize];
    let shedder = LoadShedder::builder("p")
        .load_source(Arc::new(Recorded))
        .max_queue_delay(Duration::from_nanos(1))
        .signal(move || dial)
        .clock(&clock)
        .build()
        .unwrap();
    for _ in 0..40 {
        clock.set(Timestamp::from_nanos(draw.one_of(&times)));
        let load = draw.one_of(&loads);
        shedder.record_cpu(load);
        shedder.record_memory(load);
        shedder.record_queue_delay(draw.one_of(&[Duration::ZERO, Duration::MAX]));
        for priority in 1..=3 {
            let _ = shedder.should_shed(priority);
        }
        let share = shedder.status().admitted_share;
        prop_assert!((0.01..=1.0).contains(&share), "{}", share);
    }
    Ok(())
}
