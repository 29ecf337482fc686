//! Time limits: when they fire, who they blame, and how they nest.

use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use surefoot::{
    Attempt, BlockingOperation, CircuitState, Deadline, Event, ManualClock, Operation, OrderRule,
    Part, PartKind, Pipeline, RetryBudget, StopReason, Timestamp,
};

use crate::support::*;

fn timed_out(policy: &'static str, limit: Duration, last: Option<Error>) -> Error {
    Error::Timeout { policy: policy.into(), limit, dispatched: true, last: last.map(Box::new) }
}

/// policies.md §4 rule 83; §5 trap 11.
#[test]
fn a_hanging_service_under_an_outer_deadline_trips_the_breaker() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [hangs()]);
    let breaker = breaker(&clock).build().unwrap();
    let pipeline = Pipeline::builder("api")
        .allow(OrderRule::NoTimeoutInsideBreaker)
        .add(timeout(&clock, "total", SEC))
        .add(breaker.clone())
        .build()
        .unwrap();
    for call in 1..=5 {
        assert_eq!(breaker.state(), CircuitState::Closed, "before call {call}");
        let answer = run(&clock, pipeline.call(|| service.answer()));
        assert_eq!(answer, Err(timed_out("total", SEC, None)));
    }
    assert_eq!(breaker.state(), CircuitState::Open);
    assert_eq!(breaker.status().totals.failures, 5);
    assert_eq!((service.calls(), service.running(), clock.waiting()), (5, 0, 0));
}

/// policies.md §4 rule 83.
#[test]
fn callers_who_give_up_do_not_trip_the_breaker() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [hangs()]);
    let breaker = breaker(&clock).build().unwrap();
    let pipeline = Pipeline::builder("api")
        .allow(OrderRule::NoTimeoutInsideBreaker)
        .add(timeout(&clock, "total", SEC))
        .add(breaker.clone())
        .build()
        .unwrap();
    for _ in 0..5 {
        let answer = drop_after(&clock, 1, pipeline.call(|| service.answer()));
        assert_eq!(answer, None);
    }
    let status = breaker.status();
    assert_eq!((status.state, status.failure_count), (CircuitState::Closed, 0));
    assert_eq!((status.totals.cancelled, status.totals.failures), (5, 0));
}

/// policies.md §4 rule 83: the deadline's reason reaches through a retry, and through a pipeline.
#[test]
fn the_outer_deadline_blames_the_attempt_it_ends_through_all_layers_between() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [fails("reset"), hangs()]);
    let breaker = breaker(&clock).build().unwrap();
    let inner = Pipeline::builder("inner")
        .allow(OrderRule::NoTimeoutInsideBreaker)
        .idempotent()
        .add(retry(&clock).build().unwrap())
        .add(breaker.clone())
        .build()
        .unwrap();
    let outer = timeout(&clock, "total", 10 * SEC);
    let call = || async { inner.call(|| service.answer()).await };
    let answer = run(&clock, outer.call(call));
    let Err(surefoot::Error::Timeout { policy, last: Some(last), .. }) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(policy, "total");
    assert_eq!(last.operation().and_then(Error::operation), Some(&"reset"));
    let totals = breaker.status().totals;
    assert_eq!((totals.failures, totals.cancelled), (2, 0));
}

/// policies.md §4 rule 50.
#[test]
fn a_value_in_time_is_returned_and_the_timer_is_gone() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200).after(SEC)]);
        let limit = timeout(&clock, "limit", 2 * SEC);
        assert_eq!(call!(host, clock, limit, service), Ok(200), "{host:?}");
        assert_eq!(clock.waiting(), 0, "{host:?}");
    }
}

/// policies.md §4 rule 50: nothing to wait for, nothing armed.
#[test]
fn a_call_that_answers_at_once_arms_no_timer() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [gives(200)]);
    let limit = timeout(&clock, "limit", SEC);
    let mut task = Task::new(limit.call(|| service.answer()));
    assert_eq!(task.poll(), Poll::Ready(Ok(200)));
    assert_eq!(clock.waiting(), 0);
}

