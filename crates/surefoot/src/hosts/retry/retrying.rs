//! A call whose attempts are futures: the first one in place, and what follows it.

use std::borrow::Borrow;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use surefoot_core::retry::NextStep;
use surefoot_core::{DropReason, Error, Retry, StopReason, Timestamp, Verdict, with_drop_reason};

use super::{Run, note_call};
use crate::operation::{Judged, Operation};
use crate::policy::Nested;
use crate::scope::spending::{self, Cover};
use crate::{scope, time};

/// How the first attempt is to be made, and when it began if that is known.
enum Begun {
    /// As if there were no retry: outside of any other, it is attempt 1 without being marked so.
    InPlace { started: Option<Timestamp> },
    /// As every other attempt.
    Carefully { started: Option<Timestamp> },
}

/// Notes a call, and the time where it is needed from the start.
#[inline]
fn begin(retry: &Retry) -> Begun {
    if retry.is_plain() && scope::is_plain() {
        retry.note_call();
        Begun::InPlace { started: None }
    } else {
        begin_carefully(retry)
    }
}

#[cold]
#[inline(never)]
fn begin_carefully(retry: &Retry) -> Begun {
    note_call(retry);
    let started = retry.config().max_elapsed.map(|_| retry.time().now());
    let marked = !scope::is_plain() || retry.is_first_call();
    if marked || retry.attempt_timeout().is_some() {
        Begun::Carefully { started }
    } else {
        Begun::InPlace { started }
    }
}

pin_project! {
    /// A call under a retry.
    pub(super) struct Retrying<'r, O, S, F, G, R: Future> {
        retry: &'r Retry,
        operation: Option<O>,
        start: S,
        go_on: G,
        #[pin]
        step: Step<F, R>,
    }
}

pin_project! {
    /// The first attempt, in place, and then the rest.
    #[project = StepProjection]
    enum Step<F, R: Future> {
        New,
        First { #[pin] attempt: F, started: Option<Timestamp> },
        Rest { rest: Pin<Box<Rest<R>>> },
    }
}

pin_project! {
    /// What follows the first attempt. Its output stays here until it is fetched: if it were
    /// returned from where it is made, the result of a first attempt would share its place in
    /// memory and be copied from there, which takes longer than all the rest.
    struct Rest<R: Future> {
        #[pin]
        future: R,
        output: Poll<R::Output>,
    }
}

impl<'r, O, S, F, G, R> Retrying<'r, O, S, F, G, R>
where
    O: Judged,
    S: Fn(&O) -> F,
    F: Future<Output = Result<O::Value, Error<O::Error>>>,
    G: FnOnce(&'r Retry, O, Option<Timestamp>, Option<F::Output>) -> R,
    R: Future<Output = F::Output>,
{
    #[inline]
    pub(super) fn new(retry: &'r Retry, operation: O, start: S, go_on: G) -> Self {
        Self { retry, operation: Some(operation), start, go_on, step: Step::New }
    }
}

impl<'r, O, S, F, G, R> Future for Retrying<'r, O, S, F, G, R>
where
    O: Judged,
    S: Fn(&O) -> F,
    F: Future<Output = Result<O::Value, Error<O::Error>>>,
    G: FnOnce(&'r Retry, O, Option<Timestamp>, Option<F::Output>) -> R + Copy,
    R: Future<Output = F::Output>,
{
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        if let (Step::New, Some(operation)) = (&*this.step, &*this.operation) {
            let step = match begin(this.retry) {
                Begun::InPlace { started } => {
                    Step::First { attempt: (this.start)(operation), started }
                }
                Begun::Carefully { started } => {
                    let Some(operation) = this.operation.take() else { return Poll::Pending };
                    let rest = begin_rest(*this.go_on, this.retry, operation, started, None);
                    Step::Rest { rest }
                }
            };
            this.step.set(step);
        }
        if let (StepProjection::First { attempt, started }, Some(operation)) =
            (this.step.as_mut().project(), &*this.operation)
        {
            match attempt.poll(cx) {
                Poll::Ready(Ok(value))
                    if operation.classify(Ok(&value)).verdict == Verdict::Success =>
                {
                    return Poll::Ready(Ok(value));
                }
                Poll::Ready(result) => {
                    let started = *started;
                    let Some(operation) = this.operation.take() else { return Poll::Pending };
                    let rest =
                        begin_rest(*this.go_on, this.retry, operation, started, Some(result));
                    this.step.set(Step::Rest { rest });
                }
                Poll::Pending => {
                    note_start(this.retry, started);
                    return Poll::Pending;
                }
            }
        }
        match this.step.project() {
            StepProjection::Rest { rest } => {
                // Swapped, which goes word by word; moved, the result of a first attempt would be
                // copied through memory with it (ARCHITECTURE.md, "Goals that are missed").
                let mut polled = Poll::Pending;
                std::mem::swap(&mut polled, poll_rest(rest.as_mut(), cx));
                polled
            }
            StepProjection::New | StepProjection::First { .. } => Poll::Pending,
        }
    }
}

/// A call that is answered at once needs no clock; one that has to wait begins its time here.
#[inline]
fn note_start(retry: &Retry, started: &mut Option<Timestamp>) {
    #[inline(never)]
    fn now(retry: &Retry) -> Timestamp {
        retry.time().now()
    }
    if started.is_none() {
        *started = Some(now(retry));
    }
}

/// Out of line, so that what a first attempt executes stays together.
#[cold]
#[inline(never)]
fn begin_rest<'r, O, G, R: Future>(
    go_on: G,
    retry: &'r Retry,
    operation: O,
    started: Option<Timestamp>,
    first: Option<R::Output>,
) -> Pin<Box<Rest<R>>>
where
    G: FnOnce(&'r Retry, O, Option<Timestamp>, Option<R::Output>) -> R,
{
    Box::pin(Rest { future: go_on(retry, operation, started, first), output: Poll::Pending })
}

#[cold]
#[inline(never)]
fn poll_rest<'a, R: Future>(
    rest: Pin<&'a mut Rest<R>>,
    cx: &mut Context<'_>,
) -> &'a mut Poll<R::Output> {
    let rest = rest.project();
    *rest.output = rest.future.poll(cx);
    rest.output
}

