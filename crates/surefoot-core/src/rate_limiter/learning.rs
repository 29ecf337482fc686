//! Learning from a server that counts calls as well, and knows better.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use super::pause::Heard;
use super::{KeyedRateLimiter, RateLimiter};
use crate::time::nanos;
use crate::{Name, Rejection};

/// What one answer of a server says about its limits: how much is left of each, and whether the
/// call was refused because of them.
///
/// A plain value, to be read from headers and bodies (the `surefoot` crate does so for the usual
/// APIs) or filled in by hand.
///
/// ```
/// use std::time::Duration;
/// use surefoot_core::rate_limiter::{ServerBudget, ServerLimits};
/// use surefoot_core::{ManualClock, RateLimiter};
///
/// let limiter = RateLimiter::builder("model").clock(ManualClock::new()).build()?; // 100 a minute
/// let left = ServerBudget { remaining: Some(7), ..ServerBudget::of("requests") };
/// limiter.learn("requests", &ServerLimits { budgets: vec![left], ..ServerLimits::default() });
/// assert_eq!(limiter.remaining(), 7); // others use the same key
///
/// let busy = ServerLimits {
///     throttled: true,
///     retry_after: Some(Duration::from_secs(20)),
///     ..ServerLimits::default()
/// };
/// limiter.learn("requests", &busy);
/// let refusal = limiter.check().unwrap_err();
/// assert_eq!(refusal.retry_after(), Some(Duration::from_secs(20)));
/// # Ok::<(), surefoot_core::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerLimits {
    /// What is left, one for each limit that the answer tells of.
    pub budgets: Vec<ServerBudget>,
    /// Whether the call was refused because there were too many: a 429.
    pub throttled: bool,
    /// How long the server asked to wait.
    pub retry_after: Option<Duration>,
    /// Whether the call was refused because everything there was is spent: money, a quota for the
    /// day. No wait that a limiter keeps will help, so it keeps none.
    pub quota_spent: bool,
}

/// What is left of one of a server's limits. What is not known is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerBudget {
    /// What it counts: `requests`, `tokens`, `input_tokens`, `output_tokens`, ….
    pub unit: Name,
    /// Units in a window.
    pub limit: Option<u64>,
    /// The length of the window.
    pub window: Option<Duration>,
    /// Units left.
    pub remaining: Option<u64>,
    /// How long until there are more, or until all of them are back: see `reset_is_full`.
    pub reset_after: Option<Duration>,
    /// Whether `reset_after` tells when *everything* is back. More than nothing may be there long
    /// before, so a spent budget is no reason to wait for that long.
    pub reset_is_full: bool,
}

impl ServerBudget {
    /// A limit on `unit` of which nothing is known.
    pub fn of(unit: impl Into<Name>) -> Self {
        Self {
            unit: unit.into(),
            limit: None,
            window: None,
            remaining: None,
            reset_after: None,
            reset_is_full: false,
        }
    }

    /// Whether nothing is left.
    pub fn is_spent(&self) -> bool {
        self.remaining == Some(0)
    }
}

impl ServerLimits {
    /// How long nobody should call who uses `unit`: the wait that was asked for; else until the
    /// last of the spent budgets that count it has something again, if that is known.
    ///
    /// A spent quota is no reason to wait, and neither is a budget of which only the time is known
    /// when all of it is back.
    pub fn pause(&self, unit: &str) -> Option<Duration> {
        if self.quota_spent {
            return None;
        }
        let asked = self.retry_after.filter(|_| self.throttled);
        let spent = self.budgets_of(unit).filter(|budget| budget.is_spent());
        asked.or_else(|| {
            spent
                .filter(|budget| !budget.reset_is_full)
                .filter_map(|budget| budget.reset_after)
                .max()
        })
    }

