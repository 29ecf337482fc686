//! What trips a breaker.

use std::fmt;
use std::time::Duration;

use crate::config::{Check, ConfigError};
#[cfg(feature = "serde")]
use crate::config::{duration_text, word};

/// The most calls or failures a window may hold: 8 bytes are kept for each failure in it.
pub(super) const WINDOW_CALLS_MAX: u32 = 1_000_000;
/// The most buckets a time window may be cut into: 16 bytes are kept for each.
pub(super) const BUCKETS_MAX: u32 = 1_000;

/// What trips a breaker instead of `failure_threshold` failures within `failure_window`.
///
/// Rates are judged on every recorded success and failure, and trip at `>=`. In config files the
/// kind stands beside its options:
///
/// ```toml
/// [trip]
/// kind = "rate_time_window"
/// rate = 0.5
/// window = "10s"
/// min_calls = 20
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(tag = "kind", rename_all = "snake_case", try_from = "TripText")
)]
pub enum Trip {
    /// So many failures in a row; a success starts the count anew, an ignored call does not.
    Consecutive {
        /// Failures in a row.
        failures: u32,
    },
    /// A share of failures among the last calls.
    RateCountWindow {
        /// The share that trips, above 0.0 and at most 1.0.
        rate: f64,
        /// How many of the last calls are looked at.
        window_calls: u32,
        /// How many calls it takes before the share is judged at all; at most `window_calls`.
        min_calls: u32,
    },
    /// A share of failures among the calls of the last time.
    ///
    /// Time is cut into `buckets` equal parts and a part leaves as a whole, so that the share is
    /// that of the last `window` less at most one part: between `window · (1 − 1/buckets)` and
    /// `window`.
    RateTimeWindow {
        /// The share that trips, above 0.0 and at most 1.0.
        rate: f64,
        /// How far back calls are looked at.
        #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
        window: Duration,
        /// How many calls it takes before the share is judged at all.
        min_calls: u32,
        /// How many parts the window is cut into; 10 unless said.
        buckets: u32,
    },
    /// A share of slow calls, failed or not, among the last calls.
    ///
    /// A slow trial call while half-open counts as failed.
    Slow {
        /// The share that trips, above 0.0 and at most 1.0.
        rate: f64,
        /// From this duration on a call is slow.
        #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
        slow_after: Duration,
        /// How many of the last calls are looked at.
        window_calls: u32,
        /// How many calls it takes before the share is judged at all; at most `window_calls`.
        min_calls: u32,
    },
}

impl Trip {
    pub(super) fn validate(&self, check: Check) -> Result<(), ConfigError> {
        match *self {
            Self::Consecutive { failures } => check.count("trip.failures", failures, u32::MAX),
            Self::RateCountWindow { rate, window_calls, min_calls } => {
                check.rate("trip.rate", rate)?;
                count_window(check, window_calls, min_calls)
            }
            Self::RateTimeWindow { rate, window, min_calls, buckets } => {
                check.rate("trip.rate", rate)?;
                check.period("trip.window", window)?;
                check.count("trip.min_calls", min_calls, u32::MAX)?;
                check.count("trip.buckets", buckets, BUCKETS_MAX)?;
                check.rule(
                    window.as_nanos() >= u128::from(buckets),
                    "trip.window",
                    crate::config::Shown(window),
                    "must be at least one nanosecond for each of its buckets",
                )
            }
            Self::Slow { rate, slow_after, window_calls, min_calls } => {
                check.rate("trip.rate", rate)?;
                check.period("trip.slow_after", slow_after)?;
                count_window(check, window_calls, min_calls)
            }
        }
    }
}

fn count_window(check: Check, window_calls: u32, min_calls: u32) -> Result<(), ConfigError> {
    check.count("trip.window_calls", window_calls, WINDOW_CALLS_MAX)?;
    check.count("trip.min_calls", min_calls, u32::MAX)?;
    check.rule(
        min_calls <= window_calls,
        "trip.min_calls",
        min_calls,
        &format!("must be at most window_calls, which is {window_calls}"),
    )
}

/// The limit that trips a breaker, short enough to travel with every rejection.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum TripLimit {
    /// So many failures within the window.
    Failures(u32),
    /// So many failures in a row.
    ConsecutiveFailures(u32),
    /// This share of failures.
    FailureRate(f32),
    /// This share of slow calls.
    SlowRate(f32),
}

impl TripLimit {
    /// Packs it into one word, for the lock-free rejection.
    pub(super) fn to_bits(self) -> u64 {
        let (kind, value) = match self {
            Self::Failures(count) => (0, count),
            Self::ConsecutiveFailures(count) => (1, count),
            Self::FailureRate(rate) => (2, rate.to_bits()),
            Self::SlowRate(rate) => (3, rate.to_bits()),
        };
        kind << 32 | u64::from(value)
    }

    pub(super) fn from_bits(bits: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the low half is the value")]
        let value = bits as u32;
        match bits >> 32 {
            0 => Self::Failures(value),
            1 => Self::ConsecutiveFailures(value),
            2 => Self::FailureRate(f32::from_bits(value)),
            _ => Self::SlowRate(f32::from_bits(value)),
        }
    }
}

impl fmt::Display for TripLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failures(1) => f.write_str("1 failure"),
            Self::Failures(count) => write!(f, "{count} failures"),
            Self::ConsecutiveFailures(count) => write!(f, "{count} failures in a row"),
            Self::FailureRate(rate) => write!(f, "{}% of calls failed", rate * 100.0),
            Self::SlowRate(rate) => write!(f, "{}% of calls were slow", rate * 100.0),
        }
    }
}

