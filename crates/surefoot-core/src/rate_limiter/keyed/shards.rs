//! Keys spread over locks, in bounded memory.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::ops::Range;

use super::super::config::WhenFull;
use super::table::{PLACES, Table};
use crate::TimeSource;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, lock};

/// What is remembered of one key under some rule.
pub(in super::super) trait State: Sized {
    /// What is the same for all keys.
    type Rule;
    /// The form in which most keys' states are kept.
    type Kept: Kept<Self>;

    /// That of a key which is not known.
    fn new(rule: &Self::Rule) -> Self;

    /// When it will be as good as new by itself, unless it is reserved.
    fn idle_at(&self, rule: &Self::Rule) -> u64;

    /// Whether somebody may still come back to it.
    fn is_reserved(&self, now: u64) -> bool;
}

/// A state in a form that may be smaller, for the keys of which there is nothing else to remember.
pub(in super::super) trait Kept<T: State>: Sized {
    /// The state of a new key.
    fn new(rule: &T::Rule) -> Self;

    /// A state that has grown, if this is enough of it again.
    fn of(state: &T, now: u64) -> Option<Self>;

    /// Works on the state. If it has grown meanwhile, it is handed out, and stands for the key
    /// from then on.
    fn work<R>(&mut self, work: impl FnOnce(&mut T) -> R) -> (R, Option<T>);

    /// As of the state.
    fn idle_at(&self, rule: &T::Rule) -> u64;

    /// As of the state.
    fn is_reserved(&self, now: u64) -> bool;
}

/// States that are kept as they are, however they grow.
impl<T: State<Kept = T>> Kept<T> for T {
    fn new(rule: &T::Rule) -> Self {
        T::new(rule)
    }

    fn of(_: &T, _: u64) -> Option<Self> {
        None // none was ever handed out
    }

    #[inline]
    fn work<R>(&mut self, work: impl FnOnce(&mut T) -> R) -> (R, Option<T>) {
        (work(self), None)
    }

    fn idle_at(&self, rule: &T::Rule) -> u64 {
        State::idle_at(self, rule)
    }

    fn is_reserved(&self, now: u64) -> bool {
        State::is_reserved(self, now)
    }
}

