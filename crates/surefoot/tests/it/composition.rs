//! Hedges, streams and fallbacks together with everything else.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use surefoot::hedge::HedgeBuilder;
use surefoot::{
    BoxPipeline, CircuitBreaker, CircuitState, Classification, Clock, Fallback, Hedge, ManualClock,
    OrderRule, Pipeline, Rejection, RetryBudget,
};

use crate::support::*;

/// Another attempt after 10 ms.
fn hedge(clock: &ManualClock) -> HedgeBuilder {
    Hedge::builder().delay(10 * MS).clock(clock)
}

/// Total timeout → retry → hedge → breaker → attempt timeout.
fn everything(
    clock: &ManualClock,
    breaker: &CircuitBreaker,
    budget: &RetryBudget,
) -> Pipeline<impl Policy + use<>> {
    Pipeline::builder("model")
        .idempotent()
        .add(timeout(clock, "total", 60 * SEC))
        .add(retry(clock).budget(budget.clone()).build().unwrap())
        .add(hedge(clock).build().unwrap())
        .add(breaker.clone())
        .add(timeout(clock, "attempt", 5 * SEC))
        .build()
        .unwrap()
}

#[test]
fn a_pipeline_shows_what_it_is_made_of() {
    let clock = ManualClock::new();
    let pipeline = everything(&clock, &breaker(&clock).build().unwrap(), &RetryBudget::unlimited());
    let parts: Vec<_> = pipeline.order().iter().map(ToString::to_string).collect();
    assert_eq!(
        parts,
        [
            "timeout `total`",
            "retry `retry`",
            "hedge `hedge`",
            "circuit breaker `api`",
            "timeout `attempt`"
        ]
    );
}

#[test]
fn a_hedge_works_in_boxed_and_in_nested_pipelines_and_with_a_value_for_refusals() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [hangs(), gives(200)]);
    let breaker = breaker(&clock).build().unwrap();
    let budget = RetryBudget::unlimited();
    let boxed: BoxPipeline<u16, &str> = everything(&clock, &breaker, &budget).boxed();
    assert_eq!(run(&clock, boxed.call(|| service.answer())), Ok(200));

    let inner = everything(&clock, &breaker, &budget);
    let outer = Pipeline::builder("outer").idempotent().add(inner).build().unwrap();
    assert_eq!(run(&clock, outer.call(|| service.answer())), Ok(200));

    breaker.force_open();
    let fallen = everything(&clock, &breaker, &budget).with_fallback(|_: &Rejection| 304);
    assert_eq!(run(&clock, fallen.call(|| service.answer())), Ok(304));
}

/// The order of a pipeline is checked through the pipelines in it.
#[test]
fn a_pipeline_with_a_retry_inside_a_hedge_does_not_build() {
    let clock = ManualClock::new();
    let inner = Pipeline::builder("inner")
        .idempotent()
        .add(retry(&clock).build().unwrap())
        .build()
        .unwrap();
    let outer = || {
        Pipeline::builder("outer")
            .idempotent()
            .add(hedge(&clock).build().unwrap())
            .add(inner.clone())
    };
    assert!(outer().build().unwrap_err().to_string().contains("OrderRule::RetryInsideHedge"));
    assert!(outer().allow(OrderRule::RetryInsideHedge).build().is_ok());
}

// ---- hedged streams ----------------------------------------------------------------------------

#[test]
fn hedged_streams_race_to_the_first_item() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let budget = RetryBudget::unlimited();
    let slow = streams([gives(1).after(SEC), gives(2)]);
    let fast = streams([gives(3).after(MS), gives(4).after(10 * SEC)]);
    let service = StreamService::new(&clock, [slow, fast]);
    let pipeline = everything(&clock, &breaker, &budget);
    let mut answer = run(&clock, pipeline.call_stream(|| service.open())).unwrap();
    assert_eq!((service.started(), clock.now_ms()), (vec![ZERO, 10 * MS], 11));
    assert_eq!(service.alive(), 1, "the loser is closed before the first item is handed on");
    assert_eq!(verdicts(&breaker), (0, 0, 1), "and counts as nothing; the winner goes on");
    assert_eq!(rest(&clock, &mut answer), [Ok(3), Ok(4)]);
    assert_eq!(service.calls(), 2, "later gaps are not hedged");
    assert_eq!(verdicts(&breaker), (1, 0, 1));
}

