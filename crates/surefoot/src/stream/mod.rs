//! Streamed answers: one call, whose verdict is known at its end.
//!
//! A model that answers token by token is called once, however many tokens come. The call begins
//! when the stream is opened and ends with its last item:
//!
//! ```text
//! open ─► first item ─► item ─► … ─► terminal event      success
//!   └── attempt timeout ──┘ idle timeout between items
//!   └── retried ──────────┘ from here on nothing is retried: the answer is partly out
//!
//! an error, or an end before the terminal event           failure, `Error::Interrupted`
//! dropped by the consumer                                 cancelled
//! ```
//!
//! - **Permits** of the policies inside are held until the end, so a half-open breaker's trial call
//!   is the whole stream.
//! - **Time limits.** The innermost timeout bounds the first item. Every timeout around it bounds
//!   the whole stream. An [idle timeout](Streaming::idle_timeout) bounds the gaps, and only while we
//!   wait for the producer: a slow consumer does not run into it.
//! - **The end.** By default a stream is complete when it ends after at least one item. With
//!   [`until`](Streaming::until) it is complete with its terminal item (`[DONE]`,
//!   `message_stop`), which is then its last, and an end before that is a failure.
//! - **Late.** An item that comes after the limit of the whole is still handed on, the one after it no more,
//!   unless it is the terminal one. An error that comes after one is a timeout with that error
//!   inside.
//! - **Items are judged** by the policy's classifier: an item that says "overloaded" can be a
//!   failure. The first such item is the call's verdict; what follows it is handed on all the same.
//!   Where nothing follows, let `until` hold for it too.
//! - **Slow calls.** A breaker that trips on slow calls measures the whole stream, the consumer's pauses
//!   included: give a model that streams for minutes another trip.
//!
//! ```
//! use std::pin::Pin;
//! use futures_lite::{Stream, StreamExt, stream};
//! use surefoot::prelude::*;
//!
//! # type Tokens = Pin<Box<dyn Stream<Item = Result<&'static str, std::io::Error>> + Send>>;
//! # async fn ask_the_model() -> Result<Tokens, std::io::Error> {
//! #     Ok(Box::pin(stream::iter([Ok("Hello"), Ok(", world"), Ok("[DONE]")])))
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = CircuitBreaker::builder("model").build()?;
//! let mut answer = model.streaming().until(|token| *token == "[DONE]").call(ask_the_model).await?;
//! while let Some(token) = answer.next().await {
//!     print!("{}", token?);
//! }
//! assert_eq!(model.status().success_count, 1);
//! # Ok(())
//! # }
//! ```
//!
//! **Cancellation.** Dropping the stream drops the one below, which closes its connection, and then
//! the permits, which counts as nothing; dropped by one of our own deadlines, it is a failure.
//!
//! **Cost.** Opening allocates the stream once, and each permit kept. An item costs a comparison or
//! two; with a limit for the whole stream, a clock reading; with an idle timeout, another and a
//! timer for each time we have to wait.

mod kept;
mod opening;
mod streamed;

use std::future::Future;

use futures_core::Stream;
#[cfg(feature = "tracing")]
use surefoot_core::Name;
use surefoot_core::{Classify, DefaultClassifier, Error, Timeout};

pub use kept::{Holding, Kept};
pub(crate) use opening::{Opened, Opening};
pub use streamed::Streamed;

use crate::{BoxClassifier, BoxPipeline, BoxStreamed, Policy};

/// How a streamed answer is to be received; made by [`Policy::streaming`].
#[derive(Debug)]
#[must_use = "nothing is opened until `call`"]
pub struct Streaming<'p, P, T, C = DefaultClassifier, U = fn(&T) -> bool> {
    policy: &'p P,
    classifier: C,
    idle: Option<Timeout>,
    until: Option<U>,
    #[cfg(feature = "tracing")]
    pipeline: Option<&'p Name>,
    items: std::marker::PhantomData<fn(T)>,
}

impl<'p, P, T, C> Streaming<'p, P, T, C> {
    pub(crate) fn new(policy: &'p P, classifier: C) -> Self {
        Self {
            policy,
            classifier,
            idle: None,
            until: None,
            #[cfg(feature = "tracing")]
            pipeline: None,
            items: std::marker::PhantomData,
        }
    }

    /// The pipeline whose span the opening runs in.
    #[cfg(feature = "tracing")]
    pub(crate) fn in_pipeline(self, name: &'p Name) -> Self {
        Self { pipeline: Some(name), ..self }
    }
}

impl<'p, P, T, C, U: Fn(&T) -> bool> Streaming<'p, P, T, C, U> {
    /// The longest time to wait for the next item. Default: as long as it takes.
    pub fn idle_timeout(self, limit: Timeout) -> Self {
        Self { idle: Some(limit), ..self }
    }

    /// The stream is complete with the item for which `is_terminal` holds, and not before. Default:
    /// it is complete when it ends.
    pub fn until<V: Fn(&T) -> bool>(self, is_terminal: V) -> Streaming<'p, P, T, C, V> {
        Streaming {
            policy: self.policy,
            classifier: self.classifier,
            idle: self.idle,
            until: Some(is_terminal),
            #[cfg(feature = "tracing")]
            pipeline: self.pipeline,
            items: self.items,
        }
    }
}

impl<P: Policy, T, C, U: Fn(&T) -> bool> Streaming<'_, P, T, C, U> {
    /// Opens the stream under the policy, and waits for its first item.
    ///
    /// # Errors
    /// As [`Policy::call`], for everything up to the first item; a stream without any item is
    /// [`Interrupted`](Error::Interrupted).
    pub async fn call<F, Fut, S, E>(self, open: F) -> Result<Streamed<S, T, C, U>, Error<E>>
    where
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<S, E>> + Send,
        S: Stream<Item = Result<T, E>> + Send,
        C: Classify<T, E> + Send + Sync,
        T: Send,
        E: Send,
    {
        let Self { policy, classifier, idle, until, .. } = self;
        let opening = Opening::new(open, &classifier);
        let call = policy.run(&opening);
        #[cfg(feature = "tracing")]
        let call = crate::tracing::in_optional_span(self.pipeline, call);
        let opened = call.await?;
        Ok(Streamed::new(opened, classifier, idle, until))
    }
}

impl<T, E, U> Streaming<'_, BoxPipeline<T, E>, T, BoxClassifier<T, E>, U>
where
    T: Send + 'static,
    E: Send + 'static,
    U: Fn(&T) -> bool,
{
    /// Opens the stream under the pipeline, and waits for its first item.
    ///
    /// # Errors
    /// As for a pipeline whose type is known.
    pub async fn call<F, Fut, S>(self, open: F) -> Result<BoxStreamed<T, E, U>, Error<E>>
    where
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<S, E>> + Send,
        S: Stream<Item = Result<T, E>> + Send + 'static,
    {
        let Self { policy, classifier, idle, until, .. } = self;
        let opened = policy.open(open).await?;
        Ok(Streamed::new(opened, classifier, idle, until))
    }
}
