//! A retry around a service.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use surefoot::host::{Run, Sleep, has_expired, is_retrying, note_nesting, watch_dispatch};
use surefoot::retry::NextStep;
use surefoot::{Classify, DefaultClassifier, DropReason, Retry, StopReason, with_drop_reason};
use tower_layer::Layer;
use tower_service::Service;

use crate::attempt::{self, Called, MaybeLimited};
use crate::{BoxError, Cloned, Duplicate, Error, Judge, ServiceError};

/// Sends a request again when it failed in passing: see [`surefoot::retry`].
///
/// Only requests that may be sent twice are: a failed attempt may have taken effect all the same.
/// [`idempotent`](Self::idempotent) declares that they all may; with another [`Duplicate`] each request
/// tells. What was refused before anything was dispatched is always sent again, and so is what was
/// [never sent](Classify::never_sent) as the classifier knows: with [`http::ResponseClassifier`](crate::http::ResponseClassifier),
/// [if declared](crate::http::ResponseClassifier::sends_once), a request whose connection could not be made.
///
/// Between attempts it waits until the service is ready, but not beyond `max_elapsed` nor the deadline around the call.
///
/// The service has to be `Clone`. The first attempt is made with the very service that was asked
/// whether it is ready; a clone of it stays behind, as tower's contract has it.
///
/// **Cancellation.** A response future that is dropped makes no further attempt, and gives back a budget
/// token it has not used.
#[derive(Clone, Debug)]
pub struct RetryLayer<C = DefaultClassifier, D = Cloned> {
    retry: Retry,
    classifier: C,
    duplicate: D,
}

impl RetryLayer {
    /// For requests that are `Clone`, and of which sending two does no more than sending one.
    pub fn idempotent(retry: Retry) -> Self {
        Self { retry, classifier: DefaultClassifier, duplicate: Cloned }
    }
}

impl<D> RetryLayer<DefaultClassifier, D> {
    /// For requests that say themselves whether they may be sent twice.
    pub fn new(retry: Retry, duplicate: D) -> Self {
        Self { retry, classifier: DefaultClassifier, duplicate }
    }
}

impl<C, D> RetryLayer<C, D> {
    /// Judges responses and errors by `classifier`.
    pub fn classify<N>(self, classifier: N) -> RetryLayer<N, D> {
        RetryLayer { retry: self.retry, classifier, duplicate: self.duplicate }
    }
}

impl<S, C: Clone, D: Clone> Layer<S> for RetryLayer<C, D> {
    type Service = RetryService<S, C, D>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { retry, classifier, duplicate } = self.clone();
        RetryService { inner, retry, classifier, duplicate }
    }
}

/// A service whose calls are tried again; made by [`RetryLayer`].
#[derive(Clone, Debug)]
pub struct RetryService<S, C = DefaultClassifier, D = Cloned> {
    inner: S,
    retry: Retry,
    classifier: C,
    duplicate: D,
}

impl<S, C, D> RetryService<S, C, D> {
    /// The service below.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S, Q, C, D> Service<Q> for RetryService<S, C, D>
where
    S: Service<Q> + Clone,
    S::Error: Into<BoxError> + 'static,
    C: Classify<S::Response, ServiceError> + Clone,
    D: Duplicate<Q> + Clone,
{
    type Response = S::Response;
    type Error = Error;
    type Future = RetryFuture<S, Q, C, D>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        attempt::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        attempt::take_over();
        if is_retrying() {
            note_nesting(&self.retry);
        }
        let clone = self.inner.clone();
        let mut service = std::mem::replace(&mut self.inner, clone);
        let copy = self.duplicate.duplicate(&request);
        let idempotent = self.duplicate.is_idempotent(&request);
        let mut run = Run::new(self.retry.clone().into_attempts());
        let number = run.attempts.begin();
        if self.retry.config().max_elapsed.is_some() {
            run.attempts.note_start(self.retry.time().now());
        }
        let (first, dispatched) = watch_dispatch(|| {
            run.enter(number, || {
                let limit = self.retry.attempt_timeout();
                MaybeLimited::start(limit, || attempt::call(&mut service, request))
            })
        });
        RetryFuture {
            service,
            request: copy,
            idempotent,
            duplicate: self.duplicate.clone(),
            judge: Judge::new(self.classifier.clone()),
            run: Some(run),
            dispatched,
            step: Step::Attempt { call: first, number },
        }
    }
}

/// Whether nothing was sent in an attempt with this result.
fn was_unsent<C, R>(judge: &Judge<C, R>, result: &Result<R, Error>, dispatched: bool) -> bool
where
    C: Classify<R, ServiceError>,
{
    match result {
        Ok(_) => false,
        Err(Error::Operation(error)) => judge.never_sent(error),
        // A handler may hand on the refusal of a call of its own, after it has taken effect.
        Err(error) => !dispatched && error.is_undispatched(),
    }
}

/// Ends when `max_elapsed` leaves no time for another attempt: a nanosecond after the last moment.
fn until_too_late(run: &Run<ServiceError>) -> Option<Sleep> {
    let latest = run.attempts.latest_begin()?;
    Some(Sleep::until(run.attempts.retry().time(), latest + Duration::from_nanos(1)))
}

