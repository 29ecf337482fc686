//! Results that are late by a change of state, or two.

use surefoot_core::CircuitState;

use super::scenario::Do::{Admit, Advance, Fail, Succeed};
use super::scenario::{Outcome, Scenario};
use super::{FAILURE, SUCCESS, failures, in_a_row, rate};

#[test]
fn a_success_that_meets_trip_probe_and_close_counts_before_or_not_at_all() {
    Scenario::new(failures(1))
        .before([Admit, Admit])
        .thread([Fail(0), Advance(10), SUCCESS, SUCCESS])
        .thread([Succeed(1)])
        .after([SUCCESS])
        .check();
}

#[test]
fn a_late_success_beside_the_probe_that_closes_changes_only_the_totals() {
    Scenario::new(in_a_row(1))
        .before([Admit, FAILURE, Advance(10), Admit])
        .thread([Succeed(1), FAILURE])
        .thread([Succeed(0)])
        .after([Advance(10), SUCCESS])
        .check();
}

#[test]
fn a_late_failure_beside_the_probe_that_closes_changes_only_the_totals() {
    let outcomes = Scenario::new(failures(1))
        .before([Admit, FAILURE, Advance(10), Admit])
        .thread([Succeed(1)])
        .thread([Fail(0)])
        .check();
    assert!(outcomes.iter().all(|outcome| outcome.joined.state == CircuitState::Closed));
}

#[test]
fn successes_of_two_generations_are_told_apart_by_a_rate() {
    Scenario::new(rate(0.6, 4, 1))
        .before([Admit, Admit])
        .thread([Fail(0), Advance(10), SUCCESS, FAILURE])
        .thread([Succeed(1)])
        .check();
}

#[test]
fn a_success_that_is_late_by_two_closings_is_not_counted_with_the_third_phase() {
    let outcomes = Scenario::new(in_a_row(1))
        .before([Admit, Admit])
        .thread([Fail(0), Advance(10), SUCCESS, FAILURE, Advance(10), SUCCESS])
        .thread([Succeed(1)])
        .check();
    let closed = |outcome: &&Outcome| outcome.joined.generation == 6;
    assert!(outcomes.iter().filter(closed).all(|outcome| outcome.joined.success_count == 0));
}
