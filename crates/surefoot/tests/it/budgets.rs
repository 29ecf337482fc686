//! What calls draw on the budgets in scope: who pays, once, and what is given back.

mod relatives;
mod scopes;

use surefoot::budget::Cost;
use surefoot::{
    Budget, BudgetScope, Event, Hedge, Limiter, ManualClock, OrderRule, Pipeline, RateLimiter,
    Rejection, Retry, RetryBudget, Scope, StopReason,
};

use crate::support::*;

fn attempts(attempts: u64) -> Budget {
    Budget::builder("run").attempts(attempts).build().unwrap()
}

fn left(budget: &Budget) -> u64 {
    budget.remaining().attempts.unwrap()
}

/// Three tries a second apart.
fn three(clock: &ManualClock) -> Retry {
    retry(clock).max_attempts(3).build().unwrap()
}

/// `call!` within the scope of a budget.
macro_rules! call_in {
    ($host:expr, $clock:expr, $budget:expr, $policy:expr, $service:expr) => {{
        let service = &$service;
        match $host {
            Host::Async => run(&$clock, $budget.scope($policy.call(|| service.answer()))),
            Host::Blocking => block(&$clock, || {
                $budget.scope_blocking(|| {
                    $policy.call_blocking(|attempt| service.answer_blocking(attempt))
                })
            }),
        }
    }};
}

fn is_refused_by(error: &Error, name: &str) -> bool {
    matches!(error, Error::Rejected(Rejection::BudgetExhausted { policy, .. }) if policy == name)
}

/// The stop and the attempts of an exhausted retry, and the operation's last error.
fn gave_up(error: &Error) -> (StopReason, u32, Option<&'static str>) {
    match error {
        Error::Exhausted { stop, attempts, .. } => (*stop, *attempts, error.operation().copied()),
        other => panic!("{other:?}"),
    }
}

/// Issue: three nested retries of three attempts under a budget of five make five calls.
#[test]
fn nested_retries_draw_on_the_same_attempts() {
    for host in Host::BOTH {
        for (budget, calls) in [(5, 5), (27, 27), (30, 27), (1, 1)] {
            let clock = ManualClock::new();
            let service = Service::new(&clock, [fails("down")]);
            let budget = attempts(budget);
            let nested = Pipeline::builder("nested")
                .idempotent()
                .budget(budget.clone())
                .add(three(&clock).drawing_on(RetryBudget::unlimited(), true))
                .add(three(&clock).drawing_on(RetryBudget::unlimited(), true))
                .add(three(&clock).drawing_on(RetryBudget::unlimited(), true))
                .build()
                .unwrap();
            let error = call!(host, clock, nested, service).unwrap_err();
            assert_eq!(service.calls(), calls, "{host:?}");
            assert_eq!(budget.spent().attempts, calls as u64, "{host:?}");
            assert_eq!(error.operation(), Some(&"down"));
        }
    }
}

/// The same where each retry is in an operation of the one outside.
#[test]
fn retries_in_operations_of_retries_draw_on_the_same_attempts() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [fails("down")]);
    let budget = attempts(5);
    let [outer, middle, inner] = [(); 3].map(|()| three(&clock));
    let answer =
        run(&clock, budget.scope(outer.call(|| middle.call(|| inner.call(|| service.answer())))));
    assert_eq!(service.calls(), 5);
    assert_eq!(left(&budget), 0);
    assert_eq!(gave_up_outermost(&answer.unwrap_err()), StopReason::Budget);

    let clock = ManualClock::new();
    let service = Service::new(&clock, [fails("down")]);
    let budget = attempts(5);
    let [outer, middle, inner] = [(); 3].map(|()| three(&clock));
    let answer = block(&clock, || {
        budget.scope_blocking(|| {
            outer.call_blocking(|_| {
                middle.call_blocking(|_| {
                    inner.call_blocking(|attempt| service.answer_blocking(attempt))
                })
            })
        })
    });
    assert_eq!((service.calls(), left(&budget)), (5, 0));
    assert_eq!(gave_up_outermost(&answer.unwrap_err()), StopReason::Budget);
}

