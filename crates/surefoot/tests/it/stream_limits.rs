//! Time limits of a streamed answer: of its first item, of the whole, and of the gaps.

use std::sync::Mutex;
use std::task::Poll;

use futures_lite::stream;
use surefoot::{Attempt, Classification, ManualClock, Pipeline};

use crate::support::*;

#[test]
fn the_innermost_timeout_bounds_only_the_first_item() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let steps = [gives(1).after(999 * MS), gives(2).after(3600 * SEC)];
    let service = StreamService::new(&clock, [streams(steps), streams([hangs()])]);
    let pipeline = Pipeline::builder("model")
        .add(breaker.clone())
        .add(timeout(&clock, "attempt", SEC))
        .build()
        .unwrap();
    let mut answer = run(&clock, pipeline.call_stream(|| service.open())).unwrap();
    assert_eq!(rest(&clock, &mut answer), [Ok(1), Ok(2)]);
    assert_eq!(clock.now_ms(), 3600 * 1000 + 999);

    let opened = run(&clock, pipeline.call_stream(|| service.open()));
    assert_eq!(opened.err(), Some(timed_out("attempt", SEC, None)));
    assert_eq!(clock.now_ms(), 3600 * 1000 + 1999);
    assert_eq!((service.alive(), verdicts(&breaker)), (0, (1, 1, 0)));
}

#[test]
fn a_first_item_that_gets_through_at_the_limit_is_handed_on() {
    let clock = ManualClock::new();
    let service = StreamService::new(&clock, [streams([gives(1).after(SEC), gives(2)])]);
    let attempt = timeout(&clock, "attempt", SEC);
    let mut answer = run(&clock, attempt.call_stream(|| service.open())).unwrap();
    assert_eq!(rest(&clock, &mut answer), [Ok(1), Ok(2)]);
}

#[test]
fn a_timeout_around_another_bounds_the_whole_stream() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let service = StreamService::new(&clock, [streams([gives(1).after(4 * SEC)]).endless()]);
    let pipeline = Pipeline::builder("model")
        .add(timeout(&clock, "total", 10 * SEC))
        .add(breaker.clone())
        .add(timeout(&clock, "attempt", 5 * SEC))
        .build()
        .unwrap();
    let mut answer = run(&clock, pipeline.call_stream(|| service.open())).unwrap();
    let cut = Err(interrupted(2, Some(timed_out("total", 10 * SEC, None))));
    assert_eq!(rest(&clock, &mut answer), [Ok(1), Ok(1), cut]);
    assert_eq!(clock.now_ms(), 10_000);
    assert_eq!((service.alive(), clock.waiting()), (0, 0));
    drop(answer);
    assert_eq!(verdicts(&breaker), (0, 1, 0));
}

#[test]
fn of_several_timeouts_around_another_the_earliest_ends_the_stream() {
    let clock = ManualClock::new();
    let service = StreamService::new(&clock, [streams([gives(1), hangs()])]);
    let pipeline = Pipeline::builder("model")
        .add(timeout(&clock, "outermost", 30 * SEC))
        .add(timeout(&clock, "total", 20 * SEC))
        .add(timeout(&clock, "attempt", SEC))
        .build()
        .unwrap();
    let mut answer = run(&clock, pipeline.call_stream(|| service.open())).unwrap();
    let cut = Err(interrupted(1, Some(timed_out("total", 20 * SEC, None))));
    assert_eq!(rest(&clock, &mut answer), [Ok(1), cut]);
    assert_eq!(clock.now_ms(), 20_000);
}

/// The attempt that is retried has a limit of its own; the time of those before it counts only
/// outside the retry.
#[test]
fn the_whole_includes_the_attempts_that_failed() {
    let clock = ManualClock::new();
    let service = StreamService::new(&clock, [streams([hangs()]), streams([gives(1), hangs()])]);
    let retry = retry(&clock).attempt_timeout(5 * SEC).build().unwrap();
    let pipeline = Pipeline::builder("model")
        .idempotent()
        .add(timeout(&clock, "total", 10 * SEC))
        .add(retry)
        .build()
        .unwrap();
    let mut answer = run(&clock, pipeline.call_stream(|| service.open())).unwrap();
    assert_eq!(clock.now_ms(), 6_000);
    let cut = Err(interrupted(1, Some(timed_out("total", 10 * SEC, None))));
    assert_eq!(rest(&clock, &mut answer), [Ok(1), cut]);
    assert_eq!(clock.now_ms(), 10_000);
}