    /// Whether it says nothing at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What a limit that counts `unit` hears of it.
    pub(super) fn heard(&self, unit: &str, longest: Duration) -> impl Iterator<Item = Heard> {
        let pause = self.pause(unit).map(|wait| pause(wait, longest));
        // Where nobody says when a budget that refused us has more, it is when we may ask again.
        let asked = self.retry_after.filter(|_| self.throttled);
        let left = move |budget: &ServerBudget| left(budget, budget.reset_after.or(asked));
        pause.into_iter().chain(self.budgets_of(unit).filter_map(left))
    }

    fn budgets_of(&self, unit: &str) -> impl Iterator<Item = &ServerBudget> {
        self.budgets.iter().filter(move |budget| budget.unit.as_str() == unit)
    }
}

fn pause(wait: Duration, longest: Duration) -> Heard {
    Heard::Pause { wait: nanos(wait.min(longest)) }
}

fn left(budget: &ServerBudget, reset_after: Option<Duration>) -> Option<Heard> {
    let back_in = reset_after.map_or(u64::MAX, nanos);
    // One that is whole again when we hear of it tells nothing.
    let units = budget.remaining.filter(|_| back_in > 0)?;
    Some(Heard::Left { units, back_in, evenly: budget.reset_is_full })
}

/// # Learning from the server
///
/// What is heard only ever makes a limiter stricter than its own limit, never more generous.
impl RateLimiter {
    /// Takes in what an answer says: a pause is kept by everybody ([`pause_for`](Self::pause_for)),
    /// and where budgets that count `unit` have less left than was thought, so has this
    /// ([`observe`](Self::observe)).
    pub fn learn(&self, unit: &str, limits: &ServerLimits) {
        for heard in limits.heard(unit, self.config().max_throttle) {
            self.shared.engine.hear(heard, self.time()).wake();
        }
    }

    /// Admits nobody for `wait`, cut to `max_throttle`; of several pauses the one that ends last
    /// counts.
    ///
    /// Whoever waits in line is due after its end, one behind the other as the limit admits them,
    /// so that not every one of them is told the same by the server. Those who would have to wait
    /// for too long are refused.
    pub fn pause_for(&self, wait: Duration) {
        let heard = pause(wait, self.config().max_throttle);
        self.shared.engine.hear(heard, self.time()).wake();
    }

    /// Has no more than the budget's remaining units left from now on: what is more is taken to be
    /// used by others.
    ///
    /// It is free again as if it had been used now. Limits that count in windows free it by the
    /// budget's reset, if that comes first: evenly until then, where the reset tells when everything
    /// is back.
    pub fn observe(&self, budget: &ServerBudget) {
        if let Some(heard) = left(budget, budget.reset_after) {
            self.shared.engine.hear(heard, self.time()).wake();
        }
    }
}

/// # Learning from the server
///
/// As a limiter without keys does, for one key. The key is remembered for it, and not forgotten
/// as long as its pause lasts.
impl<K: Hash + Eq, S: BuildHasher> KeyedRateLimiter<K, S> {
    /// [`RateLimiter::learn`] for `key`.
    ///
    /// # Errors
    /// [`Rejection::KeysFull`] if the key is new and there is no room for it.
    pub fn learn<Q>(&self, key: &Q, unit: &str, limits: &ServerLimits) -> Result<(), Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let mut heard = limits.heard(unit, self.config().max_throttle);
        heard.try_for_each(|heard| self.hear(key, heard))
    }

    /// [`RateLimiter::pause_for`] for `key`.
    ///
    /// # Errors
    /// As [`learn`](Self::learn).
    pub fn pause_for<Q>(&self, key: &Q, wait: Duration) -> Result<(), Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.hear(key, pause(wait, self.config().max_throttle))
    }

    /// [`RateLimiter::observe`] for `key`.
    ///
    /// # Errors
    /// As [`learn`](Self::learn).
    pub fn observe<Q>(&self, key: &Q, budget: &ServerBudget) -> Result<(), Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        left(budget, budget.reset_after).map_or(Ok(()), |heard| self.hear(key, heard))
    }
}
