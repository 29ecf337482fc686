//! What responses and transport errors mean.

use std::error::Error as StdError;

use http::{HeaderMap, Response, StatusCode};
use surefoot::http::HttpClassifier;
use surefoot::{Classification, Classify};

use super::ErrorBody;
use crate::ServiceError;

/// Judges HTTP responses by status, headers and, where an [`ErrorBodyLayer`](super::ErrorBodyLayer) has read it,
/// body: the rules are those of [`surefoot::http`], gRPC's codes among them.
///
/// A transport error is transient, but for one that says the request itself is at fault (one that
/// reqwest could not build, for example), which is permanent.
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
}

impl ResponseClassifier {
    /// The usual rules.
    pub const fn new() -> Self {
        Self { rules: HttpClassifier::new() }
    }

    fn judge(
        self,
        status: StatusCode,
        headers: &HeaderMap,
        body: Option<&ErrorBody>,
    ) -> Classification {
        self.rules.classify(status, headers, body.map(ErrorBody::bytes))
    }
}

impl<B> Classify<Response<B>, ServiceError> for ResponseClassifier {
    fn classify(&self, result: Result<&Response<B>, &ServiceError>) -> Classification {
        match result {
            Ok(response) => {
                let body = response.extensions().get();
                self.judge(response.status(), response.headers(), body)
            }
            Err(error) => judge_error(error.get_ref()),
        }
    }
}

#[cfg(feature = "reqwest")]
impl Classify<reqwest::Response, ServiceError> for ResponseClassifier {
    fn classify(&self, result: Result<&reqwest::Response, &ServiceError>) -> Classification {
        match result {
            Ok(response) => {
                let body = response.extensions().get();
                self.judge(response.status(), response.headers(), body)
            }
            Err(error) => judge_error(error.get_ref()),
        }
    }
}

fn judge_error(error: &(dyn StdError + 'static)) -> Classification {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if is_the_requests_fault(error) {
            return Classification::PERMANENT;
        }
        cause = error.source();
    }
    Classification::TRANSIENT
}

fn is_the_requests_fault(error: &(dyn StdError + 'static)) -> bool {
    #[cfg(feature = "reqwest")]
    if let Some(error) = error.downcast_ref::<reqwest::Error>() {
        return error.is_builder() || error.is_redirect();
    }
    error.is::<http::Error>() || error.is::<http::uri::InvalidUri>()
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
        let invalid = http::Uri::try_from("http://[").unwrap_err();
        assert_eq!(judged(invalid), Classification::PERMANENT);
    }

    #[test]
    fn what_happens_on_the_way_may_pass() {
        let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert_eq!(judged(reset), Classification::TRANSIENT);
    }
}
