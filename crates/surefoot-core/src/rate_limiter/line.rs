//! Who has reserved: those who wait for their slot, in order, and those who may still correct what
//! they took.

use std::collections::{BTreeSet, VecDeque};
use std::task::Waker;

use super::engine::{Placed, Refusal};
use super::machine::{Machine, Taken};
use super::reservation::sealed::Turn;
use crate::wake::wake_all;

/// The open reservations of one key.
///
/// All that they took is in the cell from the beginning, at the times when it is due: whoever comes
/// later stands behind, and a call that does not wait cannot push in.
#[derive(Debug, Default)]
pub(super) struct Line {
    next_id: u64,
    /// The latest time seen: one whose turn has come does not wait again when a clock goes back.
    seen: u64,
    /// Nobody is due before this.
    pub(super) paused_until: u64,
    /// In the order in which they came, which is also that of their due times.
    pub(super) waiting: VecDeque<Waiting>,
    /// Those whose calls have begun, in the order of their ids.
    pub(super) begun: VecDeque<Begun>,
    /// Those who waited and cannot be due in time any more, until they have asked.
    pub(super) refused: BTreeSet<u64>,
}

#[derive(Debug)]
pub(super) struct Waiting {
    id: u64,
    pub(super) units: u64,
    pub(super) due: u64,
    /// Who is due later than this does not want to wait.
    latest: u64,
    pub(super) taken: Taken,
    waker: Option<Waker>,
    /// A debt has none: it waits in line for nobody.
    pub(super) owned: bool,
}

#[derive(Debug)]
pub(super) struct Begun {
    id: u64,
    units: u64,
    pub(super) taken: Taken,
}

/// What was taken for a place in the line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    units: u64,
    due: u64,
    /// `None`: the call begins at once.
    latest: Option<u64>,
    taken: Taken,
}

/// How long a reservation may wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) latest: u64,
    pub(super) longest: u64,
}

/// Who has to look at the time again. To be woken when every lock is released.
#[must_use]
#[derive(Debug, Default)]
pub(super) struct Moved(Vec<Waker>);

impl Moved {
    pub(super) fn and(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    pub(super) fn wake(self) {
        wake_all(self.0);
    }
}

/// What came of something that was heard.
#[must_use]
#[derive(Debug, Default)]
pub(super) struct Heeded {
    pub(super) moved: Moved,
    /// Since when, and until when, nobody is admitted any more.
    pub(super) paused: Option<(u64, u64)>,
}

/// The most that is owed at once: more than any limit earns back in a lifetime.
const DEBT_MOST: u64 = 1 << 60;

impl Line {
    /// The time behind which whoever comes now has to stand.
    pub(super) fn end(&self) -> u64 {
        self.last_due().max(self.paused_until)
    }

    fn last_due(&self) -> u64 {
        self.waiting.back().map_or(0, |last| last.due)
    }

    /// Whether nothing holds anybody up and nobody may give anything back.
    pub(super) fn is_idle(&self, now: u64) -> bool {
        let owed = self.waiting.iter().all(|waiting| !waiting.owned && waiting.due <= now);
        owed && self.begun.is_empty() && self.refused.is_empty() && !self.is_paused(now)
    }

    pub(super) fn is_paused(&self, now: u64) -> bool {
        now < self.paused_until
    }

    /// Those who wait for a later time than `now`.
    pub(super) fn waiting(&self, now: u64) -> u64 {
        let waiting = self.waiting.iter().rev().take_while(|waiting| waiting.due > now);
        waiting.filter(|waiting| waiting.owned).count() as u64
    }

