//! Waking many.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

/// Wakes all of them. A waker is the caller's code: one that panics keeps none of the others
/// asleep, and its panic goes on when they are awake.
#[inline]
pub(crate) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    let mut left = Left(wakers.into_iter());
    left.0.by_ref().for_each(Waker::wake);
}

struct Left<I: Iterator<Item = Waker>>(I);

impl<I: Iterator<Item = Waker>> Drop for Left<I> {
    fn drop(&mut self) {
        for waker in self.0.by_ref() {
            // A second panic while the first unwinds would end the process.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }
}

#[cfg(all(test, not(surefoot_loom)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

    use super::*;

    struct Hostile;

    impl Wake for Hostile {
        fn wake(self: Arc<Self>) {
            panic!("hostile");
        }
    }

    #[derive(Default)]
    struct Bell(AtomicU32);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_waker_that_panics_keeps_no_other_asleep() {
        let bell = Arc::new(Bell::default());
        let sound = || Waker::from(bell.clone());
        let hostile = || Waker::from(Arc::new(Hostile));
        let wakers = vec![sound(), hostile(), sound(), hostile(), sound()];
        assert!(catch_unwind(AssertUnwindSafe(|| wake_all(wakers))).is_err());
        assert_eq!(bell.0.load(Ordering::SeqCst), 3);
    }
}
