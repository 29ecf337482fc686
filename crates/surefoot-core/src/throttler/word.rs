//! The one word that an uncontended call writes: free permits, and who has to be looked after.

use crate::sync::atomic::{AtomicU64, Ordering};

/// Free permits, a signed number in the upper half: negative after the limit was lowered below what
/// is out. Flags in the lower half.
///
/// Permits leave and return by one read-modify-write each. Everything else (flags, limits, whose
/// turn it is) is changed under the queue's lock, by read-modify-writes too: so whoever returns a
/// permit either sees the flag of one who has begun to wait, or has returned it before that one
/// looked for the last time.
#[derive(Debug)]
pub(super) struct Word(AtomicU64);

/// A flag: what needs a second look.
#[derive(Clone, Copy, Debug)]
pub(super) enum Flag {
    /// Somebody waits for a permit.
    Queued = 1,
    /// Nobody is admitted any more.
    Closed = 2,
    /// Somebody waits until every permit is home.
    Draining = 4,
}

const ONE: u64 = 1 << 32;
const FLAGS: u64 = ONE - 1;

/// What the word said at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen(u64);

impl Seen {
    /// Permits that are free; negative while more are out than the limit allows.
    pub(super) fn free(self) -> i32 {
        (self.0 >> 32) as i32
    }

    #[inline]
    pub(super) fn has(self, flag: Flag) -> bool {
        self.0 & flag as u64 != 0
    }

    /// Whether whoever returns a permit has to look who wants it.
    #[inline]
    fn wants_permits(self) -> bool {
        self.0 & (Flag::Queued as u64 | Flag::Draining as u64) != 0
    }

    /// Whether a call may have a permit without asking anybody.
    #[inline]
    fn is_open(self) -> bool {
        self.free() > 0 && !self.has(Flag::Queued) && !self.has(Flag::Closed)
    }
}

impl Word {
    pub(super) fn new(permits: u32) -> Self {
        Self(AtomicU64::new(u64::from(permits) << 32))
    }

    pub(super) fn load(&self) -> Seen {
        Seen(self.0.load(Ordering::Acquire))
    }

    /// Takes a permit if one is free and nobody waits; tells how many are free now.
    ///
    /// Acquire: what the last holder did is seen by the next.
    #[inline]
    pub(super) fn take(&self) -> Result<i32, Seen> {
        self.take_if(Seen::is_open)
    }

    #[inline]
    fn take_if(&self, may: impl Fn(Seen) -> bool) -> Result<i32, Seen> {
        let mut word = self.0.load(Ordering::Relaxed);
        while may(Seen(word)) {
            match self.0.compare_exchange_weak(
                word,
                word.wrapping_sub(ONE),
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(Seen(word).free() - 1),
                Err(now) => word = now,
            }
        }
        Err(Seen(word))
    }

    /// Returns a permit unless somebody wants one: then nothing has happened yet.
    ///
    /// Release: see [`take`](Self::take).
    #[inline]
    pub(super) fn put_back(&self) -> Returned {
        if Seen(self.0.load(Ordering::Relaxed)).wants_permits() {
            return Returned::NotYet;
        }
        let before = Seen(self.0.fetch_add(ONE, Ordering::AcqRel));
        if before.wants_permits() { Returned::Wanted } else { Returned::Done }
    }

    /// Adds to the free permits, or takes from them below zero; tells how many there were. Under the
    /// lock.
    pub(super) fn add(&self, permits: i64) -> i32 {
        let difference = (permits << 32).cast_unsigned();
        Seen(self.0.fetch_add(difference, Ordering::AcqRel)).free()
    }

    /// Takes a permit for the queue; `false` if none is free. Under the lock.
    pub(super) fn take_for_queue(&self) -> bool {
        self.take_if(|seen| seen.free() > 0).is_ok()
    }

    /// Sets a flag, unless one who asks now would be admitted. Under the lock.
    pub(super) fn queue_up(&self) -> Result<(), Seen> {
        let mut word = self.0.load(Ordering::Relaxed);
        while !Seen(word).is_open() {
            let flagged = word | Flag::Queued as u64;
            match self.0.compare_exchange_weak(word, flagged, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => word = now,
            }
        }
        Err(Seen(word))
    }

    /// Sets a flag, and tells what was there. Under the lock.
    pub(super) fn raise(&self, flag: Flag) -> Seen {
        Seen(self.0.fetch_or(flag as u64 & FLAGS, Ordering::AcqRel))
    }

    /// Takes a flag away. Under the lock.
    pub(super) fn lower(&self, flag: Flag) {
        self.0.fetch_and(!(flag as u64), Ordering::AcqRel);
    }
}

/// What became of a permit that was to be returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Returned {
    /// It is home, and nobody wants it.
    Done,
    /// It is home, and somebody may want it.
    Wanted,
    /// It is still out, as somebody wants it.
    NotYet,
}
