//! What hedges draw on a retry budget.

use surefoot::{Event, ManualClock, Pipeline, RetryBudget};

use super::hedge;
use crate::support::*;

/// policies.md §4 rule 61.
#[test]
fn with_an_empty_budget_the_attempts_under_way_go_on() {
    let clock = ManualClock::new();
    let budget = RetryBudget::builder().ratio(0.0).initial(1).clock(&clock).build().unwrap();
    let service = Service::new(&clock, [hangs(), gives(200).after(60 * MS)]);
    let hedge = hedge(&clock).max_hedges(5).budget(budget.clone()).build().unwrap();
    let log = Log::of(hedge.events());
    assert_eq!(run(&clock, hedge.call(|| service.answer())), Ok(200));
    assert_eq!((clock.now_ms(), service.calls(), budget.balance()), (70, 2, 0));
    assert_eq!(hedge.hedges(), 1);
    let refusals = log.count(|event| matches!(event, Event::HedgeRefused { .. }));
    assert_eq!((log.events().len(), refusals), (2, 1), "it is asked no more");
}

#[test]
fn a_failure_that_finds_the_budget_empty_is_the_answer() {
    let clock = ManualClock::new();
    let budget = RetryBudget::builder().ratio(0.0).initial(0).clock(&clock).build().unwrap();
    let service = Service::new(&clock, [fails("down").after(MS)]);
    let hedge = hedge(&clock).budget(budget).build().unwrap();
    let answer = run(&clock, hedge.call(|| service.answer()));
    assert_eq!(answer, Err(Error::Operation("down")));
    assert_eq!((clock.now_ms(), service.calls()), (1, 1));
}

#[test]
fn in_a_pipeline_hedges_and_retries_draw_on_one_budget() {
    let clock = ManualClock::new();
    let budget = RetryBudget::builder().ratio(0.0).initial(3).clock(&clock).build().unwrap();
    let service = Service::new(&clock, [fails("down")]);
    let hedge = hedge(&clock).build().unwrap();
    let pipeline = Pipeline::builder("api")
        .idempotent()
        .add(retry(&clock).budget(budget.clone()).build().unwrap())
        .add(hedge.clone())
        .build()
        .unwrap();
    let answer = run(&clock, pipeline.call(|| service.answer()));
    // Attempt, hedge (1 token), retry (1), hedge (1), and no token for another retry.
    assert_eq!((service.calls(), hedge.hedges(), budget.balance()), (4, 2, 0));
    let Err(Error::Exhausted { stop, attempts: 2, .. }) = answer else { panic!("{answer:?}") };
    assert_eq!(stop, surefoot::StopReason::Budget);
}

#[test]
fn a_call_counts_once_however_many_draw_on_its_budget() {
    let budget = |clock: &ManualClock| {
        RetryBudget::builder().ratio(1.0).initial(0).clock(clock).build().unwrap()
    };
    let clock = ManualClock::new();
    let service = Service::new(&clock, [gives(200)]);

    let shared = budget(&clock);
    let both = Pipeline::builder("api")
        .idempotent()
        .add(retry(&clock).budget(shared.clone()).build().unwrap())
        .add(hedge(&clock).budget(shared.clone()).build().unwrap())
        .build()
        .unwrap();
    let alone = budget(&clock);
    let hedged = Pipeline::builder("api")
        .idempotent()
        .add(hedge(&clock).budget(alone.clone()).build().unwrap())
        .build()
        .unwrap();
    for _ in 0..3 {
        assert_eq!(run(&clock, both.call(|| service.answer())), Ok(200));
        assert_eq!(run(&clock, hedged.call(|| service.answer())), Ok(200));
    }
    assert_eq!((shared.balance(), alone.balance()), (3, 3));
}

#[test]
fn a_hedge_alone_in_a_pipeline_has_a_budget_too() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [fails("down")]);
    let hedge = hedge(&clock).build().unwrap();
    let pipeline = Pipeline::builder("api").idempotent().add(hedge.clone()).build().unwrap();
    for _ in 0..20 {
        assert!(run(&clock, pipeline.call(|| service.answer())).is_err());
    }
    // 10 at the start and a fifth of the calls.
    assert_eq!((service.calls(), hedge.hedges()), (34, 14));
}
