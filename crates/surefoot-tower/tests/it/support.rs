//! A world in which time only moves when a test moves it, and a service that holds its callers to
//! tower's contract.

#[path = "../../../surefoot/tests/it/support/by_hand.rs"]
mod by_hand;
#[path = "../../../surefoot/tests/it/support/policies.rs"]
mod policies;

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

pub(crate) use by_hand::*;
pub(crate) use policies::*;
use surefoot::hedge::HedgeBuilder;
use surefoot::rate_limiter::RateLimiterBuilder;
use surefoot::{
    Attempt, Clock, Hedge, ManualClock, ManualSleep, RateLimiter, RetryBudget, Timestamp,
};
use surefoot_tower::{Duplicate, Error, ServiceError};
use tower::{Service, ServiceExt as _};

// ---- the callee --------------------------------------------------------------------------------

/// How one call of an [`Api`] goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    takes: Duration,
    end: End,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Gives(u16),
    Fails(&'static str),
    Panics,
    PanicsInCall,
    Hangs,
}

pub(crate) fn gives(value: u16) -> Step {
    Step { takes: ZERO, end: End::Gives(value) }
}

pub(crate) fn fails(error: &'static str) -> Step {
    Step { takes: ZERO, end: End::Fails(error) }
}

/// Its response future panics.
pub(crate) fn panics() -> Step {
    Step { takes: ZERO, end: End::Panics }
}

/// `Service::call` itself panics.
pub(crate) fn panics_in_call() -> Step {
    Step { takes: ZERO, end: End::PanicsInCall }
}

/// Never answers.
pub(crate) fn hangs() -> Step {
    Step { takes: ZERO, end: End::Hangs }
}

impl Step {
    /// The same after so much time.
    pub(crate) fn after(self, takes: Duration) -> Self {
        Self { takes, ..self }
    }
}

/// The service's own error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure(pub(crate) &'static str);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Failure {}

/// A response, which the service knows of until it is dropped.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) value: u16,
    _open: Counted,
}

/// A callee that does as it is told, call by call; the last step is repeated. Clones share the script, and
/// each of them panics if it is called before it has said that it is ready.
pub(crate) struct Api {
    shared: Arc<Shared>,
    ready: bool,
    waiting: Option<ManualSleep>,
}

struct Shared {
    clock: ManualClock,
    steps: Mutex<VecDeque<Step>>,
    calls: Mutex<Vec<Call>>,
    told: Mutex<Vec<Told>>,
    ready_from: Mutex<Timestamp>,
    running: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    reservations: Arc<AtomicUsize>,
    answered: AtomicUsize,
    /// How often a call yields before it does anything else.
    yields: usize,
}

/// What the service saw of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) at: Duration,
    pub(crate) request: u32,
    pub(crate) told: Told,
}

/// The number of the attempt, and the time it has left.
pub(crate) type Told = (u32, Option<Duration>);

/// What whoever runs here and now is told.
pub(crate) fn told_here() -> Told {
    (Attempt::current().number(), Attempt::current().remaining())
}

impl Api {
    pub(crate) fn new(clock: &ManualClock, steps: impl IntoIterator<Item = Step>) -> Self {
        Self::yielding(clock, 0, steps)
    }

    pub(crate) fn yielding(
        clock: &ManualClock,
        yields: usize,
        steps: impl IntoIterator<Item = Step>,
    ) -> Self {
        let shared = Shared {
            clock: clock.clone(),
            steps: Mutex::new(steps.into_iter().collect()),
            calls: Mutex::default(),
            told: Mutex::default(),
            ready_from: Mutex::new(Timestamp::ZERO),
            running: Arc::default(),
            open: Arc::default(),
            reservations: Arc::default(),
            answered: AtomicUsize::new(0),
            yields,
        };
        Self { shared: Arc::new(shared), ready: false, waiting: None }
    }

    /// Says from now on that it is not ready until the clock shows `at`.
    pub(crate) fn ready_from(&self, at: Duration) {
        *self.shared.ready_from.lock().unwrap() = Timestamp::ZERO + at;
    }

    /// Every call so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().unwrap().clone()
    }

    /// What each response future was told when it was first polled.
    pub(crate) fn told(&self) -> Vec<Told> {
        self.shared.told.lock().unwrap().clone()
    }

    /// When each call began, since the clock's origin.
    pub(crate) fn started(&self) -> Vec<Duration> {
        self.calls().iter().map(|call| call.at).collect()
    }

    /// Calls that have neither ended nor been dropped.
    pub(crate) fn running(&self) -> usize {
        self.shared.running.load(Ordering::SeqCst)
    }

    /// Responses that are not dropped yet.
    pub(crate) fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Clones that have said they are ready, and were not called since.
    pub(crate) fn reservations(&self) -> usize {
        self.shared.reservations.load(Ordering::SeqCst)
    }

    /// Calls that came to their own end.
    pub(crate) fn answered(&self) -> usize {
        self.shared.answered.load(Ordering::SeqCst)
    }
}

