//! A streamed answer is one call, and its verdict comes with its end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use futures_lite::{StreamExt, stream};
use surefoot::stream::Streamed;
use surefoot::{
    BoxPipeline, CircuitState, Classification, ManualClock, Pipeline, Rejection, StopReason,
};

use crate::support::*;

// ---- one call, one verdict ---------------------------------------------------------------------

#[test]
fn an_answer_that_ends_is_one_success_and_not_before() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let service =
        StreamService::new(&clock, [streams([1, 2, 3].map(|item| gives(item).after(MS)))]);
    let mut answer = run(&clock, breaker.call_stream(|| service.open())).unwrap();
    assert_eq!(clock.now_ms(), 1, "the call waits for the first item");
    for item in 1..=3 {
        assert_eq!(next(&clock, &mut answer), Some(Ok(item)));
        assert_eq!(answer.items(), u64::from(item));
        assert_eq!(settled(breaker.status().totals), 0, "after item {item}");
    }
    assert_eq!(next(&clock, &mut answer), None);
    assert_eq!(verdicts(&breaker), (1, 0, 0));
    assert_eq!(service.alive(), 0, "the stream is let go, although its answer is kept");
    assert_eq!(next(&clock, &mut answer), None);
    drop(answer);
    assert_eq!(settled(breaker.status().totals), 1);
}

#[test]
fn an_answer_with_a_terminal_item_is_a_success_with_that_item() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let service = StreamService::new(&clock, [streams([gives(1), gives(0)])]);
    let opening = breaker.streaming().until(|item| *item == 0).call(|| service.open());
    let mut answer = run(&clock, opening).unwrap();
    assert_eq!(next(&clock, &mut answer), Some(Ok(1)));
    assert_eq!(verdicts(&breaker), (0, 0, 0));
    assert_eq!(next(&clock, &mut answer), Some(Ok(0)));
    assert_eq!(verdicts(&breaker), (1, 0, 0), "the consumer need not ask for more");
    assert_eq!(next(&clock, &mut answer), None);
    drop(answer);
    assert_eq!(settled(breaker.status().totals), 1);
}

#[test]
fn the_first_item_may_be_the_terminal_one() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let service = StreamService::new(&clock, [streams([gives(0), hangs()])]);
    let opening = breaker.streaming().until(|item| *item == 0).call(|| service.open());
    let mut answer = run(&clock, opening).unwrap();
    assert_eq!(rest(&clock, &mut answer), [Ok(0)]);
    assert_eq!(verdicts(&breaker), (1, 0, 0));
}

#[test]
fn after_the_terminal_item_a_hanging_connection_does_not_hang_the_consumer() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let service = StreamService::new(&clock, [streams([gives(1), gives(0), hangs()])]);
    let opening = breaker.streaming().until(|item| *item == 0).call(|| service.open());
    let mut answer = run(&clock, opening).unwrap();
    assert_eq!(rest(&clock, &mut answer), [Ok(1), Ok(0)]);
    assert_eq!((service.alive(), clock.waiting()), (0, 0));
}

/// What a connection does after its answer is complete does not depend on how fast it does it.
#[test]
fn nothing_comes_after_the_terminal_item() {
    for after in [gives(9), gives(9).after(MS), fails("reset"), fails("reset").after(MS), hangs()] {
        let clock = ManualClock::new();
        let breaker = breaker(&clock).build().unwrap();
        let service = StreamService::new(&clock, [streams([gives(1), gives(0), after])]);
        let opening = breaker.streaming().until(|item| *item == 0).call(|| service.open());
        let mut answer = run(&clock, opening).unwrap();
        assert_eq!(rest(&clock, &mut answer), [Ok(1), Ok(0)], "{after:?}");
        assert_eq!(verdicts(&breaker), (1, 0, 0), "{after:?}");
        assert_eq!(answer.items(), 2, "{after:?}");
    }
}

