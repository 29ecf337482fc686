//! Layers of `surefoot-tower` around services, their response futures polled by hand on a manual clock.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use surefoot::fallback::FallbackError;
use surefoot::{CircuitBreaker, Classification, Clock, Error, Event, Fallback, ManualClock, Retry};
use surefoot_tower::{
    CircuitBreakerLayer, FallbackLayer, HedgeLayer, RetryLayer, ServiceError, TimeoutLayer,
};
use tower::{Layer as _, Service, ServiceBuilder, ServiceExt as _, service_fn};

use super::calls;
use super::refusals::{refusal, shut_breaker};
use super::script::{self, Reply, Script};
use super::steps::{Admission, Calls, Plan, play};
use super::{
    Answered, Counted, Host, Limited, Queued, Raced, Seen, Shed, Spent, Tried, Trouble, budget,
    build, chains, client_throttle, limiter, queue, racing, shedder, since_start,
    without_state_machines,
};
use crate::driver::{Answer, Task, drive, drive_until};
use crate::format::{
    BudgetCase, CircuitBreakerCase, ClientThrottleCase, Ended, Ending, FallbackCase, FallbackStep,
    HedgeCase, LoadShedderCase, Need, QueueCase, RateLimiterCase, RetryCase,
};

/// `surefoot-tower`'s layers.
pub(super) struct Tower;

impl Host for Tower {
    fn name(&self) -> &'static str {
        "tower"
    }

    fn cannot(&self, need: Need) -> Option<&'static str> {
        match need {
            Need::ManyLinks => Some("a layer falls back on one service"),
            Need::LastGood => Some("no layer keeps answers"),
            Need::Settle => Some("no layer corrects what a call took"),
            // A response future that is dropped is interrupted.
            need => without_state_machines(need),
        }
    }

    fn circuit_breaker(&self, case: &CircuitBreakerCase) -> Result<Vec<Seen>, Trouble> {
        let clock = ManualClock::new();
        let breaker = build::circuit_breaker(&case.config, &clock)?;
        let mut calls = Responses { breaker: &breaker, clock: &clock };
        Ok(play(&case.steps, &breaker, &clock, &mut calls)?)
    }

    fn retry(&self, case: &RetryCase) -> Result<Tried, Trouble> {
        let clock = ManualClock::new();
        let script = Script::new(&case.outcomes, &case.rules);
        let retry = script.listen(build::retry(&case.config, &clock)?)?;
        let result = drive(&clock, call(retry, &script, &clock))?;
        script.report(result.map_err(caught), since_start(clock.now()))
    }

    fn hedge(&self, case: &HedgeCase) -> Result<Raced, Trouble> {
        racing::race(case, |call| Ok(hedged(call)))
    }

    fn budget(&self, case: &BudgetCase) -> Result<Vec<Spent>, Trouble> {
        budget::play(case, &budget::Services)
    }

    fn rate_limiter(&self, case: &RateLimiterCase) -> Result<Vec<Limited>, Trouble> {
        limiter::play(case, limiter::Services::new)
    }

    fn load_shedder(&self, case: &LoadShedderCase) -> Result<Vec<Shed>, Trouble> {
        shedder::play(case, shedder::Services::new)
    }

    fn queue(&self, case: &QueueCase) -> Result<Vec<Queued>, Trouble> {
        queue::play(case, queue::Services::new)
    }

    fn client_throttle(&self, case: &ClientThrottleCase) -> Result<Vec<Counted>, Trouble> {
        client_throttle::play(case, client_throttle::Services::new)
    }

    fn fallback(&self, case: &FallbackCase) -> Result<Vec<Answered>, Trouble> {
        let clock = ManualClock::new();
        chains::play(case, &clock, |step| fallen_back(case, &clock, step))
    }
}

/// An operation's error as tower wants errors to be.
#[derive(Clone, Debug)]
pub(super) struct Thrown<F>(pub(super) F);

impl<F: fmt::Debug> fmt::Display for Thrown<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<F: fmt::Debug> std::error::Error for Thrown<F> {}

/// The operation's error by its own type. There are no others in a service's place.
pub(super) fn caught<F>(error: Error<ServiceError>) -> Error<F>
where
    F: fmt::Debug + Send + Sync + 'static,
{
    error.map(|inner| match inner.into_inner().downcast::<Thrown<F>>() {
        Ok(thrown) => thrown.0,
        Err(stranger) => panic!("an error that no operation gave: {stranger:?}"),
    })
}

