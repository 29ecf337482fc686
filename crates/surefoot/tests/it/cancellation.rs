//! Dropping a call ends it there and then, and leaves nothing behind.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};

use surefoot::Rejection;
use surefoot::circuit_breaker::CircuitTotals;
use surefoot::{BoxPipeline, CircuitBreaker, CircuitState, ManualClock, Pipeline, RetryBudget};

use crate::support::*;

const BUDGET: u32 = 10;

/// timeout → retry → breaker → timeout, around a service that yields, works, fails, hangs, and
/// only then answers.
struct World {
    clock: ManualClock,
    service: Service,
    breaker: CircuitBreaker,
    budget: RetryBudget,
}

type Call<'a> = Pin<Box<dyn Future<Output = Result<u16, Error>> + Send + 'a>>;

impl World {
    fn new() -> Self {
        let clock = ManualClock::new();
        let steps = [fails("reset"), hangs(), fails("busy"), gives(200)];
        let steps = steps.map(|step| step.after(100 * MS));
        Self {
            service: Service::new(&clock, steps).yielding(3),
            breaker: breaker(&clock).failure_threshold(100).build().unwrap(),
            budget: RetryBudget::builder().ratio(0.0).clock(&clock).build().unwrap(),
            clock,
        }
    }

    fn pipeline(&self) -> Pipeline<impl Policy + use<>> {
        Pipeline::builder("api")
            .idempotent()
            .add(timeout(&self.clock, "total", 60 * SEC))
            .add(retry(&self.clock).budget(self.budget.clone()).build().unwrap())
            .add(self.breaker.clone())
            .add(timeout(&self.clock, "attempt", 5 * SEC))
            .build()
            .unwrap()
    }

    /// Everything that was taken was given back, and every call has exactly one verdict.
    fn assert_nothing_is_left(&self, at: &str) {
        assert_eq!(self.clock.waiting(), 0, "timers, {at}");
        assert_eq!(self.service.running(), 0, "attempts running, {at}");
        let calls = self.service.calls() as u64;
        let totals = self.breaker.status().totals;
        assert_eq!(settled(totals), calls, "verdicts, {at}: {totals:?}");
        let retries = calls.saturating_sub(1);
        assert_eq!(self.budget.balance(), u64::from(BUDGET) - retries, "budget, {at}");
    }
}

/// Drops the call after each number of polls, up to as many as it takes to end.
fn drop_at_every_await(shape: &str, call: impl for<'a> Fn(&'a World) -> Call<'a>) -> usize {
    for polls in 0.. {
        let world = World::new();
        let at = format!("{shape} dropped after {polls} polls");
        let answer = drop_after(&world.clock, polls, call(&world));
        world.assert_nothing_is_left(&at);
        let CircuitTotals { successes, failures, cancelled, .. } = world.breaker.status().totals;
        let timed_out = u64::from(world.service.calls() > 2 || failures == 2);
        if answer.is_some() {
            assert_eq!(answer, Some(Ok(200)), "{at}");
            assert_eq!((successes, failures, cancelled), (1, 3, 0), "{at}");
            return polls;
        }
        assert_eq!(failures, world.service.answered() as u64 + timed_out, "{at}");
        assert!(cancelled <= 1, "{at}");
    }
    unreachable!("it ends")
}

/// policies.md §4 rules 22 and 80; §2 traps c and d.
#[test]
fn a_call_dropped_at_any_await_leaves_no_permit_token_or_timer_behind() {
    let polls = drop_at_every_await("a pipeline", |world| {
        let pipeline = world.pipeline();
        Box::pin(async move { pipeline.call(|| world.service.answer()).await })
    });
    // 4 attempts of 3 yields each, 4 times 100 ms, the attempt timeout, 3 waits, the answer.
    assert_eq!(polls, 4 * 3 + 4 + 1 + 3 + 1, "every await was visited");
}

#[test]
fn so_does_a_call_of_a_boxed_pipeline() {
    drop_at_every_await("a boxed pipeline", |world| {
        let pipeline: BoxPipeline<u16, &'static str> = world.pipeline().boxed();
        Box::pin(async move { pipeline.call(|| world.service.answer()).await })
    });
}

#[test]
fn so_does_a_call_of_a_pipeline_in_a_pipeline() {
    drop_at_every_await("a pipeline in a pipeline", |world| {
        let outer = Pipeline::builder("outer").idempotent().add(world.pipeline()).build().unwrap();
        Box::pin(async move { outer.call(|| world.service.answer()).await })
    });
}

#[test]
fn so_does_a_call_made_inside_another_pipelines_call() {
    drop_at_every_await("a call within a call", |world| {
        let outer = Pipeline::builder("outer")
            .add(timeout(&world.clock, "outermost", 600 * SEC))
            .build()
            .unwrap();
        let inner = world.pipeline();
        Box::pin(async move {
            let inner = &inner;
            let call = || async move { Ok(inner.call(|| world.service.answer()).await) };
            outer.call(call).await.and_then(|answer| answer)
        })
    });
}

