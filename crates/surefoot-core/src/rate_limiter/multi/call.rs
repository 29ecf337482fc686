//! One kind of call under several limits, as something that is waited for.

use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::task::Waker;
use std::time::Duration;

use super::super::engine::Placed;
use super::super::keyed::shards::Full;
use super::super::reservation::sealed::{Sealed, Turn};
use super::super::{Admission, Quota, Reservation, ServerLimits, Slots};
use super::lanes::{Amounts, Places, Used};
use super::{LIMITS_MOST, LimitsCharge, RateLimits, Scope};
use crate::sync::Arc;
use crate::sync::atomic::Ordering;
use crate::time::nanos;
use crate::{Name, Rejection, TimeSource, Timestamp};

/// Calls of one key that take the same of each unit; made by
/// [`RateLimits::call_of`](super::RateLimits::call_of).
///
/// A handle that can be waited for, weighed and put into a pipeline as a
/// [`RateLimiter`](crate::RateLimiter) can: its unit is one such call.
///
/// ```
/// use std::time::Duration;
/// use surefoot_core::rate_limiter::multi::{Limit, RateLimits};
/// use surefoot_core::rate_limiter::{Admission, Slots};
/// use surefoot_core::{ManualClock, Timestamp};
///
/// let minute = Duration::from_secs(60);
/// let limits: RateLimits<String> = RateLimits::builder("model")
///     .limit(Limit::overall("tokens", 1_000, minute))
///     .clock(ManualClock::new())
///     .build()?;
/// let summary = limits.call_of("alice", &[("tokens", 600)])?;
/// assert!(matches!(summary.admit(1, Timestamp::MAX)?, Admission::Now));
/// let Admission::Later(slot) = summary.admit(1, Timestamp::MAX)? else { unreachable!() };
/// assert_eq!(slot.due(), Timestamp::ZERO + minute);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// **Cancellation.** See the [module](super).
pub struct LimitedCall<K, S = RandomState> {
    limits: RateLimits<K, S>,
    kind: Arc<Kind<K>>,
    told_about: Scope,
}

struct Kind<K> {
    key: K,
    amounts: Amounts,
}

impl<K, S> LimitedCall<K, S> {
    pub(super) fn new(limits: RateLimits<K, S>, key: K, amounts: Amounts) -> Self {
        let of_all = !limits.shared.overall_rules.is_empty();
        let told_about = if of_all { Scope::Overall } else { Scope::PerKey };
        Self { limits, kind: Arc::new(Kind { key, amounts }), told_about }
    }

    /// The key.
    pub fn key(&self) -> &K {
        &self.kind.key
    }

    /// The limits.
    pub fn limits(&self) -> &RateLimits<K, S> {
        &self.limits
    }

    /// Which limits the answers to such calls tell about. Default: those of all calls together, where there
    /// are any.
    pub fn told_about(self, scope: Scope) -> Self {
        Self { told_about: scope, ..self }
    }

    fn amounts(&self, times: u64) -> Amounts {
        self.kind.amounts.map(|units| units.saturating_mul(times))
    }
}

impl<K: Hash + Eq, S: BuildHasher> LimitedCall<K, S> {
    /// Takes what one such call takes, to be corrected when it is known how much it used.
    ///
    /// # Errors
    /// As [`RateLimits::check`](super::RateLimits::check).
    pub fn try_reserve(&self) -> Result<LimitsCharge<K, S>, Rejection>
    where
        K: Clone,
    {
        let amounts = self.amounts(1);
        let places =
            self.limits.take(self.key(), &amounts, |both, now| both.take_places(&amounts, now))?;
        self.admitted();
        Ok(LimitsCharge::new(self.clone(), places))
    }

    pub(super) fn close(&self, places: &Places, used: &Used) {
        // Whatever was taken for it, it was something of each unit in which it has a place.
        let all = [1; LIMITS_MOST];
        let shared = &self.limits.shared;
        shared.look(self.key(), |both, now| both.close(&all, places, used, now)).wake();
    }

    fn admitted(&self) {
        self.limits.shared.tally.admit();
    }
}

impl<K: Hash + Eq + Clone, S: BuildHasher> Slots for LimitedCall<K, S> {
    fn admit(&self, n: u64, latest: Timestamp) -> Result<Admission<Self>, Rejection> {
        if n == 0 {
            return Ok(Admission::Now);
        }
        let (limits, amounts) = (&self.limits, self.amounts(n));
        if latest == Timestamp::MAX || limits.time().now() <= latest {
            let taken = limits.shared.decide(self.key(), |both, now| {
                both.fit(&amounts, now, now)?;
                both.take(&amounts, now);
                Ok(())
            });
            match taken {
                Ok(Ok(())) => {
                    self.admitted();
                    return Ok(Admission::Now);
                }
                Ok(Err(misfit)) if limits.config().longest_wait().is_zero() => {
                    return Err(limits.refused(&misfit));
                }
                Ok(Err(_)) => {}
                Err(Full) => return Err(limits.full()),
            }
        }
        self.reserve(n, latest).map(Admission::Later)
    }

