//! Each key is a limiter of its own; the limiter of all of them tells of its options and counts.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use super::*;
use crate::rate_limiter::{RateLimiterBuilder, ServerBudget, ServerLimits, Slots, WhenFull};
use crate::{Clock, Event, ManualClock, RateLimiter};

const SEC: Duration = Duration::from_secs(1);

fn at(seconds: u32) -> Timestamp {
    Timestamp::ZERO + SEC * seconds
}

fn builder(clock: &ManualClock) -> RateLimiterBuilder {
    RateLimiter::builder("api").max_requests(3).time_window(SEC * 10).clock(clock)
}

/// One of either table.
fn limiters(clock: &ManualClock) -> [KeyedRateLimiter<String>; 2] {
    [builder(clock), builder(clock).gcra(3)].map(|builder| builder.build_keyed().unwrap())
}

#[test]
fn a_key_is_a_limiter_of_its_own() {
    let clock = ManualClock::new();
    for limiter in limiters(&clock) {
        let alice = limiter.key("alice");
        assert_eq!((alice.current_rate(), alice.remaining()), (0, 3));
        assert_eq!(alice.check(), Ok(()));
        assert!(alice.is_allowed());
        assert_eq!((alice.current_rate(), alice.remaining()), (2, 1));
        assert_eq!(alice.check_n(2).unwrap_err().retry_after(), alice.retry_after(2));
        assert_eq!(alice.retry_after(1), Some(Duration::ZERO));
        assert_eq!(alice.retry_after(4), None);
        assert_eq!(alice.check_n(1), Ok(()));
        assert!(!alice.is_allowed());
        assert!(alice.check().is_err());
        assert!(alice.retry_after(1).is_some_and(|wait| !wait.is_zero()));
        let bob = limiter.key("bob");
        assert_eq!((bob.current_rate(), bob.remaining()), (0, 3));
        assert_eq!((limiter.current_rate("alice"), limiter.remaining("bob")), (3, 3));
        assert_eq!((alice.get().as_str(), alice.limiter().keys()), ("alice", 1));
    }
}

#[test]
fn everything_of_a_key_has_returned_at_its_reset() {
    let clock = ManualClock::new();
    clock.set(at(5));
    for limiter in limiters(&clock) {
        assert_eq!(limiter.reset_at("alice"), at(5));
        limiter.check_n("alice", 3).unwrap();
        assert_eq!(limiter.reset_at("alice"), at(15));
        assert_eq!(limiter.retry_after("alice", 3), Some(SEC * 10));
    }
}

#[test]
fn it_tells_its_options_and_counts_the_calls_of_all_keys() {
    let clock = ManualClock::new();
    clock.set(at(7));
    let limiter: KeyedRateLimiter<u32> = builder(&clock).max_keys(50).build_keyed().unwrap();
    limiter.check_n(&1, 3).unwrap();
    limiter.check(&1).unwrap_err();
    limiter.check(&2).unwrap();
    let slot = limiter.reserve(&1, 1, Timestamp::MAX).unwrap();
    let totals = RateLimiterTotals { admitted: 2, rejected: 1, delayed: 1, paused: 0 };
    assert_eq!(limiter.totals(), totals);
    let overview = limiter.overview();
    assert_eq!((overview.name.as_str(), overview.max_requests), ("api", 3));
    assert_eq!((overview.keys, overview.max_keys, overview.totals), (2, 50, totals));
    assert_eq!((limiter.name().as_str(), limiter.max_requests()), ("api", 3));
    assert_eq!(limiter.config().time_window, SEC * 10);
    assert_eq!(limiter.time().now(), at(7));
    let key = limiter.key(1u32);
    assert_eq!((key.name().as_str(), key.time().now()), ("api", at(7)));
    drop(slot);
}

#[test]
fn listeners_hear_of_a_refusal_of_any_key() {
    let clock = ManualClock::new();
    let limiter: KeyedRateLimiter<u32> = builder(&clock).build_keyed().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&heard);
    limiter.events().subscribe(move |event| listener.lock().unwrap().push(event.clone())).forever();
    limiter.check_n(&1, 3).unwrap();
    limiter.check(&1).unwrap_err();
    let (policy, retry_after) = ("api".into(), Some(SEC * 10));
    let refused = Event::RateLimited { policy, at: Timestamp::ZERO, retry_after };
    assert_eq!(*heard.lock().unwrap(), [refused]);
}

#[test]
fn what_fits_is_admitted_at_once_and_what_does_not_stands_in_line() {
    let clock = ManualClock::new();
    for limiter in limiters(&clock) {
        let admit = |n, latest| limiter.key("alice").admit(n, latest);
        assert!(matches!(admit(0, Timestamp::MAX), Ok(Admission::Now)));
        assert_eq!(limiter.keys(), 0);
        assert!(matches!(admit(3, clock.now()), Ok(Admission::Now)));
        assert!(matches!(admit(1, clock.now()), Err(Rejection::RateLimited { .. })));
        let Ok(Admission::Later(slot)) = admit(3, Timestamp::MAX) else { panic!("has to wait") };
        assert_eq!(slot.due(), clock.now() + SEC * 10);
        drop(slot);
        clock.advance(SEC * 10);
        assert!(matches!(admit(1, clock.now()), Ok(Admission::Now)));
        assert!(admit(1, clock.now().saturating_sub(SEC)).is_err(), "its time is over");
        assert!(matches!(admit(0, Timestamp::ZERO), Ok(Admission::Now)), "nothing is never late");
        clock.advance(SEC * 10);
    }
}

