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
//! **Healthy** means that the next call would get through: a circuit breaker that is closed, a
//! limiter that is below its limit. Asking moves nothing and takes no permit. **Cost.** A short lock for each
//! policy and one list; meant for probes and dashboards, not for every call.

use std::hash::{BuildHasher, Hash};

use surefoot_core::circuit_breaker::CircuitStatus;
use surefoot_core::rate_limiter::{KeyedRateLimiterStatus, RateLimiterStatus};
use surefoot_core::{CircuitBreaker, CircuitState, KeyedRateLimiter, Name, RateLimiter};

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
        /// Whether there are fewer.
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
}

/// The same expression for every kind of policy.
macro_rules! of_any {
    ($health:expr, $field:ident) => {
        match $health {
            Health::CircuitBreaker { $field, .. }
            | Health::RateLimiter { $field, .. }
            | Health::KeyedRateLimiter { $field, .. } => $field,
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
        /// Writes the present values to the installed recorder.
        #[cfg(feature = "metrics")]
        fn publish_metrics(&self);
    }

    macro_rules! publishable {
        ($([$($generics:tt)*] $policy:ty),*) => {
            $(impl<$($generics)*> Publishable for $policy {
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
        [K: std::hash::Hash + Eq, S: std::hash::BuildHasher] super::KeyedRateLimiter<K, S>
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
        let RateLimiterStatus { name, current_rate, max_requests: limit, .. } = self.status();
        Health::RateLimiter { name, current_rate, limit, healthy: current_rate < limit }
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
