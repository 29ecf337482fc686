//! The attempts of one call that race each other: when the next one begins.

use std::borrow::Borrow;

use super::Hedge;
use crate::sync::atomic::Ordering;
use crate::{AttemptResult, Classification, Event, Timestamp, Verdict};

/// One call's attempts; made by [`Hedge::race`] (borrowing) or
/// [`Hedge::into_race`], with the first one under way.
///
/// The host asks [`next_at`](Self::next_at) when to begin another, says so by
/// [`begin`](Self::begin), and hands every answer to [`answered`](Self::answered).
#[derive(Debug)]
pub struct Race<B: Borrow<Hedge> = Hedge> {
    hedge: B,
    /// Attempts begun.
    made: u32,
    /// No further attempt will begin.
    closed: bool,
}

/// What an answer means for the race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterAnswer {
    /// It wins: drop the others.
    Return,
    /// It lost: begin another attempt now, if [`Race::begin`] lets you, and go on waiting.
    Begin,
    /// It lost: go on waiting for the others.
    Wait,
}

impl<B: Borrow<Hedge>> Race<B> {
    #[inline]
    pub(super) fn new(hedge: B) -> Self {
        Self { hedge, made: 1, closed: false }
    }

    /// When the next attempt is due if no answer comes until then, the latest attempt having begun
    /// at `begun`; `None` if there is to be none, or none as long as nothing fails.
    pub fn next_at(&self, begun: Timestamp) -> Option<Timestamp> {
        if self.is_over() { None } else { Some(begun + self.hedge().delay(begun)?) }
    }

    /// Asks to begin another attempt, which takes a token from the budget; refused once, it is
    /// refused for good, and the attempts under way go on.
    pub fn begin(&mut self, now: Timestamp) -> bool {
        if self.is_over() {
            return false;
        }
        let hedge = self.hedge.borrow();
        let policy = || hedge.name().clone();
        if hedge.budget().is_some_and(|budget| !budget.try_withdraw()) {
            self.refuse(now);
            return false;
        }
        self.made += 1;
        hedge.shared.hedges.fetch_add(1, Ordering::Relaxed);
        hedge.post(|| Event::Hedged { policy: policy(), at: now, attempt: self.made });
        true
    }

    /// Notes that a budget of the host's refuses another attempt, and so all further ones.
    pub fn refuse(&mut self, now: Timestamp) {
        if self.is_over() {
            return;
        }
        self.closed = true;
        let hedge = self.hedge.borrow();
        hedge.shared.refused.fetch_add(1, Ordering::Relaxed);
        hedge.post(|| Event::HedgeRefused { policy: hedge.name().clone(), at: now });
    }

    /// Decides what an answer means.
    pub fn answered(&mut self, result: AttemptResult) -> AfterAnswer {
        match result {
            AttemptResult::Ran(Classification { verdict: Verdict::Success, .. }) => {
                AfterAnswer::Return
            }
            // Another attempt would be told the same.
            AttemptResult::Ran(Classification { retryable: false, .. }) => AfterAnswer::Return,
            // The callee, or a policy of ours, wants fewer calls now.
            AttemptResult::Rejected { .. }
            | AttemptResult::Ran(
                Classification { verdict: Verdict::Throttled { .. }, .. }
                | Classification { retry_after: Some(_), .. },
            ) => {
                self.closed = true;
                AfterAnswer::Wait
            }
            AttemptResult::Ran(_) if self.is_over() => AfterAnswer::Wait,
            AttemptResult::Ran(_) => AfterAnswer::Begin,
        }
    }

    /// The hedge it belongs to.
    #[inline]
    pub fn hedge(&self) -> &Hedge {
        self.hedge.borrow()
    }

    /// Attempts begun so far.
    pub fn made(&self) -> u32 {
        self.made
    }

    fn is_over(&self) -> bool {
        self.closed || self.made > self.hedge().config().max_hedges
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{ManualClock, RetryBudget};

    const FAILED: AttemptResult = AttemptResult::Ran(Classification::TRANSIENT);

    fn hedge(max_hedges: u32) -> Hedge {
        let delay = Duration::from_millis(10);
        Hedge::builder().delay(delay).max_hedges(max_hedges).build().unwrap()
    }

    fn ms(at: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(at)
    }

    /// policies.md §4 rule 58.
    #[test]
    fn each_attempt_without_an_answer_is_followed_by_another_up_to_the_limit() {
        let hedge = hedge(2);
        let mut race = hedge.race();
        assert_eq!(race.next_at(ms(0)), Some(ms(10)));
        assert!(race.begin(ms(10)));
        assert_eq!(race.next_at(ms(10)), Some(ms(20)));
        assert!(race.begin(ms(20)));
        assert_eq!(race.next_at(ms(20)), None);
        assert!(!race.begin(ms(30)));
        assert_eq!((race.made(), hedge.hedges()), (3, 2));
    }

    #[test]
    fn a_failure_begins_the_next_attempt_at_once() {
        let hedge = hedge(1);
        let mut race = hedge.race();
        assert_eq!(race.answered(FAILED), AfterAnswer::Begin);
        assert!(race.begin(ms(0)));
        assert_eq!(race.answered(FAILED), AfterAnswer::Wait);
    }

    #[test]
    fn what_asking_again_cannot_mend_is_the_answer() {
        let hedge = hedge(1);
        let permanent = AttemptResult::Ran(Classification::PERMANENT);
        assert_eq!(hedge.race().answered(permanent), AfterAnswer::Return);
    }

    #[test]
    fn a_callee_that_asks_for_a_pause_gets_no_further_attempt() {
        let wait = Some(Duration::from_secs(1));
        for answer in [
            AttemptResult::Ran(Classification::throttled(None)),
            AttemptResult::Ran(Classification::TRANSIENT.with_retry_after(wait)),
            AttemptResult::Rejected { retry_after: wait },
        ] {
            let hedge = hedge(5);
            let mut race = hedge.race();
            assert_eq!(race.answered(answer), AfterAnswer::Wait);
            assert_eq!(race.next_at(ms(0)), None);
            assert!(!race.begin(ms(10)));
        }
    }

    /// policies.md §4 rule 61.
    #[test]
    fn an_empty_budget_ends_the_hedging_and_not_the_race() {
        let budget = RetryBudget::builder().initial(1).clock(ManualClock::new()).build().unwrap();
        let hedge = hedge(3).drawing_on(budget.clone(), true);
        let mut race = hedge.race();
        assert!(race.begin(ms(10)));
        assert!(!race.begin(ms(20)));
        assert_eq!(race.next_at(ms(20)), None);
        assert_eq!(budget.balance(), 0);
    }
}
