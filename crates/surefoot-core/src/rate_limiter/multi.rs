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
//! **Waiting.** There is no line here: one key that waits for its own limit would hold its place
//! in the limits of all, and everybody behind it up. A refusal's `retry_after` is when all limits
//! fit, if nobody else comes; ask again then.
//!
//! **Cancellation.** A [`LimitsCharge`] dropped keeps its estimate.
//!
//! **Cost.** The key's shard, as for a keyed limiter, and one lock for the overall limits.

mod any;
mod config;
mod learning;

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

pub use config::{Limit, RateLimitsBuilder, RateLimitsConfig, Scope};

use super::Quota;
use super::config::Built;
use super::engine::Refusal;
use super::keyed::shards::{Shards, State};
use super::lane::Lane;
use super::line::Moved;
use crate::sync::{Arc, Mutex, lock};
use crate::time::nanos;
use crate::{Name, Rejection, TimeSource};

const REQUESTS: &str = "requests";
/// Limits at most, and therefore units at most.
const LIMITS_MOST: usize = 16;

/// Several limits that are taken together, for keys of type `K`. Clones are handles to the same
/// ones. See the [module](self).
pub struct RateLimits<K, S = RandomState> {
    shared: Arc<Shared<K, S>>,
}

struct Shared<K, S> {
    keyed: Shards<K, Lanes, S>,
    overall_rules: Vec<Rule>,
    /// Locked while a shard is, never the other way round.
    overall: Mutex<Lanes>,
    units: Vec<Name>,
    time: TimeSource,
    config: RateLimitsConfig,
}

/// One limit, and of what.
#[derive(Debug)]
struct Rule {
    machine: Built,
    /// Its unit's place among all units.
    unit: usize,
    policy: Name,
    quota: Quota,
}

/// A lane for each rule.
#[derive(Debug)]
struct Lanes(Vec<Lane<Built>>);

impl State for Lanes {
    type Rule = Vec<Rule>;
    type Kept = Self;

    fn new(rules: &Vec<Rule>) -> Self {
        Self(rules.iter().map(|rule| Lane::new(&rule.machine)).collect())
    }

    fn idle_at(&self, rules: &Vec<Rule>) -> u64 {
        let lanes = rules.iter().zip(&self.0);
        lanes.map(|(rule, lane)| lane.idle_at(&rule.machine)).max().unwrap_or(0)
    }

    fn is_reserved(&self, now: u64) -> bool {
        self.0.iter().any(|lane| lane.is_reserved(now))
    }
}

/// A unit that no limit counts, beside those that are counted; part of a rejection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownUnit {
    /// The unit as it was stated.
    pub unit: String,
    /// The units that there are.
    pub known: Vec<Name>,
}

/// What a call takes of each unit.
type Amounts = [u64; LIMITS_MOST];
/// The places of a charge, for each limit: those of the key first.
type Places = [Option<u64>; LIMITS_MOST];

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
        hasher: S,
    ) -> Self {
        let longest = config.limits.iter().map(|limit| nanos(limit.time_window)).max();
        let (keys, when_full) = (config.keys().keys(), config.when_full.unwrap_or_default());
        let keyed = Shards::new(rules, hasher, keys, when_full, longest.unwrap_or(0));
        let overall = Mutex::new(Lanes::new(&overall_rules));
        Self { shared: Arc::new(Shared { keyed, overall_rules, overall, units, time, config }) }
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
        self.take(
            key,
            |rule, lane, now| {
                // It fits: that was asked before, under the same locks.
                let _ = lane.check(&rule.machine, amounts[rule.unit], now);
                None
            },
            &amounts,
        )
        .map(drop)
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
        let places = self.take(
            key,
            |rule, lane, now| {
                let placed = lane.reserve(&rule.machine, amounts[rule.unit], now, None);
                placed.ok().map(|placed| placed.id)
            },
            &amounts,
        )?;
        Ok(LimitsCharge { limits: self.clone(), key: key.to_owned(), places })
    }

    /// Has `take` take from every lane that the call touches, if all of them fit.
    fn take<Q>(
        &self,
        key: &Q,
        take: impl Fn(&Rule, &mut Lane<Built>, u64) -> Option<u64>,
        amounts: &Amounts,
    ) -> Result<Places, Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let shared = &*self.shared;
        let now = shared.time.now().as_nanos();
        let taken = shared.keyed.with(key, now, |rules, lanes| {
            let overall = &mut *lock(&shared.overall);
            let now = shared.time.now().as_nanos();
            fit(shared.touched(rules, lanes, overall, amounts), amounts, now)?;
            let mut places = [None; LIMITS_MOST];
            for (place, rule, lane) in shared.touched(rules, lanes, overall, amounts) {
                places[place] = take(rule, lane, now);
            }
            Ok(places)
        });
        taken.unwrap_or_else(|_| Err(self.full()))
    }

    #[cold]
    fn full(&self) -> Rejection {
        let config = &self.shared.config;
        Rejection::KeysFull { policy: config.name.clone(), max_keys: config.keys().keys() }
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
        let shared = &*self.shared;
        Ok(shared.keyed.look(key, &shared.time, |rules, lanes, now| {
            let overall = &mut *lock(&shared.overall);
            match fit(shared.touched(rules, lanes, overall, &amounts), &amounts, now) {
                Ok(()) => Some(Duration::ZERO),
                Err(rejection) => rejection.retry_after(),
            }
        }))
    }

    /// Units that `key` could take now, by the tightest of its limits; `None` if no limit counts
    /// this unit.
    pub fn remaining<Q: Hash + Eq + ?Sized>(&self, key: &Q, unit: &str) -> Option<u64>
    where
        K: Borrow<Q>,
    {
        let shared = &*self.shared;
        let unit = shared.units.iter().position(|known| known == unit)?;
        let mut amounts = [0; LIMITS_MOST];
        amounts[unit] = 1;
        shared.keyed.look(key, &shared.time, |rules, lanes, now| {
            let overall = &mut *lock(&shared.overall);
            let touched = shared.touched(rules, lanes, overall, &amounts);
            touched.map(|(_, rule, lane)| lane.view(&rule.machine, 1, now).remaining).min()
        })
    }

    /// Whether any of the limits counts `unit`.
    pub fn counts(&self, unit: &str) -> bool {
        self.shared.units.iter().any(|known| known == unit)
    }

    /// How many keys are remembered.
    pub fn keys(&self) -> usize {
        self.shared.keyed.keys()
    }

    /// Forgets every key all of whose units have returned, and gives its memory back.
    pub fn evict_idle(&self) {
        self.shared.keyed.evict_all_idle(self.shared.time.now().as_nanos());
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

impl<K, S> Shared<K, S> {
    /// The lanes that a call with `amounts` touches, with their places.
    fn touched<'a>(
        &'a self,
        rules: &'a [Rule],
        lanes: &'a mut Lanes,
        overall: &'a mut Lanes,
        amounts: &'a Amounts,
    ) -> impl Iterator<Item = (usize, &'a Rule, &'a mut Lane<Built>)> {
        let keyed = rules.iter().zip(&mut lanes.0);
        let overall = self.overall_rules.iter().zip(&mut overall.0);
        let all = keyed.chain(overall).enumerate();
        all.filter(|(_, (rule, _))| amounts[rule.unit] > 0)
            .map(|(place, (rule, lane))| (place, rule, lane))
    }
}

