//! A time limit around a service.

use std::task::{Context, Poll};

use surefoot::Timeout;
use surefoot::host::Limited;
use tower_layer::Layer;
use tower_service::Service;

use crate::attempt::{self, Called};
use crate::{BoxError, Error};

/// Ends calls that take too long: see [`surefoot::timeout`].
///
/// A call ends with its response, so a body that is still to come is not bounded: see
/// [`FirstFrameLayer`](crate::http::FirstFrameLayer) and
/// [`BodyCircuitBreakerLayer::idle_timeout`](crate::http::BodyCircuitBreakerLayer::idle_timeout) (feature `http`).
///
/// The clock starts with `call`. Waiting for a service to become ready is not part of it; put what has
/// to be waited for below a layer that waits in `call`, as the retry does.
#[derive(Clone, Debug)]
pub struct TimeoutLayer {
    timeout: Timeout,
}

impl TimeoutLayer {
    /// A limit for each call.
    pub fn new(timeout: Timeout) -> Self {
        Self { timeout }
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = TimeoutService<S>;

    fn layer(&self, inner: S) -> TimeoutService<S> {
        TimeoutService { inner, timeout: self.timeout.clone() }
    }
}

/// A service with a time limit; made by [`TimeoutLayer`].
#[derive(Clone, Debug)]
pub struct TimeoutService<S> {
    inner: S,
    timeout: Timeout,
}

impl<S> TimeoutService<S> {
    /// The service below.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

/// A call through a [`TimeoutService`].
pub type TimeoutFuture<F> = Limited<Timeout, Called<F>>;

impl<S, Q> Service<Q> for TimeoutService<S>
where
    S: Service<Q>,
    S::Error: Into<BoxError> + 'static,
{
    type Response = S::Response;
    type Error = Error;
    type Future = TimeoutFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        attempt::poll_ready(&mut self.inner, cx)
    }

    #[inline]
    fn call(&mut self, request: Q) -> Self::Future {
        attempt::take_over();
        let Self { inner, timeout } = self;
        Limited::start(timeout.clone(), || attempt::call(inner, request))
    }
}
