//! The one thing every protected call writes: how many succeeded.
//!
//! Threads that share a breaker would pass one counter's cache line to and fro, so the count is
//! kept in a few, each on a line of its own, and a thread always adds to the same one. Nothing is
//! ever taken away; differences to a [`Mark`] say what has come since.

use std::cell::Cell;

use crate::sync::atomic::{AtomicU64, Ordering};

const STRIPES: usize = 4;

/// Successes since the breaker was made.
#[derive(Default)]
pub(super) struct Successes {
    stripes: [Stripe; STRIPES],
}

#[repr(align(128))]
#[derive(Default)]
struct Stripe(AtomicU64);

/// The count at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark([u64; STRIPES]);

/// One success, as it was counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    stripe: usize,
    before: u64,
}

impl Successes {
    /// Counts one: a single atomic step.
    ///
    /// Acquire and release, so that it orders with [`mark`](Self::mark): either the mark has it,
    /// or whoever counted sees all that was published before the mark.
    #[inline]
    pub(super) fn count(&self) -> Counted {
        let stripe = own_stripe();
        Counted { stripe, before: self.stripes[stripe].0.fetch_add(1, Ordering::AcqRel) }
    }

    /// The present count. Reads with a read-modify-write: see [`count`](Self::count).
    pub(super) fn mark(&self) -> Mark {
        Mark(std::array::from_fn(|stripe| self.stripes[stripe].0.fetch_add(0, Ordering::AcqRel)))
    }
}

impl Mark {
    pub(super) fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Successes between an earlier mark and this one.
    pub(super) fn since(&self, earlier: &Self) -> u64 {
        self.total().saturating_sub(earlier.total())
    }

    /// Moves the mark past a success that came after it but does not belong there.
    pub(super) fn pass_over(&mut self, counted: Counted) {
        if counted.before >= self.0[counted.stripe] {
            self.0[counted.stripe] += 1;
        }
    }
}

/// The stripe this thread adds to; threads take turns in the order of their first call.
#[inline]
fn own_stripe() -> usize {
    thread_local! {
        static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    let stripe = STRIPE.try_with(Cell::get).unwrap_or(0);
    if stripe < STRIPES { stripe } else { assign(|own| STRIPE.try_with(|s| s.set(own)).is_ok()) }
}

#[cold]
fn assign(keep: impl FnOnce(usize) -> bool) -> usize {
    use std::sync::atomic::AtomicUsize;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let own = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
    keep(own);
    own
}

#[cfg(all(test, not(surefoot_loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_thread_is_counted_whichever_stripe_it_has() {
        let successes = Successes::default();
        let before = successes.mark();
        std::thread::scope(|scope| {
            for _ in 0..2 * STRIPES {
                scope.spawn(|| (0..1000).for_each(|_| drop(successes.count())));
            }
        });
        assert_eq!(successes.mark().since(&before), 2 * STRIPES as u64 * 1000);
    }

    #[test]
    fn a_mark_passes_over_only_what_came_after_it() {
        let successes = Successes::default();
        let early = successes.count();
        let mut mark = successes.mark();
        let late = successes.count();
        mark.pass_over(early);
        assert_eq!(successes.mark().since(&mark), 1);
        mark.pass_over(late);
        assert_eq!(successes.mark().since(&mark), 0);
    }
}
