//! Attempts, and the waits between them.

mod retrying;

use std::borrow::Borrow;
use std::future::Future;
use std::sync::Arc;

use surefoot_core::retry::{Attempts, NextStep};
use surefoot_core::{AttemptResult, Classify, Error, Rejection, Retry, StopReason};

use crate::health::Inspect;
use crate::operation::{BlockingOperation, Judged, Operation, Typed};
use crate::pipeline::{Composition, Part, PartKind};
use crate::policy::{BlockingPolicy, Policy};
use crate::scope::spending::{self, Cover};
use crate::{scope, time};
use retrying::{Retrying, go_on};

/// Cancellation: dropping the call during an attempt drops the attempt, during a wait ends the
/// wait; no further attempt is made, and a budget token that was not used is given back.
///
/// The first attempt is free of bookkeeping. Only if it fails is the state of retrying made, in
/// one allocation, which also keeps it out of every caller's future. (With `attempt_timeout` that
/// allocation is made for every call; a [`Timeout`](crate::Timeout) inside makes none.)
///
/// The first call of all makes that state at once and marks its first attempt, as does a call that
/// finds itself inside another retry's attempt: so a retry inside this one is noticed before
/// anything has failed. In later calls it is noticed when this one tries again.
impl Policy for Retry {
    #[inline]
    fn run<O: Operation>(
        &self,
        operation: &O,
    ) -> impl Future<Output = Result<O::Value, Error<O::Error>>> + Send {
        Retrying::new(self, operation, |operation| operation.attempt(), go_on::<O, &O>)
    }

    /// As the default would, but with the operation in the future that [`run`](Self::run) only
    /// refers to: nothing in it then points into itself, and a call that succeeds at once needs no
    /// place in memory.
    #[inline]
    fn call_classified<F, Fut, C, T, E>(
        &self,
        classifier: &C,
        operation: F,
    ) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, E>> + Send,
        C: Classify<T, E> + Sync,
        T: Send,
        E: Send,
    {
        let operation = Typed::new(operation, classifier);
        Retrying::new(
            self,
            operation,
            Typed::start_unpaid,
            go_on::<Typed<_, _, _, _>, Typed<_, _, _, _>>,
        )
    }

    fn inspected(&self, found: &mut Vec<Arc<dyn Inspect>>) {
        found.push(Arc::new(self.clone()));
    }

    fn parts(&self, parts: &mut Vec<Part>) {
        parts.push(Part::new(PartKind::Retry, self.name().clone()));
        if let Some(timeout) = self.attempt_timeout() {
            timeout.parts(parts);
        }
    }

    /// A retry in a pipeline has a budget: without one, retries multiply the load on a callee
    /// that fails because of load.
    fn composed(self, composition: &mut Composition) -> Self {
        let (budget, counts_calls) = composition.budget(self.budget(), self.time());
        self.drawing_on(budget, counts_calls)
    }
}

impl BlockingPolicy for Retry {
    fn run_blocking<O: BlockingOperation>(
        &self,
        operation: &O,
    ) -> Result<O::Value, Error<O::Error>> {
        note_call(self);
        let mut run = Run::new(self.attempts_after_first(Some(self.time().now())));
        let mut number = 1;
        loop {
            let result = run.enter(number, || match self.attempt_timeout() {
                None => operation.attempt_blocking(),
                Some(timeout) => timeout.run_blocking(operation),
            });
            match run.next(operation, &result) {
                NextStep::Return => return result,
                NextStep::Stop(stop) => return run.give_up(operation, result, stop),
                NextStep::Wait(delay) => {
                    run.keep(result); // a value that is discarded is closed before the wait
                    time::block_until(self.time(), self.time().now() + delay);
                    if run.is_too_late()
                        && let Some(error) = run.failure(operation, StopReason::Time)
                    {
                        return Err(error);
                    }
                    number = run.attempts.begin();
                }
            }
        }
    }
}

fn note_call(retry: &Retry) {
    if scope::is_retrying() {
        note_nesting(retry);
    }
    retry.note_call();
}

/// Notes a retry inside a retry, whose attempts multiply, unless a budget counts them together.
pub fn note_nesting(retry: &Retry) {
    if !spending::limits_attempts() {
        retry.note_nesting();
    }
}

/// One call that has begun to be tried again.
pub struct Run<E, B: Borrow<Retry> = Retry> {
    /// The attempts themselves.
    pub attempts: Attempts<B>,
    /// Whether any attempt got past our own policies.
    pub dispatched: bool,
    /// What the budgets in scope have paid for the attempt that is to come, or is under way.
    cover: Option<Cover>,
    /// The failure so far. A refusal is in its place only if nothing else is to be told.
    last: Option<Error<E>>,
    /// The refusal of a later attempt.
    refusal: Option<Error<E>>,
    /// The budget that would not pay for one more.
    unpaid: Option<Rejection>,
}

