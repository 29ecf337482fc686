//! A rate limiter around a service.

mod learning;
mod per_request;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use surefoot::host::{Elsewhere, Metered, Waiting};
use surefoot::rate_limiter::Charge;
use surefoot::rate_limiter::multi::LimitedCall;
use surefoot::{KeyedRateLimiter, RateLimiter, Rejection};
use tower_layer::Layer;
use tower_service::Service;

pub use learning::{LearningByRequest, LearningFuture, LearningLayer, LearningService, Learns};
pub use per_request::{
    ByAmounts, ByKey, ByWeight, OneUnit, PerRequest, PerRequestFuture, PerRequestRateLimiterLayer,
    PerRequestRateLimiterService, Weight,
};

use crate::attempt::{self, Called, Decided};
use crate::{BoxError, Error};

/// Admits as many calls of a service as a rate limiter allows: see [`surefoot::rate_limiter`].
///
/// A call is one unit. The slot is reserved, and waited for, in `poll_ready`: a service that is ready has
/// one, and callers who wait for it are served in order. If the wait would be longer than the limiter's `max_wait`, or than the
/// deadline around it allows, the service is ready at once, to refuse the next call with
/// [`Rejection::RateLimited`]. With a `max_wait` of zero nothing waits, nothing is
/// reserved, and `call` decides.
///
/// One limiter can be given to any number of layers, and is shared. With a key or a weight for each
/// request: [`keyed`](Self::keyed), [`weighed`](Self::weighed); under several limits at once: [`several`](Self::several).
///
/// **Cancellation.** A service that is dropped without being called gives its slot back, and those
/// behind it move up; a clone has none. A response future gives it back if a layer below refused the
/// call, or it is dropped while it waits there.
///
/// **Cost.** Three short locks for each call, two where nothing waits. A wait allocates once.
#[derive(Clone, Debug)]
pub struct RateLimiterLayer {
    limiter: RateLimiter,
}

impl RateLimiterLayer {
    /// Around every service it is given, the same limiter.
    pub fn new(limiter: RateLimiter) -> Self {
        Self { limiter }
    }

    /// With a limit for each key, which `key` finds in a request, and so in `call`: there it decides,
    /// and the response future waits.
    pub fn keyed<K, H, F>(
        limiter: KeyedRateLimiter<K, H>,
        key: F,
    ) -> PerRequestRateLimiterLayer<ByKey<K, H, F>> {
        PerRequestRateLimiterLayer::new(ByKey::new(limiter, key))
    }

    /// With several limits at once: `call` says of each request which [kind of call](LimitedCall) it is, made before
    /// by [`RateLimits::call_of`](surefoot::rate_limiter::multi::RateLimits::call_of) or then and there. Decides in `call`,
    /// as with keys.
    ///
    /// ```
    /// use std::time::Duration;
    /// use surefoot::rate_limiter::multi::{Limit, RateLimits};
    /// use surefoot_tower::RateLimiterLayer;
    /// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let client = service_fn(|prompt: &'static str| async move { Ok::<_, std::io::Error>(prompt.len()) });
    /// let limits: RateLimits<String> = RateLimits::builder("model")
    ///     .limit(Limit::overall("tokens", 30_000, Duration::from_secs(60)))
    ///     .build()?;
    /// let (short, long) =
    ///     (limits.call_of("alice", &[("tokens", 500)])?, limits.call_of("alice", &[("tokens", 4_000)])?);
    /// let of_size = move |prompt: &&'static str| if prompt.len() < 100 { &short } else { &long }.clone();
    /// let mut model =
    ///     ServiceBuilder::new().layer(RateLimiterLayer::several(of_size)).service(client);
    /// assert_eq!(model.ready().await?.call("why?").await?, 4);
    /// assert_eq!(limits.remaining("alice", "tokens"), Some(29_500));
    /// # Ok(())
    /// # }
    /// ```
    pub fn several<Q, K, H, F>(call: F) -> PerRequestRateLimiterLayer<ByAmounts<F>>
    where
        F: Fn(&Q) -> LimitedCall<K, H>,
    {
        PerRequestRateLimiterLayer::new(ByAmounts::new(call))
    }

