//! Throttlers and bulkheads as callers meet them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use surefoot::throttler::LeftQueue;
use surefoot::{
    Acquire, AcquireIn, BlockingPolicy, Bulkhead, Clock, ManualClock, OrderRule, PartKind,
    Pipeline, Rejection, Throttler, Timeout,
};

use crate::support::{Error, Policy, SEC};

fn throttler(clock: &ManualClock, permits: u32) -> Throttler {
    let builder = Throttler::builder("test").max_concurrent(permits).timeout(5 * SEC);
    builder.clock(clock).build().unwrap()
}

/// Polls once, with a waker that is not needed.
fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn left(rejection: Option<&Rejection>) -> Option<LeftQueue> {
    match rejection {
        Some(Rejection::QueueTimeout { reason, .. }) => Some(*reason),
        _ => None,
    }
}

#[test]
fn a_call_waits_for_its_turn_and_no_longer_than_the_queue_allows() {
    let clock = ManualClock::new();
    let throttler = throttler(&clock, 1);
    let held = throttler.try_acquire().unwrap();
    let mut late = Box::pin(throttler.acquire());
    assert!(poll(late.as_mut()).is_pending());
    clock.advance(SEC);
    let mut next = Box::pin(throttler.acquire());
    assert!(poll(next.as_mut()).is_pending());
    clock.advance(4 * SEC);
    let Poll::Ready(Err(refused)) = poll(late.as_mut()) else { panic!("still waits") };
    assert_eq!(left(Some(&refused)), Some(LeftQueue::Timeout));
    drop(held);
    assert!(matches!(poll(next.as_mut()), Poll::Ready(Ok(_))));
}

#[test]
fn a_call_dropped_at_any_await_gives_back_what_it_has() {
    let clock = ManualClock::new();
    let throttler = throttler(&clock, 1);
    let mut running = Box::pin(throttler.call(std::future::pending::<Result<(), &str>>));
    assert!(poll(running.as_mut()).is_pending());
    assert_eq!(throttler.in_flight(), 1);
    let mut waiting = Box::pin(throttler.call(std::future::pending::<Result<(), &str>>));
    assert!(poll(waiting.as_mut()).is_pending());
    assert_eq!(throttler.queue_depth(), 1);
    drop(waiting);
    assert_eq!(throttler.queue_depth(), 0);
    drop(running);
    assert_eq!(throttler.in_flight(), 0);
}

#[test]
fn a_panic_in_the_operation_gives_the_permit_back() {
    let throttler = throttler(&ManualClock::new(), 1);
    let mut call = Box::pin(throttler.call(|| async {
        if true {
            std::panic::resume_unwind(Box::new("boom"));
        }
        Ok::<_, &str>(())
    }));
    let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| poll(call.as_mut())));
    assert!(polled.is_err());
    assert_eq!(throttler.in_flight(), 0);
}

#[test]
fn a_deadline_that_passes_in_the_queue_is_a_timeout_before_anything_was_dispatched() {
    let clock = ManualClock::new();
    let throttler = throttler(&clock, 1);
    let _held = throttler.try_acquire().unwrap();
    let pipeline = Pipeline::builder("call")
        .add(Timeout::new(2 * SEC).unwrap().on_clock(&clock))
        .add(throttler.clone())
        .build()
        .unwrap();
    let mut call = Box::pin(pipeline.call(|| async { Ok::<_, &str>(()) }));
    assert!(poll(call.as_mut()).is_pending());
    clock.advance(2 * SEC);
    let Poll::Ready(Err(error)) = poll(call.as_mut()) else { panic!("still waits") };
    assert!(matches!(error, Error::Timeout { dispatched: false, .. }), "{error:?}");
    assert_eq!(throttler.queue_depth(), 0);
}

#[test]
fn a_blocking_call_leaves_the_queue_at_its_deadline() {
    let clock = ManualClock::new();
    let throttler = throttler(&clock, 1);
    let _held = throttler.try_acquire().unwrap();
    let pipeline = Pipeline::builder("call")
        .add(Timeout::new(2 * SEC).unwrap().on_clock(&clock))
        .add(throttler.clone())
        .build()
        .unwrap();
    let error: Error = thread::scope(|scope| {
        let call = scope.spawn(|| pipeline.call_blocking(|_| Ok(())).unwrap_err());
        clock.wait_for_waiters(1);
        clock.advance(2 * SEC);
        call.join().unwrap()
    });
    assert!(matches!(error, Error::Timeout { dispatched: false, .. }), "{error:?}");
    assert_eq!(left(error.rejection()), Some(LeftQueue::Deadline));
}

#[test]
fn a_free_permit_is_not_given_in_a_timeouts_last_poll_nor_to_a_thread_past_its_deadline() {
    let clock = ManualClock::new();
    let throttler = throttler(&clock, 1);
    let timeout = Timeout::new(2 * SEC).unwrap().on_clock(&clock);
    let ran = AtomicU32::new(0);
    let mut call = Box::pin(timeout.call(|| async {
        clock.sleep_until(surefoot::Timestamp::ZERO + 2 * SEC).await;
        futures_lite::future::yield_now().await; // the timeout's last poll is the next
        let run = || async { Ok::<_, &str>(ran.fetch_add(1, Ordering::Relaxed)) };
        throttler.call(run).await
    }));
    assert!(poll(call.as_mut()).is_pending());
    clock.advance(2 * SEC);
    assert!(matches!(poll(call.as_mut()), Poll::Ready(Err(surefoot::Error::Timeout { .. }))));
    assert_eq!((ran.load(Ordering::Relaxed), throttler.status().totals.hopeless), (0, 1));

    let refused = timeout.call_blocking(|_| {
        clock.advance(2 * SEC);
        Ok::<_, &str>(left(throttler.acquire_blocking().err().as_ref()))
    });
    assert_eq!(refused.unwrap(), Some(LeftQueue::Deadline));
    assert_eq!((throttler.in_flight(), throttler.status().totals.hopeless), (0, 2));
}

