//! The attempts of one call: what comes after each.

use std::borrow::Borrow;
use std::time::Duration;

use super::Retry;
use crate::{Classification, Deadline, Event, StopReason, Timestamp, Verdict};

/// One call's way through its attempts; made by [`Retry::attempts`] (borrowing) or
/// [`Retry::into_attempts`].
///
/// The host calls [`begin`](Self::begin) before each attempt and [`next`](Self::next) after it,
/// and does what it is told. A token that was not used goes back to the budget if it is dropped during
/// a wait. An attempt that a policy of our own refuses has used its token: otherwise all who wait for
/// a circuit breaker would come at once when it closes, and no budget would hold them.
#[derive(Debug)]
pub struct Attempts<B: Borrow<Retry> = Retry> {
    retry: B,
    made: u32,
    started: Option<Timestamp>,
    previous_delay: Option<Duration>,
    /// A token was taken for the attempt that is to come.
    holds_token: bool,
    /// Another attempt is possible, and does no harm.
    repeatable: bool,
}

/// How an attempt ended, as far as trying again is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptResult {
    /// It ran, and its result was classified.
    Ran(Classification),
    /// A policy of our own refused it, and nothing was dispatched.
    Rejected {
        /// When the policy would admit it again, if it promised that.
        retry_after: Option<Duration>,
    },
}

impl AttemptResult {
    /// Whether it is an answer.
    #[inline]
    pub fn is_success(self) -> bool {
        matches!(self, Self::Ran(Classification { verdict: Verdict::Success, .. }))
    }
}

/// What comes after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// The result is the answer.
    Return,
    /// Wait this long, then begin another attempt.
    Wait(Duration),
    /// Give up with this result.
    Stop(StopReason),
}

impl<B: Borrow<Retry>> Attempts<B> {
    pub(super) fn new(retry: B) -> Self {
        retry.borrow().note_call();
        Self::resume(retry, 0, None)
    }

    pub(super) fn resume(retry: B, made: u32, started: Option<Timestamp>) -> Self {
        Self { retry, made, started, previous_delay: None, holds_token: false, repeatable: true }
    }

    /// Notes that an attempt begins, and gives its number from 1.
    pub fn begin(&mut self) -> u32 {
        self.holds_token = false;
        if self.made > 0 {
            self.retry().count_retry();
        }
        self.made += 1;
        self.made
    }

    /// Whether an attempt that begins at `at` has the time it needs. To be asked once more after
    /// the wait, which may have taken longer than it should.
    pub fn may_begin(&self, at: Timestamp, deadline: Option<Deadline>) -> bool {
        let config = self.retry().config();
        let elapsed = self.elapsed(at) + config.min_attempt_time;
        config.max_elapsed.is_none_or(|limit| elapsed <= limit)
            && deadline
                .is_none_or(|due| !due.is_over(at) && due.remaining(at) >= config.min_attempt_time)
    }

    /// Notes when the first attempt began. Only the first note counts.
    pub fn note_start(&mut self, now: Timestamp) {
        self.started.get_or_insert(now);
    }

    /// The retry they belong to.
    pub fn retry(&self) -> &Retry {
        self.retry.borrow()
    }

    /// Says whether another attempt after this result is possible and does no harm. Default: it is.
    pub fn set_repeatable(&mut self, repeatable: bool) {
        self.repeatable = repeatable;
    }

    /// Attempts begun so far, those included that were refused.
    pub fn made(&self) -> u32 {
        self.made
    }

    /// Time since the first attempt began.
    pub fn elapsed(&self, now: Timestamp) -> Duration {
        self.started.map_or(Duration::ZERO, |started| now - started)
    }

    /// Decides what comes after an attempt that ended at `now`, under a deadline outside.
    pub fn next(
        &mut self,
        result: AttemptResult,
        now: Timestamp,
        deadline: Option<Deadline>,
    ) -> NextStep {
        self.next_paid(result, now, deadline, || true)
    }

    /// The same where another attempt has to be paid for besides: `pay` is asked once all else allows
    /// it, and [`StopReason::Budget`] is the answer if it cannot. If it could and the answer is
    /// not to wait all the same, what was paid is to be given back.
    pub fn next_paid(
        &mut self,
        result: AttemptResult,
        now: Timestamp,
        deadline: Option<Deadline>,
        pay: impl FnOnce() -> bool,
    ) -> NextStep {
        self.note_start(now);
        let step = self.decide(result, now, deadline, pay);
        self.report(step, now);
        step
    }

    /// The last moment at which another attempt may begin by `max_elapsed`, if there is one.
    pub fn latest_begin(&self) -> Option<Timestamp> {
        let config = self.retry().config();
        let least = config.min_attempt_time;
        Some(self.started? + config.max_elapsed?.saturating_sub(least))
    }

    /// Ends the retrying for a reason that only the host knows.
    pub fn stop(&mut self, now: Timestamp, stop: StopReason) -> NextStep {
        self.note_start(now);
        let step = NextStep::Stop(stop);
        self.report(step, now);
        step
    }

    fn give_back(&self) {
        if let Some(budget) = self.retry().budget() {
            budget.give_back();
        }
    }

