//! Attempts, and the waits between them.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use surefoot_core::retry::{Attempts, NextStep};
use surefoot_core::{
    AttemptResult, DropReason, Error, Retry, RetryBudget, StopReason, with_drop_reason,
};

use crate::operation::{BlockingOperation, Judged, Operation};
use crate::pipeline::{Part, PartKind};
use crate::policy::{Nested, Policy};
use crate::{scope, time};

/// Cancellation: dropping the call during an attempt drops the attempt, during a wait ends the
/// wait; no further attempt is made, and a budget token that was not used is given back.
impl Policy for Retry {
    #[inline]
    async fn run<O: Operation>(&self, operation: &O) -> Result<O::Value, Error<O::Error>> {
        let mut run = Run::<O::Error>::start(self);
        loop {
            let number = run.attempts.begin();
            let result = match self.attempt_timeout() {
                None => run.attempt(number, operation.attempt()).await,
                Some(timeout) => {
                    let limited = Nested { policy: timeout, operation };
                    run.attempt(number, limited.attempt()).await
                }
            };
            let result = match result {
                Ok(result) => result,
                Err(last) => return Err(run.out_of_time(last)),
            };
            match run.next(operation, &result) {
                NextStep::Return => return result,
                NextStep::Stop(stop) => return run.give_up(operation, result, stop),
                NextStep::Wait(delay) => {
                    run.last = result.err();
                    time::sleep_until(self.time(), self.time().now() + delay).await;
                }
            }
        }
    }

    fn run_blocking<O: BlockingOperation>(
        &self,
        operation: &O,
    ) -> Result<O::Value, Error<O::Error>> {
        let mut run = Run::<O::Error>::start(self);
        run.attempts.note_start(self.time().now());
        loop {
            let number = run.attempts.begin();
            let result = scope::in_attempt(number, || match self.attempt_timeout() {
                None => operation.attempt_blocking(),
                Some(timeout) => timeout.run_blocking(operation),
            });
            match run.next(operation, &result) {
                NextStep::Return => return result,
                NextStep::Stop(stop) => return run.give_up(operation, result, stop),
                NextStep::Wait(delay) => {
                    drop(result); // what the retry discards is closed before the wait
                    time::block_until(self.time(), self.time().now() + delay);
                }
            }
        }
    }

    fn parts(&self, parts: &mut Vec<Part>) {
        parts.push(Part::new(PartKind::Retry, self.name().clone()));
        if let Some(timeout) = self.attempt_timeout() {
            timeout.parts(parts);
        }
    }

    /// A retry in a pipeline has a budget: without one, retries multiply the load on a callee
    /// that fails because of load.
    fn composed(self) -> Self {
        let clock = self.time().clone();
        self.or_budget(|| RetryBudget::on_clock(clock))
    }
}

/// One call on its way through the attempts.
struct Run<'a, E> {
    retry: &'a Retry,
    attempts: Attempts<'a>,
    /// The failure of the attempt before the present one.
    last: Option<Error<E>>,
    /// Whether any attempt got past our own policies.
    dispatched: bool,
}

impl<'a, E> Run<'a, E> {
    #[inline]
    fn start(retry: &'a Retry) -> Self {
        if scope::is_retrying() {
            retry.note_nesting();
        }
        let mut attempts = retry.attempts();
        if retry.config().max_elapsed.is_some() {
            attempts.note_start(retry.time().now());
        }
        Self { retry, attempts, last: None, dispatched: false }
    }

    /// Runs one attempt. If a deadline outside passes meanwhile, and there is an earlier failure
    /// to tell, ends the attempt with that.
    #[inline]
    async fn attempt<F: Future>(&mut self, number: u32, future: F) -> Result<F::Output, Error<E>> {
        let mut future = pin!(Some(future));
        poll_fn(move |cx| {
            let Some(running) = future.as_mut().as_pin_mut() else { return Poll::Pending };
            if let Poll::Ready(output) = scope::in_attempt(number, || running.poll(cx)) {
                return Poll::Ready(Ok(output));
            }
            self.note_suspension();
            match self.last.take_if(|_| scope::has_expired()) {
                Some(last) => {
                    with_drop_reason(DropReason::Deadline, || future.set(None));
                    Poll::Ready(Err(last))
                }
                None => Poll::Pending,
            }
        })
        .await
    }

    /// A call that succeeds at once needs no clock; one that has to wait begins its time here.
    #[cold]
    fn note_suspension(&mut self) {
        if !self.attempts.has_started() {
            self.attempts.note_start(self.retry.time().now());
        }
    }

    #[inline]
    fn next<O: Judged<Error = E>>(
        &mut self,
        operation: &O,
        result: &Result<O::Value, Error<E>>,
    ) -> NextStep {
        let judged = operation.attempt_result(result);
        if !judged.is_success() {
            self.dispatched |= !matches!(result, Err(error) if error.is_undispatched());
        }
        let retry = self.retry;
        self.attempts.next(judged, || retry.time().now(), || scope::deadline_on(retry.time()))
    }

    fn give_up<O: Judged<Error = E>>(
        self,
        operation: &O,
        result: Result<O::Value, Error<E>>,
        stop: StopReason,
    ) -> Result<O::Value, Error<E>> {
        match result {
            // A value that was not liked is still the answer there is.
            Ok(value) => Ok(value),
            Err(Error::Rejected(rejection)) if !self.dispatched => Err(Error::Rejected(rejection)),
            Err(error) => {
                let retry_after = match operation.attempt_error(&error) {
                    AttemptResult::Ran(classification) => classification.retry_after,
                    AttemptResult::Rejected { retry_after } => retry_after,
                };
                Err(Error::Exhausted {
                    last: Box::new(error),
                    stop,
                    attempts: self.attempts.made(),
                    elapsed: self.attempts.elapsed(self.retry.time().now()),
                    retry_after,
                })
            }
        }
    }

    /// A deadline outside passed during an attempt that followed the failure `last`.
    fn out_of_time(self, last: Error<E>) -> Error<E> {
        Error::Exhausted {
            retry_after: last.retry_after(),
            last: Box::new(last),
            stop: StopReason::Time,
            attempts: self.attempts.made(),
            elapsed: self.attempts.elapsed(self.retry.time().now()),
        }
    }
}
