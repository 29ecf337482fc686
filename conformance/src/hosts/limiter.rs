//! Plays a limiter's case for the hosts that are written in Rust: they differ in how a call asks, waits
//! and is corrected, and in nothing else.

mod asynchronous;
mod blocking;
mod core;
mod tower;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

pub(super) use asynchronous::Futures;
pub(super) use blocking::Threads;
pub(super) use core::Reservations;
use surefoot_core::rate_limiter::{LimiterKey, RateLimiterStatus};
use surefoot_core::{
    Clock, ConfigError, KeyedRateLimiter, ManualClock, RateLimiter, Timeout, Timestamp,
};
pub(super) use tower::Services;

use super::{Limited, Trouble, build};
use crate::format::{LimiterAction, LimiterStep, RateLimiterCase};

/// How a host makes calls under a limiter.
pub(super) trait Calls {
    /// One call that asks for `n` units and must not wait.
    fn check(&mut self, key: Option<&str>, n: u64) -> Result<Answer, String>;

    /// Starts a call that may wait.
    fn acquire(&mut self, call: Ask<'_>) -> Result<Asked, String>;

    /// Those that have begun meanwhile, in order, while time stood still.
    fn begun(&mut self) -> Result<Vec<String>, String>;

    /// The caller of a call leaves.
    fn cancel(&mut self, call: &str) -> Result<(), String>;

    /// A call that has begun used so much.
    fn settle(&mut self, call: &str, used: u64) -> Result<(), String>;
}

/// Admitted, or refused with the time that was promised.
pub(super) type Answer = Result<(), Option<Duration>>;

/// A call that may wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a> {
    pub(super) call: &'a str,
    pub(super) key: Option<&'a str>,
    pub(super) n: u64,
    pub(super) deadline: Option<Duration>,
    /// Whether it will be corrected.
    pub(super) corrected: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Began,
    Waits,
    Refused { retry_after: Option<Duration> },
}

impl From<Answer> for Asked {
    fn from(answer: Answer) -> Self {
        match answer {
            Ok(()) => Self::Began,
            Err(retry_after) => Self::Refused { retry_after },
        }
    }
}

/// What a case is played on.
#[derive(Clone)]
pub(super) struct Limiters {
    pub(super) clock: ManualClock,
    single: Option<RateLimiter>,
    keyed: Option<KeyedRateLimiter<String>>,
    /// Whether any call of the case may wait: if not, all go through the host's policies, which
    /// then are told not to.
    pub(super) waits: bool,
}

/// The limiter of one step.
pub(super) enum Of {
    All(RateLimiter),
    Key(LimiterKey<String>),
}

/// The same expression with either kind of limiter.
macro_rules! with {
    ($of:expr, $limiter:ident => $answer:expr) => {
        match $of {
            $crate::hosts::limiter::Of::All($limiter) => $answer,
            $crate::hosts::limiter::Of::Key($limiter) => $answer,
        }
    };
}
use with;

impl Limiters {
    /// `max_wait`: what the case says, or none where nobody is to wait.
    fn new(case: &RateLimiterCase) -> Result<Self, ConfigError> {
        let clock = ManualClock::new();
        let config = build::rate_limiter(&case.config)?.clock(&clock);
        let is_wait = |step: &LimiterStep| matches!(step.action, LimiterAction::Acquire { .. });
        let waits = case.steps.iter().any(is_wait);
        let needs = |keyed: bool| {
            case.steps.is_empty() || case.steps.iter().any(|step| step.key.is_some() == keyed)
        };
        // With the case's own options first: they may be wrong.
        let (single, keyed) = (
            needs(false).then(|| config.clone().build()).transpose()?,
            needs(true).then(|| config.clone().build_keyed()).transpose()?,
        );
        if waits {
            return Ok(Self { clock, single, keyed, waits });
        }
        let config = config.max_wait(Duration::ZERO);
        let single = single.map(|_| config.clone().build()).transpose()?;
        let keyed = keyed.map(|_| config.build_keyed()).transpose()?;
        Ok(Self { clock, single, keyed, waits })
    }

    pub(super) fn of(&self, key: Option<&str>) -> Result<Of, String> {
        let missing = || "the case has no such limiter".to_owned();
        Ok(match key {
            None => Of::All(self.single.clone().ok_or_else(missing)?),
            Some(key) => Of::Key(self.keyed.as_ref().ok_or_else(missing)?.key(key)),
        })
    }

    pub(super) fn keyed(&self) -> Result<KeyedRateLimiter<String>, String> {
        self.keyed.clone().ok_or_else(|| "the case has no keyed limiter".to_owned())
    }

    /// The time limit of a call, by the case's clock.
    fn timeout(&self, limit: Option<Duration>) -> Result<Option<Timeout>, String> {
        let timeout = limit.map(Timeout::new).transpose().map_err(|error| error.to_string())?;
        Ok(timeout.map(|timeout| timeout.on_clock(&self.clock)))
    }

    fn status(&self, key: Option<&str>) -> Result<RateLimiterStatus, String> {
        Ok(with!(self.of(key)?, limiter => limiter.status()))
    }