/// policies.md §4 rule 51.
#[test]
fn an_attempt_timeout_cancels_each_attempt_and_the_retry_goes_on() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [hangs()]);
    let pipeline = Pipeline::builder("api")
        .idempotent()
        .add(retry(&clock).max_attempts(3).build().unwrap())
        .add(timeout(&clock, "attempt", 50 * MS))
        .build()
        .unwrap();
    let answer = run(&clock, pipeline.call(|| service.answer()));
    let Err(Error::Exhausted { last, stop, attempts, elapsed, .. }) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(*last, timed_out("attempt", 50 * MS, None));
    assert_eq!((stop, attempts, elapsed), (StopReason::Attempts, 3, 2150 * MS));
    assert_eq!(service.started(), [ZERO, 1050 * MS, 2100 * MS]);
    assert_eq!((service.running(), clock.waiting()), (0, 0));
}

/// policies.md §4 rule 51: the retry's own option is the same timeout.
#[test]
fn the_attempt_timeout_of_a_retry_limits_each_attempt() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let slow = fails("slow").after(60 * MS);
        let service = Service::new(&clock, [slow, slow, gives(200)]);
        let retry = retry(&clock).name("reader").attempt_timeout(50 * MS).build().unwrap();
        let last = Mutex::new(Vec::new());
        let logged = retry.classify(|result: Result<&u16, &&'static str>| {
            last.lock().unwrap().push(result.is_ok());
            match result {
                Ok(_) => surefoot::Classification::SUCCESS,
                Err(_) => surefoot::Classification::TRANSIENT,
            }
        });
        assert_eq!(call!(host, clock, logged, service), Ok(200), "{host:?}");
        let second = if host == Host::Async { 1050 * MS } else { 1060 * MS };
        assert_eq!(service.started(), [ZERO, second, 2 * second], "{host:?}");
    }
}

/// policies.md §4 rule 52, async: the running attempt is dropped at the deadline.
#[test]
fn an_outer_deadline_ends_a_retry_in_mid_attempt() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [fails("slow").after(100 * MS)]);
    let pipeline = Pipeline::builder("api")
        .idempotent()
        .add(timeout(&clock, "total", 150 * MS))
        .add(retry(&clock).initial_delay(Duration::ZERO).build().unwrap())
        .build()
        .unwrap();
    let answer = run(&clock, pipeline.call(|| service.answer()));
    let last = Error::Exhausted {
        last: Box::new(Error::Operation("slow")),
        refusal: None,
        stop: StopReason::Time,
        attempts: 2,
        elapsed: 150 * MS,
        retry_after: None,
    };
    assert_eq!(answer, Err(timed_out("total", 150 * MS, Some(last))));
    assert_eq!(clock.now_ms(), 150);
    assert_eq!((service.calls(), service.running(), clock.waiting()), (2, 0, 0));
}

/// policies.md §4 rule 52, blocking: nothing can interrupt the attempt, its late failure is a
/// timeout, and none follows.
#[test]
fn an_outer_deadline_stops_a_blocking_retry_after_the_attempt_that_overran_it() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [fails("slow").after(100 * MS)]);
    let pipeline = Pipeline::builder("api")
        .idempotent()
        .add(timeout(&clock, "total", 150 * MS))
        .add(retry(&clock).initial_delay(Duration::ZERO).build().unwrap())
        .build()
        .unwrap();
    let answer = call!(Host::Blocking, clock, pipeline, service);
    let last = Error::Exhausted {
        last: Box::new(Error::Operation("slow")),
        refusal: None,
        stop: StopReason::Time,
        attempts: 2,
        elapsed: 200 * MS,
        retry_after: None,
    };
    assert_eq!(answer, Err(timed_out("total", 150 * MS, Some(last))));
    assert_eq!(service.calls(), 2);
}

