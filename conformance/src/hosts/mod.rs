//! The hosts that run the cases, each through its own public API.
//!
//! A host is given a case as data and hands back what was seen; what that means is judged in one
//! place for all ([`check`](crate::check)). To add one, implement [`Host`] and list it in [`all`].

mod asynchronous;
mod blocking;
mod budget;
mod build;
mod calls;
mod chains;
mod client_throttle;
mod core;
mod limiter;
mod options;
mod queue;
mod racing;
mod refusals;
mod script;
mod shedder;
mod steps;
mod tower;

use std::time::Duration;

pub(crate) use client_throttle::Counted;
pub(crate) use queue::Queued;

use surefoot_core::budget::{BudgetStatus, Dimension};
use surefoot_core::load_shedder::Signal;
use surefoot_core::{CircuitState, ConfigError, Rejection, Timestamp};

use crate::format::{
    BudgetCase, BudgetNews, CallEnd, CircuitBreakerCase, ClientThrottleCase, Ended, FallbackCase,
    HedgeCase, LoadShedderCase, Need, OutcomeKind, QueueCase, RateLimiterCase, RetryCase,
};

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

    /// Makes one call under a new hedge, and those before it.
    fn hedge(&self, _: &HedgeCase) -> Result<Raced, Trouble> {
        Err(Trouble::Broken("asked to race attempts, which it cannot".into()))
    }

    /// Makes the calls of a fallback: one entry for each step.
    fn fallback(&self, _: &FallbackCase) -> Result<Vec<Answered>, Trouble> {
        Err(Trouble::Broken("asked to fall back, which it cannot".into()))
    }

    /// Plays the steps on a new limiter: one entry for each.
    fn rate_limiter(&self, case: &RateLimiterCase) -> Result<Vec<Limited>, Trouble>;

    /// Plays the steps on a new budget: one entry for each.
    fn budget(&self, case: &BudgetCase) -> Result<Vec<Spent>, Trouble>;

    /// Plays the steps on a new load shedder: one entry for each.
    fn load_shedder(&self, case: &LoadShedderCase) -> Result<Vec<Shed>, Trouble>;

    /// Plays the steps on a new throttler or bulkhead: one entry for each.
    fn queue(&self, case: &QueueCase) -> Result<Vec<Queued>, Trouble>;

    /// Plays the steps on a new client throttle: one entry for each.
    fn client_throttle(&self, case: &ClientThrottleCase) -> Result<Vec<Counted>, Trouble>;
}

/// Every host there is.
pub(crate) fn all() -> [&'static dyn Host; 4] {
    [&core::Core, &asynchronous::Async, &blocking::Blocking, &tower::Tower]
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
        Need::ClockBackwards
        | Need::Interrupt
        | Need::Race
        | Need::Chain
        | Need::ManyLinks
        | Need::LastGood
        | Need::Settle
        | Need::MoveUp => None,
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
    /// Whether the call was admitted, perhaps to wait, if the step is one.
    pub(crate) admitted: Option<bool>,
    /// The time a rejection promised.
    pub(crate) retry_after: Option<Duration>,
    /// What is left after the step.
    pub(crate) remaining: u64,
    pub(crate) current_rate: u64,
    pub(crate) waiting: u64,
    /// The calls that began since the step before, this one included, and when.
    pub(crate) began: Vec<(String, Timestamp)>,
}

/// What a step of a budget's case showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    /// Its place among the steps.
    pub(crate) step: usize,
    /// Whether what was asked for was granted, if the step asks.
    pub(crate) granted: Option<bool>,
    /// Whose budget refused, and what of.
    pub(crate) refusal: Option<(String, Dimension)>,
    /// Outcomes used by a call.
    pub(crate) calls: Option<u64>,
    pub(crate) outcome: Option<CallEnd>,
    /// Why the outermost retry gave up.
    pub(crate) stop: Option<String>,
    pub(crate) told: Vec<BudgetNews>,
    /// All budgets that are held, after the step.
    pub(crate) statuses: Vec<(String, BudgetStatus)>,
}

impl Spent {
    fn asked(answer: Result<(), Rejection>) -> Self {
        let granted = Some(answer.is_ok());
        let refusal = answer.err().as_ref().and_then(budget::budgets_own);
        Self { granted, refusal, ..Self::default() }
    }
}

/// What a step of a load shedder's case showed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shed {
    /// Its place among the steps.
    pub(crate) step: usize,
    /// Whether the last call of the step was admitted.
    pub(crate) admitted: Option<bool>,
    /// Signal, load and limit for which the last call that was shed was.
    pub(crate) reason: Option<(Signal, f32, f32)>,
    pub(crate) unknown_priority: bool,
    /// Calls of the step that were shed.
    pub(crate) refused: u64,
    pub(crate) in_flight: u64,
    /// Calls so far that only a dry run let in.
    pub(crate) let_in: u64,
    pub(crate) admitted_share: f64,
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

/// How a call under a hedge went. Times are since it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Raced {
    /// Outcomes used, rejections included.
    pub(crate) calls: u64,
    /// When the attempts began that were not rejected.
    pub(crate) started: Vec<Duration>,
    pub(crate) outcome: Ended,
    /// How far the clock moved.
    pub(crate) elapsed: Duration,
    /// Attempts that were dropped, which counts as nothing.
    pub(crate) cancelled: u64,
    /// Attempts that were dropped by the time limit, which counts as a failure.
    pub(crate) overdue: u64,
    /// What is left in the budget, if it has one.
    pub(crate) tokens: Option<u64>,
}

/// How a call of a fallback's case went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) outcome: Ended,
    /// The link that answered, or that failed last.
    pub(crate) link: Option<String>,
    /// The links that failed, in order.
    pub(crate) failures: Vec<(String, OutcomeKind)>,
    /// Of a kept answer.
    pub(crate) age: Option<Duration>,
    pub(crate) elapsed: Duration,
}
