//! The machines of `surefoot-core`, driven directly.

use std::time::Duration;

use surefoot_core::hedge::AfterAnswer;
use surefoot_core::retry::NextStep;
use surefoot_core::{
    AttemptResult, CircuitBreaker, Clock, DropReason, Error, Hedge, ManualClock, Permit,
    RetryBudget, Timestamp, with_drop_reason,
};

use super::script::{Fault, Script};
use super::steps::{Admission, Calls, Plan, play};
use super::{
    Counted, Host, Limited, Queued, Raced, Seen, Shed, Spent, Tried, Trouble, budget, build,
    client_throttle, limiter, queue, racing, refusals, shedder, since_start,
    without_state_machines,
};
use crate::format::{
    BudgetCase, CircuitBreakerCase, ClientThrottleCase, Ended, Ending, HedgeCase, LoadShedderCase,
    Need, Outcome, OutcomeKind, QueueCase, RateLimiterCase, RetryCase,
};

/// Permits and attempts in two steps.
pub(super) struct Core;

impl Host for Core {
    fn name(&self) -> &'static str {
        "core"
    }

    fn cannot(&self, need: Need) -> Option<&'static str> {
        match need {
            Need::Chain => Some("which link comes next is for the hosts to ask"),
            // Nothing runs inside, so everything can be interrupted.
            need => without_state_machines(need),
        }
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
        let mut failed = None;
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
                (NextStep::Wait(delay), result) => {
                    if !matches!(result, Err(Error::Rejected(_))) {
                        failed = result.err();
                    }
                    clock.advance(delay);
                }
                (NextStep::Stop(stop), Err(error)) => {
                    // A refusal hides no answer: see `DESIGN §3`.
                    let (last, refusal) = match (failed.take(), error) {
                        (Some(last), refusal @ Error::Rejected(_)) => (last, Some(refusal)),
                        (_, error) => (error, None),
                    };
                    break Err(Error::Exhausted {
                        last: Box::new(last),
                        refusal: refusal.map(Box::new),
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

    fn hedge(&self, case: &HedgeCase) -> Result<Raced, Trouble> {
        let clock = ManualClock::new();
        let mut hedge = build::hedge(&case.config, &clock)?.build()?;
        if let Some(count) = case.budget {
            hedge = hedge.drawing_on(racing::tokens(count, &clock)?, true);
        }
        for latency in &case.seen {
            clock.advance(*latency);
            hedge.record(*latency, clock.now());
        }
        clock.advance(case.pause);
        Simulation::new(case, &hedge, &clock).run()
    }

    fn budget(&self, case: &BudgetCase) -> Result<Vec<Spent>, Trouble> {
        budget::play(case, &budget::Draws)
    }

    fn rate_limiter(&self, case: &RateLimiterCase) -> Result<Vec<Limited>, Trouble> {
        limiter::play(case, limiter::Reservations::new)
    }

    fn load_shedder(&self, case: &LoadShedderCase) -> Result<Vec<Shed>, Trouble> {
        shedder::play(case, shedder::Permits::new)
    }

    fn queue(&self, case: &QueueCase) -> Result<Vec<Queued>, Trouble> {
        queue::play(case, queue::Waiters::new)
    }

    fn client_throttle(&self, case: &ClientThrottleCase) -> Result<Vec<Counted>, Trouble> {
        client_throttle::play(case, client_throttle::Permits::new)
    }
}

/// A race whose attempts are entries in a list: who answers next is who ends first.
struct Simulation<'a> {
    case: &'a HedgeCase,
    hedge: &'a Hedge,
    clock: &'a ManualClock,
    began: Timestamp,
    script: Script<'a>,
    running: Vec<(Timestamp, &'a Outcome)>,
    started: Vec<Duration>,
}

impl<'a> Simulation<'a> {
    fn new(case: &'a HedgeCase, hedge: &'a Hedge, clock: &'a ManualClock) -> Self {
        let script = Script::new(&case.outcomes, &case.rules);
        let (running, started) = (Vec::new(), Vec::new());
        Self { case, hedge, clock, began: clock.now(), script, running, started }
    }

    fn begin(&mut self) {
        let (now, outcome) = (self.clock.now(), self.script.next());
        if outcome.kind != OutcomeKind::Rejected {
            self.started.push(now - self.began);
        }
        self.running.push((now + outcome.takes, outcome));
    }

    fn run(mut self) -> Result<Raced, Trouble> {
        let mut race = self.hedge.race();
        let mut last: Option<&Outcome> = None;
        self.begin();
        let mut due = race.next_at(self.began);
        loop {
            // At one moment: first the caller who leaves, then answers, then the limit, then hedges.
            let answer = self.running.iter().enumerate().min_by_key(|(_, (end, _))| *end);
            let Some((place, &(end, outcome))) = answer else {
                let kind = last.map_or(&OutcomeKind::Rejected, |outcome| &outcome.kind);
                return Ok(self.answered(kind));
            };
            let next = due.map_or(end, |due| due.min(end));
            let cancel = self.case.cancel.map(|after| self.began + after);
            let deadline = self.deadline();
            if let Some(at) = cancel.filter(|at| *at <= next) {
                self.clock.set(at);
                return Ok(self.ended(Ended::Cancelled));
            }
            if let Some(at) = deadline.filter(|at| *at < end && *at <= next) {
                self.clock.set(at);
                // A result that was not accepted is better than none.
                let result = last.map(|outcome| outcome.kind.clone());
                return Ok(self.ended(match result {
                    Some(kind @ OutcomeKind::Result(_)) => Ended::Gave(kind),
                    _ => Ended::Timeout,
                }));
            }
            self.clock.set(next);
            let in_time = deadline.is_none_or(|deadline| next < deadline);
            if end > next {
                if in_time && race.begin(next) {
                    self.begin();
                }
                due = race.next_at(next);
                continue;
            }
            self.running.remove(place);
            let judged = self.judge(outcome);
            match race.answered(judged) {
                AfterAnswer::Return => return Ok(self.answered(&outcome.kind)),
                AfterAnswer::Begin => {
                    if in_time && race.begin(next) {
                        self.begin();
                    }
                    due = race.next_at(next);
                }
                AfterAnswer::Wait => {}
            }
            // A refusal hides no answer: see `DESIGN §3`.
            if outcome.kind != OutcomeKind::Rejected || last.is_none() {
                last = Some(outcome);
            }
        }
    }

    fn judge(&self, outcome: &Outcome) -> AttemptResult {
        match outcome.kind {
            OutcomeKind::Rejected => AttemptResult::Rejected { retry_after: outcome.retry_after },
            _ => AttemptResult::Ran(self.script.classify(self.script.result(outcome).as_ref())),
        }
    }

    /// A time limit around the call.
    fn deadline(&self) -> Option<Timestamp> {
        self.case.deadline.map(|after| self.began + after)
    }

    /// An answer ends the call; a failure at the limit is its end by the limit.
    fn answered(self, kind: &OutcomeKind) -> Raced {
        let is_over = self.deadline().is_some_and(|deadline| deadline <= self.clock.now());
        let gives = matches!(kind, OutcomeKind::Ok | OutcomeKind::Result(_));
        let outcome = if is_over && !gives { Ended::Timeout } else { Ended::Gave(kind.clone()) };
        let left = self.running.len() as u64;
        self.over(outcome, left, 0)
    }

    /// The caller or the limit ends the call.
    fn ended(self, outcome: Ended) -> Raced {
        let left = self.running.len() as u64;
        let (cancelled, overdue) = if outcome == Ended::Cancelled { (left, 0) } else { (0, left) };
        self.over(outcome, cancelled, overdue)
    }

    fn over(self, outcome: Ended, cancelled: u64, overdue: u64) -> Raced {
        Raced {
            calls: self.script.attempts(),
            started: self.started,
            outcome,
            elapsed: self.clock.now() - self.began,
            cancelled,
            overdue,
            tokens: self.hedge.budget().map(RetryBudget::balance),
        }
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
