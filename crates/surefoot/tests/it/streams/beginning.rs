//! Before the first item, and whether the call is tried again.

use std::sync::{Arc, Mutex};

use surefoot::{ManualClock, Pipeline, StopReason};

use super::by_status;
use crate::support::*;

/// policies.md §4 rule 78.
#[test]
fn an_answer_without_any_item_is_a_failure() {
    for until in [false, true] {
        let clock = ManualClock::new();
        let breaker = breaker(&clock).build().unwrap();
        let service = StreamService::new(&clock, [streams([])]);
        let opening = breaker.streaming().until(|_: &u16| until).call(|| service.open());
        assert_eq!(run(&clock, opening).err(), Some(interrupted(0, None)));
        assert_eq!(verdicts(&breaker), (0, 1, 0));
        assert_eq!(service.alive(), 0);
    }
}

/// policies.md §4 rules 76 and 78.
#[test]
fn whatever_goes_wrong_before_the_first_item_is_tried_again() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let service = StreamService::new(
        &clock,
        [
            refuses(fails("connect")),
            streams([fails("overloaded").after(MS), gives(9)]),
            streams([]),
            streams([hangs()]),
            streams([gives(1), gives(2)]),
        ],
    );
    let pipeline = Pipeline::builder("model")
        .idempotent()
        .add(retry(&clock).build().unwrap())
        .add(breaker.clone())
        .add(timeout(&clock, "attempt", SEC))
        .build()
        .unwrap();
    let mut answer = run(&clock, pipeline.call_stream(|| service.open())).unwrap();
    let began = [0, 1000, 2001, 3001, 5001].map(|at| at * MS);
    assert_eq!(service.started(), began, "each after a wait of a second");
    assert_eq!(service.alive(), 1);
    assert_eq!(rest(&clock, &mut answer), [Ok(1), Ok(2)]);
    assert_eq!(verdicts(&breaker), (1, 4, 0));
}

/// policies.md §4 rule 78.
#[test]
fn a_retry_that_gives_up_on_empty_answers_says_so() {
    let clock = ManualClock::new();
    let service = StreamService::new(&clock, [streams([])]);
    let retry = retry(&clock).max_attempts(3).build().unwrap();
    let error = run(&clock, retry.call_stream(|| service.open())).unwrap_err();
    let Error::Exhausted { last, stop, attempts, .. } = &error else { panic!("{error:?}") };
    assert_eq!((&**last, stop, *attempts), (&interrupted(0, None), &StopReason::Attempts, 3));
    assert_eq!(
        error.to_string(),
        "gave up after 3 attempts in 2s (max_attempts reached): the answer ended after 0 items, \
         incomplete"
    );
}

/// policies.md §4 rule 49: what a retry discards is closed before it waits.
#[test]
fn a_first_item_that_failed_is_discarded_with_its_stream_and_counted() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let alive_at = Arc::new(Mutex::new(Vec::new()));
    let (saw, now) = (alive_at.clone(), clock.clone());
    let service =
        StreamService::new(&clock, [streams([gives(503), gives(9)]), streams([gives(1)])])
            .on_drop(move || saw.lock().unwrap().push(now.now_ms()));
    let pipeline = Pipeline::builder("model")
        .idempotent()
        .add(retry(&clock).build().unwrap())
        .add(breaker.clone())
        .add(timeout(&clock, "attempt", SEC))
        .classify(by_status)
        .build()
        .unwrap();
    let mut answer = run(&clock, pipeline.call_stream(|| service.open())).unwrap();
    assert_eq!((service.calls(), clock.now_ms()), (2, 1_000));
    assert_eq!(*alive_at.lock().unwrap(), [0], "the first was let go before the wait");
    assert_eq!(verdicts(&breaker), (0, 1, 0));
    assert_eq!(rest(&clock, &mut answer), [Ok(1)]);
    assert_eq!(verdicts(&breaker), (1, 1, 0));
}

#[test]
fn a_first_item_that_failed_for_the_last_time_is_the_answer_there_is() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let service = StreamService::new(&clock, [streams([gives(503), gives(9)])]);
    let pipeline = Pipeline::builder("model")
        .idempotent()
        .add(retry(&clock).max_attempts(2).build().unwrap())
        .add(breaker.clone())
        .add(timeout(&clock, "attempt", SEC))
        .classify(by_status)
        .build()
        .unwrap();
    let mut answer = run(&clock, pipeline.call_stream(|| service.open())).unwrap();
    assert_eq!(rest(&clock, &mut answer), [Ok(503), Ok(9)]);
    assert_eq!((service.calls(), verdicts(&breaker)), (2, (0, 2, 0)));
}
