//! Trial calls and their places.

use std::time::Duration;

use surefoot_core::circuit_breaker::{CircuitBreakerConfig, TimeoutGrowth};

use super::scenario::Do::{Admit, Advance, Cancel, Fail, Succeed};
use super::scenario::{Outcome, Scenario};
use super::{FAILURE, SUCCESS, failures};

#[test]
fn one_place_at_the_half_open_boundary_goes_to_one_of_three() {
    let outcomes = Scenario::new(failures(1))
        .before([FAILURE, Advance(10)])
        .thread([Admit])
        .thread([Admit])
        .thread([Admit])
        .preemptions(4)
        .check();
    assert!(outcomes.iter().all(|outcome| admissions(outcome) == 1));
}

#[test]
fn two_places_at_the_half_open_boundary_go_to_two_of_three() {
    let outcomes =
        Scenario::new(CircuitBreakerConfig { half_open_max_calls: Some(2), ..failures(1) })
            .before([FAILURE, Advance(10)])
            .thread([Admit])
            .thread([Admit])
            .thread([Admit])
            .preemptions(4)
            .check();
    assert!(outcomes.iter().all(|outcome| admissions(outcome) == 2));
}

fn admissions(outcome: &Outcome) -> usize {
    outcome.admitted.iter().flatten().filter(|refused| refused.is_none()).count()
}

#[test]
fn places_given_back_while_others_ask_are_given_out_once() {
    let two =
        CircuitBreakerConfig { half_open_max_calls: Some(2), success_threshold: 2, ..failures(1) };
    Scenario::new(two)
        .before([FAILURE, Advance(10), Admit, Admit])
        .thread([Cancel(0), Admit])
        .thread([Cancel(1)])
        .thread([Admit])
        .after([Admit, Admit])
        .preemptions(4)
        .check();
}

#[test]
fn an_expired_place_is_given_away_once_while_its_trial_call_reports() {
    let config = CircuitBreakerConfig {
        half_open_max_calls: Some(1),
        success_threshold: 2,
        half_open_timeout: Some(Duration::from_nanos(3)),
        ..failures(1)
    };
    Scenario::new(config)
        .before([FAILURE, Advance(10), Admit, Advance(3)])
        .thread([Succeed(0)])
        .thread([Admit])
        .thread([Admit])
        .after([SUCCESS])
        .preemptions(4)
        .check();
}

#[test]
fn of_a_success_that_closes_and_a_failure_that_reopens_the_first_decides() {
    let config = CircuitBreakerConfig {
        half_open_max_calls: Some(2),
        timeout_growth: Some(TimeoutGrowth { factor: 2.0, max: Duration::from_nanos(40) }),
        ..failures(1)
    };
    Scenario::new(config)
        .before([FAILURE, Advance(10), Admit, Admit])
        .thread([Succeed(0)])
        .thread([Fail(1)])
        .after([Admit, Advance(20), SUCCESS])
        .check();
}
