//! What is remembered of one key: its cell, and its line if somebody reserves.

use std::num::NonZeroU64;
use std::task::Waker;

use super::engine::{self, Placed, Refusal, View};
use super::gcra::Gcra;
use super::keyed::shards::{Kept, State};
use super::ledger::Windowed;
use super::line::{Line, Moved, Patience};
use super::machine::Machine;
use super::pause::{Heard, take_for_others};
use super::reservation::sealed::Turn;

/// One key's state. Most keys never reserve: of those a pointer is all there is of the line, and with
/// GCRA not even that is kept.
#[derive(Debug)]
pub(super) struct Lane<M: Machine> {
    cell: M::Cell,
    line: Option<Box<Line>>,
}

/// A GCRA word of a key with nobody in line, one more than it says: an `Option` with a key takes
/// no more than the two. At the end of time it is a tick short.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tat(NonZeroU64);

impl State for Lane<Gcra> {
    type Rule = Gcra;
    type Kept = Tat;

    fn new(machine: &Gcra) -> Self {
        Self::new(machine)
    }

    fn idle_at(&self, machine: &Gcra) -> u64 {
        self.idle_at(machine)
    }

    fn is_reserved(&self, now: u64) -> bool {
        self.is_reserved(now)
    }
}

impl Kept<Lane<Gcra>> for Tat {
    fn new(_: &Gcra) -> Self {
        Self::from(0)
    }

    fn of(lane: &Lane<Gcra>, now: u64) -> Option<Self> {
        (!lane.is_reserved(now)).then(|| Self::from(lane.cell))
    }

    #[inline]
    fn work<R>(&mut self, work: impl FnOnce(&mut Lane<Gcra>) -> R) -> (R, Option<Lane<Gcra>>) {
        let mut lane = Lane { cell: self.word(), line: None };
        let answer = work(&mut lane);
        if lane.line.is_some() {
            return (answer, Some(lane));
        }
        *self = Self::from(lane.cell);
        (answer, None)
    }

    fn idle_at(&self, machine: &Gcra) -> u64 {
        machine.idle_at(&self.word())
    }

    fn is_reserved(&self, _: u64) -> bool {
        false
    }
}

impl Tat {
    #[inline]
    fn word(self) -> u64 {
        self.0.get() - 1
    }
}

impl From<u64> for Tat {
    #[inline]
    fn from(word: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(word))
    }
}

/// In windows the ring is most of what a key takes, so a line's pointer more does not matter.
impl State for Lane<Windowed> {
    type Rule = Windowed;
    type Kept = Self;

    fn new(machine: &Windowed) -> Self {
        Self::new(machine)
    }

    fn idle_at(&self, machine: &Windowed) -> u64 {
        self.idle_at(machine)
    }

    fn is_reserved(&self, now: u64) -> bool {
        self.is_reserved(now)
    }
}

impl<M: Machine> Lane<M> {
    pub(super) fn new(_: &M) -> Self {
        Self { cell: M::Cell::default(), line: None }
    }

    /// When it will be as good as new by itself, unless it is reserved.
    pub(super) fn idle_at(&self, machine: &M) -> u64 {
        machine.idle_at(&self.cell)
    }

    /// Whether somebody may still come back to it.
    pub(super) fn is_reserved(&self, now: u64) -> bool {
        self.line.as_ref().is_some_and(|line| !line.is_idle(now))
    }

    /// Takes `n` units that fit at once.
    #[inline]
    pub(super) fn check(&mut self, machine: &M, n: u64, now: u64) -> Result<(), Refusal> {
        if let Some(line) = &mut self.line {
            return engine::check(machine, &mut self.cell, line, n, now);
        }
        if machine.try_take(&mut self.cell, n, now) {
            return Ok(());
        }
        let fits_at = machine.earliest(&mut self.cell, n, now, 0);
        Err(Refusal { now, fits_at, paused: false })
    }

    pub(super) fn reserve(
        &mut self,
        machine: &M,
        n: u64,
        now: u64,
        patience: Option<Patience>,
    ) -> Result<Placed, Refusal> {
        let line = self.line.get_or_insert_default();
        let placed = line.reserve(machine, &mut self.cell, n, now, patience);
        if placed.is_err() {
            self.drop_idle_line(now);
        }
        placed
    }

    /// Takes in what the callee said.
    pub(super) fn hear(&mut self, machine: &M, heard: Heard, now: u64) -> Moved {
        let line = match (&mut self.line, heard) {
            (Some(line), _) => line,
            // Nobody has to be told, and nothing to be remembered beside the cell.
            (None, Heard::Left { units, back_in, evenly }) => {
                take_for_others(machine, &mut self.cell, units, now, back_in, evenly);
                return Moved::default();
            }
            (line @ None, Heard::Pause { .. }) => line.get_or_insert_default(),
        };
        let moved = line.hear(machine, &mut self.cell, heard, now);
        self.drop_idle_line(now);
        moved
    }

    pub(super) fn is_paused(&self, now: u64) -> bool {
        self.line.as_ref().is_some_and(|line| line.is_paused(now))
    }

    /// When `n` units would fit, behind whoever waits.
    pub(super) fn earliest(&mut self, machine: &M, n: u64, now: u64) -> Option<u64> {
        match &self.line {
            Some(line) => line.earliest(machine, &mut self.cell, n, now),
            None => machine.earliest(&mut self.cell, n, now, 0),
        }
    }

    pub(super) fn due(&self, id: u64) -> u64 {
        self.line.as_ref().map_or(0, |line| line.due(id))
    }

    pub(super) fn watch(&mut self, id: u64, waker: &Waker) -> Moved {
        self.line.as_mut().map(|line| line.watch(id, waker)).unwrap_or_default()
    }

    pub(super) fn begin(&mut self, id: u64, now: u64, slept_until: u64) -> Turn {
        self.line.as_mut().map_or(Turn::Begun, |line| line.begin(id, now, slept_until))
    }

    pub(super) fn settle(&mut self, machine: &M, id: u64, used: u64, now: u64) -> Moved {
        let Some(line) = &mut self.line else { return Moved::default() };
        let moved = line.settle(machine, &mut self.cell, id, used, now);
        self.drop_idle_line(now);
        moved
    }

    pub(super) fn forget(&mut self, id: u64, now: u64) {
        if let Some(line) = &mut self.line {
            line.forget(id, now);
        }
        self.drop_idle_line(now);
    }

    pub(super) fn view(&mut self, machine: &M, n: u64, now: u64) -> View {
        match &self.line {
            Some(line) => engine::view(machine, &mut self.cell, line, n, now),
            None => engine::view(machine, &mut self.cell, &Line::default(), n, now),
        }
    }

    fn drop_idle_line(&mut self, now: u64) {
        if !self.is_reserved(now) {
            self.line = None;
        }
    }
}