fn gave_up_outermost<E>(error: &surefoot::Error<E>) -> StopReason {
    match error {
        surefoot::Error::Exhausted { stop, .. } => *stop,
        _ => panic!("not exhausted"),
    }
}

#[test]
fn a_first_attempt_costs_too() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let budget = attempts(2);
        for (name, ok) in [("first", true), ("second", true), ("third", false)] {
            let answer = call_in!(host, clock, budget, three(&clock), service);
            assert_eq!(answer.is_ok(), ok, "{name} {host:?}");
        }
        assert_eq!(service.calls(), 2);
    }
}

#[test]
fn where_nothing_was_dispatched_the_refusal_is_the_answer() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let error = call_in!(host, clock, attempts(0), three(&clock), service).unwrap_err();
        assert!(is_refused_by(&error, "run"), "{error:?}");
        assert_eq!((service.calls(), clock.now_ms()), (0, 0));
    }
}

#[test]
fn a_retry_that_runs_out_of_budget_ends_at_once_with_the_last_error() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [fails("first"), fails("second"), gives(200)]);
        let error = call_in!(host, clock, attempts(2), three(&clock), service).unwrap_err();
        assert_eq!(gave_up(&error), (StopReason::Budget, 2, Some("second")));
        assert_eq!(
            error.to_string(),
            "gave up after 2 attempts in 1s (the budget is spent): second; after that: budget `run` \
             has nothing left of its 2 attempts: end here, ask for less or give it more"
        );
        assert_eq!(clock.now_ms(), 1_000, "it does not wait for an attempt it cannot make");
    }
}

/// Another caller cannot take the attempt that a retry is waiting for.
#[test]
fn a_retry_pays_before_it_waits() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [fails("down"), gives(200)]);
    let budget = attempts(2);
    let retry = three(&clock);
    let mut call = Task::new(budget.scope(retry.call(|| service.answer())));
    assert!(call.poll().is_pending());
    assert!(budget.is_exhausted());
    assert_eq!(budget.spent().attempts, 1, "what is only reserved is not spent");
    call.wait(&clock);
    assert_eq!(call.poll().map(Result::unwrap), std::task::Poll::Ready(200));
    assert_eq!(budget.spent().attempts, 2);
}

#[test]
fn an_attempt_that_is_never_made_is_given_back() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [fails("down"), gives(200)]);
    let budget = attempts(5);
    let retry = three(&clock);
    assert!(drop_after(&clock, 1, budget.scope(retry.call(|| service.answer()))).is_none());
    assert_eq!((left(&budget), budget.status().reserved), (4, Cost::ZERO));
}

#[test]
fn an_attempt_that_a_policy_refuses_is_given_back() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let breaker = breaker(&clock).build().unwrap();
        breaker.force_open();
        let budget = attempts(5);
        let pipeline = Pipeline::builder("api")
            .idempotent()
            .allow(OrderRule::NoTimeoutInsideBreaker)
            .budget(budget.clone())
            .add(three(&clock))
            .add(breaker)
            .build()
            .unwrap();
        let error = call!(host, clock, pipeline, service).unwrap_err();
        assert!(matches!(error, Error::Rejected(Rejection::CircuitOpen { .. })));
        assert_eq!((left(&budget), budget.status().reserved), (5, Cost::ZERO));
    }
}

