//! A circuit breaker whose verdict comes at the end of the response's body.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;
use surefoot::host::{Judged, Watched};
use surefoot::stream::Kept;
use surefoot::{CircuitBreaker, Classification, Classify, Timeout};
use tower_layer::Layer;
use tower_service::Service;

use super::WatchedBody;
use super::watched_body::Ending;
use crate::attempt::{self, Called, Decided};
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
/// | its body ends as it should | success; with gRPC what `grpc-status` says, in the trailers or the headers |
/// | its body breaks off, or panics, or a gRPC body ends without trailers | failure |
/// | the body is dropped before, also by a panic elsewhere | nothing: the consumer walked away |
/// | the body is dropped by one of our own time limits | failure |
///
/// A half-open breaker's trial call is thus the whole response. The body is handed on as it comes: nothing is read
/// ahead. A [`TimeoutLayer`](crate::TimeoutLayer) bounds the wait for the response and not its body; the
/// [idle timeout](Self::idle_timeout) bounds the gaps in it.
///
/// The statuses of gRPC count as [`surefoot::http::grpc`] has it, whatever the classifier. gRPC-Web, which has its
/// trailers inside the body, is judged as any other body is.
///
/// **Cost.** An allocation for each response, and a timer for the first wait under an idle timeout.
#[derive(Clone, Debug)]
pub struct BodyCircuitBreakerLayer<C> {
    layer: CircuitBreakerLayer<C>,
    idle: Option<Timeout>,
}

impl<C> BodyCircuitBreakerLayer<C> {
    /// The longest time to wait for the next frame, while somebody waits for it. Default: as long as it takes.
    ///
    /// At the limit the body below is dropped, which closes its connection or stream, and the error is
    /// [`Interrupted`](surefoot::Error::Interrupted) by the timeout's name.
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
        let call = Decided::of(breaker.admit(), |permit| {
            let call = attempt::call(&mut self.inner, request);
            let wrapped = Wrapped { call, idle: self.layer.idle.clone() };
            let judge = BodyJudge { classifier: classifier.clone(), body: PhantomData };
            Watched::new(permit, judge, wrapped)
        });
        BodyCircuitBreakerFuture { call }
    }
}

pin_project! {
    /// A call through a [`BodyCircuitBreakerService`].
    pub struct BodyCircuitBreakerFuture<F, C, B> {
        #[pin]
        call: Decided<Watched<CircuitBreaker, BodyJudge<C, B>, Wrapped<F>>>,
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
        self.project().call.poll(cx)
    }
}

/// Judges the head, and has the body keep the permit.
struct BodyJudge<C, B> {
    classifier: C,
    body: PhantomData<fn() -> B>,
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
        let ending = Ending::of(response.headers());
        if let Some(permit) = kept.into_holding() {
            response.body_mut().hold(permit, ending);
        }
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
        let watched = |body| WatchedBody::new(body, this.idle.take());
        this.call.poll(cx).map_ok(|response| response.map(watched))
    }
}
