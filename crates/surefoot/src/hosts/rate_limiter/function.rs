//! Functions of which each call takes a unit.

use std::future::Future;

use surefoot_core::Error;

use super::{Limiter, acquire};
use crate::scope::spending;

/// A function behind a rate limiter; made by [`Limiter::limit`].
///
/// ```
/// use surefoot::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # async fn process(request: &str) -> Result<usize, std::io::Error> { Ok(request.len()) }
/// let limiter = RateLimiter::builder("api").max_requests(100).build()?;
/// let api_endpoint = limiter.limit(process);
/// assert_eq!(api_endpoint.call("request").await?, 7);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct LimitedFn<L, F> {
    limiter: L,
    function: F,
}

impl<L: Limiter, F> LimitedFn<L, F> {
    pub(super) fn new(limiter: L, function: F) -> Self {
        Self { limiter, function }
    }

    /// Calls the function once the limiter admits it.
    ///
    /// # Errors
    /// [`Error::Rejected`] if the limiter refuses, [`Error::Operation`] if the function fails.
    pub async fn call<A, Fut, T, E>(&self, argument: A) -> Result<T, Error<E>>
    where
        F: Fn(A) -> Fut + Send + Sync,
        A: Send,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        let cover = spending::draw_if_budgeted()?;
        acquire::admitted(&self.limiter, 1).await?;
        spending::dispatch(cover.as_ref());
        spending::in_cover(cover, async { (self.function)(argument).await })
            .await
            .map_err(Error::Operation)
    }

    /// The same for a function that blocks its thread.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_blocking<A, T, E>(&self, argument: A) -> Result<T, Error<E>>
    where
        F: Fn(A) -> Result<T, E>,
    {
        let cover = spending::draw_if_budgeted()?;
        acquire::admitted_blocking(&self.limiter, 1)?;
        spending::dispatch(cover.as_ref());
        spending::covered(cover.as_ref(), || (self.function)(argument)).map_err(Error::Operation)
    }
}
