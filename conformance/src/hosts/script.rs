//! The operation of a retry's case: it gives one outcome after the other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use surefoot_core::retry::RetryBuilder;
use surefoot_core::{Classification, Error, Rejection, Retry};

use super::{Tried, Trouble};
use crate::format::{Outcome, OutcomeKind, RetryRules};

/// A call that goes on for longer than this is ended, so that a retry that never stops is a
/// failed case and not a hung runner.
const ATTEMPTS_MOST: u64 = 300_000;

/// What an operation gives when it works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply(Outcome);

/// What it gives when it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Failed(Outcome),
    /// See [`ATTEMPTS_MOST`].
    TooOften,
}

#[derive(Debug)]
pub(super) struct Script<'a> {
    outcomes: &'a [Outcome],
    rules: &'a RetryRules,
    played: AtomicU64,
    spent: Mutex<Duration>,
    delays: Arc<Mutex<Vec<Duration>>>,
}

impl<'a> Script<'a> {
    pub(super) fn new(outcomes: &'a [Outcome], rules: &'a RetryRules) -> Self {
        let (played, spent, delays) = Default::default();
        Self { outcomes, rules, played, spent, delays }
    }

    /// The retry, built so that its waits are noted.
    pub(super) fn listen(&self, retry: RetryBuilder) -> Result<Retry, Trouble> {
        let delays = Arc::clone(&self.delays);
        let note =
            move |_, delay| delays.lock().unwrap_or_else(PoisonError::into_inner).push(delay);
        Ok(retry.on_retry(note).build()?)
    }

    /// Whether own policies refuse any of the attempts.
    pub(super) fn has_refusals(&self) -> bool {
        self.outcomes.iter().any(|outcome| outcome.kind == OutcomeKind::Rejected)
    }

    /// Whether the next attempt is refused.
    pub(super) fn refuses_next(&self) -> bool {
        let next = self.outcome(self.played.load(Ordering::SeqCst));
        next.kind == OutcomeKind::Rejected && self.attempts() < ATTEMPTS_MOST
    }

    /// Goes on to the next attempt. Its time is still to be spent, and its result to be given.
    pub(super) fn next(&self) -> &'a Outcome {
        let outcome = self.outcome(self.played.fetch_add(1, Ordering::SeqCst));
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        *spent = spent.saturating_add(outcome.takes);
        outcome
    }

    fn outcome(&self, index: u64) -> &'a Outcome {
        let last = self.outcomes.len() - 1;
        &self.outcomes[usize::try_from(index).map_or(last, |index| index.min(last))]
    }

    /// What the operation gives for an outcome that is not a refusal.
    pub(super) fn result(&self, outcome: &Outcome) -> Result<Reply, Fault> {
        match outcome.kind {
            _ if self.attempts() > ATTEMPTS_MOST => Err(Fault::TooOften),
            OutcomeKind::Ok | OutcomeKind::Result(_) => Ok(Reply(outcome.clone())),
            OutcomeKind::Error(_) | OutcomeKind::Rejected => Err(Fault::Failed(outcome.clone())),
        }
    }

    /// What the case's `retry_on`, `permanent` and `retry_on_result` make of a result.
    pub(super) fn classify(&self, result: Result<&Reply, &Fault>) -> Classification {
        let listed = |list: &[String], name: &String| list.contains(name);
        let (outcome, meaning) = match result {
            Err(Fault::TooOften) => return Classification::PERMANENT,
            Ok(Reply(outcome)) => (outcome, Classification::SUCCESS),
            Err(Fault::Failed(outcome)) => (outcome, Classification::TRANSIENT),
        };
        let rules = self.rules;
        let meaning = match &outcome.kind {
            OutcomeKind::Result(name) if listed(&rules.retry_on_result, name) => {
                Classification::TRANSIENT
            }
            OutcomeKind::Error(name) if listed(&rules.permanent, name) => Classification::PERMANENT,
            OutcomeKind::Error(name)
                if rules.retry_on.as_ref().is_some_and(|list| !listed(list, name)) =>
            {
                meaning.without_retry()
            }
            _ => meaning,
        };
        meaning.with_retry_after(outcome.retry_after)
    }

    /// Outcomes used.
    pub(super) fn attempts(&self) -> u64 {
        self.played.load(Ordering::SeqCst)
    }

    /// What came of it all, `elapsed` after it began.
    pub(super) fn report(
        &self,
        result: Result<Reply, Error<Fault>>,
        elapsed: Duration,
    ) -> Result<Tried, Trouble> {
        let told = match &result {
            Err(Error::Exhausted { attempts, elapsed, .. }) => {
                Some((u64::from(*attempts), *elapsed))
            }
            _ => None,
        };
        Ok(Tried {
            attempts: self.attempts(),
            delays: self.delays.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            outcome: outcome(result)?,
            elapsed,
            spent: *self.spent.lock().unwrap_or_else(PoisonError::into_inner),
            told,
        })
    }
}

/// What a call came to, by the outcome it ended with.
pub(super) fn outcome(result: Result<Reply, Error<Fault>>) -> Result<OutcomeKind, Trouble> {
    let error = match result {
        Ok(Reply(outcome)) => return Ok(outcome.kind),
        Err(error) => error,
    };
    // Where a budget ran out, what counts is the last thing the service said.
    let by_a_budget = |refusal| matches!(refusal, &Rejection::BudgetExhausted { .. });
    if error.rejection().is_some_and(|refusal| !by_a_budget(refusal)) {
        return Ok(OutcomeKind::Rejected);
    }
    let shown = format!("{error:?}");
    match error.into_operation() {
        Some(Fault::Failed(outcome)) => Ok(outcome.kind),
        Some(Fault::TooOften) => {
            Err(Trouble::Broken(format!("does not stop: {ATTEMPTS_MOST} attempts were made")))
        }
        None => Err(Trouble::Broken(format!("an error without an outcome inside: {shown}"))),
    }
}
