//! A limiter for each key: callers, addresses, API keys, models.

mod key;
pub(super) mod shards;
mod table;

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

pub use key::LimiterKey;

use super::config::Built;
use super::engine::{Placed, Refusal, View};
use super::gcra::Gcra;
use super::lane::Lane;
use super::ledger::Windowed;
use super::line::Patience;
use super::pause::Heard;
use super::status::Tally;
use super::{
    Admission, Charge, KeyedRateLimiterStatus, Quota, RateLimiterConfig, RateLimiterStatus,
    RateLimiterTotals, Reservation,
};
use crate::sync::Arc;
use crate::{Events, Name, Rejection, TimeSource, Timestamp};
use shards::{Full, Shards};

/// A rate limiter with a limit for each key, in bounded memory. Clones are handles to the same
/// one.
///
/// Keys are spread over shards with a short lock each. A key is forgotten when all that it took
/// has returned: then it is as good as new. Calls do that in passing, a few shards at a time, and
/// [`evict_idle`](Self::evict_idle) at once; there is no thread in the background. When `max_keys`
/// are in use, `when_full` decides what a new one gets.
///
/// Keys are hashed with `SipHash` and random keys, which whoever chooses the keys cannot defeat.
///
/// **Cost.** A known key: a lock that is rarely contended, one clock reading, no allocation.
/// **Memory.** A table has a cache line of 64 bytes, or as many as it takes, for three keys with 8 bytes
/// each (GCRA) or 56 and a ring of at least 64 (the others), and is filled to between a half and four
/// fifths. Measured with a million `u64` keys: 33 bytes a key for GCRA, 197 for the exact window.
/// And 64 bytes for each of up to 256 shards.
///
/// ```
/// use std::time::Duration;
/// use surefoot_core::{KeyedRateLimiter, ManualClock, RateLimiter};
///
/// let limiter: KeyedRateLimiter<String> = RateLimiter::builder("api")
///     .max_requests(2)
///     .time_window(Duration::from_secs(1))
///     .clock(ManualClock::new())
///     .build_keyed()?;
/// assert!(limiter.is_allowed("alice"));
/// assert!(limiter.is_allowed("alice"));
/// assert!(!limiter.is_allowed("alice"));
/// assert!(limiter.is_allowed("bob"));
/// # Ok::<(), surefoot_core::ConfigError>(())
/// ```
pub struct KeyedRateLimiter<K, S = RandomState> {
    shared: Arc<Shared<K, S>>,
}

struct Shared<K, S> {
    table: Table<K, S>,
    time: TimeSource,
    quota: Quota,
    tally: Tally,
    config: RateLimiterConfig,
}

enum Table<K, S> {
    Gcra(Shards<K, Lane<Gcra>, S>),
    Windowed(Shards<K, Lane<Windowed>, S>),
}

/// The same expression for either table.
macro_rules! in_table {
    ($limiter:expr, $shards:ident => $answer:expr) => {
        match &$limiter.shared.table {
            Table::Gcra($shards) => $answer,
            Table::Windowed($shards) => $answer,
        }
    };
}
use in_table;

impl<K: Hash + Eq, S: BuildHasher> KeyedRateLimiter<K, S> {
    pub(super) fn new(
        config: RateLimiterConfig,
        built: Built,
        time: TimeSource,
        events: Events,
        hasher: S,
    ) -> Self {
        let (keys, when_full) = (config.keys(), config.when_full.unwrap_or_default());
        let window = crate::time::nanos(config.time_window);
        let table = match built {
            Built::Gcra(machine) => {
                Table::Gcra(Shards::new(machine, hasher, keys, when_full, window))
            }
            Built::Windowed(machine) => {
                Table::Windowed(Shards::new(machine, hasher, keys, when_full, window))
            }
        };
        let (quota, tally) = (config.quota(), Tally::new(events));
        Self { shared: Arc::new(Shared { table, time, quota, tally, config }) }
    }

    /// The limit of `key` alone, as something that can be asked, waited for and put into a
    /// pipeline.
    pub fn key(&self, key: impl Into<K>) -> LimiterKey<K, S> {
        LimiterKey::new(self.clone(), key.into())
    }

