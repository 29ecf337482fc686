//! A circuit breaker around a service.

use std::task::{Context, Poll};

use surefoot::host::Watched;
use surefoot::{CircuitBreaker, Classify, DefaultClassifier};
use tower_layer::Layer;
use tower_service::Service;

use crate::attempt::{self, Called, Decided};
use crate::{BoxError, Error, Judge, ServiceError};

/// Stops calling a service that keeps failing: see [`surefoot::circuit_breaker`].
///
/// Decides in `call`. One breaker can be given to any number of layers, and is shared.
///
/// **Cancellation.** A response future that is dropped gives its permit back, which counts as nothing;
/// dropped by one of our own time limits, or by its own panic, it counts as a failure.
#[derive(Clone, Debug)]
pub struct CircuitBreakerLayer<C = DefaultClassifier> {
    breaker: CircuitBreaker,
    classifier: C,
}

impl CircuitBreakerLayer {
    /// Around every service it is given, the same breaker. Every response is a success and every
    /// error a failure, unless [`classify`](Self::classify) says otherwise.
    pub fn new(breaker: CircuitBreaker) -> Self {
        Self { breaker, classifier: DefaultClassifier }
    }
}

impl<C> CircuitBreakerLayer<C> {
    /// Judges responses and errors by `classifier`.
    pub fn classify<D>(self, classifier: D) -> CircuitBreakerLayer<D> {
        CircuitBreakerLayer { breaker: self.breaker, classifier }
    }

    #[cfg(feature = "http")]
    pub(crate) fn parts(&self) -> (&CircuitBreaker, &C) {
        (&self.breaker, &self.classifier)
    }
}

impl<S, C: Clone> Layer<S> for CircuitBreakerLayer<C> {
    type Service = CircuitBreakerService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { breaker, classifier } = self.clone();
        CircuitBreakerService { inner, breaker, classifier }
    }
}

/// A service behind a circuit breaker; made by [`CircuitBreakerLayer`].
#[derive(Clone, Debug)]
pub struct CircuitBreakerService<S, C = DefaultClassifier> {
    inner: S,
    breaker: CircuitBreaker,
    classifier: C,
}

impl<S, C> CircuitBreakerService<S, C> {
    /// The breaker.
    pub fn breaker(&self) -> &CircuitBreaker {
        &self.breaker
    }

    /// The service below.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

/// A call through a [`CircuitBreakerService`].
pub type CircuitBreakerFuture<F, C, R> = Decided<Watched<CircuitBreaker, Judge<C, R>, Called<F>>>;

impl<S, Q, C> Service<Q> for CircuitBreakerService<S, C>
where
    S: Service<Q>,
    S::Error: Into<BoxError> + 'static,
    C: Classify<S::Response, ServiceError> + Clone,
{
    type Response = S::Response;
    type Error = Error;
    type Future = CircuitBreakerFuture<S::Future, C, S::Response>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        attempt::poll_ready(&mut self.inner, cx)
    }

    #[inline]
    fn call(&mut self, request: Q) -> Self::Future {
        attempt::take_over();
        Decided::of(self.breaker.admit(), |permit| {
            let judge = Judge::new(self.classifier.clone());
            Watched::new(permit, judge, attempt::call(&mut self.inner, request))
        })
    }
}
