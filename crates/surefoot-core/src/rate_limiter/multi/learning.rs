//! Several limits that learn from a server together.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use super::super::ServerLimits;
use super::super::line::Moved;
use super::{Lanes, RateLimits, Rule, Scope, Shared};
use crate::sync::lock;
use crate::{Name, Rejection};

/// # Learning from the server
///
/// What is heard only ever makes limits stricter than they are, never more generous. Whether a
/// server counts all calls together or those of each key is for the caller to say: one account
/// behind all keys is [`Scope::Overall`], an account or a model for each is [`Scope::PerKey`].
impl<K: Hash + Eq, S: BuildHasher> RateLimits<K, S> {
    /// Takes in what an answer to a call of `key` says about the limits of this scope. A wait that
    /// was asked for holds up all of them; a budget concerns those that count its unit, as
    /// [`RateLimiter::learn`](crate::RateLimiter::learn) says.
    ///
    /// # Errors
    /// [`Rejection::KeysFull`] if the key is new and there is no room for it.
    pub fn learn<Q>(&self, key: &Q, scope: Scope, limits: &ServerLimits) -> Result<(), Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let longest = self.shared.config.max_throttle;
        self.in_scope(key, scope, |shared, rules, lanes, now| {
            lanes.learn(rules, &shared.units, limits, longest, now);
        })
    }

    /// Refuses the calls of `key`, or with [`Scope::Overall`] all calls, for `wait`, cut to
    /// `max_throttle`.
    ///
    /// # Errors
    /// As [`learn`](Self::learn).
    pub fn pause_for<Q>(&self, key: &Q, scope: Scope, wait: Duration) -> Result<(), Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let throttled = true;
        let asked = ServerLimits { throttled, retry_after: Some(wait), ..ServerLimits::default() };
        self.learn(key, scope, &asked)
    }

    fn in_scope<Q>(
        &self,
        key: &Q,
        scope: Scope,
        work: impl FnOnce(&Shared<K, S>, &[Rule], &mut Lanes, u64),
    ) -> Result<(), Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let shared = &*self.shared;
        match scope {
            Scope::Overall => {
                let overall = &mut *lock(&shared.overall);
                let now = shared.time.now().as_nanos();
                work(shared, &shared.overall_rules, overall, now);
                Ok(())
            }
            Scope::PerKey => {
                let heard = shared.keyed.with(key, &shared.time, |rules, lanes, now| {
                    work(shared, rules, lanes, now);
                });
                heard.map_err(|_| self.full())
            }
        }
    }
}

impl Lanes {
    /// Nobody waits in these lanes, so that nobody has to be woken.
    fn learn(
        &mut self,
        rules: &[Rule],
        units: &[Name],
        limits: &ServerLimits,
        longest: Duration,
        now: u64,
    ) {
        for (rule, lane) in rules.iter().zip(&mut self.0) {
            let unit = units[rule.unit].as_str();
            for heard in limits.heard(unit, longest) {
                let _: Moved = lane.hear(&rule.machine, heard, now);
            }
        }
    }
}
