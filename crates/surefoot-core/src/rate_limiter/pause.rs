//! What the callee says about itself: that it wants a pause, and how much it has left.

use super::engine::{GcraEngine, Refusal};
use super::gcra::Gcra;
use super::line::{Line, Moved};
use super::machine::Machine;
use crate::TimeSource;
use crate::sync::atomic::Ordering;
use crate::sync::lock;

/// Something the callee said, as one limit takes it; times are nanoseconds from the present.
#[derive(Clone, Copy, Debug)]
pub(super) enum Heard {
    /// Nobody is to call before then.
    Pause { wait: u64 },
    /// So many units are left, until all of them are back: then, or bit by bit until then.
    Left { units: u64, back_in: u64, evenly: bool },
}

/// In how many steps units of others come back evenly.
const STEPS: u64 = 8;

impl Line {
    /// Has the limit agree with what was heard, and everybody who has not begun wait for as long
    /// as that takes.
    pub(super) fn hear<M: Machine>(
        &mut self,
        machine: &M,
        cell: &mut M::Cell,
        heard: Heard,
        now: u64,
    ) -> Moved {
        let now = self.see(now);
        if self.agrees(machine, cell, heard, now) {
            return Moved::default();
        }
        match heard {
            Heard::Pause { wait } => {
                self.paused_until = now.saturating_add(wait);
                self.pause(machine, cell, now)
            }
            Heard::Left { units, back_in, evenly } => {
                let first = self.first_waiting(now);
                self.untake(machine, cell, first, 0);
                take_for_others(machine, cell, units, now, back_in, evenly);
                self.take_again(machine, cell, first, now)
            }
        }
    }

    /// Whether nothing has to change for what was heard.
    pub(super) fn agrees<M: Machine>(
        &self,
        machine: &M,
        cell: &mut M::Cell,
        heard: Heard,
        now: u64,
    ) -> bool {
        match heard {
            Heard::Pause { wait } => now.saturating_add(wait) <= self.paused_until.max(now),
            Heard::Left { units, .. } => {
                self.waiting.is_empty() && machine.remaining(cell, now) <= units
            }
        }
    }

    /// Moves all who have not begun behind the end of the pause, also those whose turn has come:
    /// they will call only then, and are to be counted then.
    fn pause<M: Machine>(&mut self, machine: &M, cell: &mut M::Cell, now: u64) -> Moved {
        self.waiting.retain(|waiting| waiting.owned || waiting.due > now);
        let first = self.first_waiting(now);
        self.untake(machine, cell, first, 0);
        for place in (0..first).rev() {
            if let Some(waiting) = self.waiting.get(place) {
                let (mark, units) = (waiting.taken.mark, waiting.units);
                self.give_back(machine, cell, mark, units, now);
            }
        }
        self.take_again(machine, cell, 0, now)
    }
}

/// Takes what is more than `units`, so that no more than those are left.
pub(super) fn take_for_others<M: Machine>(
    machine: &M,
    cell: &mut M::Cell,
    units: u64,
    now: u64,
    back_in: u64,
    evenly: bool,
) {
    let others = machine.remaining(cell, now).saturating_sub(units);
    let steps = if evenly { STEPS } else { 1 };
    for step in 1..=steps {
        let n = others * step / steps - others * (step - 1) / steps;
        let back_by = now.saturating_add(back_in / steps * step).saturating_add(back_in % steps);
        machine.take_until(cell, n, now, back_by);
    }
}

/// What the shared word shows while something else is kept in its place: full beyond any reach, so
/// that whoever looks at it is refused on the way they take anyway, and asks why.
pub(super) const HELD: u64 = u64::MAX;

/// The line of a limiter whose word is shared.
#[derive(Debug, Default)]
pub(super) struct GcraLine {
    pub(super) line: Line,
    /// The word, while the shared one shows [`HELD`]: as long as a pause lasts, or work on it.
    pub(super) held: Option<u64>,
}

impl GcraEngine {
    /// Hears what the callee said. Calls that come in meanwhile wait for it; with nothing to
    /// change, the shared word is only read.
    pub(super) fn hear(&self, heard: Heard, time: &TimeSource) -> Moved {
        let guarded = &mut *lock(&self.line);
        let now = guarded.line.see(time.now().as_nanos());
        self.end_pause(guarded, now);
        let mut seen = guarded.held.unwrap_or_else(|| self.word.load(Ordering::Relaxed));
        if guarded.line.agrees(&self.machine, &mut seen, heard, now) {
            return Moved::default();
        }
        self.alone(guarded, time, |machine, word, line, now| line.hear(machine, word, heard, now))
    }

    /// Works on the word alone: whoever wants it meanwhile sees [`HELD`], and comes for the lock.
    ///
    /// The clock is read with the word in hand. Of units that are given back, those that had been
    /// free again before others took from the word would else be given twice.
    pub(super) fn alone<R>(
        &self,
        guarded: &mut GcraLine,
        time: &TimeSource,
        work: impl FnOnce(&Gcra, &mut u64, &mut Line, u64) -> R,
    ) -> R {
        let GcraLine { line, held } = guarded;
        // Relaxed is enough, as everywhere with this word: each admission is before the swap in its
        // modification order, and therefore in what is held, or fails after it.
        let word = held.get_or_insert_with(|| self.word.swap(HELD, Ordering::Relaxed));
        let now = line.see(time.now().as_nanos());
        let answer = work(&self.machine, word, line, now);
        self.end_pause(guarded, now);
        answer
    }

    /// Shares the word again if its pause is over.
    pub(super) fn end_pause(&self, guarded: &mut GcraLine, now: u64) {
        if !guarded.line.is_paused(now)
            && let Some(word) = guarded.held.take()
        {
            self.word.store(word, Ordering::Relaxed);
        }
    }

    /// Why a caller who wants `n` units saw [`HELD`]. `Ok`: somebody worked on the word, or its
    /// pause has ended just now; it is shared again, and asking once more is worth it.
    #[cold]
    pub(super) fn ask_why(&self, n: u64, time: &TimeSource) -> Result<(), Refusal> {
        let guarded = &mut *lock(&self.line);
        let read = time.now().as_nanos();
        let now = guarded.line.see(read);
        self.end_pause(guarded, now);
        let fits_at = match guarded.held {
            Some(mut word) => guarded.line.earliest(&self.machine, &mut word, n, now),
            None if self.word.load(Ordering::Relaxed) == HELD => None, // the end of all time
            None => return Ok(()),
        };
        Err(Refusal::new(read, fits_at, &guarded.line))
    }
}

#[cfg(test)]
mod tests;
