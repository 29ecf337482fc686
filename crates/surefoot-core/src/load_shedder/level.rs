//! The rule for sampled signals: a threshold among the arrivals of the last window.
//!
//! A load that is a quarter of a second old says the same to every call, so steps would shed all
//! priorities alike, or none. Here the samples decide *how many* calls are admitted, and a histogram
//! of the calls that arrived decides *which*: the most important ones.
//!
//! Source: WeChat's DAGOR (Zhou et al., "Overload Control for Scaling WeChat Microservices", SoCC
//! 2018) for the threshold, failsafe-go for ten dozen levels within a priority. Steering is our own:
//! measured, it keeps utilisation at its target where DAGOR's fixed steps are slow.

use std::time::Duration;

use super::freshness::Freshness;
use super::signal::Signal;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Mutex, lock};
use crate::{TimeSource, Timestamp};

/// Levels within each priority, by which calls of one priority are told apart.
pub(super) const LEVELS: u32 = 100;
/// Places within a level, so that a threshold can lie inside one.
const PLACES: u32 = 256;

/// The share of the arrivals that is admitted is never less: else nothing would be seen to recover.
const LEAST_SHARE: f64 = 0.01;
/// How much that share changes with one window at most, down and up. The load is smoothed over two
/// windows, for a noise that is cut off above and not below would keep utilisation below its target
/// (by 2 %, measured).
const LARGEST_CUT: f64 = 0.5;
const LARGEST_RISE: f64 = 1.1;
/// A window with fewer arrivals remembers those before it, so that its quantile means something.
const ARRIVALS_MIN: f64 = 200.0;

/// A place among the arrivals: a hundred levels for each priority, and places within them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u32);

impl Place {
    /// `level` is the priority counted from 0; the rest is drawn from `random`.
    pub(super) fn drawn(level: usize, random: u64) -> Self {
        Self::of_user(level, random >> 32, random)
    }

    /// The same within the level that belongs to a user.
    pub(super) fn of_user(level: usize, user: u64, random: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "remainders of small numbers")]
        let (within, place) =
            ((user % u64::from(LEVELS)) as u32, (random % u64::from(PLACES)) as u32);
        let level = u32::try_from(level).unwrap_or(u32::MAX);
        Self(level.saturating_mul(LEVELS).saturating_add(within) * PLACES + place)
    }

    fn bucket(self) -> usize {
        (self.0 / PLACES) as usize
    }
}

/// Sheds the least important of the arrivals, as many as keep the load at its target.
#[derive(Debug)]
pub(super) struct LevelThreshold {
    target: f64,
    interval: Duration,
    freshness: Freshness,
    /// The threshold (24 bits), the signal that set it (8 bits) and its load (`f32`), so that all
    /// three are of one window.
    word: AtomicU64,
    /// Arrivals of the present window, by level.
    arrivals: Box<[AtomicU32]>,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    began: Timestamp,
    cpu: Track,
    queue_delay: Track,
    /// The share of the arrivals that is admitted.
    share: f64,
    /// Arrivals of the last windows, by level, together at least [`ARRIVALS_MIN`] if there were.
    recent: Box<[f64]>,
}

/// The samples of one signal.
#[derive(Clone, Copy, Debug, Default)]
struct Track {
    sum: f64,
    samples: u32,
    /// The load up to the last window that had any, and when that ended.
    last: Option<(f64, Timestamp)>,
}

impl Track {
    fn add(&mut self, load: f64) {
        self.sum += load;
        self.samples += 1;
    }

    /// The load at the end of a window: half of it the mean of that window, half what it was before.
    /// A window without a sample changes nothing.
    fn end_window(&mut self, now: Timestamp, stale_after: Duration) -> Option<f64> {
        if self.samples > 0 {
            let mean = self.sum / f64::from(self.samples);
            let before = self.load(now, stale_after).unwrap_or(mean);
            self.last = Some((before.midpoint(mean), now));
            (self.sum, self.samples) = (0.0, 0);
        }
        self.load(now, stale_after)
    }

    fn load(&self, now: Timestamp, stale_after: Duration) -> Option<f64> {
        let (load, at) = self.last?;
        (now - at <= stale_after).then_some(load)
    }
}

