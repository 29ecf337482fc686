//! The one time type: a point on a clock's own axis, in whole nanoseconds.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time on one [`Clock`](crate::Clock), in nanoseconds since that clock's origin.
///
/// Only timestamps of the same clock can be compared. All arithmetic saturates: time that runs
/// backwards or past the 584 years that fit never panics and never wraps.
///
/// ```
/// use std::time::Duration;
/// use surefoot_core::Timestamp;
///
/// let start = Timestamp::from_nanos(5);
/// assert_eq!(start + Duration::from_nanos(3), Timestamp::from_nanos(8));
/// assert_eq!(Timestamp::ZERO - start, Duration::ZERO);
/// assert_eq!(start + Duration::MAX, Timestamp::MAX);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The clock's origin.
    pub const ZERO: Self = Self(0);
    /// The last point that can be told: "never" for anything that waits for it.
    pub const MAX: Self = Self(u64::MAX);

    /// The point `nanos` nanoseconds after the origin.
    #[inline]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    #[inline]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Nanoseconds since `earlier`; none if that is in fact later.
    pub(crate) const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The point `duration` before this one, or the origin if that comes later.
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

/// The time from `earlier` to here; zero if `earlier` is in fact later.
impl Sub for Timestamp {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Whole nanoseconds of a duration, saturated to what a [`Timestamp`] can hold.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_lies_before_the_origin() {
        let second = Timestamp::from_nanos(1_000_000_000);
        let half = Duration::from_millis(500);
        assert_eq!(second.saturating_sub(half), Timestamp::from_nanos(500_000_000));
        assert_eq!(second.saturating_sub(half * 3), Timestamp::ZERO);
    }

    #[test]
    fn a_duration_is_as_long_as_it_is_until_a_clock_ends() {
        assert_eq!(nanos(Duration::from_micros(3)), 3_000);
        assert_eq!(nanos(Duration::MAX), u64::MAX);
    }
}
