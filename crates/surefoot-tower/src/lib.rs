//! Tower layers for the policies of [`surefoot`].
//!
//! ```
//! use std::time::Duration;
//! use surefoot::prelude::*;
//! use surefoot_tower::{CircuitBreakerLayer, RetryLayer, TimeoutLayer};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let client = service_fn(|n: u32| async move { Ok::<_, std::io::Error>(n + 1) });
//! let mut api = ServiceBuilder::new()
//!     .layer(TimeoutLayer::new(Timeout::new(Duration::from_secs(30))?))
//!     .layer(RetryLayer::idempotent(Retry::builder().jitter(Jitter::Full).build()?))
//!     .layer(CircuitBreakerLayer::new(CircuitBreaker::builder("api").build()?))
//!     .layer(TimeoutLayer::new(Timeout::new(Duration::from_secs(10))?.named("attempt")))
//!     .service(client);
//!
//! assert_eq!(api.ready().await?.call(1).await?, 2);
//! # Ok(())
//! # }
//! ```
//!
//! The layers decide as the policies of [`surefoot`] do; they are run over the same cases.
//!
//! **Readiness.** `poll_ready` knows no request, and an error from it means "discard this service".
//! So breaker, retry, timeout, hedge, fallback, load shedder, client throttle and limits by key or weight decide in `call`; their `poll_ready` asks the
//! service below and reserves nothing of its own. A half-open breaker's trial call is never reserved.
//! A service that is dropped between `poll_ready` and `call` has taken nothing from any of them. Only a throttler, and a
//! rate limiter that is the same for all requests, wait in `poll_ready`, and a service dropped then gives back what it
//! has; both belong above a breaker. What the
//! service below has reserved, a refused call leaves to the next one: a limit that reserves in `poll_ready`
//! (`ConcurrencyLimit`) belongs above a breaker, or a clone that was refused keeps its permit until it is dropped.
//!
//! **Errors.** Every layer's error is [`Error`]: the service's own error, boxed, inside
//! [`surefoot::Error`]. Layers above one another do not nest: however many there are, and also with
//! foreign layers between them that box errors, such as tower's `Buffer`, there is one [`Error`], and
//! the service's own one is what [`operation`](surefoot::Error::operation) finds.
//!
//! **Cancellation.** Dropping a response future drops the call below it; each policy says what that
//! means to it. Only our own time limits say why they drop: to a breaker, a call that tower's `Timeout` ends
//! is one whose caller left, and counts as nothing. Use [`TimeoutLayer`].
//!
//! **Cost.** Futures are named types; the layers here box nothing on the way of a call that succeeds. Those of
//! [`http`] that look into bodies say what they allocate.
#![forbid(unsafe_code)]

mod attempt;
mod budget;
mod circuit_breaker;
mod client_throttle;
mod duplicate;
mod error;
mod fallback;
mod hedge;
#[cfg(feature = "http")]
pub mod http;
mod judge;
mod load_shedder;
mod rate_limiter;
mod retry;
mod throttler;
mod timeout;

pub use attempt::{Called, Decided};
pub use budget::{BudgetLayer, BudgetService, ByRequest, PaidBy};
pub use circuit_breaker::{CircuitBreakerFuture, CircuitBreakerLayer, CircuitBreakerService};
pub use client_throttle::{ClientThrottleFuture, ClientThrottleLayer, ClientThrottleService};
pub use duplicate::{Cloned, Duplicate};
pub use error::{BoxError, Error, ServiceError};
pub use fallback::{FallbackFuture, FallbackLayer, FallbackService};
pub use hedge::{HedgeFuture, HedgeLayer, HedgeService};
pub use judge::Judge;
pub use load_shedder::{
    ByPriority, LoadShedderFuture, LoadShedderLayer, LoadShedderService, Nobody, OnBehalfOf,
    Prioritize,
};
pub use rate_limiter::{
    ByAmounts, ByKey, ByWeight, LearningByRequest, LearningFuture, LearningLayer, LearningService,
    Learns, OneUnit, PerRequest, PerRequestFuture, PerRequestRateLimiterLayer,
    PerRequestRateLimiterService, RateLimiterFuture, RateLimiterLayer, RateLimiterService, Weight,
};
pub use retry::{RetryFuture, RetryLayer, RetryService};
pub use throttler::{ThrottlerFuture, ThrottlerLayer, ThrottlerService};
pub use timeout::{TimeoutFuture, TimeoutLayer, TimeoutService};