/// policies.md §4 rule 53: a wait that cannot end in time is not begun.
#[test]
fn a_retry_does_not_wait_into_the_deadline() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [fails("down")]);
        let pipeline = Pipeline::builder("api")
            .idempotent()
            .add(timeout(&clock, "total", 100 * MS))
            .add(retry(&clock).build().unwrap())
            .build()
            .unwrap();
        let answer = call!(host, clock, pipeline, service);
        let Err(Error::Exhausted { last, stop, attempts, .. }) = answer else {
            panic!("{host:?}: {answer:?}")
        };
        assert_eq!((*last, stop, attempts), (Error::Operation("down"), StopReason::Time, 1));
        assert_eq!((service.calls(), clock.now_ms()), (1, 0), "{host:?}: at once");
    }
}

/// policies.md §4 rule 53: a wait that would end exactly at the deadline leaves no time either.
#[test]
fn a_wait_that_ends_exactly_at_the_deadline_is_not_begun() {
    for host in Host::BOTH {
        for (limit, calls) in [(SEC, 1), (SEC + Duration::from_nanos(1), 2)] {
            let clock = ManualClock::new();
            let service = Service::new(&clock, [fails("down")]);
            let pipeline = Pipeline::builder("api")
                .idempotent()
                .add(timeout(&clock, "total", limit))
                .add(retry(&clock).build().unwrap())
                .build()
                .unwrap();
            assert!(call!(host, clock, pipeline, service).is_err());
            assert_eq!(service.calls(), calls, "{host:?}, {limit:?}");
        }
    }
}

/// policies.md §4 rule 53: where the retry cannot see the deadline coming, because the two tell
/// time by different clocks, the deadline fires during the wait.
#[test]
fn a_deadline_on_another_clock_fires_during_the_wait() {
    let (clock, other) = (ManualClock::new(), ManualClock::new());
    let service = Service::new(&clock, [fails("down")]);
    let total = timeout(&other, "total", 100 * MS);
    let budget = RetryBudget::builder().ratio(0.0).clock(&clock).build().unwrap();
    let inner = retry(&clock).budget(budget.clone()).build().unwrap();
    let call = || async { inner.call(|| service.answer()).await };
    let mut task = Task::new(total.call(call));
    assert!(task.poll().is_pending());
    other.advance(100 * MS);
    assert!(task.is_woken());
    let Poll::Ready(answer) = task.poll() else { panic!("the deadline did not fire") };
    assert!(matches!(answer, Err(surefoot::Error::Timeout { dispatched: true, .. })));
    assert_eq!((service.calls(), clock.waiting(), other.waiting()), (1, 0, 0));
    assert_eq!(budget.balance(), 10, "the token of the attempt that was not made is back");
}

/// policies.md §3, time-out races: the last error is inside whoever wins the race.
#[test]
fn a_deadline_that_fires_during_the_wait_carries_the_last_error() {
    let (clock, other) = (ManualClock::new(), ManualClock::new());
    let service = Service::new(&clock, [fails("down")]);
    let pipeline = Pipeline::builder("api")
        .idempotent()
        .add(timeout(&other, "total", 100 * MS))
        .add(retry(&clock).build().unwrap())
        .build()
        .unwrap();
    let mut task = Task::new(pipeline.call(|| service.answer()));
    assert!(task.poll().is_pending());
    other.advance(100 * MS);
    let Poll::Ready(Err(error)) = task.poll() else { panic!("the deadline did not fire") };
    assert!(matches!(error, Error::Timeout { .. }));
    assert_eq!(error.operation(), Some(&"down"));
}

