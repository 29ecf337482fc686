//! Attempts that race each other: when they begin, which one wins, and what becomes of the rest.

mod among_policies;
mod budget;
mod races;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use surefoot::hedge::HedgeBuilder;
use surefoot::{
    Classification, Clock, Event, Hedge, ManualClock, Pipeline, RetryBudget, Timer, Timestamp,
};

use crate::support::*;

/// Another attempt after 10 ms.
fn hedge(clock: &ManualClock) -> HedgeBuilder {
    Hedge::builder().delay(10 * MS).clock(clock)
}

// ---- when attempts begin -----------------------------------------------------------------------

/// policies.md §4 rule 57.
#[test]
fn an_answer_in_time_is_not_hedged() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [gives(200).after(10 * MS)]);
    let hedge = hedge(&clock).delay(50 * MS).build().unwrap();
    assert_eq!(run(&clock, hedge.call(|| service.answer())), Ok(200));
    assert_eq!((service.calls(), hedge.hedges(), clock.waiting()), (1, 0, 0));
}

/// policies.md §4 rule 58.
#[test]
fn each_delay_without_an_answer_begins_another_attempt_up_to_the_limit() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [gives(200).after(100 * MS)]);
    let hedge = hedge(&clock).max_hedges(2).build().unwrap();
    let log = Log::of(hedge.events());
    assert_eq!(run(&clock, hedge.call(|| service.answer())), Ok(200));
    assert_eq!(service.started(), [ZERO, 10 * MS, 20 * MS]);
    assert_eq!(clock.now_ms(), 100, "the first one was the first to answer");
    assert_eq!((service.answered(), service.running()), (1, 0));
    assert_eq!(hedge.hedges(), 2);
    let begins = |attempt, ms| Event::Hedged {
        policy: "hedge".into(),
        at: Timestamp::ZERO + ms * MS,
        attempt,
    };
    assert_eq!(log.events(), [begins(2, 10), begins(3, 20)]);
}

/// policies.md §4 rule 58: the losers are gone before the answer is there.
#[test]
fn the_first_success_wins_and_the_others_are_dropped_before_it_is_returned() {
    let clock = ManualClock::new();
    let steps = [gives(1).after(100 * MS), gives(2).after(5 * MS), gives(3).after(MS)];
    let service = Service::new(&clock, steps);
    let hedge = hedge(&clock).max_hedges(2).build().unwrap();
    let mut task = Task::new(hedge.call(|| service.answer()));
    while task.poll().is_pending() {
        task.wait(&clock);
    }
    assert_eq!((clock.now_ms(), service.calls(), service.answered()), (15, 2, 1));
    assert_eq!((service.running(), clock.waiting()), (0, 0), "the task itself is still there");
}

/// policies.md §4 rule 59.
#[test]
fn with_no_delay_all_attempts_begin_at_once() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [gives(1).after(30 * MS), gives(2).after(20 * MS), hangs()]);
    let hedge = hedge(&clock).delay(ZERO).max_hedges(3).build().unwrap();
    let mut task = Task::new(hedge.call(|| service.answer()));
    assert!(task.poll().is_pending());
    assert_eq!(service.started(), [ZERO; 4], "with the first poll");
    assert_eq!(clock.waiting(), 2, "only attempts wait");
    assert_eq!(run(&clock, async { task.wait(&clock) }), ());
    assert_eq!(task.poll(), std::task::Poll::Ready(Ok(2)));
}

/// policies.md §4 rule 59: with a delay nobody waits for, it is a fallback on the same callee.
#[test]
fn a_failure_begins_the_next_attempt_without_waiting_for_the_delay() {
    let clock = ManualClock::new();
    let steps = [fails("down").after(MS), fails("down"), gives(200).after(MS)];
    let service = Service::new(&clock, steps);
    let hedge = hedge(&clock).delay(3600 * SEC).max_hedges(5).build().unwrap();
    assert_eq!(run(&clock, hedge.call(|| service.answer())), Ok(200));
    assert_eq!(service.started(), [ZERO, MS, MS]);
}

#[test]
fn a_failure_restarts_the_delay() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [fails("down").after(7 * MS), hangs(), gives(200)]);
    let hedge = hedge(&clock).max_hedges(2).build().unwrap();
    assert_eq!(run(&clock, hedge.call(|| service.answer())), Ok(200));
    assert_eq!(service.started(), [ZERO, 7 * MS, 17 * MS]);
}

/// A clock that must not be asked.
#[derive(Debug)]
struct NoClock;

impl Clock for NoClock {
    fn now(&self) -> Timestamp {
        panic!("the time was asked for")
    }
}

impl Timer for NoClock {
    fn sleep_until(&self, _: Timestamp) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        panic!("a timer was set")
    }
}

#[test]
fn a_first_attempt_that_answers_at_once_needs_no_clock_and_no_timer() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [gives(200)]);
    let budget = RetryBudget::on_clock(&clock);
    let hedge = hedge(&clock).clock(Arc::new(NoClock)).budget(budget).build().unwrap();
    assert_eq!(run(&clock, hedge.call(|| service.answer())), Ok(200));
}

