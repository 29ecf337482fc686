//! One limit with its one cell: what a limiter without keys is made of.

use super::gcra::Gcra;
use super::ledger::{Ledger, Windowed};
use super::line::{Line, Moved};
use super::machine::Machine;
use crate::TimeSource;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, lock};

/// The limit and the state of an unkeyed limiter.
#[derive(Debug)]
pub(super) enum Engine {
    /// Admission is one step on the word. The line's lock is for those who reserve.
    Gcra(GcraEngine),
    /// A short lock, in which the clock is read too: the order of admission is that of time.
    Windowed(WindowedEngine),
}

#[derive(Debug)]
pub(super) struct GcraEngine {
    machine: Gcra,
    word: AtomicU64,
    line: Mutex<Line>,
}

#[derive(Debug)]
pub(super) struct WindowedEngine {
    machine: Windowed,
    lane: Mutex<(Ledger, Line)>,
}

/// A refusal: the time at which it was decided, and when the units would fit, if ever.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    pub(super) now: u64,
    pub(super) fits_at: Option<u64>,
}

/// A place in the line: its number, when it is due, and when it was given out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub(super) id: u64,
    pub(super) due: u64,
    pub(super) now: u64,
}

/// What can be seen of a limiter at one time.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub(super) now: u64,
    pub(super) used: u64,
    pub(super) remaining: u64,
    pub(super) waiting: u64,
    pub(super) idle_at: u64,
    pub(super) fits_at: Option<u64>,
}

impl From<Gcra> for Engine {
    fn from(machine: Gcra) -> Self {
        let (word, line) = (AtomicU64::new(0), Mutex::new(Line::default()));
        Self::Gcra(GcraEngine { machine, word, line })
    }
}

impl From<Windowed> for Engine {
    fn from(machine: Windowed) -> Self {
        Self::Windowed(WindowedEngine { machine, lane: Mutex::default() })
    }
}

impl Engine {
    #[inline]
    pub(super) fn check(&self, n: u64, time: &TimeSource) -> Result<(), Refusal> {
        match self {
            Self::Gcra(engine) => {
                let now = time.now().as_nanos();
                let admitted = engine.machine.admit(&engine.word, n, now);
                admitted.map_err(|fits_at| Refusal { now, fits_at })
            }
            Self::Windowed(engine) => engine.check(n, time),
        }
    }

    /// Takes `n` units in the last place of the line, if they are due by `latest`, which is worked
    /// out from the present.
    pub(super) fn reserve(
        &self,
        n: u64,
        time: &TimeSource,
        latest: impl FnOnce(u64) -> u64,
    ) -> Result<Placed, Refusal> {
        match self {
            Self::Gcra(engine) => engine.reserve(n, time, latest),
            Self::Windowed(engine) => {
                let (ledger, line) = &mut *lock(&engine.lane);
                reserve(&engine.machine, ledger, line, n, time.now().as_nanos(), latest)
            }
        }
    }

    pub(super) fn due(&self, id: u64) -> u64 {
        match self {
            Self::Gcra(engine) => lock(&engine.line).due(id),
            Self::Windowed(engine) => lock(&engine.lane).1.due(id),
        }
    }

    pub(super) fn watch(&self, id: u64, waker: &std::task::Waker) {
        match self {
            Self::Gcra(engine) => lock(&engine.line).watch(id, waker),
            Self::Windowed(engine) => lock(&engine.lane).1.watch(id, waker),
        }
    }

    pub(super) fn forget(&self, id: u64, time: &TimeSource) {
        let now = time.now().as_nanos();
        match self {
            Self::Gcra(engine) => lock(&engine.line).forget(id, now),
            Self::Windowed(engine) => lock(&engine.lane).1.forget(id, now),
        }
    }

    pub(super) fn settle(&self, id: u64, used: u64, time: &TimeSource) -> Moved {
        match self {
            Self::Gcra(engine) => engine.settle(id, used, time),
            Self::Windowed(engine) => {
                let (ledger, line) = &mut *lock(&engine.lane);
                line.settle(&engine.machine, ledger, id, used, time.now().as_nanos())
            }
        }
    }