#[test]
fn a_stream_that_never_lets_us_wait_meets_its_limit_too() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let service = StreamService::new(&clock, [streams([gives(1)]).endless()]);
    let pipeline = Pipeline::builder("model")
        .add(timeout(&clock, "total", 10 * SEC))
        .add(breaker.clone())
        .add(timeout(&clock, "attempt", 5 * SEC))
        .build()
        .unwrap();
    let mut answer = run(&clock, pipeline.call_stream(|| service.open())).unwrap();
    let mut items = 0;
    let error = loop {
        match Task::new(answer.next()).poll() {
            Poll::Ready(Some(Ok(1))) => items += 1,
            Poll::Ready(Some(Err(error))) => break error,
            other => panic!("{other:?}"),
        }
        clock.advance(SEC);
    };
    // At 0 s, 1 s … 10 s: the last one was late, and the next is not waited for.
    assert_eq!(items, 11);
    assert_eq!(error, interrupted(11, Some(timed_out("total", 10 * SEC, None))));
    assert_eq!((service.alive(), verdicts(&breaker)), (0, (0, 1, 0)));
}

/// A success that got through is a success, whoever was late.
#[test]
fn an_end_that_gets_through_after_the_limit_is_a_success() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let service = StreamService::new(&clock, [streams([gives(1), gives(2)])]);
    let pipeline = Pipeline::builder("model")
        .add(timeout(&clock, "total", 10 * SEC))
        .add(breaker.clone())
        .add(timeout(&clock, "attempt", 5 * SEC))
        .build()
        .unwrap();
    let mut answer = run(&clock, pipeline.call_stream(|| service.open())).unwrap();
    assert_eq!(next(&clock, &mut answer), Some(Ok(1)));
    clock.advance(10 * SEC);
    assert_eq!(rest(&clock, &mut answer), [Ok(2)]);
    assert_eq!(verdicts(&breaker), (1, 0, 0));
}

#[test]
fn so_is_a_terminal_item() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let service = StreamService::new(&clock, [streams([gives(1), gives(2), gives(0)])]);
    let pipeline = Pipeline::builder("model")
        .add(timeout(&clock, "total", 10 * SEC))
        .add(breaker.clone())
        .add(timeout(&clock, "attempt", 5 * SEC))
        .build()
        .unwrap();
    let opening = pipeline.streaming().until(|item| *item == 0).call(|| service.open());
    let mut answer = run(&clock, opening).unwrap();
    assert_eq!(next(&clock, &mut answer), Some(Ok(1)));
    clock.advance(10 * SEC);
    assert_eq!(rest(&clock, &mut answer), [Ok(2), Ok(0)]);
    assert_eq!(verdicts(&breaker), (1, 0, 0));
}

/// DESIGN §3: a failure seen after the deadline is a timeout with that failure inside.
#[test]
fn an_error_that_comes_after_the_limit_is_a_timeout_with_it_inside() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let service = StreamService::new(&clock, [streams([gives(1), fails("reset")])]);
    let pipeline = Pipeline::builder("model")
        .add(timeout(&clock, "total", 10 * SEC))
        .add(breaker.clone())
        .add(timeout(&clock, "attempt", 5 * SEC))
        .build()
        .unwrap();
    let mut answer = run(&clock, pipeline.call_stream(|| service.open())).unwrap();
    clock.advance(10 * SEC);
    let late = timed_out("total", 10 * SEC, Some(Error::Operation("reset")));
    assert_eq!(rest(&clock, &mut answer), [Ok(1), Err(interrupted(1, Some(late)))]);
    assert_eq!(verdicts(&breaker), (0, 1, 0));
}

