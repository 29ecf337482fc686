//! Many callers on many threads, some of whom leave: afterwards everything is home.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use surefoot::{CircuitState, Clock as _, Error, ManualClock};
use surefoot_tower::{CircuitBreakerLayer, HedgeLayer, RetryLayer, TimeoutLayer};
use tokio::sync::Semaphore;
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;

use crate::support::*;

const TASKS: u64 = 64;
const CALLS: u64 = 50;
const TOKENS: u32 = 1_000_000;
const PERMITS: usize = 16;
const TRIALS: usize = 3;

/// Polls `future` so many times at most, then drops it.
async fn at_most<F: Future>(polls: u64, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

/// Moves time whenever somebody waits for it, until it is dropped.
struct Mover(Arc<AtomicBool>);

impl Mover {
    fn start(clock: &ManualClock) -> Self {
        let (done, clock) = (Arc::new(AtomicBool::new(false)), clock.clone());
        let is_done = done.clone();
        std::thread::spawn(move || {
            while !is_done.load(Ordering::SeqCst) {
                clock.advance_to_next_waiter();
                std::thread::yield_now();
            }
        });
        Self(done)
    }
}

impl Drop for Mover {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn after_a_storm_of_calls_and_cancellations_everything_is_home() {
    let clock = ManualClock::new();
    let mut steps = [gives(200), gives(200).after(5 * MS), gives(200).after(20 * MS)].repeat(3);
    steps.extend([fails("down"), hangs(), fails("late").after(30 * MS)]);
    let api = Api::yielding(&clock, 1, steps.repeat(1000));
    let breaker = breaker(&clock)
        .failure_threshold(10)
        .failure_window(SEC)
        .timeout(15 * MS)
        .half_open_max_calls(u32::try_from(TRIALS).unwrap())
        .success_threshold(2)
        // So that a place that is lost stays lost.
        .half_open_timeout(1_000_000 * SEC)
        .build()
        .unwrap();
    let budget = tokens(&clock, TOKENS);
    let retry = retry(&clock).initial_delay(10 * MS).budget(budget.clone()).build().unwrap();
    let hedge = hedge(&clock).budget(budget.clone()).build().unwrap();
    let permits = Arc::new(Semaphore::new(PERMITS));
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(timeout(&clock, "total", SEC)))
        .layer(RetryLayer::idempotent(retry.clone()))
        .layer(HedgeLayer::idempotent(hedge.clone()))
        .layer(CircuitBreakerLayer::new(breaker.clone()))
        .layer(TimeoutLayer::new(timeout(&clock, "attempt", 100 * MS)))
        .layer(GlobalConcurrencyLimitLayer::with_semaphore(permits.clone()))
        .service(api.clone());

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    let mover = Mover::start(&clock);
    runtime.block_on(async {
        let tasks: Vec<_> = (1..=TASKS)
            .map(|seed| {
                let (mut service, clock) = (service.clone(), clock.clone());
                tokio::spawn(async move {
                    let mut random = fastrand::Rng::with_seed(seed);
                    let mut left = 0;
                    for _ in 0..CALLS {
                        let polls = if random.bool() { random.u64(0..12) } else { u64::MAX };
                        match at_most(polls, ask(&mut service)).await {
                            None => left += 1,
                            Some(Err(Error::Rejected(_))) => {
                                clock.sleep_until(clock.now() + 10 * MS).await;
                            }
                            Some(_) => {}
                        }
                    }
                    left
                })
            })
            .collect();
        let mut left: u64 = 0;
        for task in tasks {
            left += task.await.unwrap();
        }
        assert!(left > TASKS, "only {left} callers left early");
    });
    drop((mover, service));

    assert_eq!((api.running(), api.open(), api.reservations()), (0, 0, 0));
    assert_eq!((permits.available_permits(), clock.waiting()), (PERMITS, 0));
    let made = retry.retries() + hedge.hedges();
    assert_eq!(budget.balance(), u64::from(TOKENS) - made, "tokens and the attempts they paid for");
    let totals = breaker.status().totals;
    // What was admitted with no time left was not dispatched, and says nothing.
    let calls = api.calls().len() as u64;
    assert_eq!(settled(totals) - totals.ignored, calls, "{totals:?}");
    let wild = totals.opened > 1 && totals.rejected > 0 && totals.cancelled > TASKS;
    assert!(wild && calls > 10 * TASKS && made > TASKS, "too mild: {calls} calls, {totals:?}");

    while breaker.state() != CircuitState::HalfOpen {
        match breaker.admit() {
            Ok(permit) if breaker.state() == CircuitState::Closed => permit.failure(),
            Ok(permit) => drop(permit),
            Err(_) => clock.advance(SEC),
        }
    }
    let places: Vec<_> = (0..TRIALS).map(|_| breaker.admit()).collect();
    assert!(places.iter().all(Result::is_ok), "every place is free: {places:?}");
    assert!(breaker.admit().is_err());
}