#[test]
fn an_operation_that_was_started_is_paid_however_it_ends() {
    let clock = ManualClock::new();
    let budget = attempts(10);
    let breaker = breaker(&clock).build().unwrap();
    let hanging = Service::new(&clock, [hangs()]);
    assert!(drop_after(&clock, 1, budget.scope(breaker.call(|| hanging.answer()))).is_none());
    assert_eq!(left(&budget), 9);

    let limit = timeout(&clock, "limit", SEC);
    let late = run(&clock, budget.scope(limit.call(|| hanging.answer())));
    assert!(matches!(late, Err(Error::Timeout { dispatched: true, .. })));
    assert_eq!(left(&budget), 8);

    for host in Host::BOTH {
        let service = Service::new(&clock, [panics()]);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            call_in!(host, clock, budget, breaker, service)
        }));
        assert!(panicked.is_err());
        assert!(Scope::current().budget().is_none(), "the scope ends with the panic");
    }
    assert_eq!((left(&budget), budget.status().reserved), (6, Cost::ZERO));
}

#[test]
fn a_refused_call_is_nothing_to_a_breaker() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let breaker = about_to_try(&clock, breaker(&clock));
        let error = call_in!(host, clock, attempts(0), breaker, service).unwrap_err();
        assert!(is_refused_by(&error, "run"));
        assert_eq!(breaker.status().totals.ignored, 1);
        assert_eq!(call!(host, clock, breaker, service), Ok(200), "its trial call is still there");
    }
}

#[test]
fn a_nested_retry_is_reported_unless_a_budget_counts_its_attempts() {
    for host in Host::BOTH {
        let tokens = Budget::builder("tokens").tokens(100).build().unwrap();
        for (budget, reported) in [(attempts(9), 0), (tokens, 1)] {
            let clock = ManualClock::new();
            let service = Service::new(&clock, [fails("down"), gives(200)]);
            let (outer, inner) = (three(&clock), three(&clock));
            let log = Log::of(inner.events());
            let nested = Pipeline::builder("nested")
                .idempotent()
                .allow(OrderRule::RetryInsideRetry)
                .add(budget)
                .add(outer)
                .add(inner)
                .build()
                .unwrap();
            assert_eq!(call!(host, clock, nested, service), Ok(200));
            assert_eq!(log.count(|event| matches!(event, Event::NestedRetry { .. })), reported);
        }
    }
}

#[test]
fn a_budget_of_attempts_allows_a_retry_inside_a_retry_and_another_budget_does_not() {
    let clock = ManualClock::new();
    let tokens = || Budget::builder("tokens").tokens(100).build().unwrap();
    let build = |budget: Budget| {
        let two = (three(&clock), three(&clock));
        Pipeline::builder("two").idempotent().budget(budget).add(two.0).add(two.1).build()
    };
    assert!(build(attempts(9)).is_ok());
    assert!(build(tokens()).is_err());
    let below = Budget::builder("below").share_of(&attempts(9)).unwrap();
    assert!(build(below).is_ok());
    let inside = Pipeline::builder("inside")
        .idempotent()
        .add(three(&clock))
        .budget(attempts(9))
        .add(three(&clock))
        .build();
    assert!(inside.is_err(), "the outer one's attempts are not limited there");
}

#[test]
fn every_call_of_another_pipeline_draws_once() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let [model, tool] = [(); 2].map(|()| Service::new(&clock, [gives(200)]));
        let budget = attempts(10);
        let step = three(&clock);
        let inner = breaker(&clock).build().unwrap();
        match host {
            Host::Async => {
                let answer = budget.scope(step.call(|| async {
                    inner.call(|| model.answer()).await?;
                    inner.call(|| tool.answer()).await
                }));
                assert_eq!(run(&clock, answer), Ok(200));
            }
            Host::Blocking => {
                let answer = budget.scope_blocking(|| {
                    step.call_blocking(|_| {
                        inner.call_blocking(|attempt| model.answer_blocking(attempt))?;
                        inner.call_blocking(|attempt| tool.answer_blocking(attempt))
                    })
                });
                assert_eq!(answer, Ok(200));
            }
        }
        // The outer attempt pays for the first of the calls inside it.
        assert_eq!(budget.spent().attempts, 2, "{host:?}");
    }
}