#[test]
fn a_late_error_that_asks_for_a_pause_shuts_the_gate_all_the_same() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let service = StreamService::new(&clock, [streams([gives(1), fails("busy")])]);
    let pipeline = Pipeline::builder("model")
        .add(timeout(&clock, "total", 10 * SEC))
        .add(breaker.clone())
        .add(timeout(&clock, "attempt", 5 * SEC))
        .classify(|result: Result<&u16, &&'static str>| match result {
            Ok(_) => Classification::SUCCESS,
            Err(_) => Classification::throttled(Some(60 * SEC)),
        })
        .build()
        .unwrap();
    let mut answer = run(&clock, pipeline.call_stream(|| service.open())).unwrap();
    clock.advance(10 * SEC);
    assert_eq!(rest(&clock, &mut answer).len(), 2);
    assert_eq!(breaker.admit().unwrap_err().retry_after(), Some(60 * SEC));
    assert_eq!(verdicts(&breaker), (0, 0, 0));
}

/// What a stream itself calls is told how much time it has.
#[test]
fn a_stream_is_told_its_deadline_whenever_it_is_asked_for_an_item() {
    let clock = ManualClock::new();
    let told = Mutex::new(Vec::new());
    let pipeline = Pipeline::builder("model")
        .add(timeout(&clock, "total", 10 * SEC))
        .add(timeout(&clock, "attempt", 5 * SEC))
        .build()
        .unwrap();
    let opening = pipeline.call_stream(|| async {
        Ok::<_, &str>(stream::poll_fn(|_| {
            told.lock().unwrap().push(Attempt::current().remaining());
            Poll::Ready(Some(Ok(1_u16)))
        }))
    });
    let mut answer = run(&clock, opening).unwrap();
    assert_eq!(next(&clock, &mut answer), Some(Ok(1)));
    clock.advance(3 * SEC);
    assert_eq!(next(&clock, &mut answer), Some(Ok(1)));
    assert_eq!(told_here(), (1, None));
    drop(answer);
    let first_item_within = Some(5 * SEC);
    assert_eq!(told.into_inner().unwrap(), [first_item_within, Some(7 * SEC)]);
}

/// A permit inside the stream learns why the stream was dropped.
#[test]
fn a_stream_that_a_limit_ends_is_told_that_it_was_the_limit() {
    let clock = ManualClock::new();
    let connection = breaker(&clock).build().unwrap();
    let total = timeout(&clock, "total", 10 * SEC);
    let pipeline =
        Pipeline::builder("model").add(total).add(timeout(&clock, "attempt", SEC)).build().unwrap();
    let opening = pipeline.call_stream(|| async {
        let permit = connection.admit().unwrap();
        let mut items = [1_u16].into_iter();
        Ok::<_, &str>(stream::poll_fn(move |_| {
            assert!(!permit.is_closed());
            items.next().map_or(Poll::Pending, |item| Poll::Ready(Some(Ok(item))))
        }))
    });
    let mut answer = run(&clock, opening).unwrap();
    assert!(next(&clock, &mut answer).is_some_and(|item| item.is_ok()));
    assert!(next(&clock, &mut answer).is_some_and(|item| item.is_err()));
    assert_eq!(verdicts(&connection), (0, 1, 0));
}

#[test]
fn an_idle_timeout_bounds_each_gap() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let gap = 1_999 * MS;
    let steps = [gives(1).after(60 * SEC), gives(2).after(gap), gives(3).after(gap), hangs()];
    let service = StreamService::new(&clock, [streams(steps)]);
    let idle = timeout(&clock, "idle", 2 * SEC);
    let opening = breaker.streaming().idle_timeout(idle).call(|| service.open());
    let mut answer = run(&clock, opening).unwrap(); // the first item is not a gap
    let cut = Err(interrupted(3, Some(timed_out("idle", 2 * SEC, None))));
    assert_eq!(rest(&clock, &mut answer), [Ok(1), Ok(2), Ok(3), cut]);
    assert_eq!(clock.now_ms(), 60_000 + 2 * 1_999 + 2_000, "exactly the limit after the last item");
    assert_eq!((service.alive(), clock.waiting()), (0, 0));
    assert_eq!(verdicts(&breaker), (0, 1, 0));
}

