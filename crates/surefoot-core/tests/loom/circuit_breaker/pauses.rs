//! Pauses that the callee asks for.

use std::time::Duration;

use surefoot_core::Verdict;

use super::scenario::Do::{self, Admit, Advance, Call, Fail, Pause};
use super::scenario::Scenario;
use super::{SUCCESS, failures};

#[test]
fn the_longest_of_two_pauses_wins_in_any_order() {
    let outcomes = Scenario::new(failures(2))
        .before([Admit, Admit])
        .thread([Pause(0, 5)])
        .thread([Pause(1, 7)])
        .after([Admit, Advance(7), Admit])
        .check();
    let wait = Some(Duration::from_nanos(7));
    assert!(outcomes.iter().all(|outcome| outcome.admitted_after == [wait, None]));
}

#[test]
fn a_pause_that_begins_as_another_ends_is_kept_or_seen() {
    Scenario::new(failures(2))
        .before([Admit, Admit, Pause(0, 5)].map(in_setup))
        .thread([Pause(1, 7)])
        .thread([Admit])
        .thread([SUCCESS])
        .after([Admit])
        .preemptions(4)
        .check();
}

/// A pause asked for by a call made for it, since `before` holds its permits to the end.
fn in_setup(step: Do) -> Do {
    match step {
        Pause(_, wait) => {
            let retry_after = Some(Duration::from_nanos(wait.into()));
            Call(Verdict::Throttled { retry_after })
        }
        step => step,
    }
}

#[test]
fn a_pause_and_a_trip_at_once_promise_the_later_end() {
    Scenario::new(failures(1))
        .before([Admit, Admit])
        .thread([Pause(0, 15)])
        .thread([Fail(1)])
        .thread([Admit])
        .after([Admit])
        .preemptions(4)
        .check();
}