    fn reserve(&self, n: u64, latest: Timestamp) -> Result<Reservation<Self>, Rejection> {
        let (shared, amounts) = (&*self.limits.shared, self.amounts(n));
        let longest = nanos(shared.config.longest_wait());
        let lined_up = shared.decide(self.key(), |both, now| {
            let latest = latest.as_nanos().min(now.saturating_add(longest));
            let slowest = both.slowest(&amounts, now);
            if let Some((rule, refusal)) = slowest.filter(|(_, refusal)| refusal.is_after(latest)) {
                return Err(rule.misfit(refusal));
            }
            let mut places = [0; LIMITS_MOST];
            let due = both.line_up(&amounts, latest, now, &mut places)?;
            let waits = due > now;
            let place = Place { places, times: n, latest, waits };
            let slowest = slowest.filter(|_| waits).map(|(rule, _)| rule.policy.clone());
            Ok((place, Placed { id: 0, due, now }, slowest))
        });
        let (place, placed, slowest) = match lined_up {
            Ok(lined_up) => lined_up.map_err(|misfit| self.limits.refused(&misfit))?,
            Err(Full) => return Err(self.limits.full()),
        };
        if place.waits {
            shared.waiting.fetch_add(1, Ordering::Relaxed);
        }
        // The place first: what a listener does must not leave it without an owner.
        let reservation = Reservation::new(self.clone(), place, n);
        shared.tally.place(slowest.as_ref().unwrap_or(&shared.config.name), placed);
        Ok(reservation)
    }

    /// The unit is told by what is heard: each limit hears of its own.
    fn learn(&self, _: &str, limits: &ServerLimits) -> Result<(), Rejection> {
        self.limits.learn(self.key(), self.told_about, limits)
    }

    fn pause_for(&self, wait: Duration) -> Result<(), Rejection> {
        self.limits.pause_for(self.key(), self.told_about, wait)
    }

    fn name(&self) -> &Name {
        self.limits.name()
    }

    fn time(&self) -> &TimeSource {
        self.limits.time()
    }
}

/// What a call holds in the lines of its limits, or has taken of them.
pub struct Place {
    pub(super) places: Places,
    /// So many calls of the kind.
    times: u64,
    latest: u64,
    /// It is counted among those who wait.
    waits: bool,
}

impl<K: Hash + Eq, S: BuildHasher> LimitedCall<K, S> {
    fn waits_no_more(&self, place: &mut Place) {
        if std::mem::take(&mut place.waits) {
            self.limits.shared.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl<K: Hash + Eq, S: BuildHasher> Sealed for LimitedCall<K, S> {
    type Place = Place;

    fn due(&self, place: &Place) -> Timestamp {
        let amounts = self.amounts(place.times);
        let due = self.limits.shared.look(self.key(), |both, _| both.due(&amounts, &place.places));
        Timestamp::from_nanos(due.unwrap_or(0))
    }

    fn watch(&self, place: &Place, waker: &Waker) {
        let amounts = self.amounts(place.times);
        let shared = &self.limits.shared;
        shared.look(self.key(), |both, _| both.watch(&amounts, &place.places, waker)).wake();
    }

    fn begin(&self, place: &mut Place, slept_until: Timestamp) -> Turn {
        let amounts = self.amounts(place.times);
        let (turn, moved) = self.limits.shared.look(self.key(), |both, now| {
            both.begin(&amounts, &mut place.places, place.latest, now, slept_until.as_nanos())
        });
        moved.wake();
        if turn != Turn::NotDue {
            self.waits_no_more(place);
        }
        turn
    }

    fn refusal(&self, times: u64) -> Rejection {
        let amounts = self.amounts(times);
        let misfit = self.limits.shared.look(self.key(), |both, now| {
            both.slowest(&amounts, now).map(|(rule, refusal)| rule.misfit(refusal))
        });
        match misfit {
            Some(misfit) => self.limits.refused(&misfit),
            // A call that takes nothing is never refused.
            None => Rejection::RateLimited {
                policy: self.limits.name().clone(),
                quota: Quota::new(0, Duration::ZERO),
                retry_after: Some(Duration::ZERO),
            },
        }
    }

    fn settle(&self, place: Place, used: u64) {
        let mut place = place;
        self.waits_no_more(&mut place);
        let shared = &self.limits.shared;
        let amounts = self.amounts(place.times);
        let used = self.amounts(used).map(Some);
        shared.look(self.key(), |both, now| both.close(&amounts, &place.places, &used, now)).wake();
    }

    fn forget(&self, place: Place) {
        self.close(&place.places, &[None; LIMITS_MOST]);
    }

    fn admitted(&self) {
        self.admitted();
    }
}

impl<K, S> Clone for LimitedCall<K, S> {
    fn clone(&self) -> Self {
        let Self { limits, kind, told_about } = self;
        Self { limits: limits.clone(), kind: Arc::clone(kind), told_about: *told_about }
    }
}

impl<K: fmt::Debug, S> fmt::Debug for LimitedCall<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitedCall")
            .field("limits", &self.limits.shared.config.name)
            .field("key", &self.kind.key)
            .finish_non_exhaustive()
    }
}
