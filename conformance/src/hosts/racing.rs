//! A hedge's case for hosts whose attempts are futures: they differ in how the call is made.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use surefoot::{
    Clock, ConfigError, DropReason, Hedge, ManualClock, RetryBudget, Timeout, Timestamp,
};

use super::script::{Fault, Reply, Script, outcome};
use super::{Raced, Trouble, build};
use crate::driver::drive_until;
use crate::format::{Ended, HedgeCase, Outcome, OutcomeKind};

/// One call, still to be made.
#[derive(Clone)]
pub(super) struct Call<'a> {
    pub(super) hedge: Hedge,
    pub(super) script: &'a Script<'a>,
    pub(super) attempts: &'a Attempts,
    pub(super) clock: &'a ManualClock,
    /// A time limit around it.
    pub(super) timeout: Option<Timeout>,
}

pub(super) type Answer<'a> =
    Pin<Box<dyn Future<Output = Result<Reply, surefoot::Error<Fault>>> + Send + 'a>>;

impl Call<'_> {
    /// What every attempt does.
    pub(super) async fn attempt(&self) -> Result<Reply, Fault> {
        let running = self.attempts.begin(self.clock);
        let outcome = self.script.next();
        if !outcome.takes.is_zero() {
            self.clock.sleep_until(self.clock.now() + outcome.takes).await;
        }
        running.end();
        self.script.result(outcome)
    }
}

/// What became of the attempts of a call.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    started: Mutex<Vec<Timestamp>>,
    running: AtomicU64,
    cancelled: AtomicU64,
    overdue: AtomicU64,
}

/// An attempt under way.
struct Running<'a>(&'a Attempts);

impl Attempts {
    fn begin(&self, clock: &ManualClock) -> Running<'_> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner).push(clock.now());
        self.running.fetch_add(1, Ordering::SeqCst);
        Running(self)
    }
}

impl Running<'_> {
    fn end(self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
        std::mem::forget(self);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let ended = match DropReason::current() {
            DropReason::Deadline => &self.0.overdue,
            DropReason::Cancelled | DropReason::Panic => &self.0.cancelled,
        };
        ended.fetch_add(1, Ordering::SeqCst);
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A budget of just so many tokens.
pub(super) fn tokens(count: u32, clock: &ManualClock) -> Result<RetryBudget, ConfigError> {
    let never = Duration::from_secs(u64::from(u32::MAX));
    let budget = RetryBudget::builder().initial(count).max(count.max(1)).ratio(0.0);
    budget.refill_every(never).clock(clock).build()
}

/// Makes the calls of a case: those before, and the one that it is about.
pub(super) fn race(
    case: &HedgeCase,
    make: impl for<'a> Fn(Call<'a>) -> Result<Answer<'a>, Trouble>,
) -> Result<Raced, Trouble> {
    let clock = ManualClock::new();
    let mut hedge = build::hedge(&case.config, &clock)?.build()?;
    if let Some(count) = case.budget {
        hedge = hedge.drawing_on(tokens(count, &clock)?, true);
    }
    for takes in &case.seen {
        let outcomes = vec![Outcome { kind: OutcomeKind::Ok, takes: *takes, retry_after: None }];
        let earlier = HedgeCase { outcomes, deadline: None, cancel: None, ..case.clone() };
        one_call(&earlier, &hedge, &clock, &make)?;
    }
    clock.advance(case.pause);
    one_call(case, &hedge, &clock, &make)
}

fn one_call(
    case: &HedgeCase,
    hedge: &Hedge,
    clock: &ManualClock,
    make: &impl for<'a> Fn(Call<'a>) -> Result<Answer<'a>, Trouble>,
) -> Result<Raced, Trouble> {
    let began = clock.now();
    let script = Script::new(&case.outcomes, &case.rules);
    let attempts = Attempts::default();
    let timeout = case.deadline.map(Timeout::new).transpose()?;
    let call = make(Call {
        hedge: hedge.clone(),
        script: &script,
        attempts: &attempts,
        clock,
        timeout: timeout.map(|timeout| timeout.on_clock(clock)),
    })?;
    // What lost has to be gone when there is an answer, not when the call is.
    let gone = || {
        let [running, cancelled, overdue] =
            [&attempts.running, &attempts.cancelled, &attempts.overdue]
                .map(|count| count.load(Ordering::SeqCst));
        (running, cancelled, overdue)
    };
    let leaves = case.cancel.map(|after| began + after);
    let (result, (running, cancelled, overdue)) = drive_until(clock, leaves, call, gone)?;
    if running > 0 {
        return Err(format!("{running} attempts are still under way").into());
    }
    let started = attempts.started.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Raced {
        calls: script.attempts(),
        started: started.iter().map(|at| *at - began).collect(),
        outcome: match result {
            None => Ended::Cancelled,
            Some(Err(surefoot::Error::Timeout { .. })) => Ended::Timeout,
            Some(result) => Ended::Gave(outcome(result)?),
        },
        elapsed: clock.now() - began,
        cancelled,
        overdue,
        tokens: hedge.budget().map(RetryBudget::balance),
    })
}
