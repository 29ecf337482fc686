//! What an operation is told of its time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use surefoot::{Attempt, Deadline, ManualClock, Pipeline, Timestamp};

use crate::support::*;

/// The same within one pipeline, in both hosts: what the operation is told.
#[test]
fn an_operation_is_told_the_earlier_deadline_and_the_number_of_its_attempt() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let pipeline = Pipeline::builder("api")
            .idempotent()
            .add(timeout(&clock, "total", 10 * SEC))
            .add(retry(&clock).build().unwrap())
            .add(timeout(&clock, "attempt", 8 * SEC))
            .build()
            .unwrap();
        let seen = Mutex::new(Vec::new());
        let look = || {
            let told = told_here();
            seen.lock().unwrap().push(told);
            if told.0 == 4 { Ok(()) } else { Err("again") }
        };
        let answer = match host {
            Host::Async => run(&clock, pipeline.call(|| async { look() })),
            Host::Blocking => block(&clock, || pipeline.call_blocking(|_| look())),
        };
        assert_eq!(answer, Ok(()));
        let told = [
            (1, Some(8 * SEC)),
            (2, Some(8 * SEC)),
            (3, Some(8 * SEC)),
            (4, Some(7 * SEC)), // the total comes first now
        ];
        assert_eq!(*seen.lock().unwrap(), told, "{host:?}");
    }
}

#[test]
fn a_blocking_operation_sees_its_time_run_out() {
    let clock = ManualClock::new();
    let limit = timeout(&clock, "limit", SEC);
    let answer = limit.call_blocking(|attempt| {
        clock.advance(400 * MS);
        assert_eq!(attempt.remaining(), Some(600 * MS));
        assert_eq!(format!("{attempt:?}"), "Attempt { number: 1, remaining: Some(600ms), .. }");
        clock.advance(SEC);
        assert_eq!(attempt.remaining(), Some(Duration::ZERO));
        let due = Deadline::at(Timestamp::ZERO + SEC);
        assert_eq!((attempt.number(), attempt.deadline()), (1, Some(due)));
        Ok::<_, &str>("done")
    });
    assert_eq!(answer, Ok("done"));
}

/// The operation begins where its closure does: what the closure does before it gives a future is
/// part of the attempt.
#[test]
fn the_closure_itself_runs_within_the_attempt_and_its_deadline() {
    let clock = ManualClock::new();
    let shapes = [
        ("a timeout", true, false, (1, Some(9 * SEC))),
        ("a retry", false, true, (2, None)),
        ("a retry in a timeout", true, true, (2, Some(8 * SEC))),
    ];
    for (shape, limited, retried, told) in shapes {
        let (seen, calls) = (Mutex::new((0, None)), AtomicUsize::new(0));
        let look = || {
            *seen.lock().unwrap() = told_here();
            let first = calls.fetch_add(1, Ordering::SeqCst) == 0;
            async move { if first && retried { Err("again") } else { Ok(()) } }
        };
        let limit = timeout(&clock, "limit", 9 * SEC);
        let retry = retry(&clock).build().unwrap();
        let answer = match (limited, retried) {
            (true, false) => run(&clock, limit.call(look)),
            (false, _) => run(&clock, retry.call(look)),
            (true, true) => {
                let pipeline = Pipeline::builder("api").idempotent().add(limit).add(retry);
                let pipeline = pipeline.build().unwrap();
                run(&clock, pipeline.call(look))
            }
        };
        assert_eq!((answer, *seen.lock().unwrap()), (Ok(()), told), "{shape}");
    }
}

#[test]
fn an_async_operation_can_look_for_itself() {
    let clock = ManualClock::new();
    let limit = timeout(&clock, "limit", SEC);
    let told = run(
        &clock,
        limit.call(|| async {
            yield_now().await;
            let attempt = Attempt::current();
            Ok::<_, &str>((attempt.number(), attempt.deadline(), attempt.remaining()))
        }),
    );
    assert_eq!(told, Ok((1, Some(Deadline::at(Timestamp::ZERO + SEC)), Some(SEC))));
}

#[test]
fn outside_any_limit_an_operation_is_told_of_none() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let breaker = breaker(&clock).build().unwrap();
        let look = || Ok::<_, &str>(told_here());
        let answer = match host {
            Host::Async => run(&clock, breaker.call(|| async { look() })),
            Host::Blocking => block(&clock, || breaker.call_blocking(|_| look())),
        };
        assert_eq!(answer, Ok((1, None)));
    }
}

/// The scope follows the call, not the thread: calls polled in turn do not see each other's.
#[test]
fn interleaved_calls_on_one_thread_keep_their_own_deadlines() {
    let clock = ManualClock::new();
    let call = |seconds: u32| {
        let limit = timeout(&clock, "limit", seconds * SEC);
        let retry = retry(&clock).build().unwrap();
        let pipeline = Pipeline::builder("api").idempotent().add(limit).add(retry).build().unwrap();
        Task::new(async move {
            let look = || async {
                for _ in 0..3 {
                    assert_eq!(told_here(), (1, Some(seconds * SEC)));
                    yield_now().await;
                }
                Ok::<_, &str>(())
            };
            pipeline.call(look).await
        })
    };
    let (mut short, mut long) = (call(1), call(9));
    loop {
        let (first, second) = (short.poll(), long.poll());
        assert_eq!(told_here(), (1, None), "nothing leaks to the thread");
        if let (Poll::Ready(first), Poll::Ready(second)) = (first, second) {
            assert_eq!((first, second), (Ok(()), Ok(())));
            break;
        }
    }
}
