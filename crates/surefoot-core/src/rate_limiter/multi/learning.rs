//! Several limits that learn from a server together.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use super::super::ServerLimits;
use super::super::line::Moved;
use super::lanes::{Lanes, Rule};
use super::{RateLimits, Scope};
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
        let shared = &*self.shared;
        let longest = shared.config.max_throttle;
        let heeded = match scope {
            Scope::Overall => {
                let overall = &mut *lock(&shared.overall);
                let now = shared.time.now().as_nanos();
                overall.learn(&shared.overall_rules, &shared.units, limits, longest, now)
            }
            Scope::PerKey => {
                let Some(keyed) = &shared.keyed else { return Ok(()) };
                let now = || shared.time.now().as_nanos();
                let heard = keyed.with(key, now(), |rules, lanes| {
                    lanes.learn(rules, &shared.units, limits, longest, now())
                });
                heard.map_err(|_| self.full())?
            }
        };
        heeded.moved.wake();
        for (policy, now, until) in heeded.paused {
            shared.tally.pause(&policy, now, until);
        }
        Ok(())
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
}

/// What came of something that several limits heard.
#[derive(Default)]
struct Heard {
    moved: Moved,
    /// Those that admit nobody any more, by name; since when, and until when.
    paused: Vec<(Name, u64, u64)>,
}

impl Lanes {
    fn learn(
        &mut self,
        rules: &[Rule],
        units: &[Name],
        limits: &ServerLimits,
        longest: Duration,
        now: u64,
    ) -> Heard {
        let mut all = Heard::default();
        for (rule, lane) in rules.iter().zip(&mut self.0) {
            let unit = units[rule.unit].as_str();
            for heard in limits.heard(unit, longest) {
                let heeded = lane.hear(&rule.machine, heard, now);
                all.moved.and(heeded.moved);
                let told = all.paused.iter().any(|(policy, ..)| *policy == rule.policy);
                if let Some((now, until)) = heeded.paused.filter(|_| !told) {
                    all.paused.push((rule.policy.clone(), now, until));
                }
            }
        }
        all
    }
}
