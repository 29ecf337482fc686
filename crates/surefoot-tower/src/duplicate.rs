//! Sending a request more than once: whether that is possible, and whether it does harm.

/// How a request is sent more than once.
///
/// [`Cloned`] is for requests that are `Clone` and declared idempotent; [`http::Idempotent`](crate::http::Idempotent) (feature
/// `http`) goes by the request's method and headers.
pub trait Duplicate<Q> {
    /// A copy of the request, if one can be made.
    fn duplicate(&self, request: &Q) -> Option<Q>;

    /// Whether the request may be sent again although it may have taken effect. One of which nothing
    /// was dispatched may always be.
    fn is_idempotent(&self, request: &Q) -> bool;
}

/// Requests that can be cloned, and of which sending two does no more than sending one: the caller
/// declares that by using it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cloned;

impl<Q: Clone> Duplicate<Q> for Cloned {
    fn duplicate(&self, request: &Q) -> Option<Q> {
        Some(request.clone())
    }

    fn is_idempotent(&self, _: &Q) -> bool {
        true
    }
}