/// policies.md §4 rule 54.
#[test]
fn a_timeout_does_not_interrupt_what_comes_after_the_call() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [fails("down")]);
    let limit = timeout(&clock, "limit", 100 * MS);
    let answer = run(&clock, async {
        match limit.call(|| service.answer()).await {
            Err(Error::Operation("down")) => {
                assert_eq!(told_here(), (1, None));
                clock.sleep_until(Timestamp::ZERO + SEC).await; // a slow fallback
                Ok(304)
            }
            answer => answer,
        }
    });
    assert_eq!(answer, Ok(304));
    assert_eq!(clock.now_ms(), 1000);
}

/// policies.md §4 rule 79.
#[test]
fn a_silent_server_takes_the_total_time_once_not_once_per_attempt() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [hangs()]);
    let breaker = breaker(&clock).build().unwrap();
    let pipeline = Pipeline::builder("api")
        .allow(OrderRule::TimeoutNeverFires)
        .idempotent()
        .add(timeout(&clock, "total", 30 * SEC))
        .add(retry(&clock).max_attempts(3).build().unwrap())
        .add(breaker.clone())
        .add(timeout(&clock, "attempt", 30 * SEC))
        .build()
        .unwrap();
    let answer = run(&clock, pipeline.call(|| service.answer()));
    assert!(
        matches!(
            &answer,
            Err(Error::Timeout { policy, limit, dispatched: true, .. })
                if *policy == "total" && *limit == 30 * SEC
        ),
        "{answer:?}"
    );
    assert_eq!((service.calls(), clock.now_ms()), (1, 30_000));
    let totals = breaker.status().totals;
    assert_eq!((totals.failures, totals.cancelled), (1, 0));
}

/// DESIGN §3: a failure seen after the deadline is `Timeout` with the last error inside.
#[test]
fn a_failure_seen_after_the_deadline_is_a_timeout_with_the_failure_inside() {
    for host in Host::BOTH {
        for late in [SEC, SEC + MS] {
            let clock = ManualClock::new();
            // The async one is ready together with the deadline's timer, or behind it.
            let service = Service::new(&clock, [fails("late").after(late)]);
            let limit = timeout(&clock, "limit", SEC);
            let answer = match host {
                Host::Async => {
                    let mut task = Task::new(limit.call(|| service.answer()));
                    assert!(task.poll().is_pending());
                    clock.advance(late);
                    let Poll::Ready(answer) = task.poll() else { panic!("still running") };
                    answer
                }
                Host::Blocking => call!(host, clock, limit, service),
            };
            let last = Some(Error::Operation("late"));
            assert_eq!(answer, Err(timed_out("limit", SEC, last)), "{host:?}, {late:?}");
        }
    }
}

/// DESIGN §3: a success that got through is returned.
#[test]
fn a_success_that_got_through_after_the_deadline_is_returned() {
    for host in Host::BOTH {
        for late in [SEC, SEC + MS] {
            let clock = ManualClock::new();
            let service = Service::new(&clock, [gives(200).after(late)]);
            let breaker = breaker(&clock).failure_threshold(1).build().unwrap();
            let pipeline = Pipeline::builder("api")
                .add(breaker.clone())
                .add(timeout(&clock, "limit", SEC))
                .build()
                .unwrap();
            let answer = match host {
                Host::Async => {
                    let mut task = Task::new(pipeline.call(|| service.answer()));
                    assert!(task.poll().is_pending());
                    clock.advance(late);
                    let Poll::Ready(answer) = task.poll() else { panic!("still running") };
                    answer
                }
                Host::Blocking => call!(host, clock, pipeline, service),
            };
            assert_eq!(answer, Ok(200), "{host:?}, {late:?}");
            assert_eq!(breaker.status().success_count, 1, "{host:?}, {late:?}");
        }
    }
}

#[test]
fn a_call_that_hangs_ends_exactly_at_the_limit() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [hangs()]);
    let limit = timeout(&clock, "limit", SEC);
    let mut task = Task::new(limit.call(|| service.answer()));
    assert!(task.poll().is_pending());
    clock.advance(Duration::from_nanos(999_999_999));
    assert!(!task.is_woken());
    assert!(task.poll().is_pending());
    clock.advance(Duration::from_nanos(1));
    assert!(task.is_woken());
    assert_eq!(task.poll(), Poll::Ready(Err(timed_out("limit", SEC, None))));
}

