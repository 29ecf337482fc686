//! What layers draw on the budgets in scope: the rules are those of the other hosts.

use std::task::Poll;

use surefoot::budget::Cost;
use surefoot::{Budget, BudgetScope, Event, Fallback, ManualClock, Rejection, Scope, StopReason};
use surefoot_tower::{
    BudgetLayer, CircuitBreakerLayer, Error, FallbackLayer, HedgeLayer, RetryLayer, TimeoutLayer,
};
use tower::{ServiceBuilder, service_fn};

use crate::support::*;

fn attempts(attempts: u64) -> Budget {
    Budget::builder("run").attempts(attempts).build().unwrap()
}

fn left(budget: &Budget) -> u64 {
    budget.remaining().attempts.unwrap()
}

/// Three tries a second apart.
fn three(clock: &ManualClock) -> RetryLayer {
    RetryLayer::idempotent(retry(clock).max_attempts(3).build().unwrap())
}

fn is_refused(error: &Error) -> bool {
    matches!(error, Error::Rejected(Rejection::BudgetExhausted { policy, .. }) if policy == "run")
}

fn stop(error: &Error) -> (StopReason, u32) {
    match error {
        Error::Exhausted { stop, attempts, .. } => (*stop, *attempts),
        other => panic!("{other:?}"),
    }
}

/// Issue: three nested retries of three attempts under a budget of five make five calls.
#[test]
fn nested_retries_draw_on_the_same_attempts() {
    for (budget, calls) in [(5, 5), (27, 27), (30, 27), (1, 1)] {
        let clock = ManualClock::new();
        let api = Api::new(&clock, [fails("down")]);
        let budget = attempts(budget);
        let mut service = ServiceBuilder::new()
            .layer(BudgetLayer::new(budget.clone()))
            .layer(three(&clock))
            .layer(three(&clock))
            .layer(three(&clock))
            .service(api.clone());
        let error = call(&clock, &mut service).unwrap_err();
        assert_eq!(failure(&error), Some("down"));
        assert_eq!((api.calls().len(), budget.spent().attempts), (calls, calls as u64));
    }
}

#[test]
fn where_nothing_was_dispatched_the_refusal_is_the_answer() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200)]);
    let mut service = ServiceBuilder::new()
        .layer(BudgetLayer::new(attempts(1)))
        .layer(three(&clock))
        .service(api.clone());
    assert_eq!(value(call(&clock, &mut service)), 200);
    assert!(is_refused(&call(&clock, &mut service).unwrap_err()));
    assert_eq!((api.calls().len(), now(&clock)), (1, ZERO));
}

#[test]
fn a_retry_that_runs_out_of_budget_ends_at_once_with_the_last_error() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [fails("first"), fails("second"), gives(200)]);
    let mut service = ServiceBuilder::new()
        .layer(BudgetLayer::new(attempts(2)))
        .layer(three(&clock))
        .service(api);
    let error = call(&clock, &mut service).unwrap_err();
    assert_eq!((stop(&error), failure(&error)), ((StopReason::Budget, 2), Some("second")));
    assert_eq!(now(&clock), SEC);
}

#[test]
fn every_layer_draws_on_a_budget_in_scope() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200)]);
    let breaker = CircuitBreakerLayer::new(breaker(&clock).build().unwrap());
    let limit = TimeoutLayer::new(timeout(&clock, "limit", SEC));
    let mut service = ServiceBuilder::new().layer(limit).layer(breaker).service(api.clone());
    let budget = attempts(1);
    assert_eq!(value(run(&clock, budget.scope(ask(&mut service)))), 200);
    assert!(is_refused(&run(&clock, budget.scope(ask(&mut service))).unwrap_err()));
    assert_eq!(api.calls().len(), 1, "a stack of layers is one call");
}

