//! Pauses, and what is left at the server, as rules.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Wake, Waker};
use std::time::Duration;

use super::super::multi::{Limit, RateLimits, Scope};
use super::super::{
    RateLimiterBuilder, Reservation, ServerBudget, ServerLimits, Unready, WhenFull,
};
use crate::{KeyedRateLimiter, ManualClock, RateLimiter, Rejection, Timestamp};

const SEC: Duration = Duration::from_secs(1);

fn at(seconds: u32) -> Timestamp {
    Timestamp::ZERO + SEC * seconds
}

fn builder(clock: &ManualClock) -> RateLimiterBuilder {
    RateLimiter::builder("api").max_requests(2).time_window(SEC * 10).clock(clock)
}

/// The two kinds of state: a word, and a window behind a lock.
fn both(clock: &ManualClock) -> [RateLimiterBuilder; 2] {
    [builder(clock), builder(clock).gcra(2)]
}

fn left(remaining: u64, reset_after: Option<Duration>) -> ServerBudget {
    ServerBudget { remaining: Some(remaining), reset_after, ..ServerBudget::of("requests") }
}

#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn a_pause_refuses_everybody_until_it_ends_and_takes_nothing() {
    let clock = ManualClock::new();
    for builder in both(&clock) {
        clock.set(Timestamp::ZERO);
        let limiter = builder.build().unwrap();
        limiter.check().unwrap();
        limiter.pause_for(SEC * 3);
        for _ in 0..3 {
            let told = Rejection::Throttled { policy: "api".into(), retry_after: SEC * 3 };
            assert_eq!(limiter.check(), Err(told));
        }
        assert_eq!(limiter.try_reserve(1).unwrap_err().retry_after(), Some(SEC * 3));
        assert_eq!((limiter.remaining(), limiter.status().paused_for), (0, SEC * 3));
        clock.advance(SEC * 3);
        assert_eq!((limiter.remaining(), limiter.current_rate()), (1, 1));
        assert_eq!(limiter.check(), Ok(()));
        assert!(matches!(limiter.check(), Err(Rejection::RateLimited { .. })));
    }
}

#[test]
fn what_never_fits_is_told_so_during_a_pause_too() {
    let clock = ManualClock::new();
    for builder in both(&clock) {
        let limiter = builder.build().unwrap();
        limiter.pause_for(SEC);
        let refusal = limiter.check_n(3).unwrap_err();
        assert!(matches!(refusal, Rejection::RateLimited { retry_after: None, .. }));
        assert_eq!(limiter.check_n(0), Ok(()));
    }
}

#[test]
fn of_several_pauses_the_one_that_ends_last_counts_up_to_the_longest_allowed() {
    let clock = ManualClock::new();
    for builder in both(&clock) {
        let limiter = builder.max_throttle(SEC * 60).build().unwrap();
        limiter.pause_for(SEC * 20);
        limiter.pause_for(SEC * 5);
        assert_eq!(limiter.retry_after(1), Some(SEC * 20));
        limiter.pause_for(Duration::MAX);
        assert_eq!(limiter.retry_after(1), Some(SEC * 60));
    }
    let limiter = builder(&clock).build().unwrap();
    limiter.pause_for(Duration::MAX);
    assert_eq!(limiter.retry_after(1), Some(SEC * 3600));
}

#[test]
fn those_in_line_come_after_a_pause_one_behind_the_other_and_not_all_at_once() {
    let clock = ManualClock::new();
    for (builder, third) in both(&clock).into_iter().zip([40, 35]) {
        clock.set(Timestamp::ZERO);
        let limiter = builder.max_wait(SEC * 100).build().unwrap();
        limiter.check_n(2).unwrap();
        let slots: Vec<_> = (0..4).map(|_| limiter.reserve(1, Timestamp::MAX).unwrap()).collect();
        limiter.pause_for(SEC * 30);
        let dues: Vec<_> = slots.iter().map(Reservation::due).collect();
        assert_eq!(dues, [at(30), at(30), at(third), at(40)]);
    }
}