/// policies.md §3, deadline × retries: the inner deadline never outlives the outer, and whichever
/// passed reports.
#[test]
fn the_earlier_of_two_nested_deadlines_ends_the_call_and_reports() {
    for (outer, inner) in [(5, 60), (60, 5), (5, 5)] {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [hangs()]);
        let outer_pipeline =
            Pipeline::builder("outer").add(timeout(&clock, "outer", outer * SEC)).build().unwrap();
        let breaker = breaker(&clock).build().unwrap();
        let inner_pipeline = Pipeline::builder("inner")
            .add(breaker.clone())
            .add(timeout(&clock, "inner", inner * SEC))
            .build()
            .unwrap();
        let seen = Mutex::new(None);
        let answer = run(
            &clock,
            outer_pipeline.call(|| async {
                let answer = inner_pipeline
                    .call(|| async {
                        *seen.lock().unwrap() = told_here().1;
                        service.answer().await
                    })
                    .await;
                Ok::<_, &str>(answer)
            }),
        );
        let earlier = outer.min(inner);
        assert_eq!(clock.now_ms(), u128::from(earlier) * 1000, "{outer} around {inner}");
        assert_eq!(*seen.lock().unwrap(), Some(earlier * SEC), "{outer} around {inner}");
        match answer {
            Err(error) => assert!(outer < inner, "{outer} around {inner}: {error:?}"),
            Ok(answer) => {
                assert!(inner <= outer, "{outer} around {inner}");
                assert_eq!(answer, Err(timed_out("inner", inner * SEC, None)));
            }
        }
        let totals = breaker.status().totals;
        assert_eq!((totals.failures, totals.cancelled), (1, 0), "{outer} around {inner}");
    }
}

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

/// A policy of a user's own: waits for its turn before it starts anything.
struct Queue {
    clock: ManualClock,
    wait: Duration,
}

impl Policy for Queue {
    async fn run<O: Operation>(
        &self,
        operation: &O,
    ) -> Result<O::Value, surefoot::Error<O::Error>> {
        self.clock.sleep_until(surefoot::Clock::now(&self.clock) + self.wait).await;
        operation.attempt().await
    }

    fn parts(&self, parts: &mut Vec<Part>) {
        parts.push(Part::new(PartKind::Other, "queue".into()));
    }
}

impl BlockingPolicy for Queue {
    fn run_blocking<O: BlockingOperation>(
        &self,
        operation: &O,
    ) -> Result<O::Value, surefoot::Error<O::Error>> {
        self.clock.advance(self.wait);
        operation.attempt_blocking()
    }
}

/// DESIGN §3: `dispatched: false` when the time ran out in a queue.
#[test]
fn a_deadline_that_passes_before_the_operation_starts_says_so_and_blames_nobody() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [gives(200)]);
    let breaker = breaker(&clock).failure_threshold(1).build().unwrap();
    let pipeline = Pipeline::builder("api")
        .add(breaker.clone())
        .add(timeout(&clock, "limit", SEC))
        .add(Queue { clock: clock.clone(), wait: 2 * SEC })
        .build()
        .unwrap();
    let answer = run(&clock, pipeline.call(|| service.answer()));
    let Err(error) = answer else { panic!("{answer:?}") };
    assert!(matches!(error, Error::Timeout { dispatched: false, last: None, .. }));
    assert!(error.is_undispatched());
    let totals = breaker.status().totals;
    assert_eq!((totals.ignored, totals.failures), (1, 0));
    assert_eq!((service.calls(), clock.waiting()), (0, 0));
}