    fn decide(
        &mut self,
        result: AttemptResult,
        now: Timestamp,
        deadline: Option<Deadline>,
        pay: impl FnOnce() -> bool,
    ) -> NextStep {
        let config = self.retry().config();
        if result.is_success() {
            return NextStep::Return;
        }
        let retry_after = match result {
            AttemptResult::Ran(Classification { retryable: false, .. }) => {
                return NextStep::Stop(StopReason::Permanent);
            }
            AttemptResult::Ran(classification) => classification.retry_after,
            AttemptResult::Rejected { retry_after } => retry_after,
        };
        if !self.repeatable {
            return NextStep::Stop(StopReason::Unrepeatable);
        }
        if self.made >= config.max_attempts {
            return NextStep::Stop(StopReason::Attempts);
        }
        let longest = config.longest_server_wait();
        let rejected = matches!(result, AttemptResult::Rejected { .. });
        match retry_after {
            None if rejected => return NextStep::Stop(StopReason::Rejected),
            Some(asked) if asked > longest && rejected => {
                return NextStep::Stop(StopReason::Rejected);
            }
            Some(asked) if asked > longest => return NextStep::Stop(StopReason::WaitTooLong),
            _ => {}
        }
        let own = self.retry().jittered(self.made - 1, self.previous_delay);
        let wait = match retry_after {
            // Never shorter than asked for; chance only adds, and the cap comes last.
            Some(asked) if asked > own.total() => {
                (asked + own.spread).min(config.max_delay.max(longest))
            }
            _ => own.total(),
        };
        let attempt_at = now + wait;
        if !self.may_begin(attempt_at, deadline) {
            return NextStep::Stop(StopReason::Time);
        }
        if !pay() {
            return NextStep::Stop(StopReason::Budget);
        }
        if let Some(budget) = self.retry().budget() {
            if !budget.try_withdraw() {
                return NextStep::Stop(StopReason::Budget);
            }
            self.holds_token = true;
        }
        self.previous_delay = Some(own.total());
        NextStep::Wait(wait)
    }

    fn report(&self, step: NextStep, now: Timestamp) {
        let policy = || self.retry().name().clone();
        match step {
            NextStep::Return => {}
            NextStep::Wait(delay) => {
                self.retry().post(|| Event::RetryScheduled {
                    policy: policy(),
                    at: now,
                    attempt: self.made,
                    delay,
                });
            }
            NextStep::Stop(stop) => {
                self.retry().count_given_up();
                self.retry().post(|| Event::RetryStopped {
                    policy: policy(),
                    at: now,
                    attempts: self.made,
                    stop,
                });
            }
        }
    }
}

impl<B: Borrow<Retry>> Drop for Attempts<B> {
    fn drop(&mut self) {
        if self.holds_token {
            self.give_back();
        }
    }
}

#[cfg(all(test, not(surefoot_loom)))]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::retry::RetryBuilder;
    use crate::{Jitter, RetryBudget};

    const FAILED: AttemptResult = AttemptResult::Ran(Classification::TRANSIENT);
    const SECOND: Duration = Duration::from_secs(1);

    fn after_one(builder: RetryBuilder, result: AttemptResult) -> NextStep {
        let retry = builder.build().unwrap();
        let mut attempts = retry.attempts();
        attempts.begin();
        attempts.next(result, Timestamp::ZERO, None)
    }

    #[test]
    fn attempts_are_numbered_from_one_and_the_first_is_no_retry() {
        let retry = Retry::builder().build().unwrap();
        let mut attempts = retry.attempts();
        for (made, retries) in [(1, 0), (2, 1), (3, 2)] {
            assert_eq!(attempts.begin(), made);
            assert_eq!((attempts.made(), retry.retries()), (made, retries));
        }
    }

    /// Or no budget would hold back those who wait for a breaker.
    #[test]
    fn an_attempt_that_was_refused_costs_a_token_as_one_that_ran_does() {
        let budget = RetryBudget::builder().initial(5).ratio(0.0).build().unwrap();
        let retry = Retry::builder().max_attempts(9).budget(budget.clone()).build().unwrap();
        let refused = AttemptResult::Rejected { retry_after: Some(SECOND) };
        let mut attempts = retry.attempts();
        for (result, balance) in [(FAILED, 4), (FAILED, 3), (refused, 2), (refused, 1), (FAILED, 0)]
        {
            attempts.begin();
            attempts.next(result, Timestamp::ZERO, None);
            assert_eq!(budget.balance(), balance, "{result:?}");
        }
        attempts.begin();
        drop(attempts);
        assert_eq!(budget.balance(), 0, "it may have been dispatched");
    }

    #[test]
    fn what_does_harm_if_repeated_is_not_repeated() {
        let retry = Retry::builder().build().unwrap();
        let mut attempts = retry.attempts();
        attempts.begin();
        attempts.set_repeatable(false);
        let step = attempts.next(FAILED, Timestamp::ZERO, None);
        assert_eq!(step, NextStep::Stop(StopReason::Unrepeatable));
    }

    #[test]
    fn a_wait_that_is_as_long_as_asked_for_is_not_lengthened() {
        let jittered = || Retry::builder().jitter(Jitter::Full).seed(1);
        let NextStep::Wait(own) = after_one(jittered(), FAILED) else { panic!("no wait") };
        assert!(!own.is_zero());
        let asked = Classification::TRANSIENT.with_retry_after(Some(own));
        assert_eq!(after_one(jittered(), AttemptResult::Ran(asked)), NextStep::Wait(own));
    }

    #[test]
    fn listeners_are_told_of_each_wait_and_of_the_end() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = Arc::clone(&heard);
        let retry = Retry::builder()
            .max_attempts(2)
            .on_event(move |event| ear.lock().unwrap().push(event.clone()))
            .build()
            .unwrap();
        let mut attempts = retry.attempts();
        let at = Timestamp::from_nanos(5);
        for _ in 0..2 {
            attempts.begin();
            attempts.next(FAILED, at, None);
        }
        let policy = || retry.name().clone();
        let told = [
            Event::RetryScheduled { policy: policy(), at, attempt: 1, delay: SECOND },
            Event::RetryStopped { policy: policy(), at, attempts: 2, stop: StopReason::Attempts },
        ];
        assert_eq!(*heard.lock().unwrap(), told);
    }
}