/// A connection that is at its end and has been told so can be used again.
#[test]
fn after_the_terminal_item_the_connection_gets_to_see_its_end() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let saw_its_end = &AtomicBool::new(false);
    let opening = breaker.streaming().until(|item| *item == 0).call(|| async {
        let mut items = [1, 0].into_iter();
        Ok::<_, &str>(stream::poll_fn(move |_| {
            let item = items.next();
            saw_its_end.store(item.is_none(), Ordering::SeqCst);
            Poll::Ready(item.map(Ok))
        }))
    });
    let mut answer = run(&clock, opening).unwrap();
    assert_eq!(next(&clock, &mut answer), Some(Ok(1)));
    assert_eq!(next(&clock, &mut answer), Some(Ok(0)));
    assert_eq!(next(&clock, &mut answer), None);
    drop(answer);
    assert!(saw_its_end.load(Ordering::SeqCst));
}

/// policies.md §4 rule 75.
#[test]
fn an_end_before_the_terminal_item_is_a_failure() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let service = StreamService::new(&clock, [streams([gives(1), gives(2)])]);
    let opening = breaker.streaming().until(|item| *item == 0).call(|| service.open());
    let mut answer = run(&clock, opening).unwrap();
    let broke_off = Err(interrupted(2, None));
    assert_eq!(rest(&clock, &mut answer), [Ok(1), Ok(2), broke_off]);
    assert_eq!(verdicts(&breaker), (0, 1, 0));
}

/// policies.md §4 rule 75.
#[test]
fn an_error_after_the_first_item_is_one_failure_and_not_tried_again() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let steps = [gives(1), gives(2), gives(3), fails("reset").after(MS)];
    let service = StreamService::new(&clock, [streams(steps)]);
    let pipeline = Pipeline::builder("model")
        .idempotent()
        .add(retry(&clock).build().unwrap())
        .add(breaker.clone())
        .add(timeout(&clock, "attempt", SEC))
        .build()
        .unwrap();
    let mut answer = run(&clock, pipeline.call_stream(|| service.open())).unwrap();
    let broke_off = Err(interrupted(3, Some(Error::Operation("reset"))));
    assert_eq!(rest(&clock, &mut answer), [Ok(1), Ok(2), Ok(3), broke_off]);
    assert_eq!(service.calls(), 1);
    drop(answer);
    assert_eq!(verdicts(&breaker), (0, 1, 0));
    assert_eq!((service.alive(), clock.waiting()), (0, 0));
}

#[test]
fn nothing_comes_after_an_error() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let service = StreamService::new(&clock, [streams([gives(1), fails("reset"), gives(2)])]);
    let mut answer = run(&clock, breaker.call_stream(|| service.open())).unwrap();
    let broke_off = Err(interrupted(1, Some(Error::Operation("reset"))));
    assert_eq!(rest(&clock, &mut answer), [Ok(1), broke_off]);
    assert_eq!(next(&clock, &mut answer), None);
    assert_eq!(service.alive(), 0);
}

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

// ---- the consumer ------------------------------------------------------------------------------

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

#[test]
fn an_answer_is_a_stream_like_any_other() {
    let clock = ManualClock::new();
    let service = StreamService::new(&clock, [streams([gives(1), gives(2), gives(3)])]);
    let breaker = breaker(&clock).build().unwrap();
    let items = run(&clock, async {
        let answer = breaker.call_stream(|| service.open()).await?;
        answer.map(|item| item.map(|item| item * 2)).try_collect::<_, _, Vec<_>>().await
    });
    assert_eq!(items, Ok(vec![2, 4, 6]));
}

#[test]
fn an_answer_can_be_sent_away_and_outlive_its_policy() {
    fn sent<T: Send + 'static>(value: T) -> T {
        value
    }
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let service = StreamService::new(&clock, [streams([gives(1), gives(2).after(SEC)])]);
    let pipeline = Pipeline::builder("model")
        .idempotent()
        .add(timeout(&clock, "total", 60 * SEC))
        .add(retry(&clock).build().unwrap())
        .add(breaker.clone())
        .add(timeout(&clock, "attempt", 5 * SEC))
        .classify(|_: Result<&u16, &&'static str>| Classification::SUCCESS)
        .build()
        .unwrap();
    let idle = timeout(&clock, "idle", 2 * SEC);
    let opening = pipeline.streaming().idle_timeout(idle).until(|item| *item == 2);
    let answer = sent(run(&clock, opening.call(|| service.open())).unwrap());
    drop((pipeline, service));
    let items = std::thread::spawn(move || {
        let mut answer = answer;
        rest(&clock, &mut answer)
    });
    assert_eq!(items.join().unwrap(), [Ok(1), Ok(2)]);
    assert_eq!(verdicts(&breaker), (1, 0, 0));
}

