//! The locks that a decision needs: that of the key's shard, then that of the limits of all.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};

use super::Shared;
use super::lanes::{Both, Lanes, Rule};
use crate::rate_limiter::keyed::shards::Full;
use crate::sync::lock;

impl<K: Hash + Eq, S: BuildHasher> Shared<K, S> {
    /// Does something with the lanes of `key`, which may be a new one, and those of all.
    pub(super) fn decide<Q, R>(
        &self,
        key: &Q,
        work: impl FnOnce(&mut Both<'_>, u64) -> R,
    ) -> Result<R, Full>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let Some(keyed) = &self.keyed else {
            return Ok(self.with_all(&[], &mut Lanes::none(), work));
        };
        let now = self.time.now().as_nanos();
        keyed.with(key, now, |rules, lanes| self.with_all(rules, lanes, work))
    }

    /// The same with a key that is known, or else with what is not kept.
    pub(super) fn look<Q, R>(&self, key: &Q, work: impl FnOnce(&mut Both<'_>, u64) -> R) -> R
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let Some(keyed) = &self.keyed else {
            return self.with_all(&[], &mut Lanes::none(), work);
        };
        keyed.look(key, &self.time, |rules, lanes, _| self.with_all(rules, lanes, work))
    }
}

impl<K, S> Shared<K, S> {
    /// With the lanes of all beside those of a key. The time is read when nobody else can come between.
    pub(super) fn with_all<R>(
        &self,
        rules: &[Rule],
        lanes: &mut Lanes,
        work: impl FnOnce(&mut Both<'_>, u64) -> R,
    ) -> R {
        let overall = &mut *lock(&self.overall);
        let now = self.time.now().as_nanos();
        work(&mut Both { rules, lanes, overall_rules: &self.overall_rules, overall }, now)
    }
}
