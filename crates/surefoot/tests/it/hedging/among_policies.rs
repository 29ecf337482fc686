//! Hedges inside and around breakers, time limits and retries.

use std::sync::Mutex;

use surefoot::{Attempt, CircuitState, ManualClock, Pipeline};

use super::hedge;
use crate::support::*;

#[test]
fn a_breaker_inside_sees_each_attempt_and_losers_count_as_nothing() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).failure_threshold(1).build().unwrap();
    let service = Service::new(&clock, [hangs(), gives(200).after(MS)]);
    let pipeline = Pipeline::builder("api")
        .idempotent()
        .add(hedge(&clock).build().unwrap())
        .add(breaker.clone())
        .add(timeout(&clock, "attempt", SEC))
        .build()
        .unwrap();
    assert_eq!(run(&clock, pipeline.call(|| service.answer())), Ok(200));
    assert_eq!(verdicts(&breaker), (1, 0, 1));
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[test]
fn a_breaker_outside_sees_one_call() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let steps = [hangs(), gives(200), fails("down"), fails("down").after(MS)];
    let service = Service::new(&clock, steps);
    let pipeline = Pipeline::builder("api")
        .idempotent()
        .add(breaker.clone())
        .add(hedge(&clock).build().unwrap())
        .add(timeout(&clock, "attempt", SEC))
        .build()
        .unwrap();
    assert_eq!(run(&clock, pipeline.call(|| service.answer())), Ok(200));
    assert_eq!(verdicts(&breaker), (1, 0, 0));
    let down = run(&clock, pipeline.call(|| service.answer()));
    assert_eq!(down, Err(Error::Operation("down")));
    assert_eq!(verdicts(&breaker), (1, 1, 0));
    assert_eq!(service.calls(), 4);
}

/// policies.md §5 trap 6: each attempt is a trial call of its own.
#[test]
fn a_half_open_breaker_inside_admits_no_more_attempts_than_it_has_places() {
    let clock = ManualClock::new();
    let breaker = about_to_try(&clock, breaker(&clock).half_open_max_calls(2));
    let service = Service::new(&clock, [gives(200).after(50 * MS), hangs()]);
    let pipeline = Pipeline::builder("api")
        .idempotent()
        .add(hedge(&clock).max_hedges(3).build().unwrap())
        .add(breaker.clone())
        .add(timeout(&clock, "attempt", SEC))
        .build()
        .unwrap();
    assert_eq!(run(&clock, pipeline.call(|| service.answer())), Ok(200));
    assert_eq!((service.calls(), breaker.status().totals.rejected), (2, 1), "and asked only once");
    assert_eq!((breaker.state(), breaker.status().success_count), (CircuitState::HalfOpen, 1));
    let place = breaker.admit().unwrap();
    assert!(breaker.admit().is_ok(), "the loser gave its place back");
    place.cancel();
}

#[test]
fn a_call_whose_every_attempt_is_refused_was_refused() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    breaker.force_open();
    let service = Service::new(&clock, [gives(200)]);
    let pipeline = Pipeline::builder("api")
        .idempotent()
        .add(hedge(&clock).max_hedges(3).build().unwrap())
        .add(breaker.clone())
        .add(timeout(&clock, "attempt", SEC))
        .build()
        .unwrap();
    let answer = run(&clock, pipeline.call(|| service.answer()));
    assert!(matches!(answer, Err(Error::Rejected(_))), "{answer:?}");
    assert_eq!((service.calls(), breaker.status().totals.rejected, clock.now_ms()), (0, 1, 0));
}

/// policies.md §4 rule 64.
#[test]
fn each_attempt_has_a_time_limit_of_its_own() {
    let clock = ManualClock::new();
    let told = Mutex::new(Vec::new());
    let pipeline = Pipeline::builder("api")
        .idempotent()
        .add(hedge(&clock).max_hedges(2).build().unwrap())
        .add(timeout(&clock, "attempt", 25 * MS))
        .build()
        .unwrap();
    let answer = run(
        &clock,
        pipeline.call(|| {
            told.lock().unwrap().push((clock.now_ms(), Attempt::current().remaining()));
            std::future::pending::<Result<u16, &str>>()
        }),
    );
    assert_eq!(answer, Err(timed_out("attempt", 25 * MS, None)));
    let whole = Some(25 * MS);
    assert_eq!(told.into_inner().unwrap(), [(0, whole), (10, whole), (20, whole)]);
    assert_eq!(clock.now_ms(), 45, "the last attempt's limit");
}

