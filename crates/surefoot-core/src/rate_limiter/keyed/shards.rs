//! Keys spread over locks, in bounded memory.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};

use hashbrown::HashTable;

use super::super::config::WhenFull;
use crate::TimeSource;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, lock};

/// What is remembered of one key under some rule.
pub(in super::super) trait State {
    /// What is the same for all keys.
    type Rule;

    /// That of a key which is not known.
    fn new(rule: &Self::Rule) -> Self;

    /// When it will be as good as new by itself, unless it is reserved.
    fn idle_at(&self, rule: &Self::Rule) -> u64;

    /// Whether somebody may still come back to it.
    fn is_reserved(&self, now: u64) -> bool;
}

/// A hash table in parts, each with its lock.
pub(in super::super) struct Shards<K, T: State, S> {
    rule: T::Rule,
    hasher: S,
    parts: Box<[Shard<K, T>]>,
    max_keys: usize,
    when_full: WhenFull,
    /// Keys in all shards: claimed before one is inserted, given up after it is removed.
    keys: AtomicUsize,
    /// Idle keys are looked for in one shard after the other, a whole turn each window, or each
    /// second where windows are shorter.
    next_sweep: AtomicU64,
    sweep_every: u64,
    /// Sweeps so far: which shard is the next one's.
    sweeps: AtomicUsize,
    /// Until when it is not worth looking for idle keys again, since none was found and the first
    /// of those seen is idle no sooner.
    search_from: AtomicU64,
}

/// Alone on its cache line, so that the locks do not disturb each other.
#[repr(align(64))]
struct Shard<K, T>(Mutex<HashTable<(K, T)>>);

/// What a look at one shard came to.
struct Swept {
    looked_at: usize,
    forgotten: usize,
    /// When the first of the keys that stay is idle.
    next_idle: u64,
}

/// No room for a new key.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Full;

const SHARDS_LEAST: usize = 16;
const SHARDS_MOST: usize = 1024;
/// Sweeping a shard should take microseconds, so it should not hold many more than this.
const KEYS_IN_A_SHARD: usize = 1024;
/// Shards that one call sweeps at most where sweeps are overdue.
const OVERDUE_MOST: u64 = 4;
/// Entries that a call with a new key looks at, in whole shards, before it takes the table to be
/// full.
const SEARCH_MOST: usize = 4096;
/// How long a search that found nothing is not repeated, unless a key it saw is idle sooner: a flood
/// of new keys would else have every call search.
const SEARCH_PAUSE: u64 = 1_000_000;
/// How long a key stays after it has become idle, as long as there is room: it is likely to be
/// asked for again, and to be put back costs more than to be kept.
const GRACE: u64 = 1_000_000_000;
/// Tables this small are not worth shrinking.
const CAPACITY_KEPT: usize = 8;

impl<K: Hash + Eq, T: State, S: BuildHasher> Shards<K, T, S> {
    pub(in super::super) fn new(
        rule: T::Rule,
        hasher: S,
        max_keys: u32,
        when_full: WhenFull,
        window: u64,
    ) -> Self {
        let max_keys = usize::try_from(max_keys).unwrap_or(usize::MAX);
        let count = (max_keys / KEYS_IN_A_SHARD).next_power_of_two();
        let count = count.clamp(SHARDS_LEAST, SHARDS_MOST);
        Self {
            rule,
            hasher,
            parts: (0..count).map(|_| Shard(Mutex::new(HashTable::new()))).collect(),
            max_keys,
            when_full,
            keys: AtomicUsize::new(0),
            next_sweep: AtomicU64::new(0),
            sweep_every: window.max(GRACE) / count as u64,
            sweeps: AtomicUsize::new(0),
            search_from: AtomicU64::new(0),
        }
    }

