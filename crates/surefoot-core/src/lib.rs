//! The decisions of Surefoot, and the traits of what hosts provide.
//!
//! Whether a call may start, how long to wait, whether to try again: each is decided here by a
//! small machine over a [`Clock`]. Nothing in this crate sleeps, spawns, opens a socket or knows
//! a runtime; hosts (the `surefoot` crate's async and blocking hosts, tower layers, Python, the
//! gateway) ask for decisions and carry them out. That is why every behaviour can be tested in
//! virtual time, exactly:
//!
//! ```
//! use std::time::Duration;
//! use surefoot_core::{CircuitBreaker, CircuitState, ManualClock};
//!
//! let clock = ManualClock::new();
//! let breaker = CircuitBreaker::builder("payments")
//!     .failure_threshold(1)
//!     .timeout(Duration::from_secs(60))
//!     .clock(clock.clone())
//!     .build()?;
//!
//! breaker.admit()?.failure();
//! assert_eq!(breaker.state(), CircuitState::Open);
//! assert_eq!(breaker.admit().unwrap_err().retry_after(), Some(Duration::from_secs(60)));
//!
//! clock.advance(Duration::from_secs(60));
//! breaker.admit()?.success(); // the first of two successful probes
//! assert_eq!(breaker.state(), CircuitState::HalfOpen);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The parts, in the order to read them: [`Timestamp`] and [`Clock`]; [`Verdict`] and
//! [`DropReason`], how a call ends; [`Error`], [`Rejection`] and [`ConfigError`]; then the
//! policies, [`circuit_breaker`], [`retry`], [`rate_limiter`], [`throttler`], [`bulkhead`],
//! [`load_shedder`], [`client_throttle`], [`budget`], [`hedge`], [`timeout`] and [`deadline`].
#![forbid(unsafe_code)]

pub mod budget;
pub mod bulkhead;
pub mod circuit_breaker;
mod classify;
pub mod client_throttle;
mod clock;
pub mod config;
mod counter;
pub mod deadline;
mod draw;
mod drop_reason;
mod error;
mod event;
pub mod hedge;
mod last_good;
pub mod load_shedder;
mod name;
pub mod rate_limiter;
mod rejection;
pub mod retry;
mod sync;
pub mod throttler;
mod time;
pub mod timeout;
mod verdict;
mod wake;

pub use budget::Budget;
pub use bulkhead::{Bulkhead, Compartment};
pub use circuit_breaker::{CircuitBreaker, CircuitState, Permit};
pub use classify::{Classification, Classify, DefaultClassifier};
pub use client_throttle::ClientThrottle;
pub use clock::{Clock, ManualClock, ManualSleep, SystemClock, TimeSource, Timer};
pub use config::ConfigError;
pub use deadline::Deadline;
pub use drop_reason::{DropReason, with_drop_reason};
pub use error::{Error, StopReason};
pub use event::{Event, Events, Subscription};
pub use hedge::Hedge;
pub use last_good::LastGood;
pub use load_shedder::LoadShedder;
pub use name::Name;
pub use rate_limiter::{KeyedRateLimiter, RateLimiter};
pub use rejection::{CompartmentFull, OpenReason, Rejection, UnknownCompartment};
pub use retry::{AttemptResult, Backoff, Jitter, Retry, RetryBudget};
pub use throttler::Throttler;
pub use time::Timestamp;
pub use timeout::Timeout;
pub use verdict::Verdict;
