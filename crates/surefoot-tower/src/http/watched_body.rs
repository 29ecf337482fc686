//! A circuit breaker whose verdict comes at the end of the response's body.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use surefoot::host::{Judged, Sleep, Watched};
use surefoot::http::grpc;
use surefoot::stream::{Holding, Kept};
use surefoot::{
    CircuitBreaker, Classification, Classify, DropReason, Rejection, Timeout, Timestamp, Verdict,
    with_drop_reason,
};
use tower_layer::Layer;
use tower_service::Service;

use crate::attempt::{self, Called};
use crate::{BoxError, CircuitBreakerLayer, Error, ServiceError};

impl<C> CircuitBreakerLayer<C> {
    /// The same layer for responses with a body, whose verdict is known only when the body has ended: see
    /// [`BodyCircuitBreakerLayer`].
    pub fn until_body_end(self) -> BodyCircuitBreakerLayer<C> {
        BodyCircuitBreakerLayer { layer: self, idle: None }
    }
}

/// A circuit breaker whose permit lives in the response's body; made by
/// [`CircuitBreakerLayer::until_body_end`].
///
/// | the response | counts as |
/// |---|---|
/// | its head is a failure | that, at once |
/// | its body ends as it should | success; with gRPC what the trailers say |
/// | its body breaks off, or a gRPC body ends without trailers | failure |
/// | the body is dropped before | nothing: the consumer walked away |
///
/// A half-open breaker's trial call is thus the whole response. The body is handed on as it comes: nothing is read
/// ahead.
#[derive(Clone, Debug)]
pub struct BodyCircuitBreakerLayer<C> {
    layer: CircuitBreakerLayer<C>,
    idle: Option<Timeout>,
}

impl<C> BodyCircuitBreakerLayer<C> {
    /// The longest time to wait for the next frame, while somebody waits for it. Default: as long as it takes.
    pub fn idle_timeout(self, limit: Timeout) -> Self {
        Self { idle: Some(limit), ..self }
    }
}

impl<S, C: Clone> Layer<S> for BodyCircuitBreakerLayer<C> {
    type Service = BodyCircuitBreakerService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        BodyCircuitBreakerService { inner, layer: self.clone() }
    }
}

/// A service behind a circuit breaker that judges whole responses; made by [`BodyCircuitBreakerLayer`].
#[derive(Clone, Debug)]
pub struct BodyCircuitBreakerService<S, C> {
    inner: S,
    layer: BodyCircuitBreakerLayer<C>,
}

impl<S, Q, B, C> Service<Q> for BodyCircuitBreakerService<S, C>
where
    S: Service<Q, Response = Response<B>>,
    S::Error: Into<BoxError> + 'static,
    B: Body,
    C: Classify<Response<WatchedBody<B>>, ServiceError> + Clone,
{
    type Response = Response<WatchedBody<B>>;
    type Error = Error;
    type Future = BodyCircuitBreakerFuture<S::Future, C, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        attempt::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        attempt::take_over();
        let (breaker, classifier) = self.layer.layer.parts();
        let call = match breaker.admit() {
            Ok(permit) => {
                let call = attempt::call(&mut self.inner, request);
                let wrapped = Wrapped { call, idle: self.layer.idle.clone() };
                let judge =
                    BodyJudge { classifier: classifier.clone(), body: std::marker::PhantomData };
                Call::Admitted { call: Watched::new(permit, judge, wrapped) }
            }
            Err(rejection) => Call::Refused { rejection: Some(rejection) },
        };
        BodyCircuitBreakerFuture { call }
    }
}

pin_project! {
    /// A call through a [`BodyCircuitBreakerService`].
    pub struct BodyCircuitBreakerFuture<F, C, B> {
        #[pin]
        call: Call<F, C, B>,
    }
}

pin_project! {
    #[project = CallProjection]
    enum Call<F, C, B> {
        Admitted { #[pin] call: Watched<CircuitBreaker, BodyJudge<C, B>, Wrapped<F>> },
        Refused { rejection: Option<Rejection> },
    }
}

impl<F, C, B, E> Future for BodyCircuitBreakerFuture<F, C, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError> + 'static,
    B: Body,
    C: Classify<Response<WatchedBody<B>>, ServiceError>,
{
    type Output = Result<Response<WatchedBody<B>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().call.project() {
            CallProjection::Admitted { call } => call.poll(cx),
            CallProjection::Refused { rejection } => match rejection.take() {
                Some(rejection) => Poll::Ready(Err(Error::Rejected(rejection))),
                None => Poll::Pending, // polled again after it was ready
            },
        }
    }
}

/// Judges the head, and has the body keep the permit.
struct BodyJudge<C, B> {
    classifier: C,
    body: std::marker::PhantomData<fn() -> B>,
}

impl<C, B> Judged for BodyJudge<C, B>
where
    C: Classify<Response<WatchedBody<B>>, ServiceError>,
    B: Body,
{
    type Value = Response<WatchedBody<B>>;
    type Error = ServiceError;

    const STREAMS: bool = true;

    fn keep(&self, response: &mut Response<WatchedBody<B>>, kept: Kept) {
        response.body_mut().hold(kept.into_holding());
    }

    fn classify(&self, result: Result<&Response<WatchedBody<B>>, &ServiceError>) -> Classification {
        self.classifier.classify(result)
    }
}

