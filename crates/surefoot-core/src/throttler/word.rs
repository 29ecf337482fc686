//! The one word that an uncontended call writes: free permits, or claims that none was free for.

use crate::sync::atomic::{AtomicU64, Ordering};

/// Free permits, a signed number in the upper half: below zero it is the number of claims that are
/// not met yet. Flags in the lower half.
///
/// Whoever wants a permit takes one off, and whoever has done adds one: a single read-modify-write
/// each, without looking first. Taking one off where nothing is free is a *claim*, and has to be
/// settled under the queue's lock. Adding one while a claim is not met meets it: that permit is not
/// free, and has to be handed in under the lock ([`Returned::Claimed`]).
#[derive(Debug)]
pub(super) struct Word(AtomicU64);

/// A flag: what needs a second look.
#[derive(Clone, Copy, Debug)]
pub(super) enum Flag {
    /// Somebody outside the queue wants to know of permits that return.
    Watched = 1,
}

const ONE: u64 = 1 << 32;

/// What the word said at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen(u64);

impl Seen {
    /// Free permits, or below zero claims that are not met.
    #[inline(always)]
    fn balance(self) -> i32 {
        (self.0 >> 32) as i32
    }

    /// Permits that are free.
    pub(super) fn free(self) -> u32 {
        u32::try_from(self.balance()).unwrap_or_default()
    }

    /// Claims that are not met.
    fn claims(self) -> u32 {
        self.balance().min(0).unsigned_abs()
    }

    pub(super) fn has_claims(self) -> bool {
        self.balance() < 0
    }

    #[inline(always)]
    pub(super) fn has(self, flag: Flag) -> bool {
        self.0 & flag as u64 != 0
    }
}

/// What became of a permit that was returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Returned {
    /// It is free.
    Free,
    /// It is free, and somebody wants to know.
    Noticed,
    /// It meets a claim, and has to be handed in.
    Claimed,
}

impl Word {
    pub(super) fn new(permits: u32) -> Self {
        Self(AtomicU64::new(u64::from(permits) << 32))
    }

    pub(super) fn load(&self) -> Seen {
        Seen(self.0.load(Ordering::Acquire))
    }

    /// Takes a permit; `false` if none was free: then there is one claim more.
    ///
    /// Acquire: what the last holder did is seen by the next.
    #[inline(always)]
    pub(super) fn claim(&self) -> bool {
        Seen(self.0.fetch_sub(ONE, Ordering::Acquire)).balance() > 0
    }

    /// Takes a permit if more than `reserve` are free.
    pub(super) fn take_above(&self, reserve: u32) -> bool {
        self.update(|word| (Seen(word).free() > reserve).then(|| word.wrapping_sub(ONE)))
    }

    /// Returns a permit. Release: see [`claim`](Self::claim).
    #[inline(always)]
    pub(super) fn put_back(&self) -> Returned {
        let before = Seen(self.0.fetch_add(ONE, Ordering::AcqRel));
        if before.balance() < 0 {
            Returned::Claimed
        } else if before.has(Flag::Watched) {
            Returned::Noticed
        } else {
            Returned::Free
        }
    }

    /// Takes claims back; tells how many of them were not met.
    pub(super) fn withdraw(&self, claims: u32) -> u32 {
        let mut withdrawn = 0;
        self.update(|word| {
            withdrawn = Seen(word).claims().min(claims);
            (withdrawn > 0).then(|| word.wrapping_add(u64::from(withdrawn) << 32))
        });
        withdrawn
    }

    /// Adds permits that return all at once; tells how many of them meet claims.
    pub(super) fn add(&self, permits: u32) -> u32 {
        let before = Seen(self.0.fetch_add(u64::from(permits) << 32, Ordering::AcqRel));
        before.claims().min(permits)
    }

    /// Claims permits all at once; tells how many of them were free.
    pub(super) fn remove(&self, permits: u32) -> u32 {
        let before = Seen(self.0.fetch_sub(u64::from(permits) << 32, Ordering::AcqRel));
        before.free().min(permits)
    }

    fn update(&self, change: impl FnMut(u64) -> Option<u64>) -> bool {
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, change).is_ok()
    }

    pub(super) fn raise(&self, flag: Flag) {
        self.0.fetch_or(flag as u64, Ordering::AcqRel);
    }

    pub(super) fn lower(&self, flag: Flag) {
        self.0.fetch_and(!(flag as u64), Ordering::AcqRel);
    }
}