/// policies.md §4 rule 22; §2 trap d.
#[test]
fn a_trial_call_dropped_at_any_await_gives_its_place_back() {
    for polls in 1.. {
        let clock = ManualClock::new();
        let breaker = about_to_try(&clock, breaker(&clock).half_open_max_calls(1));
        let service = Service::new(&clock, [gives(200).after(MS)]).yielding(3);
        let answer = drop_after(&clock, polls, breaker.call(|| service.answer()));
        assert_eq!(breaker.state(), CircuitState::HalfOpen, "after {polls} polls");
        assert_eq!(breaker.status().success_count, u64::from(answer.is_some()));
        let place = breaker.admit().expect("the place is free");
        assert!(breaker.admit().is_err(), "and only that one");
        place.cancel();
        if answer.is_some() {
            assert_eq!(polls, 5, "every await was visited");
            return;
        }
    }
}

/// The place is free when the attempt is gone, not while it is still going.
#[test]
fn a_dropped_trial_call_holds_its_place_until_its_attempt_is_dropped() {
    struct Looks<'a>(&'a CircuitBreaker, &'a AtomicBool);
    impl Drop for Looks<'_> {
        fn drop(&mut self) {
            self.1.store(self.0.admit().is_err(), Ordering::SeqCst);
        }
    }
    let clock = ManualClock::new();
    let breaker = about_to_try(&clock, breaker(&clock).half_open_max_calls(1));
    let was_taken = AtomicBool::new(false);
    let mut task = Task::new(breaker.call(|| async {
        let _looks = Looks(&breaker, &was_taken);
        std::future::pending::<Result<(), ()>>().await
    }));
    assert!(task.poll().is_pending());
    drop(task);
    assert!(was_taken.into_inner());
    assert!(breaker.admit().is_ok());
}

/// policies.md §4 rule 45.
#[test]
fn a_call_cancelled_before_it_starts_makes_no_call() {
    let world = World::new();
    let pipeline = world.pipeline();
    drop(pipeline.call(|| world.service.answer()));
    assert_eq!(world.service.calls(), 0);
    assert_eq!(world.breaker.status().totals, CircuitTotals::default());
    world.assert_nothing_is_left("before the start");
}

/// policies.md §4 rules 45 and 80.
#[test]
fn a_call_cancelled_during_the_wait_makes_no_further_call() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [fails("down")]);
    let budget = RetryBudget::builder().ratio(0.0).clock(&clock).build().unwrap();
    let retry = retry(&clock).budget(budget.clone()).build().unwrap();
    let mut task = Task::new(retry.call(|| service.answer()));
    assert!(task.poll().is_pending());
    assert_eq!((service.calls(), clock.waiting()), (1, 1));
    assert_eq!(budget.balance(), 9, "the token is taken before the wait");
    drop(task);
    assert_eq!(clock.waiting(), 0, "the wait ended at once");
    assert_eq!(budget.balance(), 10, "and its token was given back");
    clock.advance(3600 * SEC);
    assert_eq!(service.calls(), 1);
}

/// policies.md §4 rule 55.
#[test]
fn a_call_cancelled_by_its_caller_is_cancelled_and_not_timed_out() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [hangs()]);
    let breaker = breaker(&clock).failure_threshold(1).build().unwrap();
    let log = Log::of(breaker.events());
    let pipeline = Pipeline::builder("api")
        .add(breaker.clone())
        .add(timeout(&clock, "attempt", SEC))
        .build()
        .unwrap();
    let mut task = Task::new(pipeline.call(|| service.answer()));
    assert!(task.poll().is_pending());
    clock.advance(2 * SEC); // the limit has passed, but nobody has looked
    drop(task);
    let status = breaker.status();
    assert_eq!((status.totals.cancelled, status.totals.failures), (1, 0));
    assert_eq!(status.state, CircuitState::Closed);
    assert_eq!(log.events(), []);
}

/// policies.md §4 rule 45.
#[test]
fn a_cancelled_attempt_is_never_tried_again() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [hangs()]);
    let retry = retry(&clock).build().unwrap();
    let log = Log::of(retry.events());
    let mut task = Task::new(retry.call(|| service.answer()));
    assert!(task.poll().is_pending());
    drop(task);
    clock.advance(3600 * SEC);
    assert_eq!((service.calls(), retry.retries(), clock.waiting()), (1, 0, 0));
    assert_eq!(log.events(), []);
}

/// policies.md §2 trap b: places are taken when calls are admitted, not when they end.
#[test]
fn half_open_admits_only_as_many_pending_calls_as_it_has_places() {
    let clock = ManualClock::new();
    let breaker = about_to_try(&clock, breaker(&clock).half_open_max_calls(2));
    let service = Service::new(&clock, [hangs()]);
    let mut tasks: Vec<_> = (0..5).map(|_| Task::new(breaker.call(|| service.answer()))).collect();
    let polls: Vec<_> = tasks.iter_mut().map(Task::poll).collect();
    assert_eq!(polls.iter().filter(|poll| poll.is_pending()).count(), 2);
    assert_eq!(service.calls(), 2);

    drop(tasks.swap_remove(0)); // one of the two gives up
    let mut next = Task::new(breaker.call(|| service.answer()));
    let mut surplus = Task::new(breaker.call(|| service.answer()));
    assert!(next.poll().is_pending());
    let std::task::Poll::Ready(Err(surefoot::Error::Rejected(rejection))) = surplus.poll() else {
        panic!("a third trial call was admitted")
    };
    assert!(matches!(rejection, Rejection::CircuitOpen { .. }));
}