/// The options of all kinds side by side, as config files write them.
#[cfg(feature = "serde")]
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table like { kind = \"consecutive\", failures = 5 }")]
struct TripText {
    #[serde(deserialize_with = "word::deserialize")]
    kind: TripKind,
    failures: Option<u32>,
    rate: Option<f64>,
    #[serde(default, with = "duration_text::option")]
    window: Option<Duration>,
    #[serde(default, with = "duration_text::option")]
    slow_after: Option<Duration>,
    window_calls: Option<u32>,
    min_calls: Option<u32>,
    buckets: Option<u32>,
}

#[cfg(feature = "serde")]
#[derive(Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum TripKind {
    Consecutive,
    RateCountWindow,
    RateTimeWindow,
    Slow,
}

#[cfg(feature = "serde")]
impl TryFrom<TripText> for Trip {
    type Error = String;

    fn try_from(text: TripText) -> Result<Self, String> {
        let TripText { kind, failures, rate, window, slow_after, window_calls, min_calls, buckets } =
            text;
        let foreign = |given: &[(&str, bool)]| match given.iter().find(|(_, given)| *given) {
            Some((field, _)) => Err(format!("unknown field `{field}` for this kind of trip")),
            None => Ok(()),
        };
        match kind {
            TripKind::Consecutive => {
                foreign(&[
                    ("rate", rate.is_some()),
                    ("window", window.is_some()),
                    ("slow_after", slow_after.is_some()),
                    ("window_calls", window_calls.is_some()),
                    ("min_calls", min_calls.is_some()),
                    ("buckets", buckets.is_some()),
                ])?;
                Ok(Self::Consecutive { failures: needed("failures", failures)? })
            }
            TripKind::RateCountWindow => {
                foreign(&[
                    ("failures", failures.is_some()),
                    ("window", window.is_some()),
                    ("slow_after", slow_after.is_some()),
                    ("buckets", buckets.is_some()),
                ])?;
                Ok(Self::RateCountWindow {
                    rate: needed("rate", rate)?,
                    window_calls: needed("window_calls", window_calls)?,
                    min_calls: needed("min_calls", min_calls)?,
                })
            }
            TripKind::RateTimeWindow => {
                foreign(&[
                    ("failures", failures.is_some()),
                    ("slow_after", slow_after.is_some()),
                    ("window_calls", window_calls.is_some()),
                ])?;
                Ok(Self::RateTimeWindow {
                    rate: needed("rate", rate)?,
                    window: needed("window", window)?,
                    min_calls: needed("min_calls", min_calls)?,
                    buckets: buckets.unwrap_or(10),
                })
            }
            TripKind::Slow => {
                foreign(&[
                    ("failures", failures.is_some()),
                    ("window", window.is_some()),
                    ("buckets", buckets.is_some()),
                ])?;
                Ok(Self::Slow {
                    rate: needed("rate", rate)?,
                    slow_after: needed("slow_after", slow_after)?,
                    window_calls: needed("window_calls", window_calls)?,
                    min_calls: needed("min_calls", min_calls)?,
                })
            }
        }
    }
}

#[cfg(feature = "serde")]
fn needed<T>(field: &str, value: Option<T>) -> Result<T, String> {
    value.ok_or_else(|| format!("missing field `{field}` for this kind of trip"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bad_option_is_named_and_its_bound_is_good() {
        let check = |trip: Trip| trip.validate(Check("circuit_breaker"));
        let calls = |rate, window_calls, min_calls| {
            check(Trip::RateCountWindow { rate, window_calls, min_calls })
        };
        let time = |nanos, min_calls, buckets| {
            let window = Duration::from_nanos(nanos);
            check(Trip::RateTimeWindow { rate: 0.5, window, min_calls, buckets })
        };
        let slow = |nanos, window_calls| {
            let slow_after = Duration::from_nanos(nanos);
            check(Trip::Slow { rate: 0.5, slow_after, window_calls, min_calls: 1 })
        };
        for (checked, field) in [
            (check(Trip::Consecutive { failures: 0 }), "trip.failures"),
            (calls(0.0, 10, 5), "trip.rate"),
            (calls(0.5, 0, 1), "trip.window_calls"),
            (calls(0.5, WINDOW_CALLS_MAX + 1, 1), "trip.window_calls"),
            (calls(0.5, 10, 0), "trip.min_calls"),
            (calls(0.5, 10, 11), "trip.min_calls"),
            (time(0, 1, 1), "trip.window"),
            (time(9, 1, 10), "trip.window"),
            (time(10, 0, 10), "trip.min_calls"),
            (time(1_000_000, 1, BUCKETS_MAX + 1), "trip.buckets"),
            (slow(0, 10), "trip.slow_after"),
            (slow(1, 0), "trip.window_calls"),
        ] {
            assert_eq!(checked.unwrap_err().field(), field);
        }
        for checked in [
            check(Trip::Consecutive { failures: 1 }),
            calls(1.0, WINDOW_CALLS_MAX, WINDOW_CALLS_MAX),
            time(10, 1, 10),
            slow(1, 1),
        ] {
            assert_eq!(checked, Ok(()));
        }
    }

    #[test]
    fn a_limit_is_a_text_and_a_word_and_the_word_is_the_limit() {
        for (limit, text) in [
            (TripLimit::Failures(1), "1 failure"),
            (TripLimit::Failures(5), "5 failures"),
            (TripLimit::ConsecutiveFailures(3), "3 failures in a row"),
            (TripLimit::FailureRate(0.5), "50% of calls failed"),
            (TripLimit::SlowRate(0.25), "25% of calls were slow"),
        ] {
            assert_eq!(limit.to_string(), text);
            assert_eq!(TripLimit::from_bits(limit.to_bits()), limit);
        }
    }
}
