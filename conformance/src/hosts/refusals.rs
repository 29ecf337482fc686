//! A policy inside a retry that refuses the attempts for which the case says `rejected`.

use std::time::Duration;

use surefoot::{
    BlockingOperation, BlockingPolicy, CircuitBreaker, Error, ManualClock, Operation, Part,
    PartKind, Policy, Rejection,
};

use super::script::Script;

/// Refuses with a real breaker in the state that the outcome asks for.
#[derive(Debug)]
pub(super) struct Refusals<'a> {
    pub(super) script: &'a Script<'a>,
    pub(super) clock: &'a ManualClock,
}

const NAME: &str = "inner";

impl Policy for Refusals<'_> {
    async fn run<O: Operation>(&self, operation: &O) -> Result<O::Value, Error<O::Error>> {
        if !self.script.refuses_next() {
            return operation.attempt().await;
        }
        let outcome = self.script.next();
        if !outcome.takes.is_zero() {
            self.clock.sleep_until(after(self.clock, outcome.takes)).await;
        }
        match shut_breaker(self.clock, outcome.retry_after) {
            Some(breaker) => breaker.run(operation).await,
            None => Err(refusal(outcome.retry_after).into()),
        }
    }

    fn parts(&self, parts: &mut Vec<Part>) {
        parts.push(Part::new(PartKind::Other, NAME.into()));
    }
}

impl BlockingPolicy for Refusals<'_> {
    fn run_blocking<O: BlockingOperation>(
        &self,
        operation: &O,
    ) -> Result<O::Value, Error<O::Error>> {
        if !self.script.refuses_next() {
            return operation.attempt_blocking();
        }
        let outcome = self.script.next();
        self.clock.advance(outcome.takes);
        match shut_breaker(self.clock, outcome.retry_after) {
            Some(breaker) => breaker.run_blocking(operation),
            None => Err(refusal(outcome.retry_after).into()),
        }
    }
}

fn after(clock: &ManualClock, time: Duration) -> surefoot::Timestamp {
    use surefoot::Clock as _;
    clock.now() + time
}

/// A breaker that refuses for just so long; forced open if no time is to be promised. No breaker
/// promises a wait of nothing.
pub(super) fn shut_breaker(
    clock: &ManualClock,
    retry_after: Option<Duration>,
) -> Option<CircuitBreaker> {
    let builder = CircuitBreaker::builder(NAME).clock(clock);
    match retry_after {
        None => {
            let breaker = builder.build().ok()?;
            breaker.force_open();
            Some(breaker)
        }
        Some(wait) => {
            let breaker = builder.max_throttle(wait).build().ok()?;
            breaker.admit().ok()?.throttled(wait);
            (breaker.status().retry_after == Some(wait)).then_some(breaker)
        }
    }
}

/// The refusal of a policy that is no breaker.
pub(super) fn refusal(retry_after: Option<Duration>) -> Rejection {
    Rejection::Throttled { policy: NAME.into(), retry_after: retry_after.unwrap_or_default() }
}
