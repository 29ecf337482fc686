//! One key of a keyed limiter, as a limiter of its own.

use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::task::Waker;
use std::time::Duration;

use super::super::reservation::sealed::{Sealed, Turn};
use super::super::{Admission, Charge, RateLimiterStatus, Reservation, ServerLimits, Slots};
use super::{KeyedRateLimiter, Table, in_table};
use crate::{Name, Rejection, TimeSource, Timestamp};

/// The limit of one key; made by [`KeyedRateLimiter::key`].
///
/// A handle: it remembers nothing itself, and the key takes up memory in the limiter only while
/// something is taken for it.
///
/// ```
/// use surefoot_core::{KeyedRateLimiter, ManualClock, RateLimiter};
///
/// let limiter: KeyedRateLimiter<String> =
///     RateLimiter::builder("api").max_requests(2).clock(ManualClock::new()).build_keyed()?;
/// let alice = limiter.key("alice");
/// alice.check_n(2)?;
/// assert!(!alice.is_allowed());
/// assert!(limiter.key("bob").is_allowed());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LimiterKey<K, S = RandomState> {
    limiter: KeyedRateLimiter<K, S>,
    key: K,
}

impl<K, S> LimiterKey<K, S> {
    pub(super) fn new(limiter: KeyedRateLimiter<K, S>, key: K) -> Self {
        Self { limiter, key }
    }

    /// The key.
    pub fn get(&self) -> &K {
        &self.key
    }

    /// The limiter of all keys.
    pub fn limiter(&self) -> &KeyedRateLimiter<K, S> {
        &self.limiter
    }
}

impl<K: Hash + Eq + Clone, S: BuildHasher> LimiterKey<K, S> {
    /// Asks to make one call now.
    ///
    /// # Errors
    /// As [`KeyedRateLimiter::check`].
    #[inline]
    pub fn check(&self) -> Result<(), Rejection> {
        self.limiter.check(&self.key)
    }

    /// Takes `n` units now, or none.
    ///
    /// # Errors
    /// As [`KeyedRateLimiter::check`].
    #[inline]
    pub fn check_n(&self, n: u64) -> Result<(), Rejection> {
        self.limiter.check_n(&self.key, n)
    }

    /// Whether one call is admitted now; it counts if it is.
    #[inline]
    pub fn is_allowed(&self) -> bool {
        self.check().is_ok()
    }

    /// Takes `n` units now, to be corrected when it is known how many the call used.
    ///
    /// # Errors
    /// As [`KeyedRateLimiter::check`].
    pub fn try_reserve(&self, n: u64) -> Result<Charge<Self>, Rejection> {
        self.limiter.try_reserve(&self.key, n)
    }

    /// Units in the present window; for the GCRA family those not yet returned.
    pub fn current_rate(&self) -> u64 {
        self.limiter.current_rate(&self.key)
    }

    /// Units that [`check_n`](Self::check_n) would admit now.
    pub fn remaining(&self) -> u64 {
        self.limiter.remaining(&self.key)
    }

    /// How long until `n` units fit, if nobody else comes; `None` if they never do.
    pub fn retry_after(&self, n: u64) -> Option<Duration> {
        self.limiter.retry_after(&self.key, n)
    }

    /// How it stands now. Takes nothing.
    pub fn status(&self) -> RateLimiterStatus {
        self.limiter.status(&self.key)
    }
}

impl<K: Hash + Eq + Clone, S: BuildHasher> Slots for LimiterKey<K, S> {
    fn admit(&self, n: u64, latest: Timestamp) -> Result<Admission<Self>, Rejection> {
        self.limiter.admit(&self.key, n, latest)
    }

    fn reserve(&self, n: u64, latest: Timestamp) -> Result<Reservation<Self>, Rejection> {
        self.limiter.reserve(&self.key, n, latest)
    }

    fn learn(&self, unit: &str, limits: &ServerLimits) -> Result<(), Rejection> {
        self.limiter.learn(&self.key, unit, limits)
    }

    fn pause_for(&self, wait: Duration) -> Result<(), Rejection> {
        self.limiter.pause_for(&self.key, wait)
    }

    fn name(&self) -> &Name {
        self.limiter.name()
    }

    fn time(&self) -> &TimeSource {
        self.limiter.time()
    }
}

impl<K: Hash + Eq, S: BuildHasher> Sealed for LimiterKey<K, S> {
    fn due(&self, id: u64) -> Timestamp {
        let due = in_table!(self.limiter, shards => {
            shards.with_known(&self.key, |_, lane| lane.due(id))
        });
        Timestamp::from_nanos(due.unwrap_or(0))
    }

    fn watch(&self, id: u64, waker: &Waker) {
        let moved = in_table!(self.limiter, shards => {
            shards.with_known(&self.key, |_, lane| lane.watch(id, waker))
        });
        moved.unwrap_or_default().wake();
    }

    fn begin(&self, id: u64, slept_until: Timestamp) -> Turn {
        let (time, slept_until) = (&self.limiter.shared.time, slept_until.as_nanos());
        let turn = in_table!(self.limiter, shards => {
            shards.with_known(&self.key, |_, lane| {
                lane.begin(id, time.now().as_nanos(), slept_until)
            })
        });
        turn.unwrap_or(Turn::Begun)
    }

    fn refusal(&self, units: u64) -> Rejection {
        self.limiter.limited(self.limiter.view(&self.key, units).refusal())
    }

    fn settle(&self, id: u64, used: u64) {
        let time = &self.limiter.shared.time;
        let moved = in_table!(self.limiter, shards => {
            shards.with_known(&self.key, |machine, lane| {
                lane.settle(machine, id, used, time.now().as_nanos())
            })
        });
        moved.unwrap_or_default().wake();
    }

    fn forget(&self, id: u64) {
        let time = &self.limiter.shared.time;
        in_table!(self.limiter, shards => {
            shards.with_known(&self.key, |_, lane| lane.forget(id, time.now().as_nanos()))
        });
    }

    fn admitted(&self) {
        self.limiter.shared.tally.admit();
    }
}

impl<K: Clone, S> Clone for LimiterKey<K, S> {
    fn clone(&self) -> Self {
        Self { limiter: self.limiter.clone(), key: self.key.clone() }
    }
}

impl<K: fmt::Debug, S> fmt::Debug for LimiterKey<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimiterKey")
            .field("limiter", &self.limiter.shared.config.name)
            .field("key", &self.key)
            .finish()
    }
}
