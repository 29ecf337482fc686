//! A value for when a policy refuses.

use std::future::Future;

use surefoot_core::{Error, Rejection};

use crate::{Attempt, Policy};

/// A policy with a value for when it refuses; made by [`Policy::with_fallback`].
///
/// The specification's `CircuitBreaker(name, fallback=…)`: the fallback answers while the circuit
/// is open, and only then. A caller's cancellation runs no fallback.
#[derive(Clone, Debug)]
pub struct WithFallback<P, F> {
    policy: P,
    fallback: F,
}

impl<P: Policy, F> WithFallback<P, F> {
    pub(crate) fn new(policy: P, fallback: F) -> Self {
        Self { policy, fallback }
    }

    /// As [`Policy::call`], with the fallback's value where a policy refused.
    ///
    /// # Errors
    /// As [`Policy::call`], but never [`Error::Rejected`].
    pub async fn call<O, Fut, T, E>(&self, operation: O) -> Result<T, Error<E>>
    where
        O: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, E>> + Send,
        F: Fn(&Rejection) -> T,
        T: Send,
        E: Send,
    {
        self.or_fallback(self.policy.call(operation).await)
    }

    /// As [`Policy::call_blocking`], with the fallback's value where a policy refused.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_blocking<O, T, E>(&self, operation: O) -> Result<T, Error<E>>
    where
        O: Fn(&Attempt) -> Result<T, E>,
        F: Fn(&Rejection) -> T,
    {
        self.or_fallback(self.policy.call_blocking(operation))
    }

    fn or_fallback<T, E>(&self, result: Result<T, Error<E>>) -> Result<T, Error<E>>
    where
        F: Fn(&Rejection) -> T,
    {
        match result {
            Err(Error::Rejected(rejection)) => Ok((self.fallback)(&rejection)),
            result => result,
        }
    }
}
