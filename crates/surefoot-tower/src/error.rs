//! One error for all layers.

use std::fmt;

/// Any error at all, as tower's own layers use it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a call through one of our layers can fail with.
pub type Error = surefoot::Error<ServiceError>;

/// The error of the service itself.
///
/// ```
/// use surefoot_tower::ServiceError;
///
/// let error = ServiceError::new(std::io::Error::from(std::io::ErrorKind::TimedOut));
/// assert!(error.downcast_ref::<std::io::Error>().is_some());
/// ```
pub struct ServiceError(BoxError);

impl ServiceError {
    /// An error of any type.
    pub fn new(error: impl Into<BoxError>) -> Self {
        Self(error.into())
    }

    /// The error, if it is an `E`.
    pub fn downcast_ref<E: std::error::Error + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }

    /// The error itself.
    pub fn get_ref(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        &*self.0
    }

    /// The error itself, by value.
    pub fn into_inner(self) -> BoxError {
        self.0
    }
}

impl fmt::Debug for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for ServiceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source() // its text is ours, so the chain goes on below it
    }
}

/// A service's error as one of ours. One that is ours already, as itself or boxed by a foreign layer,
/// stays what it is.
pub(crate) fn ours<E: Into<BoxError> + 'static>(error: E) -> Error {
    match error.into().downcast::<Error>() {
        Ok(ours) => *ours,
        Err(theirs) => Error::Operation(ServiceError(theirs)),
    }
}

#[cfg(test)]
mod tests {
    use surefoot::StopReason;

    use super::*;

    fn exhausted() -> Error {
        Error::Exhausted {
            last: Box::new(Error::Operation(ServiceError::new("down"))),
            refusal: None,
            stop: StopReason::Attempts,
            attempts: 3,
            elapsed: std::time::Duration::ZERO,
            retry_after: None,
        }
    }

    fn attempts(error: &Error) -> Option<u32> {
        match error {
            Error::Exhausted { attempts, .. } => Some(*attempts),
            _ => None,
        }
    }

    #[test]
    fn our_own_errors_do_not_nest() {
        assert_eq!(attempts(&ours(exhausted())), Some(3));
        assert_eq!(attempts(&ours(BoxError::from(exhausted()))), Some(3));
    }

    #[test]
    fn the_services_error_is_found_inside() {
        let error = ours(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        let inner = error.operation().and_then(ServiceError::downcast_ref::<std::io::Error>);
        assert_eq!(inner.map(std::io::Error::kind), Some(std::io::ErrorKind::BrokenPipe));
    }
}
