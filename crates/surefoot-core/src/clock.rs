//! Where time comes from: the traits, the system's clock, and the one tests move by hand.

mod manual;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use manual::{ManualClock, ManualSleep};

use crate::Timestamp;

/// A source of time. Policies read it only when their answer depends on it.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Monotonic time: what every decision is made with.
    fn now(&self) -> Timestamp;

    /// The time of day, for display only (`last_failure_time`).
    fn time_of_day(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// A clock that can also be waited on, in the way of the runtime it belongs to.
///
/// Tokio's timers and [`ManualClock`] are built in; implement this for any other runtime and give
/// it to a policy's `clock` option.
pub trait Timer: Clock {
    /// A future that completes once [`now`](Clock::now) has reached `at`. Dropping it must
    /// release whatever it registered.
    fn sleep_until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Blocks the thread until [`now`](Clock::now) has reached `at`.
    fn block_until(&self, at: Timestamp) {
        while let Some(left) = time_left(at, self.now()) {
            std::thread::park_timeout(left);
        }
    }
}

/// The machine's monotonic clock.
///
/// Its origin is the first reading in this process, so the timestamps of all `SystemClock`s agree.
/// Where the kernel keeps time by the CPU's counter, a reading costs that of the counter (about
/// 10 ns), elsewhere one `Instant::now()`; see the crate `surefoot-clock`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[inline]
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(surefoot_clock::now())
    }
}

/// What a policy holds to tell time by: the system's clock unless told otherwise.
///
/// Made from a [`ManualClock`], or from an `Arc` of any [`Timer`].
#[derive(Clone, Debug, Default)]
pub enum TimeSource {
    /// The machine's clock, waited on with the host's own timers.
    #[default]
    System,
    /// A clock that tests move.
    Manual(ManualClock),
    /// Any other clock with its own way to wait.
    Custom(Arc<dyn Timer>),
}

impl TimeSource {
    /// Monotonic time now.
    #[inline]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => SystemClock.now(),
            other => other.now_elsewhere(),
        }
    }

    /// Out of line, so that a reading of the system's clock is a few instructions wherever it is
    /// made.
    #[inline(never)]
    fn now_elsewhere(&self) -> Timestamp {
        match self {
            Self::System => SystemClock.now(),
            Self::Manual(clock) => clock.now(),
            Self::Custom(clock) => clock.now(),
        }
    }

    /// The time of day, for display.
    pub fn time_of_day(&self) -> SystemTime {
        match self {
            Self::System => SystemClock.time_of_day(),
            Self::Manual(clock) => clock.time_of_day(),
            Self::Custom(clock) => clock.time_of_day(),
        }
    }

    /// Whether timestamps of the two can be compared.
    pub fn is_same_clock(&self, other: &Self) -> bool {
        self.id() == other.id()
    }

    /// Tells clocks apart while both are alive: timestamps can be compared where ids are equal.
    pub(crate) fn id(&self) -> usize {
        match self {
            Self::System => 0,
            Self::Manual(clock) => clock.id(),
            Self::Custom(clock) => Arc::as_ptr(clock).cast::<()>() as usize,
        }
    }
}

impl From<SystemClock> for TimeSource {
    fn from(_: SystemClock) -> Self {
        Self::System
    }
}

impl From<ManualClock> for TimeSource {
    fn from(clock: ManualClock) -> Self {
        Self::Manual(clock)
    }
}

impl From<&ManualClock> for TimeSource {
    fn from(clock: &ManualClock) -> Self {
        Self::Manual(clock.clone())
    }
}

impl<T: Timer> From<Arc<T>> for TimeSource {
    fn from(clock: Arc<T>) -> Self {
        Self::Custom(clock)
    }
}

/// The time from `now` to `at`, or `None` once `at` is reached.
pub(crate) fn time_left(at: Timestamp, now: Timestamp) -> Option<Duration> {
    (now < at).then(|| at - now)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// A clock that one nanosecond passes on with each reading.
    #[derive(Debug, Default)]
    struct Readings(AtomicU64);

    impl Clock for Readings {
        fn now(&self) -> Timestamp {
            Timestamp::from_nanos(self.0.fetch_add(1, Ordering::Relaxed))
        }
    }

    impl Timer for Readings {
        fn sleep_until(&self, _: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send>> {
            Box::pin(std::future::ready(()))
        }
    }

    #[test]
    fn a_thread_is_blocked_until_the_clock_shows_the_time() {
        let clock = Readings::default();
        clock.block_until(Timestamp::from_nanos(5));
        assert_eq!(clock.now(), Timestamp::from_nanos(6));
    }

    #[test]
    fn a_policy_tells_time_by_the_clock_it_was_given() {
        let source = TimeSource::from(Arc::new(Readings::default()));
        assert_eq!(source.now(), Timestamp::ZERO);
        assert_eq!(source.now(), Timestamp::from_nanos(1));
    }

    #[test]
    fn timestamps_can_be_compared_where_the_clock_is_the_same() {
        let manual = [ManualClock::new(), ManualClock::new()];
        let custom = [Arc::new(Readings::default()), Arc::new(Readings::default())];
        let sources = || {
            let mut sources = vec![TimeSource::from(SystemClock)];
            sources.extend(manual.iter().map(TimeSource::from));
            sources.extend(custom.iter().cloned().map(TimeSource::from));
            sources
        };
        for (first, one) in sources().iter().enumerate() {
            for (second, other) in sources().iter().enumerate() {
                assert_eq!(one.is_same_clock(other), first == second, "{one:?} and {other:?}");
            }
        }
    }

    #[test]
    fn the_system_clock_moves() {
        let start = SystemClock.now();
        assert!((0..10_000_000).any(|_| SystemClock.now() > start));
    }
}
