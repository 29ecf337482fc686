//! Functions through [`BlockingPolicy::call_blocking`]: each call on a thread of its own, so that many can
//! be under way at once, in step with the case by handshakes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, Scope, scope};

use surefoot::{
    BlockingPolicy, CircuitBreaker, Error, ManualClock, OrderRule, Permit, Pipeline, Policy, Retry,
    RetryBudget,
};

use super::calls::{self, Fault};
use super::refusals::Refusals;
use super::script::{self, Reply, Script};
use super::steps::{Admission, Calls, Plan, play};
use super::{
    Answered, Counted, Host, Limited, Queued, Seen, Shed, Spent, Tried, Trouble, budget, build,
    chains, client_throttle, limiter, queue, shedder, since_start, without_state_machines,
};
use crate::driver::serve_waits;
use crate::format::{
    BudgetCase, CircuitBreakerCase, ClientThrottleCase, Ending, FallbackCase, LoadShedderCase,
    Need, QueueCase, RateLimiterCase, RetryCase,
};

/// `surefoot`'s blocking host.
pub(super) struct Blocking;

impl Host for Blocking {
    fn name(&self) -> &'static str {
        "blocking"
    }

    fn cannot(&self, need: Need) -> Option<&'static str> {
        match need {
            Need::Interrupt => Some("blocking code is never interrupted"),
            Need::MoveUp => Some("a thread that sleeps cannot be watched moving up"),
            Need::Race => Some("blocking code that lost a race cannot be given up"),
            need => without_state_machines(need),
        }
    }

    fn circuit_breaker(&self, case: &CircuitBreakerCase) -> Result<Vec<Seen>, Trouble> {
        let clock = ManualClock::new();
        let breaker = build::circuit_breaker(&case.config, &clock)?;
        // Calls that are still open at the end lose their runner, end, and are waited for.
        Ok(scope(|scope| {
            let mut calls = Threads { scope, breaker: &breaker, clock: &clock };
            play(&case.steps, &breaker, &clock, &mut calls)
        })?)
    }

    fn retry(&self, case: &RetryCase) -> Result<Tried, Trouble> {
        let clock = ManualClock::new();
        let script = Script::new(&case.outcomes, &case.rules);
        let retry = script.listen(build::retry(&case.config, &clock)?)?;
        let (result, ended) = serve_waits(&clock, || call(retry, &script, &clock));
        script.report(result?, since_start(ended))
    }

    fn budget(&self, case: &BudgetCase) -> Result<Vec<Spent>, Trouble> {
        budget::play(case, &budget::Threads)
    }

    fn rate_limiter(&self, case: &RateLimiterCase) -> Result<Vec<Limited>, Trouble> {
        limiter::play(case, limiter::Threads::new)
    }

    fn load_shedder(&self, case: &LoadShedderCase) -> Result<Vec<Shed>, Trouble> {
        shedder::play(case, shedder::Threads::new)
    }

    fn queue(&self, case: &QueueCase) -> Result<Vec<Queued>, Trouble> {
        queue::play(case, queue::Threads::new)
    }

    fn client_throttle(&self, case: &ClientThrottleCase) -> Result<Vec<Counted>, Trouble> {
        client_throttle::play(case, client_throttle::Threads::new)
    }

    fn fallback(&self, case: &FallbackCase) -> Result<Vec<Answered>, Trouble> {
        chains::blocking(case)
    }
}

/// One call as a user would make it: through the retry alone, or, where attempts are refused,
/// through a pipeline with the refusing policy inside.
fn call(
    retry: Retry,
    script: &Script<'_>,
    clock: &ManualClock,
) -> Result<Result<Reply, Error<script::Fault>>, Trouble> {
    let judge = |result: Result<&Reply, &script::Fault>| script.classify(result);
    let operation = |_: &surefoot::Attempt| {
        let outcome = script.next();
        clock.advance(outcome.takes);
        script.result(outcome)
    };
    if !script.has_refusals() {
        return Ok(retry.classify(judge).call_blocking(operation));
    }
    let pipeline = Pipeline::builder("case")
        .idempotent()
        .add(retry.drawing_on(RetryBudget::unlimited(), true))
        .add(Refusals { script, clock })
        .classify(judge)
        .build()?;
    Ok(pipeline.call_blocking(operation))
}