    /// With a weight for each request, which is only known in `call`: there it decides, and the
    /// response future waits.
    pub fn weighed<W>(limiter: RateLimiter, weight: W) -> PerRequestRateLimiterLayer<ByWeight<W>> {
        PerRequestRateLimiterLayer::new(ByWeight::new(limiter, weight))
    }
}

impl<S> Layer<S> for RateLimiterLayer {
    type Service = RateLimiterService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimiterService { inner, limiter: self.limiter.clone(), slot: Slot::None }
    }
}

/// A service behind a rate limiter; made by [`RateLimiterLayer`].
pub struct RateLimiterService<S> {
    inner: S,
    limiter: RateLimiter,
    slot: Slot,
}

/// What `poll_ready` has found out for the next call. In few words, as each call moves it.
enum Slot {
    None,
    Waiting(Pin<Box<Waiting<RateLimiter>>>),
    Reserved(Unused),
    Refused(Elsewhere<Rejection>),
}

/// A slot that is given back unless a call takes it.
struct Unused(Option<Charge>);

impl Drop for Unused {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(Charge::give_back);
    }
}

impl<S> RateLimiterService<S> {
    /// The limiter.
    pub fn limiter(&self) -> &RateLimiter {
        &self.limiter
    }

    /// The service below.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// For a call that did not wait.
    #[inline]
    fn take_now(&self) -> Result<Charge, Elsewhere<Rejection>> {
        self.limiter.try_reserve(1).map_err(Elsewhere::new)
    }

    /// Reserves a slot, or learns that there is none in time. A refusal is asked about again.
    fn poll_slot(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Slot::None | Slot::Refused(_) = self.slot {
            self.slot = match Waiting::begin(&self.limiter, 1) {
                Ok(Ok(charge)) => Slot::Reserved(Unused(Some(charge))),
                Ok(Err(waiting)) => Slot::Waiting(Box::pin(waiting)),
                Err(rejection) => Slot::Refused(Elsewhere::new(rejection)),
            };
        }
        if let Slot::Waiting(waiting) = &mut self.slot {
            self.slot = match ready!(waiting.as_mut().poll(cx)) {
                Ok(charge) => Slot::Reserved(Unused(Some(charge))),
                Err(rejection) => Slot::Refused(Elsewhere::new(rejection)),
            };
        }
        Poll::Ready(())
    }

    /// Whether calls wait for their slots.
    fn waits(&self) -> bool {
        let config = self.limiter.config();
        config.max_wait.is_none_or(|longest| !longest.is_zero())
    }
}

/// The clone has no slot of its own yet.
impl<S: Clone> Clone for RateLimiterService<S> {
    fn clone(&self) -> Self {
        let Self { inner, limiter, .. } = self;
        Self { inner: inner.clone(), limiter: limiter.clone(), slot: Slot::None }
    }
}

impl<S: std::fmt::Debug> std::fmt::Debug for RateLimiterService<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateLimiterService")
            .field("inner", &self.inner)
            .field("limiter", &self.limiter)
            .finish_non_exhaustive()
    }
}

/// A call through a [`RateLimiterService`].
pub type RateLimiterFuture<F> = Decided<Metered<RateLimiter, Called<F>>>;

impl<S, Q> Service<Q> for RateLimiterService<S>
where
    S: Service<Q>,
    S::Error: Into<BoxError> + 'static,
{
    type Response = S::Response;
    type Error = Error;
    type Future = RateLimiterFuture<S::Future>;

    /// The slot first: a service below that has reserved something should not have to hold it while
    /// the slot is waited for.
    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.waits() {
            ready!(self.poll_slot(cx));
            if let Slot::Refused(_) = self.slot {
                return Poll::Ready(Ok(()));
            }
        }
        attempt::poll_ready(&mut self.inner, cx)
    }

    #[inline]
    fn call(&mut self, request: Q) -> Self::Future {
        attempt::take_over();
        let taken = match std::mem::replace(&mut self.slot, Slot::None) {
            Slot::Reserved(mut slot) => slot.0.take().map_or_else(|| self.take_now(), Ok),
            Slot::Refused(rejection) => Err(rejection),
            Slot::None | Slot::Waiting(_) => self.take_now(),
        };
        Decided::of(taken, |charge| {
            Metered::start(Some(charge), || attempt::call(&mut self.inner, request))
        })
    }
}
