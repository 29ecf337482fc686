//! A refusal as a value: who refused, on what ground, and when to come back.

use std::fmt;
use std::time::Duration;

use crate::Name;
use crate::budget::Dimension;
use crate::circuit_breaker::TripLimit;
use crate::config::Rounded;
use crate::load_shedder::Signal;
use crate::rate_limiter::Quota;
use crate::rate_limiter::multi::UnknownUnit;
use crate::throttler::LeftQueue;

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
        /// The circuit breaker or rate limiter that keeps the pause.
        policy: Name,
        /// The time left.
        retry_after: Duration,
    },
    /// The rate limiter has given out all there is for now.
    RateLimited {
        /// The limiter's name.
        policy: Name,
        /// Its limit: so many in a window of so long.
        quota: Quota,
        /// The time after which the same call fits; `None` if it never does, because it weighs
        /// more than the limit.
        retry_after: Option<Duration>,
    },
    /// The keyed limiter remembers as many keys as it may, all of them in use, and this one is
    /// new.
    KeysFull {
        /// The limiter's name.
        policy: Name,
        /// `max_keys`.
        max_keys: u32,
    },
    /// The call states an amount of a unit that none of the limits counts.
    UnknownUnit {
        /// The limiter's name.
        policy: Name,
        /// Which unit, and which ones there are.
        unit: Box<UnknownUnit>,
    },
    /// The system is loaded, and calls of this priority are shed.
    Shed {
        /// The shedder's name.
        policy: Name,
        /// The call's priority; 1 is the lowest.
        priority: u32,
        /// What told the load.
        signal: Signal,
        /// The load it told: 1.0 is all that can be served.
        load: f32,
        /// The load from which this priority is shed; for sampled signals that to which the load is
        /// steered, by shedding the least important of the calls.
        limit: f32,
    },
    /// There is no such priority: a mistake of the caller's, whatever the load.
    UnknownPriority {
        /// The shedder's name.
        policy: Name,
        /// The priority the call was given.
        priority: u32,
        /// `priority_levels`.
        levels: u32,
    },
    /// The callee has refused so many calls lately that this one is not even sent.
    ClientThrottled {
        /// The throttle's name.
        policy: Name,
        /// The share of calls that is held back.
        rejection_rate: f32,
    },
    /// A budget has less left than the call needs. It does not refill, so waiting does not help.
    BudgetExhausted {
        /// The budget whose limit it is: the one that was asked, or one above it.
        policy: Name,
        /// What is lacking.
        dimension: Dimension,
        /// Its limit; money in millionths.
        limit: u64,
        /// What is left; money in millionths.
        remaining: u64,
    },
    /// As many calls run as may, and as many wait as may.
    QueueFull {
        /// The throttler's name.
        policy: Name,
        /// Calls that may run at once.
        max_concurrent: u32,
        /// Calls that may wait; 0 if this one would not.
        queue_size: u32,
    },
    /// The call waited, or would have had to, and was sent away before it could begin.
    QueueTimeout {
        /// The name of the throttler, or of the bulkhead and the compartment (`tools/critical`).
        policy: Name,
        /// How long it had waited.
        waited: Duration,
        /// Why it was sent away.
        reason: LeftQueue,
    },
    /// As many calls run and wait in a compartment of the bulkhead as may.
    BulkheadFull {
        /// The bulkhead's name.
        policy: Name,
        /// The compartment, and what may run and wait in it.
        compartment: Box<CompartmentFull>,
    },
    /// The bulkhead has no such compartment.
    UnknownCompartment {
        /// The bulkhead's name.
        policy: Name,
        /// Which compartment, and which ones there are.
        compartment: Box<UnknownCompartment>,
    },
    /// Nobody is let in any more.
    Closed {
        /// The name of the policy that was closed.
        policy: Name,
    },
}

/// A compartment of a bulkhead that is full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompartmentFull {
    /// Its name.
    pub name: Name,
    /// Calls that may run in it at once.
    pub max_concurrent: u32,
    /// Calls that may wait for it; 0 if this one would not.
    pub queue_size: u32,
}