#[test]
fn a_slow_consumer_does_not_run_into_the_idle_timeout() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let steps = [gives(1), gives(2), gives(3).after(SEC), gives(4)];
    let service = StreamService::new(&clock, [streams(steps)]);
    let idle = timeout(&clock, "idle", 2 * SEC);
    let opening = breaker.streaming().idle_timeout(idle).call(|| service.open());
    let mut answer = run(&clock, opening).unwrap();
    for item in 1..=4 {
        clock.advance(3600 * SEC);
        assert_eq!(next(&clock, &mut answer), Some(Ok(item)));
    }
    clock.advance(3600 * SEC);
    assert_eq!(next(&clock, &mut answer), None);
    assert_eq!(verdicts(&breaker), (1, 0, 0));
}

/// Also one that began to wait, was kept from it, and finds the item there.
#[test]
fn an_item_that_has_come_is_never_idle() {
    let clock = ManualClock::new();
    let service = StreamService::new(&clock, [streams([gives(1), gives(2).after(SEC), hangs()])]);
    let breaker = breaker(&clock).build().unwrap();
    let idle = timeout(&clock, "idle", 2 * SEC);
    let opening = breaker.streaming().idle_timeout(idle).call(|| service.open());
    let mut answer = run(&clock, opening).unwrap();
    assert_eq!(next(&clock, &mut answer), Some(Ok(1)));
    assert!(Task::new(answer.next()).poll().is_pending());
    clock.advance(3600 * SEC);
    assert_eq!(next(&clock, &mut answer), Some(Ok(2)));
    let asked_at = clock.now_ms();
    assert!(next(&clock, &mut answer).is_some_and(|item| item.is_err()));
    assert_eq!(clock.now_ms() - asked_at, 2_000, "the next gap begins when it is waited for");
}

#[test]
fn the_limit_that_comes_first_is_the_one_that_is_told() {
    for (idle_limit, expected, at) in [(3 * SEC, "idle", 4_000), (20 * SEC, "total", 10_000)] {
        let clock = ManualClock::new();
        let service = StreamService::new(&clock, [streams([gives(1).after(SEC), hangs()])]);
        let pipeline = Pipeline::builder("model")
            .add(timeout(&clock, "total", 10 * SEC))
            .add(timeout(&clock, "attempt", 5 * SEC))
            .build()
            .unwrap();
        let idle = timeout(&clock, "idle", idle_limit);
        let opening = pipeline.streaming().idle_timeout(idle).call(|| service.open());
        let mut answer = run(&clock, opening).unwrap();
        assert_eq!(next(&clock, &mut answer), Some(Ok(1)));
        let Some(Err(Error::Interrupted { items: 1, cause: Some(cause) })) =
            next(&clock, &mut answer)
        else {
            panic!("it hangs")
        };
        assert!(matches!(*cause, Error::Timeout { policy, .. } if policy == *expected));
        assert_eq!(clock.now_ms(), at);
    }
}

#[test]
fn a_complete_answer_that_is_kept_wakes_nobody() {
    let clock = ManualClock::new();
    let service = StreamService::new(&clock, [streams([gives(1), gives(2).after(SEC)])]);
    let pipeline = Pipeline::builder("model")
        .add(timeout(&clock, "total", 60 * SEC))
        .add(timeout(&clock, "attempt", 5 * SEC))
        .build()
        .unwrap();
    let idle = timeout(&clock, "idle", 5 * SEC);
    let opening = pipeline.streaming().idle_timeout(idle).call(|| service.open());
    let mut answer = run(&clock, opening).unwrap();
    assert_eq!(rest(&clock, &mut answer), [Ok(1), Ok(2)]);
    assert_eq!(clock.waiting(), 0);
    drop(answer);
}