#[test]
fn a_hedged_stream_that_breaks_off_begins_no_other() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let service = StreamService::new(&clock, [streams([gives(1), fails("reset").after(SEC)])]);
    let pipeline = everything(&clock, &breaker, &RetryBudget::unlimited());
    let mut answer = run(&clock, pipeline.call_stream(|| service.open())).unwrap();
    let broke_off = Err(interrupted(1, Some(Error::Operation("reset"))));
    assert_eq!(rest(&clock, &mut answer), [Ok(1), broke_off]);
    assert_eq!((service.calls(), verdicts(&breaker)), (1, (0, 1, 0)));
}

/// Each attempt is a trial call of its own, and the winner's lasts as long as its stream.
#[test]
fn of_hedged_trial_streams_the_losers_place_is_free_and_the_winners_is_not() {
    let clock = ManualClock::new();
    let breaker = about_to_try(&clock, breaker(&clock).half_open_max_calls(2));
    let service = StreamService::new(&clock, [streams([hangs()]), streams([gives(1), gives(2)])]);
    let pipeline = everything(&clock, &breaker, &RetryBudget::unlimited());
    let mut answer = run(&clock, pipeline.call_stream(|| service.open())).unwrap();
    let free = breaker.admit().expect("the loser's place");
    assert!(breaker.admit().is_err(), "the winner has the other");
    free.cancel();
    assert_eq!(rest(&clock, &mut answer), [Ok(1), Ok(2)]);
    assert_eq!((breaker.state(), breaker.status().success_count), (CircuitState::HalfOpen, 1));
}

#[test]
fn a_hedge_learns_how_long_first_items_take_and_not_whole_answers() {
    let clock = ManualClock::new();
    let steps = [gives(1).after(16 * MS), gives(2).after(60 * SEC)];
    let service = StreamService::new(&clock, [streams(steps)]);
    let hedge = Hedge::builder().percentile(1.0).warm_up(1).window(3600 * SEC).clock(&clock);
    let hedge = hedge.build().unwrap();
    let mut answer = run(&clock, hedge.call_stream(|| service.open())).unwrap();
    assert_eq!(rest(&clock, &mut answer), [Ok(1), Ok(2)]);
    let delay = hedge.delay(clock.now()).expect("it has warmed up");
    assert!(delay >= 16 * MS && delay <= 17 * MS, "{delay:?}");
}

#[test]
fn a_first_item_that_failed_begins_the_next_attempt_and_is_discarded() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let service =
        StreamService::new(&clock, [streams([gives(503), gives(9)]), streams([gives(1)])]);
    let pipeline = Pipeline::builder("model")
        .idempotent()
        .add(hedge(&clock).build().unwrap())
        .add(breaker.clone())
        .add(timeout(&clock, "attempt", 5 * SEC))
        .classify(|result: Result<&u16, &&'static str>| match result {
            Ok(503) | Err(_) => Classification::TRANSIENT,
            Ok(_) => Classification::SUCCESS,
        })
        .build()
        .unwrap();
    let mut answer = run(&clock, pipeline.call_stream(|| service.open())).unwrap();
    assert_eq!((service.started(), service.alive()), (vec![ZERO, ZERO], 1));
    assert_eq!(rest(&clock, &mut answer), [Ok(1)]);
    assert_eq!(verdicts(&breaker), (1, 1, 0));
}

// ---- several breakers --------------------------------------------------------------------------

