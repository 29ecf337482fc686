//! Plays a throttler's or a bulkhead's case for all hosts: they differ in how a call waits for its permit
//! and holds it, and in nothing else.

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
pub(super) use core::Waiters;
use surefoot_core::throttler::{LeftQueue, ThrottlerStatus};
use surefoot_core::{
    Bulkhead, Clock, ConfigError, Error, ManualClock, Rejection, Throttler, Timeout, Timestamp,
};
pub(super) use tower::Services;

use super::{Trouble, build};
use crate::format::{QueueAction, QueueCase, QueueKind, QueueRefusal, QueueStep, Refused};

/// How a host makes calls that need a permit.
pub(super) trait Calls {
    /// Starts a call, which holds its permit until it is released.
    fn acquire(&mut self, ask: Ask<'_>) -> Result<Asked, String>;

    /// What has become of those that waited, while time stood still. `alarms`: how many sleep on the clock who
    /// are not the host's.
    fn answered(&mut self, alarms: usize) -> Result<Vec<(String, Answer)>, String>;

    /// A call that runs comes to its end.
    fn release(&mut self, call: &str) -> Result<(), String>;

    /// The caller of a call leaves, whether it waits or runs.
    fn cancel(&mut self, call: &str) -> Result<(), String>;
}

/// A call that asks for a permit.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) call: &'a str,
    pub(super) throttler: &'a Throttler,
    /// The throttler is this compartment of a bulkhead, and the call has no priority.
    pub(super) compartment: Option<(&'a Bulkhead, &'a str)>,
    pub(super) timeout: Option<&'a Timeout>,
}

/// It has its permit, or it was refused.
pub(super) type Answer = Result<(), QueueRefusal>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Began,
    Waits,
    Refused(QueueRefusal),
}

impl From<Answer> for Asked {
    fn from(answer: Answer) -> Self {
        answer.map_or_else(Self::Refused, |()| Self::Began)
    }
}

/// Why a call was refused; any other rejection is not of a throttler.
pub(super) fn refusal(rejection: &Rejection) -> Result<QueueRefusal, String> {
    Ok(match rejection {
        Rejection::QueueFull { .. } => QueueRefusal::QueueFull,
        Rejection::BulkheadFull { .. } => QueueRefusal::BulkheadFull,
        Rejection::Closed { .. } => QueueRefusal::Closed,
        Rejection::UnknownCompartment { .. } => QueueRefusal::UnknownCompartment,
        Rejection::QueueTimeout { reason: LeftQueue::Timeout, .. } => QueueRefusal::QueueTimeout,
        Rejection::QueueTimeout { reason: LeftQueue::Deadline, .. } => QueueRefusal::Deadline,
        Rejection::QueueTimeout { reason: LeftQueue::StandingQueue, .. } => {
            QueueRefusal::StandingQueue
        }
        Rejection::QueueTimeout { reason: LeftQueue::Displaced, .. } => QueueRefusal::Displaced,
        other => return Err(format!("a call was refused: {other}")),
    })
}

/// How a call ended that never had its permit.
pub(super) fn ended<E: std::fmt::Debug>(
    result: Result<(), Error<E>>,
) -> Result<QueueRefusal, String> {
    let unexpected =
        |what: &dyn std::fmt::Debug| format!("a call without a permit ended with {what:?}");
    match result {
        Err(Error::Rejected(rejection)) => refusal(&rejection),
        // Its time was over in the queue, by the time limit's own account.
        Err(Error::Timeout { dispatched: false, .. }) => Ok(QueueRefusal::Deadline),
        // A layer cannot know that the service it has called does nothing but wait.
        Err(Error::Timeout { last: Some(last), .. }) => match *last {
            Error::Rejected(rejection) => refusal(&rejection),
            last => Err(unexpected(&last)),
        },
        other => Err(unexpected(&other)),
    }
}

/// What is left of a case's policy at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueCounts {
    pub(crate) in_flight: u32,
    pub(crate) queue_depth: u32,
    pub(crate) max_concurrent: u32,
    pub(crate) borrowed: u32,
    pub(crate) lent: u32,
}

