//! Tokio's timers, and runtimes of tokio that have none.

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Handle, Id};
use tokio::time::Sleep;

/// A sleep on the timers of the runtime around this call, if there is one and it has timers.
///
/// Tokio does not tell whether a runtime was built with `enable_time`: it panics when timers are
/// asked for. So each runtime without them is found out once, by such a panic, and remembered.
pub(super) fn sleep(duration: Duration) -> Option<Sleep> {
    let runtime = Handle::try_current().ok()?.id();
    if is_without_timers(runtime) {
        return None;
    }
    let sleep = catch_unwind(|| tokio::time::sleep(duration));
    if sleep.is_err() {
        WITHOUT_TIMERS.lock().unwrap_or_else(PoisonError::into_inner).push(runtime);
        ANY_WITHOUT_TIMERS.store(true, Ordering::Relaxed);
    }
    sleep.ok()
}

/// Ids are never given out twice, so nothing has to be forgotten.
static WITHOUT_TIMERS: Mutex<Vec<Id>> = Mutex::new(Vec::new());

/// Saves everybody else the lock. Read too early as `false`, it costs one more panic.
static ANY_WITHOUT_TIMERS: AtomicBool = AtomicBool::new(false);

fn is_without_timers(runtime: Id) -> bool {
    ANY_WITHOUT_TIMERS.load(Ordering::Relaxed)
        && WITHOUT_TIMERS.lock().unwrap_or_else(PoisonError::into_inner).contains(&runtime)
}
