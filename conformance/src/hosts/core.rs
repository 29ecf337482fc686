//! The machines of `surefoot-core`, driven directly.

use surefoot_core::retry::NextStep;
use surefoot_core::{
    AttemptResult, CircuitBreaker, Clock, DropReason, Error, ManualClock, Permit, with_drop_reason,
};

use super::script::{Fault, Script};
use super::steps::{Admission, Calls, Plan, play};
use super::{Host, Limited, Seen, Tried, Trouble, limiter};
use super::{build, refusals, since_start, without_state_machines};
use crate::format::{CircuitBreakerCase, Ending, Need, OutcomeKind, RateLimiterCase, RetryCase};

/// Permits and attempts in two steps.
pub(super) struct Core;

impl Host for Core {
    fn name(&self) -> &'static str {
        "core"
    }

    fn cannot(&self, need: Need) -> Option<&'static str> {
        // Nothing runs inside, so everything can be interrupted.
        without_state_machines(need)
    }

    fn circuit_breaker(&self, case: &CircuitBreakerCase) -> Result<Vec<Seen>, Trouble> {
        let clock = ManualClock::new();
        let breaker = build::circuit_breaker(&case.config, &clock)?;
        Ok(play(&case.steps, &breaker, &clock, &mut Permits(&breaker))?)
    }

    fn retry(&self, case: &RetryCase) -> Result<Tried, Trouble> {
        let clock = ManualClock::new();
        let script = Script::new(&case.outcomes, &case.rules);
        let retry = script.listen(build::retry(&case.config, &clock)?)?;
        let mut attempts = retry.attempts();
        attempts.note_start(clock.now());
        let result = loop {
            attempts.begin();
            let outcome = script.next();
            clock.advance(outcome.takes);
            let retry_after = outcome.retry_after;
            let (result, judged) = match (&outcome.kind, script.result(outcome)) {
                (OutcomeKind::Rejected, Err(Fault::Failed(_))) => (
                    Err(Error::Rejected(refusals::refusal(retry_after))),
                    AttemptResult::Rejected { retry_after },
                ),
                (_, result) => {
                    let judged = AttemptResult::Ran(script.classify(result.as_ref()));
                    (result.map_err(Error::Operation), judged)
                }
            };
            match (attempts.next(judged, clock.now(), None), result) {
                (NextStep::Wait(delay), _) => clock.advance(delay),
                (NextStep::Stop(stop), Err(last)) => {
                    break Err(Error::Exhausted {
                        last: Box::new(last),
                        stop,
                        attempts: attempts.made(),
                        elapsed: attempts.elapsed(clock.now()),
                        retry_after,
                    });
                }
                (NextStep::Return | NextStep::Stop(_), result) => break result,
            }
        };
        script.report(result, since_start(clock.now()))
    }

    fn rate_limiter(&self, case: &RateLimiterCase) -> Option<Result<Vec<Limited>, Trouble>> {
        Some(limiter::play(case))
    }
}

struct Permits<'a>(&'a CircuitBreaker);

impl Calls for Permits<'_> {
    type Call = Permit;

    fn begin(&mut self, _: Plan) -> Result<Admission<Permit>, String> {
        Ok(match self.0.admit() {
            Ok(permit) => Admission::Admitted(permit),
            Err(rejection) => Admission::Rejected { retry_after: rejection.retry_after() },
        })
    }

    fn end(&mut self, permit: Permit, ending: Ending) -> Result<(), String> {
        match ending {
            Ending::Success => permit.success(),
            Ending::Failure => permit.failure(),
            Ending::Ignore => permit.ignore(),
            Ending::Throttled { retry_after: Some(wait) } => permit.throttled(wait),
            Ending::Throttled { retry_after: None } => {
                permit.settle(surefoot_core::Verdict::Throttled { retry_after: None });
            }
            Ending::Cancel => drop(permit),
            // What a host does whose deadline ends a call.
            Ending::Deadline => with_drop_reason(DropReason::Deadline, || drop(permit)),
        }
        Ok(())
    }
}
