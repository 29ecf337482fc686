//! Whether everything is well: each policy's own answer, and one for all that are registered.
//!
//! The shapes are those of the AOS specification, section 8.2: with the feature `serde` a
//! [`Health`] becomes `{"circuit_breaker": {"name": …, "state": "closed", "failure_rate": 0.0,
//! "healthy": true}}`, and a [`Snapshot`] everything a policy knows about itself, in the same
//! form.
//!
//! ```
//! use surefoot::prelude::*;
//!
//! let registry: Registry = Registry::builder("host").build()?;
//! let payments = CircuitBreaker::builder("payments").build()?;
//! registry.register(&payments);
//! let breaker = registry.get("api.example.com");
//! assert!(registry.health().healthy);
//!
//! breaker.force_open();
//! let health = registry.health();
//! assert!(!health.healthy);
//! assert_eq!(health.unhealthy().map(|policy| policy.name().as_str()).collect::<Vec<_>>(), [
//!     "host/api.example.com"
//! ]);
//! # Ok::<(), ConfigError>(())
//! ```
//!
//! **Healthy** means that the next call would get through: a circuit breaker that is closed, a limiter
//! below its limit, a throttler with a place free; of a retry or a hedge, that its budget would pay for another attempt. Asking moves nothing and takes no permit. **Cost.** A short lock for each
//! policy and one list; meant for probes and dashboards, not for every call.

use std::hash::{BuildHasher, Hash};

use surefoot_core::budget::{BudgetStatus, Cost, Limits};
use surefoot_core::bulkhead::BulkheadStatus;
use surefoot_core::circuit_breaker::CircuitStatus;
use surefoot_core::client_throttle::ClientThrottleStatus;
use surefoot_core::hedge::HedgeStatus;
use surefoot_core::load_shedder::LoadShedderStatus;
use surefoot_core::rate_limiter::multi::{RateLimits, RateLimitsStatus};
use surefoot_core::rate_limiter::{KeyedRateLimiterStatus, RateLimiterStatus};
use surefoot_core::retry::RetryStatus;
use surefoot_core::throttler::ThrottlerStatus;
use surefoot_core::{
    Budget, Bulkhead, CircuitBreaker, CircuitState, ClientThrottle, Hedge, KeyedRateLimiter,
    LoadShedder, Name, RateLimiter, Retry, Throttler,
};

/// How one policy is, in the shape of the specification's section 8.2.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Health {
    /// Of a [`CircuitBreaker`].
    CircuitBreaker {
        /// The breaker.
        name: Name,
        /// What callers meet.
        state: CircuitState,
        /// The share of failures among its calls; 0.0 before any.
        failure_rate: f64,
        /// Whether it is closed.
        healthy: bool,
    },
    /// Of a [`RateLimiter`].
    RateLimiter {
        /// The limiter.
        name: Name,
        /// Units in the present window.
        current_rate: u64,
        /// The most there may be.
        limit: u64,
        /// Whether there are fewer, and the callee has asked for no pause.
        healthy: bool,
    },
    /// Of a [`KeyedRateLimiter`], whose keys have rates of their own.
    KeyedRateLimiter {
        /// The limiter.
        name: Name,
        /// Keys it remembers.
        keys: usize,
        /// The most keys it remembers.
        max_keys: u32,
        /// Whether there is room for another one.
        healthy: bool,
    },
    /// Of [`RateLimits`], several at once.
    RateLimits {
        /// What they are called.
        name: Name,
        /// The unit of the limit that binds: of those on all calls together, the one whose next unit takes longest, or
        /// else of which the largest share is taken. `None` if every limit is one of each key.
        unit: Option<Name>,
        /// Units of it in the present window.
        current_rate: u64,
        /// The most there may be.
        limit: u64,
        /// Whether no limit on all calls is reached or paused, and there is room for another key.
        healthy: bool,
    },
    /// Of a [`Throttler`].
    Throttler {
        /// The throttler.
        name: Name,
        /// Calls that run.
        in_flight: u32,
        /// Calls that may run at once.
        limit: u32,
        /// Calls that wait.
        queue_depth: u32,
        /// Calls that may wait.
        queue_size: u32,
        /// Whether it is open and another call would run or wait.
        healthy: bool,
    },
    /// Of a [`Bulkhead`].
    Bulkhead {
        /// The bulkhead.
        name: Name,
        /// Its compartments that are not well; one that is exhausted is no fault of the others.
        exhausted: Vec<Name>,
        /// Whether there is none.
        healthy: bool,
    },
    /// Of a [`LoadShedder`].
    LoadShedder {
        /// The shedder.
        name: Name,
        /// The highest load that a signal tells; none while all are unknown.
        load: Option<f64>,
        /// The load from which calls are shed.
        max_load: f64,
        /// Whether the load is below it, or only watched in a dry run.
        healthy: bool,
    },
    /// Of a [`ClientThrottle`].
    ClientThrottle {
        /// The throttle.
        name: Name,
        /// The share of calls that is held back now.
        rejection_rate: f64,
        /// Whether none is.
        healthy: bool,
    },
    /// Of a [`Retry`].
    Retry {
        /// The retry.
        name: Name,
        /// Attempts beyond first ones since it was built.
        retries: u64,
        /// Calls that it gave up on since it was built.
        given_up: u64,
        /// Tokens left in its budget; none without one.
        budget_tokens: Option<u64>,
        /// Whether its budget would pay for another attempt.
        healthy: bool,
    },
    /// Of a [`Hedge`].
    Hedge {
        /// The hedge.
        name: Name,
        /// Attempts beyond first ones since it was built.
        hedges: u64,
        /// Tokens left in its budget; none without one.
        budget_tokens: Option<u64>,
        /// Whether its budget would pay for another attempt.
        healthy: bool,
    },
    /// Of a policy that could not be asked: a function of its user's, as a load shedder's signal, panicked.
    Unknown {
        /// The policy.
        name: Name,
        /// Never.
        healthy: bool,
    },
    /// Of a [`Budget`].
    Budget {
        /// The budget.
        name: Name,
        /// What was spent so far.
        spent: Cost,
        /// What is left of each limit, here and above.
        remaining: Limits,
        /// Whether one more attempt could be paid.
        healthy: bool,
    },
}

