//! Pipelines of any composition under one type.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_core::Stream;
use surefoot_core::rate_limiter::ServerLimits;
use surefoot_core::{Classification, Classify, Error, Name};

use super::Pipeline;
use crate::stream::{Opened, Opening, Streamed, Streaming};
use crate::{Attempt, BlockingPolicy, Policy};

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
type BoxStream<T, E> = Pin<Box<dyn Stream<Item = Result<T, E>> + Send>>;

/// A streamed answer opened through a [`BoxPipeline`].
pub type BoxStreamed<T, E, U = fn(&T) -> bool> =
    Streamed<BoxStream<T, E>, T, BoxClassifier<T, E>, U>;

/// A pipeline whose composition is forgotten, so that different ones fit into one collection.
/// Clones are handles to the same one.
///
/// ```
/// use std::collections::HashMap;
/// use surefoot::prelude::*;
/// use surefoot::BoxPipeline;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), ConfigError> {
/// let careful = Pipeline::builder("careful").idempotent().add(Retry::builder().build()?);
/// let plain = Pipeline::builder("plain");
/// let mut pipelines: HashMap<&str, BoxPipeline<u32, ()>> = HashMap::new();
/// pipelines.insert("careful", careful.build()?.boxed());
/// pipelines.insert("plain", plain.build()?.boxed());
/// assert_eq!(pipelines["careful"].call(|| async { Ok(1) }).await, Ok(1));
/// # Ok(())
/// # }
/// ```
pub struct BoxPipeline<T, E> {
    pipeline: Arc<dyn DynPipeline<T, E>>,
}

trait DynPipeline<T, E>: Send + Sync {
    fn name(&self) -> &Name;

    fn call<'a>(&'a self, operation: DynOperation<'a, T, E>) -> BoxFuture<'a, Result<T, Error<E>>>;

    fn open<'a>(
        &'a self,
        open: DynOperation<'a, BoxStream<T, E>, E>,
    ) -> BoxFuture<'a, BoxOpened<T, E>>;

    fn classifier(&self) -> &dyn Classify<T, E>;
}

type BoxOpened<T, E> = Result<Opened<BoxStream<T, E>, T>, Error<E>>;

type DynOperation<'a, T, E> = Box<dyn Fn() -> BoxFuture<'a, Result<T, E>> + Send + Sync + 'a>;

impl<P, C, T, E> DynPipeline<T, E> for Pipeline<P, C>
where
    P: Policy,
    C: Classify<T, E> + Send + Sync,
    T: Send + 'static,
    E: Send + 'static,
{
    fn name(&self) -> &Name {
        self.name()
    }

    fn call<'a>(&'a self, operation: DynOperation<'a, T, E>) -> BoxFuture<'a, Result<T, Error<E>>> {
        Box::pin(self.call(operation))
    }

    fn open<'a>(
        &'a self,
        open: DynOperation<'a, BoxStream<T, E>, E>,
    ) -> BoxFuture<'a, BoxOpened<T, E>> {
        let call = async move { self.policies.run(&Opening::new(open, &self.classifier)).await };
        #[cfg(feature = "tracing")]
        let call = crate::tracing::in_span(&self.name, call);
        Box::pin(call)
    }

    fn classifier(&self) -> &dyn Classify<T, E> {
        &self.classifier
    }
}

impl<T: Send + 'static, E: Send + 'static> BoxPipeline<T, E> {
    pub(super) fn new<P, C>(pipeline: Pipeline<P, C>) -> Self
    where
        P: Policy + 'static,
        C: Classify<T, E> + Send + Sync + 'static,
    {
        Self { pipeline: Arc::new(pipeline) }
    }

    /// The name it was built with.
    pub fn name(&self) -> &Name {
        self.pipeline.name()
    }