// ---- panics ------------------------------------------------------------------------------------

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

// ---- the breaker -------------------------------------------------------------------------------

#[test]
fn a_half_open_breakers_trial_call_is_the_whole_stream() {
    let clock = ManualClock::new();
    let breaker = about_to_try(&clock, breaker(&clock).half_open_max_calls(1).success_threshold(1));
    let service = StreamService::new(&clock, [streams([gives(1), gives(2)])]);
    let mut answer = run(&clock, breaker.call_stream(|| service.open())).unwrap();
    for item in 1..=2 {
        assert_eq!(next(&clock, &mut answer), Some(Ok(item)));
        assert_eq!(breaker.state(), CircuitState::HalfOpen, "after item {item}");
        let other = run(&clock, breaker.call_stream(|| service.open()));
        assert!(matches!(other, Err(Error::Rejected(Rejection::CircuitOpen { .. }))));
    }
    assert_eq!(next(&clock, &mut answer), None);
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[test]
fn a_trial_stream_that_breaks_off_opens_the_circuit_again() {
    let clock = ManualClock::new();
    let breaker = about_to_try(&clock, breaker(&clock).half_open_max_calls(1));
    let service = StreamService::new(&clock, [streams([gives(1), fails("reset")])]);
    let mut answer = run(&clock, breaker.call_stream(|| service.open())).unwrap();
    assert_eq!(rest(&clock, &mut answer).len(), 2);
    assert_eq!(breaker.state(), CircuitState::Open);
}

/// policies.md §4 rule 23.
#[test]
fn a_trial_stream_that_outlasts_its_place_counts_no_more_once_the_place_is_taken() {
    let clock = ManualClock::new();
    let builder = breaker(&clock).half_open_max_calls(1).half_open_timeout(30 * SEC);
    let breaker = about_to_try(&clock, builder);
    let service = StreamService::new(&clock, [streams([gives(1), fails("reset")])]);
    let mut answer = run(&clock, breaker.call_stream(|| service.open())).unwrap();
    assert_eq!(next(&clock, &mut answer), Some(Ok(1)));
    clock.advance(30 * SEC);
    let other = breaker.admit().expect("the place is offered again");
    assert!(next(&clock, &mut answer).is_some_and(|item| item.is_err()));
    assert_eq!(breaker.state(), CircuitState::HalfOpen, "the late failure changes nothing");
    other.success();
    assert_eq!(breaker.status().success_count, 1);
}

/// Judges 429 and 503 as what they mean, and any error as transient.
fn by_status(result: Result<&u16, &&'static str>) -> Classification {
    match result {
        Ok(429) => Classification::throttled(Some(20 * SEC)),
        Ok(503) | Err(_) => Classification::TRANSIENT,
        Ok(404) => Classification::PERMANENT,
        Ok(_) => Classification::SUCCESS,
    }
}

#[test]
fn an_item_that_says_the_callee_failed_is_the_calls_verdict() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).failure_threshold(1).build().unwrap();
    let service = StreamService::new(&clock, [streams([gives(1), gives(503), gives(2)])]);
    let judged = breaker.clone().classify(by_status);
    let mut answer = run(&clock, judged.call_stream(|| service.open())).unwrap();
    assert_eq!(next(&clock, &mut answer), Some(Ok(1)));
    assert_eq!(breaker.state(), CircuitState::Closed);
    assert_eq!(next(&clock, &mut answer), Some(Ok(503)));
    assert_eq!(breaker.state(), CircuitState::Open, "at once");
    assert_eq!(rest(&clock, &mut answer), [Ok(2)]);
    drop(answer);
    assert_eq!((verdicts(&breaker), settled(breaker.status().totals)), ((0, 1, 0), 1));
}

