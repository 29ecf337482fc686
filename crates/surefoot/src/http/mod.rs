//! What the answers of HTTP and gRPC services mean, those of model APIs above all.
//!
//! Pure functions over the types of the [`http`] crate: nothing here sends, waits, or knows
//! a client. [`HttpClassifier`] turns an answer into a [`Classification`]: what a circuit breaker
//! counts, whether trying again can help, and the wait that was asked for.
//!
//! ```
//! use std::time::Duration;
//! use http::{HeaderMap, StatusCode};
//! use surefoot::http::classify;
//! use surefoot::{Classification, Verdict};
//!
//! let mut headers = HeaderMap::new();
//! headers.insert("retry-after", "20".parse()?);
//! let limited = classify(StatusCode::TOO_MANY_REQUESTS, &headers, None);
//! assert_eq!(limited, Classification::throttled(Some(Duration::from_secs(20))));
//!
//! // The same status, but no wait will help: the money is spent.
//! let body = br#"{"error": {"code": "insufficient_quota", "message": "You exceeded your quota."}}"#;
//! let spent = classify(StatusCode::TOO_MANY_REQUESTS, &headers, Some(body));
//! assert_eq!(spent, Classification::PERMANENT);
//! # Ok::<(), http::header::InvalidHeaderValue>(())
//! ```
//!
//! # The verdict
//!
//! A body that names its cause decides, whatever the status; else the status does.
//!
//! | body ([`ApiError`]) | or status | verdict | tried again |
//! |---|---|---|---|
//! | | 1xx, 2xx, 3xx | success | |
//! | rate limit | 429 | throttled | yes |
//! | quota spent, billing | 402 | ignored | no |
//! | overloaded, timeout | 408, 409, 5xx, so 503 and 529 too | failure | yes |
//! | too long for the model, content policy, authentication, permission, not found | all other 4xx | ignored | no |
//!
//! A 429 is about this key: others may go on, and the provider is well. 503, 529 and "overloaded"
//! are about the provider, and trip its breaker. Words that say too little to go by
//! (`invalid_request_error`, `server_error`), unknown ones, and bodies that are not JSON leave it
//! to the status. An answer with the content type of gRPC is judged by its `grpc-status`
//! ([`grpc`]), where the headers have one already.
//!
//! # Whether to try again, and when
//!
//! `x-should-retry: false` ends the retrying. `true` begins it for a status that would not be tried
//! again, except where the body names a cause that stays: no header makes a spent quota, a refused
//! key or a prompt too long better. Neither touches the verdict, or a success.
//!
//! The wait is, where it can be read, `retry-after-ms`, else `Retry-After` ([`retry_after`]), else
//! what the body says (Google's `retryDelay`, OpenAI's "try again in 6m0s"), else, where a rate
//! limit is reached, when it comes back (`RateLimit`, `x-ratelimit-reset-*`). What is malformed
//! counts as absent, of several the longest is taken, and none is shortened.
//!
//! # The rest
//!
//! | | |
//! |---|---|
//! | [`server_limits`] | what is left of a rate limit, for a limiter to learn from |
//! | [`Usage`] | how many tokens an answer used, to settle what was reserved |
//! | [`is_idempotent`] | whether a request may be sent twice |
//! | [`deadline`] | the time left, in a header |
//! | [`sse`], [`openai`], [`anthropic`] | streams of events; how they end, and the errors in them |
//! | [`grpc`] | codes, `RetryInfo`, pushback |

mod api_error;
mod duration_text;
mod google;
mod headers;
mod idempotency;
mod rate_limit;
mod stream;
mod usage;

pub mod anthropic;
pub mod deadline;
pub mod grpc;
pub mod openai;
pub mod sse;

pub use api_error::{ApiError, ApiErrorKind};
pub use headers::{retry_after, should_retry};
pub use idempotency::{idempotency_key, is_idempotent};
pub use rate_limit::server_limits;
pub use stream::StreamPart;
pub use usage::Usage;

use std::time::SystemTime;

use ::http::{HeaderMap, Response, StatusCode};
use surefoot_core::rate_limiter::ServerLimits;
use surefoot_core::{Classification, Classify, Verdict};

