//! Which HTTP requests may be sent twice.

use http::Request;
use surefoot::http::is_idempotent;

use crate::Duplicate;

/// Requests that say themselves whether they may be sent twice: by their method, or by an
/// `Idempotency-Key` ([`surefoot::http::is_idempotent`]).
///
/// The body has to be `Clone`, as `Full<Bytes>` is; a reqwest request (feature `reqwest`) can be
/// sent twice unless its body is a stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Idempotent;

impl<B: Clone> Duplicate<Request<B>> for Idempotent {
    fn duplicate(&self, request: &Request<B>) -> Option<Request<B>> {
        Some(request.clone())
    }

    fn is_idempotent(&self, request: &Request<B>) -> bool {
        is_idempotent(request.method(), request.headers())
    }
}

#[cfg(feature = "reqwest")]
impl Duplicate<reqwest::Request> for Idempotent {
    fn duplicate(&self, request: &reqwest::Request) -> Option<reqwest::Request> {
        request.try_clone()
    }

    fn is_idempotent(&self, request: &reqwest::Request) -> bool {
        is_idempotent(request.method(), request.headers())
    }
}
