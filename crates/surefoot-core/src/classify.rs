//! Judging results: which outcome of an operation is which verdict.

use std::time::Duration;

use crate::Verdict;
use crate::rate_limiter::ServerLimits;

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

    /// What an HTTP status means, with the wait in its `Retry-After` header, if it has one
    /// ([`retry_after`](crate::retry::retry_after) reads it).
    ///
    /// 429 is throttled; 408, 409 and 5xx are transient; every other 4xx is permanent; the rest is
    /// success.
    ///
    /// ```
    /// use std::time::Duration;
    /// use surefoot_core::{Classification, Verdict};
    ///
    /// let wait = Some(Duration::from_secs(20));
    /// let busy = Classification::from_http_status(429, wait);
    /// assert_eq!(busy.verdict, Verdict::Throttled { retry_after: wait });
    /// assert_eq!(Classification::from_http_status(404, None), Classification::PERMANENT);
    /// assert!(Classification::from_http_status(503, wait).retryable);
    /// ```
    pub const fn from_http_status(status: u16, retry_after: Option<Duration>) -> Self {
        match status {
            429 => Self::throttled(retry_after),
            408 | 409 | 500.. => Self::TRANSIENT.with_retry_after(retry_after),
            400..500 => Self::PERMANENT,
            _ => Self::SUCCESS,
        }
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

    /// What this result says about the limits of its server. By default no more than its
    /// classification does: whether the call was throttled, and for how long.
    fn server_limits(&self, result: Result<&T, &E>) -> ServerLimits {
        self.classify(result).into()
    }

    /// Whether this error means that the request was certainly never sent: then sending it again does no harm,
    /// whatever it asks for. A connection that was refused means it only where no redirect can have come
    /// before. By default no error does.
    fn never_sent(&self, error: &E) -> bool {
        let _ = error;
        false
    }
}

/// Says whether the call was throttled, and the wait that was asked for.
impl From<Classification> for ServerLimits {
    fn from(judged: Classification) -> Self {
        let throttled = matches!(judged.verdict, Verdict::Throttled { .. });
        Self { throttled, retry_after: judged.retry_after, ..Self::default() }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_means_what_its_class_means_except_for_a_few() {
        let wait = Some(Duration::from_secs(20));
        let transient = Classification::TRANSIENT.with_retry_after(wait);
        for (status, meaning) in [
            (200, Classification::SUCCESS),
            (399, Classification::SUCCESS),
            (400, Classification::PERMANENT),
            (404, Classification::PERMANENT),
            (408, transient),
            (409, transient),
            (429, Classification::throttled(wait)),
            (499, Classification::PERMANENT),
            (500, transient),
            (599, transient),
        ] {
            assert_eq!(Classification::from_http_status(status, wait), meaning, "{status}");
        }
    }

    #[test]
    fn a_failure_can_be_one_that_is_not_tried_again() {
        let failed = Classification::TRANSIENT.without_retry();
        assert_eq!(failed, Classification { retryable: false, ..Classification::TRANSIENT });
    }

    #[test]
    fn a_limiter_learns_from_a_verdict_that_asks_for_a_pause() {
        let wait = Some(Duration::from_secs(7));
        let limits = ServerLimits::from(Classification::throttled(wait));
        assert_eq!((limits.throttled, limits.retry_after), (true, wait));
        assert_eq!(ServerLimits::from(Classification::SUCCESS), ServerLimits::default());
    }
}
