//! Waiting for several limits at once.

use std::borrow::Borrow;
use std::future::Future;
use std::hash::{BuildHasher, Hash};

use surefoot_core::rate_limiter::multi::{LimitsCharge, RateLimits};
use surefoot_core::{Rejection, Timestamp};

use crate::scope;
use crate::time::{self, Sleep};

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
/// **Waiting.** Nobody waits in line here (see [`RateLimits`]): when all limits fit is asked again when they
/// were last said to. If that would be later than `max_wait` after the first asking, or than the deadline
/// around the call, the answer is the refusal, at once.
///
/// **Cancellation.** Whoever waits has taken nothing. A charge that is dropped keeps its estimate.
pub trait MultiLimiter<K: Hash + Eq, S: BuildHasher> {
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
    K: Hash + Eq + Send + Sync,
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
        let latest = latest(self);
        loop {
            match self.try_reserve(key, amounts) {
                Ok(charge) => return Ok(charge),
                Err(refusal) => {
                    let again = again(self, refusal, latest)?;
                    Sleep::until(self.time(), again).await;
                }
            }
        }
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
        let latest = latest(self);
        loop {
            match self.try_reserve(key, amounts) {
                Ok(charge) => return Ok(charge),
                Err(refusal) => time::block_until(self.time(), again(self, refusal, latest)?),
            }
        }
    }
}

/// Until when it is worth waiting. A call that begins at its deadline has no time.
fn latest<K: Hash + Eq, S: BuildHasher>(limits: &RateLimits<K, S>) -> Timestamp {
    let longest = limits.time().now() + limits.config().longest_wait();
    scope::deadline_on(limits.time()).map_or(longest, |deadline| {
        Timestamp::from_nanos(deadline.timestamp().as_nanos().saturating_sub(1)).min(longest)
    })
}

/// When to ask again, or the refusal.
fn again<K: Hash + Eq, S: BuildHasher>(
    limits: &RateLimits<K, S>,
    refusal: Rejection,
    latest: Timestamp,
) -> Result<Timestamp, Rejection> {
    match refusal.retry_after().map(|wait| limits.time().now() + wait) {
        Some(at) if at <= latest => Ok(at),
        _ => Err(refusal),
    }
}
