//! Answers that are dropped, by whom and in which moment.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use surefoot::{CircuitState, ManualClock, Pipeline};

use crate::support::*;

/// policies.md §4 rule 77.
#[test]
fn a_consumer_that_stops_after_three_items_has_cancelled() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).failure_threshold(1).build().unwrap();
    let service = StreamService::new(&clock, [streams([gives(1)]).endless()]);
    let mut answer = run(&clock, breaker.call_stream(|| service.open())).unwrap();
    for _ in 0..3 {
        assert_eq!(next(&clock, &mut answer), Some(Ok(1)));
    }
    drop(answer);
    assert_eq!(service.alive(), 0, "the connection is closed");
    assert_eq!(verdicts(&breaker), (0, 0, 1));
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[test]
fn a_consumer_that_takes_nothing_has_cancelled_too() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let service = StreamService::new(&clock, [streams([gives(1)])]);
    drop(run(&clock, breaker.call_stream(|| service.open())).unwrap());
    assert_eq!((service.alive(), verdicts(&breaker)), (0, (0, 0, 1)));
}

/// The connection is closed first, and only then may another call have its place.
#[test]
fn a_dropped_answer_drops_the_stream_before_its_permits() {
    let clock = ManualClock::new();
    let breaker = about_to_try(&clock, breaker(&clock).half_open_max_calls(1));
    let (looked, was_taken) = (breaker.clone(), Arc::new(AtomicBool::new(false)));
    let saw = was_taken.clone();
    let service = StreamService::new(&clock, [streams([gives(1), hangs()])])
        .on_drop(move || saw.store(looked.admit().is_err(), Ordering::SeqCst));
    let answer = run(&clock, breaker.call_stream(|| service.open())).unwrap();
    drop(answer);
    assert!(was_taken.load(Ordering::SeqCst), "the place was taken while the stream was going");
    assert!(breaker.admit().is_ok(), "and is free now");
    assert_eq!(breaker.state(), CircuitState::HalfOpen);
}

/// policies.md §4 rules 22 and 77: opening and reading, dropped wherever they can wait.
#[test]
fn a_stream_dropped_at_any_await_leaves_no_permit_stream_or_timer_behind() {
    for polls in 0.. {
        let clock = ManualClock::new();
        let breaker = breaker(&clock).failure_threshold(100).build().unwrap();
        let service = StreamService::new(
            &clock,
            [
                refuses(fails("connect").after(MS)),
                streams([hangs()]),
                streams([1, 2, 3].map(|item| gives(item).after(MS))),
            ],
        );
        let pipeline = Pipeline::builder("model")
            .idempotent()
            .add(timeout(&clock, "total", 60 * SEC))
            .add(retry(&clock).build().unwrap())
            .add(breaker.clone())
            .add(timeout(&clock, "attempt", 5 * SEC))
            .build()
            .unwrap();
        let read = async {
            let idle = timeout(&clock, "idle", SEC);
            let opening = pipeline.streaming().idle_timeout(idle).call(|| service.open());
            let mut answer = opening.await.unwrap();
            let mut sum = 0;
            while let Some(item) = answer.next().await {
                sum += item.unwrap();
            }
            sum
        };
        let sum = drop_after(&clock, polls, read);
        assert_eq!((clock.waiting(), service.alive()), (0, 0), "dropped after {polls} polls");
        let totals = breaker.status().totals;
        assert_eq!(settled(totals), service.calls() as u64, "{polls} polls: {totals:?}");
        if let Some(sum) = sum {
            assert_eq!((sum, verdicts(&breaker)), (6, (1, 2, 0)));
            // Two waits of the retry, the refusal, the hanging attempt, three items, the answer.
            assert_eq!(polls, 8, "every await was visited");
            return;
        }
        assert!(totals.cancelled <= 1, "{polls} polls: {totals:?}");
    }
}

