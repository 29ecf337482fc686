//! What a breaker remembers of the calls it judges by.
//!
//! Successes are anonymous: only how many there were matters, so they are counted in one atomic
//! outside, and each window is handed that number (`successes`, since the breaker closed). A
//! failure's place in the order of calls is then `successes + failures`, and a window need only
//! remember failures (and slow calls), never successes.

mod calls;
mod failures;
mod time;

use std::time::Duration;

use super::config::CircuitBreakerConfig;
use super::trip::Trip;
use crate::Timestamp;
use calls::{CallWindow, Judged};
use failures::FailureTimes;
pub(super) use time::TimeWindow;

/// The memory of one breaker, in the kind its [`Trip`] asks for.
#[derive(Debug)]
pub(super) enum Window {
    Failures(FailureTimes),
    Consecutive { streak: u64, limit: u32 },
    Calls(CallWindow),
    Time(TimeWindow),
}

/// One recorded call, as a window sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) at: Timestamp,
    pub(super) failed: bool,
    /// How long it took; known only where a window [asks for it](Window::slow_after).
    pub(super) took: Duration,
    /// Successes since the breaker closed, this call included if it is one.
    pub(super) successes: u64,
}

/// Calls counted, for the status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) failures: u64,
    pub(super) successes: u64,
}

impl Counts {
    /// The share of failures; 0.0 before any call.
    #[expect(clippy::cast_precision_loss, reason = "a share of more than 2^53 calls may round")]
    pub(super) fn rate(self) -> f64 {
        let calls = self.failures + self.successes;
        if calls == 0 { 0.0 } else { self.failures as f64 / calls as f64 }
    }
}

impl Window {
    pub(super) fn new(config: &CircuitBreakerConfig, now: Timestamp) -> Self {
        match config.trip {
            None => {
                Self::Failures(FailureTimes::new(config.failure_threshold, config.failure_window))
            }
            Some(Trip::Consecutive { failures }) => {
                Self::Consecutive { streak: 0, limit: failures }
            }
            Some(Trip::RateCountWindow { rate, window_calls, min_calls }) => {
                Self::Calls(CallWindow::new(Judged::Failures, rate, window_calls, min_calls))
            }
            Some(Trip::Slow { rate, slow_after, window_calls, min_calls }) => Self::Calls(
                CallWindow::new(Judged::SlowerThan(slow_after), rate, window_calls, min_calls),
            ),
            Some(Trip::RateTimeWindow { rate, window, min_calls, buckets }) => {
                Self::Time(TimeWindow::new(rate, window, min_calls, buckets, now))
            }
        }
    }

    /// Forgets every call.
    pub(super) fn clear(&mut self, now: Timestamp) {
        match self {
            Self::Failures(times) => times.clear(),
            Self::Consecutive { streak, .. } => *streak = 0,
            Self::Calls(calls) => calls.clear(),
            Self::Time(time) => time.clear(now),
        }
    }

    /// Takes over what an earlier window remembers; `false` if the two remember different
    /// things, so that this one starts empty.
    pub(super) fn inherit(&mut self, earlier: &mut Self, successes: u64) -> bool {
        match (self, earlier) {
            (Self::Failures(new), Self::Failures(old)) => new.inherit(old),
            (Self::Consecutive { streak, .. }, Self::Consecutive { streak: old, .. }) => {
                *streak = *old;
                true
            }
            (Self::Calls(new), Self::Calls(old)) => new.inherit(old, successes),
            (Self::Time(new), Self::Time(old)) => new.inherit(old, successes),
            _ => false,
        }
    }

    /// Whether this call can make later successes matter.
    pub(super) fn minds(&self, call: &Call) -> bool {
        match self {
            Self::Failures(_) => false,
            Self::Consecutive { .. } | Self::Time(_) => call.failed,
            Self::Calls(calls) => {
                call.failed || calls.slow_after().is_some_and(|limit| call.took >= limit)
            }
        }
    }

    /// Records a call, and tells whether the breaker trips on it.
    pub(super) fn record(&mut self, call: Call) -> bool {
        match self {
            Self::Failures(times) => call.failed && times.record(call.at),
            Self::Consecutive { streak, limit } => {
                *streak = if call.failed { *streak + 1 } else { 0 };
                *streak >= u64::from(*limit)
            }
            Self::Calls(calls) => calls.record(call),
            Self::Time(time) => time.record(call),
        }
    }

    /// Whether successes that were only counted have, by a call at `at`, completed the minimum of
    /// calls with a share of failures that trips.
    pub(super) fn trips_by_count(&self, at: Timestamp, successes: u64) -> bool {
        match self {
            Self::Failures(_) | Self::Consecutive { .. } => false,
            Self::Calls(calls) => calls.trips_by_count(successes),
            Self::Time(time) => time.trips_by_count(at, successes),
        }
    }

    /// Whether the next success has to be shown to the window, rather than only counted.
    pub(super) fn is_watchful(&self, successes: u64) -> bool {
        match self {
            Self::Failures(_) => false,
            Self::Consecutive { streak, .. } => *streak > 0,
            Self::Calls(calls) => calls.is_watchful(successes),
            Self::Time(time) => time.is_watchful(successes),
        }
    }

    /// From this duration on a call is slow; `None` if durations do not matter.
    pub(super) fn slow_after(&self) -> Option<Duration> {
        match self {
            Self::Calls(calls) => calls.slow_after(),
            Self::Failures(_) | Self::Consecutive { .. } | Self::Time(_) => None,
        }
    }

    pub(super) fn buckets(&self) -> Option<&TimeWindow> {
        match self {
            Self::Time(time) => Some(time),
            Self::Failures(_) | Self::Consecutive { .. } | Self::Calls(_) => None,
        }
    }

    /// Failures as they stand at `now`, and for windows that look at a share, successes too.
    pub(super) fn failures(&self, now: Timestamp, successes: u64) -> u64 {
        match self {
            Self::Failures(times) => times.count(now),
            Self::Consecutive { streak, .. } => *streak,
            Self::Calls(calls) => calls.counts(successes).failures,
            Self::Time(time) => time.counts(now, successes).failures,
        }
    }

    /// Whether it remembers nothing that a decision could depend on.
    pub(super) fn is_empty(&self, now: Timestamp, successes: u64) -> bool {
        match self {
            Self::Failures(times) => times.count(now) == 0,
            Self::Consecutive { streak, .. } => *streak == 0,
            Self::Calls(calls) => calls.counts(successes) == Counts::default(),
            Self::Time(time) => time.counts(now, successes) == Counts::default(),
        }
    }

    /// The calls a share is taken of; `None` where the window knows failures only.
    pub(super) fn counts(&self, now: Timestamp, successes: u64) -> Option<Counts> {
        match self {
            Self::Failures(_) | Self::Consecutive { .. } => None,
            Self::Calls(calls) => Some(calls.counts(successes)),
            Self::Time(time) => Some(time.counts(now, successes)),
        }
    }
}

/// Whether `part` of `whole` reaches the share `rate`.
#[expect(clippy::cast_precision_loss, reason = "windows hold far fewer than 2^53 calls")]
fn reaches(part: u64, whole: u64, rate: f64) -> bool {
    part as f64 / whole as f64 >= rate
}
