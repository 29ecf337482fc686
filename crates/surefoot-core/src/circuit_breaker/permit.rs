//! What an admitted call holds until its result is known.

use std::borrow::Borrow;
use std::time::Duration;

use super::CircuitBreaker;
use super::machine::Ticket;
use crate::{DropReason, Verdict};

/// Leave to make one call, to be closed with its verdict.
///
/// Handed out by [`CircuitBreaker::admit`] (owned: it can be stored and sent) and
/// [`CircuitBreaker::admit_borrowed`]. A permit that is dropped says by
/// [`DropReason::current`] why: normally that its caller walked away, which counts as nothing; a
/// drop by our own deadline or by a panic counts as a failure.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once reports a cancelled call"]
pub struct Permit<B: Borrow<CircuitBreaker> = CircuitBreaker> {
    breaker: B,
    ticket: Ticket,
}

impl<B: Borrow<CircuitBreaker>> Permit<B> {
    #[inline]
    pub(super) fn new(breaker: B, ticket: Ticket) -> Self {
        Self { breaker, ticket }
    }

    /// The call worked.
    #[inline]
    pub fn success(self) {
        self.settle(Verdict::Success);
    }

    /// The call failed.
    pub fn failure(self) {
        self.settle(Verdict::Failure);
    }

    /// The result says nothing about the callee.
    pub fn ignore(self) {
        self.settle(Verdict::Ignored);
    }

    /// The callee asked us to stay away for `retry_after`.
    pub fn throttled(self, retry_after: Duration) {
        self.settle(Verdict::Throttled { retry_after: Some(retry_after) });
    }

    /// The caller gave up, whatever [`DropReason`] is in scope.
    pub fn cancel(self) {
        self.settle(Verdict::Cancelled);
    }

    /// Closes the permit with a verdict worked out elsewhere.
    #[inline]
    pub fn settle(mut self, verdict: Verdict) {
        self.close(verdict);
    }

    /// The same in place, for a permit that is part of something else. Only the first verdict
    /// counts.
    #[inline]
    pub fn close(&mut self, verdict: Verdict) {
        let machine = self.breaker.borrow().machine();
        if verdict == Verdict::Success && machine.count_success(&self.ticket) {
            self.ticket.mark_used();
        } else if let Some(ticket) = self.ticket.use_up() {
            machine.settle(ticket, verdict);
        }
    }

    /// Whether a verdict is in.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.ticket.is_used()
    }

    /// Moves what this permit stands for into one with a handle of its own to the breaker, which
    /// can outlive a borrow. This one is closed then.
    pub fn hand_over(&mut self) -> Permit {
        let ticket = self.ticket;
        self.ticket.mark_used();
        Permit::new(self.breaker.borrow().clone(), ticket)
    }

    /// Closes it if it is not, for the reason `why` gives: what a drop does, for hosts that know
    /// more about it than [`DropReason::current`].
    #[inline]
    pub fn drop_for(&mut self, why: fn() -> DropReason) {
        if let Some(ticket) = self.ticket.use_up() {
            drop_unsettled(self.breaker.borrow(), ticket, why);
        }
    }
}

impl<B: Borrow<CircuitBreaker>> Drop for Permit<B> {
    #[inline]
    fn drop(&mut self) {
        self.drop_for(DropReason::current);
    }
}

#[cold]
#[inline(never)]
fn drop_unsettled(breaker: &CircuitBreaker, ticket: Ticket, why: fn() -> DropReason) {
    breaker.machine().settle(ticket, why().verdict());
}

#[cfg(all(test, not(surefoot_loom)))]
mod tests {
    use super::*;
    use crate::circuit_breaker::CircuitTotals;
    use crate::{ManualClock, with_drop_reason};

    type Close = fn(Permit);

    /// Each way counts in a total of its own, also while something else is being dropped.
    #[test]
    fn each_way_to_close_a_permit_is_told_from_the_others() {
        let none = CircuitTotals::default();
        let cases: [(&str, Close, CircuitTotals); 7] = [
            ("success", Permit::success, CircuitTotals { successes: 1, ..none }),
            ("failure", Permit::failure, CircuitTotals { failures: 1, ..none }),
            ("ignore", Permit::ignore, CircuitTotals { ignored: 1, ..none }),
            (
                "throttled",
                |permit| permit.throttled(Duration::from_secs(1)),
                CircuitTotals { throttled: 1, ..none },
            ),
            ("cancel", Permit::cancel, CircuitTotals { cancelled: 1, ..none }),
            (
                "dropped for a reason of its own",
                |mut permit| permit.drop_for(|| DropReason::Cancelled),
                CircuitTotals { cancelled: 1, ..none },
            ),
            ("dropped", drop, CircuitTotals { failures: 1, ..none }),
        ];
        for (what, close, totals) in cases {
            let clock = ManualClock::new();
            let breaker = CircuitBreaker::builder("api").clock(&clock).build().unwrap();
            let permit = breaker.admit().unwrap();
            with_drop_reason(DropReason::Deadline, || close(permit));
            assert_eq!(breaker.status().totals, totals, "{what}");
        }
    }

    #[test]
    fn only_the_first_verdict_counts() {
        let breaker = CircuitBreaker::builder("api").build().unwrap();
        for first in [Verdict::Success, Verdict::Ignored] {
            let mut permit = breaker.admit().unwrap();
            assert!(!permit.is_closed());
            permit.close(first);
            assert!(permit.is_closed());
            permit.close(Verdict::Failure);
            drop(permit);
        }
        let totals = breaker.status().totals;
        assert_eq!((totals.successes, totals.ignored, totals.failures), (1, 1, 0));
    }
}
