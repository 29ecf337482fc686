//! Layers: one for each budget around those of the retries.

use surefoot::{Budget, Error, Rejection};
use surefoot_core::budget::{Charge, Cost};
use surefoot_tower::{BudgetLayer, CircuitBreakerLayer, RetryLayer, ServiceError};
use tower::{ServiceBuilder, ServiceExt as _, service_fn};

use super::{Call, Futures, Spend};
use crate::driver::drive;
use crate::hosts::Trouble;
use crate::hosts::script::{Fault, Reply};
use crate::hosts::tower::{Thrown, caught, judge};

pub(in crate::hosts) struct Services;

impl Spend for Services {
    /// What a service does in its response future.
    fn reserve(&self, budget: &Budget, cost: Cost) -> Result<Charge, Rejection> {
        Futures.reserve(budget, cost)
    }

    fn call(&self, call: &Call<'_>) -> Result<Result<Reply, Error<Fault>>, Trouble> {
        let script = call.script;
        let operation = service_fn(move |()| async move {
            let outcome = script.next();
            script.result(outcome).map_err(Thrown)
        });
        let judge = judge(move |result: Result<&Reply, &Fault>| script.classify(result));
        let budget = |place: usize| {
            let budget = call.within.get(place).cloned();
            BudgetLayer::by(move |(): &()| budget.clone())
        };
        macro_rules! through {
            ($($retry:ident),*) => {{
                let service = ServiceBuilder::new()
                    .layer(budget(0))
                    .layer(budget(1))
                    .layer(budget(2))
                    $(.layer(RetryLayer::idempotent($retry.clone()).classify(judge)))*
                    .layer(CircuitBreakerLayer::new(call.breaker.clone()).classify(judge))
                    .service(operation);
                drive(call.clock, service.oneshot(()))?
            }};
        }
        let result: Result<Reply, Error<ServiceError>> = match call.retries.as_slice() {
            [] => through!(),
            [outer] => through!(outer),
            [outer, inner] => through!(outer, inner),
            [outer, middle, inner, ..] => through!(outer, middle, inner),
        };
        Ok(result.map_err(caught))
    }
}
