//! Who waits, in which order.

use std::task::Waker;

use super::answers::Answers;
use super::grant::Grant;
use crate::wake::wake_all;
use crate::{Deadline, Timestamp};

/// Places for those who wait, in a list for each level of priority.
///
/// The lists run through a slab, so a waiter can leave from the middle at once, and once the slab has
/// grown to the longest queue there was, nothing is allocated.
///
/// A place whose waiter was given a permit becomes free without the lock ([`Answers`]), so such places
/// are kept in a list of their own, and those at its front are looked at when one is needed.
#[derive(Debug)]
pub(super) struct Queue {
    places: Vec<Place>,
    /// The first unused place; those after it follow by `next`.
    unused: u32,
    /// Places to which a permit was given. They follow by `next`, and `before` is not kept up.
    granted: List,
    granted_count: u32,
    /// By priority, the most important last.
    levels: Box<[List]>,
    newest_first: bool,
    waiting: u32,
}

/// One cache line.
#[derive(Debug)]
#[repr(align(64))]
struct Place {
    standing: Standing,
    waker: Option<Waker>,
    since: Timestamp,
    /// The end of time if there is none.
    deadline: Timestamp,
    level: u8,
    before: u32,
    next: u32,
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Place>() == 64);

/// How things stand for one who has asked to wait. The place is theirs until they have collected it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Waiting,
    /// Was given a permit, which lies in the [`Answers`].
    Granted,
    /// Was sent away, for this reason.
    Refused(Cause),
}

/// Why a waiter was sent away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Left { at: Timestamp, reason: super::LeftQueue },
    Closed,
}

/// Both ends of a list, the one who has waited longest first.
#[derive(Clone, Copy, Debug)]
struct List {
    oldest: u32,
    newest: u32,
}

impl List {
    const EMPTY: Self = Self { oldest: NONE, newest: NONE };
}

const NONE: u32 = u32::MAX;

/// So many places are looked at for one whose permit was taken, before a new one is made.
const LOOKS: u32 = 4;

/// Somebody's place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(u32);

impl Slot {
    pub(super) fn number(self) -> u32 {
        self.0
    }
}

/// What is left of a place. To be dropped outside the lock, as a waker's code may be anything.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) standing: Standing,
    _waker: Option<Waker>,
}

/// One who waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) slot: Slot,
    pub(super) since: Timestamp,
    pub(super) deadline: Option<Deadline>,
}

impl Queue {
    pub(super) fn new(levels: u8, newest_first: bool) -> Self {
        Self {
            places: Vec::new(),
            unused: NONE,
            granted: List::EMPTY,
            granted_count: 0,
            levels: vec![List::EMPTY; usize::from(levels.max(1))].into(),
            newest_first,
            waiting: 0,
        }
    }

    pub(super) fn waiting(&self) -> u32 {
        self.waiting
    }

    /// Puts somebody in the newest place of their level, which counts from 0. At most `permits` can
    /// be given and not taken at a time.
    pub(super) fn push(
        &mut self,
        answers: &Answers,
        permits: u32,
        level: u8,
        since: Timestamp,
        deadline: Option<Deadline>,
        waker: Waker,
    ) -> Slot {
        let last = self.levels.len() - 1;
        let level = level.min(u8::try_from(last).unwrap_or(u8::MAX));
        let before = self.levels[usize::from(level)].newest;
        let deadline = deadline.map_or(Timestamp::MAX, Deadline::timestamp);
        let (standing, waker) = (Standing::Waiting, Some(waker));
        let place = Place { standing, waker, since, deadline, level, before, next: NONE };
        let slot = self.place(answers, permits, place);
        let list = &mut self.levels[usize::from(level)];
        list.newest = slot;
        match self.places.get_mut(before as usize) {
            Some(before) => before.next = slot,
            None => list.oldest = slot,
        }
        self.waiting += 1;
        Slot(slot)
    }

    /// Puts it where it is free, or else at the end.
    fn place(&mut self, answers: &Answers, permits: u32, place: Place) -> u32 {
        let slot = self.unused;
        if let Some(unused) = self.places.get_mut(slot as usize) {
            self.unused = unused.next;
            *unused = place;
            return slot;
        }
        if let Some(slot) = self.find_taken(answers, permits) {
            self.places[slot as usize] = place;
            return slot;
        }
        self.add(answers, place)
    }

    #[cold]
    fn add(&mut self, answers: &Answers, place: Place) -> u32 {
        // As many as `queue_size` and twice the permits, which is far below.
        let slot = u32::try_from(self.places.len()).unwrap_or(NONE);
        self.places.push(place);
        answers.add(Slot(slot));
        slot
    }

    /// A place whose permit was taken. Where the first few are not, the others are looked at only if
    /// most of them must be: so a look costs little on average, and the list stays short.
    fn find_taken(&mut self, answers: &Answers, permits: u32) -> Option<u32> {
        let most_are_taken = self.granted_count / 2 > permits.saturating_add(LOOKS);
        let looks = if most_are_taken { self.granted_count } else { LOOKS };
        for _ in 0..looks.min(self.granted_count) {
            let slot = self.granted.oldest;
            self.granted.oldest = self.places[slot as usize].next;
            if self.granted.oldest == NONE {
                self.granted.newest = NONE;
            }
            self.granted_count -= 1;
            if answers.forget_taken(Slot(slot)) {
                return Some(slot);
            }
            self.keep_granted(slot);
        }
        None
    }