impl Clone for Api {
    /// A clone has to get ready by itself.
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), ready: false, waiting: None }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        if self.ready {
            self.shared.reservations.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Service<u32> for Api {
    type Response = Reply;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if !self.ready {
            let from = *self.shared.ready_from.lock().unwrap();
            let clock = &self.shared.clock;
            ready!(Pin::new(self.waiting.get_or_insert_with(|| clock.sleep_until(from))).poll(cx));
            self.waiting = None;
            self.ready = true;
            self.shared.reservations.fetch_add(1, Ordering::SeqCst);
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u32) -> Self::Future {
        assert!(self.ready, "called before it was ready");
        self.ready = false;
        let shared = self.shared.clone();
        shared.reservations.fetch_sub(1, Ordering::SeqCst);
        let at = now(&shared.clock);
        shared.calls.lock().unwrap().push(Call { at, request, told: told_here() });
        let step = shared.next_step();
        assert!(!matches!(step.end, End::PanicsInCall), "boom in call");
        let running = Counted::new(&shared.running);
        Box::pin(async move {
            let _running = running;
            shared.told.lock().unwrap().push(told_here());
            for _ in 0..shared.yields {
                yield_now().await;
            }
            if !step.takes.is_zero() {
                shared.clock.sleep_until(shared.clock.now() + step.takes).await;
            }
            if let End::Hangs = step.end {
                std::future::pending::<()>().await;
            }
            shared.answered.fetch_add(1, Ordering::SeqCst);
            match step.end {
                End::Gives(value) => Ok(Reply { value, _open: Counted::new(&shared.open) }),
                End::Fails(error) => Err(Failure(error)),
                End::Panics | End::PanicsInCall | End::Hangs => panic!("boom"),
            }
        })
    }
}

impl Shared {
    fn next_step(&self) -> Step {
        let mut steps = self.steps.lock().unwrap();
        let step = steps.pop_front().expect("a service has at least one step");
        if steps.is_empty() {
            steps.push_back(step);
        }
        step
    }
}

/// One of something, until it is dropped.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

// ---- carrying out calls ------------------------------------------------------------------------

/// Runs `future` beside a worker that serves it, both woken as one.
pub(crate) async fn served<F: Future>(
    worker: impl Future<Output = ()> + Send,
    future: F,
) -> F::Output {
    let (mut worker, mut future) = (pin!(worker), pin!(future));
    poll_fn(move |cx| {
        let answered = future.as_mut().poll(cx);
        if answered.is_pending() {
            assert!(worker.as_mut().poll(cx).is_pending(), "the worker has ended");
        }
        answered
    })
    .await
}

/// Waits until `service` is ready, and calls it.
pub(crate) async fn ask<S: Service<u32>>(service: &mut S) -> Result<S::Response, S::Error> {
    service.ready().await?.call(1).await
}

/// [`ask`] to the end, in virtual time.
pub(crate) fn call<S: Service<u32>>(
    clock: &ManualClock,
    service: &mut S,
) -> Result<S::Response, S::Error> {
    run(clock, ask(service))
}

// ---- policies ----------------------------------------------------------------------------------

/// Another attempt after 10 ms.
pub(crate) fn hedge(clock: &ManualClock) -> HedgeBuilder {
    Hedge::builder().delay(10 * MS).clock(clock)
}

pub(crate) fn limiter(clock: &ManualClock, requests: u64, window: Duration) -> RateLimiterBuilder {
    RateLimiter::builder("search").max_requests(requests).time_window(window).clock(clock)
}

/// A budget of so many tokens that never grows.
pub(crate) fn tokens(clock: &ManualClock, count: u32) -> RetryBudget {
    let never = Duration::from_secs(1_000_000);
    let budget = RetryBudget::builder().initial(count).max(count).ratio(0.0).refill_every(never);
    budget.clock(clock).build().unwrap()
}

/// Requests that can be sent twice, but should not be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NotIdempotent;

impl Duplicate<u32> for NotIdempotent {
    fn duplicate(&self, request: &u32) -> Option<u32> {
        Some(*request)
    }

    fn is_idempotent(&self, _: &u32) -> bool {
        false
    }
}

// ---- answers -----------------------------------------------------------------------------------

/// The value of an answer.
pub(crate) fn value(answer: Result<Reply, Error>) -> u16 {
    answer.unwrap().value
}

/// The service's own error, wherever it is inside.
pub(crate) fn failure(error: &Error) -> Option<&'static str> {
    let failure = error.operation().and_then(ServiceError::downcast_ref::<Failure>);
    failure.map(|failure| failure.0)
}

/// What tests ask a clock.
pub(crate) fn now(clock: &ManualClock) -> Duration {
    clock.now() - Timestamp::ZERO
}
