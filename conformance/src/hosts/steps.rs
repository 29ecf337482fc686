//! Plays a breaker's case for the hosts that are written in Rust: they differ in how a call is
//! made and ended, and in nothing else.

use std::collections::HashMap;
use std::time::Duration;

use surefoot_core::{CircuitBreaker, Clock, ManualClock};

use super::Seen;
use crate::format::{Action, Ending, Operator, Step};

/// How a host makes calls through a breaker.
pub(super) trait Calls {
    /// A call under way.
    type Call;

    /// Starts a call that will end as planned.
    fn begin(&mut self, plan: Plan) -> Result<Admission<Self::Call>, String>;

    /// Ends it as was planned.
    fn end(&mut self, call: Self::Call, ending: Ending) -> Result<(), String>;
}

pub(super) enum Admission<C> {
    Admitted(C),
    Rejected { retry_after: Option<Duration> },
}

/// What the steps that follow have in store for a call; a time limit has to be known beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Nobody ends it.
    Open,
    /// By its result.
    Result,
    /// Dropped by its caller.
    Cancel,
    /// By its time limit. `None` if the case's clock does not move forward until then.
    Deadline { limit: Option<Duration> },
}

/// Plays all steps. Calls that are still open afterwards are dropped.
pub(super) fn play<C: Calls>(
    steps: &[Step],
    breaker: &CircuitBreaker,
    clock: &ManualClock,
    calls: &mut C,
) -> Result<Vec<Seen>, String> {
    let mut open = HashMap::new();
    let mut unnamed = Vec::new();
    let mut seen = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let broken = |what: String| format!("step {index} ({}): {what}", step.title);
        clock.set(step.at);
        let mut admitted = None;
        let mut promised = None;
        match &step.action {
            Action::Admit { permit } => match calls.begin(plan(steps, index)).map_err(broken)? {
                Admission::Admitted(call) => {
                    admitted = Some(true);
                    // A call whose name is given away goes on without one.
                    let replaced = match permit {
                        Some(name) => open.insert(name.as_str(), call),
                        None => Some(call),
                    };
                    unnamed.extend(replaced);
                }
                Admission::Rejected { retry_after } => {
                    admitted = Some(false);
                    promised = Some(retry_after);
                }
            },
            Action::End { permit, ending } => {
                if let Some(call) = open.remove(permit.as_str()) {
                    calls.end(call, *ending).map_err(broken)?;
                }
            }
            Action::Operate(operator) => operate(breaker, *operator),
            Action::Observe => observe(breaker).map_err(broken)?,
        }
        if clock.now() != step.at {
            return Err(broken("somebody else moved the clock".into()));
        }
        if !step.accepted.is_empty() {
            let status = breaker.status();
            seen.push(Seen {
                step: index,
                admitted,
                retry_after: promised.unwrap_or(status.retry_after),
                state: status.state,
                failure_count: status.failure_count,
                success_count: status.success_count,
                failure_rate: status.failure_rate,
            });
        }
    }
    Ok(seen)
}

fn operate(breaker: &CircuitBreaker, operator: Operator) {
    match operator {
        Operator::Reset => breaker.reset(),
        Operator::ForceOpen => breaker.force_open(),
        Operator::Disable => breaker.disable(),
        Operator::Automatic => breaker.automatic(),
    }
}

/// Reads all there is to read, twice.
fn observe(breaker: &CircuitBreaker) -> Result<(), String> {
    let read = || {
        let status = breaker.status();
        let rest = (breaker.state(), breaker.generation(), breaker.is_disposable());
        (status, rest, breaker.failure_rate().to_bits(), breaker.config())
    };
    let (first, second) = (read(), read());
    if first == second { Ok(()) } else { Err(format!("reading moved it: {first:?}, {second:?}")) }
}

/// What will become of the call that is asked for at `index`.
fn plan(steps: &[Step], index: usize) -> Plan {
    let Action::Admit { permit: Some(name) } = &steps[index].action else { return Plan::Open };
    for step in &steps[index + 1..] {
        match &step.action {
            Action::Admit { permit: Some(again) } if again == name => return Plan::Open,
            Action::End { permit, ending } if permit == name => {
                return match ending {
                    Ending::Cancel => Plan::Cancel,
                    Ending::Deadline => {
                        let limit = step.at - steps[index].at;
                        Plan::Deadline { limit: (!limit.is_zero()).then_some(limit) }
                    }
                    _ => Plan::Result,
                };
            }
            _ => {}
        }
    }
    Plan::Open
}