/// What a step of a throttler's or a bulkhead's case showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Queued {
    /// Its place among the steps.
    pub(crate) step: usize,
    /// Whether the call of this step has its permit.
    pub(crate) admitted: Option<bool>,
    pub(crate) holds: Vec<String>,
    pub(crate) waits: Vec<String>,
    /// Since the step before.
    pub(crate) refused: Vec<Refused>,
    /// The compartments that a refusal listed.
    pub(crate) known: Vec<String>,
    pub(crate) config_error: Option<String>,
    /// Of the throttler, or of the step's compartment.
    pub(crate) counts: Option<QueueCounts>,
}

enum Policy {
    Throttler(Throttler),
    Bulkhead(Bulkhead),
}

impl Policy {
    fn new(case: &QueueCase, clock: &ManualClock) -> Result<Self, ConfigError> {
        Ok(match case.kind {
            QueueKind::Throttler => {
                Self::Throttler(build::throttler(&case.config)?.clock(clock).build()?)
            }
            QueueKind::Bulkhead => {
                Self::Bulkhead(build::bulkhead(&case.config)?.clock(clock).build()?)
            }
        })
    }

    fn of(&self, compartment: Option<&str>) -> Result<Throttler, Rejection> {
        match self {
            Self::Throttler(throttler) => Ok(throttler.clone()),
            Self::Bulkhead(bulkhead) => bulkhead.compartment(compartment.unwrap_or_default()),
        }
    }

    fn close(&self, compartment: Option<&str>) -> Result<(), String> {
        match (self, compartment) {
            (Self::Bulkhead(bulkhead), None) => bulkhead.close(),
            (_, compartment) => self.of(compartment).map_err(|it| it.to_string())?.close(),
        }
        Ok(())
    }
}

/// Who is where, by what the hosts tell.
#[derive(Default)]
struct People {
    holds: Vec<String>,
    waits: Vec<String>,
    refused: Vec<Refused>,
    /// The compartments of those who asked.
    asked: Vec<(String, Option<String>)>,
}

impl People {
    fn take(&mut self, calls: &mut impl Calls, clock: &ManualClock, alarms: usize) -> Step {
        loop {
            let answered = calls.answered(alarms)?;
            if answered.is_empty() {
                return Ok(());
            }
            for (call, answer) in answered {
                self.waits.retain(|waiting| *waiting != call);
                self.answer(call, answer, clock.now());
            }
        }
    }

    fn answer(&mut self, call: String, answer: Answer, at: Timestamp) {
        match answer {
            Ok(()) => self.holds.push(call),
            Err(why) => self.refused.push(Refused { call, why, at: Some(at) }),
        }
    }

    fn leave(&mut self, call: &str) {
        for people in [&mut self.holds, &mut self.waits] {
            people.retain(|known| known != call);
        }
    }

    fn compartment_of(&self, call: &str) -> Option<String> {
        let asked = self.asked.iter().rev().find(|(known, _)| known == call);
        asked.and_then(|(_, compartment)| compartment.clone())
    }
}

type Step = Result<(), String>;

/// Plays all steps. Calls that still wait or run afterwards are dropped.
pub(super) fn play<C: Calls>(
    case: &QueueCase,
    calls: impl FnOnce(&ManualClock) -> C,
) -> Result<Vec<Queued>, Trouble> {
    let clock = ManualClock::new();
    let policy = Policy::new(case, &clock)?;
    let mut game = Game { policy, calls: calls(&clock), clock, people: People::default() };
    let mut seen = Vec::new();
    for (index, step) in case.steps.iter().enumerate() {
        let broken = |what: String| format!("step {index} ({}): {what}", step.title);
        seen.push(game.step(index, step).map_err(broken)?);
    }
    Ok(seen)
}

struct Game<C> {
    policy: Policy,
    calls: C,
    clock: ManualClock,
    people: People,
}

impl<C: Calls> Game<C> {
    fn step(&mut self, index: usize, step: &QueueStep) -> Result<Queued, String> {
        self.people.refused.clear();
        self.move_to(step.at)?;
        let mut seen = Queued {
            step: index,
            admitted: None,
            holds: Vec::new(),
            waits: Vec::new(),
            refused: Vec::new(),
            known: Vec::new(),
            config_error: None,
            counts: None,
        };
        self.act(step, &mut seen)?;
        self.people.take(&mut self.calls, &self.clock, 0)?;
        if self.clock.now() != step.at {
            return Err("somebody else moved the clock".into());
        }
        let compartment = match &step.action {
            _ if step.compartment.is_some() => step.compartment.clone(),
            QueueAction::Release { call, .. } | QueueAction::Cancel { call } => {
                self.people.compartment_of(call)
            }
            _ => None,
        };
        seen.holds.clone_from(&self.people.holds);
        seen.waits.clone_from(&self.people.waits);
        seen.refused.clone_from(&self.people.refused);
        let throttler = self.policy.of(compartment.as_deref()).ok();
        seen.counts = throttler.map(|throttler| counts(&throttler.status()));
        Ok(seen)
    }