/// Whether an item was judged a failure does not decide what the consumer gets after it, nor does
/// how fast that comes.
#[test]
fn after_an_item_that_failed_the_answer_goes_on_as_before() {
    for takes in [ZERO, MS] {
        let clock = ManualClock::new();
        let breaker = breaker(&clock).build().unwrap();
        let steps = [gives(503), gives(2).after(takes), fails("reset").after(takes)];
        let service = StreamService::new(&clock, [streams(steps), streams([gives(503), hangs()])]);
        let judged = breaker.clone().classify(by_status);
        let mut answer = run(&clock, judged.call_stream(|| service.open())).unwrap();
        let broke_off = Err(interrupted(2, Some(Error::Operation("reset"))));
        assert_eq!(rest(&clock, &mut answer), [Ok(503), Ok(2), broke_off]);
        assert_eq!(verdicts(&breaker), (0, 1, 0), "one call, one failure");

        let idle = timeout(&clock, "idle", SEC);
        let opening = judged.streaming().idle_timeout(idle).call(|| service.open());
        let mut answer = run(&clock, opening).unwrap();
        let cut = Err(interrupted(1, Some(timed_out("idle", SEC, None))));
        assert_eq!(rest(&clock, &mut answer), [Ok(503), cut]);
        assert_eq!(verdicts(&breaker), (0, 2, 0));
    }
}

#[test]
fn an_item_can_be_both_a_failure_and_the_last_one() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let service = StreamService::new(&clock, [streams([gives(1), gives(503), hangs()])]);
    let judged = breaker.clone().classify(by_status);
    let opening = judged.streaming().until(|item| matches!(item, 0 | 503)).call(|| service.open());
    let mut answer = run(&clock, opening).unwrap();
    assert_eq!(rest(&clock, &mut answer), [Ok(1), Ok(503)]);
    assert_eq!(verdicts(&breaker), (0, 1, 0));
}

#[test]
fn an_item_that_asks_for_a_pause_shuts_the_gate() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let service = StreamService::new(&clock, [streams([gives(1), gives(429), gives(2)])]);
    let judged = breaker.clone().classify(by_status);
    let mut answer = run(&clock, judged.call_stream(|| service.open())).unwrap();
    assert_eq!(rest(&clock, &mut answer), [Ok(1), Ok(429), Ok(2)]);
    let rejection = breaker.admit().unwrap_err();
    assert_eq!(rejection, Rejection::Throttled { policy: "api".into(), retry_after: 20 * SEC });
    let totals = breaker.status().totals;
    assert_eq!((totals.throttled, settled(totals)), (1, 1));
}

#[test]
fn a_late_error_is_judged_like_one_before_the_first_item() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let service = StreamService::new(&clock, [streams([gives(1), fails("bad request")])]);
    let judged = breaker.clone().classify(|result: Result<&u16, &&'static str>| match result {
        Ok(_) => Classification::SUCCESS,
        Err(_) => Classification::PERMANENT,
    });
    let mut answer = run(&clock, judged.call_stream(|| service.open())).unwrap();
    assert_eq!(rest(&clock, &mut answer).len(), 2);
    let totals = breaker.status().totals;
    assert_eq!((totals.ignored, settled(totals)), (1, 1));
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

// ---- hosts -------------------------------------------------------------------------------------

#[test]
fn a_boxed_pipeline_streams_like_the_one_it_was() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let scripts =
        [streams([gives(503)]), streams([gives(1), gives(0)]), streams([gives(1), gives(503)])];
    let service = StreamService::new(&clock, scripts);
    let pipeline = Pipeline::builder("model")
        .idempotent()
        .add(retry(&clock).build().unwrap())
        .add(breaker.clone())
        .add(timeout(&clock, "attempt", SEC))
        .classify(by_status);
    let pipeline: BoxPipeline<u16, &'static str> = pipeline.build().unwrap().boxed();
    let until_zero = pipeline.streaming().until(|item| *item == 0).call(|| service.open());
    let mut answer = run(&clock, until_zero).unwrap();
    assert_eq!((service.calls(), clock.now_ms()), (2, 1_000), "its retry tried again");
    assert_eq!(next(&clock, &mut answer), Some(Ok(1)));
    assert_eq!(verdicts(&breaker), (0, 1, 0), "its breaker holds the permit");
    assert_eq!(next(&clock, &mut answer), Some(Ok(0)));
    assert_eq!(verdicts(&breaker), (1, 1, 0), "the terminal item is the end");

    let mut answer = run(&clock, pipeline.call_stream(|| service.open())).unwrap();
    drop(pipeline);
    assert_eq!(rest(&clock, &mut answer), [Ok(1), Ok(503)]);
    assert_eq!(verdicts(&breaker), (1, 2, 0), "its classifier judged the items");
}

