//! What a breaker says about itself.

use std::time::{Duration, SystemTime};

use super::CircuitState;
use crate::Name;

/// A breaker's state and counters at one moment.
///
/// Serialises to the shape of the AOS specification, section 2.4, and more:
/// `{"state": "closed", "failure_count": 2, "success_count": 10,
/// "last_failure_time": "2025-12-25T00:00:00Z", …}`.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct CircuitStatus {
    /// The breaker's name.
    pub name: Name,
    /// What callers meet. A breaker whose open time is over stays `open` until somebody calls.
    pub state: CircuitState,
    /// Whether an operator holds it.
    pub mode: CircuitMode,
    /// Failures within the window, counted up to the threshold; with `Trip::Consecutive`, in a row.
    pub failure_count: u64,
    /// Successes since the last change of state; with a rate or slow trip, within the window.
    pub success_count: u64,
    /// Failures among the calls since the last change of state; with a rate or slow trip, within
    /// the window. 0.0 before any call.
    pub failure_rate: f64,
    /// When the last counted failure was recorded.
    #[cfg_attr(feature = "serde", serde(serialize_with = "rfc3339"))]
    pub last_failure_time: Option<SystemTime>,
    /// The time until it may admit again; `None` if it admits now, or nobody knows.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::duration_text::option"))]
    pub retry_after: Option<Duration>,
    /// How often the state has changed.
    pub generation: u64,
    /// Everything since the breaker was made; resetting does not clear it.
    pub totals: CircuitTotals,
}

/// Whether a breaker decides itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum CircuitMode {
    /// It decides itself.
    #[default]
    Automatic,
    /// Held open by `force_open`.
    ForcedOpen,
    /// Admits everybody and only watches, by `disable`.
    Disabled,
}

/// Calls counted since the breaker was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct CircuitTotals {
    /// Calls that succeeded.
    pub successes: u64,
    /// Calls that failed.
    pub failures: u64,
    /// Calls whose result says nothing about the callee.
    pub ignored: u64,
    /// Calls answered with a request to slow down.
    pub throttled: u64,
    /// Calls whose caller walked away.
    pub cancelled: u64,
    /// Calls refused.
    pub rejected: u64,
    /// Times it went from closed or half-open to open.
    pub opened: u64,
}

impl CircuitStatus {
    /// The time of the last failure as RFC 3339 text, in UTC.
    pub fn last_failure_rfc3339(&self) -> Option<String> {
        self.last_failure_time.map(|time| date(time).to_string())
    }
}

/// A clock set before 1970 shows 1970.
fn date(time: SystemTime) -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_seconds(time.max(SystemTime::UNIX_EPOCH))
}

#[cfg(feature = "serde")]
#[expect(clippy::ref_option, reason = "the signature serde calls")]
fn rfc3339<S: serde::Serializer>(
    time: &Option<SystemTime>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(&date(*time)),
        None => serializer.serialize_none(),
    }
}

#[cfg(all(test, not(surefoot_loom)))]
mod tests {
    use super::*;
    use crate::{CircuitBreaker, ManualClock};

    #[test]
    fn the_last_failure_is_dated_in_utc() {
        let clock = ManualClock::new();
        let breaker = CircuitBreaker::builder("api").clock(&clock).build().unwrap();
        assert_eq!(breaker.status().last_failure_rfc3339(), None);
        clock.advance(Duration::from_secs(3661));
        breaker.admit().unwrap().failure();
        let date = breaker.status().last_failure_rfc3339();
        assert_eq!(date.as_deref(), Some("1970-01-01T01:01:01Z"));
    }
}
