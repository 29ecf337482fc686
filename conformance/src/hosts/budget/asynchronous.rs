//! Futures in the scopes of budgets.

use std::future::Future;
use std::pin::Pin;

use surefoot::{Budget, BudgetScope, Error, OrderRule, Pipeline, Rejection, RetryBudget, Scope};
use surefoot_core::budget::{Charge, Cost};

use super::{Call, Spend};
use crate::driver::drive;
use crate::hosts::Trouble;
use crate::hosts::script::{Fault, Reply};

pub(in crate::hosts) struct Futures;

impl Spend for Futures {
    fn reserve(&self, budget: &Budget, cost: Cost) -> Result<Charge, Rejection> {
        let clock = surefoot::ManualClock::new();
        let reserved = drive(
            &clock,
            budget.scope(async {
                let budget = Scope::current().budget().expect("a budget is in scope");
                budget.reserve(cost)
            }),
        );
        reserved.expect("nothing waits")
    }

    fn call(&self, call: &Call<'_>) -> Result<Result<Reply, Error<Fault>>, Trouble> {
        let operation = || async {
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
                let called = async move { pipeline.call(operation).await };
                let mut scoped: Pin<Box<dyn Future<Output = _> + Send + '_>> = Box::pin(called);
                for budget in call.within.iter().rev() {
                    scoped = Box::pin(budget.scope(scoped));
                }
                drive(call.clock, scoped)?
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