    /// What a call that does not wait gets from the limiter itself.
    fn check(&self, key: Option<&str>, n: u64) -> Result<Answer, String> {
        let checked = with!(self.of(key)?, limiter => limiter.check_n(n));
        Ok(checked.map_err(|rejection| rejection.retry_after()))
    }
}

/// Plays all steps. Calls that still wait afterwards are dropped.
pub(super) fn play<C: Calls>(
    case: &RateLimiterCase,
    calls: impl FnOnce(Limiters) -> C,
) -> Result<Vec<Limited>, Trouble> {
    let limiters = Limiters::new(case)?;
    let mut calls = calls(limiters.clone());
    let mut seen = Vec::new();
    for (index, step) in case.steps.iter().enumerate() {
        let broken = |what: String| format!("step {index} ({}): {what}", step.title);
        let mut began = move_to(&limiters.clock, step.at, &mut calls).map_err(broken)?;
        let key = step.key.as_deref();
        let asked = act(case, step, &limiters, &mut calls, &mut began).map_err(broken)?;
        // What it gave back may let others begin at once.
        let more = calls.begun().map_err(broken)?;
        began.extend(more.into_iter().map(|call| (call, step.at)));
        if limiters.clock.now() != step.at {
            return Err(broken("somebody else moved the clock".into()).into());
        }
        let status = limiters.status(key).map_err(broken)?;
        let (admitted, retry_after) = match asked {
            None => (None, Some(status.retry_after)),
            Some(Asked::Began | Asked::Waits) => (Some(true), None),
            Some(Asked::Refused { retry_after }) => (Some(false), retry_after),
        };
        seen.push(Limited {
            step: index,
            admitted,
            retry_after,
            remaining: status.remaining,
            current_rate: status.current_rate,
            waiting: status.waiting,
            began,
        });
    }
    Ok(seen)
}

/// Moves time from one wait's end to the next. Those whose slots are due begin, and those of the
/// moment itself before anything else happens at it.
fn move_to(
    clock: &ManualClock,
    at: Timestamp,
    calls: &mut impl Calls,
) -> Result<Vec<(String, Timestamp)>, String> {
    let mut began = Vec::new();
    if at <= clock.now() {
        clock.set(at);
    }
    let mut bell = clock.sleep_until(at);
    let _ = Pin::new(&mut bell).poll(&mut Context::from_waker(Waker::noop()));
    while clock.now() < at {
        clock.advance_to_next_waiter();
        let now = clock.now();
        began.extend(calls.begun()?.into_iter().map(|call| (call, now)));
    }
    Ok(began)
}

fn act(
    case: &RateLimiterCase,
    step: &LimiterStep,
    limiters: &Limiters,
    calls: &mut impl Calls,
    began: &mut Vec<(String, Timestamp)>,
) -> Result<Option<Asked>, String> {
    let key = step.key.as_deref();
    match &step.action {
        LimiterAction::Check { n } => {
            // What is told beforehand has to be what happens.
            let foretold = with!(limiters.of(key)?, limiter => limiter.retry_after(*n));
            let answer = calls.check(key, *n)?;
            let told = answer.map_or_else(|refused| refused, |()| Some(Duration::ZERO));
            let full = key.is_some() && answer == Err(None);
            if foretold != told && *n > 0 && !full {
                return Err(format!("`retry_after` said {foretold:?}, the call {told:?}"));
            }
            Ok(Some(answer.into()))
        }
        LimiterAction::Acquire { call, n, deadline } => {
            let (n, deadline) = (*n, *deadline);
            let corrected = is_corrected(case, call);
            let asked = calls.acquire(Ask { call, key, n, deadline, corrected })?;
            if asked == Asked::Began {
                began.push((call.clone(), step.at));
            }
            Ok(Some(asked))
        }
        LimiterAction::Cancel { call } => calls.cancel(call).map(|()| None),
        LimiterAction::Settle { call, used } => calls.settle(call, *used).map(|()| None),
        LimiterAction::GiveBack { call } => calls.settle(call, 0).map(|()| None),
        LimiterAction::Observe => Ok(None),
    }
}

fn is_corrected(case: &RateLimiterCase, name: &str) -> bool {
    case.steps.iter().any(|step| match &step.action {
        LimiterAction::Settle { call, .. } | LimiterAction::GiveBack { call } => call == name,
        _ => false,
    })
}

/// Corrects a charge of either kind of limiter; dropped, it keeps what was taken.
pub(super) type Correct = Box<dyn FnOnce(u64) + Send>;

/// Calls that have begun and may be corrected.
#[derive(Default)]
pub(super) struct Charges(Vec<(String, Option<Correct>)>);

impl Charges {
    fn begin(&mut self, call: &str, correct: Option<Correct>) {
        self.0.push((call.to_owned(), correct));
    }

    fn settle(&mut self, call: &str, used: u64) -> Result<(), String> {
        let found = self.0.iter_mut().rev().find(|(known, _)| known == call);
        let correct = found.and_then(|(_, correct)| correct.take());
        correct.map(|correct| correct(used)).ok_or_else(|| format!("{call} has not begun"))
    }
}