/// Judges an answer as [`HttpClassifier::default`] does.
pub fn classify(status: StatusCode, headers: &HeaderMap, body: Option<&[u8]>) -> Classification {
    HttpClassifier::new().classify(status, headers, body)
}

/// Judges HTTP answers; the rules are the [module's](self).
///
/// For a policy whose calls give a [`Response`], [`responses`](Self::responses) makes it a function.
///
/// ```
/// use surefoot::http::HttpClassifier;
/// use surefoot::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # async fn send() -> Result<http::Response<Vec<u8>>, std::io::Error> {
/// #     let mut overloaded = http::Response::new(br#"{"error": {"type": "overloaded_error"}}"#.to_vec());
/// #     *overloaded.status_mut() = http::StatusCode::from_u16(529).unwrap_or_default();
/// #     Ok(overloaded)
/// # }
/// let breaker = CircuitBreaker::builder("model").failure_threshold(1).build()?;
/// let model = breaker.clone().classify(HttpClassifier::new().responses());
/// let response = model.call(send).await?; // 529
/// assert_eq!(breaker.state(), CircuitState::Open);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpClassifier {
    body_required: bool,
    errors_in_success: bool,
}

impl HttpClassifier {
    /// The classifier with both options off.
    pub const fn new() -> Self {
        Self { body_required: false, errors_in_success: false }
    }

    /// Whether a 2xx whose body was read and is empty is a transient failure, for APIs that always
    /// answer with something; off by default. 204 and 205 have no body and stay successes.
    pub const fn body_required(self, required: bool) -> Self {
        Self { body_required: required, ..self }
    }

    /// Whether a 2xx whose body is an error is that error; off by default. Some gateways answer 200
    /// before they know that the model fails; OpenAI's background responses fail so too.
    pub const fn errors_in_success(self, looked_for: bool) -> Self {
        Self { errors_in_success: looked_for, ..self }
    }

    /// What an answer means; `body` is `None` where it was not read.
    ///
    /// Reads the system's clock only for a `Retry-After` or a reset that is a point in time, in
    /// an answer without a valid `Date`.
    pub fn classify(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: Option<&[u8]>,
    ) -> Classification {
        if grpc::is_grpc(headers)
            && let Some(judged) = grpc::classify(headers)
        {
            return judged;
        }
        if status.as_u16() < 400 {
            return self.classify_success(status, body).unwrap_or(Classification::SUCCESS);
        }
        let error = body.and_then(ApiError::parse);
        let kind = error.as_ref().map(ApiError::kind).filter(|kind| !kind.is_vague());
        let now = || headers::sent_at(headers).unwrap_or_else(SystemTime::now);
        let wait = headers::retry_after_or(headers, SystemTime::now)
            .or_else(|| error.as_ref()?.retry_after());
        let mut judged = match kind {
            Some(kind) => kind.classification(wait),
            None => Classification::from_http_status(status.as_u16(), wait),
        };
        if judged.verdict == (Verdict::Throttled { retry_after: None }) {
            judged = Classification::throttled(rate_limit::wait(headers, now));
        }
        match should_retry(headers) {
            Some(false) => judged.without_retry(),
            Some(true) if kind.is_none() && !judged.retryable => {
                Classification { retryable: true, retry_after: wait, ..judged }
            }
            _ => judged,
        }
    }

    /// The classifier as a function, for [`Policy::classify`](crate::Policy::classify) of calls that
    /// give a [`Response`] with its body. Every error of such a call, having no answer, is
    /// transient.
    pub fn responses<B: AsRef<[u8]>, E>(
        self,
    ) -> impl Fn(Result<&Response<B>, &E>) -> Classification + Clone {
        move |result| Classify::classify(&self, result)
    }

    fn classify_success(self, status: StatusCode, body: Option<&[u8]>) -> Option<Classification> {
        let body = body.filter(|_| status.is_success())?;
        let bare = matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT);
        if self.body_required && body.is_empty() && !bare {
            return Some(Classification::TRANSIENT);
        }
        let error = self.errors_in_success.then(|| ApiError::parse(body))?;
        error.map(|error| error.classification())
    }
}

