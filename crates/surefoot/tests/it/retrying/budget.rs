//! What a retry budget allows, and who shares it.

use surefoot::{ManualClock, Pipeline, RetryBudget, StopReason};

use super::exhausted;
use crate::support::*;

/// policies.md §4 rule 47; §2 trap k.
#[test]
fn a_retry_the_budget_denies_returns_the_last_error_without_a_wait() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let budget = RetryBudget::builder().initial(1).ratio(0.0).clock(&clock).build().unwrap();
        let service = Service::new(&clock, [fails("first"), fails("second"), gives(200)]);
        let retry = retry(&clock).budget(budget.clone()).build().unwrap();
        let (last, stop, attempts) = exhausted(call!(host, clock, retry, service));
        assert_eq!((last, stop, attempts), (Error::Operation("second"), StopReason::Budget, 2));
        assert_eq!((clock.now_ms(), budget.balance()), (1000, 0), "{host:?}: one wait");
    }
}

/// policies.md §4 rule 47: 20 % of the calls, whatever the number of attempts.
#[test]
fn when_everything_fails_a_fifth_of_the_calls_is_retried() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let day = 86_400 * SEC;
        let budget =
            RetryBudget::builder().initial(0).refill_every(day).clock(&clock).build().unwrap();
        let service = Service::new(&clock, [fails("down")]);
        let retry = retry(&clock).budget(budget).build().unwrap();
        for _ in 0..100 {
            assert!(call!(host, clock, retry, service).is_err());
        }
        assert_eq!(service.calls(), 120, "{host:?}");
    }
}

/// policies.md §4 rule 47: the token is taken before the wait, and given back if the wait is cut.
#[test]
fn a_token_whose_wait_is_cancelled_is_given_back() {
    let clock = ManualClock::new();
    let budget = RetryBudget::builder().initial(3).ratio(0.0).clock(&clock).build().unwrap();
    let service = Service::new(&clock, [fails("down")]);
    let retry = retry(&clock).budget(budget.clone()).build().unwrap();
    let mut tasks: Vec<_> = (0..3).map(|_| Task::new(retry.call(|| service.answer()))).collect();
    assert!(tasks.iter_mut().all(|task| task.poll().is_pending()));
    assert_eq!(budget.balance(), 0);
    let (_, stop, attempts) = exhausted(run(&clock, retry.call(|| service.answer())));
    assert_eq!((stop, attempts), (StopReason::Budget, 1), "waiting retries hold their tokens");
    tasks.clear();
    assert_eq!(budget.balance(), 3);
}

/// A budget is shared by all that hold it.
#[test]
fn retries_to_one_destination_share_one_budget() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let budget = RetryBudget::builder().initial(1).ratio(0.0).clock(&clock).build().unwrap();
        let one = retry(&clock).max_attempts(2).budget(budget.clone()).build().unwrap();
        let other = retry(&clock).max_attempts(2).budget(budget).build().unwrap();
        let service = Service::new(&clock, [fails("down")]);
        assert_eq!(exhausted(call!(host, clock, one, service)).1, StopReason::Attempts);
        assert_eq!(exhausted(call!(host, clock, other, service)).1, StopReason::Budget);
    }
}

/// DESIGN §4 Retry: on by default wherever Surefoot composes the pipeline itself.
#[test]
fn a_retry_in_a_pipeline_has_a_budget_of_ten_and_a_bare_one_has_none() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let many = || retry(&clock).max_attempts(50).initial_delay(MS).build().unwrap();
        let service = Service::new(&clock, [fails("down")]);

        let bare = many();
        assert!(bare.budget().is_none());
        assert_eq!(exhausted(call!(host, clock, bare, service)).2, 50, "{host:?}");

        let pipeline = Pipeline::builder("api").idempotent().add(many()).build().unwrap();
        let (_, stop, attempts) = exhausted(call!(host, clock, pipeline, service));
        assert_eq!((stop, attempts), (StopReason::Budget, 11), "{host:?}");
    }
}

#[test]
fn a_pipeline_keeps_the_budget_a_retry_was_given() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let many = retry(&clock).max_attempts(50).initial_delay(MS);
        let retry = many.budget(RetryBudget::unlimited()).build().unwrap();
        let service = Service::new(&clock, [fails("down")]);
        let pipeline = Pipeline::builder("api").idempotent().add(retry).build().unwrap();
        let (_, stop, attempts) = exhausted(call!(host, clock, pipeline, service));
        assert_eq!((stop, attempts), (StopReason::Attempts, 50), "{host:?}");
    }
}

/// "Clones are handles to the same one": what the pipeline does is seen by who kept a handle.
#[test]
fn a_handle_kept_outside_a_pipeline_counts_what_the_pipeline_retries() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let kept = retry(&clock).build().unwrap();
        let log = Log::of(kept.events());
        let pipeline = Pipeline::builder("api").idempotent().add(kept.clone()).build().unwrap();
        let service = Service::new(&clock, [fails("down"), gives(200)]);
        assert_eq!(call!(host, clock, pipeline, service), Ok(200));
        assert_eq!(log.events().len(), 1, "{host:?}");
        assert_eq!(kept.retries(), 1, "{host:?}");
    }
}
