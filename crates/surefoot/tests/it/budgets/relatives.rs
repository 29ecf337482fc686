//! Budgets within budgets: all pay, and once.

use surefoot::budget::Cost;
use surefoot::{Budget, ManualClock, Pipeline, StopReason};

use super::{attempts, gave_up, left, three};
use crate::support::*;

#[test]
fn budgets_within_budgets_all_pay_and_relatives_pay_once() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let (run_budget, service_budget) = (attempts(5), attempts(3));
        let step = Budget::builder("step").attempts(2).slice_of(&run_budget).unwrap();
        let pipeline = Pipeline::builder("api")
            .budget(service_budget.clone())
            .budget(step.clone())
            .budget(run_budget.clone())
            .build()
            .unwrap();
        assert_eq!(call!(host, clock, pipeline, service), Ok(200));
        let spent = [&run_budget, &service_budget, &step].map(|budget| budget.spent().attempts);
        assert_eq!(spent, [1, 1, 1], "{host:?}");
    }
}

/// One call of an operation costs one attempt everywhere, whichever way budgets are nested.
#[test]
fn a_call_inside_a_paid_one_pays_only_what_is_not_paid_yet() {
    let relatives: [fn(&Budget) -> Budget; 3] = [
        |run| Budget::builder("inside").attempts(2).share_of(run).unwrap(),
        |run| Budget::builder("inside").attempts(2).slice_of(run).unwrap(),
        |run| {
            let between = Budget::builder("between").attempts(3).slice_of(run).unwrap();
            Budget::builder("inside").attempts(2).share_of(&between).unwrap()
        },
    ];
    for (host, relative) in Host::BOTH.into_iter().flat_map(|host| relatives.map(|r| (host, r))) {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let run_budget = attempts(4);
        let sibling = Budget::builder("sibling").share_of(&run_budget).unwrap();
        let inside = relative(&run_budget);
        let pipeline = Pipeline::builder("api")
            .budget(run_budget.clone())
            .budget(sibling.clone())
            .budget(inside.clone())
            .build()
            .unwrap();
        assert_eq!(call!(host, clock, pipeline, service), Ok(200));
        let spent = [&run_budget, &sibling, &inside].map(|budget| budget.spent().attempts);
        assert_eq!(spent, [1, 1, 1], "{host:?}");
        drop((pipeline, inside));
        assert_eq!((left(&run_budget), run_budget.status().reserved), (3, Cost::ZERO));
    }
}

#[test]
fn the_last_attempt_is_enough_for_a_child_within_its_parent() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let run_budget = attempts(1);
        let child = Budget::builder("child").share_of(&run_budget).unwrap();
        let pipeline = Pipeline::builder("api").budget(run_budget).budget(child).build().unwrap();
        assert_eq!(call!(host, clock, pipeline, service), Ok(200));
    }
}

#[test]
fn what_one_budget_refuses_the_others_do_not_pay() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let (outer, inner) = (attempts(0), attempts(3));
        let pipeline =
            Pipeline::builder("api").budget(outer).budget(inner.clone()).build().unwrap();
        assert!(call!(host, clock, pipeline, service).is_err());
        assert_eq!((left(&inner), inner.status().reserved), (3, Cost::ZERO));
    }
}

#[test]
fn a_budget_inside_a_retry_ends_it_as_well() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [fails("down")]);
        let budget = attempts(1);
        let pipeline = Pipeline::builder("api")
            .idempotent()
            .add(three(&clock))
            .budget(budget)
            .build()
            .unwrap();
        let error = call!(host, clock, pipeline, service).unwrap_err();
        let (stop, made, _) = gave_up(&error);
        assert_eq!((stop, made), (StopReason::Budget, 2));
    }
}
