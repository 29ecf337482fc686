//! The try at less: whether fewer calls at once get as much done.
//!
//! Latency alone cannot tell a queue that has always been there from work. So once the limit has
//! been in full use for a while, it is lowered on trial. If as much is done as before, those calls
//! were only waiting.

use std::time::Duration;

use super::{Window, ratio};
use crate::time::nanos;

/// What is tried.
const LESS: f64 = 0.8;
/// The share of before that counts as just as much.
const AS_MUCH: f64 = 0.95;
/// Windows with the limit in full use before a try,
const PATIENCE: u32 = 30;
/// and before another one when the last was kept.
const PATIENCE_AFTER_SUCCESS: u32 = 3;
/// Windows that pass before it shows what the lower limit does,
const SETTLING: u32 = 1;
/// and those it is then judged by.
const JUDGED: u32 = 3;
/// Windows before the try that it is compared with.
const COMPARED: usize = 5;

#[derive(Clone, Debug)]
pub(super) struct Probe {
    state: State,
    /// What was done in the last windows, the oldest overwritten first.
    before: [Work; COMPARED],
    oldest: usize,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The limit has to be reached in so many more windows.
    Waiting { saturated_windows: u32 },
    /// At less, and what to return to if that does less.
    Trying { from: f64, rate_before: f64, windows: u32, work: Work },
}

/// Calls done, in how long, and how long they took.
#[derive(Clone, Copy, Debug, Default)]
struct Work {
    calls: u64,
    elapsed: u64,
    latency: u64,
}

/// What a window means for the limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// No try is on: latency decides.
    Follow,
    /// A try is on.
    Stay,
    /// A try begins, or has shown that less does less.
    Set(f64),
    /// A try has shown that less does as much, with this latency.
    Keep { latency: f64 },
}

impl Probe {
    pub(super) fn step(
        &mut self,
        limit: f64,
        is_saturated: bool,
        window: &Window,
        elapsed: Duration,
    ) -> Step {
        let work = Work::of(window, elapsed);
        match self.state {
            State::Waiting { saturated_windows } => {
                self.remember(work);
                let saturated_windows = saturated_windows.saturating_sub(u32::from(is_saturated));
                self.state = State::Waiting { saturated_windows };
                match self.rate_before() {
                    Some(rate_before)
                        if saturated_windows == 0 && is_lower(LESS * limit, limit) =>
                    {
                        let windows = 0;
                        let work = Work::default();
                        self.state = State::Trying { from: limit, rate_before, windows, work };
                        Step::Set(LESS * limit)
                    }
                    _ => Step::Follow,
                }
            }
            State::Trying { from, rate_before, windows, work: so_far } => {
                let windows = windows + 1;
                let work = if windows > SETTLING { so_far.and(work) } else { so_far };
                if windows < SETTLING + JUDGED {
                    self.state = State::Trying { from, rate_before, windows, work };
                    return Step::Stay;
                }
                match (work.rate(), work.mean_latency()) {
                    (Some(rate), Some(latency)) if rate >= AS_MUCH * rate_before => {
                        self.wait(PATIENCE_AFTER_SUCCESS);
                        Step::Keep { latency }
                    }
                    _ => {
                        self.wait(PATIENCE);
                        Step::Set(from)
                    }
                }
            }
        }
    }

    /// Ends a try that something else has overtaken.
    pub(super) fn abandon(&mut self) {
        if let State::Trying { .. } = self.state {
            self.wait(PATIENCE);
        }
    }

    fn wait(&mut self, saturated_windows: u32) {
        self.state = State::Waiting { saturated_windows };
    }

    fn remember(&mut self, work: Work) {
        self.before[self.oldest] = work;
        self.oldest = (self.oldest + 1) % COMPARED;
    }

    fn rate_before(&self) -> Option<f64> {
        self.before.into_iter().fold(Work::default(), Work::and).rate()
    }
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            state: State::Waiting { saturated_windows: PATIENCE },
            before: [Work::default(); COMPARED],
            oldest: 0,
        }
    }
}

impl Work {
    fn of(window: &Window, elapsed: Duration) -> Self {
        Self { calls: window.samples, elapsed: nanos(elapsed), latency: nanos(window.latency) }
    }

    fn and(self, other: Self) -> Self {
        Self {
            calls: self.calls.saturating_add(other.calls),
            elapsed: self.elapsed.saturating_add(other.elapsed),
            latency: self.latency.saturating_add(other.latency),
        }
    }

    fn rate(self) -> Option<f64> {
        ratio(self.calls, self.elapsed)
    }

    fn mean_latency(self) -> Option<f64> {
        ratio(self.latency, self.calls)
    }
}

/// Whether fewer calls are admitted: only whole ones are.
fn is_lower(tried: f64, limit: f64) -> bool {
    tried.max(1.0).floor() < limit.floor()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A window of a second in which so many calls were done, the limit in full use.
    fn window(probe: &mut Probe, limit: f64, samples: u64) -> Step {
        let window =
            Window { samples, latency: Duration::from_millis(samples), ..Window::default() };
        probe.step(limit, true, &window, Duration::from_secs(1))
    }

    /// A probe on trial at 8.0 of 10.0, after windows in the last five of which so much was done.
    fn on_trial(last: [u64; 5]) -> Probe {
        let mut probe = Probe::default();
        (0..25).for_each(|_| assert_eq!(window(&mut probe, 10.0, 1), Step::Follow));
        let steps = last.map(|samples| window(&mut probe, 10.0, samples));
        assert_eq!(steps[4], Step::Set(8.0));
        probe
    }

    fn verdict(mut probe: Probe, windows: [u64; 4]) -> Step {
        let steps = windows.map(|samples| window(&mut probe, 8.0, samples));
        assert_eq!(steps[..3], [Step::Stay; 3]);
        steps[3]
    }

    #[test]
    fn a_try_is_compared_with_all_of_the_last_five_windows() {
        let uneven = || on_trial([100, 100, 100, 100, 20]);
        assert_eq!(verdict(uneven(), [80, 79, 80, 79]), Step::Set(10.0));
        assert!(matches!(verdict(uneven(), [80, 80, 80, 80]), Step::Keep { .. }));
    }

    #[test]
    fn the_first_window_of_a_try_counts_neither_for_nor_against_it() {
        let even = || on_trial([100; 5]);
        assert!(matches!(verdict(even(), [0, 95, 95, 95]), Step::Keep { .. }));
        assert_eq!(verdict(even(), [500, 94, 94, 94]), Step::Set(10.0));
    }

    /// Four fifths of 2.9 are 2.3, which admits two calls as well.
    #[test]
    fn what_would_admit_as_many_is_no_try() {
        let mut probe = Probe::default();
        assert!((0..100).all(|_| window(&mut probe, 2.9, 1) == Step::Follow));
    }
}