    /// Moves time from one wait's end to the next. Those whose time is over leave, also at the moment
    /// itself, before anything else happens at it.
    fn move_to(&mut self, at: Timestamp) -> Step {
        if at < self.clock.now() {
            return Err("a step is earlier than the one before".into());
        }
        let mut alarm = self.clock.sleep_until(at);
        let _ = Pin::new(&mut alarm).poll(&mut Context::from_waker(Waker::noop()));
        while self.clock.now() < at {
            self.clock.advance_to_next_waiter();
            let alarms = usize::from(self.clock.now() < at);
            self.people.take(&mut self.calls, &self.clock, alarms)?;
        }
        Ok(())
    }

    fn act(&mut self, step: &QueueStep, seen: &mut Queued) -> Step {
        let compartment = step.compartment.as_deref();
        match &step.action {
            QueueAction::Acquire { call, priority, deadline } => {
                self.acquire(compartment, call, (*priority, *deadline), seen)?;
            }
            QueueAction::Release { call, then_cancel } => {
                if !self.people.holds.contains(call) {
                    return Err(format!("{call} holds nothing"));
                }
                self.calls.release(call)?;
                self.people.leave(call);
                if let Some(call) = then_cancel {
                    self.cancel(call)?;
                }
            }
            QueueAction::Cancel { call } => self.cancel(call)?,
            QueueAction::Resize { max_concurrent } => {
                let throttler = self.policy.of(compartment).map_err(|it| it.to_string())?;
                let resized = throttler.resize(*max_concurrent);
                seen.config_error = resized.err().map(|error| error.field().to_owned());
            }
            QueueAction::Close => self.policy.close(compartment)?,
            QueueAction::Observe => {}
        }
        Ok(())
    }

    fn acquire(
        &mut self,
        compartment: Option<&str>,
        call: &str,
        (priority, deadline): (Option<u32>, Option<Duration>),
        seen: &mut Queued,
    ) -> Step {
        seen.admitted = Some(false);
        self.people.asked.push((call.to_owned(), compartment.map(str::to_owned)));
        let mut throttler = match self.policy.of(compartment) {
            Ok(throttler) => throttler,
            Err(rejection) => {
                if let Rejection::UnknownCompartment { compartment, .. } = &rejection {
                    seen.known = compartment.known.iter().map(ToString::to_string).collect();
                }
                let why = refusal(&rejection)?;
                self.people.answer(call.to_owned(), Err(why), self.clock.now());
                return Ok(());
            }
        };
        if let Some(priority) = priority {
            match throttler.priority(priority) {
                Ok(handle) => throttler = handle,
                Err(error) => {
                    seen.config_error = Some(error.field().to_owned());
                    return Ok(());
                }
            }
        }
        let timeout = deadline.map(Timeout::new).transpose().map_err(|error| error.to_string())?;
        let timeout = timeout.map(|timeout| timeout.on_clock(&self.clock));
        let compartment = match (&self.policy, compartment) {
            (Policy::Bulkhead(bulkhead), Some(name)) => Some((bulkhead, name)),
            _ => None,
        };
        let timeout = timeout.as_ref();
        let asked =
            self.calls.acquire(Ask { call, throttler: &throttler, compartment, timeout })?;
        seen.admitted = Some(asked == Asked::Began);
        match asked {
            Asked::Waits => self.people.waits.push(call.to_owned()),
            Asked::Began => self.people.answer(call.to_owned(), Ok(()), self.clock.now()),
            Asked::Refused(why) => {
                self.people.answer(call.to_owned(), Err(why), self.clock.now());
            }
        }
        Ok(())
    }

    fn cancel(&mut self, call: &str) -> Step {
        self.calls.cancel(call)?;
        self.people.leave(call);
        Ok(())
    }
}

fn counts(status: &ThrottlerStatus) -> QueueCounts {
    QueueCounts {
        in_flight: status.in_flight,
        queue_depth: status.queue_depth,
        max_concurrent: status.max_concurrent,
        borrowed: status.borrowed,
        lent: status.lent,
    }
}