/// The same expression for every kind of policy.
macro_rules! of_any {
    ($health:expr, $field:ident) => {
        match $health {
            Health::CircuitBreaker { $field, .. }
            | Health::RateLimiter { $field, .. }
            | Health::KeyedRateLimiter { $field, .. }
            | Health::RateLimits { $field, .. }
            | Health::Throttler { $field, .. }
            | Health::Bulkhead { $field, .. }
            | Health::LoadShedder { $field, .. }
            | Health::ClientThrottle { $field, .. }
            | Health::Retry { $field, .. }
            | Health::Hedge { $field, .. }
            | Health::Unknown { $field, .. }
            | Health::Budget { $field, .. } => $field,
        }
    };
}

impl Health {
    /// The policy it is about.
    pub fn name(&self) -> &Name {
        of_any!(self, name)
    }

    /// Whether the next call would get through.
    pub fn is_healthy(&self) -> bool {
        *of_any!(self, healthy)
    }
}

/// How everything registered is; made by [`Registry::health`](crate::Registry::health).
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct HealthReport {
    /// Whether every policy is.
    pub healthy: bool,
    /// Each policy: those registered, in that order, then the registry's breakers by name.
    pub policies: Vec<Health>,
}

impl HealthReport {
    /// Those that are not well.
    pub fn unhealthy(&self) -> impl Iterator<Item = &Health> {
        self.policies.iter().filter(|policy| !policy.is_healthy())
    }
}

impl FromIterator<Health> for HealthReport {
    fn from_iter<I: IntoIterator<Item = Health>>(policies: I) -> Self {
        let policies: Vec<_> = policies.into_iter().collect();
        Self { healthy: policies.iter().all(Health::is_healthy), policies }
    }
}

/// All that one policy knows about itself at one moment.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Snapshot {
    /// Of a [`CircuitBreaker`].
    CircuitBreaker(CircuitStatus),
    /// Of a [`RateLimiter`].
    RateLimiter(RateLimiterStatus),
    /// Of a [`KeyedRateLimiter`].
    KeyedRateLimiter(KeyedRateLimiterStatus),
    /// Of [`RateLimits`]: of those limits on all calls together.
    RateLimits(RateLimitsStatus),
    /// Of a [`Throttler`].
    Throttler(ThrottlerStatus),
    /// Of a [`Bulkhead`].
    Bulkhead(BulkheadStatus),
    /// Of a [`LoadShedder`].
    LoadShedder(LoadShedderStatus),
    /// Of a [`ClientThrottle`].
    ClientThrottle(ClientThrottleStatus),
    /// Of a [`Retry`].
    Retry(RetryStatus),
    /// Of a [`Hedge`].
    Hedge(HedgeStatus),
    /// Of a policy that could not be asked: see [`Health::Unknown`].
    Unknown {
        /// The policy.
        name: Name,
    },
    /// Of a [`Budget`].
    Budget(BudgetStatus),
}

/// A policy that can say how it is. Implemented by the policies of this crate.
pub trait Inspect: sealed::Publishable + Send + Sync {
    /// How it is, in short.
    fn health(&self) -> Health;

    /// All it knows about itself.
    fn snapshot(&self) -> Snapshot;
}

pub(crate) mod sealed {
    /// What else a registry does with all that is registered.
    pub trait Publishable {
        /// What it is called, without asking it anything else.
        fn called(&self) -> &super::Name;

        /// Writes the present values to the installed recorder.
        #[cfg(feature = "metrics")]
        fn publish_metrics(&self);
    }

