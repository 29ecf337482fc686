//! A policy together with the judgement of results.

use std::future::Future;

use futures_core::Stream;
use surefoot_core::rate_limiter::ServerLimits;
use surefoot_core::{Classification, Classify, Error};

use crate::stream::{Streamed, Streaming};
use crate::{Attempt, BlockingPolicy, Policy, WithFallback};

/// A policy whose results are judged by a classifier; made by [`Policy::classify`].
///
/// ```
/// use surefoot::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), ConfigError> {
/// let breaker = CircuitBreaker::builder("api").failure_threshold(1).build()?;
/// let api = breaker.clone().classify(|result: Result<&u16, &()>| match result {
///     Ok(500..) | Err(()) => Classification::TRANSIENT,
///     Ok(_) => Classification::SUCCESS,
/// });
/// assert_eq!(api.call(|| async { Ok(503) }).await, Ok(503));
/// assert_eq!(breaker.state(), CircuitState::Open); // a value can be a failure
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Classified<P, C> {
    policy: P,
    classifier: C,
}

impl<P: Policy, C> Classified<P, C> {
    pub(crate) fn new(policy: P, classifier: C) -> Self {
        Self { policy, classifier }
    }

    /// As [`Policy::with_fallback`].
    pub fn with_fallback<F>(self, fallback: F) -> WithFallback<P, C, F> {
        WithFallback::new(self.policy, self.classifier, fallback)
    }

    /// As [`Policy::call`].
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
        self.policy.call_classified(&self.classifier, operation)
    }

    /// As [`Policy::call_stream`]: items are judged by the classifier, too.
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

    /// As [`Policy::streaming`]: items are judged by the classifier, too.
    pub fn streaming<T>(&self) -> Streaming<'_, P, T, C>
    where
        C: Clone,
    {
        Streaming::new(&self.policy, self.classifier.clone())
    }

    /// As [`BlockingPolicy::call_blocking`].
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
        self.policy.call_blocking_classified(&self.classifier, operation)
    }
}

/// The specification's `retry_on`: tries again only on errors for which `is_transient` holds. All
/// errors are failures to a circuit breaker.
///
/// ```
/// use std::io::{Error as IoError, ErrorKind};
/// use surefoot::prelude::*;
///
/// # fn main() -> Result<(), ConfigError> {
/// let retry = Retry::builder().max_attempts(5).build()?;
/// let retry = retry.classify(retry_on(|error: &IoError| error.kind() == ErrorKind::TimedOut));
/// let denied = retry.call_blocking(|_| Err::<(), _>(IoError::from(ErrorKind::PermissionDenied)));
/// assert!(matches!(denied, Err(Error::Exhausted { attempts: 1, .. })));
/// # Ok(())
/// # }
/// ```
pub fn retry_on<T, E>(
    is_transient: impl Fn(&E) -> bool + Clone,
) -> impl Fn(Result<&T, &E>) -> Classification + Clone {
    move |result| match result {
        Ok(_) => Classification::SUCCESS,
        Err(error) if is_transient(error) => Classification::TRANSIENT,
        Err(_) => Classification::TRANSIENT.without_retry(),
    }
}

/// A classifier together with a function that reads what an answer says about its server's limits,
/// for a limiter that is [`learning`](crate::Limiter::learning); made by [`limits_from`].
#[derive(Clone, Copy, Debug)]
pub struct LimitsFrom<C, R> {
    classifier: C,
    read: R,
}

/// Judges results by `classifier`, and has `read` say what they tell of the server's limits. For
/// answers that are no `http::Response`; those an `HttpClassifier` reads.
///
/// ```
/// use surefoot::prelude::*;
/// use surefoot::rate_limiter::{ServerBudget, ServerLimits};
/// use surefoot::{DefaultClassifier, limits_from};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// struct Answer { calls_left: u64 }
///
/// let limiter = RateLimiter::builder("search").build()?; // 100 a minute
/// let read = |result: Result<&Answer, &std::io::Error>| match result {
///     Ok(answer) => {
///         let remaining = Some(answer.calls_left);
///         let budgets = vec![ServerBudget { remaining, ..ServerBudget::of("requests") }];
///         ServerLimits { budgets, ..ServerLimits::default() }
///     }
///     Err(_) => ServerLimits::default(),
/// };
/// let search = limiter.learning().classify_with(limits_from(DefaultClassifier, read));
/// search.call(|| async { Ok(Answer { calls_left: 7 }) }).await?;
/// assert_eq!(limiter.remaining(), 7);
/// # Ok(())
/// # }
/// ```
pub fn limits_from<C, R, T, E>(classifier: C, read: R) -> LimitsFrom<C, R>
where
    R: Fn(Result<&T, &E>) -> ServerLimits,
{
    LimitsFrom { classifier, read }
}

impl<C, R, T, E> Classify<T, E> for LimitsFrom<C, R>
where
    C: Classify<T, E>,
    R: Fn(Result<&T, &E>) -> ServerLimits,
{
    fn classify(&self, result: Result<&T, &E>) -> Classification {
        self.classifier.classify(result)
    }

    fn server_limits(&self, result: Result<&T, &E>) -> ServerLimits {
        (self.read)(result)
    }

    fn never_sent(&self, error: &E) -> bool {
        self.classifier.never_sent(error)
    }
}
