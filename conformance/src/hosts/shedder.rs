//! Plays a load shedder's case for all hosts: they differ in how a call is made, and in nothing else.

mod asynchronous;
mod blocking;
mod core;
mod tower;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) use asynchronous::Futures;
pub(super) use blocking::Threads;
pub(super) use core::Permits;
use surefoot_core::load_shedder::Signal;
use surefoot_core::{ConfigError, LoadShedder, ManualClock, Rejection};
pub(super) use tower::Services;

use super::{Shed, Trouble, build};
use crate::format::{LoadShedderCase, ShedderAction, Told};

/// How a host makes calls under a shedder.
pub(super) trait Calls {
    /// A call that is over at once.
    fn check(&mut self, priority: u32) -> Result<Answer, String>;

    /// A call that stays under way if it is admitted.
    fn admit(&mut self, call: &str, priority: u32) -> Result<Answer, String>;

    /// It has its answer.
    fn end(&mut self, call: &str) -> Result<(), String>;

    /// Its caller leaves.
    fn cancel(&mut self, call: &str) -> Result<(), String>;
}

/// Admitted, or why not.
pub(super) type Answer = Result<(), Refused>;

/// Why a call was refused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Refused {
    Shed { signal: Signal, load: f32, limit: f32 },
    UnknownPriority,
}

/// What a rejection says; any other is not the shedder's.
pub(super) fn refused(rejection: Rejection) -> Result<Answer, String> {
    match rejection {
        Rejection::Shed { signal, load, limit, .. } => {
            Ok(Err(Refused::Shed { signal, load, limit }))
        }
        Rejection::UnknownPriority { .. } => Ok(Err(Refused::UnknownPriority)),
        other => Err(format!("a call was refused: {other}")),
    }
}

/// A priority that does not exist is refused when its handle is asked for.
pub(super) fn at_the_door(error: &ConfigError) -> Result<Answer, String> {
    match error.field() {
        "priority" => Ok(Err(Refused::UnknownPriority)),
        _ => Err(error.to_string()),
    }
}

/// Plays all steps. Calls that are still under way afterwards are dropped.
pub(super) fn play<C: Calls>(
    case: &LoadShedderCase,
    calls: impl FnOnce(LoadShedder) -> C,
) -> Result<Vec<Shed>, Trouble> {
    let clock = ManualClock::new();
    let dial = Arc::new(AtomicU64::new(f64::NAN.to_bits()));
    let mut builder = build::load_shedder(&case.config)?.clock(&clock);
    if case.has_function() {
        let dial = Arc::clone(&dial);
        builder = builder.signal(move || f64::from_bits(dial.load(Ordering::SeqCst)));
    }
    let shedder = builder.build()?;
    let mut calls = calls(shedder.clone());
    let mut seen = Vec::new();
    for (index, step) in case.steps.iter().enumerate() {
        clock.set(step.at);
        let broken = |what: String| format!("step {index} ({}): {what}", step.title);
        let answers = act(&step.action, &shedder, &dial, &mut calls).map_err(broken)?;
        seen.push(look(index, &answers, &shedder));
    }
    Ok(seen)
}

fn act(
    action: &ShedderAction,
    shedder: &LoadShedder,
    dial: &AtomicU64,
    calls: &mut impl Calls,
) -> Result<Vec<Answer>, String> {
    match action {
        ShedderAction::Check { priority, times } => {
            return (0..*times).map(|_| calls.check(*priority)).collect();
        }
        ShedderAction::Admit { call, priority } => return Ok(vec![calls.admit(call, *priority)?]),
        ShedderAction::End { call } => calls.end(call)?,
        ShedderAction::Cancel { call } => calls.cancel(call)?,
        ShedderAction::Tell(Told::Cpu(load)) => shedder.record_cpu(*load),
        ShedderAction::Tell(Told::Memory(load)) => shedder.record_memory(*load),
        ShedderAction::Tell(Told::QueueDelay(delay)) => shedder.record_queue_delay(*delay),
        ShedderAction::Tell(Told::Custom(load)) => dial.store(load.to_bits(), Ordering::SeqCst),
        ShedderAction::Observe => {}
    }
    Ok(Vec::new())
}

fn look(step: usize, answers: &[Answer], shedder: &LoadShedder) -> Shed {
    let status = shedder.status();
    let refusals = || answers.iter().filter_map(|answer| answer.err());
    let shed = refusals().filter_map(|refused| match refused {
        Refused::Shed { signal, load, limit } => Some((signal, load, limit)),
        Refused::UnknownPriority => None,
    });
    let shed: Vec<_> = shed.collect();
    Shed {
        step,
        admitted: answers.last().map(Result::is_ok),
        reason: shed.last().copied(),
        unknown_priority: refusals().any(|refused| refused == Refused::UnknownPriority),
        shed: shed.len() as u64,
        in_flight: status.in_flight.into(),
        would_shed: status.priorities.iter().map(|priority| priority.would_shed).sum(),
        admitted_share: status.admitted_share,
    }
}

/// Calls under way, by the names that the case gives them.
#[derive(Debug)]
pub(super) struct UnderWay<T>(Vec<(String, T)>);

impl<T> Default for UnderWay<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> UnderWay<T> {
    pub(super) fn begin(&mut self, call: &str, held: T) {
        self.0.push((call.to_owned(), held));
    }

    pub(super) fn take(&mut self, call: &str) -> Result<T, String> {
        let at = self.0.iter().position(|(known, _)| known == call);
        let at = at.ok_or_else(|| format!("{call} is not under way"))?;
        Ok(self.0.remove(at).1)
    }
}