#[test]
fn whoever_cannot_wait_that_long_is_woken_and_refused_and_the_others_sleep_on() {
    let clock = ManualClock::new();
    for builder in both(&clock) {
        let limiter = builder.max_wait(SEC * 100).build().unwrap();
        limiter.check_n(2).unwrap();
        let (hasty, patient) = (limiter.reserve(1, at(25)), limiter.reserve(1, at(90)));
        let (hasty, patient) = (hasty.unwrap(), patient.unwrap());
        let bells = [Arc::new(Bell::default()), Arc::new(Bell::default())];
        hasty.watch(&Waker::from(Arc::clone(&bells[0])));
        patient.watch(&Waker::from(Arc::clone(&bells[1])));
        limiter.pause_for(SEC * 30);
        assert_eq!(bells.each_ref().map(|bell| bell.0.load(SeqCst)), [1, 0]);
        let Err(Unready::Refused(refusal)) = hasty.begin() else { panic!("not refused") };
        assert_eq!(refusal.retry_after(), Some(SEC * 30));
        assert_eq!(patient.due(), at(30));
        let patient = patient.begin().unwrap_err().into_reservation().unwrap();
        drop(patient);
    }
}

#[test]
fn who_begins_to_watch_after_the_refusal_is_woken_at_once() {
    let clock = ManualClock::new();
    for builder in both(&clock) {
        let limiter = builder.build().unwrap();
        limiter.check_n(2).unwrap();
        let slot = limiter.reserve(1, at(10)).unwrap();
        limiter.pause_for(SEC * 30);
        let bell = Arc::new(Bell::default());
        slot.watch(&Waker::from(Arc::clone(&bell)));
        assert_eq!(bell.0.load(SeqCst), 1);
    }
}

#[test]
fn one_whose_turn_had_come_waits_as_well_and_is_counted_when_it_calls() {
    let clock = ManualClock::new();
    let limiter = builder(&clock).max_wait(SEC * 100).build().unwrap();
    limiter.check_n(2).unwrap();
    let slots = [(); 2].map(|()| limiter.reserve(1, Timestamp::MAX).unwrap());
    clock.set(at(11));
    limiter.pause_for(SEC * 9);
    assert_eq!(slots.each_ref().map(Reservation::due), [at(20); 2]);
    clock.set(at(20));
    for slot in slots {
        drop(slot.begin().unwrap());
    }
    assert_eq!(limiter.retry_after(1), Some(SEC * 10));
}

#[test]
fn a_call_under_way_can_be_settled_during_a_pause() {
    let clock = ManualClock::new();
    for builder in both(&clock) {
        let limiter = builder.build().unwrap();
        let charges = [(); 2].map(|()| limiter.try_reserve(1).unwrap());
        limiter.pause_for(SEC);
        let [first, second] = charges;
        first.give_back();
        second.settle(2);
        clock.advance(SEC);
        assert_eq!(limiter.current_rate(), 2);
        clock.set(Timestamp::ZERO);
    }
}

#[test]
fn what_others_use_is_free_again_when_the_server_says_or_as_if_used_now() {
    let clock = ManualClock::new();
    for (reset, windowed, bucket) in [(None, 10, 5), (Some(SEC * 4), 4, 5)] {
        for (builder, wait) in both(&clock).into_iter().zip([windowed, bucket]) {
            let limiter = builder.build().unwrap();
            limiter.observe(&left(0, reset));
            assert_eq!(limiter.retry_after(1), Some(SEC * wait));
        }
    }
}

#[test]
fn more_left_than_was_thought_changes_nothing() {
    let clock = ManualClock::new();
    for builder in both(&clock) {
        let limiter = builder.build().unwrap();
        limiter.check().unwrap();
        limiter.observe(&left(1, None));
        limiter.observe(&left(1_000_000, Some(SEC)));
        limiter.observe(&left(0, Some(Duration::ZERO))); // it is back already
        assert_eq!(limiter.remaining(), 1);
    }
}

#[test]
fn a_key_in_a_pause_is_not_forgotten_and_neither_are_refusals_nobody_has_asked_for() {
    let clock = ManualClock::new();
    for builder in both(&clock) {
        clock.set(Timestamp::ZERO);
        let keyed: KeyedRateLimiter<String> = builder
            .max_wait(SEC * 20)
            .max_keys(1)
            .when_full(WhenFull::EvictIdlest)
            .build_keyed()
            .unwrap();
        keyed.pause_for("a", SEC * 15).unwrap();
        let slot = keyed.reserve("a", 1, Timestamp::MAX).unwrap();
        keyed.evict_idle();
        assert_eq!(keyed.check("a").unwrap_err().retry_after(), Some(SEC * 15));
        assert!(matches!(keyed.check("b"), Err(Rejection::KeysFull { .. })));
        keyed.pause_for("a", SEC * 30).unwrap();
        clock.set(at(60));
        keyed.evict_idle();
        assert!(matches!(slot.begin(), Err(Unready::Refused(_))));
        keyed.evict_idle();
        assert_eq!(keyed.keys(), 0);
        assert_eq!(keyed.pause_for("b", SEC), Ok(()));
    }
}

