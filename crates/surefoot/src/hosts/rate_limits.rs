//! Waiting for several limits at once.

use std::borrow::Borrow;
use std::future::Future;
use std::hash::{BuildHasher, Hash};

use surefoot_core::rate_limiter::Slots;
use surefoot_core::rate_limiter::multi::{LimitedCall, LimitsCharge, RateLimits};
use surefoot_core::{Error, Rejection};

use super::rate_limiter::{Limiter, Slotted, run_blocking};
use crate::operation::{BlockingOperation, Operation};
use crate::pipeline::{Part, PartKind};
use crate::policy::{BlockingPolicy, Policy};

/// What hosts do with several limits at once: waiting until all of them fit.
///
/// A call of a model takes a request, its input and the output it may have at most, and is
/// corrected by the usage that the answer tells:
///
/// ```
/// use std::time::Duration;
/// use surefoot::MultiLimiter;
/// use surefoot::rate_limiter::multi::{Limit, RateLimits};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let minute = Duration::from_secs(60);
/// let limits: RateLimits<String> = RateLimits::builder("model")
///     .limit(Limit::overall("requests", 50, minute))
///     .limit(Limit::overall("input_tokens", 30_000, minute))
///     .limit(Limit::overall("output_tokens", 8_000, minute))
///     .build()?;
///
/// let estimate = [("input_tokens", 1_200), ("output_tokens", 4_096)]; // `max_tokens`
/// let charge = limits.acquire("alice", &estimate).await?;
/// let used = [("input_tokens", 1_180), ("output_tokens", 300)]; // after the call
/// charge.settle(&used)?;
/// assert_eq!(limits.remaining("alice", "output_tokens"), Some(7_700));
/// # Ok(())
/// # }
/// ```
///
/// Where all calls of a kind take the same, [`call_of`](RateLimits::call_of) makes a policy of them:
///
/// ```
/// use std::time::Duration;
/// use surefoot::prelude::*;
/// use surefoot::rate_limiter::multi::{Limit, RateLimits};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # async fn ask() -> Result<u32, std::io::Error> { Ok(7) }
/// let limits: RateLimits<String> = RateLimits::builder("model")
///     .limit(Limit::overall("tokens", 30_000, Duration::from_secs(60)))
///     .build()?;
/// let summary = limits.call_of("alice", &[("tokens", 4_096)])?;
/// let model = Pipeline::builder("model").add(summary).build()?;
/// assert_eq!(model.call(ask).await?, 7);
/// assert_eq!(limits.remaining("alice", "tokens"), Some(25_904));
/// # Ok(())
/// # }
/// ```
///
/// **Waiting.** In line, as with [one limiter](Limiter); how the lines of keys and of all calls go together says
/// [`multi`](surefoot_core::rate_limiter::multi). A wait that could not end within `max_wait`, and before the deadline around the call, is refused at
/// once.
///
/// **Cancellation.** Whoever walks away from the line gives back what they hold, and those behind move up. A charge that is dropped keeps its estimate.
pub trait MultiLimiter<K: Hash + Eq + Clone, S: BuildHasher> {
    /// Waits until `amounts` fit for `key`.
    ///
    /// # Errors
    /// As [`RateLimits::check`].
    fn acquire<Q>(
        &self,
        key: &Q,
        amounts: &[(&str, u64)],
    ) -> impl Future<Output = Result<LimitsCharge<K, S>, Rejection>> + Send
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + Sync + ?Sized;

    /// The same on the calling thread.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    fn acquire_blocking<Q>(
        &self,
        key: &Q,
        amounts: &[(&str, u64)],
    ) -> Result<LimitsCharge<K, S>, Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized;
}

impl<K, S> MultiLimiter<K, S> for RateLimits<K, S>
where
    K: Hash + Eq + Clone + Send + Sync,
    S: BuildHasher + Send + Sync,
{
    async fn acquire<Q>(
        &self,
        key: &Q,
        amounts: &[(&str, u64)],
    ) -> Result<LimitsCharge<K, S>, Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + Sync + ?Sized,
    {
        let call = self.call_of(key, amounts)?;
        Limiter::acquire(&call).await.map(LimitsCharge::from)
    }

    fn acquire_blocking<Q>(
        &self,
        key: &Q,
        amounts: &[(&str, u64)],
    ) -> Result<LimitsCharge<K, S>, Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let call = self.call_of(key, amounts)?;
        Limiter::acquire_blocking(&call).map(LimitsCharge::from)
    }
}

/// See [`Limiter`] for waiting and cancellation.
impl<K, S> Policy for LimitedCall<K, S>
where
    K: Hash + Eq + Clone + Send + Sync,
    S: BuildHasher + Send + Sync,
{
    fn run<O: Operation>(
        &self,
        operation: &O,
    ) -> impl Future<Output = Result<O::Value, Error<O::Error>>> + Send {
        Slotted::new(self, 1, operation, |operation| operation.attempt())
    }

    fn parts(&self, parts: &mut Vec<Part>) {
        parts.push(Part::new(PartKind::RateLimiter, Slots::name(self).clone()));
    }
}

impl<K, S> BlockingPolicy for LimitedCall<K, S>
where
    K: Hash + Eq + Clone + Send + Sync,
    S: BuildHasher + Send + Sync,
{
    fn run_blocking<O: BlockingOperation>(
        &self,
        operation: &O,
    ) -> Result<O::Value, Error<O::Error>> {
        run_blocking(self, 1, operation)
    }
}