/// Everything after a first attempt that did not succeed; everything, if it is still to be made.
pub(super) async fn go_on<O: Operation, B: Borrow<O>>(
    retry: &Retry,
    operation: B,
    started: Option<Timestamp>,
    first: Option<Result<O::Value, Error<O::Error>>>,
) -> Result<O::Value, Error<O::Error>> {
    let operation = operation.borrow();
    let mut started = started;
    let mut result = match first {
        Some(result) => result,
        None => noting_start(retry, &mut started, attempt(retry, operation, 1, None)).await,
    };
    let mut run = Run::new(retry.attempts_after_first(started));
    loop {
        match run.next(operation, &result) {
            NextStep::Return => return result,
            NextStep::Stop(stop) => return run.give_up(operation, result, stop),
            NextStep::Wait(delay) => {
                run.keep(result); // a value that is discarded is closed before the wait
                let sleep = time::Sleep::until(retry.time(), retry.time().now() + delay);
                unless_expired(sleep, || run.failure(operation, StopReason::Time)).await?;
                if run.is_too_late()
                    && let Some(error) = run.failure(operation, StopReason::Time)
                {
                    return Err(error);
                }
                let number = run.attempts.begin();
                let next = attempt(retry, operation, number, run.cover.take());
                let cut_short = || {
                    run.dispatched = true;
                    run.failure(operation, StopReason::Time)
                };
                result = unless_expired(next, cut_short).await?;
            }
        }
    }
}

/// Runs a first attempt that is not made in place.
async fn noting_start<F: Future>(
    retry: &Retry,
    started: &mut Option<Timestamp>,
    first: F,
) -> F::Output {
    let mut first = pin!(first);
    poll_fn(move |cx| {
        let polled = first.as_mut().poll(cx);
        if polled.is_pending() {
            note_start(retry, started);
        }
        polled
    })
    .await
}

/// Runs a wait or an attempt. If a deadline outside passes meanwhile and there is a failure to
/// tell, ends it with that, so that the timeout can pass it on.
async fn unless_expired<F: Future, E>(
    future: F,
    mut failure: impl FnMut() -> Option<E>,
) -> Result<F::Output, E> {
    let mut future = pin!(Some(future));
    poll_fn(move |cx| {
        let Some(running) = future.as_mut().as_pin_mut() else { return Poll::Pending };
        if let Poll::Ready(output) = running.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        match scope::has_expired().then(&mut failure).flatten() {
            Some(failure) => {
                with_drop_reason(DropReason::Deadline, || future.set(None));
                Poll::Ready(Err(failure))
            }
            None => Poll::Pending,
        }
    })
    .await
}

async fn attempt<O: Operation>(
    retry: &Retry,
    operation: &O,
    number: u32,
    cover: Option<Cover>,
) -> Result<O::Value, Error<O::Error>> {
    match retry.attempt_timeout() {
        None => {
            let begun = scope::in_attempt(number, || operation.attempt());
            in_scope(number, spending::in_cover(cover, begun)).await
        }
        Some(policy) => {
            let limited = Nested { policy, operation };
            in_scope(number, spending::in_cover(cover, limited.attempt())).await
        }
    }
}

async fn in_scope<F: Future>(number: u32, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(move |cx| scope::in_attempt(number, || future.as_mut().poll(cx))).await
}