impl LevelThreshold {
    pub(super) fn new(target: f64, priorities: u32, interval: Duration, now: Timestamp) -> Self {
        let levels = (priorities * LEVELS) as usize;
        Self {
            target,
            interval,
            freshness: Freshness::new(interval),
            word: AtomicU64::new(0),
            arrivals: (0..levels).map(|_| AtomicU32::new(0)).collect(),
            window: Mutex::new(Window::new(levels, now)),
        }
    }

    /// Counts an arrival, and gives the signal and the load for which it is to be shed. Reads the
    /// clock only where it is below the threshold.
    #[inline]
    pub(super) fn arrive(&self, place: Place, time: &TimeSource) -> Option<(Signal, f32)> {
        self.arrivals[place.bucket()].fetch_add(1, Ordering::Relaxed);
        let (threshold, signal, load) = unpack(self.word.load(Ordering::Relaxed));
        (place < threshold && self.freshness.is_fresh(time.now())).then_some((signal, load))
    }

    /// Adds a sample to the present window, and ends the window if it is long enough.
    pub(super) fn record(&self, signal: Signal, load: f64, now: Timestamp) {
        let mut window = lock(&self.window);
        if !self.freshness.is_fresh(now) {
            // Nobody looked for a while: what was decided before says nothing now.
            *window = Window { began: window.began, ..Window::new(self.arrivals.len(), now) };
            self.word.store(0, Ordering::Relaxed);
        }
        window.track(signal).add(load);
        self.freshness.note(now);
        // Samplers are never quite on time, and a window must not miss one for that.
        let long_enough = self.interval / 8 * 7;
        if now < window.began || now - window.began >= long_enough {
            self.end_window(&mut window, now);
        }
    }

    fn end_window(&self, window: &mut Window, now: Timestamp) {
        let arrivals = self.arrivals.iter().map(|count| count.swap(0, Ordering::Relaxed));
        window.take_in(&arrivals.collect::<Vec<u32>>());
        let stale_after = self.freshness.stale_after();
        let cpu = window.cpu.end_window(now, stale_after);
        let queue_delay = window.queue_delay.end_window(now, stale_after);
        let (signal, load) = match (cpu, queue_delay) {
            (cpu, Some(delay)) if cpu.is_none_or(|cpu| delay > cpu) => (Signal::QueueDelay, delay),
            (cpu, _) => (Signal::Cpu, cpu.unwrap_or_default()),
        };
        let change = (self.target / load).clamp(LARGEST_CUT, LARGEST_RISE);
        window.share = (window.share * change).clamp(LEAST_SHARE, 1.0);
        self.word.store(pack(window.threshold(), signal, load), Ordering::Relaxed);
        window.began = now;
    }

    /// The load that `signal` told last, while it counts.
    pub(super) fn load(&self, signal: Signal, now: Timestamp) -> Option<f64> {
        lock(&self.window).track(signal).load(now, self.freshness.stale_after())
    }

    /// The share of the arrivals that is admitted.
    pub(super) fn share(&self, now: Timestamp) -> f64 {
        let window = lock(&self.window);
        if self.freshness.is_fresh(now) { window.share } else { 1.0 }
    }
}

impl Window {
    fn new(levels: usize, now: Timestamp) -> Self {
        Self {
            began: now,
            cpu: Track::default(),
            queue_delay: Track::default(),
            share: 1.0,
            recent: vec![0.0; levels].into(),
        }
    }

    fn track(&mut self, signal: Signal) -> &mut Track {
        match signal {
            Signal::QueueDelay => &mut self.queue_delay,
            _ => &mut self.cpu,
        }
    }

    /// Adds a window's arrivals to the recent ones, and forgets as many of those.
    fn take_in(&mut self, arrivals: &[u32]) {
        let arrived: f64 = arrivals.iter().copied().map(f64::from).sum();
        let kept = (1.0 - arrived / ARRIVALS_MIN).max(0.0);
        for (recent, arrivals) in self.recent.iter_mut().zip(arrivals) {
            *recent = *recent * kept + f64::from(*arrivals);
        }
    }

    /// The place below which the share of the arrivals lies that is to be shed.
    fn threshold(&self) -> Place {
        let mut to_shed = self.recent.iter().sum::<f64>() * (1.0 - self.share);
        if to_shed <= 0.0 {
            return Place(0);
        }
        let mut threshold = 0;
        for arrivals in &self.recent {
            if *arrivals > to_shed {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a share of the places in a level"
                )]
                let within = (to_shed / arrivals * f64::from(PLACES)) as u32;
                return Place(threshold + within);
            }
            to_shed -= arrivals;
            threshold += PLACES;
        }
        Place(threshold)
    }
}

