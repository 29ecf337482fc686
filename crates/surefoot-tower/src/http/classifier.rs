//! What responses and transport errors mean.

use std::error::Error as StdError;
use std::io;

use http::{Extensions, HeaderMap, Response, StatusCode};
use surefoot::http::{HttpClassifier, grpc, server_limits};
use surefoot::rate_limiter::ServerLimits;
use surefoot::{Classification, Classify};

use super::ErrorBody;
use super::first_frame::NothingButTrailers;
use crate::ServiceError;

/// Judges HTTP responses by status, headers and, where an [`ErrorBodyLayer`](super::ErrorBodyLayer) has read it,
/// body: the rules are those of [`surefoot::http`], gRPC's codes among them.
///
/// What kept a response from coming is judged by whatever error is known in its chain of sources:
///
/// | error | verdict | tried again |
/// |---|---|---|
/// | the request itself is at fault: an invalid URI or header; one that reqwest could not build, or that was redirected too often; with feature `hyper`, one that hyper calls the user's | ignored | no |
/// | the peer does not speak HTTP, or not this version (feature `hyper`) | failure | no |
/// | reqwest's `error_for_status` | as the status | |
/// | a connection that was refused, or (feature `reqwest`) could not be made | failure | yes; even what is not idempotent, [if nothing was sent before](Self::sends_once) |
/// | everything else: broken connections, timeouts | failure | yes |
///
/// ```
/// use surefoot::{Classification, Classify};
/// use surefoot_tower::http::ResponseClassifier;
///
/// let mut overloaded = http::Response::new(());
/// *overloaded.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
/// assert_eq!(ResponseClassifier::new().classify(Ok(&overloaded)), Classification::TRANSIENT);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ResponseClassifier {
    rules: HttpClassifier,
    sends_once: bool,
}

impl ResponseClassifier {
    /// The usual rules.
    pub const fn new() -> Self {
        Self { rules: HttpClassifier::new(), sends_once: false }
    }

    /// As [`HttpClassifier::errors_in_success`]: whether a 2xx whose body is an error is that error; off by
    /// default. Only bodies that were read are judged: put an
    /// [`ErrorBodyLayer::default().successes_too()`](super::ErrorBodyLayer::successes_too) innermost.
    ///
    /// ```
    /// use surefoot::{Classification, Classify};
    /// use surefoot_tower::http::{ErrorBodyLayer, ResponseClassifier};
    /// use tower::{Layer as _, ServiceExt as _};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let gateway = tower::service_fn(|()| async {
    ///     let body = r#"{"error": {"type": "overloaded_error"}}"#.to_owned();
    ///     Ok::<_, std::io::Error>(http::Response::new(body)) // with status 200
    /// });
    /// let gateway = ErrorBodyLayer::default().successes_too().layer(gateway);
    /// let response = gateway.oneshot(()).await.map_err(|error| error.to_string())?;
    /// let classifier = ResponseClassifier::new().errors_in_success(true);
    /// assert_eq!(classifier.classify(Ok(&response)), Classification::TRANSIENT);
    /// # Ok(())
    /// # }
    /// ```
    pub const fn errors_in_success(self, looked_for: bool) -> Self {
        Self { rules: self.rules.errors_in_success(looked_for), ..self }
    }

    /// As [`HttpClassifier::body_required`]: whether a 2xx with an empty body is a transient failure; off by
    /// default. Needs the same [`ErrorBodyLayer`](super::ErrorBodyLayer::successes_too).
    pub const fn body_required(self, required: bool) -> Self {
        Self { rules: self.rules.body_required(required), ..self }
    }

    /// Declares that a call of the service below is one request on the wire: it follows no redirects and sends
    /// nothing again by itself. Off by default.
    ///
    /// Then a request whose connection could not be made was [never sent](Classify::never_sent), and a
    /// [`RetryLayer`](crate::RetryLayer) sends it again even if it is not idempotent. Otherwise that is not known: a POST
    /// that is answered with a redirect may have taken effect, and the connection that fails is the next one.
    /// reqwest follows redirects, unless it is told not to (`redirect::Policy::none()`).
    pub const fn sends_once(self, declared: bool) -> Self {
        Self { sends_once: declared, ..self }
    }

    fn knows_unsent(self, error: &ServiceError) -> bool {
        self.sends_once && causes(Some(error.get_ref())).any(is_failed_connection)
    }

    fn judge(
        self,
        status: StatusCode,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Classification {
        let trailers = extensions.get().and_then(|NothingButTrailers(trailers)| {
            grpc::is_grpc(headers).then(|| grpc::classify(trailers)).flatten()
        });
        let body = extensions.get().map(ErrorBody::bytes);
        trailers.unwrap_or_else(|| self.rules.classify(status, headers, body))
    }

    #[cfg(feature = "reqwest")]
    pub(super) fn judge_reqwest(self, response: &reqwest::Response) -> Classification {
        self.judge(response.status(), response.headers(), response.extensions())
    }
}

impl<B> Classify<Response<B>, ServiceError> for ResponseClassifier {
    fn classify(&self, result: Result<&Response<B>, &ServiceError>) -> Classification {
        match result {
            Ok(response) => {
                self.judge(response.status(), response.headers(), response.extensions())
            }
            Err(error) => judge_error(error.get_ref()),
        }
    }