/// A compartment that a bulkhead does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownCompartment {
    /// The name that was asked for.
    pub name: Name,
    /// The compartments it has.
    pub known: Box<[Name]>,
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
            Self::CircuitOpen { policy, .. }
            | Self::Throttled { policy, .. }
            | Self::RateLimited { policy, .. }
            | Self::KeysFull { policy, .. }
            | Self::UnknownUnit { policy, .. }
            | Self::BudgetExhausted { policy, .. }
            | Self::QueueFull { policy, .. }
            | Self::QueueTimeout { policy, .. }
            | Self::BulkheadFull { policy, .. }
            | Self::UnknownCompartment { policy, .. }
            | Self::Closed { policy }
            | Self::Shed { policy, .. }
            | Self::UnknownPriority { policy, .. }
            | Self::ClientThrottled { policy, .. } => policy,
        }
    }

    /// How long to wait before the same call can be admitted, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::CircuitOpen { retry_after, .. } | Self::RateLimited { retry_after, .. } => {
                *retry_after
            }
            Self::Throttled { retry_after, .. } => Some(*retry_after),
            Self::KeysFull { .. }
            | Self::UnknownUnit { .. }
            | Self::BudgetExhausted { .. }
            | Self::QueueFull { .. }
            | Self::QueueTimeout { .. }
            | Self::BulkheadFull { .. }
            | Self::UnknownCompartment { .. }
            | Self::Closed { .. }
            | Self::Shed { .. }
            | Self::UnknownPriority { .. }
            | Self::ClientThrottled { .. } => None,
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CircuitOpen { policy, reason, .. } => {
                write!(f, "circuit breaker `{policy}` {reason}")?;
            }
            Self::Throttled { policy, .. } => {
                write!(f, "`{policy}` holds calls back because the service asked for a pause")?;
            }
            Self::RateLimited { policy, quota, .. } => {
                write!(f, "rate limiter `{policy}` admits {quota}")?;
            }
            Self::KeysFull { policy, max_keys } => write!(
                f,
                "rate limiter `{policy}` has its limit of {max_keys} keys in use and this one is new"
            )?,
            Self::UnknownUnit { policy, unit } => {
                let unit = &unit.unit;
                write!(f, "rate limiter `{policy}` has no limit that counts `{unit}`")?;
            }
            Self::Shed { policy, priority, signal, load, limit } => {
                let [load, limit] = [load, limit].map(|share| share * 100.0);
                write!(
                    f,
                    "load shedder `{policy}` sheds priority {priority}: {signal} at {load:.0} % of \
                     capacity, with a limit of {limit:.0} %"
                )?;
            }
            Self::UnknownPriority { policy, priority, .. } => {
                write!(f, "load shedder `{policy}` has no priority {priority}")?;
            }
            Self::ClientThrottled { policy, rejection_rate } => {
                let share = rejection_rate * 100.0;
                write!(
                    f,
                    "client throttle `{policy}` holds {share:.0} % of calls back, since the service \
                     refuses too many"
                )?;
            }
            Self::BudgetExhausted { policy, dimension, limit, remaining: 0 } => {
                let limit = dimension.describe(*limit);
                write!(f, "budget `{policy}` has nothing left of its {limit}")?;
            }
            Self::BudgetExhausted { policy, dimension, limit, remaining } => {
                let (remaining, limit) = (dimension.show(*remaining), dimension.describe(*limit));
                write!(f, "budget `{policy}` has {remaining} of its {limit} left, which is too ")?;
                f.write_str(if *dimension == Dimension::Money { "little" } else { "few" })?;
            }
            Self::QueueFull { policy, max_concurrent, queue_size } => {
                write!(f, "throttler `{policy}` {}", Full(*max_concurrent, *queue_size))?;
            }
            Self::QueueTimeout { policy, waited, reason } => {
                write!(f, "call left the queue of `{policy}` after {}", Rounded(*waited))?;
                f.write_str(reason.because())?;
            }
            Self::BulkheadFull { policy, compartment } => {
                let CompartmentFull { name, max_concurrent, queue_size } = &**compartment;
                let full = Full(*max_concurrent, *queue_size);
                write!(f, "compartment `{name}` of bulkhead `{policy}` {full}")?;
            }
            Self::UnknownCompartment { policy, compartment } => {
                write!(f, "bulkhead `{policy}` has no compartment `{}`", compartment.name)?;
            }
            Self::Closed { policy } => write!(f, "`{policy}` was closed")?,
        }
        match (self.retry_after(), self) {
            (Some(wait), _) => write!(f, ": try again in {}", Rounded(wait)),
            (None, Self::RateLimited { .. }) => {
                f.write_str(" and this call weighs more than ever fits: make it smaller")
            }
            (None, Self::KeysFull { .. }) => {
                f.write_str(": raise `max_keys`, or let it evict with `when_full`")
            }
            (None, Self::UnknownUnit { unit, .. }) => {
                let known: Vec<&str> = unit.known.iter().map(Name::as_str).collect();
                write!(f, ": it knows `{}`", known.join("`, `"))
            }
            (None, Self::Shed { .. } | Self::ClientThrottled { .. }) => {
                f.write_str(": try later or elsewhere")
            }
            (None, Self::UnknownPriority { levels, .. }) => {
                write!(f, ": give one from 1, the lowest, to {levels}")
            }
            (None, Self::BudgetExhausted { .. }) => {
                f.write_str(": end here, ask for less or give it more")
            }
            (None, Self::QueueFull { .. } | Self::BulkheadFull { .. }) => {
                f.write_str(": send less at once, or try elsewhere")
            }
            (None, Self::QueueTimeout { reason, .. }) => f.write_str(reason.advice()),
            (None, Self::UnknownCompartment { compartment, .. }) => {
                let known: Vec<&str> = compartment.known.iter().map(Name::as_str).collect();
                write!(f, ": it has `{}`", known.join("`, `"))
            }
            (None, Self::Closed { .. }) => f.write_str(": it lets no more calls in"),
            (None, _) => f.write_str(": use a fallback until it is released with `automatic`"),
        }
    }
}

/// How many calls run and wait where nobody else may.
struct Full(u32, u32);

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(running, waiting) = self;
        write!(f, "runs its limit of {running} at once")?;
        if *waiting > 0 {
            write!(f, " and its queue of {waiting} is full")?;
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// They are part of every call's result, which is copied on the way out.
    #[test]
    fn rejections_and_errors_stay_small() {
        assert!(size_of::<Rejection>() <= 48);
        assert!(size_of::<crate::Error<()>>() <= 56);
    }
}
