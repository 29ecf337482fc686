//! Calls that block a thread, in the scopes of budgets.

use surefoot::{Budget, BudgetScope, Error, OrderRule, Pipeline, Rejection, RetryBudget, Scope};
use surefoot_core::budget::{Charge, Cost};

use super::{Call, Spend};
use crate::driver::serve_waits;
use crate::hosts::Trouble;
use crate::hosts::script::{Fault, Reply};

pub(in crate::hosts) struct Threads;

impl Spend for Threads {
    fn reserve(&self, budget: &Budget, cost: Cost) -> Result<Charge, Rejection> {
        budget.scope_blocking(|| {
            let budget = Scope::current().budget().expect("a budget is in scope");
            budget.reserve(cost)
        })
    }

    fn call(&self, call: &Call<'_>) -> Result<Result<Reply, Error<Fault>>, Trouble> {
        let operation = |_: &surefoot::Attempt| {
            let outcome = call.script.next();
            call.script.result(outcome)
        };
        let judge = |result: Result<&Reply, &Fault>| call.script.classify(result);
        let builder = Pipeline::builder("case")
            .idempotent()
            .allow(OrderRule::RetryInsideRetry)
            .allow(OrderRule::NoTimeoutInsideBreaker);
        macro_rules! through {
            ($($retry:ident),*) => {{
                let builder = builder
                    $(.add($retry.clone().drawing_on(RetryBudget::unlimited(), true)))*;
                let pipeline = builder.add(call.breaker.clone()).classify(judge).build()?;
                serve_waits(call.clock, || {
                    scoped(&call.within, &mut || pipeline.call_blocking(operation))
                })
                .0
            }};
        }
        Ok(match call.retries.as_slice() {
            [] => through!(),
            [outer] => through!(outer),
            [outer, inner] => through!(outer, inner),
            [outer, middle, inner, ..] => through!(outer, middle, inner),
        })
    }
}

fn scoped<R>(within: &[Budget], inside: &mut dyn FnMut() -> R) -> R {
    match within.split_first() {
        None => inside(),
        Some((budget, within)) => budget.scope_blocking(|| scoped(within, inside)),
    }
}
