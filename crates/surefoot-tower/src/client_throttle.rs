//! A client throttle around a service.

use std::task::{Context, Poll};

use surefoot::host::Reported;
use surefoot::{Classify, ClientThrottle, DefaultClassifier};
use tower_layer::Layer;
use tower_service::Service;

use crate::attempt::{self, Called, Decided};
use crate::{BoxError, Error, Judge, ServiceError};

/// Holds calls back that an overloaded service would only refuse: see [`surefoot::client_throttle`].
///
/// Decides in `call`. One throttle can be given to any number of layers, and is shared. Inside a
/// [`RetryLayer`](crate::RetryLayer) it sees every attempt.
///
/// **Cancellation.** A response future that is dropped counts as nothing; dropped by one of our own
/// time limits, its call was not accepted.
#[derive(Clone, Debug)]
pub struct ClientThrottleLayer<C = DefaultClassifier> {
    throttle: ClientThrottle,
    classifier: C,
}

impl ClientThrottleLayer {
    /// Around every service it is given, the same throttle. Every response is accepted and every
    /// error a refusal, unless [`classify`](Self::classify) says otherwise.
    pub fn new(throttle: ClientThrottle) -> Self {
        Self { throttle, classifier: DefaultClassifier }
    }
}

impl<C> ClientThrottleLayer<C> {
    /// Judges responses and errors by `classifier`.
    pub fn classify<D>(self, classifier: D) -> ClientThrottleLayer<D> {
        ClientThrottleLayer { throttle: self.throttle, classifier }
    }
}

impl<S, C: Clone> Layer<S> for ClientThrottleLayer<C> {
    type Service = ClientThrottleService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { throttle, classifier } = self.clone();
        ClientThrottleService { inner, throttle, classifier }
    }
}

/// A service behind a client throttle; made by [`ClientThrottleLayer`].
#[derive(Clone, Debug)]
pub struct ClientThrottleService<S, C = DefaultClassifier> {
    inner: S,
    throttle: ClientThrottle,
    classifier: C,
}

impl<S, C> ClientThrottleService<S, C> {
    /// The throttle.
    pub fn throttle(&self) -> &ClientThrottle {
        &self.throttle
    }

    /// The service below.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

/// A call through a [`ClientThrottleService`].
pub type ClientThrottleFuture<F, C, R> = Decided<Reported<ClientThrottle, Judge<C, R>, Called<F>>>;

impl<S, Q, C> Service<Q> for ClientThrottleService<S, C>
where
    S: Service<Q>,
    S::Error: Into<BoxError> + 'static,
    C: Classify<S::Response, ServiceError> + Clone,
{
    type Response = S::Response;
    type Error = Error;
    type Future = ClientThrottleFuture<S::Future, C, S::Response>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        attempt::poll_ready(&mut self.inner, cx)
    }

    #[inline]
    fn call(&mut self, request: Q) -> Self::Future {
        attempt::take_over();
        Decided::of(self.throttle.admit(), |permit| {
            let judge = Judge::new(self.classifier.clone());
            Reported::new(permit, judge, attempt::call(&mut self.inner, request))
        })
    }
}
