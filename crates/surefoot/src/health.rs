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

use surefoot_core::circuit_breaker::CircuitStatus;
use surefoot_core::{CircuitBreaker, CircuitState, Name};

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
}

impl Health {
    /// The policy it is about.
    pub fn name(&self) -> &Name {
        match self {
            Self::CircuitBreaker { name, .. } => name,
        }
    }

    /// Whether the next call would get through.
    pub fn is_healthy(&self) -> bool {
        match self {
            Self::CircuitBreaker { healthy, .. } => *healthy,
        }
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
        ($($policy:ty),*) => {
            $(impl Publishable for $policy {
                #[cfg(feature = "metrics")]
                fn publish_metrics(&self) {
                    crate::metrics::publish(self);
                }
            })*
        };
    }
    publishable!(super::CircuitBreaker);
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
