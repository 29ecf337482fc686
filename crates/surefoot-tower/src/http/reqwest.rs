//! reqwest's results as a policy's classifier sees them, and our bodies as reqwest's.
//!
//! ```
//! use surefoot::prelude::*;
//! use surefoot_tower::http::reqwest::classify;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let breaker = CircuitBreaker::builder("api").build()?;
//! let api = breaker.clone().classify(classify);
//! let client = reqwest::Client::new();
//! let answer = api.call(|| client.get("no URL").send()).await;
//! assert!(answer.is_err());
//! assert_eq!(breaker.status().totals.ignored, 1); // nobody was called
//! # Ok(())
//! # }
//! ```
//!
//! [`into_http`] and [`Response::from`] go around the layers that look into bodies, since reqwest's body can be made of
//! each of theirs: see [the module](super#reqwest).

use bytes::Bytes;
use http_body::Body;
use reqwest::{Body as ReqwestBody, Error, Response, ResponseBuilderExt as _};
use surefoot::Classification;

use super::classifier::judge_error;
use super::{Begun, MaybeRead, ResponseClassifier, WatchedBody};
use crate::BoxError;

/// What the result of `send()` means; the rules are those of [`ResponseClassifier`].
pub fn classify(result: Result<&Response, &Error>) -> Classification {
    match result {
        Ok(response) => ResponseClassifier::new().judge_reqwest(response),
        Err(error) => judge_error(error),
    }
}

/// A response as one of the `http` crate, for the layers that look into bodies. It remembers its URL, so that
/// [`Response::from`] gives it back as it was.
pub fn into_http(response: Response) -> http::Response<ReqwestBody> {
    let remembered = http::Response::builder().url(response.url().clone()).body(());
    let mut response = http::Response::<ReqwestBody>::from(response);
    if let Ok(remembered) = remembered {
        response.extensions_mut().extend(remembered.into_parts().0.extensions);
    }
    response
}

impl<B> From<MaybeRead<B>> for ReqwestBody
where
    B: Body<Data: Send + Sync, Error: Into<BoxError> + Send + Sync> + Send + Sync + 'static,
{
    fn from(body: MaybeRead<B>) -> Self {
        Self::wrap(body)
    }
}

impl<B> From<Begun<B>> for ReqwestBody
where
    B: Body<Data: Into<Bytes> + Send + Sync, Error: Into<BoxError>> + Send + Sync + 'static,
{
    fn from(body: Begun<B>) -> Self {
        Self::wrap(body)
    }
}

impl<B> From<WatchedBody<B>> for ReqwestBody
where
    B: Body<Data: Into<Bytes>, Error: Into<BoxError>> + Send + Sync + 'static,
{
    fn from(body: WatchedBody<B>) -> Self {
        Self::wrap(body)
    }
}
