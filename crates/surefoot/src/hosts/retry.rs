//! Attempts, and the waits between them.

use std::borrow::Borrow;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use surefoot_core::retry::{Attempts, NextStep};
use surefoot_core::{
    AttemptResult, DropReason, Error, Retry, StopReason, Timestamp, Verdict, with_drop_reason,
};

use crate::operation::{BlockingOperation, Judged, Operation};
use crate::pipeline::{Composition, Part, PartKind};
use crate::policy::{BlockingPolicy, Nested, Policy};
use crate::{scope, time};

/// Cancellation: dropping the call during an attempt drops the attempt, during a wait ends the
/// wait; no further attempt is made, and a budget token that was not used is given back.
///
/// The first attempt is free of bookkeeping. Only if it fails is the state of retrying made, in
/// one allocation, which also keeps it out of every caller's future. (With `attempt_timeout` that
/// allocation is made for every call; a [`Timeout`](crate::Timeout) inside makes none.)
impl Policy for Retry {
    #[inline]
    fn run<O: Operation>(
        &self,
        operation: &O,
    ) -> impl Future<Output = Result<O::Value, Error<O::Error>>> + Send {
        let started = begin(self);
        let limited = !self.is_plain() && self.attempt_timeout().is_some();
        let first = (!limited).then(|| scope::in_attempt(1, || operation.attempt()));
        Retrying {
            first,
            retry: self,
            operation,
            started,
            go_on: Some(|started, first| go_on(self, operation, started, first)),
            rest: None,
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
        begin(self);
        let mut run = Run::new(self.attempts_after_first(Some(self.time().now())));
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
                    let last = result.err(); // a value that is discarded is closed before the wait
                    time::block_until(self.time(), self.time().now() + delay);
                    if let Some(last) = last.filter(|_| run.is_too_late()) {
                        return run.give_up(operation, Err(last), StopReason::Time);
                    }
                    number = run.attempts.begin();
                }
            }
        }
    }
}

/// Notes a call, and the time where it is needed from the start.
#[inline]
fn begin(retry: &Retry) -> Option<Timestamp> {
    if scope::is_retrying() {
        retry.note_nesting();
    }
    if retry.is_plain() { None } else { begin_carefully(retry) }
}

#[inline(never)]
fn begin_carefully(retry: &Retry) -> Option<Timestamp> {
    retry.note_call();
    retry.config().max_elapsed.map(|_| retry.time().now())
}

pin_project! {
    /// A call under a retry: the first attempt, in place, and then the rest.
    struct Retrying<'r, 'o, O, F, G, R> {
        #[pin]
        first: Option<F>,
        retry: &'r Retry,
        operation: &'o O,
        started: Option<Timestamp>,
        go_on: Option<G>,
        rest: Option<Pin<Box<R>>>,
    }
}

impl<O, F, G, R> Future for Retrying<'_, '_, O, F, G, R>
where
    O: Operation,
    F: Future<Output = Result<O::Value, Error<O::Error>>>,
    G: FnOnce(Option<Timestamp>, Option<F::Output>) -> R,
    R: Future<Output = F::Output>,
{
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        if let Some(first) = this.first.as_mut().as_pin_mut() {
            match scope::in_attempt(1, || first.poll(cx)) {
                Poll::Ready(Ok(value))
                    if this.operation.classify(Ok(&value)).verdict == Verdict::Success =>
                {
                    return Poll::Ready(Ok(value));
                }
                Poll::Ready(result) => {
                    this.first.set(None);
                    *this.rest = begin_rest(this.go_on, *this.started, Some(result));
                }
                Poll::Pending => {
                    // A call that is answered at once needs no clock; one that has to wait begins
                    // its time here.
                    if this.started.is_none() {
                        *this.started = Some(this.retry.time().now());
                    }
                    return Poll::Pending;
                }
            }
        } else if this.rest.is_none() {
            *this.rest = begin_rest(this.go_on, *this.started, None);
        }
        match this.rest {
            Some(rest) => rest.as_mut().poll(cx),
            None => Poll::Pending, // polled again after it was ready
        }
    }
}

#[cold]
fn begin_rest<G, T, R>(
    go_on: &mut Option<G>,
    started: Option<Timestamp>,
    first: Option<T>,
) -> Option<Pin<Box<R>>>
where
    G: FnOnce(Option<Timestamp>, Option<T>) -> R,
{
    go_on.take().map(|go_on| Box::pin(go_on(started, first)))
}

