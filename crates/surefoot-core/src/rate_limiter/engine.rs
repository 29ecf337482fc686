//! One limit with its one cell: what a limiter without keys is made of.

use std::ops::Deref;

use std::time::Duration;

use super::Quota;
use super::gcra::Gcra;
use super::ledger::{Ledger, Windowed};
use super::line::{Heeded, Line, Moved, Patience, Place};
use super::machine::Machine;
use super::pause::{GcraLine, HELD, Heard};
use super::reservation::sealed::Turn;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, lock};
use crate::{Name, Rejection, TimeSource};

/// The limit and the state of an unkeyed limiter.
#[derive(Debug)]
pub(super) enum Engine {
    /// Admission is one step on the word. The line's lock is for those who reserve.
    Gcra(GcraEngine),
    /// A short lock.
    Windowed(WindowedEngine),
}

#[derive(Debug)]
pub(super) struct GcraEngine {
    pub(super) machine: Gcra,
    pub(super) word: Word,
    pub(super) line: Mutex<GcraLine>,
}

/// Alone on its cache line: whoever reads the limit beside it does not wait for who writes this.
#[repr(align(64))]
#[derive(Debug)]
pub(super) struct Word(AtomicU64);

impl Deref for Word {
    type Target = AtomicU64;

    #[inline]
    fn deref(&self) -> &AtomicU64 {
        &self.0
    }
}

#[derive(Debug)]
pub(super) struct WindowedEngine {
    machine: Windowed,
    pub(super) lane: Mutex<(Ledger, Line)>,
}

/// A refusal: the time at which it was decided, and when the units would fit, if ever.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    pub(super) now: u64,
    pub(super) fits_at: Option<u64>,
    /// Whether it was because of a pause that the callee asked for.
    pub(super) paused: bool,
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
    pub(super) paused_until: u64,
}

impl From<Gcra> for Engine {
    fn from(machine: Gcra) -> Self {
        let (word, line) = (Word(AtomicU64::new(0)), Mutex::default());
        Self::Gcra(GcraEngine { machine, word, line })
    }
}

impl From<Windowed> for Engine {
    fn from(machine: Windowed) -> Self {
        Self::Windowed(WindowedEngine { machine, lane: Mutex::default() })
    }
}

impl Engine {
    #[inline(always)]
    pub(super) fn check(&self, n: u64, time: &TimeSource) -> Result<(), Refusal> {
        match self {
            Self::Gcra(engine) => match engine.machine.admit(&engine.word, n, time) {
                Ok(()) => Ok(()),
                Err((word, now)) => engine.refuse(word, n, now, time),
            },
            Self::Windowed(engine) => engine.check(n, time),
        }
    }

    /// Takes `n` units in the last place of the line, if they are due in time; at once, without
    /// patience.
    pub(super) fn reserve(
        &self,
        n: u64,
        time: &TimeSource,
        patience: Option<Patience>,
    ) -> Result<Placed, Refusal> {
        match self {
            Self::Gcra(engine) => engine.reserve(n, time, patience),
            Self::Windowed(engine) => {
                let (ledger, line) = &mut *lock(&engine.lane);
                line.reserve(&engine.machine, ledger, n, time.now().as_nanos(), patience)
            }
        }
    }

    pub(super) fn due(&self, id: u64) -> u64 {
        self.in_line(|line| line.due(id))
    }

    pub(super) fn watch(&self, id: u64, waker: &std::task::Waker) -> Moved {
        self.in_line(|line| line.watch(id, waker))
    }

    pub(super) fn begin(&self, id: u64, slept_until: u64, time: &TimeSource) -> Turn {
        self.in_line(|line| line.begin(id, time.now().as_nanos(), slept_until))
    }

    pub(super) fn forget(&self, id: u64, time: &TimeSource) {
        self.in_line(|line| line.forget(id, time.now().as_nanos()));
    }