/// policies.md §4 rule 62.
#[test]
fn nothing_is_hedged_before_the_warm_up_is_over() {
    let clock = ManualClock::new();
    let mut steps = vec![gives(200).after(16 * MS); 19];
    steps.extend([gives(200).after(1600 * MS), gives(200).after(1600 * MS), gives(404)]);
    let service = Service::new(&clock, steps);
    let hedge = Hedge::builder().percentile(0.95).clock(&clock).build().unwrap();
    for call in 0..20 {
        assert_eq!(hedge.delay(clock.now()), None, "before call {call}");
        assert_eq!(run(&clock, hedge.call(|| service.answer())), Ok(200));
    }
    assert_eq!((service.calls(), hedge.hedges()), (20, 0));

    let began = clock.now();
    assert_eq!(run(&clock, hedge.call(|| service.answer())), Ok(404));
    let after = clock.now() - began;
    assert!(after >= 16 * MS && after <= 17 * MS, "{after:?}: the 19th of 20, a sixteenth more");
    assert_eq!((service.calls(), hedge.hedges()), (22, 1));
}

/// A callee that refuses fast does not make its answers late.
#[test]
fn only_successes_are_learned_from() {
    let clock = ManualClock::new();
    let mut steps = vec![gives(404); 50];
    steps.extend([gives(200).after(16 * MS), gives(200).after(16 * MS)]);
    let service = Service::new(&clock, steps);
    let hedge = Hedge::builder().percentile(0.5).warm_up(2).clock(&clock).build().unwrap();
    let judged = hedge.clone().classify(by_status);
    for _ in 0..51 {
        assert!(run(&clock, judged.call(|| service.answer())).is_ok());
        assert_eq!(hedge.delay(clock.now()), None);
    }
    assert_eq!(run(&clock, judged.call(|| service.answer())), Ok(200));
    assert!(hedge.delay(clock.now()).is_some_and(|delay| delay >= 16 * MS));
}

/// Counted from the hedge's own start, the slow answers that hedging is there for would never show, and
/// the percentile would sink with every hedge.
#[test]
fn what_is_learned_is_how_long_the_caller_waited() {
    let clock = ManualClock::new();
    let mut steps = vec![gives(200).after(16 * MS); 2];
    steps.extend([hangs(), gives(200).after(16 * MS)]);
    let service = Service::new(&clock, steps);
    let hedge = Hedge::builder().percentile(1.0).warm_up(2).clock(&clock).build().unwrap();
    for _ in 0..3 {
        assert_eq!(run(&clock, hedge.call(|| service.answer())), Ok(200));
    }
    assert_eq!(hedge.hedges(), 1);
    assert!(hedge.delay(clock.now()).is_some_and(|delay| delay >= 32 * MS));
}

// ---- which answer wins -------------------------------------------------------------------------

/// policies.md §4 rule 60.
#[test]
fn with_none_accepted_the_last_answer_is_returned() {
    let clock = ManualClock::new();
    let steps = [fails("the first").after(30 * MS), fails("the second").after(5 * MS)];
    let service = Service::new(&clock, steps);
    let hedge = hedge(&clock).build().unwrap();
    let answer = run(&clock, hedge.call(|| service.answer()));
    assert_eq!(answer, Err(Error::Operation("the first")));
    assert_eq!((clock.now_ms(), service.calls()), (30, 2));
}

#[test]
fn a_failure_that_is_not_the_last_waits_for_the_others() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [gives(200).after(30 * MS), fails("down")]);
    let hedge = hedge(&clock).build().unwrap();
    assert_eq!(run(&clock, hedge.call(|| service.answer())), Ok(200));
    assert_eq!((clock.now_ms(), service.calls()), (30, 2));
}

#[test]
fn of_two_answers_at_one_time_the_earlier_attempts_wins() {
    let clock = ManualClock::new();
    let steps =
        [hangs(), fails("down").after(25 * MS), gives(3).after(20 * MS), gives(4).after(10 * MS)];
    let service = Service::new(&clock, steps);
    let hedge = hedge(&clock).max_hedges(3).build().unwrap();
    assert_eq!(run(&clock, hedge.call(|| service.answer())), Ok(3));
    assert_eq!((clock.now_ms(), service.calls()), (40, 4));
}

#[test]
fn a_failure_begins_no_attempt_if_another_has_the_answer() {
    let clock = ManualClock::new();
    let steps = [fails("down").after(20 * MS), gives(200).after(10 * MS)];
    let service = Service::new(&clock, steps);
    let hedge = hedge(&clock).delay(10 * MS).max_hedges(2).build().unwrap();
    assert_eq!(run(&clock, hedge.call(|| service.answer())), Ok(200));
    assert_eq!((service.calls(), hedge.hedges()), (2, 1));
}

fn by_status(result: Result<&u16, &&'static str>) -> Classification {
    match result {
        Ok(429) => Classification::throttled(Some(20 * SEC)),
        Ok(503) | Err(_) => Classification::TRANSIENT,
        Ok(404) => Classification::PERMANENT,
        Ok(_) => Classification::SUCCESS,
    }
}

