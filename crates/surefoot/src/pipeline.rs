//! Policies composed, outermost first.

mod boxed;
mod order;

use std::future::Future;

use surefoot_core::{Classification, Classify, ConfigError, DefaultClassifier, Error, Name};

pub use boxed::BoxPipeline;
pub use order::{OrderRule, Part, PartKind};

use crate::operation::{BlockingOperation, Operation};
use crate::policy::Nested;
use crate::{Attempt, Policy, WithFallback};

/// Several policies around one kind of call. The first one added is outermost.
///
/// The recommended order, and why:
///
/// 1. **total timeout**: fixed when the call starts, so that every wait inside is bounded by what
///    is left;
/// 2. **retry**: each attempt goes through everything below, and waits do not hold anything;
/// 3. **circuit breaker**: sees every attempt and every attempt's timeout, and refuses attempts
///    that cannot work;
/// 4. **attempt timeout**: a hanging callee becomes a failure the breaker counts, in time for
///    another attempt.
///
/// An order that defeats a policy does not build ([`OrderRule`]), unless
/// [allowed](PipelineBuilder::allow) by name. A retry in a pipeline draws on a
/// [`RetryBudget`](crate::RetryBudget), a default one if it has none.
///
/// The type is the composition, so a call allocates nothing; [`boxed`](Self::boxed) forgets the
/// type, for collections. Wrap a pipeline in an `Arc` to share it.
///
/// **Cancellation.** Dropping the future of a call drops everything it holds, inside out; each
/// policy says what that means to it. Its futures are `Send`.
#[derive(Clone, Debug)]
pub struct Pipeline<P = Identity, C = DefaultClassifier> {
    name: Name,
    policies: P,
    classifier: C,
}

impl Pipeline {
    /// Starts building a pipeline; `name` is what spans and errors call it.
    pub fn builder(name: impl Into<Name>) -> PipelineBuilder {
        PipelineBuilder {
            pipeline: Self { name: name.into(), policies: Identity, classifier: DefaultClassifier },
            idempotent: false,
            allowed: Vec::new(),
        }
    }
}

impl<P: Policy, C> Pipeline<P, C> {
    /// The name it was built with.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// What it is made of, outermost first.
    pub fn order(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        self.policies.parts(&mut parts);
        parts
    }

    /// As [`Policy::call`], through all policies.
    ///
    /// # Errors
    /// As [`Policy::call`].
    #[inline]
    pub fn call<F, Fut, T, E>(
        &self,
        operation: F,
    ) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, E>> + Send,
        C: Classify<T, E> + Sync,
        T: Send,
        E: Send,
    {
        let call = self.policies.call_classified(&self.classifier, operation);
        #[cfg(feature = "tracing")]
        let call = crate::tracing::in_span(&self.name, call);
        call
    }

    /// As [`Policy::call_blocking`], through all policies.
    ///
    /// # Errors
    /// As [`Policy::call`].
    #[inline]
    pub fn call_blocking<F, T, E>(&self, operation: F) -> Result<T, Error<E>>
    where
        F: Fn(&Attempt) -> Result<T, E>,
        C: Classify<T, E>,
    {
        #[cfg(feature = "tracing")]
        let _span = crate::tracing::span(&self.name).entered();
        self.policies.call_blocking_classified(&self.classifier, operation)
    }

    /// As [`Policy::with_fallback`].
    pub fn with_fallback<F>(self, fallback: F) -> WithFallback<Pipeline<P>, C, F> {
        let Self { name, policies, classifier } = self;
        let policy = Pipeline { name, policies, classifier: DefaultClassifier };
        WithFallback::new(policy, classifier, fallback)
    }

    /// The same pipeline with its type forgotten, for operations that give a `T` or an `E`. Each
    /// call allocates twice.
    pub fn boxed<T, E>(self) -> BoxPipeline<T, E>
    where
        P: 'static,
        C: Classify<T, E> + Send + Sync + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        BoxPipeline::new(self)
    }
}

/// A pipeline that judges by no classifier of its own is a policy too, and can be added to another,
/// whose classifier then judges.
impl<P: Policy> Policy for Pipeline<P> {
    #[inline]
    fn run<O: Operation>(
        &self,
        operation: &O,
    ) -> impl Future<Output = Result<O::Value, Error<O::Error>>> + Send {
        let call = self.policies.run(operation);
        #[cfg(feature = "tracing")]
        let call = crate::tracing::in_span(&self.name, call);
        call
    }