#[test]
fn a_call_that_a_breaker_refuses_costs_nothing() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200)]);
    let breaker = breaker(&clock).build().unwrap();
    breaker.force_open();
    let budget = attempts(3);
    let mut service = ServiceBuilder::new()
        .layer(BudgetLayer::new(budget.clone()))
        .layer(three(&clock))
        .layer(CircuitBreakerLayer::new(breaker))
        .service(api);
    let error = call(&clock, &mut service).unwrap_err();
    assert!(matches!(error, Error::Rejected(Rejection::CircuitOpen { .. })), "{error:?}");
    assert_eq!((left(&budget), budget.status().reserved), (3, Cost::ZERO));
}

#[test]
fn a_refused_call_is_nothing_to_a_breaker_below_or_above() {
    let clock = ManualClock::new();
    let breaker = about_to_try(&clock, breaker(&clock));
    let mut above = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(breaker.clone()))
        .layer(BudgetLayer::new(attempts(0)))
        .service(Api::new(&clock, [gives(200)]));
    assert!(is_refused(&call(&clock, &mut above).unwrap_err()));
    assert_eq!(breaker.status().totals.ignored, 1);
    let mut below = ServiceBuilder::new()
        .layer(BudgetLayer::new(attempts(0)))
        .layer(CircuitBreakerLayer::new(breaker.clone()))
        .service(Api::new(&clock, [gives(200)]));
    assert!(is_refused(&call(&clock, &mut below).unwrap_err()));
    assert_eq!(settled(breaker.status().totals), 2, "the failure that opened it, and the refusal");
}

#[test]
fn a_dropped_call_is_paid_if_it_was_dispatched_and_given_back_if_not() {
    let clock = ManualClock::new();
    let budget = attempts(9);
    let api = Api::new(&clock, [fails("down"), hangs()]);
    let mut service = ServiceBuilder::new()
        .layer(BudgetLayer::new(budget.clone()))
        .layer(three(&clock))
        .service(api.clone());
    // During the wait: the second attempt is paid, and not made.
    assert!(drop_after(&clock, 1, ask(&mut service)).is_none());
    assert_eq!((left(&budget), budget.status().reserved), (8, Cost::ZERO));
    // During an attempt.
    assert!(drop_after(&clock, 1, ask(&mut service)).is_none());
    assert_eq!((left(&budget), budget.status().reserved), (7, Cost::ZERO));
}

#[test]
fn a_call_that_panics_is_paid() {
    for step in [panics(), panics_in_call()] {
        let clock = ManualClock::new();
        let budget = attempts(3);
        let mut service = ServiceBuilder::new()
            .layer(BudgetLayer::new(budget.clone()))
            .layer(three(&clock))
            .service(Api::new(&clock, [step]));
        let panicked =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| call(&clock, &mut service)));
        assert!(panicked.is_err());
        assert!(Scope::current().budget().is_none());
        assert_eq!((left(&budget), budget.status().reserved), (2, Cost::ZERO));
    }
}

#[test]
fn a_hedge_draws_and_its_end_leaves_the_first_attempt_alone() {
    for (budget, calls) in [(1, 1), (2, 2), (9, 3)] {
        let clock = ManualClock::new();
        let api = Api::new(&clock, [gives(200).after(SEC)]);
        let hedge = hedge(&clock).max_hedges(2).build().unwrap();
        let budget = attempts(budget);
        let mut service = ServiceBuilder::new()
            .layer(BudgetLayer::new(budget.clone()))
            .layer(HedgeLayer::idempotent(hedge))
            .service(api.clone());
        assert_eq!(value(call(&clock, &mut service)), 200);
        assert_eq!((api.calls().len(), budget.spent().attempts), (calls, calls as u64));
    }
}

#[test]
fn a_second_service_is_another_call() {
    let clock = ManualClock::new();
    let budget = attempts(2);
    let [first, second] = [fails("down"), gives(200)].map(|step| Api::new(&clock, [step]));
    let layer = FallbackLayer::new(Fallback::new("api").unwrap(), second.clone());
    let mut service =
        ServiceBuilder::new().layer(BudgetLayer::new(budget.clone())).layer(layer).service(first);
    assert_eq!(value(call(&clock, &mut service)), 200);
    assert_eq!(budget.spent().attempts, 2);
    assert!(call(&clock, &mut service).is_err());
    assert_eq!(second.calls().len(), 1);
}

