//! A refusal as a value: who refused, on what ground, and when to come back.

use std::fmt;
use std::time::Duration;

use crate::Name;
use crate::circuit_breaker::TripLimit;
use crate::config::Rounded;

/// A policy refused the call and nothing was dispatched: it is always safe to try elsewhere.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Rejection {
    /// The circuit breaker is open, or half-open with all its probes out.
    CircuitOpen {
        /// The breaker's name.
        policy: Name,
        /// Why it admits nobody.
        reason: OpenReason,
        /// The time until it may admit again; unknown while an operator holds it open.
        retry_after: Option<Duration>,
    },
    /// The callee asked us to stay away until the time it stated has passed.
    Throttled {
        /// The breaker that keeps the gate shut.
        policy: Name,
        /// The time left.
        retry_after: Duration,
    },
}

/// Why a circuit breaker admits nobody.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum OpenReason {
    /// The limit that tripped it.
    Tripped(TripLimit),
    /// Half-open, with as many probes out as it allows at a time.
    ProbesOut {
        /// `half_open_max_calls`.
        limit: u32,
    },
    /// Held open by `force_open`.
    Forced,
}

impl Rejection {
    /// The name of the policy that refused.
    pub fn policy(&self) -> &Name {
        match self {
            Self::CircuitOpen { policy, .. } | Self::Throttled { policy, .. } => policy,
        }
    }

    /// How long to wait before the same call can be admitted, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::CircuitOpen { retry_after, .. } => *retry_after,
            Self::Throttled { retry_after, .. } => Some(*retry_after),
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CircuitOpen { policy, reason, .. } => {
                write!(f, "circuit breaker `{policy}` {reason}")?;
            }
            Self::Throttled { policy, .. } => write!(
                f,
                "circuit breaker `{policy}` holds calls back because the service asked for a pause"
            )?,
        }
        match self.retry_after() {
            Some(wait) => write!(f, ": try again in {}", Rounded(wait)),
            None => f.write_str(": use a fallback until it is released with `automatic`"),
        }
    }
}

impl fmt::Display for OpenReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tripped(limit) => write!(f, "is open after {limit}"),
            Self::ProbesOut { limit } => {
                let s = if *limit == 1 { "" } else { "s" };
                write!(
                    f,
                    "is half-open and its limit of {limit} trial call{s} at a time is reached"
                )
            }
            Self::Forced => f.write_str("is held open by an operator"),
        }
    }
}

impl std::error::Error for Rejection {}