    /// Asks to make one call for `key` now.
    ///
    /// # Errors
    /// [`Rejection::RateLimited`] with the time after which the call fits;
    /// [`Rejection::KeysFull`] if the key is new and there is no room for it.
    #[inline(always)]
    pub fn check<Q>(&self, key: &Q) -> Result<(), Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.check_n(key, 1)
    }

    /// Takes `n` units for `key` now, or none. Zero units are always admitted.
    ///
    /// # Errors
    /// As [`check`](Self::check); without a time if `n` units never fit.
    #[inline(always)]
    pub fn check_n<Q>(&self, key: &Q, n: u64) -> Result<(), Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        if n == 0 {
            return Ok(());
        }
        match self.look_and_take(key, n) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(refusal)) => Err(self.limited(refusal)),
            Err(Full) => Err(self.full()),
        }
    }

    #[inline(never)]
    fn look_and_take<Q>(&self, key: &Q, n: u64) -> Result<Result<(), Refusal>, Full>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let time = &self.shared.time;
        // Read before the lock is taken, since the two take less time together. Whoever was
        // overtaken meanwhile may be admitted all the same, but is refused only by the present.
        let now = time.now().as_nanos();
        let checked = in_table!(self, shards => shards.with(key, now, |machine, lane| {
            lane.check(machine, n, now)
                .or_else(|_| lane.check(machine, n, time.now().as_nanos()))
        }));
        if let Ok(Ok(())) = checked {
            self.shared.tally.admit();
        }
        checked
    }

    /// Whether one call for `key` is admitted now; it counts if it is.
    #[inline]
    pub fn is_allowed<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.check(key).is_ok()
    }

    /// Takes `n` units for `key` now, to be corrected when it is known how many the call used.
    ///
    /// # Errors
    /// As [`check_n`](Self::check_n).
    pub fn try_reserve<Q>(&self, key: &Q, n: u64) -> Result<Charge<LimiterKey<K, S>>, Rejection>
    where
        K: Borrow<Q> + Clone,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let placed = self.place(key, n, None)?;
        Ok(Charge::new(LimiterKey::new(self.clone(), key.to_owned()), placed.id))
    }

    /// Takes a place in the line of `key` for `n` units that is due by `latest` and within
    /// `max_wait`.
    ///
    /// # Errors
    /// As [`RateLimiter::reserve`](super::RateLimiter::reserve); [`Rejection::KeysFull`] if the
    /// key is new and there is no room for it.
    pub fn reserve<Q>(
        &self,
        key: &Q,
        n: u64,
        latest: Timestamp,
    ) -> Result<Reservation<LimiterKey<K, S>>, Rejection>
    where
        K: Borrow<Q> + Clone,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let placed = self.place(key, n, Some(self.shared.config.patience(latest)))?;
        let slots = LimiterKey::new(self.clone(), key.to_owned());
        // The place first: what a listener does must not leave it without an owner.
        let reservation = Reservation::new(slots, placed.id, n);
        self.shared.tally.place(&self.shared.config.name, placed);
        Ok(reservation)
    }

    /// Takes `n` units for `key` now if they fit and nobody waits, or else a place in its line: see
    /// [`Slots::admit`](super::Slots::admit).
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve).
    pub fn admit<Q>(
        &self,
        key: &Q,
        n: u64,
        latest: Timestamp,
    ) -> Result<Admission<LimiterKey<K, S>>, Rejection>
    where
        K: Borrow<Q> + Clone,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        if n == 0 {
            return Ok(Admission::Now);
        }
        if latest == Timestamp::MAX || self.shared.time.now() <= latest {
            match self.look_and_take(key, n) {
                Ok(Ok(())) => return Ok(Admission::Now),
                Ok(Err(refusal)) if self.shared.config.longest_wait().is_zero() => {
                    return Err(self.limited(refusal));
                }
                Ok(Err(_)) => {}
                Err(Full) => return Err(self.full()),
            }
        }
        self.reserve(key, n, latest).map(Admission::Later)
    }

    fn place<Q>(&self, key: &Q, n: u64, patience: Option<Patience>) -> Result<Placed, Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let time = &self.shared.time;
        let now = time.now().as_nanos();
        let placed = in_table!(self, shards => shards.with(key, now, |machine, lane| {
            lane.reserve(machine, n, time.now().as_nanos(), patience)
        }));
        match placed {
            Ok(Ok(placed)) => Ok(placed),
            Ok(Err(refusal)) => Err(self.limited(refusal)),
            Err(Full) => Err(self.full()),
        }
    }

    /// Takes in what the callee said about `key`.
    pub(super) fn hear<Q>(&self, key: &Q, heard: Heard) -> Result<(), Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let time = &self.shared.time;
        let now = time.now().as_nanos();
        let heeded = in_table!(self, shards => shards.with(key, now, |machine, lane| {
            lane.hear(machine, heard, time.now().as_nanos())
        }));
        let heeded = heeded.map_err(|Full| self.full())?;
        self.shared.tally.heed(self.name(), heeded);
        Ok(())
    }

    /// Units of `key` in the present window; for the GCRA family those not yet returned.
    pub fn current_rate<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> u64
    where
        K: Borrow<Q>,
    {
        self.view(key, 1).used
    }

    /// Units that [`check_n`](Self::check_n) would admit for `key` now.
    pub fn remaining<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> u64
    where
        K: Borrow<Q>,
    {
        self.view(key, 1).remaining
    }

    /// How long until `n` units fit for `key`, if nobody else comes; `None` if they never do.
    pub fn retry_after<Q: Hash + Eq + ?Sized>(&self, key: &Q, n: u64) -> Option<Duration>
    where
        K: Borrow<Q>,
    {
        let View { now, fits_at, .. } = self.view(key, n);
        fits_at.map(|at| Duration::from_nanos(at.saturating_sub(now)))
    }

    /// When everything that `key` took will have returned; now if nothing is out.
    pub fn reset_at<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Timestamp
    where
        K: Borrow<Q>,
    {
        let View { now, idle_at, .. } = self.view(key, 1);
        Timestamp::from_nanos(idle_at.max(now))
    }

    /// All of this at one moment. Takes nothing and remembers no new key.
    pub fn status<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> RateLimiterStatus
    where
        K: Borrow<Q>,
    {
        self.shared.tally.status(&self.shared.config, self.view(key, 1))
    }

    /// The limiter as a whole: its keys and what it has counted.
    pub fn overview(&self) -> KeyedRateLimiterStatus {
        let config = &self.shared.config;
        KeyedRateLimiterStatus {
            name: config.name.clone(),
            max_requests: config.max_requests,
            keys: self.keys(),
            max_keys: config.keys(),
            totals: self.totals(),
        }
    }

    /// Calls admitted, refused and delayed since it was made, of all keys together.
    pub fn totals(&self) -> RateLimiterTotals {
        self.shared.tally.totals()
    }

    /// Where to listen to refusals and delays of any key.
    pub fn events(&self) -> &Events {
        &self.shared.tally.events
    }

    /// How many keys it remembers.
    pub fn keys(&self) -> usize {
        in_table!(self, shards => shards.keys())
    }

    /// Forgets every key all of whose units have returned, and gives its memory back.
    pub fn evict_idle(&self) {
        in_table!(self, shards => shards.evict_all_idle(self.shared.time.now().as_nanos()));
    }

    /// The most units in a window, for each key.
    pub fn max_requests(&self) -> u64 {
        self.shared.config.max_requests
    }

    /// The name it was built with.
    pub fn name(&self) -> &Name {
        &self.shared.config.name
    }

    /// The options in force.
    pub fn config(&self) -> &RateLimiterConfig {
        &self.shared.config
    }

    /// The clock it decides by.
    pub fn time(&self) -> &TimeSource {
        &self.shared.time
    }

    fn view<Q: Hash + Eq + ?Sized>(&self, key: &Q, n: u64) -> View
    where
        K: Borrow<Q>,
    {
        in_table!(self, shards => shards.look(key, &self.shared.time, |machine, lane, now| {
            lane.view(machine, n, now)
        }))
    }

    #[cold]
    fn limited(&self, refusal: Refusal) -> Rejection {
        self.shared.tally.refuse(&self.shared.config.name, self.shared.quota, refusal)
    }

    #[cold]
    fn full(&self) -> Rejection {
        self.shared.tally.full(&self.shared.config.name, self.shared.config.keys())
    }
}

impl<K, S> Clone for KeyedRateLimiter<K, S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K, S> fmt::Debug for KeyedRateLimiter<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRateLimiter")
            .field("name", &self.shared.config.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
