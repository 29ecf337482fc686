//! Who has reserved: those who wait for their slot, in order, and those who may still correct what
//! they took.

use std::collections::VecDeque;
use std::task::Waker;

use super::machine::{Machine, Taken};

/// The open reservations of one key, in the order in which they were made, which is also the order
/// of their due times.
///
/// All that they took is in the cell from the beginning, at the times when it is due: whoever comes
/// later stands behind, and a call that does not wait cannot push in.
#[derive(Debug, Default)]
pub(super) struct Line {
    next_id: u64,
    /// The latest time seen: one whose turn has come does not wait again when a clock goes back.
    seen: u64,
    open: VecDeque<Open>,
}

#[derive(Debug)]
struct Open {
    id: u64,
    units: u64,
    due: u64,
    taken: Taken,
    waker: Option<Waker>,
    /// A debt has none: it waits in line for nobody.
    owned: bool,
}

/// Who has to look at the time again. To be woken when every lock is released.
#[must_use]
#[derive(Debug, Default)]
pub(super) struct Moved(Vec<Waker>);

impl Moved {
    pub(super) fn wake(self) {
        self.0.into_iter().for_each(Waker::wake);
    }
}

/// The most that is owed at once: more than any limit earns back in a lifetime.
const DEBT_MOST: u64 = 1 << 60;

impl Line {
    /// The time behind which whoever comes now has to stand.
    pub(super) fn end(&self) -> u64 {
        self.open.back().map_or(0, |last| last.due)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether nobody waits and nobody may give anything back.
    pub(super) fn is_idle(&self, now: u64) -> bool {
        self.open.iter().all(|open| !open.owned && open.due <= now)
    }

    /// Those who wait for a later time than `now`.
    pub(super) fn waiting(&self, now: u64) -> u64 {
        let waiting = self.open.iter().rev().take_while(|open| open.due > now);
        waiting.filter(|open| open.owned).count() as u64
    }

    /// Units that are taken for a later time than `now`.
    pub(super) fn waiting_units(&self, now: u64) -> u64 {
        let waiting = self.open.iter().rev().take_while(|open| open.due > now);
        waiting.fold(0, |units, open| units.saturating_add(open.units))
    }

    /// The present: never earlier than before.
    pub(super) fn see(&mut self, now: u64) -> u64 {
        self.seen = self.seen.max(now);
        self.seen
    }

    /// When `n` units would be due if they were reserved now.
    pub(super) fn earliest<M: Machine>(
        &self,
        machine: &M,
        cell: &mut M::Cell,
        n: u64,
        now: u64,
    ) -> Option<u64> {
        machine.earliest(cell, n, now, self.end())
    }

    /// Notes what was taken for somebody, in the last place.
    pub(super) fn push(&mut self, units: u64, due: u64, taken: Taken) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let (waker, owned) = (None, true);
        self.open.push_back(Open { id, units, due, taken, waker, owned });
        id
    }

    /// When a reservation is due; the present for one that is not known any more.
    pub(super) fn due(&self, id: u64) -> u64 {
        self.find(id).and_then(|at| self.open.get(at)).map_or(0, |open| open.due)
    }

    /// Whom to wake when a reservation's due time moves.
    pub(super) fn watch(&mut self, id: u64, waker: &Waker) {
        if let Some(open) = self.find(id).and_then(|at| self.open.get_mut(at)) {
            match &mut open.waker {
                Some(known) => known.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
        }
    }

    /// The owner will correct nothing any more; what was taken stays taken.
    pub(super) fn forget(&mut self, id: u64, now: u64) {
        let now = self.see(now);
        if let Some(at) = self.find(id) {
            self.open.remove(at);
        }
        self.forget_paid_debts(now);
    }

    /// Closes a reservation, one that waits with `used` = 0, of which `used` units were used: those it has too many are returned,
    /// and those it has too few are taken, as a debt behind all who wait.
    pub(super) fn settle<M: Machine>(
        &mut self,
        machine: &M,
        cell: &mut M::Cell,
        id: u64,
        used: u64,
        now: u64,
    ) -> Moved {
        let now = self.see(now);
        let Some(at) = self.find(id) else { return Moved::default() };
        let Some(open) = self.open.remove(at) else { return Moved::default() };
        let (waits, returned) = (open.due > now, open.units.saturating_sub(used));
        let mut moved = Moved::default();
        if returned > 0 {
            let first = self.first_waiting(now);
            let own = if waits { open.taken.span } else { 0 };
            let behind = self.open.range(first..).map(|open| open.taken.span);
            machine.untake(cell, behind.fold(own, u64::saturating_add));
            // One that waits has just been undone with the others, all of it.
            if !waits {
                let shift = machine.give_back(cell, open.taken.mark, returned, now);
                for later in self.open.range_mut(at..first) {
                    later.taken.mark = later.taken.mark.saturating_sub(shift);
                }
            }
            moved = self.advance(machine, cell, first, now);
        } else if used > open.units {
            self.owe(machine, cell, (used - open.units).min(DEBT_MOST), now);
        }
        self.forget_paid_debts(now);
        moved
    }

    /// Takes the waiting again, from place `first` on, each at the earliest time that fits now.
    fn advance<M: Machine>(
        &mut self,
        machine: &M,
        cell: &mut M::Cell,
        first: usize,
        now: u64,
    ) -> Moved {
        let mut moved = Moved::default();
        let mut behind = 0;
        for open in self.open.range_mut(first..) {
            let due = if open.owned {
                machine.earliest(cell, open.units, now, behind).unwrap_or(open.due)
            } else {
                now.max(behind)
            };
            open.taken = machine.take(cell, open.units, due);
            if due < open.due {
                moved.0.extend(open.waker.take());
            }
            open.due = due;
            behind = due;
        }
        moved
    }

    fn owe<M: Machine>(&mut self, machine: &M, cell: &mut M::Cell, units: u64, now: u64) {
        let at = now.max(self.end());
        let taken = machine.take(cell, units, at);
        if at > now {
            self.push(units, at, taken);
            self.open.back_mut().into_iter().for_each(|debt| debt.owned = false);
        }
    }

    fn first_waiting(&self, now: u64) -> usize {
        self.open.partition_point(|open| open.due <= now)
    }

    fn find(&self, id: u64) -> Option<usize> {
        self.open.binary_search_by_key(&id, |open| open.id).ok()
    }

    fn forget_paid_debts(&mut self, now: u64) {
        while self.open.front().is_some_and(|first| !first.owned && first.due <= now) {
            self.open.pop_front();
        }
    }
}
