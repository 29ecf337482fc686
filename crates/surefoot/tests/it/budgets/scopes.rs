//! Where a scope holds: in every poll, in other threads, in listeners.

use std::sync::Arc;
use std::thread;

use surefoot::budget::Cost;
use surefoot::{Attempt, Budget, BudgetScope, CircuitBreaker, ManualClock, Scope};

use super::{attempts, left, three};
use crate::support::*;

#[test]
fn an_operation_finds_the_budget_it_may_use() {
    let clock = ManualClock::new();
    let budget = Budget::builder("run").tokens(1_000).build().unwrap();
    let retry = three(&clock);
    let answer = run(
        &clock,
        budget.scope(retry.call(|| async {
            let budget = Scope::current().budget().expect("there is one");
            let charge = budget.reserve(Cost::tokens(600)).map_err(|_| "too little")?;
            yield_now().await;
            charge.settle(Cost::tokens(400));
            Ok::<_, &str>(())
        })),
    );
    assert_eq!(answer, Ok(()));
    assert_eq!(budget.spent().tokens, 400);
}

#[test]
fn a_scope_is_there_in_every_poll_and_nowhere_else() {
    let clock = ManualClock::new();
    let (first, second) = (attempts(5), attempts(6));
    let task = |budget: Budget| {
        let own = budget.clone();
        Task::new(async move {
            budget
                .scope(async move {
                    for _ in 0..3 {
                        assert!(Scope::current().budget().unwrap().is_same(&own));
                        yield_now().await;
                    }
                })
                .await;
        })
    };
    let mut tasks = [task(first), task(second)];
    for _ in 0..3 {
        for task in &mut tasks {
            assert!(task.poll().is_pending());
            assert!(Scope::current().budget().is_none());
        }
    }
    assert!(tasks.iter_mut().all(|task| task.poll().is_ready()));
    assert_eq!(clock.waiting(), 0);
}

#[test]
fn a_scope_crosses_a_thread_only_when_it_is_taken_along() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [gives(200)]);
    let budget = attempts(2);
    let breaker: CircuitBreaker = breaker(&clock).build().unwrap();
    let call = || breaker.call_blocking(|attempt| service.answer_blocking(attempt));
    budget.scope_blocking(|| {
        let scope = Scope::current();
        thread::scope(|threads| {
            threads.spawn(|| call().unwrap());
            threads.spawn(|| scope.enter(|| call().unwrap()));
        });
    });
    assert_eq!(left(&budget), 1);
}

#[test]
fn an_instrumented_future_keeps_budget_deadline_and_attempt() {
    let clock = ManualClock::new();
    let budget = attempts(5);
    let limit = timeout(&clock, "limit", 10 * SEC);
    let retry = three(&clock);
    let inner = breaker(&clock).build().unwrap();
    let service = Service::new(&clock, [gives(200)]);
    let call = budget.scope(limit.call(|| {
        retry.call(|| async {
            let instrumented = Scope::current().instrument(async {
                let told = (Attempt::current().number(), Attempt::current().remaining());
                (told, inner.call(|| service.answer()).await)
            });
            Ok::<_, &str>(Box::pin(instrumented))
        })
    }));
    // The first call of a retry is marked as attempt 1.
    let carried = run(&clock, call).unwrap();
    assert_eq!(left(&budget), 4);
    let (told, answer) = run(&clock, carried);
    assert_eq!(told, (1, Some(10 * SEC)));
    assert_eq!(answer, Ok(200));
    assert_eq!(left(&budget), 3, "what outlives the call it comes from pays for itself");
}

/// What is taken along into a call that is under way is paid by that call, wherever it runs.
#[test]
fn a_call_carried_to_another_thread_is_paid_by_the_attempt_it_belongs_to() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [gives(200)]);
    let budget = attempts(5);
    let (outer, inner) = (breaker(&clock).build().unwrap(), breaker(&clock).build().unwrap());
    let answer = budget.scope_blocking(|| {
        outer.call_blocking(|_| {
            let scope = Scope::current();
            let call = || inner.call_blocking(|attempt| service.answer_blocking(attempt));
            thread::scope(|threads| threads.spawn(|| scope.enter(call)).join().unwrap())
        })
    });
    assert_eq!(answer, Ok(200));
    assert_eq!(left(&budget), 4);
}

#[test]
fn the_holder_may_be_dropped_in_another_thread() {
    let run_budget = attempts(5);
    let step = Budget::builder("step").attempts(3).slice_of(&run_budget).unwrap();
    let charge = step.reserve(Cost::attempts(1)).unwrap();
    thread::spawn(move || drop(step)).join().unwrap();
    assert_eq!(left(&run_budget), 2);
    thread::spawn(move || charge.give_back()).join().unwrap();
    assert_eq!((left(&run_budget), run_budget.status().reserved), (5, Cost::ZERO));
}

#[test]
fn a_future_in_scope_may_be_dropped_in_another_thread() {
    let clock = ManualClock::new();
    let budget = attempts(5);
    let retry = three(&clock);
    let service = Arc::new(Service::new(&clock, [fails("down")]));
    let waiting = {
        let (budget, service) = (budget.clone(), service.clone());
        async move { budget.scope(retry.call(|| service.answer())).await }
    };
    let mut task = Task::new(waiting);
    assert!(task.poll().is_pending());
    assert_eq!(left(&budget), 3);
    thread::spawn(move || drop(task)).join().unwrap();
    assert_eq!(left(&budget), 4);
}

/// A listener that makes a protected call, told from inside one.
#[test]
fn a_listener_may_call_what_draws_on_the_budget_it_hears_of() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let inner = breaker.clone();
    let budget = Budget::builder("run")
        .attempts(10)
        .on_event(move |_| {
            let _ = inner.call_blocking(|_| Ok::<_, ()>(()));
        })
        .build()
        .unwrap();
    budget.scope_blocking(|| while breaker.call_blocking(|_| Ok::<_, ()>(())).is_ok() {});
    assert_eq!(budget.spent().attempts, 10);
}
