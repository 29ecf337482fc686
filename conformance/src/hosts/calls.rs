//! What the calls of a breaker's case give, for hosts that run operations.

use std::time::Duration;

use surefoot::{Classification, Error, ManualClock, Timeout};

use super::steps::Admission;
use crate::format::Ending;

/// An operation's error, made for the verdict it is to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Failed,
    /// Says nothing about the callee.
    Ours,
    AskedToWait(Option<Duration>),
}

/// A time limit on a clock of its own.
pub(super) const OWN_LIMIT: Duration = Duration::from_secs(1);

pub(super) fn classify(result: Result<&(), &Fault>) -> Classification {
    match result {
        Ok(()) => Classification::SUCCESS,
        Err(Fault::Failed) => Classification::TRANSIENT,
        Err(Fault::Ours) => Classification::PERMANENT,
        Err(Fault::AskedToWait(wait)) => Classification::throttled(*wait),
    }
}

/// What the operation gives so that its call ends like that.
pub(super) fn result(ending: Ending) -> Result<(), Fault> {
    match ending {
        Ending::Success => Ok(()),
        // A failure that is seen after the limit.
        Ending::Failure | Ending::Deadline => Err(Fault::Failed),
        Ending::Ignore | Ending::Cancel => Err(Fault::Ours),
        Ending::Throttled { retry_after } => Err(Fault::AskedToWait(retry_after)),
    }
}

/// The host's own time limit, which passes at the step that says so: on the case's clock where
/// that moves forward until then, and on a clock of its own where it stands still or goes back.
pub(super) fn timeout(
    limit: Option<Duration>,
    clock: &ManualClock,
) -> Result<(Timeout, Option<ManualClock>), String> {
    let refused = |error: surefoot::ConfigError| error.to_string();
    if let Some(limit) = limit {
        return Ok((Timeout::new(limit).map_err(refused)?.on_clock(clock), None));
    }
    let own = ManualClock::new();
    Ok((Timeout::new(OWN_LIMIT).map_err(refused)?.on_clock(&own), Some(own)))
}

/// A call that ended before its operation was started has to be a refusal.
pub(super) fn refused<C>(result: Result<(), Error<Fault>>) -> Result<Admission<C>, String> {
    match result {
        Err(Error::Rejected(rejection)) => {
            Ok(Admission::Rejected { retry_after: rejection.retry_after() })
        }
        result => Err(format!("the call ended before its operation was started: {result:?}")),
    }
}

/// Whether a call ended as it had to.
pub(super) fn ended(ending: Ending, call: &Result<(), Error<Fault>>) -> Result<(), String> {
    let as_it_should = match (call, ending) {
        (Err(Error::Timeout { dispatched, .. }), Ending::Deadline) => *dispatched,
        (_, Ending::Deadline) => false,
        (Ok(()), ending) => result(ending) == Ok(()),
        (Err(Error::Operation(fault)), ending) => result(ending) == Err(*fault),
        (Err(_), _) => false,
    };
    if as_it_should { Ok(()) } else { Err(format!("the call ended with {call:?}")) }
}