#[test]
fn a_hedge_draws_and_its_end_leaves_the_first_attempt_alone() {
    for (budget, calls) in [(1, 1), (2, 2), (3, 3), (9, 3)] {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [hangs(), hangs(), gives(200).after(SEC)]);
        let service =
            if calls == 3 { service } else { Service::new(&clock, [gives(200).after(SEC)]) };
        let hedge = Hedge::builder().delay(10 * MS).max_hedges(2).clock(&clock).build().unwrap();
        let log = Log::of(hedge.events());
        let budget = attempts(budget);
        assert_eq!(run(&clock, budget.scope(hedge.call(|| service.answer()))), Ok(200));
        assert_eq!(service.calls(), calls);
        assert_eq!(budget.spent().attempts, calls as u64);
        let refused = log.count(|event| matches!(event, Event::HedgeRefused { .. }));
        assert_eq!(refused, usize::from(calls < 3));
    }
}

#[test]
fn a_stream_draws_when_it_is_opened() {
    let clock = ManualClock::new();
    let budget = attempts(1);
    let retry = three(&clock);
    let open = || async { Err::<futures_lite::stream::Empty<Result<u8, &str>>, _>("down") };
    let error = run(&clock, budget.scope(retry.call_stream(open))).unwrap_err();
    assert_eq!(gave_up(&error), (StopReason::Budget, 1, Some("down")));
    let error = run(&clock, budget.scope(retry.call_stream(open))).unwrap_err();
    assert!(is_refused_by(&error, "run"));
}

#[test]
fn a_call_draws_nothing_more_once_tokens_or_money_are_spent() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [fails("down")]);
        let budget = Budget::builder("run").tokens(100).build().unwrap();
        budget.record(Cost::tokens(120));
        let error = call_in!(host, clock, budget, three(&clock), service).unwrap_err();
        assert_eq!(
            error.to_string(),
            "budget `run` has nothing left of its 100 tokens: end here, ask for less or give it more"
        );
    }
}

#[test]
fn what_a_budget_refuses_takes_nothing_from_a_limiter_and_the_other_way_round() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let limiter = RateLimiter::builder("api")
            .max_requests(2)
            .max_wait(ZERO)
            .clock(&clock)
            .build()
            .unwrap();
        let refused = call_in!(host, clock, attempts(0), limiter, service).unwrap_err();
        assert!(is_refused_by(&refused, "run"));
        assert_eq!(limiter.remaining(), 2, "{host:?}");

        let budget = attempts(5);
        assert_eq!(call_in!(host, clock, budget, limiter, service), Ok(200));
        assert_eq!((limiter.remaining(), left(&budget)), (1, 4), "{host:?}");

        limiter.check().unwrap();
        assert!(call_in!(host, clock, budget, limiter, service).is_err());
        assert_eq!((left(&budget), budget.status().reserved), (4, Cost::ZERO), "{host:?}");
    }
}

#[test]
fn a_call_that_settles_with_a_limiter_draws_too() {
    let clock = ManualClock::new();
    let tokens = RateLimiter::builder("tokens").max_requests(1_000).clock(&clock).build().unwrap();
    let model = tokens.weighing(400).settling(|used: Result<&u64, &&str>| used.ok().copied());
    let budget = attempts(2);
    let call = || budget.scope(model.call(|| async { Ok::<_, &str>(100) }));
    assert_eq!(run(&clock, call()), Ok(100));
    assert_eq!(budget.scope_blocking(|| model.call_blocking(|_| Ok::<_, &str>(100))), Ok(100));
    assert!(matches!(run(&clock, call()), Err(Error::Rejected(_))));
    assert_eq!(tokens.remaining(), 800);

    let function = tokens.limit(|n: u64| async move { Ok::<_, &str>(n) });
    assert!(run(&clock, budget.scope(function.call(7))).is_err());
    assert_eq!((run(&clock, function.call(7)), tokens.remaining()), (Ok(7), 799));
}
