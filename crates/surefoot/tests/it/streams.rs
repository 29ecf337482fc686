//! A streamed answer is one call, and its verdict comes with its end.

mod beginning;
mod dropped;
mod judged;

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;

use futures_lite::{StreamExt, stream};
use surefoot::stream::Streamed;
use surefoot::{BoxPipeline, Classification, ManualClock, Pipeline};

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

// ---- the consumer ------------------------------------------------------------------------------

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

/// Judges 429 and 503 as what they mean, and any error as transient.
fn by_status(result: Result<&u16, &&'static str>) -> Classification {
    match result {
        Ok(429) => Classification::throttled(Some(20 * SEC)),
        Ok(503) | Err(_) => Classification::TRANSIENT,
        Ok(404) => Classification::PERMANENT,
        Ok(_) => Classification::SUCCESS,
    }
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