/// As [`HttpClassifier::responses`].
impl<B: AsRef<[u8]>, E> Classify<Response<B>, E> for HttpClassifier {
    fn classify(&self, result: Result<&Response<B>, &E>) -> Classification {
        match result {
            Ok(answer) => {
                let body = Some(answer.body().as_ref());
                Self::classify(self, answer.status(), answer.headers(), body)
            }
            Err(_) => Classification::TRANSIENT,
        }
    }

    fn server_limits(&self, result: Result<&Response<B>, &E>) -> ServerLimits {
        result.map_or_else(
            |_| ServerLimits::default(),
            |answer| {
                let body = Some(answer.body().as_ref());
                server_limits(answer.status(), answer.headers(), body)
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::headers::tests::{Pairs, headers};
    use super::*;

    fn judge(status: u16, pairs: Pairs<'_>, body: &str) -> Classification {
        let status = StatusCode::from_u16(status).expect("a status");
        classify(status, &headers(pairs), Some(body.as_bytes()))
    }

    const QUOTA: &str = r#"{"error": {"code": "insufficient_quota"}}"#;
    const LIMIT: &str = r#"{"error": {"type": "rate_limit_error"}}"#;
    const OVERLOADED: &str = r#"{"type": "error", "error": {"type": "overloaded_error"}}"#;
    const INVALID: &str = r#"{"error": {"type": "invalid_request_error"}}"#;
    const HTML: &str = "<html>503</html>";

    #[test]
    fn a_body_that_names_its_cause_decides_else_the_status() {
        use Classification as C;
        let throttled = C::throttled(None);
        for (status, body, expected) in [
            (200, "", C::SUCCESS),
            (200, OVERLOADED, C::SUCCESS),
            (302, "", C::SUCCESS),
            (400, "", C::PERMANENT),
            (402, "", C::PERMANENT),
            (408, "", C::TRANSIENT),
            (409, "", C::TRANSIENT),
            (413, "", C::PERMANENT),
            (429, "", throttled),
            (429, HTML, throttled),
            (429, LIMIT, throttled),
            (429, INVALID, throttled),
            (429, QUOTA, C::PERMANENT),
            (429, OVERLOADED, C::TRANSIENT),
            (400, LIMIT, throttled),
            (403, QUOTA, C::PERMANENT),
            (400, INVALID, C::PERMANENT),
            (500, INVALID, C::TRANSIENT),
            (500, r#"{"error": {"type": "server_error"}}"#, C::TRANSIENT),
            (400, r#"{"error": {"type": "server_error"}}"#, C::PERMANENT),
            (503, HTML, C::TRANSIENT),
            (529, "", C::TRANSIENT),
            (529, OVERLOADED, C::TRANSIENT),
            (999, "", C::TRANSIENT),
        ] {
            assert_eq!(judge(status, &[], body), expected, "{status} {body}");
        }
    }

    #[test]
    fn the_wait_is_the_headers_else_the_bodys_else_the_limits() {
        let google = r#"{"error": {"status": "RESOURCE_EXHAUSTED",
            "details": [{"retryDelay": "34s"}]}}"#;
        let ms = ("retry-after-ms", &b"250"[..]);
        let seconds = ("retry-after", &b"20"[..]);
        let bad = ("retry-after", &b"soon"[..]);
        let limit = ("ratelimit", &b"\"a\";r=0;t=9"[..]);
        for (pairs, body, millis) in [
            (&[ms, seconds, limit][..], google, Some(250)),
            (&[seconds, limit], google, Some(20_000)),
            (&[bad, limit], google, Some(34_000)),
            (&[bad, limit], LIMIT, Some(9_000)),
            (&[bad], LIMIT, None),
        ] {
            let wait = millis.map(Duration::from_millis);
            assert_eq!(judge(429, pairs, body), Classification::throttled(wait), "{pairs:?}");
        }
        let busy = judge(503, &[seconds, limit], OVERLOADED);
        let wait = Some(Duration::from_secs(20));
        assert_eq!(busy, Classification::TRANSIENT.with_retry_after(wait));
        assert_eq!(judge(503, &[limit], ""), Classification::TRANSIENT, "no rate limit");
    }

    #[test]
    fn x_should_retry_decides_about_the_retry_and_about_nothing_else() {
        use Classification as C;
        let yes = ("x-should-retry", &b"true"[..]);
        let no = ("x-should-retry", &b"false"[..]);
        let wait = ("retry-after", &b"3"[..]);
        let limit = ("ratelimit", &b"\"a\";r=0;t=3"[..]);
        let three = Some(Duration::from_secs(3));
        let again = C { retryable: true, ..C::PERMANENT };
        for (status, pairs, body, expected) in [
            (503, &[no][..], "", C::TRANSIENT.without_retry()),
            (429, &[no, wait], "", C::throttled(three).without_retry()),
            (400, &[yes], INVALID, again),
            (418, &[yes, wait], "", again.with_retry_after(three)),
            (503, &[yes], "", C::TRANSIENT),
            (429, &[yes, wait], LIMIT, C::throttled(three)),
            (429, &[yes, limit], "", C::throttled(three)),
            (200, &[yes], "", C::SUCCESS),
            (200, &[no], "", C::SUCCESS),
            // What stays, stays.
            (429, &[yes, wait], QUOTA, C::PERMANENT),
            (400, &[yes], r#"{"error": {"code": "context_length_exceeded"}}"#, C::PERMANENT),
        ] {
            assert_eq!(judge(status, pairs, body), expected, "{status} {pairs:?} {body}");
        }
    }

    #[test]
    fn a_body_that_was_not_read_leaves_it_to_the_status() {
        let status = StatusCode::TOO_MANY_REQUESTS;
        let judged = classify(status, &HeaderMap::new(), None);
        assert_eq!(judged, Classification::throttled(None));
    }

    #[test]
    fn a_grpc_answer_is_judged_by_its_grpc_status() {
        let grpc = ("content-type", &b"application/grpc+proto"[..]);
        let unavailable = ("grpc-status", &b"14"[..]);
        assert_eq!(judge(200, &[grpc, unavailable], ""), Classification::TRANSIENT);
        assert_eq!(judge(200, &[grpc], ""), Classification::SUCCESS, "the trailers will tell");
        assert_eq!(judge(503, &[grpc], ""), Classification::TRANSIENT);
        assert_eq!(judge(200, &[unavailable], ""), Classification::SUCCESS, "not gRPC");
    }

    #[test]
    fn an_empty_body_is_a_failure_where_one_is_required() {
        let classifier = HttpClassifier::new().body_required(true);
        let judge = |status: u16, body: Option<&[u8]>| {
            let status = StatusCode::from_u16(status).expect("a status");
            classifier.classify(status, &HeaderMap::new(), body)
        };
        assert_eq!(judge(200, Some(b"")), Classification::TRANSIENT);
        assert_eq!(judge(200, Some(b"x")), Classification::SUCCESS);
        assert_eq!(judge(200, None), Classification::SUCCESS, "not read");
        assert_eq!(judge(204, Some(b"")), Classification::SUCCESS);
        assert_eq!(judge(304, Some(b"")), Classification::SUCCESS);
    }

    #[test]
    fn an_error_in_a_success_is_found_where_it_is_looked_for() {
        let classifier = HttpClassifier::new().errors_in_success(true);
        let judge = |body: &str| {
            classifier.classify(StatusCode::OK, &HeaderMap::new(), Some(body.as_bytes()))
        };
        assert_eq!(judge(OVERLOADED), Classification::TRANSIENT);
        assert_eq!(judge(LIMIT), Classification::throttled(None));
        assert_eq!(judge(INVALID), Classification::PERMANENT);
        assert_eq!(judge(r#"{"status": "completed", "error": null}"#), Classification::SUCCESS);
        assert_eq!(judge("plain text"), Classification::SUCCESS);
    }

    #[test]
    fn it_classifies_responses_and_the_errors_of_their_transport() {
        let mut answer = Response::new(QUOTA.as_bytes());
        *answer.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        let judge = |result| Classify::<_, ()>::classify(&HttpClassifier::new(), result);
        assert_eq!(judge(Ok(&answer)), Classification::PERMANENT);
        assert_eq!(judge(Err(&())), Classification::TRANSIENT);
    }
}
