//! Waiting for one's turn in a compartment. A compartment is a throttler, and a policy as that is.

use std::future::Future;

use surefoot_core::throttler::Permit;
use surefoot_core::{Bulkhead, Rejection, Throttler};

use super::throttler::Acquire;

/// Waiting for one's turn: what a [`Bulkhead`] needs a host for.
///
/// ```
/// use surefoot::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bulkhead = Bulkhead::builder("tools")
///     .compartment("critical", 10, 20)
///     .compartment("background", 2, 5)
///     .build()?;
///
/// let permit = bulkhead.acquire("critical").await?;
/// // … the critical operation …
/// drop(permit); // lets the next one in; so does leaving the block
///
/// // Or as a policy, alone or in a pipeline.
/// let critical = bulkhead.compartment("critical")?;
/// let answer = critical.call(|| async { Ok::<_, std::io::Error>("done") }).await?;
/// assert_eq!(answer, "done");
/// # Ok(())
/// # }
/// ```
pub trait AcquireIn: sealed::Sealed {
    /// Waits for a permit of the compartment called `name`: see [`Acquire::acquire`].
    ///
    /// **Cancellation.** Dropping the future leaves the queue at once.
    ///
    /// Its output is the permit, or a [`Rejection`]: the compartment is full or unknown, the wait was
    /// too long, or it was closed.
    fn acquire(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Permit<&Throttler>, Rejection>> + Send;

    /// The same with a permit that can go anywhere.
    fn acquire_owned(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Permit, Rejection>> + Send + use<Self>;

    /// The same on the calling thread, which it blocks.
    ///
    /// # Errors
    /// See [`acquire`](Self::acquire).
    fn acquire_blocking(&self, name: &str) -> Result<Permit<&Throttler>, Rejection>;
}

impl AcquireIn for Bulkhead {
    fn acquire(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Permit<&Throttler>, Rejection>> + Send {
        let found = self.get(name);
        async move { found?.acquire().await }
    }

    fn acquire_owned(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Permit, Rejection>> + Send + use<> {
        let found = self.compartment(name);
        async move { found?.acquire_owned().await }
    }

    fn acquire_blocking(&self, name: &str) -> Result<Permit<&Throttler>, Rejection> {
        self.get(name)?.acquire_blocking()
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for surefoot_core::Bulkhead {}
}
