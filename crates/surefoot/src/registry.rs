//! One circuit breaker for each host, model or tool.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use surefoot_core::circuit_breaker::{CircuitBreakerBuilder, CircuitBreakerConfig, CircuitStatus};
use surefoot_core::{CircuitBreaker, ConfigError, Event, Events, Name, TimeSource};

use crate::health::{Health, HealthReport, Inspect, Snapshot};
use crate::sync::{Mutex, lock};
use crate::{Pipeline, Policy};

/// Hands out one circuit breaker for each key, made from a template.
///
/// Memory is bounded: there are never more than `max_breakers`. To make room, breakers that
/// nobody holds and that remember nothing (closed, automatic, nothing in the window) are let go; a
/// new one would decide alike. (A window over the last calls, unlike one over time, remembers for
/// ever: with such a trip only unused breakers are let go.) If there is none to let go, new keys share one breaker named
/// `<template>/overflow`: they are still protected, together, and
/// [`overflowed`](Self::overflowed) counts them. Known keys keep their own.
///
/// ```
/// use surefoot::prelude::*;
///
/// let registry: Registry<String> = Registry::builder("host").build()?;
/// let breaker = registry.get("api.example.com");
/// assert_eq!(breaker.name(), &"host/api.example.com");
/// assert_eq!(registry.statuses().len(), 1);
/// # Ok::<(), ConfigError>(())
/// ```
///
/// **Cost.** A lookup takes the lock of one of 16 shards and one atomic step for the handle.
/// Keys are hashed so that hostile ones cannot collide on purpose. Making room looks at every
/// breaker, but only once in a while when it was in vain.
pub struct Registry<K = String> {
    template: CircuitBreakerConfig,
    time: TimeSource,
    events: Events,
    max_breakers: usize,
    hasher: RandomState,
    shards: Box<[Mutex<Shard<K>>]>,
    room: Mutex<Room>,
    overflow: CircuitBreaker,
    registered: Mutex<Vec<Arc<dyn Inspect>>>,
}

type Shard<K> = HashMap<K, CircuitBreaker>;

/// How much room is left. Locked only when a key is new, and before any shard.
struct Room {
    taken: usize,
    overflowed: u64,
    /// New keys to turn away before looking for room again: looking was in vain.
    patience: usize,
}

const SHARDS: usize = 16;

impl Registry {
    /// Starts building a registry, of keys of any type, whose breakers are called `<name>/<key>`.
    pub fn builder(name: impl Into<Name>) -> RegistryBuilder {
        RegistryBuilder {
            template: CircuitBreakerConfig { name: name.into(), ..CircuitBreakerConfig::default() },
            time: TimeSource::System,
            events: Events::default(),
            max_breakers: 10_000,
        }
    }
}

impl<K: Hash + Eq + fmt::Display> Registry<K> {
    /// The breaker for `key`, a new one if the key is new.
    pub fn get<Q>(&self, key: &Q) -> CircuitBreaker
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + fmt::Display + ?Sized,
    {
        let shard = self.shard(key);
        if let Some(breaker) = lock(shard).get(key) {
            return breaker.clone();
        }
        self.get_new(key)
    }

    /// All new keys come through here, one after the other.
    fn get_new<Q>(&self, key: &Q) -> CircuitBreaker
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + fmt::Display + ?Sized,
    {
        let mut room = lock(&self.room);
        let shard = self.shard(key);
        if let Some(breaker) = lock(shard).get(key) {
            return breaker.clone(); // somebody else was faster
        }
        if self.make_room(&mut room) {
            let breaker = self.make(Name::from(format!("{}/{key}", self.template.name)));
            lock(shard).insert(key.to_owned(), breaker.clone());
            room.taken += 1;
            return breaker;
        }
        room.overflowed += 1;
        let first = room.overflowed == 1;
        drop(room);
        if first {
            self.events.send(&Event::RegistryFull {
                policy: self.template.name.clone(),
                max_breakers: self.max_breakers,
            });
        }
        self.overflow.clone()
    }

