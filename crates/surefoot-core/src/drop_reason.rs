//! Why a permit was dropped without a verdict.
//!
//! A permit dropped in mid-call usually means that the caller walked away. Not so when the drop
//! is our own doing: a deadline that ends a call drops its future, permits and all, and that is a
//! failure of the callee. Whoever of ours ends a call says so by dropping the inner future in
//! place inside [`with_drop_reason`]; permits ask when they are dropped.

use std::cell::Cell;

use crate::Verdict;

/// Why whatever is being dropped right now on this thread is dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DropReason {
    /// The caller walked away, or the call lost a race: neutral.
    #[default]
    Cancelled,
    /// Our own time limit ended the call: a failure.
    Deadline,
    /// The operation panicked: a failure.
    Panic,
}

thread_local! {
    static SCOPED: Cell<Option<DropReason>> = const { Cell::new(None) };
}

impl DropReason {
    /// The reason that holds on this thread now: the innermost scope's, or a panic that is
    /// unwinding, or else the caller's cancellation.
    pub fn current() -> Self {
        // `try_with`: a permit may be dropped by another thread-local's destructor.
        match SCOPED.try_with(Cell::get).ok().flatten() {
            Some(reason) => reason,
            None if std::thread::panicking() => Self::Panic,
            None => Self::Cancelled,
        }
    }

    /// The reason in scope, or else the caller's cancellation, whatever panic may be unwinding: for
    /// a future of ours, which sees a panic of its operation pass and is told of no other.
    pub fn scoped() -> Self {
        SCOPED.try_with(Cell::get).ok().flatten().unwrap_or_default()
    }

    /// The verdict on a call that was dropped for this reason.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Cancelled => Verdict::Cancelled,
            Self::Deadline | Self::Panic => Verdict::Failure,
        }
    }
}

/// Runs `drop_it`, and has everything it drops on this thread see `reason`.
///
/// ```
/// use surefoot_core::{CircuitBreaker, DropReason, with_drop_reason};
///
/// let breaker = CircuitBreaker::builder("api").failure_threshold(1).build()?;
/// let permit = breaker.admit()?;
/// with_drop_reason(DropReason::Deadline, || drop(permit));
/// assert_eq!(breaker.state(), surefoot_core::CircuitState::Open);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn with_drop_reason<R>(reason: DropReason, drop_it: impl FnOnce() -> R) -> R {
    struct Restore(Option<DropReason>);
    impl Drop for Restore {
        fn drop(&mut self) {
            let _ = SCOPED.try_with(|scoped| scoped.set(self.0));
        }
    }
    let _restore = Restore(SCOPED.try_with(|scoped| scoped.replace(Some(reason))).ok().flatten());
    drop_it()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_scope_says_why_and_the_one_around_it_says_it_again_afterwards() {
        let told = || (DropReason::current(), DropReason::scoped());
        let both = |reason| (reason, reason);
        assert_eq!(told(), both(DropReason::Cancelled));
        with_drop_reason(DropReason::Deadline, || {
            assert_eq!(told(), both(DropReason::Deadline));
            with_drop_reason(DropReason::Panic, || assert_eq!(told(), both(DropReason::Panic)));
            assert_eq!(told(), both(DropReason::Deadline));
        });
        assert_eq!(told(), both(DropReason::Cancelled));
    }
}
