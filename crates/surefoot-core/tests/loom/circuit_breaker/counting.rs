//! Successes against failures.

use surefoot_core::CircuitState;

use super::scenario::Do::{Admit, Advance, Fail, Succeed};
use super::scenario::Scenario;
use super::{FAILURE, SUCCESS, failures, in_a_row, rate, rate_in_time, slow};

#[test]
fn two_successes_and_the_failure_that_trips_are_counted_in_some_order() {
    Scenario::new(failures(1))
        .before([Admit, Admit, Admit])
        .thread([Succeed(0)])
        .thread([Succeed(1)])
        .thread([Fail(2)])
        .preemptions(4)
        .check();
}

#[test]
fn two_failures_reach_a_threshold_of_two_whatever_comes_between() {
    let outcomes = Scenario::new(failures(2))
        .before([Admit, Admit, Admit])
        .thread([Fail(0)])
        .thread([Fail(1)])
        .thread([Succeed(2)])
        .preemptions(4)
        .check();
    assert!(outcomes.iter().all(|outcome| outcome.joined.state == CircuitState::Open));
}

#[test]
fn a_success_admitted_during_a_trip_is_refused_or_counted() {
    Scenario::new(failures(1)).before([Admit]).thread([Fail(0)]).thread([SUCCESS, SUCCESS]).check();
}

#[test]
fn a_success_between_two_failures_in_a_row_breaks_the_row_in_some_order() {
    Scenario::new(in_a_row(2))
        .before([Admit, Admit, Admit])
        .thread([Fail(0), Fail(1)])
        .thread([Succeed(2)])
        .after([FAILURE])
        .check();
}

#[test]
fn successes_and_failures_in_a_row_from_two_threads_leave_a_row_that_some_order_leaves() {
    Scenario::new(in_a_row(3))
        .before([Admit, Admit, Admit, Admit])
        .thread([Fail(0), Succeed(1)])
        .thread([Fail(2), Succeed(3)])
        .after([FAILURE, FAILURE])
        .preemptions(4)
        .check();
}

#[test]
fn a_success_that_completes_the_minimum_trips_whoever_comes_last() {
    let outcomes = Scenario::new(rate(0.5, 4, 2))
        .before([Admit, Admit])
        .thread([Fail(0)])
        .thread([Succeed(1)])
        .check();
    assert!(outcomes.iter().all(|outcome| outcome.joined.state == CircuitState::Open));
}

#[test]
fn two_successes_around_a_failure_complete_the_minimum_in_some_order() {
    Scenario::new(rate(0.5, 4, 2))
        .before([Admit, Admit, Admit])
        .thread([Fail(0)])
        .thread([Succeed(1)])
        .thread([Succeed(2)])
        .after([SUCCESS, FAILURE])
        .preemptions(4)
        .check();
}

#[test]
fn a_rate_of_two_thirds_is_reached_or_not_as_in_some_order() {
    Scenario::new(rate(2.0 / 3.0, 3, 3))
        .before([Admit, Admit, Admit, Admit])
        .thread([Fail(0), Fail(1)])
        .thread([Succeed(2), Succeed(3)])
        .after([FAILURE])
        .preemptions(4)
        .check();
}

#[test]
fn a_failure_keeps_its_place_in_a_window_of_two_calls() {
    Scenario::new(rate(1.0, 2, 2))
        .before([Admit, Admit, Admit])
        .thread([Fail(0)])
        .thread([Succeed(1), Succeed(2)])
        .after([FAILURE])
        .check();
}

#[test]
fn a_rate_over_time_is_completed_by_a_success_whoever_comes_last() {
    let outcomes = Scenario::new(rate_in_time(0.5, 2))
        .before([Admit, Admit])
        .thread([Fail(0)])
        .thread([Succeed(1)])
        .check();
    assert!(outcomes.iter().all(|outcome| outcome.joined.state == CircuitState::Open));
}

#[test]
fn successes_in_a_new_bucket_race_to_begin_it() {
    Scenario::new(rate_in_time(0.5, 3))
        .before([Admit, Admit, Admit, FAILURE, SUCCESS, Advance(50)])
        .thread([Succeed(0)])
        .thread([Succeed(1), Fail(2)])
        .after([Advance(50), FAILURE])
        .preemptions(4)
        .check();
}

#[test]
fn slow_and_fast_successes_complete_the_minimum_in_some_order() {
    Scenario::new(slow(0.5, 2, 2))
        .before([Admit, Advance(5), Admit, Admit])
        .thread([Succeed(0)])
        .thread([Succeed(1), Succeed(2)])
        .after([SUCCESS])
        .check();
}

// ---- on stripes of their own ---------------------------------------------------------------

#[test]
fn successes_on_two_stripes_and_the_failure_that_trips_are_counted_in_some_order() {
    Scenario::new(failures(1))
        .before([Admit, Admit, Admit])
        .thread([Succeed(0), Fail(2)])
        .thread([Succeed(1), SUCCESS])
        .apart()
        .check();
}

#[test]
fn successes_on_two_stripes_around_a_failure_complete_the_minimum_in_some_order() {
    Scenario::new(rate(0.3, 4, 3))
        .before([Admit, Admit, Admit])
        .thread([Succeed(1)])
        .thread([Succeed(2), Fail(0)])
        .after([SUCCESS, FAILURE])
        .apart()
        .check();
}

#[test]
fn successes_on_two_stripes_break_a_row_of_failures_in_some_order() {
    Scenario::new(in_a_row(2))
        .before([Admit, Admit, Admit, Admit])
        .thread([Fail(0), Succeed(1)])
        .thread([Succeed(2), Fail(3)])
        .after([FAILURE])
        .preemptions(4)
        .apart()
        .check();
}

#[test]
fn a_success_on_a_stripe_of_its_own_beside_trip_and_closing_is_not_counted_with_the_next_phase() {
    Scenario::new(failures(1))
        .before([Admit, Admit])
        .thread([Fail(0), Advance(10), SUCCESS, SUCCESS])
        .thread([Succeed(1)])
        .after([SUCCESS])
        .apart()
        .check();
}