#[test]
fn a_value_can_be_a_failure_and_is_hedged() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [gives(503), gives(200).after(MS)]);
    let judged = hedge(&clock).build().unwrap().classify(by_status);
    assert_eq!(run(&clock, judged.call(|| service.answer())), Ok(200));
    assert_eq!(service.started(), [ZERO, ZERO]);
}

#[test]
fn a_value_that_was_not_liked_is_still_the_answer_there_is() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [gives(503)]);
    let judged = hedge(&clock).max_hedges(2).build().unwrap().classify(by_status);
    assert_eq!(run(&clock, judged.call(|| service.answer())), Ok(503));
    assert_eq!(service.calls(), 3);
}

#[test]
fn what_asking_again_cannot_mend_ends_the_race() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [hangs(), gives(404).after(MS)]);
    let judged = hedge(&clock).max_hedges(5).build().unwrap().classify(by_status);
    assert_eq!(run(&clock, judged.call(|| service.answer())), Ok(404));
    assert_eq!((clock.now_ms(), service.calls(), service.running()), (11, 2, 0));
}

#[test]
fn a_callee_that_asks_for_a_pause_gets_no_further_attempt() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [gives(200).after(60 * MS), gives(429).after(MS)]);
    let judged = hedge(&clock).max_hedges(5).build().unwrap().classify(by_status);
    assert_eq!(run(&clock, judged.call(|| service.answer())), Ok(200));
    assert_eq!((clock.now_ms(), service.calls()), (60, 2));
}

// ---- cancellation and panics -------------------------------------------------------------------

#[test]
fn a_hedged_call_dropped_at_any_await_leaves_no_attempt_permit_or_timer_behind() {
    for polls in 0.. {
        let clock = ManualClock::new();
        let breaker = breaker(&clock).failure_threshold(100).build().unwrap();
        let budget = RetryBudget::builder().ratio(0.0).clock(&clock).build().unwrap();
        let steps = [hangs(), fails("busy").after(5 * MS), hangs(), gives(200).after(MS)];
        let service = Service::new(&clock, steps).yielding(1);
        let pipeline = Pipeline::builder("api")
            .idempotent()
            .add(timeout(&clock, "total", 60 * SEC))
            .add(hedge(&clock).max_hedges(3).budget(budget.clone()).build().unwrap())
            .add(breaker.clone())
            .add(timeout(&clock, "attempt", 5 * SEC))
            .build()
            .unwrap();
        let answer = drop_after(&clock, polls, pipeline.call(|| service.answer()));
        assert_eq!((clock.waiting(), service.running()), (0, 0), "after {polls} polls");
        let (totals, calls) = (breaker.status().totals, service.calls() as u64);
        assert_eq!(settled(totals), calls, "after {polls} polls: {totals:?}");
        assert_eq!(budget.balance(), 10 - calls.saturating_sub(1), "after {polls} polls");
        if answer.is_some() {
            assert_eq!(answer, Some(Ok(200)));
            assert_eq!(verdicts(&breaker), (1, 1, 2));
            // The start, a yield of each attempt, two delays, the failure, the answer.
            assert_eq!(polls, 1 + 4 + 2 + 1 + 1, "every await was visited");
            return;
        }
        assert_eq!(totals.failures, service.answered() as u64, "after {polls} polls");
    }
}

/// policies.md §4 rule 12.
#[test]
fn a_panic_in_one_attempt_propagates_and_the_others_count_as_nothing() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let service = Service::new(&clock, [hangs(), panics().after(MS)]);
    let pipeline = Pipeline::builder("api")
        .idempotent()
        .add(hedge(&clock).build().unwrap())
        .add(breaker.clone())
        .add(timeout(&clock, "attempt", SEC))
        .build()
        .unwrap();
    let caught = catch_unwind(AssertUnwindSafe(|| run(&clock, pipeline.call(|| service.answer()))));
    assert_eq!(caught.expect_err("the panic goes on").downcast_ref(), Some(&"boom"));
    assert_eq!(verdicts(&breaker), (0, 1, 1));
    assert_eq!((service.running(), clock.waiting()), (0, 0));
}

/// policies.md §4 rule 63: a listener of ours is passed over instead, and nothing leaks.
#[test]
fn a_listener_that_panics_does_not_disturb_the_race() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [hangs(), gives(200)]);
    let hedge = hedge(&clock).on_event(|_| panic!("listener")).build().unwrap();
    assert_eq!(run(&clock, hedge.call(|| service.answer())), Ok(200));
    assert_eq!((service.calls(), service.running(), clock.waiting()), (2, 0, 0));
}

#[test]
fn the_future_of_a_hedged_call_is_send() {
    fn assert_send<T: Send>(value: T) -> T {
        value
    }
    let clock = ManualClock::new();
    let service = Service::new(&clock, [gives(200)]);
    let hedge = hedge(&clock).build().unwrap();
    assert_eq!(run(&clock, assert_send(hedge.call(|| service.answer()))), Ok(200));
}
