//! A fallback's case: each link is a retry of one attempt, or a breaker that is shut.

use std::slice;

use surefoot::fallback::{Answer, FallbackError};
use surefoot::{
    BlockingPolicy, Clock, Error, Fallback, LastGood, ManualClock, Name, Policy, Retry,
};

use super::refusals::{refusal, shut_breaker};
use super::script::{Fault, Reply, Script, outcome};
use super::{Answered, Trouble};
use crate::driver::drive_until;
use crate::format::{Ended, FallbackCase, FallbackStep, Outcome, OutcomeKind, RetryRules};

/// Plays the steps, each as one call.
pub(super) fn play(
    case: &FallbackCase,
    clock: &ManualClock,
    mut call: impl FnMut(&FallbackStep) -> Result<Answered, Trouble>,
) -> Result<Vec<Answered>, Trouble> {
    let step = |step: &FallbackStep| {
        clock.set(step.at);
        call(step)
    };
    case.steps.iter().map(step).collect()
}

/// What a link gives; one that must not be called says so if it is.
pub(super) fn outcome_of(step: &FallbackStep, link: usize) -> Outcome {
    step.outcomes.get(link).cloned().unwrap_or_else(|| {
        let called = OutcomeKind::Error("called without an outcome".into());
        Outcome { kind: called, takes: std::time::Duration::ZERO, retry_after: None }
    })
}

/// What was made once for all calls.
struct Chain<'a> {
    case: &'a FallbackCase,
    clock: ManualClock,
    fallback: Fallback,
    kept: Option<LastGood<String, Reply>>,
}

struct Link<'a> {
    name: Name,
    outcome: Outcome,
    rules: &'a RetryRules,
    clock: &'a ManualClock,
}

/// Calls the links in turn, as a user writes it down.
macro_rules! in_turn {
    ($chain:ident, $step:ident, $links:ident, $attempt:ident, $call:ident $(, $await:tt)?) => {
        match $links {
            [a, b] => in_turn!(% $chain, $step, $chain.fallback
                .first(a.name.clone(), || a.$attempt())
                .then(b.name.clone(), || b.$attempt()), $call $(, $await)?),
            [a, b, c] => in_turn!(% $chain, $step, $chain.fallback
                .first(a.name.clone(), || a.$attempt())
                .then(b.name.clone(), || b.$attempt())
                .then(c.name.clone(), || c.$attempt()), $call $(, $await)?),
            _ => panic!("a case has two or three links"),
        }
    };
    (% $chain:ident, $step:ident, $links:expr, $call:ident $(, $await:tt)?) => {
        match &$chain.kept {
            None => $links.$call()$(.$await)?,
            Some(kept) => $links.last_good(kept, $step.key.clone()).$call()$(.$await)?,
        }
    };
}

pub(super) fn asynchronous(case: &FallbackCase) -> Result<Vec<Answered>, Trouble> {
    let chain = Chain::new(case)?;
    let clock = &chain.clock;
    play(case, clock, |step| {
        let links = &*chain.links(step);
        let call = async { in_turn!(chain, step, links, attempt, call, await) };
        let leaves = step.cancel.map(|after| step.at + after);
        let (result, ()) = drive_until(clock, leaves, call, || ())?;
        chain.answered(step, result)
    })
}

pub(super) fn blocking(case: &FallbackCase) -> Result<Vec<Answered>, Trouble> {
    let chain = Chain::new(case)?;
    play(case, &chain.clock, |step| {
        let links = &*chain.links(step);
        let call = || in_turn!(chain, step, links, attempt_blocking, call_blocking);
        chain.answered(step, Some(call()))
    })
}

impl<'a> Chain<'a> {
    fn new(case: &'a FallbackCase) -> Result<Self, Trouble> {
        let clock = ManualClock::new();
        let kept = case.last_good.map(LastGood::new).transpose()?;
        Ok(Self {
            case,
            kept: kept.map(|kept| kept.on_clock(&clock)),
            fallback: Fallback::new("case")?,
            clock,
        })
    }

    fn links(&self, step: &FallbackStep) -> Vec<Link<'_>> {
        let link = |(index, name): (usize, &String)| Link {
            name: Name::from(name.clone()),
            outcome: outcome_of(step, index),
            rules: &self.case.rules,
            clock: &self.clock,
        };
        self.case.links.iter().enumerate().map(link).collect()
    }

    fn answered(
        &self,
        step: &FallbackStep,
        result: Option<Result<Answer<Reply, Fault>, FallbackError<Fault>>>,
    ) -> Result<Answered, Trouble> {
        let elapsed = self.clock.now() - step.at;
        let failures = |failures: Vec<(Name, Error<Fault>)>| {
            let failure = |(link, error): (Name, _)| Ok((link.to_string(), outcome(Err(error))?));
            failures.into_iter().map(failure).collect::<Result<Vec<_>, Trouble>>()
        };
        Ok(match result {
            None => {
                let (link, failures) = (None, Vec::new());
                Answered { outcome: Ended::Cancelled, link, failures, age: None, elapsed }
            }
            Some(Ok(answer)) => Answered {
                outcome: Ended::Gave(outcome(Ok(answer.value))?),
                link: Some(answer.link.to_string()),
                failures: failures(answer.failures)?,
                age: answer.age,
                elapsed,
            },
            Some(Err(failed)) => Answered {
                outcome: Ended::Gave(outcome(Err(failed.last.clone()))?),
                link: Some(failed.link.to_string()),
                failures: failures(failed.into_failures())?,
                age: None,
                elapsed,
            },
        })
    }
}

impl Link<'_> {
    fn script(&self) -> Script<'_> {
        Script::new(slice::from_ref(&self.outcome), self.rules)
    }

    /// Classified by the case's rules, so that what trying again cannot mend is told as that.
    fn retry(&self) -> Retry {
        Retry::builder().max_attempts(1).clock(self.clock).build().expect("one attempt is allowed")
    }

    async fn attempt(&self) -> Result<Reply, Error<Fault>> {
        let script = self.script();
        let operation = || async {
            let outcome = script.next();
            if !outcome.takes.is_zero() {
                self.clock.sleep_until(self.clock.now() + outcome.takes).await;
            }
            script.result(outcome)
        };
        if !script.has_refusals() {
            let judge = |result: Result<&Reply, &Fault>| script.classify(result);
            return self.retry().classify(judge).call(operation).await;
        }
        match shut_breaker(self.clock, self.outcome.retry_after) {
            Some(breaker) => breaker.call(operation).await,
            None => Err(refusal(self.outcome.retry_after).into()),
        }
    }

    fn attempt_blocking(&self) -> Result<Reply, Error<Fault>> {
        let script = self.script();
        let operation = |_: &surefoot::Attempt| {
            let outcome = script.next();
            self.clock.advance(outcome.takes);
            script.result(outcome)
        };
        if !script.has_refusals() {
            let judge = |result: Result<&Reply, &Fault>| script.classify(result);
            return self.retry().classify(judge).call_blocking(operation);
        }
        match shut_breaker(self.clock, self.outcome.retry_after) {
            Some(breaker) => breaker.call_blocking(operation),
            None => Err(refusal(self.outcome.retry_after).into()),
        }
    }
}
