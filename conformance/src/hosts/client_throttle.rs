//! Plays a client throttle's case for all hosts: they differ in how a call is made and tells how it
//! ended, and in nothing else.

mod asynchronous;
mod blocking;
mod core;
mod tower;

pub(super) use asynchronous::Futures;
pub(super) use blocking::Threads;
pub(super) use core::Permits;
use surefoot_core::{ClientThrottle, Error, ManualClock, Rejection};
pub(super) use tower::Services;

use super::calls::Fault;
use super::{Trouble, build};
use crate::format::{ClientThrottleCase, Ending, ThrottleAction};

/// How a host makes calls under a client throttle.
pub(super) trait Calls {
    /// Starts a call; tells whether it is let through.
    fn begin(&mut self, call: &str) -> Result<bool, String>;

    /// A call that was let through ends.
    fn end(&mut self, call: &str, ending: Ending) -> Result<(), String>;
}

/// What a step of a client throttle's case showed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Counted {
    /// Its place among the steps.
    pub(crate) step: usize,
    /// Whether the last call of the step was let through.
    pub(crate) admitted: Option<bool>,
    /// Calls of the step that were not.
    pub(crate) held_back: u64,
    pub(crate) requests: u64,
    pub(crate) accepts: u64,
    pub(crate) rejection_rate: f64,
}

/// Plays all steps. Calls that are still under way afterwards are dropped.
pub(super) fn play<C: Calls>(
    case: &ClientThrottleCase,
    calls: impl FnOnce(ClientThrottle) -> C,
) -> Result<Vec<Counted>, Trouble> {
    let clock = ManualClock::new();
    let throttle = build::client_throttle(&case.config)?.clock(&clock).build()?;
    let mut calls = calls(throttle.clone());
    let mut seen = Vec::new();
    for (index, step) in case.steps.iter().enumerate() {
        clock.set(step.at);
        let broken = |what: String| format!("step {index} ({}): {what}", step.title);
        let through = act(&step.action, &mut calls).map_err(broken)?;
        let status = throttle.status();
        seen.push(Counted {
            step: index,
            admitted: through.last().copied(),
            held_back: through.iter().filter(|through| !**through).count() as u64,
            requests: status.requests,
            accepts: status.accepts,
            rejection_rate: status.rejection_rate,
        });
    }
    Ok(seen)
}

/// Whether the step's calls were let through.
fn act(action: &ThrottleAction, calls: &mut impl Calls) -> Result<Vec<bool>, String> {
    match action {
        ThrottleAction::Calls { ending, times } => {
            let one = |_| {
                let through = calls.begin("call")?;
                if through {
                    calls.end("call", *ending)?;
                }
                Ok(through)
            };
            (0..*times).map(one).collect()
        }
        ThrottleAction::Admit { call } => Ok(vec![calls.begin(call)?]),
        ThrottleAction::End { call, ending } => calls.end(call, *ending).map(|()| Vec::new()),
        ThrottleAction::Observe => Ok(Vec::new()),
    }
}

/// A call that was not let through was held back, and not refused by anybody else.
fn held_back(rejection: &Rejection) -> Result<bool, String> {
    match rejection {
        Rejection::ClientThrottled { .. } => Ok(false),
        other => Err(format!("a call was refused: {other}")),
    }
}

/// The same of a call that ended before its operation was started.
fn ended(result: Result<(), Error<Fault>>) -> Result<bool, String> {
    match result {
        Err(Error::Rejected(rejection)) => held_back(&rejection),
        other => Err(format!("a call ended before it was started: {other:?}")),
    }
}

/// Takes a call out of those under way.
fn take<T>(under_way: &mut Vec<(String, T)>, call: &str) -> Result<T, String> {
    let at = under_way.iter().position(|(known, _)| known == call);
    Ok(under_way.remove(at.ok_or_else(|| format!("{call} is not under way"))?).1)
}
