//! Calls whose size is known only afterwards.

use std::future::Future;

use surefoot_core::Error;

use super::{Limiter, acquire};
use crate::Attempt;
use crate::scope::spending;

/// A rate limiter that takes an estimate before each call and corrects it afterwards; made by
/// [`Weighted::settling`](super::Weighted::settling).
///
/// What a call used more than estimated is a debt, which time pays off before anybody else is
/// admitted; what it used less is returned as far as it is not free again by itself.
///
/// **Cancellation.** Dropping a call that waits gives its slot back. Once the operation has been
/// started, the estimate is kept if it is dropped or panics: nobody knows what it used.
///
/// ```
/// use surefoot::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # struct Answer { tokens: u64 }
/// # async fn ask_the_model() -> Result<Answer, std::io::Error> { Ok(Answer { tokens: 1_500 }) }
/// let tokens = RateLimiter::builder("tokens").max_requests(30_000).build()?;
/// let model = tokens.weighing(4_000).settling(|answer: Result<&Answer, &std::io::Error>| {
///     answer.ok().map(|answer| answer.tokens) // what a failure used is not known
/// });
/// model.call(ask_the_model).await?;
/// assert_eq!(tokens.remaining(), 28_500);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Settling<L, U> {
    limiter: L,
    estimate: u64,
    used: U,
}

impl<L, U> Settling<L, U> {
    pub(super) fn new(limiter: L, estimate: u64, used: U) -> Self {
        Self { limiter, estimate, used }
    }
}

impl<L: Limiter, U> Settling<L, U> {
    /// Calls `operation` once the estimate fits.
    ///
    /// # Errors
    /// [`Error::Rejected`] if the limiter refuses, [`Error::Operation`] if the operation fails.
    pub async fn call<F, Fut, T, E>(&self, operation: F) -> Result<T, Error<E>>
    where
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
        U: Fn(Result<&T, &E>) -> Option<u64> + Sync,
    {
        let cover = spending::draw_if_budgeted()?;
        let charge = self.limiter.acquire_n(self.estimate).await?;
        spending::dispatch(cover.as_ref());
        let result = spending::in_cover(cover, async { operation().await }).await;
        if let Some(used) = (self.used)(result.as_ref()) {
            charge.settle(used);
        }
        result.map_err(Error::Operation)
    }

    /// The same on the calling thread.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_blocking<F, T, E>(&self, operation: F) -> Result<T, Error<E>>
    where
        F: FnOnce(&Attempt) -> Result<T, E>,
        U: Fn(Result<&T, &E>) -> Option<u64>,
    {
        let cover = spending::draw_if_budgeted()?;
        let charge = acquire::blocking(&self.limiter, self.estimate)?;
        spending::dispatch(cover.as_ref());
        let result = spending::covered(cover.as_ref(), || operation(&Attempt::current()));
        if let Some(used) = (self.used)(result.as_ref()) {
            charge.settle(used);
        }
        result.map_err(Error::Operation)
    }
}
