//! The one trait of everything that can protect a call.

use std::future::Future;
use std::sync::Arc;

use futures_core::Stream;
use surefoot_core::rate_limiter::ServerLimits;
use surefoot_core::{Classification, Classify, DefaultClassifier, Error};

use crate::health::Inspect;
use crate::operation::{BlockingOperation, Judged, Operation, Typed};
use crate::stream::{Kept, Streamed, Streaming};
use crate::{Attempt, Classified, Composition, Part, WithFallback};

/// Something that protects calls: a circuit breaker, a retry, a timeout, or a whole
/// [`Pipeline`](crate::Pipeline) of them.
///
/// ```
/// use surefoot::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), ConfigError> {
/// let breaker = CircuitBreaker::builder("weather").build()?;
/// let answer = breaker.call(|| async { Ok::<_, std::io::Error>("sunny") }).await;
/// assert!(matches!(answer, Ok("sunny")));
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a policy",
    note = "a builder becomes a policy by `.build()?`",
    note = "of a `Bulkhead` a compartment is one: `bulkhead.compartment(\"name\")?`",
    note = "of a `KeyedRateLimiter` one key is one: `limiter.key(key)`",
    note = "a fallback goes around the whole pipeline: `pipeline.with_fallback(…)`, or `Fallback` with pipelines as links",
    note = "a pipeline with a classifier of its own cannot be added to another: classify the outer one"
)]
pub trait Policy: Send + Sync {
    /// Runs an operation under this policy. For implementers; callers use
    /// [`call`](Self::call).
    fn run<O: Operation>(
        &self,
        operation: &O,
    ) -> impl Future<Output = Result<O::Value, Error<O::Error>>> + Send;

    /// Lists what this policy is made of, outermost first, for the order checks of a pipeline.
    fn parts(&self, parts: &mut Vec<Part>);

    /// Lists what of it has something to tell to a registry, outermost first: see
    /// [`Registry::register_pipeline`](crate::Registry::register_pipeline). By default nothing.
    fn inspected(&self, found: &mut Vec<Arc<dyn Inspect>>) {
        let _ = found;
    }

    /// Called when a pipeline takes the policy in: the place for defaults that only make sense
    /// there.
    fn composed(self, composition: &mut Composition) -> Self
    where
        Self: Sized,
    {
        let _ = composition;
        self
    }

    /// Calls `operation` under this policy.
    ///
    /// The operation is a closure that makes a future, because it may be called several times.
    /// Dropping the returned future cancels the call at once, wherever it waits; see each policy
    /// for what that means to it. The future runs under any executor.
    ///
    /// # Errors
    /// See [`Error`]: the operation's own error, a policy's refusal, a timeout, or that retrying
    /// gave up.
    #[inline]
    fn call<F, Fut, T, E>(&self, operation: F) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        Self: Sized,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, E>> + Send,
        T: Send,
        E: Send,
    {
        self.call_classified(&DefaultClassifier, operation)
    }

    /// Calls an operation whose answer is a stream, as one call: see [`crate::stream`].
    ///
    /// # Errors
    /// As [`call`](Self::call), for everything up to the first item.
    fn call_stream<F, Fut, S, T, E>(
        &self,
        open: F,
    ) -> impl Future<Output = Result<Streamed<S, T>, Error<E>>> + Send
    where
        Self: Sized,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<S, E>> + Send,
        S: Stream<Item = Result<T, E>> + Send,
        T: Send,
        E: Send,
    {
        self.streaming().call(open)
    }

    /// Options for [`call_stream`](Self::call_stream).
    fn streaming<T>(&self) -> Streaming<'_, Self, T>
    where
        Self: Sized,
    {
        Streaming::new(self, DefaultClassifier)
    }

    /// [`call`](Self::call) with results judged by `classifier`.
    #[doc(hidden)]
    #[inline]
    fn call_classified<F, Fut, C, T, E>(
        &self,
        classifier: &C,
        operation: F,
    ) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        Self: Sized,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, E>> + Send,
        C: Classify<T, E> + Sync,
        T: Send,
        E: Send,
    {
        async move { self.run(&Typed::new(operation, classifier)).await }
    }

