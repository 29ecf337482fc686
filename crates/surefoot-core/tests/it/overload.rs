//! A simulated service at many times its capacity, in virtual time: whether priorities are kept.
//!
//! Fifty calls at a time are full load, each takes 100 ms on average (exponential), three priorities
//! arrive in equal shares (Poisson), and the load is told every 250 ms: the mean of calls under way
//! since it was last told. 10 s to settle, 50 s measured.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use surefoot_core::load_shedder::{LoadShedderBuilder, Permit, Recorded};
use surefoot_core::{Clock, LoadShedder, ManualClock, Timestamp};

const CAPACITY: f64 = 50.0;
const SERVICE: f64 = 0.1;
const SAMPLE: Duration = Duration::from_millis(250);
const SETTLED: Duration = Duration::from_secs(10);
const END: Duration = Duration::from_secs(60);

/// What became of the calls after the service had settled.
struct Outcome {
    /// The share of each priority that was admitted, the lowest first.
    admitted: [f64; 3],
    /// Calls under way on average, as a share of the capacity.
    utilisation: f64,
    /// The most at a time, likewise.
    peak: f64,
}

/// Offers `demand` times the capacity to a service behind `shedder`, and tells the load to `tell`.
fn simulate(
    demand: f64,
    build: impl FnOnce(LoadShedderBuilder) -> LoadShedderBuilder,
    tell: impl Fn(&LoadShedder, f64),
) -> Outcome {
    let clock = ManualClock::new();
    let shedder = build(LoadShedder::builder("service").clock(&clock).seed(1)).build().unwrap();
    let mut random = fastrand::Rng::with_seed(42);
    let mut exponential = |mean: f64| Duration::from_secs_f64(-(1.0 - random.f64()).ln() * mean);
    let mut priorities = fastrand::Rng::with_seed(43);

    let settled = Timestamp::ZERO + SETTLED;
    let (mut next_arrival, mut next_sample) = (Timestamp::ZERO, Timestamp::ZERO + SAMPLE);
    let mut ends = BinaryHeap::new();
    let mut permits: Vec<Option<Permit>> = Vec::new();
    let (mut under_way, mut sum_since_sample, mut sum_since_settled) = (0_u32, 0.0, 0.0);
    let mut peak = 0;
    let (mut arrived, mut admitted) = ([0_u32; 3], [0_u32; 3]);

    while clock.now() < Timestamp::ZERO + END {
        let next_end = ends.peek().map_or(Timestamp::MAX, |Reverse((at, _))| *at);
        let next = next_arrival.min(next_sample).min(next_end);
        let calls_time = f64::from(under_way) * (next - clock.now()).as_secs_f64();
        sum_since_sample += calls_time;
        if clock.now() >= settled {
            sum_since_settled += calls_time;
            peak = peak.max(under_way);
        }
        clock.set(next);
        if next == next_end {
            if let Some(Reverse((_, call))) = ends.pop() {
                permits[call] = None;
                under_way -= 1;
            }
        } else if next == next_sample {
            tell(&shedder, sum_since_sample / SAMPLE.as_secs_f64() / CAPACITY);
            sum_since_sample = 0.0;
            next_sample = next_sample + SAMPLE;
        } else {
            let priority = priorities.usize(0..3);
            let permit = shedder.admit([1, 2, 3][priority]);
            if clock.now() >= settled {
                arrived[priority] += 1;
                admitted[priority] += u32::from(permit.is_ok());
            }
            if let Ok(permit) = permit {
                ends.push(Reverse((next + exponential(SERVICE), permits.len())));
                permits.push(Some(permit));
                under_way += 1;
            }
            next_arrival = next_arrival + exponential(SERVICE / CAPACITY / demand);
        }
    }
    let share = |priority: usize| f64::from(admitted[priority]) / f64::from(arrived[priority]);
    let measured = END.saturating_sub(SETTLED).as_secs_f64();
    Outcome {
        admitted: [share(0), share(1), share(2)],
        utilisation: sum_since_settled / measured / CAPACITY,
        peak: f64::from(peak) / CAPACITY,
    }
}

/// The load as the CPU's: sampled.
fn sampled(demand: f64) -> Outcome {
    let build = |shedder: LoadShedderBuilder| {
        shedder.max_load(0.9).cpu(true).load_source(Arc::new(Recorded))
    };
    simulate(demand, build, LoadShedder::record_cpu)
}

/// Calls under way, known at the instant.
fn instant(demand: f64) -> Outcome {
    simulate(demand, |shedder| shedder.capacity(50), |_, _| ())
}

#[track_caller]
fn assert_close(outcome: &Outcome, admitted: [f64; 3], within: f64) {
    for (got, expected) in outcome.admitted.iter().zip(admitted) {
        assert!((got - expected).abs() <= within, "{:?}, not {admitted:?}", outcome.admitted);
    }
}

#[test]
fn a_sampled_signal_keeps_priorities_and_steers_utilisation_at_five_times_the_capacity() {
    let outcome = sampled(5.0);
    assert_close(&outcome, [0.0, 0.0, 0.54], 0.02);
    assert!((0.88..=0.92).contains(&outcome.utilisation), "{}", outcome.utilisation);
}

#[test]
fn a_sampled_signal_sheds_the_lowest_at_half_as_much_again_and_nobody_below_the_capacity() {
    let outcome = sampled(1.5);
    let [low, middle, high] = outcome.admitted;
    assert!(low <= 0.15 && middle >= 0.75 && high >= 0.98, "{:?}", outcome.admitted);
    assert!((0.85..=0.95).contains(&outcome.utilisation), "{}", outcome.utilisation);
    let outcome = sampled(0.7);
    assert!(outcome.admitted.iter().all(|share| *share >= 0.99), "{:?}", outcome.admitted);
}

/// The control: the same samples judged by steps, as sampled signals are in other libraries.
#[test]
fn steps_on_a_sampled_load_keep_no_priorities_which_is_why_they_are_not_used_there() {
    let load = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&load);
    let stale = move || f64::from_bits(told.load(Ordering::Relaxed));
    let tell = |_: &LoadShedder, sample: f64| load.store(sample.to_bits(), Ordering::Relaxed);
    let outcome = simulate(5.0, |shedder| shedder.signal(stale), tell);
    let [low, _, high] = outcome.admitted;
    assert!(low > 0.2 && high - low < 0.1, "{:?}", outcome.admitted);
    assert!(outcome.utilisation > 1.2, "{}", outcome.utilisation);
}

#[test]
fn calls_under_way_keep_priorities_and_the_capacity() {
    for (demand, admitted) in [
        (0.7, [0.89, 1.0, 1.0]),
        (1.0, [0.44, 0.94, 1.0]),
        (1.5, [0.09, 0.65, 0.99]),
        (2.0, [0.02, 0.36, 0.97]),
        (5.0, [0.0, 0.01, 0.57]),
    ] {
        let outcome = instant(demand);
        assert_close(&outcome, admitted, 0.03);
        assert!(outcome.peak <= 1.0);
    }
}