pin_project! {
    /// A call whose response gets a watched body.
    struct Wrapped<F> {
        #[pin]
        call: Called<F>,
        idle: Option<Timeout>,
    }
}

impl<F, B, E> Future for Wrapped<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError> + 'static,
    B: Body,
{
    type Output = Result<Response<WatchedBody<B>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.call.poll(cx).map_ok(|response| {
            let headers = response.headers();
            // Without trailers, gRPC's status is in the headers, and what they say has been judged.
            let in_trailers = grpc::is_grpc(headers) && !headers.contains_key("grpc-status");
            response.map(|body| WatchedBody::new(body, in_trailers, this.idle.take()))
        })
    }
}

pin_project! {
    /// A body that holds its call's permit until it has ended.
    ///
    /// Its error is the body's own, or, after an idle timeout, an [`Error`]:
    /// [`Interrupted`](surefoot::Error::Interrupted).
    pub struct WatchedBody<B> {
        // Dropped before the permit.
        #[pin]
        body: Option<B>,
        held: Held,
        verdict_in_trailers: bool,
        frames: u64,
        idle: Option<Timeout>,
        waiting_since: Option<Timestamp>,
        sleep: Option<Pin<Box<Sleep>>>,
    }
}

impl<B: Body> WatchedBody<B> {
    fn new(body: B, verdict_in_trailers: bool, idle: Option<Timeout>) -> Self {
        Self {
            body: Some(body),
            held: Held(None),
            verdict_in_trailers,
            frames: 0,
            idle,
            waiting_since: None,
            sleep: None,
        }
    }

    fn hold(&mut self, permit: Option<Box<dyn Holding>>) {
        self.held = Held(permit);
        // A body that is complete already may never be asked for a frame.
        if !self.verdict_in_trailers && self.body.as_ref().is_some_and(Body::is_end_stream) {
            self.held.close(Verdict::Success);
        }
    }
}

/// The permit, until the verdict is in. Dropped by its consumer, whose own panic is not the service's.
#[derive(Debug)]
struct Held(Option<Box<dyn Holding>>);

impl Held {
    fn close(&mut self, verdict: Verdict) {
        if let Some(mut permit) = self.0.take() {
            permit.close(verdict);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.close(DropReason::scoped().verdict());
    }
}

/// Dropped armed only when the body panics.
struct FailureOnPanic<'a>(Option<&'a mut Held>);

impl Drop for FailureOnPanic<'_> {
    fn drop(&mut self) {
        if let Some(held) = self.0.take() {
            held.close(Verdict::Failure);
        }
    }
}

impl<B: Body<Error: Into<BoxError>>> Body for WatchedBody<B> {
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let mut this = self.project();
        let Some(body) = this.body.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let mut on_panic = FailureOnPanic(Some(&mut *this.held));
        let polled = body.poll_frame(cx);
        on_panic.0 = None;
        drop(on_panic);
        if polled.is_ready() {
            *this.waiting_since = None;
        }
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                *this.frames += 1;
                if let Some(trailers) = frame.trailers_ref().filter(|_| *this.verdict_in_trailers) {
                    let judged = grpc::classify(trailers).unwrap_or(Classification::TRANSIENT);
                    this.held.close(judged.verdict);
                } else if !*this.verdict_in_trailers
                    && this.body.as_ref().get_ref().as_ref().is_some_and(Body::is_end_stream)
                {
                    this.held.close(Verdict::Success); // nobody may ask for what is not there
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.held.close(Verdict::Failure);
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                let verdict =
                    if *this.verdict_in_trailers { Verdict::Failure } else { Verdict::Success };
                this.held.close(verdict);
                Poll::Ready(None)
            }
            Poll::Pending => {
                let Some(limit) = this.idle.as_ref() else { return Poll::Pending };
                if poll_idle(limit, this.waiting_since, this.sleep, cx).is_pending() {
                    return Poll::Pending;
                }
                with_drop_reason(DropReason::Deadline, || this.body.set(None));
                this.held.close(Verdict::Failure);
                let timeout = Error::Timeout {
                    policy: limit.name().clone(),
                    limit: limit.limit(),
                    dispatched: true,
                    last: None,
                };
                let cause = Some(Box::new(timeout));
                Poll::Ready(Some(Err(Error::Interrupted { items: *this.frames, cause }.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// Ready once the wait that began at `since` has lasted as long as `limit` allows. The timer is set again only
/// after it has gone off.
fn poll_idle(
    limit: &Timeout,
    since: &mut Option<Timestamp>,
    sleep: &mut Option<Pin<Box<Sleep>>>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    let time = limit.time();
    let due = limit.deadline(*since.get_or_insert_with(|| time.now()));
    loop {
        let timer = sleep.get_or_insert_with(|| Box::pin(Sleep::until(time, due.timestamp())));
        std::task::ready!(timer.as_mut().poll(cx));
        *sleep = None;
        if due.is_over(time.now()) {
            return Poll::Ready(());
        }
    }
}

impl<B> fmt::Debug for WatchedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedBody")
            .field("frames", &self.frames)
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}
