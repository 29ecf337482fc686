//! A hedge around a service.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use surefoot::host::{Begin, Racing};
use surefoot::{Classify, DefaultClassifier, Hedge};
use tower_layer::Layer;
use tower_service::Service;

use crate::attempt::{self, Called, ReadyCall};
use crate::{BoxError, Cloned, Duplicate, Error, Judge, ServiceError};

/// Sends a request again before its answer is late, and takes the first one: see [`surefoot::hedge`].
///
/// Only requests that may be sent twice are hedged, as with [`RetryLayer`](crate::RetryLayer); others are
/// sent once. The service has to be `Clone`; each hedge waits for a clone of it to be ready.
///
/// **Cancellation.** A response future that is dropped drops every attempt, which counts as nothing, as do
/// those that lost; they are gone before the response is returned.
#[derive(Clone, Debug)]
pub struct HedgeLayer<C = DefaultClassifier, D = Cloned> {
    hedge: Hedge,
    classifier: C,
    duplicate: D,
}

impl HedgeLayer {
    /// For requests that are `Clone`, and of which sending two does no more than sending one.
    pub fn idempotent(hedge: Hedge) -> Self {
        Self { hedge, classifier: DefaultClassifier, duplicate: Cloned }
    }
}

impl<D> HedgeLayer<DefaultClassifier, D> {
    /// For requests that say themselves whether they may be sent twice.
    pub fn new(hedge: Hedge, duplicate: D) -> Self {
        Self { hedge, classifier: DefaultClassifier, duplicate }
    }
}

impl<C, D> HedgeLayer<C, D> {
    /// Judges responses and errors by `classifier`.
    pub fn classify<N>(self, classifier: N) -> HedgeLayer<N, D> {
        HedgeLayer { hedge: self.hedge, classifier, duplicate: self.duplicate }
    }
}

impl<S, C: Clone, D: Clone> Layer<S> for HedgeLayer<C, D> {
    type Service = HedgeService<S, C, D>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { hedge, classifier, duplicate } = self.clone();
        HedgeService { inner, hedge, classifier, duplicate }
    }
}

/// A service whose calls are hedged; made by [`HedgeLayer`].
#[derive(Clone, Debug)]
pub struct HedgeService<S, C = DefaultClassifier, D = Cloned> {
    inner: S,
    hedge: Hedge,
    classifier: C,
    duplicate: D,
}

impl<S, C, D> HedgeService<S, C, D> {
    /// The service below.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S, Q, C, D> Service<Q> for HedgeService<S, C, D>
where
    S: Service<Q> + Clone,
    S::Error: Into<BoxError> + 'static,
    C: Classify<S::Response, ServiceError> + Clone,
    D: Duplicate<Q> + Clone,
{
    type Response = S::Response;
    type Error = Error;
    type Future = HedgeFuture<S, Q, C, D>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        attempt::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        attempt::take_over();
        let idempotent = self.duplicate.is_idempotent(&request);
        let Some(copy) = self.duplicate.duplicate(&request).filter(|_| idempotent) else {
            let call = Call::Once { call: attempt::call(&mut self.inner, request) };
            return HedgeFuture { call };
        };
        let service = self.inner.clone();
        let first = ReadyCall::ready(&mut self.inner, request);
        let another = Another { service, request: Some(copy), duplicate: self.duplicate.clone() };
        let judge = Judge::new(self.classifier.clone());
        let race = Racing::new(self.hedge.clone(), judge, first, another);
        HedgeFuture { call: Call::Raced { race } }
    }
}

/// Makes the attempts beyond the first.
#[derive(Debug)]
pub(crate) struct Another<S, Q, D> {
    service: S,
    request: Option<Q>,
    duplicate: D,
}

impl<S, Q, D> Begin for Another<S, Q, D>
where
    S: Service<Q> + Clone,
    S::Error: 'static,
    D: Duplicate<Q>,
{
    type Attempt = ReadyCall<S, Q, S::Future>;

    fn can_begin(&self) -> bool {
        self.request.is_some()
    }

    fn begin(&mut self) -> Option<Self::Attempt> {
        let request = self.request.take()?;
        self.request = self.duplicate.duplicate(&request);
        Some(ReadyCall::waiting(self.service.clone(), request))
    }
}

pin_project! {
    /// A call through a [`HedgeService`].
    pub struct HedgeFuture<S: Service<Q>, Q, C: Classify<S::Response, ServiceError>, D> {
        #[pin]
        call: Call<S, Q, C, D>,
    }
}

pin_project! {
    #[project = CallProjection]
    enum Call<S: Service<Q>, Q, C: Classify<S::Response, ServiceError>, D> {
        // Of a request that may not be sent twice.
        Once { #[pin] call: Called<S::Future> },
        Raced { #[pin] race: Race<S, Q, C, D> },
    }
}

type Race<S, Q, C, D> = Racing<
    Hedge,
    Judge<C, <S as Service<Q>>::Response>,
    ReadyCall<S, Q, <S as Service<Q>>::Future>,
    Another<S, Q, D>,
>;

impl<S, Q, C, D> Future for HedgeFuture<S, Q, C, D>
where
    S: Service<Q> + Clone,
    S::Error: Into<BoxError> + 'static,
    C: Classify<S::Response, ServiceError>,
    D: Duplicate<Q>,
{
    type Output = Result<S::Response, Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().call.project() {
            CallProjection::Once { call } => call.poll(cx),
            CallProjection::Raced { race } => race.poll(cx),
        }
    }
}
