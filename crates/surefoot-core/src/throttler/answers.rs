//! What one who waits finds without taking a lock.

use std::sync::OnceLock;

use super::grant::Grant;
use super::queue::Slot;
use crate::sync::atomic::{AtomicU64, Ordering};

/// For each place in the queue, whether a permit was given to it.
///
/// Written under the queue's lock, but for the one step by which whoever has the place takes the
/// permit: then the place is the queue's again, which looks for that when it needs one.
///
/// They lie in chunks, each as large as all before it and never moved, so they can be read while more
/// are added.
#[derive(Debug)]
pub(super) struct Answers([OnceLock<Box<[AtomicU64]>>; CHUNKS]);

/// No permit so far. Neither this nor the next is a grant's word: those who wait get none that is
/// untimed, nor one of the year 292.
const NONE: u64 = u64::MAX;
const TAKEN: u64 = u64::MAX - 1;

const FIRST: u32 = if cfg!(surefoot_loom) { 2 } else { 64 };
/// As many as there are places with a number of 32 bits, and more.
const CHUNKS: usize = 32;

impl Answers {
    pub(super) fn new() -> Self {
        Self([const { OnceLock::new() }; CHUNKS])
    }

    /// Makes room for the answer to a place that is new.
    pub(super) fn add(&self, slot: Slot) {
        let (chunk, _) = position(slot);
        let empty = || (0..FIRST << chunk).map(|_| AtomicU64::new(NONE)).collect();
        self.0[chunk].get_or_init(empty);
    }

    /// Release: what the last holder did is seen by the next.
    pub(super) fn grant(&self, slot: Slot, grant: Grant) {
        if let Some(answer) = self.get(slot) {
            answer.store(grant.word(), Ordering::Release);
        }
    }

    /// Takes the permit, if there is one. Not to be asked again then: the place is somebody else's.
    #[inline]
    pub(super) fn take(&self, slot: Slot) -> Option<Grant> {
        let answer = self.get(slot)?;
        let word = answer.load(Ordering::Acquire);
        if word == NONE {
            return None;
        }
        answer.store(TAKEN, Ordering::Release);
        Some(Grant::from_word(word))
    }

    /// Whether the permit was taken that was given to this place; if so, there is no answer any more.
    pub(super) fn forget_taken(&self, slot: Slot) -> bool {
        let Some(answer) = self.get(slot) else { return false };
        let is_taken = answer.load(Ordering::Acquire) == TAKEN;
        if is_taken {
            answer.store(NONE, Ordering::Relaxed);
        }
        is_taken
    }

    #[inline]
    fn get(&self, slot: Slot) -> Option<&AtomicU64> {
        let (chunk, place) = position(slot);
        self.0[chunk].get()?.get(place)
    }
}

/// The chunk, and the place in it.
#[inline]
fn position(slot: Slot) -> (usize, usize) {
    let chunk = (slot.number() / FIRST + 1).ilog2();
    let before = FIRST * ((1 << chunk) - 1);
    (chunk as usize, (slot.number() - before) as usize)
}