#[test]
fn dropping_the_wait_for_an_item_loses_none() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let service = StreamService::new(&clock, [streams([gives(1), gives(2).after(SEC)])]);
    let mut answer = run(&clock, breaker.call_stream(|| service.open())).unwrap();
    assert_eq!(next(&clock, &mut answer), Some(Ok(1)));
    assert!(Task::new(answer.next()).poll().is_pending());
    clock.advance(SEC);
    assert_eq!(next(&clock, &mut answer), Some(Ok(2)));
    assert_eq!(next(&clock, &mut answer), None);
    assert_eq!(verdicts(&breaker), (1, 0, 0));
}

/// policies.md §4 rule 83: what our own deadline cuts short is the callee's failure.
#[test]
fn an_answer_dropped_by_our_own_deadline_is_a_failure() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let service = StreamService::new(&clock, [streams([gives(1), hangs()])]);
    let total = timeout(&clock, "total", 10 * SEC);
    let read = total.call(|| async {
        let mut answer = breaker.call_stream(|| service.open()).await.unwrap();
        while let Some(item) = answer.next().await {
            item.unwrap();
        }
        Ok::<_, &str>(())
    });
    assert_eq!(run(&clock, read), Err(timed_out("total", 10 * SEC, None)));
    assert_eq!((service.alive(), verdicts(&breaker)), (0, (0, 1, 0)));
}

/// policies.md §4 rule 12.
#[test]
fn a_panic_in_the_stream_is_one_failure_and_propagates() {
    for script in [
        refuses(panics()),
        streams([panics()]),
        streams([gives(1), panics()]),
        streams([gives(1), panics().after(MS)]),
    ] {
        let clock = ManualClock::new();
        let breaker = breaker(&clock).build().unwrap();
        let service = StreamService::new(&clock, [script]);
        let pipeline = Pipeline::builder("model")
            .idempotent()
            .add(timeout(&clock, "total", 60 * SEC))
            .add(retry(&clock).build().unwrap())
            .add(breaker.clone())
            .add(timeout(&clock, "attempt", 5 * SEC))
            .build()
            .unwrap();
        let read = || {
            let mut answer = run(&clock, pipeline.call_stream(|| service.open())).unwrap();
            rest(&clock, &mut answer)
        };
        let payload = catch_unwind(AssertUnwindSafe(read)).expect_err("the panic goes on");
        assert_eq!(payload.downcast_ref(), Some(&"boom"));
        assert_eq!((verdicts(&breaker), service.calls()), ((0, 1, 0), 1));
        assert_eq!(settled(breaker.status().totals), 1);
        assert_eq!((service.alive(), clock.waiting()), (0, 0));
        assert_eq!(told_here(), (1, None), "scopes ended");
    }
}

/// A panic of somebody else that drops an answer says nothing about its callee.
#[test]
fn an_answer_dropped_by_a_panic_elsewhere_is_cancelled() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).failure_threshold(1).build().unwrap();
    let service = StreamService::new(&clock, [streams([gives(1), hangs()])]);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let mut answer = run(&clock, breaker.call_stream(|| service.open())).unwrap();
        assert_eq!(next(&clock, &mut answer), Some(Ok(1)));
        panic!("a bug of the consumer's");
    }));
    assert!(caught.is_err());
    assert_eq!((service.alive(), verdicts(&breaker)), (0, (0, 0, 1)));
}

#[test]
fn a_panic_in_judging_an_item_leaks_no_place() {
    let clock = ManualClock::new();
    let breaker = about_to_try(&clock, breaker(&clock).half_open_max_calls(1));
    let service = StreamService::new(&clock, [streams([gives(1), gives(2)])]);
    let opening = breaker.streaming().until(|item| *item != 1 && panic!("no idea"));
    let mut answer = run(&clock, opening.call(|| service.open())).unwrap();
    assert_eq!(next(&clock, &mut answer), Some(Ok(1)));
    assert!(catch_unwind(AssertUnwindSafe(move || next(&clock, &mut answer))).is_err());
    assert_eq!(settled(breaker.status().totals), 2, "with the failure that tripped it");
    assert!(breaker.admit().is_ok(), "the place is free");
}
