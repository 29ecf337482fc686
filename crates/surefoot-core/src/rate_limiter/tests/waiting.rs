//! Who stands in line, what is told of them, and where debts stand.

use super::*;
use crate::Clock;

fn patient(clock: &ManualClock) -> [RateLimiter; 2] {
    [builder(1, 10, clock), builder(1, 10, clock).gcra(1)]
        .map(|builder| builder.max_wait(SEC * 100).build().unwrap())
}

#[test]
fn those_wait_whose_slot_is_not_due() {
    let clock = ManualClock::new();
    for limiter in patient(&clock) {
        let start = clock.now();
        limiter.check().unwrap();
        let slots = [(); 3].map(|()| limiter.reserve(1, Timestamp::MAX).unwrap());
        assert_eq!(limiter.status().waiting, 3);
        clock.set(start + SEC * 10);
        assert_eq!(limiter.status().waiting, 2, "the first is due, if not begun");
        drop(slots);
        assert_eq!(limiter.status().waiting, 0);
        clock.advance(SEC * 100);
    }
}

/// The debt of one is due at 20 s, behind both who wait. When the first of them gives up, the second
/// moves up, and so does the debt.
#[test]
fn a_debt_stands_behind_whoever_waited_before_it_and_moves_up_with_them() {
    let clock = ManualClock::new();
    for limiter in patient(&clock) {
        let start = clock.now();
        let charge = limiter.try_reserve(1).unwrap();
        let first = limiter.reserve(1, Timestamp::MAX).unwrap();
        let second = limiter.reserve(1, Timestamp::MAX).unwrap();
        charge.settle(2);
        assert_eq!(limiter.status().waiting, 2, "a debt is nobody who waits");
        assert_eq!([first.due(), second.due()], [start + SEC * 10, start + SEC * 20]);
        let last = limiter.reserve(1, Timestamp::MAX).unwrap().due();
        drop(first);
        assert_eq!(second.due(), start + SEC * 10);
        assert_eq!(
            limiter.reserve(1, Timestamp::MAX).unwrap().due(),
            last.saturating_sub(SEC * 10)
        );
        drop(second);
        clock.advance(SEC * 1000);
    }
}

#[test]
fn what_fits_is_admitted_at_once_and_what_does_not_stands_in_line() {
    let clock = ManualClock::new();
    for limiter in patient(&clock) {
        let admit = |n, latest| limiter.admit(n, latest);
        assert!(matches!(admit(0, Timestamp::MAX), Ok(Admission::Now)));
        assert_eq!(limiter.totals().admitted, 0, "a call of no units is not counted");
        assert!(matches!(admit(1, clock.now()), Ok(Admission::Now)));
        assert_eq!(limiter.totals().admitted, 1);
        assert!(matches!(admit(1, clock.now()), Err(Rejection::RateLimited { .. })));
        let Ok(Admission::Later(slot)) = admit(1, Timestamp::MAX) else { panic!("has to wait") };
        assert_eq!(slot.due(), clock.now() + SEC * 10);
        drop(slot);
        clock.advance(SEC * 10);
        let over = clock.now().saturating_sub(SEC);
        assert!(matches!(admit(0, over), Ok(Admission::Now)), "nothing is never late");
        assert!(admit(1, over).is_err());
        assert!(matches!(admit(1, clock.now()), Ok(Admission::Now)));
        clock.advance(SEC * 10);
    }
}

#[test]
fn where_nobody_may_wait_a_refusal_is_counted_once() {
    let clock = ManualClock::new();
    let limiter = builder(1, 10, &clock).max_wait(Duration::ZERO).build().unwrap();
    limiter.check().unwrap();
    let refused = limiter.admit(1, Timestamp::MAX).unwrap_err();
    assert_eq!(refused.retry_after(), Some(SEC * 10));
    assert_eq!(limiter.totals().rejected, 1);
}

#[test]
fn a_wait_is_told_with_its_length_and_no_wait_is_not() {
    let clock = ManualClock::new();
    let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
    let ear = Arc::clone(&heard);
    let told =
        builder(1, 10, &clock).on_event(move |event| ear.lock().unwrap().push(event.clone()));
    let limiter = told.build().unwrap();
    clock.set(at(3));
    let now = limiter.reserve(1, Timestamp::MAX).unwrap();
    drop(now.begin().unwrap());
    clock.set(at(4));
    let later = limiter.reserve(1, Timestamp::MAX).unwrap();
    let (policy, at, delay) = ("test".into(), at(4), SEC * 9);
    assert_eq!(*heard.lock().unwrap(), [Event::RateDelayed { policy, at, delay }]);
    assert_eq!(limiter.totals().delayed, 1);
    drop(later);
}