/// Whether a wait, if there is one, has ended just now.
fn has_ended(mut wait: Pin<&mut Option<Sleep>>, cx: &mut Context<'_>) -> bool {
    let ended = wait.as_mut().as_pin_mut().is_some_and(|wait| wait.poll(cx).is_ready());
    if ended {
        wait.set(None);
    }
    ended
}

pin_project! {
    /// A call through a [`RetryService`].
    pub struct RetryFuture<S: Service<Q>, Q, C, D> {
        service: S,
        // What the next attempt will send; `None` if the request cannot be sent again.
        request: Option<Q>,
        idempotent: bool,
        duplicate: D,
        judge: Judge<C, S::Response>,
        // `None` once the answer is out.
        run: Option<Run<ServiceError>>,
        // Whether anything was dispatched in the present attempt.
        dispatched: bool,
        #[pin]
        step: Step<S::Future>,
    }
}

pin_project! {
    #[project = StepProjection]
    enum Step<F> {
        Attempt { #[pin] call: MaybeLimited<Called<F>>, number: u32 },
        Wait { #[pin] sleep: Sleep },
        // No longer than until `max_elapsed` leaves no time.
        GetReady { #[pin] limit: Option<Sleep> },
    }
}

impl<S, Q, C, D> Future for RetryFuture<S, Q, C, D>
where
    S: Service<Q>,
    S::Error: Into<BoxError> + 'static,
    C: Classify<S::Response, ServiceError>,
    D: Duplicate<Q>,
{
    type Output = Result<S::Response, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(mut run) = this.run.take() else { return Poll::Pending };
        loop {
            match this.step.as_mut().project() {
                StepProjection::Attempt { call, number } => {
                    let number = *number;
                    let (polled, dispatched) =
                        watch_dispatch(|| run.enter(number, || call.poll(cx)));
                    *this.dispatched |= dispatched;
                    let Poll::Ready(result) = polled else {
                        if number == 1 {
                            // A call that is answered at once needs no clock.
                            run.attempts.note_start(run.attempts.retry().time().now());
                        }
                        if has_expired() {
                            run.dispatched = true; // the attempt that the deadline cuts short
                            if let Some(error) = run.failure(this.judge, StopReason::Time) {
                                with_drop_reason(DropReason::Deadline, || {
                                    this.step.set(Step::GetReady { limit: None });
                                });
                                return Poll::Ready(Err(error));
                            }
                        }
                        *this.run = Some(run);
                        return Poll::Pending;
                    };
                    let unsent = was_unsent(this.judge, &result, *this.dispatched);
                    let repeatable = this.request.is_some() && (*this.idempotent || unsent);
                    run.attempts.set_repeatable(repeatable);
                    match run.next(this.judge, &result) {
                        NextStep::Return => return Poll::Ready(result),
                        NextStep::Stop(stop) => {
                            return Poll::Ready(run.give_up(this.judge, result, stop));
                        }
                        NextStep::Wait(delay) => {
                            run.keep(result); // a discarded response is closed now
                            let time = run.attempts.retry().time();
                            let sleep = Sleep::until(time, time.now() + delay);
                            this.step.set(Step::Wait { sleep });
                        }
                    }
                }
                StepProjection::Wait { sleep } => {
                    let waiting = sleep.poll(cx).is_pending();
                    let cut_short = if waiting { has_expired() } else { run.is_too_late() };
                    if cut_short && let Some(error) = run.failure(this.judge, StopReason::Time) {
                        return Poll::Ready(Err(error));
                    }
                    if waiting {
                        *this.run = Some(run);
                        return Poll::Pending;
                    }
                    let limit = until_too_late(&run);
                    this.step.set(Step::GetReady { limit });
                }
                StepProjection::GetReady { limit } => {
                    match attempt::poll_ready(this.service, cx) {
                        Poll::Pending => {
                            if (has_ended(limit, cx) || has_expired())
                                && let Some(error) = run.failure(this.judge, StopReason::Time)
                            {
                                return Poll::Ready(Err(error));
                            }
                            *this.run = Some(run);
                            return Poll::Pending;
                        }
                        // It is to be discarded, so there is nothing to try again with.
                        Poll::Ready(Err(error)) => {
                            let stop = StopReason::NotReady;
                            return Poll::Ready(run.give_up(this.judge, Err(error), stop));
                        }
                        Poll::Ready(Ok(())) => {
                            if run.is_too_late()
                                && let Some(error) = run.failure(this.judge, StopReason::Time)
                            {
                                return Poll::Ready(Err(error));
                            }
                            let Some(request) = this.request.take() else { return Poll::Pending };
                            *this.request = this.duplicate.duplicate(&request);
                            let number = run.attempts.begin();
                            let service = &mut *this.service;
                            let (call, dispatched) = watch_dispatch(|| {
                                run.enter(number, || {
                                    let limit = run.attempts.retry().attempt_timeout();
                                    MaybeLimited::start(limit, || attempt::call(service, request))
                                })
                            });
                            *this.dispatched = dispatched;
                            this.step.set(Step::Attempt { call, number });
                        }
                    }
                }
            }
        }
    }
}
