//! Who waits, in which order.

use std::task::Waker;

use super::grant::Grant;
use crate::wake::wake_all;
use crate::{Deadline, Timestamp};

/// Places for those who wait, in a list for each level of priority.
///
/// The lists run through a slab, so a waiter can leave from the middle at once, and once the slab has
/// grown to the longest queue there was, nothing is allocated.
#[derive(Debug)]
pub(super) struct Queue {
    places: Vec<Place>,
    /// The first unused place; those after it follow by `next`.
    unused: u32,
    /// By priority, the most important last.
    levels: Box<[List]>,
    newest_first: bool,
    waiting: u32,
}

#[derive(Debug)]
struct Place {
    standing: Standing,
    waker: Option<Waker>,
    since: Timestamp,
    deadline: Option<Deadline>,
    level: u8,
    before: u32,
    next: u32,
}

/// How things stand for one who has asked to wait. The place is theirs until they have collected it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Waiting,
    /// Holds a permit.
    Granted(Grant),
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

const NONE: u32 = u32::MAX;

/// Somebody's place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(u32);

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
        let empty = List { oldest: NONE, newest: NONE };
        Self {
            places: Vec::new(),
            unused: NONE,
            levels: vec![empty; usize::from(levels.max(1))].into(),
            newest_first,
            waiting: 0,
        }
    }

    pub(super) fn waiting(&self) -> u32 {
        self.waiting
    }

    /// Puts somebody in the newest place of their level, which counts from 0.
    pub(super) fn push(
        &mut self,
        level: u8,
        since: Timestamp,
        deadline: Option<Deadline>,
        waker: Waker,
    ) -> Slot {
        let last = self.levels.len() - 1;
        let level = level.min(u8::try_from(last).unwrap_or(u8::MAX));
        let list = &mut self.levels[usize::from(level)];
        let before = list.newest;
        let standing = Standing::Waiting;
        let waker = Some(waker);
        let place = Place { standing, waker, since, deadline, level, before, next: NONE };
        let slot = self.unused;
        let slot = if let Some(unused) = self.places.get_mut(slot as usize) {
            self.unused = unused.next;
            *unused = place;
            slot
        } else {
            self.places.push(place);
            // As many as `queue_size`, which is far below.
            u32::try_from(self.places.len() - 1).unwrap_or(NONE)
        };
        list.newest = slot;
        match self.places.get_mut(before as usize) {
            Some(before) => before.next = slot,
            None => list.oldest = slot,
        }
        self.waiting += 1;
        Slot(slot)
    }

    /// Whose turn it is.
    pub(super) fn first(&self) -> Option<Waiting> {
        let mut levels = self.levels.iter().rev();
        levels.find_map(|list| self.look(if self.newest_first { list.newest } else { list.oldest }))
    }

    /// The one who has waited longest, for each level.
    pub(super) fn oldest(&self) -> impl Iterator<Item = Waiting> + '_ {
        self.levels.iter().filter_map(|list| self.look(list.oldest))
    }

    fn look(&self, slot: u32) -> Option<Waiting> {
        let place = self.places.get(slot as usize)?;
        Some(Waiting { slot: Slot(slot), since: place.since, deadline: place.deadline })
    }

    /// Takes one who waits out of the queue, and leaves an answer in the place.
    pub(super) fn answer(&mut self, slot: Slot, standing: Standing) -> Option<Waker> {
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

    /// Gives a place up, and tells how things stood.
    pub(super) fn leave(&mut self, slot: Slot) -> Left {
        let standing = self.places[slot.0 as usize].standing;
        if standing == Standing::Waiting {
            self.unlink(slot);
        }
        let place = &mut self.places[slot.0 as usize];
        place.next = self.unused;
        self.unused = slot.0;
        Left { standing, _waker: place.waker.take() }
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
    pub(super) fn add(&mut self, waker: Option<Waker>) {
        match (waker, &self.first) {
            (Some(waker), None) => self.first = Some(waker),
            (Some(waker), Some(_)) => self.more.push(waker),
            (None, _) => {}
        }
    }

    pub(super) fn wake(self) {
        wake_all(self.first.into_iter().chain(self.more));
    }
}
