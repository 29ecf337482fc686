//! Learning from what passes by.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use surefoot::host::{LearnedFrom, learned_from};
use surefoot::{Classify, DefaultClassifier, Learning, Limiter};
use tower_layer::Layer;
use tower_service::Service;

use crate::attempt::{self, Called};
use crate::{BoxError, Error, Judge, ServiceError};

/// Which limit learns from the answer to a request.
pub trait Learns<Q> {
    /// The limiter, or one key of it.
    type Limit: Limiter;

    /// What learns from the answer to `request`.
    fn learning(&self, request: &Q) -> Learning<Self::Limit>;
}

/// The same limiter learns from all answers.
impl<Q, L: Limiter> Learns<Q> for Learning<L> {
    type Limit = L;

    fn learning(&self, _: &Q) -> Learning<L> {
        self.clone()
    }
}

/// A limit for each request; made by [`LearningLayer::by_request`].
#[derive(Clone)]
pub struct LearningByRequest<F>(F);

impl<Q, L: Limiter, F: Fn(&Q) -> Learning<L>> Learns<Q> for LearningByRequest<F> {
    type Limit = L;

    fn learning(&self, request: &Q) -> Learning<L> {
        self.0(request)
    }
}

impl<F> fmt::Debug for LearningByRequest<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LearningByRequest").finish_non_exhaustive()
    }
}

/// Has a rate limiter learn from the answers of a service: see [`surefoot::Learning`].
///
/// It limits nothing itself, and belongs below the layer that does, with the same limiter; retries
/// above both, so that each attempt waits and each answer counts. A circuit breaker below leaves the pauses
/// that the callee asks for to the limiter.
///
/// ```
/// use std::time::Duration;
/// use surefoot::Classification;
/// use surefoot::prelude::*;
/// use surefoot_tower::{LearningLayer, RateLimiterLayer};
/// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let client = service_fn(|()| async { Ok::<_, std::io::Error>(429) });
/// let limiter = RateLimiter::builder("model").build()?;
/// let judge = |answer: Result<&u16, &surefoot_tower::ServiceError>| match answer {
///     Ok(429) => Classification::throttled(Some(Duration::from_secs(20))),
///     Ok(_) => Classification::SUCCESS,
///     Err(_) => Classification::TRANSIENT,
/// };
/// let mut model = ServiceBuilder::new()
///     .layer(RateLimiterLayer::new(limiter.clone()))
///     .layer(LearningLayer::new(limiter.learning()).classify(judge))
///     .service(client);
/// model.ready().await?.call(()).await?;
/// assert!(limiter.check().is_err()); // for 20 s
/// # Ok(())
/// # }
/// ```
///
/// With [`http::ResponseClassifier`](crate::http::ResponseClassifier) the headers of all usual
/// providers are read, and their bodies where an [`ErrorBodyLayer`](crate::http::ErrorBodyLayer) below has
/// read them.
///
/// **Cancellation.** From a response future that is dropped nothing is learned.
#[derive(Clone, Debug)]
pub struct LearningLayer<P, C = DefaultClassifier> {
    learns: P,
    classifier: C,
}

impl<L> LearningLayer<Learning<L>> {
    /// One limiter learns from all answers.
    pub fn new(learning: Learning<L>) -> Self {
        Self { learns: learning, classifier: DefaultClassifier }
    }
}

impl<F> LearningLayer<LearningByRequest<F>> {
    /// The limiter that `learning` finds for a request learns from its answer: one key of a keyed
    /// limiter, `|request| limiter.key(user(request)).learning()`.
    pub fn by_request<Q, L>(learning: F) -> Self
    where
        F: Fn(&Q) -> Learning<L>,
    {
        Self { learns: LearningByRequest(learning), classifier: DefaultClassifier }
    }
}

impl<P, C> LearningLayer<P, C> {
    /// Reads responses and errors by `classifier`; the default learns nothing.
    pub fn classify<D>(self, classifier: D) -> LearningLayer<P, D> {
        LearningLayer { learns: self.learns, classifier }
    }
}

impl<S, P: Clone, C: Clone> Layer<S> for LearningLayer<P, C> {
    type Service = LearningService<S, P, C>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { learns, classifier } = self.clone();
        LearningService { inner, learns, classifier }
    }
}

/// A service whose answers a limiter learns from; made by [`LearningLayer`].
#[derive(Clone, Debug)]
pub struct LearningService<S, P, C = DefaultClassifier> {
    inner: S,
    learns: P,
    classifier: C,
}

impl<S, P, C> LearningService<S, P, C> {
    /// The service below.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S, Q, P, C> Service<Q> for LearningService<S, P, C>
where
    S: Service<Q>,
    S::Error: Into<BoxError> + 'static,
    P: Learns<Q>,
    C: Classify<S::Response, ServiceError> + Clone,
{
    type Response = S::Response;
    type Error = Error;
    type Future = LearningFuture<P::Limit, S::Future, C, S::Response>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        attempt::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        attempt::take_over();
        let learning = self.learns.learning(&request);
        let judge = Judge::new(self.classifier.clone());
        let call = learned_from(|| attempt::call(&mut self.inner, request));
        LearningFuture { call: LearnedFrom::new(call), learning, judge }
    }
}

pin_project! {
    /// A call through a [`LearningService`].
    pub struct LearningFuture<L, F, C, R> {
        #[pin]
        call: LearnedFrom<Called<F>>,
        learning: Learning<L>,
        judge: Judge<C, R>,
    }
}

impl<L, F, C, R, E> Future for LearningFuture<L, F, C, R>
where
    L: Limiter,
    F: Future<Output = Result<R, E>>,
    E: Into<BoxError> + 'static,
    C: Classify<R, ServiceError>,
{
    type Output = Result<R, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.call.poll(cx));
        this.learning.learn_from(this.judge, &result);
        Poll::Ready(result)
    }
}
