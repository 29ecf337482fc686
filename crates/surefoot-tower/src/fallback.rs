//! Another service for when the first has no answer.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use surefoot::fallback::FallbackError;
use surefoot::host::{Judged as _, has_expired, watch_dispatch};
use surefoot::retry::AttemptResult;
use surefoot::{
    Classification, Classify, DefaultClassifier, DropReason, Fallback, Rejection, Verdict,
    with_drop_reason,
};
use tower_layer::Layer;
use tower_service::Service;

use crate::attempt::{self, Called, ReadyCall};
use crate::{BoxError, Cloned, Duplicate, Error, Judge, ServiceError};

/// Sends a request to a second service when the first one fails: see [`surefoot::fallback`].
///
/// A response that the classifier takes for a failure counts as one; if the second service fails too,
/// and the first had given a response, that response is the answer, bad as it is. The second service has to be `Clone`, and is
/// asked whether it is ready only when it is needed. Requests that cannot be duplicated get no
/// second chance, and neither do those that may not be sent twice ([`Duplicate::is_idempotent`]) once the first
/// service has been called: [`Cloned`], the default, says of all that they may.
///
/// A first service that says not to ask *it* again is passed over all the same; a fault of the request itself
/// (permanent, to the classifier) is not taken to another.
///
/// **Errors.** If both fail, [`Operation`](surefoot::Error::Operation) holds a [`FallbackError`] with both
/// errors; if both refused, it is one refusal, and nothing was dispatched. A deadline that passes during the second call tells what the first one gave. **Cancellation.** A
/// response future that is dropped runs no fallback.
#[derive(Clone, Debug)]
pub struct FallbackLayer<G, C = DefaultClassifier, D = Cloned> {
    fallback: Fallback,
    second: G,
    classifier: C,
    duplicate: D,
}

impl<G> FallbackLayer<G> {
    /// Falls back on `second`, for requests that are `Clone`.
    pub fn new(fallback: Fallback, second: G) -> Self {
        Self { fallback, second, classifier: DefaultClassifier, duplicate: Cloned }
    }
}

impl<G, C, D> FallbackLayer<G, C, D> {
    /// Judges responses and errors by `classifier`.
    pub fn classify<N>(self, classifier: N) -> FallbackLayer<G, N, D> {
        let Self { fallback, second, duplicate, .. } = self;
        FallbackLayer { fallback, second, classifier, duplicate }
    }

    /// Copies requests by other means than `Clone`.
    pub fn duplicate<N>(self, duplicate: N) -> FallbackLayer<G, C, N> {
        let Self { fallback, second, classifier, .. } = self;
        FallbackLayer { fallback, second, classifier, duplicate }
    }
}

impl<S, G: Clone, C: Clone, D: Clone> Layer<S> for FallbackLayer<G, C, D> {
    type Service = FallbackService<S, G, C, D>;

    fn layer(&self, inner: S) -> Self::Service {
        FallbackService { inner, layer: self.clone() }
    }
}

/// A service with another to fall back on; made by [`FallbackLayer`].
#[derive(Clone, Debug)]
pub struct FallbackService<S, G, C = DefaultClassifier, D = Cloned> {
    inner: S,
    layer: FallbackLayer<G, C, D>,
}

impl<S, G, C, D> FallbackService<S, G, C, D> {
    /// The first service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S, G, Q, C, D> Service<Q> for FallbackService<S, G, C, D>
where
    S: Service<Q>,
    S::Error: Into<BoxError> + 'static,
    G: Service<Q, Response = S::Response> + Clone,
    G::Error: Into<BoxError> + 'static,
    C: Classify<S::Response, ServiceError> + Clone,
    D: Duplicate<Q>,
{
    type Response = S::Response;
    type Error = Error;
    type Future = FallbackFuture<S::Future, G, Q, C, S::Response>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        attempt::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        attempt::take_over();
        let FallbackLayer { fallback, second, classifier, duplicate } = &self.layer;
        let copy = duplicate.duplicate(&request);
        let idempotent = duplicate.is_idempotent(&request);
        let inner = &mut self.inner;
        let (call, dispatched) = watch_dispatch(|| attempt::call(inner, request));
        FallbackFuture {
            fallback: fallback.clone(),
            second: copy.map(|copy| (second.clone(), copy)),
            idempotent,
            dispatched,
            judge: Judge::new(classifier.clone()),
            failed: None,
            step: Step::First { call },
        }
    }
}

