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
//! limiter that is below its limit, a throttler with a permit or a place in its queue, a load shedder
//! that sheds nobody yet. Asking moves nothing and takes no permit; a load shedder's own functions are
//! asked too. **Cost.** A short lock for each policy and one list; meant for probes and dashboards, not
//! for every call.

use std::hash::{BuildHasher, Hash};

use surefoot_core::budget::{BudgetStatus, Limits};
use surefoot_core::bulkhead::BulkheadStatus;
use surefoot_core::circuit_breaker::CircuitStatus;
use surefoot_core::client_throttle::ClientThrottleStatus;
use surefoot_core::load_shedder::{LoadShedderStatus, Signal};
use surefoot_core::rate_limiter::{KeyedRateLimiterStatus, RateLimiterStatus};
use surefoot_core::throttler::ThrottlerStatus;
use surefoot_core::{
    Budget, Bulkhead, CircuitBreaker, CircuitState, ClientThrottle, KeyedRateLimiter, LoadShedder,
    Name, RateLimiter, Throttler,
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
    /// Of a [`Throttler`], or of one compartment of a bulkhead.
    Throttler {
        /// The throttler.
        name: Name,
        /// Calls that run.
        in_flight: u32,
        /// The most that may run at once.
        max_concurrent: u32,
        /// Calls that wait.
        queue_depth: u32,
        /// The most that may wait.
        queue_size: u32,
        /// Whether it is open and has a permit or a place in its queue for one more.
        healthy: bool,
    },
    /// Of a [`Bulkhead`].
    Bulkhead {
        /// The bulkhead.
        name: Name,
        /// Each compartment, in the order of their names.
        compartments: Vec<Health>,
        /// Whether every compartment is.
        healthy: bool,
    },
    /// Of a [`LoadShedder`].
    LoadShedder {
        /// The shedder.
        name: Name,
        /// What its highest signal tells; `None` while all are unknown.
        load: Option<f64>,
        /// Where it begins to shed the lowest priority.
        max_load: f64,
        /// Whether it sheds nobody at this load; always, in a dry run.
        healthy: bool,
    },
    /// Of a [`ClientThrottle`].
    ClientThrottle {
        /// The throttle.
        name: Name,
        /// The share of calls that it holds back.
        rejection_rate: f64,
        /// Whether it holds back none.
        healthy: bool,
    },
    /// Of a [`Budget`].
    Budget {
        /// The budget.
        name: Name,
        /// What is left of what is limited, here and above.
        remaining: Limits,
        /// Whether something is left of everything that is.
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
            | Health::Throttler { $field, .. }
            | Health::Bulkhead { $field, .. }
            | Health::LoadShedder { $field, .. }
            | Health::ClientThrottle { $field, .. }
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
    /// Of a [`Throttler`].
    Throttler(ThrottlerStatus),
    /// Of a [`Bulkhead`].
    Bulkhead(BulkheadStatus),
    /// Of a [`LoadShedder`].
    LoadShedder(LoadShedderStatus),
    /// Of a [`ClientThrottle`].
    ClientThrottle(ClientThrottleStatus),
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
        /// The name it was built with, without asking anything else.
        fn own_name(&self) -> &super::Name;

        /// Writes the present values to the installed recorder.
        #[cfg(feature = "metrics")]
        fn publish_metrics(&self);
    }

    macro_rules! publishable {
        ($([$($generics:tt)*] $policy:ty),*) => {
            $(impl<$($generics)*> Publishable for $policy {
                fn own_name(&self) -> &super::Name {
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
        [] super::Throttler,
        [] super::Bulkhead,
        [] super::LoadShedder,
        [] super::ClientThrottle,
        [] super::Budget,
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

impl Inspect for Throttler {
    fn health(&self) -> Health {
        of_throttler(self.status())
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::Throttler(self.status())
    }
}

fn of_throttler(status: ThrottlerStatus) -> Health {
    let ThrottlerStatus { name, max_concurrent, in_flight, queue_size, queue_depth, .. } = status;
    let is_free = in_flight < max_concurrent && queue_depth == 0;
    let healthy = !status.closed && (is_free || queue_depth < queue_size);
    Health::Throttler { name, in_flight, max_concurrent, queue_depth, queue_size, healthy }
}

impl Inspect for Bulkhead {
    fn health(&self) -> Health {
        let BulkheadStatus { name, compartments } = self.status();
        let compartments: Vec<_> = compartments.into_iter().map(of_throttler).collect();
        let healthy = compartments.iter().all(Health::is_healthy);
        Health::Bulkhead { name, compartments, healthy }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::Bulkhead(self.status())
    }
}

impl Inspect for LoadShedder {
    fn health(&self) -> Health {
        let (max_load, status) = (self.config().max_load, self.status());
        let known = || status.signals.iter().filter_map(|known| Some((known.signal, known.load?)));
        // What is sampled sheds by the share that it lets in, not by the load of the moment.
        let by_share = |signal| matches!(signal, Signal::Cpu | Signal::QueueDelay);
        let sheds = status.admitted_share < 1.0
            || known().any(|(signal, load)| !by_share(signal) && load >= max_load);
        let load = known().map(|(_, load)| load).reduce(f64::max);
        let healthy = status.dry_run || !sheds;
        Health::LoadShedder { name: status.name, load, max_load, healthy }
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

impl Inspect for Budget {
    fn health(&self) -> Health {
        let (name, remaining) = (self.name().clone(), self.remaining());
        Health::Budget { name, remaining, healthy: !self.is_exhausted() }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::Budget(self.status())
    }
}