    /// Does something with the state of `key`, which may be a new one.
    #[inline]
    pub(in super::super) fn with<Q, R>(
        &self,
        key: &Q,
        now: u64,
        work: impl FnOnce(&T::Rule, &mut T) -> R,
    ) -> Result<R, Full>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        let mut table = lock(&self.shard(hash).0);
        let found = table.find_mut(hash, |(known, _)| known.borrow() == key);
        let answer = if let Some((_, state)) = found {
            let answer = work(&self.rule, state);
            drop(table);
            answer
        } else {
            drop(table);
            self.with_new(key, hash, now, work)?
        };
        if now >= self.next_sweep.load(Ordering::Relaxed) {
            self.sweep_some(now);
        }
        Ok(answer)
    }

    /// The same for a key that should be known; `None` if it was forgotten.
    pub(in super::super) fn with_known<R>(
        &self,
        key: &K,
        work: impl FnOnce(&T::Rule, &mut T) -> R,
    ) -> Option<R> {
        let hash = self.hasher.hash_one(key);
        let mut table = lock(&self.shard(hash).0);
        let (_, state) = table.find_mut(hash, |(known, _)| known == key)?;
        Some(work(&self.rule, state))
    }

    /// Looks at the state of `key`, or at a new one that is not kept.
    pub(in super::super) fn look<Q, R>(
        &self,
        key: &Q,
        time: &TimeSource,
        work: impl FnOnce(&T::Rule, &mut T, u64) -> R,
    ) -> R
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        let mut table = lock(&self.shard(hash).0);
        let now = time.now().as_nanos();
        match table.find_mut(hash, |(known, _)| known.borrow() == key) {
            Some((_, state)) => work(&self.rule, state, now),
            None => work(&self.rule, &mut T::new(&self.rule), now),
        }
    }

    pub(in super::super) fn keys(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    pub(in super::super) fn evict_all_idle(&self, now: u64) {
        for shard in &self.parts {
            self.sweep(shard, now, now);
        }
    }

    #[cold]
    fn with_new<Q, R>(
        &self,
        key: &Q,
        hash: u64,
        now: u64,
        work: impl FnOnce(&T::Rule, &mut T) -> R,
    ) -> Result<R, Full>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.claim_place(hash, now)?;
        let shard = self.shard(hash);
        let mut table = lock(&shard.0);
        // Another thread may have been faster.
        if let Some((_, state)) = table.find_mut(hash, |(known, _)| known.borrow() == key) {
            self.give_up_places(1);
            return Ok(work(&self.rule, state));
        }
        if table.len() == table.capacity() {
            self.forget_idle(&mut table, now.saturating_sub(GRACE), now);
        }
        let rehash = |(key, _): &(K, T)| self.hasher.hash_one(key);
        let mut entry = table.insert_unique(hash, (key.to_owned(), T::new(&self.rule)), rehash);
        Ok(work(&self.rule, &mut entry.get_mut().1))
    }

    /// Makes sure that one more key may be inserted.
    fn claim_place(&self, hash: u64, now: u64) -> Result<(), Full> {
        loop {
            if self.keys.fetch_add(1, Ordering::Relaxed) < self.max_keys {
                return Ok(());
            }
            self.give_up_places(1);
            if !self.find_idle(now) {
                match self.when_full {
                    WhenFull::RefuseNewKeys => return Err(Full),
                    WhenFull::EvictIdlest => self.evict_idlest(hash, now)?,
                }
            }
        }
    }

    fn give_up_places(&self, places: usize) {
        self.keys.fetch_sub(places, Ordering::Relaxed);
    }

    /// Sweeps on from where sweeping is, until something was found or enough was looked at.
    fn find_idle(&self, now: u64) -> bool {
        if now < self.search_from.load(Ordering::Relaxed) {
            return false;
        }
        let mut searched = 0;
        let mut next_idle = now.saturating_add(SEARCH_PAUSE);
        for _ in 0..self.parts.len() {
            let swept = self.sweep(self.next_shard(), now, now);
            if swept.forgotten > 0 {
                return true;
            }
            searched += swept.looked_at;
            next_idle = next_idle.min(swept.next_idle);
            if searched > SEARCH_MOST {
                break;
            }
        }
        self.search_from.store(next_idle, Ordering::Relaxed);
        false
    }

    /// Forgets the key that would be idle soonest: in a small table of all, in a large one of
    /// this shard, or of the next that has any.
    fn evict_idlest(&self, hash: u64, now: u64) -> Result<(), Full> {
        let is_small = self.max_keys <= KEYS_IN_A_SHARD;
        let (before, from) = self.parts.split_at(self.place_of(hash));
        let mut idlest = None;
        for shard in from.iter().chain(before) {
            let least = self.idlest_of(&lock(&shard.0), now);
            if least.is_some_and(|least| idlest.is_none_or(|(earlier, _)| least < earlier)) {
                idlest = least.map(|least| (least, shard));
            }
            if idlest.is_some() && !is_small {
                break;
            }
        }
        let (_, shard) = idlest.ok_or(Full)?;
        let mut table = lock(&shard.0);
        // Its key may have been used since: then another one of the shard goes, if any can. If none
        // can, there is nothing to give up and whoever asks looks again.
        let idlest = self.idlest_of(&table, now);
        let mut evicted = false;
        table.retain(|(_, state)| {
            let is_idlest = Some(state.idle_at(&self.rule)) == idlest && !state.is_reserved(now);
            let stays = evicted || !is_idlest;
            evicted = !stays || evicted;
            stays
        });
        self.give_up_places(usize::from(evicted));
        Ok(())
    }

    /// When the first of a table's keys that may be forgotten is idle.
    fn idlest_of(&self, table: &HashTable<(K, T)>, now: u64) -> Option<u64> {
        let evictable = table.iter().filter(|(_, state)| !state.is_reserved(now));
        evictable.map(|(_, state)| state.idle_at(&self.rule)).min()
    }

    /// One shard for each sweep that is due, or a few of those that are overdue.
    #[cold]
    fn sweep_some(&self, now: u64) {
        let due = self.next_sweep.load(Ordering::Relaxed);
        let next = now.saturating_add(self.sweep_every);
        let swapped =
            self.next_sweep.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed);
        if now < due || swapped.is_err() {
            return;
        }
        let overdue = 1 + (now - due) / self.sweep_every;
        for _ in 0..overdue.min(OVERDUE_MOST) {
            self.sweep(self.next_shard(), now.saturating_sub(GRACE), now);
        }
        // What is still overdue is for the next calls.
        if overdue > OVERDUE_MOST && self.keys() > 0 {
            let rest = overdue.min(self.parts.len() as u64) - OVERDUE_MOST;
            let back = now.saturating_sub(rest.saturating_mul(self.sweep_every));
            self.next_sweep.store(back, Ordering::Relaxed);
        }
    }

    /// Forgets keys idle since `since` or longer.
    fn sweep(&self, shard: &Shard<K, T>, since: u64, now: u64) -> Swept {
        let mut table = lock(&shard.0);
        let before = table.len();
        let next_idle = self.forget_idle(&mut table, since, now);
        let left = table.len();
        if table.capacity() > CAPACITY_KEPT && table.capacity() / 4 > left {
            table.shrink_to(left, |(key, _)| self.hasher.hash_one(key));
        }
        Swept { looked_at: before, forgotten: before - left, next_idle }
    }

    /// When the first of the keys that stay is idle, if it may be forgotten then.
    fn forget_idle(&self, table: &mut HashTable<(K, T)>, since: u64, now: u64) -> u64 {
        let before = table.len();
        let mut next_idle = u64::MAX;
        table.retain(|(_, state)| {
            let idle_at = state.idle_at(&self.rule);
            if state.is_reserved(now) {
                return true;
            }
            let stays = idle_at > since;
            if stays {
                next_idle = next_idle.min(idle_at);
            }
            stays
        });
        self.give_up_places(before - table.len());
        next_idle
    }

    fn next_shard(&self) -> &Shard<K, T> {
        let sweep = self.sweeps.fetch_add(1, Ordering::Relaxed);
        &self.parts[sweep & (self.parts.len() - 1)]
    }

    fn shard(&self, hash: u64) -> &Shard<K, T> {
        &self.parts[self.place_of(hash)]
    }

    /// Bits that the tables use neither for places nor for tags.
    fn place_of(&self, hash: u64) -> usize {
        (hash >> 40) as usize & (self.parts.len() - 1)
    }
}