    #[inline]
    fn run_blocking<O: BlockingOperation>(
        &self,
        operation: &O,
    ) -> Result<O::Value, Error<O::Error>> {
        #[cfg(feature = "tracing")]
        let _span = crate::tracing::span(&self.name).entered();
        self.policies.run_blocking(operation)
    }

    fn parts(&self, parts: &mut Vec<Part>) {
        self.policies.parts(parts);
    }
}

/// Builds a [`Pipeline`]; made by [`Pipeline::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct PipelineBuilder<P = Identity, C = DefaultClassifier> {
    pipeline: Pipeline<P, C>,
    idempotent: bool,
    allowed: Vec<OrderRule>,
}

impl<P: Policy, C> PipelineBuilder<P, C> {
    /// Adds a policy inside all that were added before.
    #[expect(clippy::should_implement_trait, reason = "policies are added, not summed")]
    pub fn add<N: Policy>(self, policy: N) -> PipelineBuilder<Stack<P, N>, C> {
        let Pipeline { name, policies, classifier } = self.pipeline;
        let policies = Stack { outer: policies, inner: policy.composed() };
        PipelineBuilder {
            pipeline: Pipeline { name, policies, classifier },
            idempotent: self.idempotent,
            allowed: self.allowed,
        }
    }

    /// Declares that running the operation twice does no more than running it once, or that it
    /// carries an idempotency key its receiver honours. Required by a retry: an attempt that
    /// failed may have taken effect all the same.
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// Judges results by `classifier`, a `Fn(Result<&T, &E>) -> Classification`, for all policies
    /// of the pipeline.
    pub fn classify<T, E, D>(self, classifier: D) -> PipelineBuilder<P, D>
    where
        D: Fn(Result<&T, &E>) -> Classification,
    {
        let Pipeline { name, policies, .. } = self.pipeline;
        PipelineBuilder {
            pipeline: Pipeline { name, policies, classifier },
            idempotent: self.idempotent,
            allowed: self.allowed,
        }
    }

    /// Allows an order that would not build otherwise.
    pub fn allow(mut self, rule: OrderRule) -> Self {
        self.allowed.push(rule);
        self
    }

    /// The pipeline.
    ///
    /// # Errors
    /// If the name is empty, the order defeats a policy, or a retry would repeat an operation not
    /// declared [`idempotent`](Self::idempotent).
    pub fn build(self) -> Result<Pipeline<P, C>, ConfigError> {
        let name = self.pipeline.name();
        if name.trim().is_empty() {
            return Err(ConfigError::new("pipeline", "name", "\"\"", "must not be empty"));
        }
        order::check(&self.pipeline.order(), self.idempotent, &self.allowed)?;
        Ok(self.pipeline)
    }
}

/// No policy: calls pass as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity;

impl Policy for Identity {
    #[inline]
    fn run<O: Operation>(
        &self,
        operation: &O,
    ) -> impl Future<Output = Result<O::Value, Error<O::Error>>> + Send {
        operation.attempt()
    }

    #[inline]
    fn run_blocking<O: BlockingOperation>(
        &self,
        operation: &O,
    ) -> Result<O::Value, Error<O::Error>> {
        operation.attempt_blocking()
    }

    fn parts(&self, _: &mut Vec<Part>) {}
}

/// One policy inside another.
#[derive(Clone, Copy, Debug)]
pub struct Stack<A, B> {
    outer: A,
    inner: B,
}

impl<A: Policy, B: Policy> Policy for Stack<A, B> {
    #[inline]
    async fn run<O: Operation>(&self, operation: &O) -> Result<O::Value, Error<O::Error>> {
        self.outer.run(&Nested { policy: &self.inner, operation }).await
    }

    #[inline]
    fn run_blocking<O: BlockingOperation>(
        &self,
        operation: &O,
    ) -> Result<O::Value, Error<O::Error>> {
        self.outer.run_blocking(&Nested { policy: &self.inner, operation })
    }

    fn parts(&self, parts: &mut Vec<Part>) {
        self.outer.parts(parts);
        self.inner.parts(parts);
    }
}
