//! A rate limiter that has to know the request: its key, its weight.

use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hash};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use surefoot::host::{Elsewhere, Metered, Waiting};
use surefoot::rate_limiter::LimiterKey;
use surefoot::rate_limiter::multi::LimitedCall;
use surefoot::{KeyedRateLimiter, Limiter, RateLimiter, Rejection};
use tower_layer::Layer;
use tower_service::Service;

use crate::attempt::{self, ReadyCall, refuse};
use crate::{BoxError, Error};

/// Which limit a request is under, and how much of it it takes.
pub trait PerRequest<Q> {
    /// The limiter, or one key of it.
    type Limit: Limiter;

    /// The limit of `request`, and its units.
    fn limit(&self, request: &Q) -> (Self::Limit, u64);
}

/// Every request is one unit.
#[derive(Clone, Copy, Debug, Default)]
pub struct OneUnit;

/// How many units a request is: a function, or [`OneUnit`].
pub trait Weight<Q> {
    /// The units of `request`; one of none is always admitted.
    fn units(&self, request: &Q) -> u64;
}

impl<Q> Weight<Q> for OneUnit {
    fn units(&self, _: &Q) -> u64 {
        1
    }
}

impl<Q, F: Fn(&Q) -> u64> Weight<Q> for F {
    fn units(&self, request: &Q) -> u64 {
        self(request)
    }
}

/// One limiter, with a weight for each request.
#[derive(Clone, Debug)]
pub struct ByWeight<W> {
    limiter: RateLimiter,
    weight: W,
}

impl<W> ByWeight<W> {
    pub(super) fn new(limiter: RateLimiter, weight: W) -> Self {
        Self { limiter, weight }
    }
}

impl<Q, W: Weight<Q>> PerRequest<Q> for ByWeight<W> {
    type Limit = RateLimiter;

    fn limit(&self, request: &Q) -> (RateLimiter, u64) {
        (self.limiter.clone(), self.weight.units(request))
    }
}

/// A limit for each key of a keyed limiter.
pub struct ByKey<K, H, F, W = OneUnit> {
    limiter: KeyedRateLimiter<K, H>,
    key: F,
    weight: W,
}

impl<K, H, F> ByKey<K, H, F> {
    pub(super) fn new(limiter: KeyedRateLimiter<K, H>, key: F) -> Self {
        Self { limiter, key, weight: OneUnit }
    }
}

impl<Q, K, H, F, W> PerRequest<Q> for ByKey<K, H, F, W>
where
    K: Hash + Eq + Clone + Send + Sync,
    H: BuildHasher + Send + Sync,
    F: Fn(&Q) -> K,
    W: Weight<Q>,
{
    type Limit = LimiterKey<K, H>;

    fn limit(&self, request: &Q) -> (LimiterKey<K, H>, u64) {
        (self.limiter.key((self.key)(request)), self.weight.units(request))
    }
}

impl<K, H, F: Clone, W: Clone> Clone for ByKey<K, H, F, W> {
    fn clone(&self) -> Self {
        Self { limiter: self.limiter.clone(), key: self.key.clone(), weight: self.weight.clone() }
    }
}

impl<K, H, F, W> fmt::Debug for ByKey<K, H, F, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByKey").field("limiter", &self.limiter).finish_non_exhaustive()
    }
}

/// Several limits at once, with a key and amounts for each request.
#[derive(Clone)]
pub struct ByAmounts<F>(F);

impl<F> ByAmounts<F> {
    pub(super) fn new(call: F) -> Self {
        Self(call)
    }
}

impl<Q, K, H, F> PerRequest<Q> for ByAmounts<F>
where
    K: Hash + Eq + Clone + Send + Sync,
    H: BuildHasher + Send + Sync,
    F: Fn(&Q) -> LimitedCall<K, H>,
{
    type Limit = LimitedCall<K, H>;

    fn limit(&self, request: &Q) -> (LimitedCall<K, H>, u64) {
        ((self.0)(request), 1)
    }
}

impl<F> fmt::Debug for ByAmounts<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByAmounts").finish_non_exhaustive()
    }
}