/// Judges a service's results by what their operation gave.
pub(super) fn judge<'a, T, F: fmt::Debug + 'static>(
    classify: impl Fn(Result<&T, &F>) -> Classification + Copy + 'a,
) -> impl Fn(Result<&T, &ServiceError>) -> Classification + Copy + 'a {
    move |result| match result {
        Ok(value) => classify(Ok(value)),
        Err(error) => match error.downcast_ref::<Thrown<F>>() {
            Some(thrown) => classify(Err(&thrown.0)),
            None => panic!("an error that no operation gave: {error:?}"),
        },
    }
}

/// One call as a user would make it: through the retry alone, or, where attempts are refused, with
/// refusing breakers below.
fn call<'a>(retry: Retry, script: &'a Script<'a>, clock: &'a ManualClock) -> Response<'a> {
    let judge = judge(move |result: Result<&Reply, &script::Fault>| script.classify(result));
    let layer = RetryLayer::idempotent(retry).classify(judge);
    let service = service_fn(move |()| async move {
        let outcome = script.next();
        if !outcome.takes.is_zero() {
            clock.sleep_until(clock.now() + outcome.takes).await;
        }
        script.result(outcome).map_err(Thrown)
    });
    if script.has_refusals() {
        Box::pin(layer.layer(Refusing { script, clock, service }).oneshot(()))
    } else {
        Box::pin(layer.layer(service).oneshot(()))
    }
}

type Response<'a> = Pin<Box<dyn Future<Output = Result<Reply, Error<ServiceError>>> + Send + 'a>>;

/// One hedged call: the layers that it takes around a service.
fn hedged(call: racing::Call<'_>) -> racing::Answer<'_> {
    let racing::Call { hedge, script, clock, timeout, .. } = call.clone();
    let judge = judge(move |result: Result<&Reply, &script::Fault>| script.classify(result));
    let layer = HedgeLayer::idempotent(hedge).classify(judge);
    let service = service_fn(move |()| {
        let call = call.clone();
        async move { call.attempt().await.map_err(Thrown) }
    });
    let hedged = layer.layer(Refusing { script, clock, service });
    match timeout {
        None => Box::pin(hedged.map_err(caught).oneshot(())),
        Some(timeout) => {
            Box::pin(TimeoutLayer::new(timeout).layer(hedged).map_err(caught).oneshot(()))
        }
    }
}

/// One call of a service that falls back on another. That the first one failed is an event; which one
/// answered, the services know.
fn fallen_back(
    case: &FallbackCase,
    clock: &ManualClock,
    step: &FallbackStep,
) -> Result<Answered, Trouble> {
    let outcomes = [0, 1].map(|link| [chains::outcome_of(step, link)]);
    let scripts = [0, 1].map(|link| Script::new(&outcomes[link], &case.rules));
    let asked = AtomicUsize::new(0);
    let [first, second] = [0, 1].map(|link| {
        let (script, asked) = (&scripts[link], &asked);
        let service = service_fn(move |()| async move {
            asked.store(link, Ordering::SeqCst);
            let outcome = script.next();
            if !outcome.takes.is_zero() {
                clock.sleep_until(clock.now() + outcome.takes).await;
            }
            script.result(outcome).map_err(Thrown)
        });
        Refusing { script, clock, service }
    });
    let fallback = Fallback::new("case")?;
    let fell_back = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&fell_back);
    let listener = fallback.events().subscribe(move |event| {
        let Event::FellBack { link, .. } = event else { return };
        noted.fetch_or(link == "first", Ordering::SeqCst);
    });
    let layer = FallbackLayer::new(fallback, second)
        .classify(judge(|result: Result<&Reply, &script::Fault>| scripts[0].classify(result)));
    let call = layer.layer(first).oneshot(());
    let leaves = step.cancel.map(|after| step.at + after);
    let (result, ()) = drive_until(clock, leaves, call, || ())?;
    drop(listener);

    let name = |link: usize| case.links[link].clone();
    let failure = |link: usize, error| {
        Ok::<_, Trouble>((name(link), script::outcome(Err(caught::<script::Fault>(error)))?))
    };
    let mut failures = Vec::new();
    let (outcome, link) = match result {
        None => (Ended::Cancelled, None),
        Some(Ok(reply)) => {
            if fell_back.load(Ordering::SeqCst) {
                failures.push((name(0), outcomes[0][0].kind.clone()));
            }
            (Ended::Gave(script::outcome(Ok(reply))?), Some(name(asked.load(Ordering::SeqCst))))
        }
        Some(Err(error)) => {
            match both(error) {
                Ok(FallbackError { last, earlier, .. }) => {
                    for (link, error) in
                        earlier.into_iter().map(|(_, e)| e).chain([last]).enumerate()
                    {
                        failures.push(failure(link, error)?);
                    }
                }
                // Two refusals come as one.
                Err(error) if fell_back.load(Ordering::SeqCst) => {
                    failures.push((name(0), outcomes[0][0].kind.clone()));
                    failures.push(failure(1, error)?);
                }
                Err(error) => failures.push(failure(0, error)?),
            }
            let (link, outcome) =
                failures.last().cloned().ok_or_else(|| "nothing failed".to_owned())?;
            (Ended::Gave(outcome), Some(link))
        }
    };
    Ok(Answered { outcome, link, failures, age: None, elapsed: clock.now() - step.at })
}