impl<E, B: Borrow<Retry>> Run<E, B> {
    /// A call whose attempts are `attempts`, the first one under way or done.
    pub fn new(attempts: Attempts<B>) -> Self {
        Self { attempts, dispatched: false, cover: None, last: None, refusal: None, unpaid: None }
    }

    /// Decides what comes after an attempt with this result.
    pub fn next<O: Judged<Error = E>>(
        &mut self,
        operation: &O,
        result: &Result<O::Value, Error<E>>,
    ) -> NextStep {
        let judged = operation.attempt_result(result);
        self.dispatched |= !matches!(result, Err(error) if error.is_undispatched());
        let time = self.attempts.retry().time();
        let (now, deadline) = (time.now(), scope::deadline_on(time));
        self.cover = None; // what the attempt did not spend is there for the next one
        if matches!(result, Err(Error::Rejected(Rejection::BudgetExhausted { .. }))) {
            return self.attempts.stop(now, StopReason::Budget);
        }
        let mut drawn = Ok(None);
        let step = self.attempts.next_paid(judged, now, deadline, || {
            drawn = spending::draw_if_budgeted();
            drawn.is_ok()
        });
        match drawn {
            Ok(cover) => self.cover = cover.filter(|_| matches!(step, NextStep::Wait(_))),
            Err(refused) => self.unpaid = Some(refused),
        }
        step
    }

    /// Runs `attempt` as attempt `number`, paid by what was drawn for it.
    pub fn enter<R>(&self, number: u32, attempt: impl FnOnce() -> R) -> R {
        spending::covered(self.cover.as_ref(), || scope::in_attempt(number, attempt))
    }

    /// Keeps a failure while another attempt is on its way. A value is closed, and what failed
    /// before it is forgotten.
    pub fn keep<T>(&mut self, result: Result<T, Error<E>>) {
        let earlier = self.last.take();
        (self.last, self.refusal) = match result {
            Ok(_) => (None, None),
            Err(error) => {
                let undispatched = error.is_undispatched();
                let (last, refusal) = after(earlier, error, undispatched);
                (Some(last), refusal)
            }
        };
    }

    /// Whether the wait has taken so long that no attempt may follow it.
    pub fn is_too_late(&self) -> bool {
        let time = self.attempts.retry().time();
        !self.attempts.may_begin(time.now(), scope::deadline_on(time))
    }

    /// The end of a call whose last attempt gave `result`.
    #[expect(clippy::missing_errors_doc, reason = "making the error is its purpose")]
    pub fn give_up<O: Judged<Error = E>>(
        mut self,
        operation: &O,
        result: Result<O::Value, Error<E>>,
        stop: StopReason,
    ) -> Result<O::Value, Error<E>> {
        let error = match result {
            // A value that was not liked is still the answer there is.
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if stop == StopReason::NotReady {
            // Nothing has been decided about this one.
            let now = self.attempts.retry().time().now();
            self.attempts.stop(now, stop);
        }
        let undispatched = stop == StopReason::NotReady || error.is_undispatched();
        let (last, refusal) = after(self.last.take(), error, undispatched);
        Err(self.exhausted(operation, last, refusal, stop))
    }

    /// The error of a call that ends with the failure that was kept, if one was.
    pub fn failure<O: Judged<Error = E>>(
        &mut self,
        operation: &O,
        stop: StopReason,
    ) -> Option<Error<E>> {
        let (last, refusal) = (self.last.take()?, self.refusal.take());
        let now = self.attempts.retry().time().now();
        self.attempts.stop(now, stop);
        Some(self.exhausted(operation, last, refusal, stop))
    }

    fn exhausted<O: Judged<Error = E>>(
        &mut self,
        operation: &O,
        last: Error<E>,
        refusal: Option<Error<E>>,
        stop: StopReason,
    ) -> Error<E> {
        if !self.dispatched && last.is_undispatched() {
            return last;
        }
        let retry_after = match operation.attempt_error(refusal.as_ref().unwrap_or(&last)) {
            AttemptResult::Ran(classification) => classification.retry_after,
            AttemptResult::Rejected { retry_after } => retry_after,
        };
        let unpaid = self.unpaid.take().map(Error::Rejected);
        Error::Exhausted {
            last: Box::new(last),
            refusal: unpaid.or(refusal).map(Box::new),
            stop,
            attempts: self.attempts.made(),
            elapsed: self.attempts.elapsed(self.attempts.retry().time().now()),
            retry_after,
        }
    }
}

/// What is to be told after one more failure: the last one, and the refusal after it. What failed
/// before anything was dispatched does not take the place of what the callee did.
fn after<E>(
    earlier: Option<Error<E>>,
    error: Error<E>,
    undispatched: bool,
) -> (Error<E>, Option<Error<E>>) {
    match earlier {
        Some(last) if undispatched && !last.is_undispatched() => (last, Some(error)),
        _ => (error, None),
    }
}