/// The same where an inner limit finds the time already over.
#[test]
fn no_operation_is_started_after_the_deadline() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let pipeline = Pipeline::builder("api")
            .add(timeout(&clock, "total", 3 * SEC))
            .add(Queue { clock: clock.clone(), wait: 3 * SEC })
            .add(timeout(&clock, "attempt", 2 * SEC))
            .build()
            .unwrap();
        let answer = call!(host, clock, pipeline, service);
        let Err(error) = answer else { panic!("{host:?}: {answer:?}") };
        assert!(
            matches!(&error, Error::Timeout { policy, dispatched: false, .. } if *policy == "total"),
            "{host:?}: {error:?}"
        );
        assert_eq!(service.calls(), 0, "{host:?}");
    }
}

/// The deadline is fixed on entry: what queues and waits use up is gone.
#[test]
fn every_wait_inside_uses_up_the_total() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [hangs()]);
    let pipeline = Pipeline::builder("api")
        .add(timeout(&clock, "total", 10 * SEC))
        .add(Queue { clock: clock.clone(), wait: 7 * SEC })
        .add(timeout(&clock, "attempt", 5 * SEC))
        .build()
        .unwrap();
    let answer = run(&clock, pipeline.call(|| service.answer()));
    assert_eq!(answer, Err(timed_out("total", 10 * SEC, None)));
    assert_eq!(clock.now_ms(), 10_000);
}

/// DESIGN §4 Retry: no attempt is started with less than `min_attempt_time` left.
#[test]
fn no_attempt_starts_with_less_time_than_it_needs() {
    for host in Host::BOTH {
        for (least, calls) in [(2 * SEC, 3), (2001 * MS, 2)] {
            let clock = ManualClock::new();
            let service = Service::new(&clock, [fails("down")]);
            let pipeline = Pipeline::builder("api")
                .idempotent()
                .add(timeout(&clock, "total", 4 * SEC))
                .add(retry(&clock).min_attempt_time(least).build().unwrap())
                .build()
                .unwrap();
            assert!(call!(host, clock, pipeline, service).is_err());
            assert_eq!(service.calls(), calls, "{host:?}, {least:?}");
        }
    }
}

type Flight<'a> = Pin<Box<dyn Future<Output = Result<u16, Error>> + Send + 'a>>;

/// A future that began under one deadline and goes on outside it (a shared flight, whose first
/// waiter left) still has its own limit.
#[test]
fn a_call_carried_out_of_the_deadline_it_began_under_keeps_its_own_limit() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [hangs()]);
    let outer = timeout(&clock, "outer", 5 * SEC);
    let inner = timeout(&clock, "inner", 60 * SEC);
    let flight: Mutex<Flight> = Mutex::new(Box::pin(inner.call(|| service.answer())));
    let first = outer.call(|| {
        std::future::poll_fn(|cx| flight.lock().unwrap().as_mut().poll(cx).map(Ok::<_, &str>))
    });
    assert!(run(&clock, first).is_err(), "the first waiter's time is up");
    let mut second = Task::new(flight.into_inner().unwrap());
    assert!(second.poll().is_pending());
    clock.advance(60 * SEC);
    assert_eq!(second.poll(), Poll::Ready(Err(timed_out("inner", 60 * SEC, None))));
}

/// policies.md §4 rules 55 and 53, for listeners: no event tells of a retry that a deadline ended.
#[test]
fn a_retry_that_has_no_time_left_says_why_it_stopped() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [fails("down")]);
    let inner = retry(&clock).build().unwrap();
    let log = Log::of(inner.events());
    let pipeline = Pipeline::builder("api")
        .idempotent()
        .add(timeout(&clock, "total", 1500 * MS))
        .add(inner)
        .build()
        .unwrap();
    assert!(run(&clock, pipeline.call(|| service.answer())).is_err());
    let stop = |event: &Event| matches!(event, Event::RetryStopped { stop: StopReason::Time, .. });
    assert_eq!(log.count(stop), 1);
    assert_eq!(service.calls(), 2);
}