    /// As [`Policy::call`].
    ///
    /// # Errors
    /// As [`Policy::call`].
    pub async fn call<F, Fut>(&self, operation: F) -> Result<T, Error<E>>
    where
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        self.pipeline.call(Box::new(|| Box::pin(operation()))).await
    }

    /// As [`Policy::call_stream`], for streams of `T`.
    ///
    /// # Errors
    /// As [`Policy::call`], for everything up to the first item.
    pub async fn call_stream<F, Fut, S>(&self, open: F) -> Result<BoxStreamed<T, E>, Error<E>>
    where
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<S, E>> + Send,
        S: Stream<Item = Result<T, E>> + Send + 'static,
    {
        self.streaming().call(open).await
    }

    /// As [`Policy::streaming`]. Opening an answer allocates four times more.
    pub fn streaming(&self) -> Streaming<'_, Self, T, BoxClassifier<T, E>> {
        Streaming::new(self, BoxClassifier { pipeline: self.pipeline.clone() })
    }

    pub(crate) async fn open<F, Fut, S>(&self, open: F) -> BoxOpened<T, E>
    where
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<S, E>> + Send,
        S: Stream<Item = Result<T, E>> + Send + 'static,
    {
        let open = || {
            let opening = open();
            let boxed: BoxFuture<'_, _> =
                Box::pin(async { Ok(Box::pin(opening.await?) as BoxStream<T, E>) });
            boxed
        };
        self.pipeline.open(Box::new(open)).await
    }
}

/// The classifier of a [`BoxPipeline`], which judges the items of its streams.
pub struct BoxClassifier<T, E> {
    pipeline: Arc<dyn DynPipeline<T, E>>,
}

impl<T, E> Classify<T, E> for BoxClassifier<T, E> {
    fn classify(&self, result: Result<&T, &E>) -> Classification {
        self.pipeline.classifier().classify(result)
    }

    fn server_limits(&self, result: Result<&T, &E>) -> ServerLimits {
        self.pipeline.classifier().server_limits(result)
    }

    fn never_sent(&self, error: &E) -> bool {
        self.pipeline.classifier().never_sent(error)
    }
}

impl<T, E> fmt::Debug for BoxClassifier<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxClassifier").finish_non_exhaustive()
    }
}

impl<T, E> Clone for BoxPipeline<T, E> {
    fn clone(&self) -> Self {
        Self { pipeline: self.pipeline.clone() }
    }
}

impl<T, E> fmt::Debug for BoxPipeline<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxPipeline").field("name", self.pipeline.name()).finish_non_exhaustive()
    }
}

/// A [`BoxPipeline`] for operations that block their thread.
pub struct BoxBlockingPipeline<T, E> {
    pipeline: Arc<dyn DynBlockingPipeline<T, E>>,
}

trait DynBlockingPipeline<T, E>: Send + Sync {
    fn name(&self) -> &Name;

    fn call_blocking(&self, operation: &dyn Fn(&Attempt) -> Result<T, E>) -> Result<T, Error<E>>;
}

impl<P, C, T, E> DynBlockingPipeline<T, E> for Pipeline<P, C>
where
    P: BlockingPolicy,
    C: Classify<T, E> + Send + Sync,
{
    fn name(&self) -> &Name {
        self.name()
    }

    fn call_blocking(&self, operation: &dyn Fn(&Attempt) -> Result<T, E>) -> Result<T, Error<E>> {
        self.call_blocking(operation)
    }
}

impl<T: 'static, E: 'static> BoxBlockingPipeline<T, E> {
    pub(super) fn new<P, C>(pipeline: Pipeline<P, C>) -> Self
    where
        P: BlockingPolicy + 'static,
        C: Classify<T, E> + Send + Sync + 'static,
    {
        Self { pipeline: Arc::new(pipeline) }
    }

    /// The name it was built with.
    pub fn name(&self) -> &Name {
        self.pipeline.name()
    }

    /// As [`BlockingPolicy::call_blocking`].
    ///
    /// # Errors
    /// As [`Policy::call`].
    pub fn call_blocking(
        &self,
        operation: impl Fn(&Attempt) -> Result<T, E>,
    ) -> Result<T, Error<E>> {
        self.pipeline.call_blocking(&operation)
    }
}

impl<T, E> Clone for BoxBlockingPipeline<T, E> {
    fn clone(&self) -> Self {
        Self { pipeline: self.pipeline.clone() }
    }
}

impl<T, E> fmt::Debug for BoxBlockingPipeline<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxBlockingPipeline")
            .field("name", self.pipeline.name())
            .finish_non_exhaustive()
    }
}