fn pack(threshold: Place, signal: Signal, load: f64) -> u64 {
    let signal = u64::from(signal == Signal::QueueDelay);
    #[expect(clippy::cast_possible_truncation, reason = "shown to people, not judged by")]
    let load = u64::from((load as f32).to_bits());
    u64::from(threshold.0) << 40 | signal << 32 | load
}

fn unpack(word: u64) -> (Place, Signal, f32) {
    let signal = if word >> 32 & 1 == 1 { Signal::QueueDelay } else { Signal::Cpu };
    #[expect(clippy::cast_possible_truncation, reason = "the parts of the word")]
    let (threshold, load) = ((word >> 40) as u32, word as u32);
    (Place(threshold), signal, f32::from_bits(load))
}

#[cfg(all(test, not(surefoot_loom)))]
mod tests {
    use super::*;
    use crate::ManualClock;

    const INTERVAL: Duration = Duration::from_millis(250);

    struct World {
        clock: ManualClock,
        time: TimeSource,
        threshold: LevelThreshold,
    }

    fn world(priorities: u32) -> World {
        let clock = ManualClock::new();
        let time = TimeSource::from(&clock);
        let threshold = LevelThreshold::new(0.9, priorities, INTERVAL, time.now());
        World { clock, time, threshold }
    }

    impl World {
        /// One arrival in the middle of each level of each priority, `times` over; gives how many of
        /// each priority were shed.
        fn arrivals(&self, times: u64) -> Vec<u64> {
            let priorities = self.threshold.arrivals.len() / LEVELS as usize;
            let shed = |priority| {
                let places = (0..u64::from(LEVELS)).map(|level| (level << 32) | 128);
                let arrive = |random| {
                    self.threshold.arrive(Place::drawn(priority, random), &self.time).is_some()
                };
                places.filter(|random| arrive(*random)).count() as u64
            };
            let mut sum = vec![0; priorities];
            for _ in 0..times {
                sum.iter_mut().enumerate().for_each(|(priority, sum)| *sum += shed(priority));
            }
            sum
        }

        fn record(&self, load: f64) {
            self.clock.advance(INTERVAL);
            self.threshold.record(Signal::Cpu, load, self.time.now());
        }

        fn share(&self) -> f64 {
            self.threshold.share(self.time.now())
        }
    }

    fn close(one: f64, other: f64) -> bool {
        (one - other).abs() < 1e-9
    }

    #[test]
    fn the_admitted_share_is_multiplied_by_what_the_load_is_off_its_target_within_bounds() {
        let world = world(1);
        for (load, share) in [
            (0.9, 1.0),    // at the target
            (0.5, 1.0),    // never more than all
            (1.7, 0.75),   // 0.9 / 1.2: smoothed with the 0.7 before
            (4.8, 0.375),  // at most halved: 3.0
            (0.0, 0.225),  // 0.9 / 1.5
            (0.0, 0.2475), // 0.75: at most a tenth more
            (1.03, 0.2475 * 0.9 / 0.89),
        ] {
            world.record(load);
            assert!(close(world.share(), share), "{load}: {}", world.share());
        }
        (0..20).for_each(|_| world.record(100.0));
        assert!(close(world.share(), 0.01));
        (0..60).for_each(|_| world.record(0.0));
        assert!(close(world.share(), 1.0));
    }

    #[test]
    fn the_least_important_of_the_arrivals_are_shed() {
        let world = world(3);
        assert_eq!(world.arrivals(1), [0, 0, 0]);
        world.record(1.8); // half of 300 arrivals
        assert_eq!(world.arrivals(1), [100, 50, 0]);
        world.record(0.6); // three quarters of that, smoothed
        assert_eq!(world.arrivals(1), [100, 87, 0]);
        (0..20).for_each(|_| {
            world.arrivals(1);
            world.record(9.0);
        });
        assert_eq!(world.arrivals(1), [100, 100, 97]);
    }

