//! Policies composed, outermost first.

mod boxed;
mod order;

use std::future::Future;

use futures_core::Stream;
use surefoot_core::{
    Budget, Classification, Classify, ConfigError, DefaultClassifier, Error, Name, RetryBudget,
    TimeSource,
};

pub use boxed::{BoxBlockingPipeline, BoxClassifier, BoxPipeline, BoxStreamed};
pub use order::{OrderRule, Part, PartKind};

use crate::operation::{BlockingOperation, Operation};
use crate::policy::Nested;
use crate::stream::{Streamed, Streaming};
use crate::{Attempt, BlockingPolicy, Policy, WithFallback};

/// Several policies around one kind of call. The first one added is outermost.
///
/// The recommended order, and why:
///
/// 1. **[fallback](Pipeline::with_fallback)**, around all: whatever was refused or failed inside has
///    another answer;
/// 2. **total timeout**: fixed when the call starts, so that every wait inside is bounded by what
///    is left;
/// 3. **load shedder**: what is not to be done at all is refused before it waits for anything;
/// 4. **admission limiter**: how often callers may ask, however often we have to try;
/// 5. **bulkhead or throttler**: how many run at once; a call keeps its permit while it is tried
///    again, so that retries do not add to the crowd;
/// 6. **retry**: each attempt goes through everything below;
/// 7. **the callee's rate limiter**: counts every attempt, as the callee does;
/// 8. **circuit breaker**: sees every attempt and every attempt's timeout, and refuses attempts
///    that cannot work;
/// 9. **attempt timeout**: a hanging callee becomes a failure the breaker counts, in time for
///    another attempt.
///
/// What a policy took for a call (a permit, a place, units, an attempt of a budget, a retry's
/// token) comes back if a policy inside refuses it, or whatever ends it before the operation has
/// been started.
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
            composition: Composition::default(),
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

    /// As [`BlockingPolicy::call_blocking`], through all policies.
    ///
    /// # Errors
    /// As [`Policy::call`].
    #[inline]
    pub fn call_blocking<F, T, E>(&self, operation: F) -> Result<T, Error<E>>
    where
        P: BlockingPolicy,
        F: Fn(&Attempt) -> Result<T, E>,
        C: Classify<T, E>,
    {
        #[cfg(feature = "tracing")]
        let _span = crate::tracing::span(&self.name).entered();
        self.policies.call_blocking_classified(&self.classifier, operation)
    }

    /// As [`Policy::call_stream`], through all policies.
    ///
    /// # Errors
    /// As [`Policy::call`], for everything up to the first item.
    pub fn call_stream<F, Fut, S, T, E>(
        &self,
        open: F,
    ) -> impl Future<Output = Result<Streamed<S, T, C>, Error<E>>> + Send
    where
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<S, E>> + Send,
        S: Stream<Item = Result<T, E>> + Send,
        C: Classify<T, E> + Clone + Send + Sync,
        T: Send,
        E: Send,
    {
        self.streaming().call(open)
    }

    /// As [`Policy::streaming`], through all policies.
    pub fn streaming<T>(&self) -> Streaming<'_, P, T, C>
    where
        C: Clone,
    {
        let streaming = Streaming::new(&self.policies, self.classifier.clone());
        #[cfg(feature = "tracing")]
        let streaming = streaming.in_pipeline(&self.name);
        streaming
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

    /// As [`boxed`](Self::boxed), for blocking operations. A call allocates nothing.
    pub fn boxed_blocking<T, E>(self) -> BoxBlockingPipeline<T, E>
    where
        P: BlockingPolicy + 'static,
        C: Classify<T, E> + Send + Sync + 'static,
        T: 'static,
        E: 'static,
    {
        BoxBlockingPipeline::new(self)
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

    fn parts(&self, parts: &mut Vec<Part>) {
        self.policies.parts(parts);
    }
}

impl<P: BlockingPolicy> BlockingPolicy for Pipeline<P> {
    #[inline]
    fn run_blocking<O: BlockingOperation>(
        &self,
        operation: &O,
    ) -> Result<O::Value, Error<O::Error>> {
        #[cfg(feature = "tracing")]
        let _span = crate::tracing::span(&self.name).entered();
        self.policies.run_blocking(operation)
    }
}

/// Builds a [`Pipeline`]; made by [`Pipeline::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct PipelineBuilder<P = Identity, C = DefaultClassifier> {
    pipeline: Pipeline<P, C>,
    composition: Composition,
    idempotent: bool,
    allowed: Vec<OrderRule>,
}

impl<P: Policy, C> PipelineBuilder<P, C> {
    /// Adds a policy inside all that were added before.
    #[expect(clippy::should_implement_trait, reason = "policies are added, not summed")]
    pub fn add<N: Policy>(mut self, policy: N) -> PipelineBuilder<Stack<P, N>, C> {
        let inner = policy.composed(&mut self.composition);
        let Pipeline { name, policies: outer, classifier } = self.pipeline;
        PipelineBuilder {
            pipeline: Pipeline { name, policies: Stack { outer, inner }, classifier },
            composition: self.composition,
            idempotent: self.idempotent,
            allowed: self.allowed,
        }
    }

    /// Adds a budget: the same as [`add`](Self::add). Put it first, so that every attempt is within it and
    /// a call that nobody pays for waits for nothing.
    pub fn budget(self, budget: Budget) -> PipelineBuilder<Stack<P, Budget>, C> {
        self.add(budget)
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
            composition: self.composition,
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

/// What the policies of one pipeline share, while it is being built.
#[derive(Debug, Default)]
pub struct Composition {
    budget: Option<RetryBudget>,
}

impl Composition {
    /// The budget on which every retry and hedge draws that has none of its own: the first one in
    /// the pipeline, or else a default one on `clock`. Also tells whether the asker is the first to
    /// draw on it, and so the one to count calls.
    pub fn budget(&mut self, own: Option<&RetryBudget>, clock: &TimeSource) -> (RetryBudget, bool) {
        let budget = match (own, &self.budget) {
            (Some(own), _) => own.clone(),
            (None, Some(shared)) => shared.clone(),
            (None, None) => RetryBudget::on_clock(clock.clone()),
        };
        let known = self.budget.as_ref().is_some_and(|shared| shared.is_same(&budget));
        self.budget.get_or_insert_with(|| budget.clone());
        (budget, !known)
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

    fn parts(&self, _: &mut Vec<Part>) {}
}

impl BlockingPolicy for Identity {
    #[inline]
    fn run_blocking<O: BlockingOperation>(
        &self,
        operation: &O,
    ) -> Result<O::Value, Error<O::Error>> {
        operation.attempt_blocking()
    }
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

    fn parts(&self, parts: &mut Vec<Part>) {
        self.outer.parts(parts);
        self.inner.parts(parts);
    }
}

impl<A: BlockingPolicy, B: BlockingPolicy> BlockingPolicy for Stack<A, B> {
    #[inline]
    fn run_blocking<O: BlockingOperation>(
        &self,
        operation: &O,
    ) -> Result<O::Value, Error<O::Error>> {
        self.outer.run_blocking(&Nested { policy: &self.inner, operation })
    }
}
