//! Futures through [`Policy::call`], polled by hand on a manual clock.

use std::task::Poll;

use surefoot::{
    CircuitBreaker, Clock, Error, ManualClock, OrderRule, Pipeline, Policy, Retry, RetryBudget,
};

use super::calls::{self, Fault};
use super::refusals::Refusals;
use super::script::{self, Reply, Script};
use super::steps::{Admission, Calls, Plan, play};
use super::{
    Answered, Counted, Host, Limited, Queued, Raced, Seen, Shed, Spent, Tried, Trouble, budget,
    build, chains, client_throttle, limiter, queue, racing, shedder, since_start,
    without_state_machines,
};
use crate::driver::{Answer, Task, drive};
use crate::format::{
    BudgetCase, CircuitBreakerCase, ClientThrottleCase, Ending, FallbackCase, HedgeCase,
    LoadShedderCase, Need, QueueCase, RateLimiterCase, RetryCase,
};

/// `surefoot`'s async host.
pub(super) struct Async;

impl Host for Async {
    fn name(&self) -> &'static str {
        "async"
    }

    fn cannot(&self, need: Need) -> Option<&'static str> {
        // A call that is dropped is interrupted.
        without_state_machines(need)
    }

    fn circuit_breaker(&self, case: &CircuitBreakerCase) -> Result<Vec<Seen>, Trouble> {
        let clock = ManualClock::new();
        let breaker = build::circuit_breaker(&case.config, &clock)?;
        let mut calls = Futures { breaker: &breaker, clock: &clock };
        Ok(play(&case.steps, &breaker, &clock, &mut calls)?)
    }

    fn retry(&self, case: &RetryCase) -> Result<Tried, Trouble> {
        let clock = ManualClock::new();
        let script = Script::new(&case.outcomes, &case.rules);
        let retry = script.listen(build::retry(&case.config, &clock)?)?;
        let result = drive(&clock, call(retry, &script, &clock))??;
        script.report(result, since_start(clock.now()))
    }

    fn hedge(&self, case: &HedgeCase) -> Result<Raced, Trouble> {
        racing::race(case, hedged)
    }

    fn budget(&self, case: &BudgetCase) -> Result<Vec<Spent>, Trouble> {
        budget::play(case, &budget::Futures)
    }

    fn rate_limiter(&self, case: &RateLimiterCase) -> Result<Vec<Limited>, Trouble> {
        limiter::play(case, limiter::Futures::new)
    }

    fn load_shedder(&self, case: &LoadShedderCase) -> Result<Vec<Shed>, Trouble> {
        shedder::play(case, shedder::Futures::new)
    }

    fn queue(&self, case: &QueueCase) -> Result<Vec<Queued>, Trouble> {
        queue::play(case, queue::Futures::new)
    }

    fn client_throttle(&self, case: &ClientThrottleCase) -> Result<Vec<Counted>, Trouble> {
        client_throttle::play(case, client_throttle::Futures::new)
    }

    fn fallback(&self, case: &FallbackCase) -> Result<Vec<Answered>, Trouble> {
        chains::asynchronous(case)
    }
}

/// One hedged call as a user would make it: through the hedge alone, or, where attempts are refused or
/// there is a time limit, through a pipeline.
fn hedged(call: racing::Call<'_>) -> Result<racing::Answer<'_>, Trouble> {
    let racing::Call { script, clock, .. } = call;
    let judge = move |result: Result<&Reply, &script::Fault>| script.classify(result);
    if !script.has_refusals() && call.timeout.is_none() {
        return Ok(Box::pin(async move {
            call.hedge.clone().classify(judge).call(|| call.attempt()).await
        }));
    }
    // In a pipeline a hedge without a budget would be given one.
    let budget = call.hedge.budget().cloned().unwrap_or_else(RetryBudget::unlimited);
    let hedge = call.hedge.clone().drawing_on(budget, true);
    let refusals = Refusals { script, clock };
    let builder = Pipeline::builder("case").idempotent();
    Ok(match call.timeout.clone() {
        None => {
            let pipeline = builder.add(hedge).add(refusals).classify(judge).build()?;
            Box::pin(async move { pipeline.call(|| call.attempt()).await })
        }
        Some(timeout) => {
            let pipeline = builder.add(timeout).add(hedge).add(refusals).classify(judge).build()?;
            Box::pin(async move { pipeline.call(|| call.attempt()).await })
        }
    })
}

/// One call as a user would make it: through the retry alone, or, where attempts are refused,
/// through a pipeline with the refusing policy inside.
async fn call(
    retry: Retry,
    script: &Script<'_>,
    clock: &ManualClock,
) -> Result<Result<Reply, Error<script::Fault>>, Trouble> {
    let judge = |result: Result<&Reply, &script::Fault>| script.classify(result);
    let operation = || async {
        let outcome = script.next();
        if !outcome.takes.is_zero() {
            clock.sleep_until(clock.now() + outcome.takes).await;
        }
        script.result(outcome)
    };
    if !script.has_refusals() {
        return Ok(retry.classify(judge).call(operation).await);
    }
    let pipeline = Pipeline::builder("case")
        .idempotent()
        .add(retry.drawing_on(RetryBudget::unlimited(), true))
        .add(Refusals { script, clock })
        .classify(judge)
        .build()?;
    Ok(pipeline.call(operation).await)
}

struct Futures<'a> {
    breaker: &'a CircuitBreaker,
    clock: &'a ManualClock,
}

struct Pending<'a> {
    task: Task<'a, Result<(), Error<Fault>>>,
    answer: Answer<Result<(), Fault>>,
    /// The clock of a time limit that cannot run by the case's own.
    limit: Option<ManualClock>,
}

impl<'a> Calls for Futures<'a> {
    type Call = Pending<'a>;

    fn begin(&mut self, plan: Plan) -> Result<Admission<Pending<'a>>, String> {
        let answer = Answer::new();
        let awaited = answer.clone();
        let operation = move || awaited.clone();
        let breaker = self.breaker;
        let (task, limit) = match plan {
            Plan::Deadline { limit } => {
                let (timeout, own_clock) = calls::timeout(limit, self.clock)?;
                let pipeline = Pipeline::builder("call")
                    .add(timeout)
                    .add(breaker.clone())
                    .allow(OrderRule::NoTimeoutInsideBreaker)
                    .classify(calls::classify)
                    .build()
                    .map_err(|error| error.to_string())?;
                (Task::new(async move { pipeline.call(operation).await }), own_clock)
            }
            Plan::Open | Plan::Result | Plan::Cancel => {
                let call =
                    async move { breaker.clone().classify(calls::classify).call(operation).await };
                (Task::new(call), None)
            }
        };
        let mut call = Pending { task, answer, limit };
        match call.task.run() {
            Poll::Pending if call.answer.is_awaited() => Ok(Admission::Admitted(call)),
            Poll::Pending => Err("the call is pending, but its operation was not started".into()),
            Poll::Ready(result) => calls::refused(result),
        }
    }

    fn end(&mut self, mut call: Pending<'a>, ending: Ending) -> Result<(), String> {
        match ending {
            Ending::Cancel => {
                drop(call);
                return Ok(());
            }
            Ending::Deadline => {
                if let Some(clock) = &call.limit {
                    clock.advance(calls::OWN_LIMIT);
                }
            }
            ending => call.answer.give(calls::result(ending)),
        }
        match call.task.run() {
            Poll::Ready(result) => calls::ended(ending, &result),
            Poll::Pending => Err("the call goes on after its end".into()),
        }
    }
}
