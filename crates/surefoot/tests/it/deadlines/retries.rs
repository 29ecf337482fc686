//! Time limits and attempts: which attempt a limit ends, and which it does not let begin.

use std::sync::Mutex;
use std::task::Poll;
use std::time::Duration;

use surefoot::{Event, ManualClock, OrderRule, Pipeline, RetryBudget, StopReason};

use super::timed_out;
use crate::support::*;

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
