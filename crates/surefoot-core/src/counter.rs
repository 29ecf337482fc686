//! Counting what happens all the time, for next to nothing.
//!
//! A counter that threads share costs each of them an atomic read-modify-write, about as much as a
//! whole decision of the rate limiter. Here a thread has a place of its own in every counter, to
//! which nobody else writes, so that a load and a store are enough. Places are lent to threads and
//! come back when they end. When all are out, threads share a few, with atomic steps.

// Not loom's atomics: no decision depends on a count, and a model should not have to step through it.
use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Threads with a place of their own.
const OWNED: usize = 16;
/// Places for all other threads.
const SHARED: usize = 4;

/// A count that only grows. Adding is exact whatever threads do; 1.3 kB.
#[derive(Default)]
pub(crate) struct Counter {
    owned: [Place; OWNED],
    shared: [Place; SHARED],
}

/// On a cache line of its own.
#[repr(align(64))]
#[derive(Default)]
struct Place(AtomicU64);

impl Counter {
    /// Adds one.
    ///
    /// Relaxed is enough: a count says nothing about other memory, and only one thread at a time
    /// has an owned place; [`places`] hands it on with acquire and release.
    #[inline]
    pub(crate) fn add(&self) {
        let own = places::own();
        match self.owned.get(own) {
            Some(Place(count)) => {
                count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
            }
            None => self.add_shared(own),
        }
    }

    #[inline(never)]
    fn add_shared(&self, own: usize) {
        let Place(count) = &self.shared[own % SHARED];
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// The count so far.
    pub(crate) fn get(&self) -> u64 {
        let places = self.owned.iter().chain(&self.shared);
        places.fold(0, |sum, Place(count)| sum.wrapping_add(count.load(Ordering::Relaxed)))
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// Which place a thread has.
mod places {
    use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

    use super::{Cell, OWNED};

    /// A bit for each owned place that is lent.
    static LENT: AtomicU32 = AtomicU32::new(0);
    /// Spreads the threads without one over the shared places.
    static NEXT: AtomicUsize = AtomicUsize::new(OWNED);
    const UNKNOWN: usize = usize::MAX;

    thread_local! {
        static OWN: Cell<usize> = const { Cell::new(UNKNOWN) };
        static LOAN: Loan = const { Loan(Cell::new(None)) };
    }

    /// Gives the place back when the thread ends.
    struct Loan(Cell<Option<usize>>);

    impl Drop for Loan {
        fn drop(&mut self) {
            if let Some(place) = self.0.take() {
                // What other thread-locals count in their destructors is shared.
                let _ = OWN.try_with(|own| own.set(OWNED));
                LENT.fetch_and(!(1 << place), Ordering::Release);
            }
        }
    }

    /// Below `OWNED`, it is this thread's alone.
    #[inline]
    pub(super) fn own() -> usize {
        match OWN.try_with(Cell::get) {
            Ok(UNKNOWN) => assign(),
            Ok(own) => own,
            Err(_) => OWNED,
        }
    }

    #[cold]
    fn assign() -> usize {
        let own = LOAN.try_with(|loan| {
            let place = borrow();
            loan.0.set(place);
            place
        });
        let own = match own {
            Ok(Some(place)) => place,
            _ => OWNED + NEXT.fetch_add(1, Ordering::Relaxed) % super::SHARED,
        };
        let _ = OWN.try_with(|cell| cell.set(own));
        own
    }

    fn borrow() -> Option<usize> {
        let mut lent = LENT.load(Ordering::Relaxed);
        loop {
            let place = lent.trailing_ones() as usize;
            if place >= OWNED {
                return None;
            }
            let taken = lent | 1 << place;
            // Acquire: what the last borrower counted there is seen.
            match LENT.compare_exchange_weak(lent, taken, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(place),
                Err(changed) => lent = changed,
            }
        }
    }
}

#[cfg(all(test, not(surefoot_loom)))]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn nothing_is_lost_however_many_threads_count_at_once_and_one_after_the_other() {
        const THREADS: usize = OWNED + 2 * SHARED;
        const EACH: u64 = 10_000;
        let counter = Counter::default();
        for round in 1..=3 {
            let together = Barrier::new(THREADS);
            thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| {
                        // A place is given out with the first: so all have theirs at once.
                        counter.add();
                        together.wait();
                        (1..EACH).for_each(|_| counter.add());
                    });
                }
            });
            assert_eq!(counter.get(), round * EACH * THREADS as u64);
        }
    }

    #[test]
    fn a_place_comes_back_when_its_thread_ends() {
        let own = || thread::spawn(|| [places::own(), places::own()]).join().unwrap();
        // More threads in all than there are places, one after the other.
        assert!((0..10 * OWNED).map(|_| own()).all(|[first, second]| first == second));
        // Other tests may have all of them for a while.
        assert!((0..1000 * OWNED).any(|_| own()[0] < OWNED));
        let counter = Counter::default();
        thread::scope(|scope| {
            for _ in 0..10 * OWNED {
                scope.spawn(|| counter.add()).join().unwrap();
            }
        });
        assert_eq!(counter.get(), 10 * OWNED as u64);
    }

    /// More threads than places of their own, all alive: the others share.
    #[test]
    fn no_two_living_threads_have_the_same_place_of_their_own() {
        const THREADS: usize = 2 * OWNED;
        let (taken, ended) = (Barrier::new(THREADS), Barrier::new(THREADS));
        let mut places: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|_| {
                    scope.spawn(|| {
                        let place = places::own();
                        taken.wait();
                        ended.wait();
                        place
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(places.iter().all(|place| *place < OWNED + SHARED));
        places.retain(|place| *place < OWNED);
        let own = places.len();
        places.sort_unstable();
        places.dedup();
        assert!(own > 0 && places.len() == own, "{places:?}");
    }
}