#[test]
fn limits_together_learn_in_the_scope_that_is_named() {
    let clock = ManualClock::new();
    let minute = SEC * 60;
    let limits: RateLimits<String> = RateLimits::builder("model")
        .limit(Limit::overall("requests", 10, minute))
        .limit(Limit::overall("tokens", 1000, minute))
        .limit(Limit::per_key("requests", 5, minute))
        .clock(&clock)
        .build()
        .unwrap();
    let tokens = ServerBudget { remaining: Some(100), ..ServerBudget::of("tokens") };
    let said = ServerLimits { budgets: vec![tokens], ..ServerLimits::default() };
    limits.learn("a", Scope::PerKey, &said).unwrap();
    assert_eq!(limits.remaining("a", "tokens"), Some(1000), "no limit of a key counts them");
    limits.learn("a", Scope::Overall, &said).unwrap();
    assert_eq!(limits.remaining("b", "tokens"), Some(100));

    limits.pause_for("a", Scope::PerKey, SEC * 7).unwrap();
    let refusal = limits.check("a", &[]).unwrap_err();
    let expected = Rejection::Throttled { policy: "model/requests".into(), retry_after: SEC * 7 };
    assert_eq!(refusal, expected);
    assert_eq!(limits.retry_after("a", &[("tokens", 101)]), Ok(Some(minute)));
    limits.check("b", &[]).unwrap();
    limits.pause_for("a", Scope::Overall, SEC * 9).unwrap();
    assert_eq!(limits.check("b", &[]).unwrap_err().retry_after(), Some(SEC * 9));
    clock.advance(SEC * 9);
    limits.check("a", &[("tokens", 100)]).unwrap();
}

#[test]
fn a_pause_is_what_was_asked_for_else_what_the_spent_budgets_say() {
    let budget = |unit: &'static str, remaining, seconds: u32, reset_is_full| ServerBudget {
        remaining: Some(remaining),
        reset_after: Some(SEC * seconds),
        reset_is_full,
        ..ServerBudget::of(unit)
    };
    let budgets = vec![
        budget("requests", 0, 5, false),
        budget("requests", 0, 9, false),
        budget("requests", 0, 60, true),
        budget("requests", 3, 70, false),
        budget("tokens", 0, 80, false),
    ];
    let said = ServerLimits { budgets, retry_after: Some(SEC), ..ServerLimits::default() };
    assert_eq!(said.pause("requests"), Some(SEC * 9));
    assert_eq!(said.pause("images"), None);
    let refused = ServerLimits { throttled: true, ..said };
    assert_eq!(refused.pause("requests"), Some(SEC));
    let spent = ServerLimits { quota_spent: true, ..refused };
    assert_eq!(spent.pause("requests"), None, "no wait mends that");
}

#[test]
fn what_is_back_as_a_whole_by_then_comes_back_evenly_until_then() {
    let limiter = RateLimiter::builder("api").max_requests(80);
    let clock = ManualClock::new();
    let limiter = limiter.clock(&clock).build().unwrap();
    limiter.observe(&ServerBudget { reset_is_full: true, ..left(0, Some(SEC * 40)) });
    for seconds in 0..=40 {
        clock.set(at(seconds));
        assert_eq!(limiter.remaining(), u64::from(seconds / 5 * 10), "after {seconds} s");
    }
}

#[test]
fn a_refusal_without_a_reset_has_more_when_it_may_be_tried_again() {
    let clock = ManualClock::new();
    let limiter = builder(&clock).build().unwrap();
    let budgets = vec![left(0, None)];
    let refused = ServerLimits {
        budgets,
        throttled: true,
        retry_after: Some(SEC * 3),
        ..ServerLimits::default()
    };
    limiter.learn("requests", &refused);
    assert_eq!(limiter.retry_after(2), Some(SEC * 3));
}