/// Else each would take up memory for good.
#[test]
fn a_charge_that_was_dropped_is_remembered_nowhere() {
    use super::super::engine::Engine;
    use crate::sync::lock;
    let clock = ManualClock::new();
    for limiter in patient(&clock) {
        drop(limiter.try_reserve(1).unwrap());
        let begun = match &limiter.shared.engine {
            Engine::Gcra(engine) => lock(&engine.line).line.begun.len(),
            Engine::Windowed(engine) => lock(&engine.lane).1.begun.len(),
        };
        assert_eq!(begun, 0);
    }
}

#[test]
fn a_debt_that_is_paid_is_remembered_nowhere() {
    use super::super::engine::Engine;
    use crate::sync::lock;
    let clock = ManualClock::new();
    for limiter in patient(&clock) {
        let start = clock.now();
        let charge = limiter.try_reserve(1).unwrap();
        let slot = limiter.reserve(1, Timestamp::MAX).unwrap();
        charge.settle(2);
        let waiting = || match &limiter.shared.engine {
            Engine::Gcra(engine) => lock(&engine.line).line.waiting.len(),
            Engine::Windowed(engine) => lock(&engine.lane).1.waiting.len(),
        };
        assert_eq!(waiting(), 2, "one who waits, and a debt");
        clock.set(start + SEC * 10);
        drop(slot.begin().unwrap());
        assert_eq!(waiting(), 0);
        clock.advance(SEC * 100);
    }
}

/// Whoever gave up leaves the limiter as if it had never been asked.
#[test]
fn what_was_taken_leaves_when_it_would_have_left_whoever_gives_up_a_later_place() {
    let clock = ManualClock::new();
    let limiter = builder(3, 10, &clock).build().unwrap();
    limiter.check().unwrap();
    clock.set(at(5));
    limiter.check().unwrap();
    drop(limiter.reserve(2, Timestamp::MAX).unwrap());
    assert_eq!((limiter.current_rate(), limiter.reset_at()), (2, at(15)));
    clock.set(at(10));
    assert_eq!((limiter.current_rate(), limiter.remaining()), (1, 2));
    clock.set(at(15));
    assert_eq!(limiter.remaining(), 3);
}

#[test]
fn any_number_that_has_left_has_left_at_once() {
    let clock = ManualClock::new();
    let limiter = builder(9, 10, &clock).build().unwrap();
    for second in 0..9 {
        clock.set(at(second));
        limiter.check().unwrap();
    }
    clock.set(at(16));
    assert_eq!(limiter.remaining(), 7);
    clock.set(at(30));
    assert_eq!(limiter.check_n(9), Ok(()));
}

/// More than any limit earns back, and never so much that it turns into a credit.
#[test]
fn however_much_is_owed_it_is_owed() {
    let clock = ManualClock::new();
    for limiter in patient(&clock) {
        let charges = [(); 20].map(|()| limiter.try_reserve(0).unwrap());
        for charge in charges {
            charge.settle(u64::MAX);
            assert_eq!(limiter.remaining(), 0);
            assert!(limiter.check().is_err());
        }
    }
}

/// Two of five units were taken by others, who get them back at 3 s; ours of 0 s leaves at 10 s.
#[test]
fn what_others_took_is_free_when_the_server_said_also_before_ours() {
    let clock = ManualClock::new();
    let limiter = builder(5, 10, &clock).build().unwrap();
    limiter.check().unwrap();
    let left = ServerBudget {
        remaining: Some(2),
        reset_after: Some(SEC * 3),
        ..ServerBudget::of("requests")
    };
    let heard = ServerLimits { budgets: vec![left], ..ServerLimits::default() };
    assert!(!heard.is_empty() && ServerLimits::default().is_empty());
    limiter.learn("requests", &heard);
    assert_eq!(limiter.remaining(), 2);
    clock.set(at(3));
    assert_eq!(limiter.remaining(), 4);
    clock.set(at(10));
    assert_eq!(limiter.remaining(), 5);
}

/// As long as it lasts, and not at its very end.
#[test]
fn one_who_waited_and_is_refused_hears_whether_a_pause_is_why() {
    let clock = ManualClock::new();
    for limiter in [builder(1, 10, &clock), builder(1, 10, &clock).gcra(1)] {
        let limiter = limiter.build().unwrap();
        let start = clock.now();
        limiter.check().unwrap();
        let lost = || {
            let slot = limiter.reserve(1, clock.now() + SEC * 10).unwrap();
            limiter.pause_for(SEC * 30);
            slot
        };
        let early = lost();
        let refused = early.begin().unwrap_err().into_reservation().unwrap_err();
        assert!(matches!(refused, Rejection::Throttled { .. }), "{refused:?}");
        clock.set(start + SEC * 30);
        let slot = limiter.reserve(1, clock.now() + SEC * 10).unwrap();
        limiter.pause_for(SEC * 60);
        clock.set(start + SEC * 90);
        let late = slot.begin().unwrap_err().into_reservation().unwrap_err();
        assert!(matches!(late, Rejection::RateLimited { .. }), "{late:?}");
        clock.advance(SEC * 100);
    }
}