/// Every breaker around the call holds its permit, whatever it is part of.
#[test]
fn streams_go_through_every_kind_of_policy() {
    async fn read<C: surefoot::Classify<u16, &'static str>>(
        opening: impl Future<Output = Result<Streamed<Items, u16, C>, Error>>,
    ) -> Vec<Result<u16, Error>> {
        let mut opening = pin!(opening);
        let mut answer = opening.as_mut().await.unwrap();
        let mut items = Vec::new();
        while let Some(item) = answer.next().await {
            items.push(item);
        }
        items
    }
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let service = StreamService::new(&clock, [streams([gives(1), gives(2)])]);
    let open = || service.open();
    let inner = || {
        let attempt = timeout(&clock, "attempt", SEC);
        Pipeline::builder("inner").add(breaker.clone()).add(attempt)
    };
    let plain = inner().build().unwrap();
    let judged = inner().classify(by_status).build().unwrap();
    let nested = Pipeline::builder("outer").add(inner().build().unwrap()).build().unwrap();
    let twice = Pipeline::builder("outer").add(breaker.clone()).add(plain.clone()).build().unwrap();
    let registry = surefoot::Registry::builder("models").clock(&clock).build().unwrap();
    let keyed = registry.get("model");

    let mut calls = 0;
    let mut check = |items: Vec<Result<u16, Error>>, permits: u64| {
        assert_eq!(items, [Ok(1), Ok(2)]);
        calls += permits;
        assert_eq!(verdicts(&breaker), (calls, 0, 0));
    };
    check(run(&clock, read(breaker.call_stream(open))), 1);
    check(run(&clock, read(breaker.clone().classify(by_status).call_stream(open))), 1);
    check(run(&clock, read(breaker.clone().classify(by_status).streaming().call(open))), 1);
    check(run(&clock, read(plain.call_stream(open))), 1);
    check(run(&clock, read(judged.call_stream(open))), 1);
    check(run(&clock, read(nested.call_stream(open))), 1);
    check(run(&clock, read(twice.call_stream(open))), 2);
    check(run(&clock, read(keyed.call_stream(open))), 0);
    assert_eq!(verdicts(&keyed), (1, 0, 0));
}

#[test]
fn an_answer_that_broke_off_tells_how_far_it_got() {
    for (error, text) in [
        (interrupted(0, None), "the answer ended after 0 items, incomplete"),
        (interrupted(1, None), "the answer ended after 1 item, incomplete"),
        (
            interrupted(3, Some(Error::Operation("reset"))),
            "the answer broke off after 3 items: reset",
        ),
        (
            interrupted(3, Some(timed_out("idle", 2 * SEC, None))),
            "the answer broke off after 3 items: timeout `idle`: no answer within 2s",
        ),
    ] {
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn a_stream_may_borrow_from_its_caller() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let words = ["why", "not"].map(String::from);
    let asked = AtomicUsize::new(0);
    let open = || async {
        asked.fetch_add(1, Ordering::SeqCst);
        Ok::<_, &str>(stream::iter(words.iter().map(|word| Ok(word.as_str()))))
    };
    let mut answer = run(&clock, breaker.call_stream(open)).unwrap();
    assert_eq!(next(&clock, &mut answer), Some(Ok("why")));
    assert_eq!(next(&clock, &mut answer), Some(Ok("not")));
    assert_eq!(next(&clock, &mut answer), None);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}
