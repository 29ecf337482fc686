//! Judging results: which outcome of an operation is which verdict.

use std::time::Duration;

use crate::Verdict;

/// What a result means: its verdict, whether trying again can help, and the wait that the callee
/// asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classification {
    /// What the circuit breaker counts.
    pub verdict: Verdict,
    /// Whether a retry may help.
    pub retryable: bool,
    /// The wait the callee asked for before the next try.
    pub retry_after: Option<Duration>,
}

impl Classification {
    /// The operation worked.
    pub const SUCCESS: Self =
        Self { verdict: Verdict::Success, retryable: false, retry_after: None };
    /// The callee failed in a way that may pass.
    pub const TRANSIENT: Self =
        Self { verdict: Verdict::Failure, retryable: true, retry_after: None };
    /// The request itself is at fault: says nothing about the callee, and trying again cannot
    /// help (a 400, a 404, a spent quota).
    pub const PERMANENT: Self =
        Self { verdict: Verdict::Ignored, retryable: false, retry_after: None };

    /// The callee asked us to slow down, and for how long, if it said so (a 429).
    pub const fn throttled(retry_after: Option<Duration>) -> Self {
        Self { verdict: Verdict::Throttled { retry_after }, retryable: true, retry_after }
    }

    /// The same, with the wait the callee asked for.
    pub const fn with_retry_after(self, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..self }
    }

    /// The same, but not to be tried again.
    pub const fn without_retry(self) -> Self {
        Self { retryable: false, ..self }
    }
}

/// Judges the results of operations that give a `T` or an `E`.
///
/// Implemented for every closure `Fn(Result<&T, &E>) -> Classification`; the default,
/// [`DefaultClassifier`], takes every value as a success and every error as transient.
///
/// ```
/// use surefoot_core::{Classification, Classify};
///
/// let by_status = |result: Result<&u16, &std::io::Error>| match result {
///     Ok(500..) | Err(_) => Classification::TRANSIENT,
///     Ok(429) => Classification::throttled(None),
///     Ok(400..) => Classification::PERMANENT,
///     Ok(_) => Classification::SUCCESS,
/// };
/// assert_eq!(by_status.classify(Ok(&404)), Classification::PERMANENT);
/// ```
pub trait Classify<T, E> {
    /// The meaning of this result.
    fn classify(&self, result: Result<&T, &E>) -> Classification;
}

/// Every value is a success, every error a transient failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DefaultClassifier;

impl<T, E> Classify<T, E> for DefaultClassifier {
    fn classify(&self, result: Result<&T, &E>) -> Classification {
        match result {
            Ok(_) => Classification::SUCCESS,
            Err(_) => Classification::TRANSIENT,
        }
    }
}

impl<T, E, F> Classify<T, E> for F
where
    F: Fn(Result<&T, &E>) -> Classification,
{
    fn classify(&self, result: Result<&T, &E>) -> Classification {
        self(result)
    }
}
