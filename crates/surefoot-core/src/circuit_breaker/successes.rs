//! The one thing every protected call writes: how many succeeded.
//!
//! Threads that share a breaker would pass one counter's cache line to and fro, so the count is
//! kept in a few, each on a line of its own, and a thread always adds to the same one. Nothing is
//! ever taken away; differences to a [`Mark`] say what has come since.

#[cfg(not(surefoot_loom))]
use std::cell::Cell;

#[cfg(surefoot_loom)]
use models::own_stripe;
#[cfg(surefoot_loom)]
pub use models::use_stripe;

use crate::sync::atomic::{AtomicU64, Ordering};

const STRIPES: usize = 4;

/// Successes since the breaker was made.
#[derive(Default)]
pub(super) struct Successes {
    stripes: [Stripe; STRIPES],
}

/// Both banks of one stripe: the same threads write them.
#[repr(align(128))]
#[derive(Default)]
struct Stripe([AtomicU64; 2]);

/// Half of the count. Which one is in use changes with each closed phase of the breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Bank {
    #[default]
    Even = 0,
    Odd = 1,
}

/// The count of one bank at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    bank: Bank,
    stripes: [u64; STRIPES],
    /// Successes that came after it and do not belong there.
    passed_over: u64,
}

/// One success, as it was counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    bank: Bank,
    stripe: usize,
    before: u64,
}

impl Successes {
    /// Counts one: a single atomic step.
    ///
    /// Acquire and release, so that it orders with [`mark`](Self::mark): either the mark has it,
    /// or whoever counted sees all that was published before the mark.
    #[inline]
    pub(super) fn count(&self, bank: Bank) -> Counted {
        let stripe = own_stripe();
        let before = self.stripes[stripe].0[bank as usize].fetch_add(1, Ordering::AcqRel);
        Counted { bank, stripe, before }
    }

    /// The present count of a bank. Reads with a read-modify-write: see [`count`](Self::count).
    pub(super) fn mark(&self, bank: Bank) -> Mark {
        let read =
            |stripe: usize| self.stripes[stripe].0[bank as usize].fetch_add(0, Ordering::AcqRel);
        Mark { bank, stripes: std::array::from_fn(read), passed_over: 0 }
    }

    /// All successes ever.
    pub(super) fn total(&self) -> u64 {
        self.mark(Bank::Even).sum() + self.mark(Bank::Odd).sum()
    }

    /// Successes in a mark's bank since that mark.
    pub(super) fn since(&self, mark: &Mark) -> u64 {
        self.mark(mark.bank).sum().saturating_sub(mark.sum() + mark.passed_over)
    }
}

impl Mark {
    fn sum(&self) -> u64 {
        self.stripes.iter().sum()
    }

    /// Whether a success was counted after it.
    pub(super) fn precedes(&self, counted: Counted) -> bool {
        counted.bank == self.bank && counted.before >= self.stripes[counted.stripe]
    }

    /// Leaves out a success that came after it but does not belong there.
    pub(super) fn pass_over(&mut self, counted: Counted) {
        if self.precedes(counted) {
            self.passed_over += 1;
        }
    }
}

/// The stripe this thread adds to; threads take turns in the order of their first call.
#[cfg(not(surefoot_loom))]
#[inline]
fn own_stripe() -> usize {
    thread_local! {
        static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    let stripe = STRIPE.try_with(Cell::get).unwrap_or(0);
    if stripe < STRIPES { stripe } else { assign(|own| STRIPE.try_with(|s| s.set(own)).is_ok()) }
}

#[cfg(not(surefoot_loom))]
#[cold]
fn assign(keep: impl FnOnce(usize) -> bool) -> usize {
    use std::sync::atomic::AtomicUsize;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let own = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
    keep(own);
    own
}

/// The loom models say which stripe a thread has: all their threads are one for the system.
#[cfg(surefoot_loom)]
mod models {
    use std::cell::Cell;

    loom::thread_local! {
        static STRIPE: Cell<usize> = Cell::new(0);
    }

    pub(super) fn own_stripe() -> usize {
        STRIPE.with(Cell::get)
    }

    /// Gives this thread of a model one of the stripes; without this it has the first.
    pub fn use_stripe(stripe: usize) {
        STRIPE.with(|own| own.set(stripe % super::STRIPES));
    }
}

#[cfg(all(test, not(surefoot_loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_thread_is_counted_whichever_stripe_it_has() {
        let successes = Successes::default();
        let before = successes.mark(Bank::Odd);
        std::thread::scope(|scope| {
            for _ in 0..2 * STRIPES {
                scope.spawn(|| {
                    (0..1000).for_each(|_| {
                        successes.count(Bank::Odd);
                    });
                });
            }
        });
        assert_eq!(successes.since(&before), 2 * STRIPES as u64 * 1000);
        assert_eq!(successes.since(&successes.mark(Bank::Even)), 0);
    }

    #[test]
    fn a_thread_keeps_to_one_stripe_and_threads_are_spread_over_all() {
        let own = || {
            let stripe = own_stripe();
            assert!((0..100).all(|_| own_stripe() == stripe));
            stripe
        };
        let one_of_many = |_| std::thread::spawn(own).join().unwrap();
        let used: std::collections::BTreeSet<_> = (0..16 * STRIPES).map(one_of_many).collect();
        assert!(used.into_iter().eq(0..STRIPES));
    }

    #[test]
    fn a_mark_passes_over_only_what_came_after_it_in_its_bank() {
        let successes = Successes::default();
        let early = successes.count(Bank::Even);
        let mut mark = successes.mark(Bank::Even);
        let elsewhere = successes.count(Bank::Odd);
        let late = successes.count(Bank::Even);
        mark.pass_over(early);
        mark.pass_over(elsewhere);
        assert_eq!(successes.since(&mark), 1);
        mark.pass_over(late);
        assert_eq!(successes.since(&mark), 0);
        assert_eq!(successes.total(), 3);
    }
}
