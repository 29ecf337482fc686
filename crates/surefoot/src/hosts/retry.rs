//! Attempts, and the waits between them.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use surefoot_core::retry::{Attempts, NextStep};
use surefoot_core::{
    AttemptResult, DropReason, Error, Retry, RetryBudget, StopReason, TimeSource, Timestamp,
    Verdict, with_drop_reason,
};

use crate::operation::{BlockingOperation, Judged, Operation};
use crate::pipeline::{Part, PartKind};
use crate::policy::{Nested, Policy};
use crate::{scope, time};

/// Cancellation: dropping the call during an attempt drops the attempt, during a wait ends the
/// wait; no further attempt is made, and a budget token that was not used is given back.
///
/// The first attempt is free of bookkeeping. Only if it fails is the state of retrying made, in
/// one allocation, which also keeps it out of every caller's future.
impl Policy for Retry {
    #[inline]
    async fn run<O: Operation>(&self, operation: &O) -> Result<O::Value, Error<O::Error>> {
        let mut started = begin(self);
        let result = match self.attempt_timeout() {
            None => first_attempt(self.time(), &mut started, operation.attempt()).await,
            Some(timeout) => {
                let limited = Nested { policy: timeout, operation };
                first_attempt(self.time(), &mut started, limited.attempt()).await
            }
        };
        match result {
            Ok(value) if operation.classify(Ok(&value)).verdict == Verdict::Success => Ok(value),
            result => Box::pin(go_on(self, operation, started, result)).await,
        }
    }

    fn run_blocking<O: BlockingOperation>(
        &self,
        operation: &O,
    ) -> Result<O::Value, Error<O::Error>> {
        begin(self);
        let mut run = Run::new(self, Some(self.time().now()));
        let mut number = 1;
        loop {
            let result = scope::in_attempt(number, || match self.attempt_timeout() {
                None => operation.attempt_blocking(),
                Some(timeout) => timeout.run_blocking(operation),
            });
            match run.next(operation, &result) {
                NextStep::Return => return result,
                NextStep::Stop(stop) => return run.give_up(operation, result, stop),
                NextStep::Wait(delay) => {
                    drop(result); // what is discarded is closed before the wait
                    time::block_until(self.time(), self.time().now() + delay);
                    number = run.attempts.begin();
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

/// Notes a call, and the time where it is needed from the start.
#[inline]
fn begin(retry: &Retry) -> Option<Timestamp> {
    if scope::is_retrying() {
        retry.note_nesting();
    }
    retry.note_call();
    retry.config().max_elapsed.map(|_| retry.time().now())
}

/// A call that is answered at once needs no clock; one that has to wait begins its time here.
#[inline]
async fn first_attempt<F: Future>(
    time: &TimeSource,
    started: &mut Option<Timestamp>,
    future: F,
) -> F::Output {
    let mut future = pin!(future);
    poll_fn(move |cx| {
        let polled = scope::in_attempt(1, || future.as_mut().poll(cx));
        if polled.is_pending() && started.is_none() {
            *started = Some(time.now());
        }
        polled
    })
    .await
}

/// Everything after a first attempt that did not succeed.
async fn go_on<O: Operation>(
    retry: &Retry,
    operation: &O,
    started: Option<Timestamp>,
    mut result: Result<O::Value, Error<O::Error>>,
) -> Result<O::Value, Error<O::Error>> {
    let mut run = Run::new(retry, started);
    loop {
        match run.next(operation, &result) {
            NextStep::Return => return result,
            NextStep::Stop(stop) => return run.give_up(operation, result, stop),
            NextStep::Wait(delay) => {
                let last = result.err(); // a value that is discarded is closed before the wait
                time::sleep_until(retry.time(), retry.time().now() + delay).await;
                let number = run.attempts.begin();
                let ended = match retry.attempt_timeout() {
                    None => another_attempt(number, last, operation.attempt()).await,
                    Some(timeout) => {
                        let limited = Nested { policy: timeout, operation };
                        another_attempt(number, last, limited.attempt()).await
                    }
                };
                result = match ended {
                    Ok(result) => result,
                    Err(last) => return run.give_up(operation, Err(last), StopReason::Time),
                };
            }
        }
    }
}

/// Runs an attempt after the failure `last`. If a deadline outside passes meanwhile, ends the
/// attempt with that failure, so that the timeout can tell it.
async fn another_attempt<F: Future, E>(
    number: u32,
    mut last: Option<E>,
    future: F,
) -> Result<F::Output, E> {
    let mut future = pin!(Some(future));
    poll_fn(move |cx| {
        let Some(running) = future.as_mut().as_pin_mut() else { return Poll::Pending };
        if let Poll::Ready(output) = scope::in_attempt(number, || running.poll(cx)) {
            return Poll::Ready(Ok(output));
        }
        match last.take_if(|_| scope::has_expired()) {
            Some(last) => {
                with_drop_reason(DropReason::Deadline, || future.set(None));
                Poll::Ready(Err(last))
            }
            None => Poll::Pending,
        }
    })
    .await
}

/// One call that has begun to be tried again.
struct Run<'a> {
    retry: &'a Retry,
    attempts: Attempts<'a>,
    /// Whether any attempt got past our own policies.
    dispatched: bool,
}

impl<'a> Run<'a> {
    fn new(retry: &'a Retry, started: Option<Timestamp>) -> Self {
        Self { retry, attempts: retry.attempts_after_first(started), dispatched: false }
    }

    fn next<O: Judged>(
        &mut self,
        operation: &O,
        result: &Result<O::Value, Error<O::Error>>,
    ) -> NextStep {
        let judged = match result {
            Ok(value) => AttemptResult::Ran(operation.classify(Ok(value))),
            Err(error) => operation.attempt_error(error),
        };
        self.dispatched |= !matches!(result, Err(error) if error.is_undispatched());
        let time = self.retry.time();
        self.attempts.next(judged, time.now(), scope::deadline_on(time))
    }

    fn give_up<O: Judged>(
        self,
        operation: &O,
        result: Result<O::Value, Error<O::Error>>,
        stop: StopReason,
    ) -> Result<O::Value, Error<O::Error>> {
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
}
