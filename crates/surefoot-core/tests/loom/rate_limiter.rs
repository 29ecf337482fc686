//! GCRA's one word, the line beside it, and an exact window.

use std::time::Duration;

use surefoot_core::rate_limiter::ServerBudget;
use surefoot_core::{ManualClock, RateLimiter, Timestamp};

use super::beside;

/// GCRA: `burst` units at once, then one each 10 ns.
fn gcra(burst: u64) -> (RateLimiter, ManualClock) {
    let clock = ManualClock::new();
    let limiter = RateLimiter::builder("loom")
        .max_requests(1)
        .time_window(Duration::from_nanos(10))
        .gcra(burst)
        .max_wait(Duration::from_micros(1))
        .clock(&clock)
        .build()
        .unwrap();
    (limiter, clock)
}

#[test]
fn two_threads_cannot_take_one_unit_twice() {
    loom::model(|| {
        let (limiter, _) = gcra(1);
        let thread = beside(&limiter, |other| other.check().is_ok());
        let admitted = [limiter.check().is_ok(), thread.join().unwrap()];
        assert_eq!(admitted.iter().filter(|ok| **ok).count(), 1);
        assert_eq!(limiter.retry_after(1), Some(Duration::from_nanos(10)));
    });
}

#[test]
fn weights_of_two_threads_fit_in_some_order_and_refusals_take_nothing() {
    loom::model(|| {
        let (limiter, _) = gcra(3);
        let thread = beside(&limiter, |other| {
            u64::from(other.check_n(2).is_ok()) * 2 + u64::from(other.check().is_ok())
        });
        let ours = u64::from(limiter.check_n(2).is_ok()) * 2;
        let taken = ours + thread.join().unwrap();
        assert_eq!(taken, 3, "two and one fit in every order");
        assert_eq!(limiter.remaining(), 0);
    });
}

#[test]
fn a_unit_reserved_beside_a_call_is_not_taken_twice() {
    loom::model(|| {
        let (limiter, _) = gcra(1);
        let thread = beside(&limiter, |other| other.check().is_ok());
        let slot = limiter.reserve(1, Timestamp::MAX).unwrap();
        let due = slot.due().as_nanos();
        assert_eq!(due, if thread.join().unwrap() { 10 } else { 0 });
        drop(slot);
        assert_eq!(limiter.remaining(), u64::from(due == 0));
    });
}

#[test]
fn units_given_back_beside_a_call_are_there_before_or_after_it() {
    loom::model(|| {
        let (limiter, _) = gcra(2);
        let charge = limiter.try_reserve(2).unwrap();
        let thread = beside(&limiter, |other| other.check().is_ok());
        charge.settle(1);
        let admitted = thread.join().unwrap();
        assert_eq!(limiter.remaining(), u64::from(!admitted));
    });
}

#[test]
fn a_unit_that_is_free_again_and_taken_by_another_call_is_not_given_back_as_well() {
    loom::model(|| {
        let (limiter, clock) = gcra(1);
        let charge = limiter.try_reserve(1).unwrap();
        let thread = beside(&limiter, move |other| {
            clock.advance(Duration::from_nanos(10));
            other.check().is_ok()
        });
        charge.settle(0);
        assert!(thread.join().unwrap());
        assert_eq!(limiter.remaining(), 0);
    });
}

#[test]
fn a_debt_beside_a_call_is_owed_whoever_comes_first() {
    loom::model(|| {
        let (limiter, _) = gcra(3);
        let charge = limiter.try_reserve(1).unwrap();
        let thread = beside(&limiter, |other| other.check_n(2).is_ok());
        charge.settle(3);
        let owed = 3 + 2 * u64::from(thread.join().unwrap());
        assert_eq!(limiter.reset_at().as_nanos(), owed * 10);
    });
}

#[test]
fn a_waiter_that_gives_up_beside_another_moves_it_up() {
    loom::model(|| {
        let (limiter, _) = gcra(1);
        limiter.check().unwrap();
        let first = limiter.reserve(1, Timestamp::MAX).unwrap();
        let thread = beside(&limiter, |other| {
            let slot = other.reserve(1, Timestamp::MAX).unwrap();
            (slot.due().as_nanos(), slot)
        });
        drop(first);
        let (told, second) = thread.join().unwrap();
        assert!([10, 20].contains(&told));
        assert_eq!(second.due().as_nanos(), 10);
    });
}

#[test]
fn a_call_beside_a_pause_is_admitted_before_it_or_not_at_all_and_counted_once() {
    loom::model(|| {
        let (limiter, clock) = gcra(2);
        let thread = beside(&limiter, |other| other.check().is_ok());
        limiter.pause_for(Duration::from_nanos(5));
        assert!(limiter.check().is_err());
        let admitted = u64::from(thread.join().unwrap());
        clock.advance(Duration::from_nanos(5));
        assert_eq!(limiter.remaining(), 2 - admitted);
    });
}

#[test]
fn one_unit_at_the_end_of_a_pause_goes_to_one_of_two() {
    loom::model(|| {
        let (limiter, clock) = gcra(1);
        limiter.pause_for(Duration::from_nanos(5));
        clock.advance(Duration::from_nanos(5));
        let thread = beside(&limiter, |other| other.check().is_ok());
        let admitted = [limiter.check().is_ok(), thread.join().unwrap()];
        assert_eq!(admitted.iter().filter(|ok| **ok).count(), 1);
    });
}

#[test]
fn a_call_beside_the_end_of_a_pause_never_finds_the_word_as_it_shows_meanwhile() {
    loom::model(|| {
        let (limiter, clock) = gcra(2);
        limiter.pause_for(Duration::from_nanos(5));
        let thread = beside(&limiter, |other| match other.check() {
            Ok(()) => None,
            Err(rejection) => Some(rejection.retry_after()),
        });
        clock.advance(Duration::from_nanos(5));
        let told = thread.join().unwrap();
        assert!(told.is_none_or(|wait| wait == Some(Duration::from_nanos(5))), "{told:?}");
        assert_eq!(limiter.remaining(), 2 - u64::from(told.is_none()));
    });
}

#[test]
fn what_a_server_has_left_beside_a_call_is_less_by_it_or_not() {
    loom::model(|| {
        let (limiter, _) = gcra(3);
        let thread = beside(&limiter, |other| other.check());
        limiter.observe(&ServerBudget { remaining: Some(1), ..ServerBudget::of("requests") });
        assert_eq!(thread.join().unwrap(), Ok(()));
        assert!(limiter.remaining() <= 1);
    });
}

#[test]
fn an_exact_window_admits_its_limit_to_any_number_of_threads() {
    loom::model(|| {
        let limiter =
            RateLimiter::builder("loom").max_requests(2).clock(ManualClock::new()).build().unwrap();
        let ask = |limiter: RateLimiter| move || usize::from(limiter.check().is_ok());
        let threads = [(); 2].map(|()| loom::thread::spawn(ask(limiter.clone())));
        let ours = usize::from(limiter.check().is_ok());
        let others: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(ours + others, 2);
    });
}