/// Whether all limits fit now; if not, a rejection by the one that takes longest.
fn fit<'a>(
    touched: impl Iterator<Item = (usize, &'a Rule, &'a mut Lane<Built>)>,
    amounts: &Amounts,
    now: u64,
) -> Result<(), Rejection> {
    let mut longest: Option<(Refusal, &Rule)> = None;
    for (_, rule, lane) in touched {
        let fits_at = lane.earliest(&rule.machine, amounts[rule.unit], now);
        let refusal = Refusal { now, fits_at, paused: lane.is_paused(now) };
        match fits_at {
            None => return Err(rule.rejection(refusal)),
            Some(at) if at > now && longest.is_none_or(|(other, _)| fits_at > other.fits_at) => {
                longest = Some((refusal, rule));
            }
            Some(_) => {}
        }
    }
    longest.map_or(Ok(()), |(refusal, rule)| Err(rule.rejection(refusal)))
}

impl Rule {
    #[cold]
    fn rejection(&self, refusal: Refusal) -> Rejection {
        refusal.rejection(&self.policy, self.quota)
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

/// What a call took of several limits; see [`Charge`](super::Charge). Dropping it keeps the
/// estimate.
pub struct LimitsCharge<K: Hash + Eq, S: BuildHasher = RandomState> {
    limits: RateLimits<K, S>,
    key: K,
    places: Places,
}

impl<K: Hash + Eq, S: BuildHasher> LimitsCharge<K, S> {
    /// Corrects the units that are named to what was used, more or less; the others stay as
    /// estimated.
    ///
    /// # Errors
    /// [`Rejection::UnknownUnit`]; then every estimate stays.
    pub fn settle(mut self, used: &[(&str, u64)]) -> Result<(), Rejection> {
        let units = &self.limits.shared.units;
        let mut known = [None; LIMITS_MOST];
        for (unit, n) in used {
            match units.iter().position(|known| known == unit) {
                Some(place) => known[place] = Some(*n),
                None => return Err(self.limits.unknown(unit)),
            }
        }
        self.close(&known);
        Ok(())
    }

    /// The limits it was taken from.
    pub fn limits(&self) -> &RateLimits<K, S> {
        &self.limits
    }

    /// The call never ran: everything is given back.
    pub fn give_back(mut self) {
        self.close(&[Some(0); LIMITS_MOST]);
    }

    /// Corrects the units whose use is known and leaves the others.
    fn close(&mut self, used: &[Option<u64>; LIMITS_MOST]) {
        let shared = &*self.limits.shared;
        let places = std::mem::take(&mut self.places);
        if places.iter().all(Option::is_none) {
            return;
        }
        let keyed_rules = shared.config.limits.len() - shared.overall_rules.len();
        let (keyed, overall) = places.split_at(keyed_rules);
        let now = || shared.time.now().as_nanos();
        shared.keyed.with_known(&self.key, |rules, lanes| lanes.close(rules, keyed, used, now()));
        lock(&shared.overall).close(&shared.overall_rules, overall, used, now());
    }
}

impl Lanes {
    /// Nobody waits in these lanes, so that nobody has to be woken.
    fn close(
        &mut self,
        rules: &[Rule],
        places: &[Option<u64>],
        used: &[Option<u64>; LIMITS_MOST],
        now: u64,
    ) {
        for ((rule, lane), place) in rules.iter().zip(&mut self.0).zip(places) {
            match (place, used[rule.unit]) {
                (Some(id), Some(used)) => {
                    let _: Moved = lane.settle(&rule.machine, *id, used, now);
                }
                (Some(id), None) => lane.forget(*id, now),
                (None, _) => {}
            }
        }
    }
}

impl<K: Hash + Eq, S: BuildHasher> Drop for LimitsCharge<K, S> {
    fn drop(&mut self) {
        self.close(&[None; LIMITS_MOST]);
    }
}

impl<K: Hash + Eq + fmt::Debug, S: BuildHasher> fmt::Debug for LimitsCharge<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitsCharge").field("key", &self.key).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
