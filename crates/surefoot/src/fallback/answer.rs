//! What a fallback gives: an answer that says where it is from, or every error.

use std::fmt;
use std::time::Duration;

use surefoot_core::{Error, Name};

/// An answer, and which link gave it.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<T, E> {
    /// The answer.
    pub value: T,
    /// The link that gave it; `last good` for a kept one.
    pub link: Name,
    /// The age of a kept answer.
    pub age: Option<Duration>,
    /// The links that failed before, in order, each with its error.
    pub failures: Vec<(Name, Error<E>)>,
}

/// No link answered.
#[derive(Clone, Debug, PartialEq)]
pub struct FallbackError<E> {
    /// The last link that was tried.
    pub link: Name,
    /// Its error.
    pub last: Error<E>,
    /// The links before it, in order, each with its error.
    pub earlier: Vec<(Name, Error<E>)>,
}

impl<E> FallbackError<E> {
    /// Every link that failed, in order.
    pub fn into_failures(self) -> Vec<(Name, Error<E>)> {
        let Self { link, last, earlier: mut failures } = self;
        failures.push((link, last));
        failures
    }
}

impl<E: fmt::Display> fmt::Display for FallbackError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` failed: {}", self.link, self.last)?;
        self.earlier
            .iter()
            .rev()
            .try_for_each(|(link, error)| write!(f, "; before that `{link}` failed: {error}"))
    }
}

impl<E: std::error::Error + 'static> std::error::Error for FallbackError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.last.source() // the text contains that of the error itself
    }
}