    /// The breaker for `key` if there is one.
    pub fn peek<Q>(&self, key: &Q) -> Option<CircuitBreaker>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        lock(self.shard(key)).get(key).cloned()
    }

    /// All breakers at this moment, the overflow breaker last if it was ever used.
    pub fn breakers(&self) -> Vec<CircuitBreaker> {
        let mut breakers: Vec<_> = self
            .shards
            .iter()
            .flat_map(|shard| lock(shard).values().cloned().collect::<Vec<_>>())
            .collect();
        if self.overflowed() > 0 {
            breakers.push(self.overflow.clone());
        }
        breakers
    }

    /// The status of all breakers, for health checks and metrics.
    pub fn statuses(&self) -> Vec<CircuitStatus> {
        self.breakers().iter().map(CircuitBreaker::status).collect()
    }

    /// Has `policy` reported together with the breakers: in [`health`](Self::health), [`snapshot`](Self::snapshot)
    /// and the metrics. The registry keeps a handle to it; of policies of one name each is reported.
    ///
    /// It takes what has something to tell: a [`CircuitBreaker`], a rate limiter (without keys, keyed, or
    /// [several limits](surefoot_core::rate_limiter::multi::RateLimits)), a throttler, a bulkhead, a load shedder, a client throttle, a
    /// retry, a hedge and a budget. A timeout and a fallback keep nothing that could be told; of a pipeline, what it is made of is
    /// registered by [`register_pipeline`](Self::register_pipeline).
    ///
    /// A policy that cannot be asked because a function of its user's panics, as a load shedder's signal, is reported as
    /// [`Health::Unknown`](crate::health::Health::Unknown), which is not healthy; the others are reported all the same. Of its metrics
    /// nothing is published then.
    pub fn register<P: Inspect + Clone + 'static>(&self, policy: &P) {
        lock(&self.registered).push(Arc::new(policy.clone()));
    }

    /// Registers each policy of `pipeline` that [`register`](Self::register) would take, as it is in there: so a retry is
    /// told of with the budget that the pipeline gave it. What is shared by several pipelines is to be
    /// registered once, by itself. One key, a kind of call and a limiter that learns or weighs are only handles: register their
    /// limiter.
    pub fn register_pipeline<P: Policy, C>(&self, pipeline: &Pipeline<P, C>) {
        lock(&self.registered).extend(pipeline.all_inspected());
    }

    /// Lets go of all registered policies of this name; whether there was one.
    pub fn deregister(&self, name: &str) -> bool {
        let gone: Vec<_> = {
            let mut registered = lock(&self.registered);
            registered.extract_if(.., |policy| policy.called() == name).collect()
        };
        !gone.is_empty()
    }

    /// How everything is: what was registered, then each breaker.
    pub fn health(&self) -> HealthReport {
        let mut breakers: Vec<_> = self.breakers().iter().map(Inspect::health).collect();
        breakers.sort_by(|one, other| one.name().as_str().cmp(other.name()));
        self.registered().iter().map(|policy| ask_health(&**policy)).chain(breakers).collect()
    }

    /// All that everything knows about itself, in the order of [`health`](Self::health).
    pub fn snapshot(&self) -> Vec<Snapshot> {
        let mut breakers = self.statuses();
        breakers.sort_by(|one, other| one.name.as_str().cmp(&other.name));
        let breakers = breakers.into_iter().map(Snapshot::CircuitBreaker);
        self.registered().iter().map(|policy| ask_snapshot(&**policy)).chain(breakers).collect()
    }

    /// A copy of the list: what is done with it may come back to this registry.
    pub(crate) fn registered(&self) -> Vec<Arc<dyn Inspect>> {
        lock(&self.registered).clone()
    }

    /// How many keys have a breaker of their own.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// Whether no key has a breaker.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often a key had to share the overflow breaker.
    pub fn overflowed(&self) -> u64 {
        lock(&self.room).overflowed
    }

    /// Where to listen to all breakers of this registry.
    pub fn events(&self) -> &Events {
        &self.events
    }

    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> &Mutex<Shard<K>> {
        #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
        let hash = self.hasher.hash_one(key) as usize;
        &self.shards[hash % self.shards.len()]
    }

    /// Whether there is room for one more, after letting go of others if need be.
    fn make_room(&self, room: &mut Room) -> bool {
        if room.taken == self.max_breakers && room.patience == 0 {
            let freed = self.let_go();
            room.taken -= freed;
            if freed == 0 {
                room.patience = self.max_breakers / SHARDS;
            }
        }
        let free = room.taken < self.max_breakers;
        if !free {
            room.patience = room.patience.saturating_sub(1);
        }
        free
    }

    /// Lets go of every breaker that nobody holds and that remembers nothing. Under a shard's
    /// lock nobody can take hold of one meanwhile.
    fn let_go(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| {
                let mut shard = lock(shard);
                let before = shard.len();
                shard.retain(|_, breaker| !breaker.is_disposable());
                before - shard.len()
            })
            .sum()
    }

    fn make(&self, name: Name) -> CircuitBreaker {
        let config = CircuitBreakerConfig { name, ..self.template.clone() };
        CircuitBreakerBuilder::from(config)
            .clock(self.time.clone())
            .events(self.events.clone())
            .build()
            // The template was validated, so this cannot fail; sharing is better than panicking.
            .unwrap_or_else(|_| self.overflow.clone())
    }
}