/// A case may have many calls under way, and none of them does much.
const STACK: usize = 256 * 1024;

struct Threads<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    breaker: &'env CircuitBreaker,
    clock: &'env ManualClock,
}

enum Running {
    Thread {
        /// What the operation is to give.
        tell: Sender<Result<(), Fault>>,
        said: Receiver<Said>,
        /// The clock of a time limit that cannot run by the case's own.
        limit: Option<ManualClock>,
    },
    /// Nobody can walk away from a call that blocks its thread: who may want to, asks for a permit
    /// and works and reports in two steps.
    TwoSteps(Permit),
}

/// What a call's thread tells the runner.
enum Said {
    Started,
    Ended(Result<(), Error<Fault>>),
    Panicked,
}

impl<'scope> Threads<'scope, '_> {
    fn spawn(&self, call: impl FnOnce() + Send + 'scope) -> Result<(), String> {
        let thread = Builder::new().stack_size(STACK).spawn_scoped(self.scope, call);
        thread.map(drop).map_err(|error| format!("no thread for the call: {error}"))
    }
}

impl Calls for Threads<'_, '_> {
    type Call = Running;

    fn begin(&mut self, plan: Plan) -> Result<Admission<Running>, String> {
        if plan == Plan::Cancel {
            return Ok(match self.breaker.admit() {
                Ok(permit) => Admission::Admitted(Running::TwoSteps(permit)),
                Err(rejection) => Admission::Rejected { retry_after: rejection.retry_after() },
            });
        }
        let (tell, told) = channel();
        let (say, said) = channel();
        let breaker = self.breaker.clone();
        let limit = match plan {
            Plan::Deadline { limit } => {
                let (timeout, own_clock) = calls::timeout(limit, self.clock)?;
                let pipeline = Pipeline::builder("call")
                    .add(timeout)
                    .add(breaker)
                    .allow(OrderRule::NoTimeoutInsideBreaker)
                    .build()
                    .map_err(|error| error.to_string())?;
                self.spawn(move || serve(pipeline, &told, &say))?;
                own_clock
            }
            Plan::Open | Plan::Result | Plan::Cancel => {
                self.spawn(move || serve(breaker, &told, &say))?;
                None
            }
        };
        match said.recv() {
            Ok(Said::Started) => Ok(Admission::Admitted(Running::Thread { tell, said, limit })),
            Ok(Said::Ended(result)) => calls::refused(result),
            Ok(Said::Panicked) | Err(_) => Err("the call panicked".into()),
        }
    }

    fn end(&mut self, call: Running, ending: Ending) -> Result<(), String> {
        let (tell, said, limit) = match call {
            Running::Thread { tell, said, limit } => (tell, said, limit),
            Running::TwoSteps(permit) => {
                drop(permit);
                return Ok(());
            }
        };
        if let Some(clock) = limit {
            clock.advance(calls::OWN_LIMIT);
        }
        // If the thread is gone, what it said last tells why.
        let _ = tell.send(calls::result(ending));
        match said.recv() {
            Ok(Said::Ended(result)) => calls::ended(ending, &result),
            Ok(Said::Started) => Err("the operation was started twice".into()),
            Ok(Said::Panicked) | Err(_) => Err("the call panicked".into()),
        }
    }
}

/// One call, on its own thread. Its operation says that it was started and gives what it is told.
fn serve<P: BlockingPolicy>(policy: P, told: &Receiver<Result<(), Fault>>, say: &Sender<Said>) {
    // A runner that is gone wants to hear no more.
    let say = |said| drop(say.send(said));
    let policy = policy.classify(calls::classify);
    let call = || {
        policy.call_blocking(|_| {
            say(Said::Started);
            told.recv().unwrap_or(Err(Fault::Ours))
        })
    };
    say(match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => Said::Ended(result),
        Err(_) => Said::Panicked,
    });
}