    /// How it stands, and when `n` more units would fit.
    pub(super) fn view(&self, n: u64, time: &TimeSource) -> View {
        match self {
            Self::Gcra(engine) => {
                let line = lock(&engine.line);
                let now = time.now().as_nanos();
                let mut word = engine.word.load(Ordering::Relaxed);
                view(&engine.machine, &mut word, &line, n, now)
            }
            Self::Windowed(engine) => {
                let (ledger, line) = &mut *lock(&engine.lane);
                view(&engine.machine, ledger, line, n, time.now().as_nanos())
            }
        }
    }
}

impl WindowedEngine {
    #[inline]
    fn check(&self, n: u64, time: &TimeSource) -> Result<(), Refusal> {
        let (ledger, line) = &mut *lock(&self.lane);
        let now = time.now().as_nanos();
        check(&self.machine, ledger, line, n, now).map_err(|fits_at| Refusal { now, fits_at })
    }
}

impl GcraEngine {
    fn reserve(
        &self,
        n: u64,
        time: &TimeSource,
        latest: impl FnOnce(u64) -> u64,
    ) -> Result<Placed, Refusal> {
        let mut line = lock(&self.line);
        let read = time.now().as_nanos();
        let now = line.see(read);
        let latest = latest(now);
        let mut word = self.machine.lift(&self.word, now);
        loop {
            let mut taken = word;
            let due = match line.earliest(&self.machine, &mut taken, n, now) {
                Some(due) if due <= latest => due,
                // As the clock shows it, which has to get there.
                fits_at => return Err(Refusal { now: read, fits_at }),
            };
            let place = self.machine.take(&mut taken, n, due);
            let swapped =
                self.word.compare_exchange(word, taken, Ordering::Relaxed, Ordering::Relaxed);
            match swapped {
                Ok(_) => return Ok(Placed { id: line.push(n, due, place), due, now }),
                Err(changed) => word = changed,
            }
        }
    }

    /// Others may take from the word meanwhile. They stand behind whatever is corrected here, so
    /// that it moves them as a whole: the difference is all that has to be written.
    fn settle(&self, id: u64, used: u64, time: &TimeSource) -> Moved {
        let mut line = lock(&self.line);
        let now = line.see(time.now().as_nanos());
        let before = self.machine.lift(&self.word, now);
        let mut after = before;
        let moved = line.settle(&self.machine, &mut after, id, used, now);
        self.word.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        moved
    }
}

/// Takes `n` units that fit at once, behind whoever waits.
#[inline]
pub(super) fn check<M: Machine>(
    machine: &M,
    cell: &mut M::Cell,
    line: &mut Line,
    n: u64,
    now: u64,
) -> Result<(), Option<u64>> {
    let now = if line.is_empty() { now } else { line.see(now) };
    match machine.earliest(cell, n, now, line.end()) {
        Some(at) if at <= now => {
            machine.take(cell, n, now);
            Ok(())
        }
        fits_at => Err(fits_at),
    }
}

/// Takes `n` units in the last place of the line, if they are due by `latest`.
pub(super) fn reserve<M: Machine>(
    machine: &M,
    cell: &mut M::Cell,
    line: &mut Line,
    n: u64,
    read: u64,
    latest: impl FnOnce(u64) -> u64,
) -> Result<Placed, Refusal> {
    let now = line.see(read);
    match line.earliest(machine, cell, n, now) {
        Some(due) if due <= latest(now) => {
            let taken = machine.take(cell, n, due);
            Ok(Placed { id: line.push(n, due, taken), due, now })
        }
        // As the clock shows it, which has to get there.
        fits_at => Err(Refusal { now: read, fits_at }),
    }
}

pub(super) fn view<M: Machine>(
    machine: &M,
    cell: &mut M::Cell,
    line: &Line,
    n: u64,
    now: u64,
) -> View {
    let waiting_units = line.waiting_units(now);
    let used = machine.used(cell, now).saturating_sub(waiting_units);
    let remaining = if waiting_units > 0 { 0 } else { machine.remaining(cell, now) };
    let fits_at = line.earliest(machine, cell, n, now);
    let waiting = line.waiting(now);
    View { now, used, remaining, waiting, idle_at: machine.idle_at(cell), fits_at }
}