/// Everything after a first attempt that did not succeed; everything, if it is still to be made.
async fn go_on<O: Operation>(
    retry: &Retry,
    operation: &O,
    started: Option<Timestamp>,
    first: Option<Result<O::Value, Error<O::Error>>>,
) -> Result<O::Value, Error<O::Error>> {
    let mut run = Run::new(retry.attempts_after_first(started));
    let mut result = if let Some(result) = first {
        result
    } else {
        run.attempts.note_start(retry.time().now());
        attempt(retry, operation, 1, None).await?
    };
    loop {
        match run.next(operation, &result) {
            NextStep::Return => return result,
            NextStep::Stop(stop) => return run.give_up(operation, result, stop),
            NextStep::Wait(delay) => {
                let last = result.err(); // a value that is discarded is closed before the wait
                let mut last = match wait(retry, delay, last).await {
                    Ok(last) => last,
                    Err(last) => return run.give_up(operation, Err(last), StopReason::Time),
                };
                if let Some(last) = last.take_if(|_| run.is_too_late()) {
                    return run.give_up(operation, Err(last), StopReason::Time);
                }
                let number = run.attempts.begin();
                result = match attempt(retry, operation, number, last).await {
                    Ok(result) => result,
                    Err(last) => {
                        run.dispatched = true; // the attempt that the deadline cut short
                        return run.give_up(operation, Err(last), StopReason::Time);
                    }
                };
            }
        }
    }
}

/// Waits, and hands the failure `last` through. If a deadline outside passes meanwhile, ends the wait
/// with that failure, so that the timeout can tell it.
async fn wait<E>(retry: &Retry, delay: Duration, mut last: Option<E>) -> Result<Option<E>, E> {
    let mut sleep = pin!(time::Sleep::until(retry.time(), retry.time().now() + delay));
    poll_fn(|cx| match sleep.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(Ok(last.take())),
        Poll::Pending => match last.take_if(|_| scope::has_expired()) {
            Some(last) => Poll::Ready(Err(last)),
            None => Poll::Pending,
        },
    })
    .await
}

/// What an attempt gives, or else the failure before it: see [`in_scope`].
type Attempted<O> =
    Result<Result<<O as Judged>::Value, Error<<O as Judged>::Error>>, Error<<O as Judged>::Error>>;

async fn attempt<O: Operation>(
    retry: &Retry,
    operation: &O,
    number: u32,
    last: Option<Error<O::Error>>,
) -> Attempted<O> {
    match retry.attempt_timeout() {
        None => in_scope(number, last, scope::in_attempt(number, || operation.attempt())).await,
        Some(policy) => {
            let limited = Nested { policy, operation };
            in_scope(number, last, limited.attempt()).await
        }
    }
}

/// Runs an attempt after the failure `last`. If a deadline outside passes meanwhile, ends the
/// attempt with that failure, so that the timeout can tell it.
async fn in_scope<F: Future, E>(
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
pub struct Run<B: Borrow<Retry> = Retry> {
    /// The attempts themselves.
    pub attempts: Attempts<B>,
    /// Whether any attempt got past our own policies.
    pub dispatched: bool,
}

impl<B: Borrow<Retry>> Run<B> {
    /// A call whose attempts are `attempts`, the first one under way or done.
    pub fn new(attempts: Attempts<B>) -> Self {
        Self { attempts, dispatched: false }
    }

    /// Decides what comes after an attempt with this result.
    pub fn next<O: Judged>(
        &mut self,
        operation: &O,
        result: &Result<O::Value, Error<O::Error>>,
    ) -> NextStep {
        let judged = operation.attempt_result(result);
        self.dispatched |= !matches!(result, Err(error) if error.is_undispatched());
        let time = self.attempts.retry().time();
        self.attempts.next(judged, time.now(), scope::deadline_on(time))
    }

    /// Whether the wait has taken so long that no attempt may follow it.
    pub fn is_too_late(&self) -> bool {
        let time = self.attempts.retry().time();
        !self.attempts.may_begin(time.now(), scope::deadline_on(time))
    }

    /// The error of a call whose attempts are over.
    #[expect(clippy::missing_errors_doc, reason = "making the error is its purpose")]
    pub fn give_up<O: Judged>(
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
                    elapsed: self.attempts.elapsed(self.attempts.retry().time().now()),
                    retry_after,
                })
            }
        }
    }
}