    fn keep_granted(&mut self, slot: u32) {
        self.places[slot as usize].next = NONE;
        match self.places.get_mut(self.granted.newest as usize) {
            Some(newest) => newest.next = slot,
            None => self.granted.oldest = slot,
        }
        self.granted.newest = slot;
        self.granted_count += 1;
    }

    /// Whose turn it is.
    pub(super) fn first(&self) -> Option<Waiting> {
        let mut levels = self.levels.iter().rev();
        levels.find_map(|list| self.look(if self.newest_first { list.newest } else { list.oldest }))
    }

    /// The newest of the lowest level that is below this one.
    pub(super) fn lowest_below(&self, level: u8) -> Option<Slot> {
        let mut below = self.levels.iter().take(usize::from(level));
        below.find(|list| list.newest != NONE).map(|list| Slot(list.newest))
    }

    /// The one who has waited longest, for each level.
    pub(super) fn oldest(&self) -> impl Iterator<Item = Waiting> + '_ {
        self.levels.iter().filter_map(|list| self.look(list.oldest))
    }

    fn look(&self, slot: u32) -> Option<Waiting> {
        let place = self.places.get(slot as usize)?;
        let deadline = (place.deadline < Timestamp::MAX).then(|| Deadline::at(place.deadline));
        Some(Waiting { slot: Slot(slot), since: place.since, deadline })
    }

    /// Takes one who waits out of the queue, with a permit.
    pub(super) fn grant(&mut self, answers: &Answers, slot: Slot, grant: Grant) -> Option<Waker> {
        let waker = self.answer(slot, Standing::Granted);
        self.keep_granted(slot.0);
        answers.grant(slot, grant);
        waker
    }

    /// Takes one who waits out of the queue, and leaves word in the place.
    pub(super) fn refuse(&mut self, slot: Slot, cause: Cause) -> Option<Waker> {
        self.answer(slot, Standing::Refused(cause))
    }

    fn answer(&mut self, slot: Slot, standing: Standing) -> Option<Waker> {
        self.unlink(slot);
        let place = &mut self.places[slot.0 as usize];
        place.standing = standing;
        place.waker.take()
    }

    /// How things stand for whoever has this place. One who is told anything but to wait has to
    /// [`leave`](Self::leave) it.
    pub(super) fn standing(&self, slot: Slot) -> (Standing, Timestamp) {
        let place = &self.places[slot.0 as usize];
        (place.standing, place.since)
    }

    /// Whom to wake. Gives back the waker that was known before, to be dropped outside the lock.
    pub(super) fn watch(&mut self, slot: Slot, waker: &Waker) -> Option<Waker> {
        let place = &mut self.places[slot.0 as usize];
        match &place.waker {
            Some(known) if known.will_wake(waker) => None,
            _ => place.waker.replace(waker.clone()),
        }
    }

    /// Gives a place up, and tells how things stood. Where a permit was given, that has to be
    /// [taken](Answers::take) besides.
    pub(super) fn leave(&mut self, slot: Slot) -> Left {
        let place = &mut self.places[slot.0 as usize];
        let left = Left { standing: place.standing, _waker: place.waker.take() };
        match left.standing {
            Standing::Waiting => self.unlink(slot),
            Standing::Refused(_) => {}
            Standing::Granted => return left,
        }
        self.places[slot.0 as usize].next = self.unused;
        self.unused = slot.0;
        left
    }

    fn unlink(&mut self, slot: Slot) {
        let Place { level, before, next, .. } = self.places[slot.0 as usize];
        let list = &mut self.levels[usize::from(level)];
        match self.places.get_mut(before as usize) {
            Some(before) => before.next = next,
            None => list.oldest = next,
        }
        match self.places.get_mut(next as usize) {
            Some(next) => next.before = before,
            None => list.newest = before,
        }
        self.waiting -= 1;
    }
}

/// Who has to be woken, when every lock is released. Without a second one nothing is allocated.
#[must_use]
#[derive(Debug, Default)]
pub(super) struct Wakes {
    first: Option<Waker>,
    more: Vec<Waker>,
}

impl Wakes {
    #[inline(always)]
    pub(super) fn add(&mut self, waker: Option<Waker>) {
        match (waker, &self.first) {
            (Some(waker), None) => self.first = Some(waker),
            (Some(waker), Some(_)) => self.more.push(waker),
            (None, _) => {}
        }
    }

    #[inline(always)]
    pub(super) fn wake(&mut self) {
        if self.more.is_empty() {
            self.first.take().into_iter().for_each(Waker::wake);
        } else {
            let more = std::mem::take(&mut self.more);
            wake_all(self.first.take().into_iter().chain(more));
        }
    }
}
