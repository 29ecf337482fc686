//! A world in which time only moves when a test moves it, and the same call goes through either
//! host.

mod by_hand;
mod policies;
mod streaming;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

pub(crate) use by_hand::*;
pub(crate) use policies::*;
pub(crate) use streaming::*;
use surefoot::circuit_breaker::CircuitTotals;
use surefoot::{
    Attempt, CircuitBreaker, Clock, Event, Events, Identity, ManualClock, ManualSleep, Timestamp,
};
pub(crate) use surefoot::{BlockingPolicy, Policy};

pub(crate) type Error = surefoot::Error<&'static str>;

/// How a call is carried out. Most rules hold in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Async,
    Blocking,
}

impl Host {
    pub(crate) const BOTH: [Self; 2] = [Self::Async, Self::Blocking];
}

/// `call!(host, clock, policy, service)` calls `service` under `policy` and lets the clock run
/// until there is an answer.
macro_rules! call {
    ($host:expr, $clock:expr, $policy:expr, $service:expr) => {{
        let service = &$service;
        match $host {
            $crate::support::Host::Async => {
                $crate::support::run(&$clock, $policy.call(|| service.answer()))
            }
            $crate::support::Host::Blocking => $crate::support::block(&$clock, || {
                $policy.call_blocking(|attempt| service.answer_blocking(attempt))
            }),
        }
    }};
}
pub(crate) use call;

// ---- the callee --------------------------------------------------------------------------------

/// How one attempt at a [`Service`] goes.
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
    Hangs,
}

pub(crate) fn gives(value: u16) -> Step {
    Step { takes: Duration::ZERO, end: End::Gives(value) }
}

pub(crate) fn fails(error: &'static str) -> Step {
    Step { takes: Duration::ZERO, end: End::Fails(error) }
}

pub(crate) fn panics() -> Step {
    Step { takes: Duration::ZERO, end: End::Panics }
}

/// Never answers. Only futures can be left hanging.
pub(crate) fn hangs() -> Step {
    Step { takes: Duration::ZERO, end: End::Hangs }
}

impl Step {
    /// The same after so much time.
    pub(crate) fn after(self, takes: Duration) -> Self {
        Self { takes, ..self }
    }
}

/// A callee that does as it is told, attempt by attempt; the last step is repeated.
pub(crate) struct Service {
    clock: ManualClock,
    steps: Mutex<VecDeque<Step>>,
    started: Mutex<Vec<Timestamp>>,
    running: AtomicUsize,
    answered: AtomicUsize,
    /// How often an asynchronous attempt yields before it does anything else.
    yields: usize,
}

impl Service {
    pub(crate) fn new(clock: &ManualClock, steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            clock: clock.clone(),
            steps: Mutex::new(steps.into_iter().collect()),
            started: Mutex::default(),
            running: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
            yields: 0,
        }
    }

    pub(crate) fn yielding(self, yields: usize) -> Self {
        Self { yields, ..self }
    }

    /// Attempts begun.
    pub(crate) fn calls(&self) -> usize {
        self.started.lock().unwrap().len()
    }

    /// When each attempt began, since the clock's origin.
    pub(crate) fn started(&self) -> Vec<Duration> {
        let started = self.started.lock().unwrap();
        started.iter().map(|at| *at - Timestamp::ZERO).collect()
    }

    /// Attempts that have neither ended nor been dropped.
    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    /// Attempts that came to their own end.
    pub(crate) fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }

    pub(crate) async fn answer(&self) -> Result<u16, &'static str> {
        let (step, _running) = self.begin();
        for _ in 0..self.yields {
            yield_now().await;
        }
        if !step.takes.is_zero() {
            self.clock.sleep_until(self.clock.now() + step.takes).await;
        }
        if let End::Hangs = step.end {
            std::future::pending::<()>().await;
        }
        self.end(step.end)
    }

    pub(crate) fn answer_blocking(&self, _: &Attempt) -> Result<u16, &'static str> {
        let (step, _running) = self.begin();
        self.clock.advance(step.takes); // it works, it does not wait
        self.end(step.end)
    }

    fn begin(&self) -> (Step, Running<'_>) {
        self.started.lock().unwrap().push(self.clock.now());
        self.running.fetch_add(1, Ordering::SeqCst);
        let mut steps = self.steps.lock().unwrap();
        let step = steps.pop_front().expect("a service has at least one step");
        if steps.is_empty() {
            steps.push_back(step);
        }
        (step, Running(&self.running))
    }

    fn end(&self, end: End) -> Result<u16, &'static str> {
        self.answered.fetch_add(1, Ordering::SeqCst);
        match end {
            End::Gives(value) => Ok(value),
            End::Fails(error) => Err(error),
            End::Panics => panic!("boom"),
            End::Hangs => panic!("blocking code cannot be left hanging in a test"),
        }
    }
}

struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

// ---- carrying out calls ------------------------------------------------------------------------

/// Calls `blocking` on this thread, while another moves time whenever this one waits.
pub(crate) fn block<R>(clock: &ManualClock, blocking: impl FnOnce() -> R) -> R {
    struct Stop<'a, 'scope> {
        done: &'a AtomicBool,
        /// Something for the mover to wait for, so that it looks whether we are done.
        bell: ManualSleep,
        mover: Option<ScopedJoinHandle<'scope, ()>>,
    }
    impl Drop for Stop<'_, '_> {
        fn drop(&mut self) {
            self.done.store(true, Ordering::SeqCst);
            let rung = Pin::new(&mut self.bell).poll(&mut Context::from_waker(Waker::noop()));
            assert!(rung.is_pending());
            let _ = self.mover.take().map(ScopedJoinHandle::join);
        }
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let mover = scope.spawn(|| {
            loop {
                clock.wait_for_waiters(1);
                if done.load(Ordering::SeqCst) {
                    return;
                }
                clock.advance_to_next_waiter();
            }
        });
        let bell = clock.sleep_until(Timestamp::MAX);
        let _stop = Stop { done: &done, bell, mover: Some(mover) };
        blocking()
    })
}

// ---- policies ----------------------------------------------------------------------------------

/// Successes, failures and cancelled calls so far.
pub(crate) fn verdicts(breaker: &CircuitBreaker) -> (u64, u64, u64) {
    let CircuitTotals { successes, failures, cancelled, .. } = breaker.status().totals;
    (successes, failures, cancelled)
}

/// Everything sent to `events` from now on.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<Event>>>);

impl Log {
    pub(crate) fn of(events: &Events) -> Self {
        let log = Self::default();
        let writer = log.clone();
        events.subscribe(move |event| writer.0.lock().unwrap().push(event.clone())).forever();
        log
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, is_it: impl Fn(&Event) -> bool) -> usize {
        self.events().iter().filter(|event| is_it(event)).count()
    }
}

/// What tests ask a clock.
pub(crate) trait ClockExt {
    fn now_ms(&self) -> u128;
}

impl ClockExt for ManualClock {
    fn now_ms(&self) -> u128 {
        (self.now() - Timestamp::ZERO).as_millis()
    }
}

/// What an operation that runs here and now would be told: the number of its attempt, and the
/// time it has left.
pub(crate) fn told_here() -> (u32, Option<Duration>) {
    let told =
        Identity.call_blocking(|attempt| Ok::<_, ()>((attempt.number(), attempt.remaining())));
    told.unwrap()
}
