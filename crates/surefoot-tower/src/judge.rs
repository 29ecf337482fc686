//! How results of a service are judged.

use std::marker::PhantomData;

use surefoot::host::Judged;
use surefoot::rate_limiter::ServerLimits;
use surefoot::{Classification, Classify};

use crate::ServiceError;

/// A classifier, as the policies ask it.
#[derive(Debug)]
pub struct Judge<C, R> {
    classifier: C,
    response: PhantomData<fn() -> R>,
}

impl<C, R> Judge<C, R> {
    pub(crate) fn new(classifier: C) -> Self {
        Self { classifier, response: PhantomData }
    }

    /// Whether the request was certainly never sent.
    pub(crate) fn never_sent(&self, error: &ServiceError) -> bool
    where
        C: Classify<R, ServiceError>,
    {
        self.classifier.never_sent(error)
    }
}

impl<C: Classify<R, ServiceError>, R> Judged for Judge<C, R> {
    type Value = R;
    type Error = ServiceError;

    #[inline]
    fn classify(&self, result: Result<&R, &ServiceError>) -> Classification {
        self.classifier.classify(result)
    }

    fn server_limits(&self, result: Result<&R, &ServiceError>) -> ServerLimits {
        self.classifier.server_limits(result)
    }
}