fn ask_health(policy: &dyn Inspect) -> Health {
    let unknown = |_| Health::Unknown { name: policy.called().clone(), healthy: false };
    catch_unwind(AssertUnwindSafe(|| policy.health())).unwrap_or_else(unknown)
}

fn ask_snapshot(policy: &dyn Inspect) -> Snapshot {
    let unknown = |_| Snapshot::Unknown { name: policy.called().clone() };
    catch_unwind(AssertUnwindSafe(|| policy.snapshot())).unwrap_or_else(unknown)
}

impl<K> fmt::Debug for Registry<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("template", &self.template)
            .field("max_breakers", &self.max_breakers)
            .finish_non_exhaustive()
    }
}

/// Builds a [`Registry`]; made by [`Registry::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct RegistryBuilder {
    template: CircuitBreakerConfig,
    time: TimeSource,
    events: Events,
    max_breakers: usize,
}

impl RegistryBuilder {
    /// The options of every breaker; the name stays the registry's.
    pub fn template(self, config: CircuitBreakerConfig) -> Self {
        let mut template = config;
        template.name = self.template.name;
        Self { template, ..self }
    }

    /// The most breakers there may be, the overflow breaker not counted. Default 10 000.
    pub fn max_breakers(mut self, breakers: usize) -> Self {
        self.max_breakers = breakers;
        self
    }

    /// The clock of every breaker. Default: the system's.
    pub fn clock(mut self, clock: impl Into<TimeSource>) -> Self {
        self.time = clock.into();
        self
    }

    /// Calls `listener` for the events of every breaker, and when the registry is full.
    pub fn on_event(self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.events.subscribe(listener).forever();
        self
    }

    /// The registry, empty.
    ///
    /// # Errors
    /// Names the first option, of the registry or the template, that breaks its rule.
    pub fn build<K>(self) -> Result<Registry<K>, ConfigError> {
        let Self { template, time, events, max_breakers } = self;
        if max_breakers == 0 {
            return Err(ConfigError::new("registry", "max_breakers", 0, "must be at least 1"));
        }
        template.validate()?;
        let overflow_name = Name::from(format!("{}/overflow", template.name));
        let overflow = CircuitBreakerBuilder::from(CircuitBreakerConfig {
            name: overflow_name,
            ..template.clone()
        })
        .clock(time.clone())
        .events(events.clone())
        .build()?;
        Ok(Registry {
            template,
            time,
            events,
            max_breakers,
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::new())).collect(),
            room: Mutex::new(Room { taken: 0, overflowed: 0, patience: 0 }),
            overflow,
            registered: Mutex::new(Vec::new()),
        })
    }
}