/// Hash tables, each with its lock.
pub(in super::super) struct Shards<K, T: State, S> {
    rule: T::Rule,
    hasher: S,
    parts: Box<[Shard<K, T>]>,
    max_keys: usize,
    when_full: WhenFull,
    /// Keys in all shards: claimed before one is inserted, given up after it is removed.
    keys: AtomicUsize,
    /// Idle keys are looked for in a stretch of one shard after the other: everywhere within a turn
    /// of so many sweeps, which lasts a window, or a second where windows are shorter.
    turn: u64,
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
struct Shard<K, T: State>(Mutex<Part<K, T>>);

/// The keys of one shard; each is in one of the two tables.
struct Part<K, T: State> {
    known: Table<K, T::Kept>,
    /// Those whose states have grown.
    grown: Table<K, T>,
    /// How many lines of the known were swept in this turn.
    swept: usize,
}

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

/// So that few of the threads there are meet at a lock.
const SHARDS_LEAST: usize = 64;
/// Of few locks, more are at hand in a processor's caches.
const SHARDS_MOST: usize = 256;
/// So that a table does not take longer than some hundred microseconds to grow.
const KEYS_IN_A_SHARD: usize = 32_768;
/// Lines of a shard that are swept at once, or among which the idlest key is evicted: what takes
/// microseconds.
const STRETCH: usize = 1_024;
/// Where no more keys fit, the idlest of all is found in a few thousand cache lines.
const SMALL: usize = 1_024;
/// With a sweep for so many keys, tables are swept in a turn even when they are at their emptiest.
const KEYS_IN_A_SWEEP: usize = 1_024;
/// Sweeps that one call makes at most where they are overdue.
const OVERDUE_MOST: u64 = 4;
/// Places that a call with a new key looks at, in whole stretches, before it takes the table to be
/// full.
const SEARCH_MOST: usize = 8_192;
/// How long a search that found nothing is not repeated, unless a key it saw is idle sooner: a flood
/// of new keys would else have every call search.
const SEARCH_PAUSE: u64 = 1_000_000;
/// How long a key stays after it has become idle, as long as there is room: it is likely to be
/// asked for again, and to be put back costs more than to be kept.
const GRACE: u64 = 1_000_000_000;
/// Tables this small are not worth shrinking.
const CAPACITY_KEPT: usize = 8;

impl<K, T: State> Default for Shard<K, T> {
    fn default() -> Self {
        let (known, grown) = (Table::default(), Table::default());
        Self(Mutex::new(Part { known, grown, swept: 0 }))
    }
}

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
        let turn = count.max(max_keys / KEYS_IN_A_SWEEP) as u64;
        Self {
            rule,
            hasher,
            parts: (0..count).map(|_| Shard::default()).collect(),
            max_keys,
            when_full,
            keys: AtomicUsize::new(0),
            next_sweep: AtomicU64::new(0),
            turn,
            sweep_every: (window.max(GRACE) / turn).max(1),
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
        let mut part = lock(&self.shard(hash).0);
        let answer = if let Some(kept) = part.known.find_mut(hash, |known| known.borrow() == key) {
            let (answer, grown) = kept.work(|state| work(&self.rule, state));
            if let Some(state) = grown {
                self.set_aside(&mut part, key, hash, state);
            }
            drop(part);
            answer
        } else {
            drop(part);
            self.with_another(key, hash, now, work)?
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
        // At the beginning of time: what only time makes idle is left to those who know it.
        self.with_present(&mut lock(&self.shard(hash).0), key, hash, 0, work).ok()
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
        let mut part = lock(&self.shard(hash).0);
        let now = time.now().as_nanos();
        let looked =
            self.with_present(&mut part, key, hash, now, |rule, state| work(rule, state, now));
        looked.unwrap_or_else(|work| work(&self.rule, &mut T::new(&self.rule)))
    }

    pub(in super::super) fn keys(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    pub(in super::super) fn evict_all_idle(&self, now: u64) {
        for shard in &self.parts {
            let part = &mut *lock(&shard.0);
            self.take_back(part, now);
            let all = part.known.lines();
            self.forget_idle(part, all, now, now);
            self.shrink(part);
        }
    }

    /// For a key that is not in the table in which most are.
    #[cold]
    fn with_another<Q, R>(
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
        let shard = self.shard(hash);
        let known = self.with_present(&mut lock(&shard.0), key, hash, now, work);
        let work = match known {
            Ok(answer) => return Ok(answer),
            Err(work) => work,
        };
        self.claim_place(hash, now)?;
        let mut part = lock(&shard.0);
        // Another thread may have been faster.
        let work = match self.with_present(&mut part, key, hash, now, work) {
            Ok(answer) => {
                self.give_up_places(1);
                return Ok(answer);
            }
            Err(work) => work,
        };
        if part.known.len() >= part.known.capacity() {
            let all = part.known.lines();
            self.forget_idle(&mut part, all, now.saturating_sub(GRACE), now);
        }
        let mut kept = T::Kept::new(&self.rule);
        let (answer, grown) = kept.work(|state| work(&self.rule, state));
        match grown {
            Some(state) => part.grown.insert(hash, key.to_owned(), state, self.hash()),
            None => part.known.insert(hash, key.to_owned(), kept, self.hash()),
        }
        Ok(answer)
    }

    /// Works on a key that is there, or hands the work back.
    fn with_present<Q, R, W>(
        &self,
        part: &mut Part<K, T>,
        key: &Q,
        hash: u64,
        now: u64,
        work: W,
    ) -> Result<R, W>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        W: FnOnce(&T::Rule, &mut T) -> R,
    {
        let is = |known: &K| known.borrow() == key;
        if let Some(kept) = part.known.find_mut(hash, is) {
            let (answer, grown) = kept.work(|state| work(&self.rule, state));
            if let Some(state) = grown {
                self.set_aside(part, key, hash, state);
            }
            return Ok(answer);
        }
        let Some(state) = part.grown.find_mut(hash, is) else { return Err(work) };
        let answer = work(&self.rule, state);
        if let Some(kept) = T::Kept::of(state, now)
            && let Some((key, _)) = part.grown.remove(hash, is)
        {
            part.known.insert(hash, key, kept, self.hash());
        }
        Ok(answer)
    }

    /// Has the state that `key` has grown to stand for it.
    #[cold]
    fn set_aside<Q>(&self, part: &mut Part<K, T>, key: &Q, hash: u64, state: T)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if let Some((key, _)) = part.known.remove(hash, |known| known.borrow() == key) {
            part.grown.insert(hash, key, state, self.hash());
        }
    }

    fn hash(&self) -> impl Fn(&K) -> u64 {
        |key| self.hasher.hash_one(key)
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

    /// Forgets the key that would be idle soonest: in a small table of all, in a large one of those
    /// that stand near to this hash, in its shard or in the next that has any there.
    fn evict_idlest(&self, hash: u64, now: u64) -> Result<(), Full> {
        let is_small = self.max_keys <= SMALL;
        let (before, from) = self.parts.split_at(self.place_of(hash));
        let mut idlest = None;
        for shard in from.iter().chain(before) {
            let part = &mut *lock(&shard.0);
            self.take_back(part, now);
            let least = self.idlest_around(part, hash, now);
            if least.is_some_and(|least| idlest.is_none_or(|(earlier, _)| least < earlier)) {
                idlest = least.map(|least| (least, shard));
            }
            if idlest.is_some() && !is_small {
                break;
            }
        }
        let (_, shard) = idlest.ok_or(Full)?;
        let part = &mut *lock(&shard.0);
        // Its key may have been used since: then another one near it goes, if any can. If none
        // can, there is nothing to give up and whoever asks looks again.
        let idlest = self.idlest_around(part, hash, now);
        let mut evicted = false;
        let first_idlest = |_: &K, kept: &T::Kept| {
            let is_idlest = Some(kept.idle_at(&self.rule)) == idlest && !kept.is_reserved(now);
            let is_first = is_idlest && !evicted;
            evicted |= is_idlest;
            is_first
        };
        let lines = part.known.lines_around(hash, STRETCH);
        part.known.extract(lines, first_idlest, self.hash(), |_, _| ());
        self.give_up_places(usize::from(evicted));
        Ok(())
    }

    /// When the first of the keys near to this hash that may be forgotten is idle.
    fn idlest_around(&self, part: &Part<K, T>, hash: u64, now: u64) -> Option<u64> {
        let near = part.known.iter(part.known.lines_around(hash, STRETCH));
        let evictable = near.filter(|(_, kept)| !kept.is_reserved(now));
        evictable.map(|(_, kept)| kept.idle_at(&self.rule)).min()
    }

    /// The sweep that is due, or a few of those that are overdue.
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
            let rest = overdue.min(self.turn) - OVERDUE_MOST;
            let back = now.saturating_sub(rest.saturating_mul(self.sweep_every));
            self.next_sweep.store(back, Ordering::Relaxed);
        }
    }