/// A breaker around a retry sees one call, and that is the whole stream.
#[test]
fn each_breaker_around_a_stream_hears_of_its_end_once() {
    for (last, whole) in [(gives(2), (1, 0, 0)), (fails("reset"), (0, 1, 0))] {
        let clock = ManualClock::new();
        let [outer, inner] = [(); 2].map(|()| breaker(&clock).build().unwrap());
        let service =
            StreamService::new(&clock, [refuses(fails("connect")), streams([gives(1), last])]);
        let pipeline = Pipeline::builder("model")
            .idempotent()
            .add(outer.clone())
            .add(retry(&clock).build().unwrap())
            .add(inner.clone())
            .add(timeout(&clock, "attempt", 5 * SEC))
            .allow(OrderRule::BreakerOutsideRetry)
            .build()
            .unwrap();
        let mut answer = run(&clock, pipeline.call_stream(|| service.open())).unwrap();
        assert_eq!((verdicts(&outer), verdicts(&inner)), ((0, 0, 0), (0, 1, 0)));
        assert_eq!(rest(&clock, &mut answer).len(), 2);
        let (successes, failures, cancelled) = whole;
        assert_eq!(verdicts(&outer), whole);
        assert_eq!(verdicts(&inner), (successes, failures + 1, cancelled));
    }
}

/// The order in which what is held is given back: from the inside out.
#[test]
fn a_dropped_stream_gives_back_its_permits_from_the_inside_out() {
    let clock = ManualClock::new();
    let events = Arc::new(Mutex::new(Vec::new()));
    let closing = |name: &'static str| {
        let events = events.clone();
        let builder = CircuitBreaker::builder(name).failure_threshold(1).clock(&clock);
        builder.on_event(move |event| events.lock().unwrap().push(event.policy().to_string()))
    };
    let (outer, inner) = (closing("outer").build().unwrap(), closing("inner").build().unwrap());
    let service = StreamService::new(&clock, [streams([gives(1), hangs()])]);
    let pipeline = Pipeline::builder("model")
        .add(timeout(&clock, "total", 10 * SEC))
        .add(outer)
        .add(inner)
        .add(timeout(&clock, "attempt", 5 * SEC))
        .build()
        .unwrap();
    let mut answer = run(&clock, pipeline.call_stream(|| service.open())).unwrap();
    assert_eq!(rest(&clock, &mut answer).len(), 2);
    assert_eq!(*events.lock().unwrap(), ["inner", "outer"]);
}

// ---- a whole application -----------------------------------------------------------------------

/// Two providers behind everything there is, one standing in for the other, read to the end and
/// dropped at each await on the way.
#[test]
fn a_fallback_over_hedged_retried_streams_leaves_nothing_behind_wherever_it_is_dropped() {
    for polls in 0.. {
        let clock = ManualClock::new();
        let breakers = [(); 2].map(|()| breaker(&clock).failure_threshold(100).build().unwrap());
        let [budget, other_budget] =
            [(); 2].map(|()| RetryBudget::builder().ratio(0.0).initial(3).clock(&clock));
        let budgets = [budget.build().unwrap(), other_budget.build().unwrap()];
        let first = StreamService::new(&clock, [streams([hangs()]), streams([])]);
        let second = StreamService::new(
            &clock,
            [streams([hangs()]), streams([1, 2].map(|item| gives(item).after(MS)))],
        );
        let pipelines = [0, 1].map(|at| everything(&clock, &breakers[at], &budgets[at]));
        let fallback = Fallback::new("models").unwrap();
        let read: Pin<Box<dyn Future<Output = Vec<u16>> + Send>> = Box::pin(async {
            let chain = fallback
                .first("first", || pipelines[0].call_stream(|| first.open()))
                .then("second", || pipelines[1].call_stream(|| second.open()));
            let mut answer = chain.call().await.unwrap().value;
            let mut items = Vec::new();
            while let Some(item) = answer.next().await {
                items.push(item.unwrap());
            }
            items
        });
        let items = drop_after(&clock, polls, read);
        let at = format!("dropped after {polls} polls");
        assert_eq!((clock.waiting(), first.alive(), second.alive()), (0, 0, 0), "{at}");
        for (breaker, service) in breakers.iter().zip([&first, &second]) {
            let totals = breaker.status().totals;
            assert_eq!(settled(totals), service.calls() as u64, "{at}: {totals:?}");
        }
        if let Some(items) = items {
            assert_eq!(items, [1, 2]);
            // Attempt and hedge, retry and its hedge: three tokens, and then the budget is spent.
            assert_eq!((first.calls(), budgets[0].balance()), (4, 0));
            assert_eq!((second.calls(), budgets[1].balance()), (2, 2));
            assert_eq!(verdicts(&breakers[1]), (1, 0, 1));
            assert!(polls > 6, "{polls}");
            return;
        }
    }
}