    #[test]
    fn the_histogram_is_that_of_the_last_window_where_many_arrive() {
        let world = world(3);
        world.arrivals(1);
        world.record(1.8);
        // Now only the highest priority comes, and half of it is still too much.
        for level in 0..200 {
            let place = Place::drawn(2, (level % 100) << 32);
            assert_eq!(world.threshold.arrive(place, &world.time), None);
        }
        world.record(0.0);
        assert_eq!(world.arrivals(1), [100, 100, 50]);
    }

    #[test]
    fn where_few_arrive_earlier_windows_are_remembered() {
        let world = world(2);
        world.arrivals(1);
        world.record(1.8);
        // One call of the higher priority is no distribution to take a quantile of.
        world.threshold.arrive(Place::drawn(1, 0), &world.time);
        world.record(0.0);
        assert_eq!(world.arrivals(1), [100, 0]);
    }

    #[test]
    fn a_threshold_can_lie_within_a_level() {
        let world = world(1);
        let of_one_user = |place| Place::of_user(0, 42, place);
        for place in 0..1000 {
            world.threshold.arrive(of_one_user(place), &world.time);
        }
        world.record(1.2);
        let shed = |place: &u64| world.threshold.arrive(of_one_user(*place), &world.time).is_some();
        assert_eq!((0..256).filter(shed).count(), 64); // a quarter
    }

    #[test]
    fn stale_samples_admit_and_what_they_decided_is_forgotten() {
        let world = world(1);
        world.arrivals(1);
        world.record(9.0);
        assert_eq!(world.arrivals(1), [50]);
        world.clock.advance(4 * INTERVAL);
        assert_eq!(world.arrivals(1), [50]);
        world.clock.advance(Duration::from_nanos(1));
        assert_eq!(world.arrivals(1), [0]);
        assert!(close(world.share(), 1.0));
        world.record(0.9);
        assert!(close(world.share(), 1.0));
        assert_eq!(world.arrivals(1), [0]);
    }

    #[test]
    fn a_window_ends_with_a_sample_that_is_not_much_too_early() {
        let world = world(1);
        let at = |ms| world.time.now() + Duration::from_millis(ms);
        world.threshold.record(Signal::Cpu, 1.8, at(218));
        assert!(close(world.share(), 1.0));
        // Its load is the mean of both samples.
        world.threshold.record(Signal::Cpu, 0.6, at(219));
        assert!(close(world.threshold.share(at(219)), 0.75));
    }

    #[test]
    fn the_highest_load_counts_and_one_that_was_not_sampled_in_a_window_is_taken_from_the_last() {
        let world = world(1);
        world.threshold.record(Signal::QueueDelay, 1.2, world.time.now());
        world.record(1.0);
        assert!(close(world.share(), 0.75));
        let (_, signal, load) = unpack(world.threshold.word.load(Ordering::Relaxed));
        assert_eq!((signal, load), (Signal::QueueDelay, 1.2));
        world.record(1.0);
        assert!(close(world.share(), 0.75 * 0.75));
        assert_eq!(world.threshold.load(Signal::QueueDelay, world.time.now()), Some(1.2));
        // Until it is stale.
        (0..4).for_each(|_| world.record(0.9));
        assert_eq!(world.threshold.load(Signal::QueueDelay, world.time.now()), None);
        let (_, signal, _) = unpack(world.threshold.word.load(Ordering::Relaxed));
        assert_eq!(signal, Signal::Cpu);
    }

    #[test]
    fn a_clock_that_goes_backwards_stops_nothing() {
        let world = world(1);
        world.clock.set(Timestamp::ZERO + 100 * INTERVAL);
        world.record(0.9);
        world.clock.set(Timestamp::ZERO);
        world.threshold.record(Signal::Cpu, 1.5, world.time.now());
        assert!(close(world.share(), 0.75));
        world.record(1.2);
        assert!(close(world.share(), 0.75 * 0.75));
    }

    /// Half as many as are to be remembered push out half of what was there.
    #[test]
    fn arrivals_are_remembered_until_enough_others_have_come() {
        let mut window = Window::new(2, Timestamp::ZERO);
        window.take_in(&[100, 0]);
        window.take_in(&[0, 100]);
        assert!(close(window.recent[0], 50.0) && close(window.recent[1], 100.0));
        window.take_in(&[0, 400]);
        assert!(close(window.recent[0], 0.0) && close(window.recent[1], 400.0));
    }
}
