//! Reliability for calls you cannot trust: models, tools, services.
//!
//! ```
//! use std::time::Duration;
//! use surefoot::prelude::*;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # async fn ask_the_model() -> Result<String, std::io::Error> { Ok("an answer".into()) }
//! let model = Pipeline::builder("model")
//!     .idempotent() // asking twice does no harm, so a retry may ask again
//!     .add(Timeout::new(Duration::from_secs(30))?)
//!     .add(Retry::builder().max_attempts(4).jitter(Jitter::Full).build()?)
//!     .add(CircuitBreaker::builder("model").build()?)
//!     .add(Timeout::new(Duration::from_secs(10))?.named("attempt"))
//!     .build()?;
//!
//! let answer = model.call(ask_the_model).await?;
//! assert_eq!(answer, "an answer");
//! # Ok(())
//! # }
//! ```
//!
//! Every policy, and every [`Pipeline`] of them, is a [`Policy`]: `call` runs a future under any
//! executor; as a [`BlockingPolicy`], `call_blocking` runs a function on the calling thread. The decisions are those of
//! [`surefoot_core`]; this crate carries them out.
//!
//! | feature | |
//! |---|---|
//! | `tokio` (default) | wait with tokio's timers inside a tokio runtime built with `enable_time`, as `#[tokio::main]` is; elsewhere a timer thread serves (tokio panics where timers are missing; that is caught, once for each such runtime, and its message may show up on standard error) |
//! | `serde`, `toml` | configuration as data |
//! | `http` | what HTTP and gRPC answers mean, those of model APIs too: [`http`] |
//! | `test-util` | [`ManualClock`]: virtual time for your tests |
//! | `metrics` | counters and gauges through the `metrics` facade |
//! | `tracing` | spans and events through `tracing` |
#![forbid(unsafe_code)]

mod classified;
mod event_stream;
pub mod fallback;
pub mod health;
pub mod host;
mod hosts;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "metrics")]
pub mod metrics;
mod operation;
mod pipeline;
mod policy;
mod registry;
mod scope;
pub mod stream;
mod sync;
pub mod system_load;
mod time;
#[cfg(feature = "tracing")]
pub mod tracing;

pub use classified::{Classified, LimitsFrom, limits_from, retry_on};
pub use event_stream::EventStream;
pub use fallback::{Fallback, WithFallback};
pub use hosts::budget::{BudgetScope, InBudget};
pub use hosts::bulkhead::AcquireIn;
pub use hosts::rate_limiter::{Learning, LimitedFn, Limiter, Settling, Weighted};
pub use hosts::rate_limits::MultiLimiter;
pub use hosts::throttler::{Acquire, Acquiring};
pub use operation::{BlockingOperation, Judged, Operation};
pub use pipeline::{
    BoxBlockingPipeline, BoxClassifier, BoxPipeline, BoxStreamed, Composition, Identity, OrderRule,
    Part, PartKind, Pipeline, PipelineBuilder, Stack,
};
pub use policy::{BlockingPolicy, Policy};
pub use registry::{Registry, RegistryBuilder};
pub use scope::{Attempt, Instrumented, Scope};
pub use surefoot_core::{
    Backoff, Budget, Bulkhead, CircuitBreaker, CircuitState, Classification, Classify,
    ClientThrottle, Clock, Compartment, CompartmentFull, ConfigError, Deadline, DefaultClassifier,
    DropReason, Error, Event, Events, Hedge, Jitter, KeyedRateLimiter, LastGood, LoadShedder, Name,
    OpenReason, Permit, RateLimiter, Rejection, Retry, RetryBudget, StopReason, Subscription,
    SystemClock, Throttler, TimeSource, Timeout, Timer, Timestamp, UnknownCompartment, Verdict,
    budget, bulkhead, circuit_breaker, client_throttle, config, deadline, hedge, load_shedder,
    rate_limiter, retry, throttler, timeout, with_drop_reason,
};
#[cfg(feature = "test-util")]
pub use surefoot_core::{ManualClock, ManualSleep};
pub use system_load::SystemLoad;

/// Everything a caller usually needs.
pub mod prelude {
    pub use crate::circuit_breaker::Trip;
    pub use crate::{
        Acquire, AcquireIn, BlockingPolicy, Budget, BudgetScope, Bulkhead, CircuitBreaker,
        CircuitState, Classification, ClientThrottle, ConfigError, Error, Fallback, Hedge, Jitter,
        KeyedRateLimiter, Limiter, LoadShedder, OrderRule, Pipeline, Policy, RateLimiter, Registry,
        Retry, RetryBudget, Throttler, Timeout, Verdict, retry_on,
    };
}
