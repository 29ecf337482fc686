//! Pipelines of any composition under one type.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use surefoot_core::{Classify, Error, Name};

use super::Pipeline;
use crate::{Attempt, BlockingPolicy, Policy};

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

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
}

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
