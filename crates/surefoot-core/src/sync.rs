//! The atomics and locks of the machines: std's, or loom's when the models run.

#[cfg(not(surefoot_loom))]
pub(crate) use std::hint;
#[cfg(not(surefoot_loom))]
pub(crate) use std::sync::{Arc, Mutex, MutexGuard, atomic};

#[cfg(surefoot_loom)]
pub(crate) use loom::hint;
#[cfg(surefoot_loom)]
pub(crate) use loom::sync::{Arc, Mutex, MutexGuard, atomic};

/// Locks, and goes on with what is there if a holder panicked: every machine leaves its data
/// consistent before it calls anything that may panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