pin_project! {
    /// A call through a [`FallbackService`].
    pub struct FallbackFuture<F, G: Service<Q>, Q, C, R> {
        fallback: Fallback,
        second: Option<(G, Q)>,
        idempotent: bool,
        // Whether the first service's operation was started.
        dispatched: bool,
        judge: Judge<C, R>,
        // What the first service gave.
        failed: Option<Result<R, Error>>,
        #[pin]
        step: Step<F, G, Q, G::Future>,
    }
}

pin_project! {
    #[project = StepProjection]
    enum Step<F, G, Q, H> {
        First { #[pin] call: Called<F> },
        Second { #[pin] call: ReadyCall<G, Q, H> },
        Over,
    }
}

impl<F, G, Q, C, R, E> Future for FallbackFuture<F, G, Q, C, R>
where
    F: Future<Output = Result<R, E>>,
    E: Into<BoxError> + 'static,
    G: Service<Q, Response = R>,
    G::Error: Into<BoxError> + 'static,
    C: Classify<R, ServiceError>,
{
    type Output = Result<R, Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.step.as_mut().project() {
                StepProjection::First { call } => {
                    let (polled, dispatched) = watch_dispatch(|| call.poll(cx));
                    *this.dispatched |= dispatched;
                    let result = ready!(polled);
                    let undispatched = !*this.dispatched
                        && matches!(&result, Err(error) if error.is_undispatched());
                    let moves_on = (*this.idempotent || undispatched)
                        && match &result {
                            Ok(response) => {
                                is_the_services_fault(this.judge.classify(Ok(response)))
                            }
                            Err(error) => may_pass(this.judge, error),
                        };
                    let second = this.second.take().filter(|_| moves_on);
                    let Some((service, request)) = second else { return Poll::Ready(result) };
                    this.fallback.note_failure(FIRST);
                    *this.failed = Some(result);
                    this.step.set(Step::Second { call: ReadyCall::waiting(service, request) });
                }
                StepProjection::Second { call } => {
                    let Poll::Ready(second) = call.poll(cx) else {
                        // At the deadline, what the first gave is what there is.
                        let Some(first) = this.failed.take_if(|_| has_expired()) else {
                            return Poll::Pending;
                        };
                        with_drop_reason(DropReason::Deadline, || this.step.set(Step::Over));
                        return Poll::Ready(first);
                    };
                    return Poll::Ready(match (second, this.failed.take()) {
                        (Ok(response), _) | (Err(_), Some(Ok(response))) => Ok(response),
                        (Err(last), Some(Err(first))) => Err(both(first, last)),
                        (Err(last), None) => Err(last),
                    });
                }
                StepProjection::Over => return Poll::Pending, // polled again after it was ready
            }
        }
    }
}

const FIRST: &str = "first";

/// Whether another service might do better: also where this one is not to be asked again, but not where
/// the request itself is at fault.
fn may_pass<C: Classify<R, ServiceError>, R>(judge: &Judge<C, R>, error: &Error) -> bool {
    use surefoot::StopReason::Permanent;
    match (judge.attempt_error(error), error.operation()) {
        (_, Some(operation)) => {
            let judged = judge.classify(Err(operation));
            // A retry below knew better than a classifier that would have tried again.
            let told = matches!(error, Error::Exhausted { stop: Permanent, .. });
            is_the_services_fault(judged) && !(told && judged.retryable)
        }
        (AttemptResult::Ran(judged), None) => judged.retryable,
        (AttemptResult::Rejected { .. }, None) => true,
    }
}

fn is_the_services_fault(judged: Classification) -> bool {
    matches!(judged.verdict, Verdict::Failure | Verdict::Throttled { .. }) || judged.retryable
}

#[cold]
fn both(first: Error, last: Error) -> Error {
    // Two refusals are one: nothing was dispatched, and who promises the shorter wait is asked first.
    if let (Error::Rejected(first), Error::Rejected(last)) = (&first, &last) {
        let wait = |rejection: &Rejection| rejection.retry_after().unwrap_or(Duration::MAX);
        let sooner = if wait(first) < wait(last) { first } else { last };
        return Error::Rejected(sooner.clone());
    }
    let earlier = vec![(FIRST.into(), first)];
    Error::Operation(ServiceError::new(FallbackError { link: "second".into(), last, earlier }))
}
