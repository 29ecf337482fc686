//! What operators do beside calls.

use std::time::Duration;

use surefoot_core::CircuitState;
use surefoot_core::circuit_breaker::CircuitBreakerConfig;

use super::scenario::Do::Succeed;
use super::scenario::Do::{
    Admit, Advance, Automatic, Disable, Fail, ForceOpen, Reconfigure, Reset,
};
use super::scenario::Scenario;
use super::{FAILURE, SUCCESS, failures, in_a_row, rate};

#[test]
fn forcing_open_beside_calls_lets_them_count_before_or_not_at_all() {
    Scenario::new(failures(1))
        .before([Admit, Admit])
        .thread([ForceOpen])
        .thread([Succeed(0), Admit])
        .thread([Fail(1)])
        .after([Admit, Automatic, Admit])
        .preemptions(4)
        .check();
}

#[test]
fn forcing_open_at_the_half_open_boundary_admits_before_or_not_at_all() {
    Scenario::new(failures(1))
        .before([FAILURE, Advance(10)])
        .thread([ForceOpen, Automatic])
        .thread([Admit, Admit])
        .after([Admit])
        .check();
}

#[test]
fn a_caller_who_meets_half_open_and_forced_open_is_told_of_one_of_them() {
    let half_open_timeout = Some(Duration::from_nanos(3));
    Scenario::new(CircuitBreakerConfig { half_open_timeout, ..failures(1) })
        .before([FAILURE, Advance(10)])
        .thread([Admit, ForceOpen])
        .thread([Admit])
        .check();
}

#[test]
fn disabling_beside_the_failure_that_trips_leaves_it_closed() {
    let outcomes = Scenario::new(failures(1))
        .before([Admit, Admit])
        .thread([Disable])
        .thread([Fail(0)])
        .thread([Succeed(1)])
        .after([SUCCESS, Automatic])
        .preemptions(4)
        .check();
    assert!(outcomes.iter().all(|outcome| outcome.joined.state == CircuitState::Closed));
}

#[test]
fn a_reset_beside_successes_forgets_those_before_it() {
    Scenario::new(failures(2))
        .before([Admit, Admit, Admit])
        .thread([Reset])
        .thread([Succeed(0), Succeed(1)])
        .thread([Fail(2)])
        .after([SUCCESS])
        .preemptions(4)
        .check();
}

#[test]
fn a_reset_of_a_closed_breaker_forgets_a_success_or_lets_it_break_the_row() {
    Scenario::new(in_a_row(2))
        .before([Admit, Admit, Admit])
        .thread([Fail(0), Reset, Fail(1)])
        .thread([Succeed(2)])
        .after([FAILURE])
        .check();
}

#[test]
fn a_reset_of_a_closed_breaker_keeps_a_rate_exact() {
    Scenario::new(rate(0.5, 4, 2))
        .before([Admit, Admit, Admit, FAILURE])
        .thread([Reset, Fail(0)])
        .thread([Succeed(1)])
        .after([SUCCESS])
        .check();
}

#[test]
fn a_disabled_breaker_counts_every_failure_and_tells_once_that_it_would_have_tripped() {
    Scenario::new(rate(0.5, 4, 2))
        .before([Disable, Admit, Admit, Admit])
        .thread([Fail(0), Fail(1)])
        .thread([Succeed(2)])
        .after([SUCCESS, Automatic, SUCCESS])
        .check();
}

#[test]
fn reconfiguring_beside_calls_is_before_or_after_each() {
    Scenario::new(failures(2))
        .or(in_a_row(1))
        .before([Admit, Admit])
        .thread([Reconfigure(1)])
        .thread([Succeed(0)])
        .thread([Fail(1)])
        .after([FAILURE])
        .preemptions(4)
        .check();
}

#[test]
fn reconfiguring_a_rate_beside_a_success_is_before_or_after_it() {
    Scenario::new(rate(0.5, 4, 4))
        .or(rate(0.5, 4, 2))
        .before([Admit, Admit, FAILURE])
        .thread([Reconfigure(1)])
        .thread([Succeed(0)])
        .after([SUCCESS])
        .check();
}