/// Admits calls of a service by limits that depend on the request; made by
/// [`RateLimiterLayer::keyed`](super::RateLimiterLayer::keyed),
/// [`weighed`](super::RateLimiterLayer::weighed) and [`several`](super::RateLimiterLayer::several).
///
/// ```
/// use surefoot::prelude::*;
/// use surefoot_tower::RateLimiterLayer;
/// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let client = service_fn(|user: &'static str| async move { Ok::<_, std::io::Error>(user.len()) });
/// let limiter: KeyedRateLimiter<&str> =
///     RateLimiter::builder("api").max_requests(1).max_wait(std::time::Duration::ZERO).build_keyed()?;
/// let mut api = ServiceBuilder::new()
///     .layer(RateLimiterLayer::keyed(limiter, |user: &&'static str| *user))
///     .service(client);
/// assert_eq!(api.ready().await?.call("alice").await?, 5);
/// assert!(matches!(api.ready().await?.call("alice").await, Err(Error::Rejected(_))));
/// assert_eq!(api.ready().await?.call("bob").await?, 3);
/// # Ok(())
/// # }
/// ```
///
/// Decides in `call`, in the order of calls; what is not due yet is waited for by the response future, with a clone of the service
/// below that holds nothing meanwhile.
///
/// **Cancellation.** A response future that is dropped while it waits gives its slot back, and those
/// behind it move up; so does one whose call a layer below refused.
#[derive(Clone, Debug)]
pub struct PerRequestRateLimiterLayer<P> {
    limit: P,
}

impl<P> PerRequestRateLimiterLayer<P> {
    pub(super) fn new(limit: P) -> Self {
        Self { limit }
    }
}

impl<K, H, F, W> PerRequestRateLimiterLayer<ByKey<K, H, F, W>> {
    /// With a weight for each request.
    pub fn weighed<V>(self, weight: V) -> PerRequestRateLimiterLayer<ByKey<K, H, F, V>> {
        let ByKey { limiter, key, .. } = self.limit;
        PerRequestRateLimiterLayer { limit: ByKey { limiter, key, weight } }
    }
}

impl<S, P: Clone> Layer<S> for PerRequestRateLimiterLayer<P> {
    type Service = PerRequestRateLimiterService<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        PerRequestRateLimiterService { inner, limit: self.limit.clone() }
    }
}

/// A service behind a [`PerRequestRateLimiterLayer`].
#[derive(Clone, Debug)]
pub struct PerRequestRateLimiterService<S, P> {
    inner: S,
    limit: P,
}

impl<S, P> PerRequestRateLimiterService<S, P> {
    /// The service below.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S, Q, P> Service<Q> for PerRequestRateLimiterService<S, P>
where
    S: Service<Q> + Clone,
    S::Error: Into<BoxError> + 'static,
    P: PerRequest<Q>,
{
    type Response = S::Response;
    type Error = Error;
    type Future = PerRequestFuture<P::Limit, S, Q, S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        attempt::poll_ready(&mut self.inner, cx)
    }

    #[inline]
    fn call(&mut self, request: Q) -> Self::Future {
        attempt::take_over();
        let (limit, units) = self.limit.limit(&request);
        let inner = &mut self.inner;
        let mut admitted = |charge, request| Step::Admitted {
            call: Metered::start(charge, || ReadyCall::ready(inner, request)),
        };
        if units == 0 {
            return PerRequestFuture { step: admitted(None, request) };
        }
        let step = match Waiting::begin(&limit, units) {
            Ok(Ok(charge)) => admitted(Some(charge), request),
            Ok(Err(waiting)) => {
                Step::Waiting { waiting, next: Some((self.inner.clone(), request)) }
            }
            Err(rejection) => Step::Refused { rejection: Elsewhere::new(rejection) },
        };
        PerRequestFuture { step }
    }
}

pin_project! {
    /// A call through a [`PerRequestRateLimiterService`].
    pub struct PerRequestFuture<L: Limiter, S, Q, F> {
        #[pin]
        step: Step<L, S, Q, F>,
    }
}

pin_project! {
    #[project = StepProjection]
    enum Step<L: Limiter, S, Q, F> {
        Waiting { #[pin] waiting: Waiting<L>, next: Option<(S, Q)> },
        Admitted { #[pin] call: Metered<L, ReadyCall<S, Q, F>> },
        Refused { rejection: Elsewhere<Rejection> },
    }
}

impl<L, S, Q> Future for PerRequestFuture<L, S, Q, S::Future>
where
    L: Limiter,
    S: Service<Q>,
    S::Error: Into<BoxError> + 'static,
{
    type Output = Result<S::Response, Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut step = self.project().step;
        if let StepProjection::Waiting { waiting, next } = step.as_mut().project() {
            let charge = ready!(waiting.poll(cx)).map_err(Error::Rejected)?;
            let Some((service, request)) = next.take() else { return Poll::Pending };
            let call = Metered::start(Some(charge), || ReadyCall::waiting(service, request));
            step.set(Step::Admitted { call });
        }
        match step.project() {
            StepProjection::Admitted { call } => call.poll(cx),
            StepProjection::Refused { rejection } => refuse(rejection),
            StepProjection::Waiting { .. } => Poll::Pending,
        }
    }
}