/// policies.md §4 rule 72.
#[test]
fn a_timeout_around_drops_every_attempt_as_a_failure() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let service = Service::new(&clock, [hangs()]);
    let pipeline = Pipeline::builder("api")
        .idempotent()
        .add(timeout(&clock, "total", 15 * MS))
        .add(hedge(&clock).build().unwrap())
        .add(breaker.clone())
        .add(timeout(&clock, "attempt", 14 * MS))
        .build();
    // The attempt that began with the call is ended by its own limit, the other by the whole one.
    let answer = run(&clock, pipeline.unwrap().call(|| service.answer()));
    let attempt = timed_out("attempt", 14 * MS, None);
    assert_eq!(answer, Err(timed_out("total", 15 * MS, Some(attempt))));
    assert_eq!((service.calls(), service.running(), clock.waiting()), (2, 0, 0));
    assert_eq!(verdicts(&breaker), (0, 2, 0));
}

#[test]
fn a_timeout_around_carries_the_last_failure() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [fails("down").after(5 * MS), hangs()]);
    let pipeline = Pipeline::builder("api")
        .idempotent()
        .add(timeout(&clock, "total", SEC))
        .add(hedge(&clock).build().unwrap())
        .build()
        .unwrap();
    let answer = run(&clock, pipeline.call(|| service.answer()));
    let down = Error::Operation("down");
    assert_eq!(answer, Err(timed_out("total", SEC, Some(down))));
    assert_eq!((clock.now_ms(), service.calls(), service.running()), (1_000, 2, 0));
}

#[test]
fn no_attempt_begins_when_the_time_is_up() {
    for first in [hangs(), fails("down").after(10 * MS)] {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [first, gives(200)]);
        let pipeline = Pipeline::builder("api")
            .idempotent()
            .add(timeout(&clock, "total", 10 * MS))
            .add(hedge(&clock).build().unwrap())
            .build()
            .unwrap();
        let answer = run(&clock, pipeline.call(|| service.answer()));
        assert!(matches!(answer, Err(Error::Timeout { .. })), "{answer:?}");
        assert_eq!((service.calls(), service.running()), (1, 0), "{first:?}");
    }
}

/// policies.md §5: retry(2) over hedge(1) makes four calls.
#[test]
fn a_hedge_inside_a_retry_races_each_attempt() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [fails("down").after(MS)]);
    let numbers = Mutex::new(Vec::new());
    let pipeline = Pipeline::builder("api")
        .idempotent()
        .add(retry(&clock).max_attempts(2).build().unwrap())
        .add(hedge(&clock).build().unwrap())
        .build()
        .unwrap();
    let answer = run(
        &clock,
        pipeline.call(|| {
            numbers.lock().unwrap().push(Attempt::current().number());
            service.answer()
        }),
    );
    assert!(matches!(answer, Err(Error::Exhausted { attempts: 2, .. })), "{answer:?}");
    assert_eq!(service.started(), [ZERO, MS, SEC + 2 * MS, SEC + 3 * MS]);
    assert_eq!(numbers.into_inner().unwrap(), [1, 1, 2, 2], "a hedge is not another try");
}

#[test]
fn a_hedge_repeats_calls_and_so_has_to_be_allowed_to() {
    let clock = ManualClock::new();
    let builder = Pipeline::builder("api").add(hedge(&clock).build().unwrap());
    let error = builder.build().unwrap_err();
    assert_eq!(error.field(), "idempotent");
    assert!(error.to_string().contains("hedge `hedge` repeats an operation"), "{error}");
}

#[test]
fn a_retry_inside_a_hedge_does_not_build() {
    let clock = ManualClock::new();
    let error = Pipeline::builder("api")
        .idempotent()
        .add(hedge(&clock).build().unwrap())
        .add(retry(&clock).build().unwrap())
        .build()
        .unwrap_err();
    assert_eq!(error.field(), "order");
    assert!(error.to_string().contains("retry `retry` is inside hedge `hedge`"), "{error}");
}