#[test]
fn without_waiting_a_refusal_costs_one_count() {
    let clock = ManualClock::new();
    let none = Duration::ZERO;
    let limiter: KeyedRateLimiter<u32> = builder(&clock).max_wait(none).build_keyed().unwrap();
    limiter.check_n(&1, 3).unwrap();
    let refused = limiter.admit(&1, 1, Timestamp::MAX).unwrap_err();
    assert_eq!(refused.retry_after(), Some(SEC * 10));
    assert_eq!(limiter.totals().rejected, 1);
}

#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_reservation_of_a_key_waits_moves_up_and_begins_in_its_own_line() {
    let clock = ManualClock::new();
    for limiter in [builder(&clock), builder(&clock).gcra(3)] {
        let start = clock.now();
        let limiter: KeyedRateLimiter<u32> = limiter.max_wait(SEC * 100).build_keyed().unwrap();
        let key = limiter.key(1u32);
        key.check_n(3).unwrap();
        let first = key.reserve(3, Timestamp::MAX).unwrap();
        let second = key.reserve(3, Timestamp::MAX).unwrap();
        assert_eq!((first.due(), second.due()), (start + SEC * 10, start + SEC * 20));
        assert_eq!(limiter.reserve(&2, 3, Timestamp::MAX).unwrap().due(), start);
        let bell = Arc::new(Bell::default());
        second.watch(&Waker::from(Arc::clone(&bell)));
        drop(first);
        assert_eq!(bell.0.load(Ordering::SeqCst), 1);
        assert_eq!(second.due(), start + SEC * 10);
        let second = second.begin().unwrap_err().into_reservation().unwrap();
        clock.set(start + SEC * 10);
        let admitted = limiter.totals().admitted;
        second.begin().unwrap().give_back();
        assert_eq!(limiter.totals().admitted, admitted + 1);
        assert_eq!(key.remaining(), 3);
    }
}

/// Its key can be forgotten again, as nobody can correct it any more.
#[test]
fn a_charge_that_is_dropped_keeps_its_units_and_not_its_key() {
    let clock = ManualClock::new();
    for limiter in limiters(&clock) {
        drop(limiter.try_reserve("alice", 2).unwrap());
        assert_eq!(limiter.remaining("alice"), 1);
        clock.advance(SEC * 100);
        limiter.evict_idle();
        assert_eq!(limiter.keys(), 0);
    }
}

#[test]
fn what_a_server_says_holds_for_the_key_it_was_said_about() {
    let clock = ManualClock::new();
    for limiter in limiters(&clock) {
        let left = ServerBudget { remaining: Some(1), ..ServerBudget::of("requests") };
        let limits = ServerLimits { budgets: vec![left], ..ServerLimits::default() };
        limiter.key("alice").learn("requests", &limits).unwrap();
        assert_eq!((limiter.remaining("alice"), limiter.remaining("bob")), (1, 3));
        limiter.key("bob").pause_for(SEC * 2).unwrap();
        assert_eq!(limiter.retry_after("bob", 1), Some(SEC * 2));
        assert_eq!(limiter.retry_after("alice", 1), Some(Duration::ZERO));
    }
}

/// Has all keys share one shard, so that it is known who is compared with whom.
#[derive(Clone, Default)]
struct Alike;

impl std::hash::Hasher for Alike {
    fn finish(&self) -> u64 {
        7 << 40
    }

    fn write(&mut self, _: &[u8]) {}
}

impl BuildHasher for Alike {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self
    }
}

#[test]
fn the_one_key_that_would_be_idle_soonest_makes_room_unless_it_is_reserved() {
    let clock = ManualClock::new();
    let evicting = || builder(&clock).max_keys(3).when_full(WhenFull::EvictIdlest);
    for builder in [evicting(), evicting().gcra(3)] {
        let limiter: KeyedRateLimiter<u8, Alike> = builder.build_keyed_with_hasher(Alike).unwrap();
        let out = || [1, 2, 3, 4, 5].map(|key| limiter.current_rate(&key));
        let reserved = limiter.try_reserve(&1, 1).unwrap();
        for key in [2, 3] {
            clock.advance(Duration::from_millis(1));
            limiter.check(&key).unwrap();
        }
        clock.advance(Duration::from_millis(1));
        limiter.check(&2).unwrap();
        limiter.check(&4).unwrap();
        assert_eq!(out(), [1, 2, 0, 1, 0]);
        drop(reserved);
        limiter.check(&5).unwrap();
        assert_eq!(out(), [0, 2, 0, 1, 1]);
        assert_eq!(limiter.keys(), 3);
        clock.advance(SEC * 100);
    }
}

/// Of two that would be idle at the same time one is enough.
#[test]
fn no_more_keys_are_evicted_than_come() {
    let clock = ManualClock::new();
    let evicting = builder(&clock).max_keys(3).when_full(WhenFull::EvictIdlest);
    let limiter: KeyedRateLimiter<u8, Alike> = evicting.build_keyed_with_hasher(Alike).unwrap();
    (1..=4).for_each(|key| limiter.check(&key).unwrap());
    let out = [1, 2, 3, 4].map(|key| limiter.current_rate(&key));
    assert_eq!((out[3], out.into_iter().sum(), limiter.keys()), (1, 3u64, 3));
}

#[test]
fn that_there_is_no_room_is_told_once() {
    let clock = ManualClock::new();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = Arc::clone(&heard);
    let limiter: KeyedRateLimiter<u8> = builder(&clock)
        .max_keys(1)
        .on_event(move |event| ear.lock().unwrap().push(event.clone()))
        .build_keyed()
        .unwrap();
    limiter.check(&1).unwrap();
    for key in 2..5 {
        limiter.check(&key).unwrap_err();
    }
    assert_eq!(*heard.lock().unwrap(), [Event::KeysFull { policy: "api".into(), max_keys: 1 }]);
}
