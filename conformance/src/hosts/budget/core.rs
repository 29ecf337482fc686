//! Attempts and draws in steps.

use surefoot_core::budget::{Charge, Cost};
use surefoot_core::retry::NextStep;
use surefoot_core::{AttemptResult, Budget, Clock, Error, Rejection, Retry, StopReason};

use super::{Call, Spend};
use crate::hosts::Trouble;
use crate::hosts::script::{Fault, Reply};

pub(in crate::hosts) struct Draws;

impl Spend for Draws {
    fn reserve(&self, budget: &Budget, cost: Cost) -> Result<Charge, Rejection> {
        budget.reserve(cost)
    }

    fn call(&self, call: &Call<'_>) -> Result<Result<Reply, Error<Fault>>, Trouble> {
        Ok(attempt(call, &call.retries, &mut None))
    }
}

/// One attempt at what is inside `retries`, paid by `paid` if somebody has paid already.
fn attempt(
    call: &Call<'_>,
    retries: &[Retry],
    paid: &mut Option<Vec<Charge>>,
) -> Result<Reply, Error<Fault>> {
    let Some((retry, inside)) = retries.split_first() else { return operation(call, paid) };
    let mut attempts = retry.attempts();
    let mut dispatched = false;
    loop {
        attempts.begin();
        let result = attempt(call, inside, paid);
        let unused = paid.take();
        let judged = match &result {
            Ok(reply) => AttemptResult::Ran(call.script.classify(Ok(reply))),
            Err(Error::Operation(fault)) => AttemptResult::Ran(call.script.classify(Err(fault))),
            Err(Error::Rejected(rejection)) => {
                AttemptResult::Rejected { retry_after: rejection.retry_after() }
            }
            Err(_) => AttemptResult::Ran(surefoot_core::Classification::TRANSIENT),
        };
        dispatched |= !matches!(&result, Err(error) if error.is_undispatched());
        give_back(unused);
        let now = call.clock.now();
        let refused = matches!(&result, Err(Error::Rejected(Rejection::BudgetExhausted { .. })));
        let step = if refused {
            attempts.stop(now, StopReason::Budget)
        } else {
            attempts.next_paid(judged, now, None, || {
                *paid = draw(&call.within).ok();
                paid.is_some()
            })
        };
        match (step, result) {
            (NextStep::Wait(delay), _) => call.clock.advance(delay),
            (NextStep::Stop(stop), Err(last)) if dispatched => {
                return Err(Error::Exhausted {
                    last: Box::new(last),
                    refusal: None,
                    stop,
                    attempts: attempts.made(),
                    elapsed: attempts.elapsed(call.clock.now()),
                    retry_after: None,
                });
            }
            (NextStep::Return | NextStep::Stop(_), result) => return result,
        }
    }
}

fn operation(call: &Call<'_>, paid: &mut Option<Vec<Charge>>) -> Result<Reply, Error<Fault>> {
    let _permit = call.breaker.admit()?;
    let charges = match paid.take() {
        Some(charges) => charges,
        None => draw(&call.within)?,
    };
    drop(charges); // spent
    let outcome = call.script.next();
    call.script.result(outcome).map_err(Error::Operation)
}

/// One attempt from every budget that is not above another one.
fn draw(within: &[Budget]) -> Result<Vec<Charge>, Rejection> {
    let mut charges = Vec::new();
    for (place, budget) in within.iter().enumerate() {
        let elsewhere = within.iter().enumerate().any(|(other, below)| {
            other != place && below.draws_on(budget) && (other > place || !budget.is_same(below))
        });
        if elsewhere {
            continue;
        }
        match budget.draw() {
            Ok(charge) => charges.push(charge),
            Err(rejection) => {
                give_back(Some(charges));
                return Err(rejection);
            }
        }
    }
    Ok(charges)
}

fn give_back(charges: Option<Vec<Charge>>) {
    charges.into_iter().flatten().for_each(Charge::give_back);
}