    fn in_line<R>(&self, work: impl FnOnce(&mut Line) -> R) -> R {
        match self {
            Self::Gcra(engine) => work(&mut lock(&engine.line).line),
            Self::Windowed(engine) => work(&mut lock(&engine.lane).1),
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

    /// Takes in what the callee said.
    pub(super) fn hear(&self, heard: Heard, time: &TimeSource) -> Heeded {
        match self {
            Self::Gcra(engine) => engine.hear(heard, time),
            Self::Windowed(engine) => {
                let (ledger, line) = &mut *lock(&engine.lane);
                line.hear(&engine.machine, ledger, heard, time.now().as_nanos())
            }
        }
    }

    /// How it stands, and when `n` more units would fit.
    pub(super) fn view(&self, n: u64, time: &TimeSource) -> View {
        match self {
            Self::Gcra(engine) => {
                let guarded = lock(&engine.line);
                let now = time.now().as_nanos();
                let shared = || engine.word.load(Ordering::Relaxed);
                let mut word = guarded.held.unwrap_or_else(shared);
                view(&engine.machine, &mut word, &guarded.line, n, now)
            }
            Self::Windowed(engine) => {
                let (ledger, line) = &mut *lock(&engine.lane);
                view(&engine.machine, ledger, line, n, time.now().as_nanos())
            }
        }
    }
}

impl View {
    /// That it does not fit now.
    pub(super) fn refusal(self) -> Refusal {
        let Self { now, fits_at, paused_until, .. } = self;
        Refusal { now, fits_at, paused: now < paused_until }
    }
}

impl Refusal {
    /// As a value, by the limiter `policy`.
    pub(super) fn rejection(self, policy: &Name, quota: Quota) -> Rejection {
        let policy = policy.clone();
        match self.wait() {
            Some(retry_after) if self.paused => Rejection::Throttled { policy, retry_after },
            retry_after => Rejection::RateLimited { policy, quota, retry_after },
        }
    }

    /// Whether it does not fit by `latest`.
    pub(super) fn is_after(self, latest: u64) -> bool {
        self.fits_at.is_none_or(|at| at > latest)
    }

    /// How long until it fits; `None` if it never does.
    pub(super) fn wait(self) -> Option<Duration> {
        self.fits_at.map(|at| Duration::from_nanos(at.saturating_sub(self.now)))
    }

    /// At a time as the clock shows it, which has to get to where it fits.
    pub(super) fn new(now: u64, fits_at: Option<u64>, line: &Line) -> Self {
        Self { now, fits_at, paused: line.is_paused(now) }
    }
}

impl WindowedEngine {
    /// The clock is read before the lock is taken, since the two take less time together. A thread
    /// that was overtaken meanwhile decides at the time of the one that overtook it, which lies
    /// within its own call too: so the order of admission is that of time.
    ///
    /// Out of line, so that a check of one word is a few instructions.
    #[inline(never)]
    fn check(&self, n: u64, time: &TimeSource) -> Result<(), Refusal> {
        let now = time.now().as_nanos();
        let (ledger, line) = &mut *lock(&self.lane);
        check(&self.machine, ledger, line, n, now)
    }
}

impl GcraEngine {
    /// Says when the units will fit that did not fit into `word`. A word that is held says nothing.
    #[cold]
    fn refuse(&self, word: u64, n: u64, now: u64, time: &TimeSource) -> Result<(), Refusal> {
        let (mut word, mut now) = (word, now);
        while word == HELD {
            self.ask_why(n, time)?;
            match self.machine.admit(&self.word, n, time) {
                Ok(()) => return Ok(()),
                Err(changed) => (word, now) = changed,
            }
        }
        let fits_at = self.machine.earliest(&mut word, n, now, 0);
        Err(Refusal { now, fits_at, paused: false })
    }

    fn reserve(
        &self,
        n: u64,
        time: &TimeSource,
        patience: Option<Patience>,
    ) -> Result<Placed, Refusal> {
        let guarded = &mut *lock(&self.line);
        let read = time.now().as_nanos();
        let now = guarded.line.see(read);
        self.end_pause(guarded, now);
        let GcraLine { line, held } = guarded;
        let place = match held {
            Some(word) => line.take(&self.machine, word, n, now, patience),
            None => self.take_shared(line, n, now, patience),
        };
        match place {
            Ok(place) => Ok(line.push(place, now)),
            Err(fits_at) => Err(Refusal::new(read, fits_at, line)),
        }
    }

    fn take_shared(
        &self,
        line: &Line,
        n: u64,
        now: u64,
        patience: Option<Patience>,
    ) -> Result<Place, Option<u64>> {
        let mut word = self.machine.lift(&self.word, now);
        loop {
            let mut taken = word;
            let place = line.take(&self.machine, &mut taken, n, now, patience)?;
            match self.word.compare_exchange(word, taken, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(place),
                Err(changed) => word = changed,
            }
        }
    }

    fn settle(&self, id: u64, used: u64, time: &TimeSource) -> Moved {
        let guarded = &mut *lock(&self.line);
        self.alone(guarded, time, |machine, word, line, now| {
            line.settle(machine, word, id, used, now)
        })
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
) -> Result<(), Refusal> {
    let read = now;
    let now = line.see(now);
    match machine.earliest(cell, n, now, line.end()) {
        Some(at) if at <= now => {
            machine.take(cell, n, now);
            Ok(())
        }
        fits_at => Err(Refusal::new(read, fits_at, line)),
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
    let held_up = waiting_units > 0 || line.is_paused(now);
    let remaining = if held_up { 0 } else { machine.remaining(cell, now) };
    let (idle_at, fits_at) = (machine.idle_at(cell), line.earliest(machine, cell, n, now));
    let (waiting, paused_until) = (line.waiting(now), line.paused_until);
    View { now, used, remaining, waiting, idle_at, fits_at, paused_until }
}
