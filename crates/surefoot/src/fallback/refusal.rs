//! A value for when a policy refuses: the specification's `CircuitBreaker(fallback=…)`.

use std::future::Future;

use surefoot_core::{Classify, Error, Rejection};

use crate::{Attempt, BlockingPolicy, Policy};

/// A policy with a value for when it refuses; made by [`Policy::with_fallback`].
///
/// The specification's `CircuitBreaker(name, fallback=…)`: the fallback answers while the circuit
/// is open, also if it opens between two attempts of a retry, and only then. A caller's
/// cancellation runs no fallback.
#[derive(Clone, Debug)]
pub struct WithFallback<P, C, F> {
    policy: P,
    classifier: C,
    fallback: F,
}

impl<P: Policy, C, F> WithFallback<P, C, F> {
    pub(crate) fn new(policy: P, classifier: C, fallback: F) -> Self {
        Self { policy, classifier, fallback }
    }

    /// As [`Policy::call`], with the fallback's value where a policy refused.
    ///
    /// # Errors
    /// As [`Policy::call`], but never one that ends with a rejection.
    pub async fn call<O, Fut, T, E>(&self, operation: O) -> Result<T, Error<E>>
    where
        O: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, E>> + Send,
        C: Classify<T, E> + Sync,
        F: Fn(&Rejection) -> T,
        T: Send,
        E: Send,
    {
        let result = self.policy.call_classified(&self.classifier, operation).await;
        self.or_fallback(result)
    }

    /// As [`BlockingPolicy::call_blocking`], with the fallback's value where a policy refused.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_blocking<O, T, E>(&self, operation: O) -> Result<T, Error<E>>
    where
        P: BlockingPolicy,
        O: Fn(&Attempt) -> Result<T, E>,
        C: Classify<T, E>,
        F: Fn(&Rejection) -> T,
    {
        self.or_fallback(self.policy.call_blocking_classified(&self.classifier, operation))
    }

    fn or_fallback<T, E>(&self, result: Result<T, Error<E>>) -> Result<T, Error<E>>
    where
        F: Fn(&Rejection) -> T,
    {
        match result {
            Err(error) => match error.rejection() {
                Some(rejection) => Ok((self.fallback)(rejection)),
                None => Err(error),
            },
            result => result,
        }
    }
}