    macro_rules! publishable {
        ($([$($generics:tt)*] $policy:ty),*) => {
            $(impl<$($generics)*> Publishable for $policy {
                fn called(&self) -> &super::Name {
                    self.name()
                }

                #[cfg(feature = "metrics")]
                fn publish_metrics(&self) {
                    crate::metrics::publish(self);
                }
            })*
        };
    }
    publishable!(
        [] super::CircuitBreaker,
        [] super::RateLimiter,
        [K: std::hash::Hash + Eq, S: std::hash::BuildHasher] super::KeyedRateLimiter<K, S>,
        [K: std::hash::Hash + Eq, S: std::hash::BuildHasher] super::RateLimits<K, S>,
        [] super::Throttler,
        [] super::Bulkhead,
        [] super::LoadShedder,
        [] super::ClientThrottle,
        [] super::Retry,
        [] super::Hedge,
        [] super::Budget
    );
}

impl Inspect for CircuitBreaker {
    fn health(&self) -> Health {
        let CircuitStatus { name, state, failure_rate, .. } = self.status();
        Health::CircuitBreaker { name, state, failure_rate, healthy: state == CircuitState::Closed }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::CircuitBreaker(self.status())
    }
}

impl Inspect for RateLimiter {
    fn health(&self) -> Health {
        let RateLimiterStatus { name, current_rate, max_requests: limit, paused_for, .. } =
            self.status();
        let healthy = current_rate < limit && paused_for.is_zero();
        Health::RateLimiter { name, current_rate, limit, healthy }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::RateLimiter(self.status())
    }
}

impl<K, S> Inspect for KeyedRateLimiter<K, S>
where
    K: Hash + Eq + Send + Sync,
    S: BuildHasher + Send + Sync,
{
    fn health(&self) -> Health {
        let KeyedRateLimiterStatus { name, keys, max_keys, .. } = self.overview();
        let healthy = u32::try_from(keys).is_ok_and(|keys| keys < max_keys);
        Health::KeyedRateLimiter { name, keys, max_keys, healthy }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::KeyedRateLimiter(self.overview())
    }
}

impl<K, S> Inspect for RateLimits<K, S>
where
    K: Hash + Eq + Send + Sync,
    S: BuildHasher + Send + Sync,
{
    fn health(&self) -> Health {
        let overview = self.overview();
        let has_room = overview
            .limits
            .iter()
            .all(|limit| limit.current_rate < limit.max_requests && limit.paused_for.is_zero());
        let keys = u32::try_from(overview.keys).is_ok_and(|keys| keys < overview.max_keys);
        let healthy = has_room && keys;
        let binding = overview.binding();
        let unit = binding.map(|limit| limit.unit.clone());
        let current_rate = binding.map_or(0, |limit| limit.current_rate);
        let limit = binding.map_or(0, |limit| limit.max_requests);
        Health::RateLimits { name: overview.name, unit, current_rate, limit, healthy }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::RateLimits(self.overview())
    }
}

impl Inspect for Throttler {
    fn health(&self) -> Health {
        let ThrottlerStatus {
            name,
            in_flight,
            max_concurrent: limit,
            queue_depth,
            queue_size,
            closed,
            ..
        } = self.status();
        let has_room = in_flight < limit || queue_depth < queue_size;
        let healthy = has_room && !closed;
        Health::Throttler { name, in_flight, limit, queue_depth, queue_size, healthy }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::Throttler(self.status())
    }
}

impl Inspect for Bulkhead {
    fn health(&self) -> Health {
        let compartments = self.compartments();
        let exhausted: Vec<_> = compartments
            .filter(|(_, compartment)| !compartment.health().is_healthy())
            .map(|(name, _)| Name::from(name.to_owned()))
            .collect();
        let healthy = exhausted.is_empty();
        Health::Bulkhead { name: self.name().clone(), exhausted, healthy }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::Bulkhead(self.status())
    }
}

impl Inspect for LoadShedder {
    fn health(&self) -> Health {
        let LoadShedderStatus { name, dry_run, signals, .. } = self.status();
        let load = signals.iter().filter_map(|signal| signal.load).reduce(f64::max);
        let max_load = self.config().max_load;
        let healthy = dry_run || load.is_none_or(|load| load < max_load);
        Health::LoadShedder { name, load, max_load, healthy }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::LoadShedder(self.status())
    }
}

impl Inspect for ClientThrottle {
    fn health(&self) -> Health {
        let ClientThrottleStatus { name, rejection_rate, .. } = self.status();
        Health::ClientThrottle { name, rejection_rate, healthy: rejection_rate <= 0.0 }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::ClientThrottle(self.status())
    }
}

impl Inspect for Retry {
    fn health(&self) -> Health {
        let RetryStatus { name, retries, given_up, budget_tokens, .. } = self.status();
        let healthy = budget_tokens != Some(0);
        Health::Retry { name, retries, given_up, budget_tokens, healthy }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::Retry(self.status())
    }
}

impl Inspect for Hedge {
    fn health(&self) -> Health {
        let HedgeStatus { name, hedges, budget_tokens, .. } = self.status();
        Health::Hedge { name, hedges, budget_tokens, healthy: budget_tokens != Some(0) }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::Hedge(self.status())
    }
}

impl Inspect for Budget {
    fn health(&self) -> Health {
        let BudgetStatus { name, spent, remaining, .. } = self.status();
        Health::Budget { name, spent, remaining, healthy: !self.is_exhausted() }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::Budget(self.status())
    }
}
