//! Several limits at once: requests and tokens, a minute and a day, for each key and overall.
//!
//! A call states what it takes of each unit and gets all of it or nothing, as one step: no limit
//! is touched for a call that another refuses, and nobody is refused for the sake of a call that
//! was not admitted in the end.
//!
//! ```
//! use std::time::Duration;
//! use surefoot_core::ManualClock;
//! use surefoot_core::rate_limiter::multi::{Limit, RateLimits};
//!
//! let minute = Duration::from_secs(60);
//! let limits: RateLimits<String> = RateLimits::builder("model")
//!     .limit(Limit::overall("requests", 50, minute))
//!     .limit(Limit::overall("tokens", 30_000, minute))
//!     .limit(Limit::per_key("tokens", 10_000, minute))
//!     .clock(ManualClock::new())
//!     .build()?;
//!
//! // Before the call: an estimate. After it: what the answer says it used.
//! let charge = limits.try_reserve("alice", &[("tokens", 8_000)])?;
//! assert!(limits.check("alice", &[("tokens", 8_000)]).is_err());
//! charge.settle(&[("tokens", 1_500)])?;
//! limits.check("alice", &[("tokens", 8_000)])?;
//! assert_eq!(limits.remaining("alice", "tokens"), Some(500));
//! assert_eq!(limits.remaining("bob", "tokens"), Some(10_000));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Every call is one of the unit `requests` unless it says otherwise. A unit that no limit counts
//! is an error that lists the known ones.
//!
//! **Waiting.** [`reserve`](RateLimits::reserve) gives a place in the line, first in, first out, and the host
//! waits; a wait that could not end in time is refused at once. Nobody who comes later gets what somebody waits for.
//! A call stands first in the lines of its key's limits, and once it is due there, in those of the limits of all:
//! so a key that has used up its own limit holds up nobody else. Those of different keys come in
//! the order in which their keys admit them. What a call takes counts, with every limit, from when it is due with
//! all of them.
//!
//! **A kind of call**, made with [`call_of`](RateLimits::call_of), is one key and what each call takes: something that
//! is waited for and put into a pipeline as a limiter is.
//!
//! **Cancellation.** A reservation dropped gives back what it holds, with every limit, and those behind move up. A
//! [`LimitsCharge`] dropped keeps its estimate.
//!
//! **Cost.** The key's shard, as for a keyed limiter, if any limit counts by key, and one lock for the limits
//! of all.

mod any;
mod call;
mod charge;
mod config;
mod lanes;
mod learning;
mod shared;
mod status;

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

pub use call::LimitedCall;
pub use charge::LimitsCharge;
pub use config::{Limit, RateLimitsBuilder, RateLimitsConfig, Scope};
pub use status::{LimitStatus, RateLimitsStatus};

use super::keyed::shards::{Full, Shards, State};
use super::status::Tally;
use super::{RateLimiterTotals, Reservation};
use crate::sync::atomic::AtomicU64;
use crate::sync::{Arc, Mutex};
use crate::time::nanos;
use crate::{Events, Name, Rejection, TimeSource, Timestamp};
use lanes::{Amounts, Both, Lanes, Misfit, Rule};

const REQUESTS: &str = "requests";
/// Limits at most, and therefore units at most.
const LIMITS_MOST: usize = 16;

/// Several limits that are taken together, for keys of type `K`. Clones are handles to the same
/// ones. See the [module](self).
pub struct RateLimits<K, S = RandomState> {
    shared: Arc<Shared<K, S>>,
}

struct Shared<K, S> {
    /// `None` if no limit counts by key.
    keyed: Option<Shards<K, Lanes, S>>,
    overall_rules: Vec<Rule>,
    /// Locked while a shard is, never the other way round.
    overall: Mutex<Lanes>,
    units: Vec<Name>,
    time: TimeSource,
    /// Calls that wait.
    waiting: AtomicU64,
    tally: Tally,
    config: RateLimitsConfig,
}

/// A unit that no limit counts, beside those that are counted; part of a rejection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownUnit {
    /// The unit as it was stated.
    pub unit: String,
    /// The units that there are.
    pub known: Vec<Name>,
}

impl RateLimits<()> {
    /// Starts building limits that will be called `name`, for any type of key.
    pub fn builder(name: impl Into<Name>) -> RateLimitsBuilder {
        RateLimitsBuilder::default().name(name.into())
    }
}

