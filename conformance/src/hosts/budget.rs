//! Plays a budget's case: hosts differ in how a call is made and how an operation finds its budget.

mod asynchronous;
mod blocking;
mod core;
mod tower;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

pub(super) use asynchronous::Futures;
pub(super) use blocking::Threads;
pub(super) use core::Draws;
use surefoot_core::budget::{BudgetBuilder, Charge, Cost, SliceError};
use surefoot_core::{
    Budget, CircuitBreaker, Error, Event, ManualClock, Rejection, Retry, StopReason,
};
pub(super) use tower::Services;

use super::script::{self, Fault, Reply, Script};
use super::{Spent, Trouble, build};
use crate::format::{
    BudgetAction, BudgetCall, BudgetCase, BudgetNews, BudgetStep, CallEnd, ROOT, RetryRules,
};

/// How a host spends.
pub(super) trait Spend {
    /// What an operation within the budget's scope reserves of it.
    fn reserve(&self, budget: &Budget, cost: Cost) -> Result<Charge, Rejection>;

    /// One call.
    fn call(&self, call: &Call<'_>) -> Result<Result<Reply, Error<Fault>>, Trouble>;
}

/// A call within the scopes of `within`, the outermost first, through the retries and then the breaker.
pub(super) struct Call<'a> {
    pub(super) within: Vec<Budget>,
    pub(super) retries: Vec<Retry>,
    pub(super) breaker: CircuitBreaker,
    pub(super) script: &'a Script<'a>,
    pub(super) clock: &'a ManualClock,
}

#[derive(Default)]
struct Purse {
    budgets: HashMap<String, Budget>,
    charges: HashMap<String, Charge>,
    told: Arc<Mutex<Vec<BudgetNews>>>,
}

pub(super) fn play(case: &BudgetCase, host: &impl Spend) -> Result<Vec<Spent>, Trouble> {
    let mut purse = Purse::default();
    let told = Arc::clone(&purse.told);
    let root = build::budget(ROOT, &case.config)?.on_event(move |event| {
        let (dimension, exhausted) = match event {
            Event::BudgetLow { dimension, .. } => (*dimension, false),
            Event::BudgetExhausted { dimension, .. } => (*dimension, true),
            _ => return,
        };
        let budget = event.policy().to_string();
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        told.push(BudgetNews { budget, dimension, exhausted });
    });
    purse.budgets.insert(ROOT.to_owned(), root.build()?);
    let mut seen = Vec::new();
    for (index, step) in case.steps.iter().enumerate() {
        let mut spent = purse.take(step, host).map_err(|trouble| match trouble {
            Trouble::Broken(what) => {
                Trouble::Broken(format!("step {index} ({}): {what}", step.title))
            }
            refused @ Trouble::Refused { .. } => refused,
        })?;
        spent.step = index;
        spent.told =
            std::mem::take(&mut *purse.told.lock().unwrap_or_else(PoisonError::into_inner));
        spent.statuses = purse.budgets.iter().map(|(n, b)| (n.clone(), b.status())).collect();
        seen.push(spent);
    }
    Ok(seen)
}

impl Purse {
    fn budget(&self, name: &str) -> Result<Budget, Trouble> {
        let budget = self.budgets.get(name).cloned();
        budget.ok_or_else(|| Trouble::Broken(format!("there is no budget `{name}`")))
    }

    fn charge(&mut self, name: &str) -> Result<Charge, Trouble> {
        let charge = self.charges.remove(name);
        charge.ok_or_else(|| Trouble::Broken(format!("there is no charge `{name}`")))
    }

    fn take(&mut self, step: &BudgetStep, host: &impl Spend) -> Result<Spent, Trouble> {
        let budget = self.budget(&step.budget)?;
        match &step.action {
            BudgetAction::Open { child, sliced, config } => {
                let builder: BudgetBuilder = build::budget(child, config)?;
                let opened = if *sliced {
                    match builder.slice_of(&budget) {
                        Err(SliceError::Config(error)) => return Err(error.into()),
                        Err(SliceError::Refused(rejection)) => Err(rejection),
                        Err(other) => return Err(Trouble::Broken(other.to_string())),
                        Ok(slice) => Ok(slice),
                    }
                } else {
                    Ok(builder.share_of(&budget)?)
                };
                Ok(Spent::asked(opened.map(|opened| {
                    self.budgets.insert(child.clone(), opened);
                })))
            }
            BudgetAction::Reserve { charge, cost } => {
                Ok(Spent::asked(host.reserve(&budget, *cost).map(|reserved| {
                    self.charges.insert(charge.clone(), reserved);
                })))
            }
            BudgetAction::Settle { charge, used } => {
                self.charge(charge)?.settle(*used);
                Ok(Spent::default())
            }
            BudgetAction::GiveBack { charge } => {
                self.charge(charge)?.give_back();
                Ok(Spent::default())
            }
            BudgetAction::DropCharge { charge } => {
                drop(self.charge(charge)?);
                Ok(Spent::default())
            }
            BudgetAction::DropBudget => {
                self.budgets.remove(&step.budget);
                Ok(Spent::default())
            }
            BudgetAction::Record { used } => {
                budget.record(*used);
                Ok(Spent::default())
            }
            BudgetAction::Call(call) => self.call(budget, call, host),
            BudgetAction::Observe => Ok(Spent::default()),
        }
    }

    fn call(&self, budget: Budget, call: &BudgetCall, host: &impl Spend) -> Result<Spent, Trouble> {
        let clock = ManualClock::new();
        let mut within = vec![budget];
        for name in &call.within {
            within.push(self.budget(name)?);
        }
        let retry = |most: &u32| Retry::builder().max_attempts(*most).clock(&clock).build();
        let breaker =
            CircuitBreaker::builder("inner").failure_threshold(1_000_000).clock(&clock).build()?;
        if call.shut {
            breaker.force_open();
        }
        let rules = RetryRules::default();
        let script = Script::new(&call.outcomes, &rules);
        let result = host.call(&Call {
            within,
            retries: call.retries.iter().map(retry).collect::<Result<_, _>>()?,
            breaker,
            script: &script,
            clock: &clock,
        })?;
        let stop = match &result {
            Err(Error::Exhausted { stop, .. }) => Some(word(*stop)?),
            _ => None,
        };
        let refusal = match &result {
            Err(error) => error.rejection().and_then(budgets_own),
            Ok(_) => None,
        };
        let refused_at_once = matches!(&result, Err(error) if error.operation().is_none());
        let outcome = match refusal {
            Some(_) if refused_at_once => CallEnd::Refused,
            _ => CallEnd::Gave(script::outcome(result)?),
        };
        let (calls, outcome) = (Some(script.attempts()), Some(outcome));
        Ok(Spent { refusal, calls, outcome, stop, ..Spent::default() })
    }
}

/// Whose budget it was, and what of.
pub(super) fn budgets_own(
    rejection: &Rejection,
) -> Option<(String, surefoot_core::budget::Dimension)> {
    match rejection {
        Rejection::BudgetExhausted { policy, dimension, .. } => {
            Some((policy.to_string(), *dimension))
        }
        _ => None,
    }
}

fn word(stop: StopReason) -> Result<String, Trouble> {
    let word = match stop {
        StopReason::Attempts => "attempts",
        StopReason::Budget => "budget",
        StopReason::Rejected => "rejected",
        StopReason::Permanent => "permanent",
        other => return Err(Trouble::Broken(format!("an unlikely stop: {other}"))),
    };
    Ok(word.to_owned())
}