#[test]
fn a_blocked_thread_is_woken_by_a_permit_that_returns() {
    let clock = ManualClock::new();
    let throttler = throttler(&clock, 1);
    let held = throttler.try_acquire_owned().unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| throttler.acquire_blocking().is_ok());
        clock.wait_for_waiters(1);
        drop(held);
        assert!(waiting.join().unwrap());
    });
    assert_eq!(throttler.in_flight(), 0);
}

#[test]
fn on_the_systems_clock_one_timer_ends_every_wait_under_any_executor() {
    let throttler = Throttler::builder("test").max_concurrent(1).timeout(Duration::from_millis(20));
    let throttler = throttler.build().unwrap();
    let _held = throttler.try_acquire().unwrap();
    let wait = || async { left(throttler.acquire().await.err().as_ref()) };
    let both = async { (wait().await, futures_lite::future::zip(wait(), wait()).await) };
    let timeout = Some(LeftQueue::Timeout);
    assert_eq!(futures_lite::future::block_on(both), (timeout, (timeout, timeout)));
    let blocked = throttler.acquire_blocking().err();
    assert_eq!(left(blocked.as_ref()), timeout);
}

#[test]
fn an_unknown_compartment_is_an_error_and_a_full_one_is_another() {
    let bulkhead = Bulkhead::builder("tools").compartment("one", 1, 0).build().unwrap();
    let held = futures_lite::future::block_on(bulkhead.acquire("one")).unwrap();
    let full = futures_lite::future::block_on(bulkhead.acquire("one")).unwrap_err();
    assert!(matches!(full, Rejection::BulkheadFull { .. }));
    let unknown = bulkhead.acquire_blocking("two").unwrap_err();
    assert_eq!(unknown.to_string(), "bulkhead `tools` has no compartment `two`: it has `one`");
    drop(held);
    assert!(futures_lite::future::block_on(bulkhead.acquire_owned("one")).is_ok());
}

#[test]
fn a_pipeline_knows_throttlers_and_compartments() {
    let clock = ManualClock::new();
    let bulkhead = Bulkhead::builder("tools").compartment("one", 1, 0).build().unwrap();
    let pipeline = Pipeline::builder("call")
        .add(throttler(&clock, 1))
        .add(bulkhead.compartment("one").unwrap())
        .allow(OrderRule::NoTimeoutInsideBreaker)
        .build()
        .unwrap();
    let kinds: Vec<_> = pipeline.order().into_iter().map(|part| part.kind).collect();
    assert_eq!(kinds, [PartKind::Throttler, PartKind::Bulkhead]);
    assert!(clock.now() == surefoot::Timestamp::ZERO);
}

/// 64 tasks, of which each asks 10⁵ times with `SUREFOOT_STRESS=100000`, or a few hundred times.
#[test]
fn after_a_storm_of_calls_that_are_cancelled_at_random_every_permit_is_home() {
    const TASKS: usize = 64;
    const PERMITS: u32 = 4;
    let operations =
        std::env::var("SUREFOOT_STRESS").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    let builder = Throttler::builder("storm").max_concurrent(PERMITS).queue_size(40);
    let throttler = builder.timeout(Duration::from_secs(60)).build().unwrap();
    let running = Arc::new(AtomicU32::new(0));
    let answered = Arc::new(AtomicUsize::new(0));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let (throttler, running, answered) =
                    (throttler.clone(), running.clone(), answered.clone());
                tokio::spawn(async move {
                    let mut random = task as u64 + 1;
                    for _ in 0..operations {
                        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let mut acquiring = Box::pin(throttler.acquire());
                        // A third give up after a look or two.
                        let polls = if (random >> 33).is_multiple_of(3) {
                            1 + (random >> 40) % 3
                        } else {
                            0
                        };
                        let answer = if polls > 0 {
                            let mut answer = None;
                            for _ in 0..polls {
                                tokio::task::yield_now().await;
                                if let Poll::Ready(ready) = poll(acquiring.as_mut()) {
                                    answer = Some(ready);
                                    break;
                                }
                            }
                            answer
                        } else {
                            Some(acquiring.as_mut().await)
                        };
                        if let Some(Ok(_permit)) = answer {
                            assert!(running.fetch_add(1, Ordering::SeqCst) < PERMITS);
                            if random >> 60 == 0 {
                                tokio::task::yield_now().await;
                            }
                            running.fetch_sub(1, Ordering::SeqCst);
                        }
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_eq!(answered.load(Ordering::Relaxed), TASKS * operations);
    assert_eq!((throttler.in_flight(), throttler.queue_depth()), (0, 0));
    let permits: Vec<_> = (0..PERMITS).map(|_| throttler.try_acquire().unwrap()).collect();
    assert!(throttler.try_acquire().is_err());
    drop(permits);
}