    /// The same policy with results judged by `classifier`, a
    /// `Fn(Result<&T, &E>) -> Classification`.
    fn classify<T, E, C>(self, classifier: C) -> Classified<Self, C>
    where
        Self: Sized,
        C: Fn(Result<&T, &E>) -> Classification,
    {
        Classified::new(self, classifier)
    }

    /// The same with a [`Classify`] that is more than a function, such as an
    /// `HttpClassifier` of the feature `http` or what [`limits_from`](crate::limits_from)
    /// makes: it also says what an answer tells of its server's limits.
    fn classify_with<C>(self, classifier: C) -> Classified<Self, C>
    where
        Self: Sized,
    {
        Classified::new(self, classifier)
    }

    /// The same policy with a value for when it refuses: `fallback` is asked for it when a call is
    /// rejected, and not when the operation itself fails.
    fn with_fallback<F>(self, fallback: F) -> WithFallback<Self, DefaultClassifier, F>
    where
        Self: Sized,
    {
        WithFallback::new(self, DefaultClassifier, fallback)
    }
}

/// A [`Policy`] that can also protect code which blocks its thread: all but a
/// [`Hedge`](crate::Hedge), whose losing attempt could not be given up.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot protect blocking code",
    note = "a hedge gives up the attempt that lost, which blocking code cannot be made to do",
    note = "protect a future with `call`, or leave the hedge out"
)]
pub trait BlockingPolicy: Policy {
    /// Runs an operation under this policy on the calling thread. For implementers; callers use
    /// [`call_blocking`](Self::call_blocking).
    ///
    /// # Errors
    /// As [`call`](Policy::call).
    fn run_blocking<O: BlockingOperation>(
        &self,
        operation: &O,
    ) -> Result<O::Value, Error<O::Error>>;

    /// Calls `operation` under this policy on the calling thread, which it blocks. The operation
    /// is told which [`Attempt`] it is and how much time it has.
    ///
    /// # Errors
    /// As [`call`](Policy::call).
    #[inline]
    fn call_blocking<F, T, E>(&self, operation: F) -> Result<T, Error<E>>
    where
        Self: Sized,
        F: Fn(&Attempt) -> Result<T, E>,
    {
        self.call_blocking_classified(&DefaultClassifier, operation)
    }

    /// [`call_blocking`](Self::call_blocking) with results judged by `classifier`.
    #[doc(hidden)]
    #[inline]
    fn call_blocking_classified<F, C, T, E>(
        &self,
        classifier: &C,
        operation: F,
    ) -> Result<T, Error<E>>
    where
        Self: Sized,
        F: Fn(&Attempt) -> Result<T, E>,
        C: Classify<T, E>,
    {
        self.run_blocking(&Typed::new(operation, classifier))
    }
}

/// An operation under a policy, seen as an operation by the policy outside.
pub(crate) struct Nested<'a, P, O> {
    pub(crate) policy: &'a P,
    pub(crate) operation: &'a O,
}

impl<P, O: Judged> Judged for Nested<'_, P, O> {
    type Value = O::Value;
    type Error = O::Error;

    const STREAMS: bool = O::STREAMS;

    fn keep(&self, value: &mut O::Value, kept: Kept) {
        self.operation.keep(value, kept);
    }

    #[inline]
    fn classify(&self, result: Result<&O::Value, &O::Error>) -> Classification {
        self.operation.classify(result)
    }

    fn server_limits(&self, result: Result<&O::Value, &O::Error>) -> ServerLimits {
        self.operation.server_limits(result)
    }
}

impl<P: Policy, O: Operation> Operation for Nested<'_, P, O> {
    #[inline]
    fn attempt(&self) -> impl Future<Output = Result<O::Value, Error<O::Error>>> + Send {
        self.policy.run(self.operation)
    }
}

impl<P: BlockingPolicy, O: BlockingOperation> BlockingOperation for Nested<'_, P, O> {
    #[inline]
    fn attempt_blocking(&self) -> Result<O::Value, Error<O::Error>> {
        self.policy.run_blocking(self.operation)
    }
}
