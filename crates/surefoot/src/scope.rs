//! What a call inherits from the calls around it: their deadline, that they are retrying, and the
//! budgets they draw on.
//!
//! The scope of a future is swapped in around every poll, so it follows the call and not the
//! thread. It does not cross a spawn.

mod carried;
pub(crate) mod spending;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

pub use carried::{Instrumented, Scope};
use surefoot_core::{Deadline, TimeSource, Verdict};

thread_local! {
    /// The attempt of the innermost retry, 0 outside; and the flag [`BUDGETED`].
    static ATTEMPT: Cell<u32> = const { Cell::new(0) };
    /// Whether an operation was started since the innermost timeout began.
    static DISPATCHED: Cell<bool> = const { Cell::new(false) };
    /// Whether a deadline has passed, and this poll is the last.
    static EXPIRED: Cell<bool> = const { Cell::new(false) };
    /// Whether a rate limiter around this call keeps the pauses that the callee asks for.
    static LEARNED_FROM: Cell<bool> = const { Cell::new(false) };
    static DEADLINE: RefCell<Option<Due>> = const { RefCell::new(None) };
}

/// Set while a budget is in scope: so one look tells a retry that nothing is.
const BUDGETED: u32 = 1 << 31;

/// A deadline together with the clock that tells when it is over.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    pub(crate) deadline: Deadline,
    pub(crate) time: TimeSource,
}

/// What an operation may know about the attempt it is: its number, and the time it has.
///
/// Blocking code cannot be interrupted, so it is told: hand [`remaining`](Self::remaining) to
/// whatever can take a time limit. It looks around when it is asked, so it stays with the thread
/// and the call it was given to.
pub struct Attempt {
    /// Not `Send`: another thread runs in another scope.
    here: PhantomData<*const ()>,
}

impl Attempt {
    /// The attempt that this call, or this poll of a future, is. Do not keep it across an `await`.
    pub const fn current() -> Self {
        Self { here: PhantomData }
    }

    /// Counted from 1; 1 outside any retry.
    pub fn number(&self) -> u32 {
        attempt_number().max(1)
    }

    /// When an answer is due, if there is a time limit.
    pub fn deadline(&self) -> Option<Deadline> {
        DEADLINE.with_borrow(|due| due.as_ref().map(|due| due.deadline))
    }

    /// The time left, if there is a time limit; zero once it has passed.
    pub fn remaining(&self) -> Option<Duration> {
        DEADLINE.with_borrow(|due| due.as_ref().map(|due| due.deadline.remaining(due.time.now())))
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("number", &self.number())
            .field("remaining", &self.remaining())
            .finish_non_exhaustive()
    }
}

/// Runs `poll` as attempt `number` of a retry.
#[inline]
pub fn in_attempt<R>(number: u32, poll: impl FnOnce() -> R) -> R {
    let number = number.min(BUDGETED - 1);
    let _outer = Restored::set(&ATTEMPT, number | (ATTEMPT.get() & BUDGETED));
    poll()
}

/// Whether a retry is at work around this call.
#[inline]
pub fn is_retrying() -> bool {
    attempt_number() > 0
}

/// Whether a budget is in scope, so that an attempt has to be [drawn](spending::draw).
#[inline]
pub fn is_budgeted() -> bool {
    ATTEMPT.get() & BUDGETED != 0
}

/// Whether neither a retry nor a budget is around this call.
#[inline]
pub(crate) fn is_plain() -> bool {
    ATTEMPT.get() == 0
}

fn attempt_number() -> u32 {
    ATTEMPT.get() & !BUDGETED
}

fn set_budgeted(budgeted: bool) {
    ATTEMPT.set(if budgeted { ATTEMPT.get() | BUDGETED } else { attempt_number() });
}

/// Notes that the operation itself is being started: from here on it may take effect.
#[inline]
pub fn note_dispatch() {
    DISPATCHED.set(true);
}

/// Runs `poll`, and tells whether the operation itself was being started in it.
#[inline]
pub fn watch_dispatch<R>(poll: impl FnOnce() -> R) -> (R, bool) {
    let outside = DISPATCHED.replace(false);
    let polled = poll();
    let noted = DISPATCHED.replace(outside);
    if noted {
        note_dispatch();
    }
    (polled, noted)
}

/// Runs `poll` inside a limiter that keeps the pauses that the callee asks for.
#[inline]
pub fn learned_from<R>(poll: impl FnOnce() -> R) -> R {
    let _outer = Restored::set(&LEARNED_FROM, true);
    poll()
}

/// A verdict as a circuit breaker takes it: where a limiter around it keeps the pause, the breaker
/// does not keep it too.
#[inline]
pub(crate) fn without_kept_pauses(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Throttled { .. } if LEARNED_FROM.get() => Verdict::Ignored,
        verdict => verdict,
    }
}

/// Whether a deadline around this call has passed, so that this poll is its last: whoever can answer
/// with something should.
#[inline]
pub fn has_expired() -> bool {
    EXPIRED.get()
}

/// The deadline around this call, if `time` can tell when it is over.
pub(crate) fn deadline_on(time: &TimeSource) -> Option<Deadline> {
    DEADLINE.with_borrow(|due| {
        due.as_ref().filter(|due| due.time.is_same_clock(time)).map(|due| due.deadline)
    })
}

/// The scope of one call under a timeout.
pub(crate) struct TimeoutScope {
    due: Option<Due>,
    pub(crate) dispatched: bool,
}

impl TimeoutScope {
    pub(crate) fn new(due: Due) -> Self {
        Self { due: Some(due), dispatched: false }
    }

    /// Runs `poll` inside; with `last`, it learns that the deadline has passed.
    pub(crate) fn enter<R>(&mut self, last: bool, poll: impl FnOnce() -> R) -> R {
        struct Exit<'a> {
            scope: &'a mut TimeoutScope,
            dispatched_outside: bool,
        }
        impl Drop for Exit<'_> {
            fn drop(&mut self) {
                self.scope.dispatched |= DISPATCHED.get();
                DISPATCHED.set(self.dispatched_outside || self.scope.dispatched);
                DEADLINE.with_borrow_mut(|due| std::mem::swap(due, &mut self.scope.due));
            }
        }
        DEADLINE.with_borrow_mut(|due| std::mem::swap(due, &mut self.due));
        let _expired = Restored::set(&EXPIRED, last || EXPIRED.get());
        let _exit = Exit { dispatched_outside: DISPATCHED.replace(false), scope: self };
        poll()
    }
}

/// Puts a thread-local back to what it was, also when a poll panics.
struct Restored<T: Copy + 'static> {
    cell: &'static std::thread::LocalKey<Cell<T>>,
    outer: T,
}

impl<T: Copy + 'static> Restored<T> {
    #[inline]
    fn set(cell: &'static std::thread::LocalKey<Cell<T>>, value: T) -> Self {
        Self { cell, outer: cell.replace(value) }
    }
}

impl<T: Copy + 'static> Drop for Restored<T> {
    #[inline]
    fn drop(&mut self) {
        self.cell.set(self.outer);
    }
}