    /// Units that are taken for a later time than `now`.
    pub(super) fn waiting_units(&self, now: u64) -> u64 {
        let waiting = self.waiting.iter().rev().take_while(|waiting| waiting.due > now);
        waiting.fold(0, |units, waiting| units.saturating_add(waiting.units))
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

    /// Takes `n` units for the last place, if they are due as early as they have to be: now, for
    /// those without patience. The error says when they would be due.
    pub(super) fn take<M: Machine>(
        &self,
        machine: &M,
        cell: &mut M::Cell,
        n: u64,
        now: u64,
        patience: Option<Patience>,
    ) -> Result<Place, Option<u64>> {
        let latest = patience.map(|patience| patience.latest_from(now));
        match self.earliest(machine, cell, n, now) {
            Some(due) if due <= latest.unwrap_or(now) => {
                Ok(Place { units: n, due, latest, taken: machine.take(cell, n, due) })
            }
            fits_at => Err(fits_at),
        }
    }

    /// Notes in whose name that was.
    pub(super) fn push(&mut self, place: Place, now: u64) -> Placed {
        let Place { units, due, latest, taken } = place;
        let id = self.next_id();
        match latest {
            Some(latest) => {
                let (waker, owned) = (None, true);
                self.waiting.push_back(Waiting { id, units, due, latest, taken, waker, owned });
            }
            None => self.begun.push_back(Begun { id, units, taken }),
        }
        Placed { id, due, now }
    }

    /// Both, where nobody else takes from the cell meanwhile.
    pub(super) fn reserve<M: Machine>(
        &mut self,
        machine: &M,
        cell: &mut M::Cell,
        n: u64,
        read: u64,
        patience: Option<Patience>,
    ) -> Result<Placed, Refusal> {
        let now = self.see(read);
        match self.take(machine, cell, n, now, patience) {
            Ok(place) => Ok(self.push(place, now)),
            Err(fits_at) => Err(Refusal::new(read, fits_at, self)),
        }
    }

    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// When a reservation is due; the present for one that waits no more.
    pub(super) fn due(&self, id: u64) -> u64 {
        self.standing(id).unwrap_or(0)
    }

    /// Whom to wake when a reservation's due time moves up, or it is refused: at once if it is
    /// already.
    pub(super) fn watch(&mut self, id: u64, waker: &Waker) -> Moved {
        match self.find(id).and_then(|at| self.waiting.get_mut(at)) {
            Some(waiting) => match &mut waiting.waker {
                Some(known) => known.clone_from(waker),
                none => *none = Some(waker.clone()),
            },
            None if self.refused.contains(&id) => return Moved(vec![waker.clone()]),
            None => {}
        }
        Moved::default()
    }

    /// Lets the call begin whose turn it is, or was when its timer ended.
    pub(super) fn begin(&mut self, id: u64, now: u64, slept_until: u64) -> Turn {
        let now = self.see(now);
        let Some(at) = self.find(id) else {
            return if self.refused.remove(&id) { Turn::Refused } else { Turn::Begun };
        };
        if self.waiting.get(at).is_some_and(|waiting| waiting.due > now.max(slept_until)) {
            return Turn::NotDue;
        }
        if let Some(Waiting { id, units, taken, .. }) = self.waiting.remove(at) {
            let at = self.begun.partition_point(|begun| begun.id < id);
            self.begun.insert(at, Begun { id, units, taken });
        }
        self.forget_paid_debts(now);
        Turn::Begun
    }

    /// The owner will correct nothing any more; what was taken stays taken.
    pub(super) fn forget(&mut self, id: u64, now: u64) {
        let now = self.see(now);
        if let Ok(at) = self.begun.binary_search_by_key(&id, |begun| begun.id) {
            self.begun.remove(at);
        }
        self.forget_paid_debts(now);
    }

    /// Closes a reservation of which `used` units were used, none if it has not begun: those it
    /// has too many are returned, and those it has too few are taken, as a debt behind all who
    /// wait.
    pub(super) fn settle<M: Machine>(
        &mut self,
        machine: &M,
        cell: &mut M::Cell,
        id: u64,
        used: u64,
        now: u64,
    ) -> Moved {
        let now = self.see(now);
        let moved = if let Some(at) = self.find(id) {
            self.give_up(machine, cell, at, now)
        } else if let Ok(at) = self.begun.binary_search_by_key(&id, |begun| begun.id) {
            self.correct(machine, cell, at, used, now)
        } else {
            self.refused.remove(&id);
            Moved::default()
        };
        self.forget_paid_debts(now);
        moved
    }

    fn give_up<M: Machine>(
        &mut self,
        machine: &M,
        cell: &mut M::Cell,
        at: usize,
        now: u64,
    ) -> Moved {
        let Some(gone) = self.waiting.remove(at) else { return Moved::default() };
        let first = self.first_waiting(now);
        // One whose turn has not come is undone with the others, all of it.
        let waits = gone.due > now;
        self.untake(machine, cell, first, if waits { gone.taken.span } else { 0 });
        if !waits {
            self.give_back(machine, cell, gone.taken.mark, gone.units, now);
        }
        self.take_again(machine, cell, first, now)
    }

    fn correct<M: Machine>(
        &mut self,
        machine: &M,
        cell: &mut M::Cell,
        at: usize,
        used: u64,
        now: u64,
    ) -> Moved {
        let Some(begun) = self.begun.remove(at) else { return Moved::default() };
        if used > begun.units {
            self.owe(machine, cell, (used - begun.units).min(DEBT_MOST), now);
        } else if used < begun.units {
            let first = self.first_waiting(now);
            self.untake(machine, cell, first, 0);
            self.give_back(machine, cell, begun.taken.mark, begun.units - used, now);
            return self.take_again(machine, cell, first, now);
        }
        Moved::default()
    }

    /// Undoes what the waiting took, from place `first` on, and a span behind which they stand.
    pub(super) fn untake<M: Machine>(
        &self,
        machine: &M,
        cell: &mut M::Cell,
        first: usize,
        span: u64,
    ) {
        let behind = self.waiting.range(first..).map(|waiting| waiting.taken.span);
        machine.untake(cell, behind.fold(span, u64::saturating_add));
    }

    /// Returns units that stand at `mark`, with nothing taken for later than `now`.
    pub(super) fn give_back<M: Machine>(
        &mut self,
        machine: &M,
        cell: &mut M::Cell,
        mark: u64,
        units: u64,
        now: u64,
    ) {
        let shift = machine.give_back(cell, mark, units, now);
        if shift == 0 {
            return;
        }
        let begun = self.begun.iter_mut().map(|begun| &mut begun.taken);
        let waiting = self.waiting.iter_mut().map(|waiting| &mut waiting.taken);
        for taken in begun.chain(waiting).filter(|taken| taken.mark > mark) {
            taken.mark -= shift.min(taken.mark);
        }
    }

    /// Takes the waiting again, from place `first` on, each at the earliest time that fits now.
    /// Those who would have to wait for too long are refused.
    pub(super) fn take_again<M: Machine>(
        &mut self,
        machine: &M,
        cell: &mut M::Cell,
        first: usize,
        now: u64,
    ) -> Moved {
        let mut moved = Moved::default();
        let Self { waiting, refused, paused_until, .. } = self;
        let (mut place, mut behind) = (0, 0);
        waiting.retain_mut(|waiting| {
            place += 1;
            if place <= first {
                return true;
            }
            let due = if waiting.owned {
                let behind = (*paused_until).max(behind);
                machine.earliest(cell, waiting.units, now, behind).unwrap_or(waiting.due)
            } else {
                now.max(behind)
            };
            let too_late = waiting.owned && due > waiting.latest;
            if due < waiting.due || too_late {
                moved.0.extend(waiting.waker.take());
            }
            if too_late {
                refused.insert(waiting.id);
            } else {
                waiting.taken = machine.take(cell, waiting.units, due);
                waiting.due = due;
                behind = due;
            }
            !too_late
        });
        moved
    }

    /// When somebody is due who begins together with others elsewhere, at `begins` or later; `None` if
    /// they are refused. What they hold for an earlier time than that counts from the present.
    pub(super) fn renew<M: Machine>(
        &mut self,
        machine: &M,
        cell: &mut M::Cell,
        id: u64,
        begins: u64,
        now: u64,
    ) -> (Option<u64>, Moved) {
        let now = self.see(now);
        let Some(at) = self.find(id) else { return (None, Moved::default()) };
        let Some(waiting) = self.waiting.get(at) else { return (None, Moved::default()) };
        if waiting.due >= begins.min(now) {
            return (Some(waiting.due), Moved::default());
        }
        let (mark, units) = (waiting.taken.mark, waiting.units);
        let first = self.first_waiting(now);
        self.untake(machine, cell, first, 0);
        self.give_back(machine, cell, mark, units, now);
        let fits_at = machine.earliest(cell, units, now, self.paused_until);
        let taken = machine.take(cell, units, now);
        if let Some(waiting) = self.waiting.get_mut(at) {
            (waiting.taken, waiting.due) = (taken, now);
        }
        let mut moved = self.take_again(machine, cell, first, now);
        if fits_at.is_none_or(|at| at > now) {
            // Others have used the time. Those behind it make room: nobody goes before it.
            moved.and(self.line_up_again(machine, cell, id, now));
        }
        (self.standing(id), moved)
    }

    /// When one who waits is due; `None` if they wait no more.
    pub(super) fn standing(&self, id: u64) -> Option<u64> {
        self.find(id).and_then(|at| self.waiting.get(at)).map(|waiting| waiting.due)
    }

    /// Gives everybody from `id` on their place again, also those whose turn has come.
    pub(super) fn line_up_again<M: Machine>(
        &mut self,
        machine: &M,
        cell: &mut M::Cell,
        id: u64,
        now: u64,
    ) -> Moved {
        self.waiting.retain(|waiting| waiting.owned || waiting.due > now);
        let first = self.first_waiting(now);
        let from = self.waiting.partition_point(|waiting| waiting.id < id).min(first);
        self.untake(machine, cell, first, 0);
        for place in (from..first).rev() {
            if let Some(waiting) = self.waiting.get(place) {
                let (mark, units) = (waiting.taken.mark, waiting.units);
                self.give_back(machine, cell, mark, units, now);
            }
        }
        self.take_again(machine, cell, from, now)
    }

    fn owe<M: Machine>(&mut self, machine: &M, cell: &mut M::Cell, units: u64, now: u64) {
        let due = now.max(self.last_due());
        let taken = machine.take(cell, units, due);
        if due > now {
            let (id, latest) = (self.next_id(), u64::MAX);
            let (waker, owned) = (None, false);
            self.waiting.push_back(Waiting { id, units, due, latest, taken, waker, owned });
        }
    }

    /// The place of the first whose turn has not come.
    pub(super) fn first_waiting(&self, now: u64) -> usize {
        self.waiting.partition_point(|waiting| waiting.due <= now)
    }

    fn find(&self, id: u64) -> Option<usize> {
        self.waiting.binary_search_by_key(&id, |waiting| waiting.id).ok()
    }

    fn forget_paid_debts(&mut self, now: u64) {
        while self.waiting.front().is_some_and(|first| !first.owned && first.due <= now) {
            self.waiting.pop_front();
        }
    }
}

impl Patience {
    fn latest_from(self, now: u64) -> u64 {
        self.latest.min(now.saturating_add(self.longest))
    }
}