/// The errors of both services, if both failed.
fn both(error: Error<ServiceError>) -> Result<FallbackError<ServiceError>, Error<ServiceError>> {
    match error {
        Error::Operation(inner)
            if inner.downcast_ref::<FallbackError<ServiceError>>().is_some() =>
        {
            inner
                .into_inner()
                .downcast()
                .map(|both| *both)
                .map_err(|e| Error::Operation(ServiceError::new(e)))
        }
        error => Err(error),
    }
}

/// A service below a breaker, which is shut for the attempts that the case says are refused.
#[derive(Clone)]
struct Refusing<'a, S> {
    script: &'a Script<'a>,
    clock: &'a ManualClock,
    service: S,
}

impl<'a, S> Service<()> for Refusing<'a, S>
where
    S: Service<(), Response = Reply, Error = Thrown<script::Fault>, Future: Send>
        + Clone
        + Send
        + 'a,
{
    type Response = Reply;
    type Error = surefoot_tower::Error;
    type Future = Response<'a>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), surefoot_tower::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        let Self { script, clock, service } = self.clone();
        Box::pin(async move {
            let behind = |breaker| CircuitBreakerLayer::new(breaker).layer(service);
            if !script.refuses_next() {
                let breaker = CircuitBreaker::builder("inner").clock(clock).build();
                return behind(breaker.expect("defaults are good")).oneshot(()).await;
            }
            let outcome = script.next();
            if !outcome.takes.is_zero() {
                clock.sleep_until(clock.now() + outcome.takes).await;
            }
            match shut_breaker(clock, outcome.retry_after) {
                Some(breaker) => behind(breaker).oneshot(()).await,
                None => Err(refusal(outcome.retry_after).into()),
            }
        })
    }
}

struct Responses<'a> {
    breaker: &'a CircuitBreaker,
    clock: &'a ManualClock,
}

struct Pending<'a> {
    task: Task<'a, Result<(), Error<calls::Fault>>>,
    answer: Answer<Result<(), calls::Fault>>,
    /// The clock of a time limit that cannot run by the case's own.
    limit: Option<ManualClock>,
}

impl<'a> Calls for Responses<'a> {
    type Call = Pending<'a>;

    fn begin(&mut self, plan: Plan) -> Result<Admission<Pending<'a>>, String> {
        let answer = Answer::<Result<(), calls::Fault>>::new();
        let awaited = answer.clone();
        let operation = service_fn(move |()| {
            let awaited = awaited.clone();
            async { awaited.await.map_err(Thrown) }
        });
        let layer = CircuitBreakerLayer::new(self.breaker.clone()).classify(judge(calls::classify));
        let service = ServiceBuilder::new().layer(layer).service(operation);
        let (task, limit) = match plan {
            Plan::Deadline { limit } => {
                let (timeout, own_clock) = calls::timeout(limit, self.clock)?;
                (started(TimeoutLayer::new(timeout).layer(service))?, own_clock)
            }
            Plan::Open | Plan::Result | Plan::Cancel => (started(service)?, None),
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

/// Calls a service that has to be ready at once.
fn started<'a, S>(mut service: S) -> Result<Task<'a, Result<(), Error<calls::Fault>>>, String>
where
    S: Service<(), Response = (), Error = surefoot_tower::Error, Future: Send + 'a>,
{
    match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(())) => {
            let response = service.call(());
            Ok(Task::new(async { response.await.map_err(caught) }))
        }
        other => Err(format!("the service is not ready: {other:?}")),
    }
}