    /// Forgets keys of a shard's next stretch that are idle since `since` or longer.
    fn sweep(&self, shard: &Shard<K, T>, since: u64, now: u64) -> Swept {
        let part = &mut *lock(&shard.0);
        self.take_back(part, now);
        let end = part.known.lines().end;
        let from = part.swept.min(end);
        let to = end.min(from + STRETCH);
        let before = part.known.len();
        let next_idle = self.forget_idle(part, from..to, since, now);
        let forgotten = before - part.known.len();
        part.swept = to;
        if to == end {
            part.swept = 0;
            self.shrink(part);
        }
        Swept { looked_at: PLACES * (to - from), forgotten, next_idle }
    }

    /// When the first of the keys that stay is idle, if it may be forgotten then.
    fn forget_idle(&self, part: &mut Part<K, T>, lines: Range<usize>, since: u64, now: u64) -> u64 {
        let mut next_idle = u64::MAX;
        let is_idle = |_: &K, kept: &T::Kept| {
            if kept.is_reserved(now) {
                return false;
            }
            let idle_at = kept.idle_at(&self.rule);
            if idle_at > since {
                next_idle = next_idle.min(idle_at);
            }
            idle_at <= since
        };
        let before = part.known.len();
        part.known.extract(lines, is_idle, self.hash(), |_, _| ());
        self.give_up_places(before - part.known.len());
        next_idle
    }

    fn shrink(&self, part: &mut Part<K, T>) {
        if part.known.capacity() > CAPACITY_KEPT {
            part.known.shrink(self.hash());
        }
    }

    /// Takes states back that have grown and need it no more.
    fn take_back(&self, part: &mut Part<K, T>, now: u64) {
        if part.grown.capacity() == 0 {
            return;
        }
        let Part { known, grown, .. } = part;
        let is_small = |_: &K, state: &T| T::Kept::of(state, now).is_some();
        grown.extract(grown.lines(), is_small, self.hash(), |key, state| {
            if let Some(kept) = T::Kept::of(&state, now) {
                known.insert(self.hasher.hash_one(&key), key, kept, self.hash());
            }
        });
        if grown.capacity() > CAPACITY_KEPT {
            grown.shrink(self.hash());
        }
    }

    fn next_shard(&self) -> &Shard<K, T> {
        let sweep = self.sweeps.fetch_add(1, Ordering::Relaxed);
        &self.parts[sweep & (self.parts.len() - 1)]
    }

    fn shard(&self, hash: u64) -> &Shard<K, T> {
        &self.parts[self.place_of(hash)]
    }

    /// Bits that the tables use neither for lines nor for tags.
    fn place_of(&self, hash: u64) -> usize {
        (hash >> 40) as usize & (self.parts.len() - 1)
    }
}