impl<K: Hash + Eq, S: BuildHasher> RateLimits<K, S> {
    fn new(
        config: RateLimitsConfig,
        units: Vec<Name>,
        overall_rules: Vec<Rule>,
        rules: Vec<Rule>,
        time: TimeSource,
        events: Events,
        hasher: S,
    ) -> Self {
        let longest = config.limits.iter().map(|limit| nanos(limit.time_window)).max();
        let (keys, when_full) = (config.keys().keys(), config.when_full.unwrap_or_default());
        let keyed = (!rules.is_empty())
            .then(|| Shards::new(rules, hasher, keys, when_full, longest.unwrap_or(0)));
        let overall = Mutex::new(Lanes::new(&overall_rules));
        let (waiting, tally) = (AtomicU64::new(0), Tally::new(events));
        let shared = Shared { keyed, overall_rules, overall, units, time, waiting, tally, config };
        Self { shared: Arc::new(shared) }
    }

    /// Takes `amounts` of all limits of `key` and overall, or nothing of any.
    ///
    /// # Errors
    /// [`Rejection::RateLimited`] naming the limit that takes longest, with the time after which
    /// all fit, or none if they never do; [`Rejection::KeysFull`]; [`Rejection::UnknownUnit`].
    pub fn check<Q>(&self, key: &Q, amounts: &[(&str, u64)]) -> Result<(), Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let amounts = self.amounts(amounts)?;
        self.take(key, &amounts, |both, now| both.take(&amounts, now))?;
        self.shared.tally.admit();
        Ok(())
    }

    /// The same, to be corrected when it is known how much the call used.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn try_reserve<Q>(
        &self,
        key: &Q,
        amounts: &[(&str, u64)],
    ) -> Result<LimitsCharge<K, S>, Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let amounts = self.amounts(amounts)?;
        let places = self.take(key, &amounts, |both, now| both.take_places(&amounts, now))?;
        self.shared.tally.admit();
        Ok(LimitsCharge::new(LimitedCall::new(self.clone(), key.to_owned(), amounts), places))
    }

    /// Has `take` take from every lane that the call touches, if all of them fit.
    fn take<Q, R>(
        &self,
        key: &Q,
        amounts: &Amounts,
        take: impl FnOnce(&mut Both<'_>, u64) -> R,
    ) -> Result<R, Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let taken = self.shared.decide(key, |both, now| {
            both.fit(amounts, now, now)?;
            Ok(take(both, now))
        });
        match taken {
            Ok(taken) => taken.map_err(|misfit: Misfit| self.refused(&misfit)),
            Err(Full) => Err(self.full()),
        }
    }

    /// Takes a place in the line for `amounts` that is due by `latest` (a caller's deadline; or
    /// [`Timestamp::MAX`]) and within `max_wait`.
    ///
    /// A call that has to wait for the limits of its key is then due with those; with the limits
    /// of all, when it stands in their lines as well. So its due time may yet move back; if it moves
    /// beyond `latest`, the call is refused then.
    ///
    /// # Errors
    /// As [`check`](Self::check), at once if it could not be due in time.
    pub fn reserve<Q>(
        &self,
        key: &Q,
        amounts: &[(&str, u64)],
        latest: Timestamp,
    ) -> Result<Reservation<LimitedCall<K, S>>, Rejection>
    where
        K: Borrow<Q> + Clone,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        super::Slots::reserve(&self.call_of(key, amounts)?, 1, latest)
    }

    /// A kind of call: those of `key` that take `amounts` each.
    ///
    /// # Errors
    /// [`Rejection::UnknownUnit`].
    pub fn call_of<Q>(
        &self,
        key: &Q,
        amounts: &[(&str, u64)],
    ) -> Result<LimitedCall<K, S>, Rejection>
    where
        K: Borrow<Q>,
        Q: ToOwned<Owned = K> + ?Sized,
    {
        Ok(LimitedCall::new(self.clone(), key.to_owned(), self.amounts(amounts)?))
    }

    /// Tells of a refusal; not to be called with a lock held.
    #[cold]
    fn refused(&self, misfit: &Misfit) -> Rejection {
        self.shared.tally.refuse(&misfit.policy, misfit.quota, misfit.refusal)
    }

    #[cold]
    fn full(&self) -> Rejection {
        self.shared.tally.full(self.name(), self.shared.config.keys().keys())
    }

    /// How long until `amounts` fit for `key`, if nobody else comes; `None` if they never do.
    ///
    /// # Errors
    /// [`Rejection::UnknownUnit`].
    pub fn retry_after<Q: Hash + Eq + ?Sized>(
        &self,
        key: &Q,
        amounts: &[(&str, u64)],
    ) -> Result<Option<Duration>, Rejection>
    where
        K: Borrow<Q>,
    {
        let amounts = self.amounts(amounts)?;
        Ok(self.shared.look(key, |both, now| match both.fit(&amounts, now, now) {
            Ok(()) => Some(Duration::ZERO),
            Err(misfit) => misfit.refusal.wait(),
        }))
    }

    /// Units that `key` could take now, by the tightest of its limits; `None` if no limit counts
    /// this unit.
    pub fn remaining<Q: Hash + Eq + ?Sized>(&self, key: &Q, unit: &str) -> Option<u64>
    where
        K: Borrow<Q>,
    {
        let unit = self.shared.units.iter().position(|known| known == unit)?;
        self.shared.look(key, |both, now| {
            let views = both.views(now).into_iter().filter(|(rule, _)| rule.unit == unit);
            views.map(|(_, view)| view.remaining).min()
        })
    }

    /// Whether any of the limits counts `unit`.
    pub fn counts(&self, unit: &str) -> bool {
        self.shared.units.iter().any(|known| known == unit)
    }

    /// How many keys are remembered.
    pub fn keys(&self) -> usize {
        self.shared.keyed.as_ref().map_or(0, Shards::keys)
    }

    /// Forgets every key all of whose units have returned, and gives its memory back.
    pub fn evict_idle(&self) {
        if let Some(keyed) = &self.shared.keyed {
            keyed.evict_all_idle(self.shared.time.now().as_nanos());
        }
    }

    /// How the limits of all stand now. Takes nothing.
    pub fn overview(&self) -> RateLimitsStatus {
        let of_all = |both: &mut Both<'_>, now| self.status_of(&both.views(now), now);
        self.shared.with_all(&[], &mut Lanes::none(), of_all)
    }

    /// How the limits of `key` and those of all stand now. Takes nothing and remembers no new key.
    pub fn status<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> RateLimitsStatus
    where
        K: Borrow<Q>,
    {
        self.shared.look(key, |both, now| self.status_of(&both.views(now), now))
    }

    /// Calls admitted, refused and delayed since it was made, of all keys together.
    pub fn totals(&self) -> RateLimiterTotals {
        self.shared.tally.totals()
    }

    /// Where to listen to refusals, delays and pauses. They name the limit that it was:
    /// `<name>/<unit>`.
    pub fn events(&self) -> &Events {
        &self.shared.tally.events
    }

    /// The name it was built with.
    pub fn name(&self) -> &Name {
        &self.shared.config.name
    }

    /// The options in force.
    pub fn config(&self) -> &RateLimitsConfig {
        &self.shared.config
    }

    /// The clock it decides by.
    pub fn time(&self) -> &TimeSource {
        &self.shared.time
    }

    fn amounts(&self, stated: &[(&str, u64)]) -> Result<Amounts, Rejection> {
        let mut amounts = [0; LIMITS_MOST];
        if let Some(requests) = self.shared.units.iter().position(|unit| unit == REQUESTS) {
            amounts[requests] = 1;
        }
        for (unit, n) in stated {
            match self.shared.units.iter().position(|known| known == unit) {
                Some(place) => amounts[place] = *n,
                None => return Err(self.unknown(unit)),
            }
        }
        Ok(amounts)
    }

    #[cold]
    fn unknown(&self, unit: &str) -> Rejection {
        let policy = self.shared.config.name.clone();
        let unit = UnknownUnit { unit: unit.to_owned(), known: self.shared.units.clone() };
        Rejection::UnknownUnit { policy, unit: Box::new(unit) }
    }
}

impl<K, S> Clone for RateLimits<K, S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K, S> fmt::Debug for RateLimits<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimits").field("name", &self.shared.config.name).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(surefoot_loom)))]
mod tests;
