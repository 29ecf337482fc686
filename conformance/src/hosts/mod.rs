//! The hosts that run the cases, each through its own public API.
//!
//! A host is given a case as data and hands back what was seen; what that means is judged in one
//! place for all ([`check`](crate::check)). To add one, implement [`Host`] and list it in [`all`].

mod asynchronous;
mod blocking;
mod build;
mod calls;
mod core;
mod limiter;
mod refusals;
mod script;
mod steps;

use std::time::Duration;

use surefoot_core::{CircuitState, ConfigError, Timestamp};

use crate::format::{CircuitBreakerCase, Need, OutcomeKind, RateLimiterCase, RetryCase};

/// Something that carries out the decisions of Surefoot.
pub(crate) trait Host {
    /// What reports call it.
    fn name(&self) -> &'static str;

    /// Why this host cannot do something that a case needs, or `None` if it can.
    fn cannot(&self, need: Need) -> Option<&'static str>;

    /// Plays the steps on a new breaker: one entry for each step that expects something.
    fn circuit_breaker(&self, case: &CircuitBreakerCase) -> Result<Vec<Seen>, Trouble>;

    /// Makes one call under a new retry.
    fn retry(&self, case: &RetryCase) -> Result<Tried, Trouble>;

    /// Plays the steps on a new limiter: one entry for each. `None` if this host has no limiter.
    fn rate_limiter(&self, _: &RateLimiterCase) -> Option<Result<Vec<Limited>, Trouble>> {
        None
    }
}

/// Every host there is.
pub(crate) fn all() -> [&'static dyn Host; 3] {
    [&core::Core, &asynchronous::Async, &blocking::Blocking]
}

/// Why there is nothing to judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The policy refused its options.
    Refused { field: String, message: String },
    /// The host did something that no host should.
    Broken(String),
}

impl From<ConfigError> for Trouble {
    fn from(error: ConfigError) -> Self {
        Self::Refused { field: error.field().to_owned(), message: error.to_string() }
    }
}

impl From<String> for Trouble {
    fn from(what: String) -> Self {
        Self::Broken(what)
    }
}

/// What no host of this build can do, whatever it is.
fn without_state_machines(need: Need) -> Option<&'static str> {
    match need {
        Need::ClockBackwards | Need::Interrupt => None,
        Need::Atomic => Some("no state machine, so none that is atomic"),
        Need::ErrorTransition => Some("no state machine, so no error transition"),
        Need::DefinitionName => Some("no state machine, so no name of its definition"),
    }
}

/// The time since a case began, on its clock.
fn since_start(now: Timestamp) -> Duration {
    now - Timestamp::ZERO
}

/// What a step of a breaker's case showed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    /// Its place among the steps.
    pub(crate) step: usize,
    /// Whether the call was admitted, if the step asked for one.
    pub(crate) admitted: Option<bool>,
    /// The time a rejection promised; after any other step, that of the status.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) state: CircuitState,
    pub(crate) failure_count: u64,
    pub(crate) success_count: u64,
    pub(crate) failure_rate: f64,
}

/// What a step of a limiter's case showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limited {
    /// Its place among the steps.
    pub(crate) step: usize,
    pub(crate) admitted: bool,
    /// The time a rejection promised.
    pub(crate) retry_after: Option<Duration>,
    /// What is left after the step.
    pub(crate) remaining: u64,
    pub(crate) current_rate: u64,
}

/// How a call under a retry went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tried {
    /// Outcomes used, rejections included.
    pub(crate) attempts: u64,
    /// The waits the retry announced.
    pub(crate) delays: Vec<Duration>,
    pub(crate) outcome: OutcomeKind,
    /// How far the clock moved.
    pub(crate) elapsed: Duration,
    /// The time that attempts took.
    pub(crate) spent: Duration,
    /// Attempts and time as the retry's own error tells them, if it gave up.
    pub(crate) told: Option<(u64, Duration)>,
}
