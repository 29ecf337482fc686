//! Budgets of several levels, and their slices.

use std::sync::{Arc, Mutex};

use surefoot_core::budget::{Charge, Cost};
use surefoot_core::{Budget, Event};

use super::beside;

fn run_of(attempts: u64) -> Budget {
    Budget::builder("run").attempts(attempts).build().unwrap()
}

fn left(budget: &Budget) -> Option<u64> {
    budget.remaining().attempts
}

#[test]
fn the_last_attempt_is_drawn_once_whichever_level_asks() {
    loom::model(|| {
        let run = run_of(1);
        let child = Budget::builder("child").attempts(1).share_of(&run).unwrap();
        let thread = beside(&child, |child| child.draw().map(drop).is_ok());
        let by_run = run.draw().map(drop).is_ok();
        let by_child = thread.join().unwrap();
        assert!(by_run ^ by_child, "one of them, and not both");
        assert_eq!((run.spent().attempts, child.spent().attempts), (1, u64::from(by_child)));
        assert_eq!(child.status().reserved, Cost::ZERO);
    });
}

/// Two children, of which each has enough and their parent has not: nothing is left of the refusal.
#[test]
fn a_refusal_higher_up_leaves_nothing_taken_below_beside_another_draw() {
    loom::model(|| {
        let run = run_of(1);
        let child = |name| Budget::builder(name).attempts(1).share_of(&run).unwrap();
        let (one, other) = (child("one"), child("other"));
        let thread = beside(&one, |one| one.draw().map(drop).is_ok());
        let granted = usize::from(other.draw().map(drop).is_ok());
        let granted = granted + usize::from(thread.join().unwrap());
        assert_eq!(granted, 1);
        let (one, other) = (one.status(), other.status());
        assert_eq!(one.spent.attempts + other.spent.attempts, 1);
        assert_eq!((one.reserved, other.reserved), (Cost::ZERO, Cost::ZERO));
    });
}

#[test]
fn a_slice_that_comes_back_beside_a_draw_is_there_before_or_after_it() {
    loom::model(|| {
        let run = run_of(2);
        let slice = Budget::builder("slice").attempts(2).slice_of(&run).unwrap();
        let charge = slice.draw().unwrap();
        let thread = loom::thread::spawn(move || {
            drop(slice);
            drop(charge); // spent
        });
        let granted = u64::from(run.draw().map(drop).is_ok());
        thread.join().unwrap();
        assert_eq!((left(&run), run.spent().attempts), (Some(1 - granted), 1 + granted));
        assert_eq!(run.status().reserved, Cost::ZERO);
    });
}

#[test]
fn a_slice_and_a_draw_do_not_take_the_same_attempt() {
    loom::model(|| {
        let run = run_of(1);
        let thread = beside(&run, |run| Budget::builder("slice").attempts(1).slice_of(&run).ok());
        let drawn = run.draw().ok();
        let slice = thread.join().unwrap();
        assert!(drawn.is_some() ^ slice.is_some());
        drop(slice);
        drawn.into_iter().for_each(Charge::give_back);
        assert_eq!(left(&run), Some(1));
    });
}

#[test]
fn the_end_is_told_once_to_whoever_brings_it_about() {
    loom::model(|| {
        let told = Arc::new(Mutex::new(0));
        let ear = Arc::clone(&told);
        let run = Budget::builder("run")
            .attempts(2)
            .on_event(move |event| {
                *ear.lock().unwrap() += usize::from(matches!(event, Event::BudgetExhausted { .. }));
            })
            .build()
            .unwrap();
        let thread = beside(&run, |run| drop(run.draw()));
        drop(run.draw());
        thread.join().unwrap();
        assert!(run.draw().is_err());
        assert_eq!(*told.lock().unwrap(), 1);
    });
}