#[test]
fn each_request_may_bring_its_own_budget() {
    let clock = ManualClock::new();
    let (odd, even) = (attempts(1), attempts(2));
    let budgets = (odd.clone(), even.clone());
    let layer = BudgetLayer::by(move |request: &u32| match request {
        0 => None,
        n if n % 2 == 0 => Some(budgets.1.clone()),
        _ => Some(budgets.0.clone()),
    });
    let mut service = ServiceBuilder::new().layer(layer).service(Api::new(&clock, [gives(200)]));
    for (request, ok) in [(1, true), (3, false), (2, true), (4, true), (6, false), (0, true)] {
        let answer = run(&clock, async {
            use tower::{Service, ServiceExt};
            service.ready().await?.call(request).await
        });
        assert_eq!(answer.is_ok(), ok, "{request}");
    }
}

#[test]
fn a_service_that_calls_others_pays_for_each_call_once() {
    let clock = ManualClock::new();
    let api = Api::new(&clock, [gives(200)]);
    let inner = ServiceBuilder::new().layer(three(&clock)).service(api.clone());
    let agent = service_fn(|_: u32| {
        let mut inner = inner.clone();
        async move {
            ask(&mut inner).await?;
            ask(&mut inner).await
        }
    });
    let budget = attempts(9);
    let mut service = ServiceBuilder::new()
        .layer(BudgetLayer::new(budget.clone()))
        .layer(three(&clock))
        .service(agent);
    assert_eq!(value(call(&clock, &mut service)), 200);
    assert_eq!((api.calls().len(), budget.spent().attempts), (2, 2));
}

#[test]
fn the_service_finds_the_budget_it_may_use() {
    let clock = ManualClock::new();
    let budget = Budget::builder("run").tokens(1_000).build().unwrap();
    let model = service_fn(|_: u32| async {
        let budget = Scope::current().budget().expect("there is one");
        let charge = budget.reserve(Cost::tokens(600))?;
        yield_now().await;
        charge.settle(Cost::tokens(400));
        Ok::<_, Rejection>(())
    });
    let mut service = ServiceBuilder::new()
        .layer(BudgetLayer::new(budget.clone()))
        .layer(three(&clock))
        .service(model);
    for answered in [true, true, false] {
        assert_eq!(call(&clock, &mut service).is_ok(), answered);
    }
    assert_eq!(budget.spent().tokens, 800);
}

#[test]
fn a_nested_retry_is_not_reported_where_a_budget_counts_its_attempts() {
    for (budget, reported) in [(Some(attempts(9)), 0), (None, 1)] {
        let clock = ManualClock::new();
        let inner = retry(&clock).build().unwrap();
        let heard = std::sync::Arc::new(std::sync::Mutex::new(0));
        let ear = heard.clone();
        inner
            .events()
            .subscribe(move |event| {
                *ear.lock().unwrap() += usize::from(matches!(event, Event::NestedRetry { .. }));
            })
            .forever();
        let mut service = ServiceBuilder::new()
            .layer(BudgetLayer::by(move |_: &u32| budget.clone()))
            .layer(three(&clock))
            .layer(RetryLayer::idempotent(inner))
            .service(Api::new(&clock, [gives(200)]));
        assert_eq!(value(call(&clock, &mut service)), 200);
        assert_eq!(*heard.lock().unwrap(), reported);
    }
}

#[test]
fn a_paid_attempt_is_not_taken_from_a_retry_that_waits() {
    let clock = ManualClock::new();
    let budget = attempts(2);
    let api = Api::new(&clock, [fails("down"), gives(200)]);
    let mut service = ServiceBuilder::new()
        .layer(BudgetLayer::new(budget.clone()))
        .layer(three(&clock))
        .service(api);
    let mut answer = Task::new(ask(&mut service));
    assert!(answer.poll().is_pending());
    assert!(budget.is_exhausted());
    answer.wait(&clock);
    let Poll::Ready(answer) = answer.poll() else { panic!("there is an answer") };
    assert_eq!(value(answer), 200);
}
