//! The locks of what loom models: std's, or loom's when the models run.

#[cfg(not(surefoot_loom))]
pub(crate) use std::sync::{Mutex, MutexGuard};

#[cfg(surefoot_loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};

/// Locks, and goes on with what is there if a holder panicked.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