    fn server_limits(&self, result: Result<&Response<B>, &ServiceError>) -> ServerLimits {
        result.map_or_else(
            |_| ServerLimits::default(),
            |response| limits(response.status(), response.headers(), response.extensions()),
        )
    }

    fn never_sent(&self, error: &ServiceError) -> bool {
        self.knows_unsent(error)
    }
}

#[cfg(feature = "reqwest")]
impl Classify<reqwest::Response, ServiceError> for ResponseClassifier {
    fn classify(&self, result: Result<&reqwest::Response, &ServiceError>) -> Classification {
        match result {
            Ok(response) => self.judge_reqwest(response),
            Err(error) => judge_error(error.get_ref()),
        }
    }

    fn server_limits(&self, result: Result<&reqwest::Response, &ServiceError>) -> ServerLimits {
        result.map_or_else(
            |_| ServerLimits::default(),
            |response| limits(response.status(), response.headers(), response.extensions()),
        )
    }

    fn never_sent(&self, error: &ServiceError) -> bool {
        self.knows_unsent(error)
    }
}

/// The body counts where an [`ErrorBodyLayer`](super::ErrorBodyLayer) has read it.
fn limits(status: StatusCode, headers: &HeaderMap, extensions: &Extensions) -> ServerLimits {
    server_limits(status, headers, extensions.get().map(ErrorBody::bytes))
}

pub(super) fn judge_error(error: &(dyn StdError + 'static)) -> Classification {
    causes(Some(error)).find_map(judge_cause).unwrap_or(Classification::TRANSIENT)
}

/// An error and all that is below it.
pub(super) fn causes<'a>(
    error: Option<&'a (dyn StdError + 'static)>,
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    // An I/O error names the source of what it wraps as its own, and so leaves that out.
    std::iter::successors(error, |&error| match error.downcast_ref::<io::Error>() {
        Some(io) => io.get_ref().map(|error| error as &(dyn StdError + 'static)),
        None => error.source(),
    })
}

/// Nothing goes out on a connection before it is there.
fn is_failed_connection(error: &(dyn StdError + 'static)) -> bool {
    #[cfg(feature = "reqwest")]
    if error.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_connect) {
        return true;
    }
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|io| io.kind() == io::ErrorKind::ConnectionRefused)
}

/// What an error says by itself, whatever is below it.
fn judge_cause(error: &(dyn StdError + 'static)) -> Option<Classification> {
    #[cfg(feature = "reqwest")]
    if let Some(error) = error.downcast_ref::<reqwest::Error>() {
        if let Some(status) = error.status() {
            return Some(Classification::from_http_status(status.as_u16(), None));
        }
        // A body that "cannot be decoded" may as well have been cut off.
        return (error.is_builder() || error.is_redirect()).then_some(Classification::PERMANENT);
    }
    #[cfg(feature = "hyper")]
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        return if error.is_user() {
            Some(Classification::PERMANENT)
        } else if error.is_parse() {
            Some(Classification::TRANSIENT.without_retry())
        } else {
            None
        };
    }
    let is_invalid = error.is::<http::Error>()
        || error.is::<http::uri::InvalidUri>()
        || error.is::<http::uri::InvalidUriParts>()
        || error.is::<http::header::InvalidHeaderName>()
        || error.is::<http::header::InvalidHeaderValue>();
    is_invalid.then_some(Classification::PERMANENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(error: impl StdError + Send + Sync + 'static) -> Classification {
        let result: Result<&Response<()>, _> = Err(&ServiceError::new(error));
        ResponseClassifier::new().classify(result)
    }

    #[test]
    fn a_request_that_cannot_be_made_is_not_tried_again() {
        assert_eq!(judged(http::Uri::try_from("http://[").unwrap_err()), Classification::PERMANENT);
        let header = http::HeaderValue::from_bytes(b"\n").unwrap_err();
        assert_eq!(judged(header), Classification::PERMANENT);
        // However deep it is.
        let header = http::HeaderValue::from_bytes(b"\n").unwrap_err();
        assert_eq!(judged(io::Error::other(header)), Classification::PERMANENT);
    }

    /// A redirect may have come first.
    #[test]
    fn a_refused_connection_means_that_nothing_was_sent_only_if_that_is_declared() {
        let never_sent = |classifier: ResponseClassifier, kind: io::ErrorKind| {
            let error = ServiceError::new(io::Error::other(io::Error::from(kind)));
            Classify::<Response<()>, _>::never_sent(&classifier, &error)
        };
        let declared = ResponseClassifier::new().sends_once(true);
        assert!(never_sent(declared, io::ErrorKind::ConnectionRefused));
        assert!(never_sent(declared.body_required(true), io::ErrorKind::ConnectionRefused));
        assert!(!never_sent(declared, io::ErrorKind::ConnectionReset));
        assert!(!never_sent(ResponseClassifier::new(), io::ErrorKind::ConnectionRefused));
    }

    #[test]
    fn what_happens_on_the_way_may_pass() {
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(judged(reset), Classification::TRANSIENT);
    }
}
