//! What a keyed limiter holds: keys that are idle return it, and a flood of keys cannot take more
//! than the cap.

#![cfg(not(surefoot_loom))]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use surefoot_core::rate_limiter::{Algorithm, KeyedRateLimiter, RateLimiterBuilder, WhenFull};
use surefoot_core::{ManualClock, RateLimiter, Rejection};

const SEC: Duration = Duration::from_secs(1);

thread_local! {
    /// Allocated by this thread less freed by it. Tests run on threads of their own.
    static BYTES: Cell<isize> = const { Cell::new(0) };
}

fn bytes() -> isize {
    BYTES.get()
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(size: usize, sign: isize) {
    let _ = BYTES.try_with(|bytes| bytes.set(bytes.get() + sign * size.cast_signed()));
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches nothing of it, and
// a `const` thread-local without a destructor allocates nothing itself.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn builder(algorithm: Algorithm, clock: &ManualClock) -> RateLimiterBuilder {
    RateLimiter::builder("test").max_requests(10).time_window(SEC).algorithm(algorithm).clock(clock)
}

#[test]
fn a_million_keys_asked_once_return_their_memory_to_the_calls_of_one_other() {
    for algorithm in [Algorithm::Gcra, Algorithm::SlidingLog] {
        let clock = ManualClock::new();
        let before = bytes();
        let keyed: KeyedRateLimiter<u64> =
            builder(algorithm, &clock).max_keys(2_000_000).build_keyed().unwrap();
        let start = bytes() - before;
        (0..1_000_000).for_each(|key| keyed.check(&key).unwrap());
        assert_eq!(keyed.keys(), 1_000_000);
        let full = bytes() - before;
        assert!(full > 20 * start, "{algorithm:?}: {full}");

        clock.advance(SEC * 5);
        // There is no thread in the background: calls look after some keys each.
        let honest = u64::MAX;
        (0..300).for_each(|_| drop(keyed.check(&honest)));
        assert_eq!(keyed.keys(), 1, "{algorithm:?}");
        let end = bytes() - before;
        assert!(end * 10 <= start * 11, "{algorithm:?}: {start} bytes, then {full}, then {end}");
    }
}

#[test]
fn a_million_keys_return_their_memory_at_once_when_asked_to() {
    let clock = ManualClock::new();
    let before = bytes();
    let keyed: KeyedRateLimiter<u64> =
        builder(Algorithm::SlidingLog, &clock).max_keys(2_000_000).build_keyed().unwrap();
    let start = bytes() - before;
    (0..1_000_000).for_each(|key| keyed.check(&key).unwrap());
    clock.advance(SEC);
    keyed.evict_idle();
    assert_eq!(keyed.keys(), 0);
    assert_eq!(bytes() - before, start);
}

#[test]
fn keys_that_all_reserved_at_once_return_the_memory_of_that() {
    let clock = ManualClock::new();
    let before = bytes();
    let keyed: KeyedRateLimiter<u64> =
        builder(Algorithm::Gcra, &clock).max_keys(200_000).build_keyed().unwrap();
    let start = bytes() - before;
    let charges: Vec<_> = (0..100_000).map(|key| keyed.try_reserve(&key, 1).unwrap()).collect();
    // Each is corrected by its owner, so none is left for those who look after others' keys.
    for charge in charges {
        charge.settle(2);
    }
    clock.advance(SEC * 5);
    keyed.evict_idle();
    assert_eq!(keyed.keys(), 0);
    let end = bytes() - before;
    assert!(end * 10 <= start * 11, "{start} bytes, then {end}");
}

const CAP: u32 = 2_000;

/// Asks with a hundred thousand fresh keys, one each microsecond, and sees that neither keys nor bytes get
/// out of hand.
fn flood(keyed: &KeyedRateLimiter<u64>, clock: &ManualClock, mut meanwhile: impl FnMut(u64)) {
    // What the table takes when it is full: a hash table doubles.
    let most = 400 * isize::try_from(CAP).unwrap();
    let before = bytes();
    for fresh in 1_000..101_000_u64 {
        clock.advance(Duration::from_micros(1));
        let _ = keyed.check(&fresh);
        assert!(keyed.keys() <= CAP as usize);
        if fresh % 1_000 == 0 {
            assert!(bytes() - before < most, "{}", bytes() - before);
            meanwhile(fresh);
        }
    }
}

#[test]
fn when_new_keys_are_refused_a_flood_changes_nothing_for_those_that_are_known() {
    let clock = ManualClock::new();
    let keyed: KeyedRateLimiter<u64> = builder(Algorithm::SlidingLog, &clock)
        .time_window(SEC * 100)
        .max_keys(CAP)
        .build_keyed()
        .unwrap();
    // Of a hundred that are known, each has used a part of its limit.
    let known = 0..100_u64;
    known.clone().for_each(|key| keyed.check_n(&key, key % 10 + 1).unwrap());
    flood(&keyed, &clock, |_| {
        for key in known.clone() {
            assert_eq!(keyed.remaining(&key), 10 - (key % 10 + 1));
        }
    });
    for key in known {
        let left = 10 - (key % 10 + 1);
        assert_eq!(keyed.check_n(&key, left), Ok(()));
        assert!(matches!(keyed.check(&key), Err(Rejection::RateLimited { .. })));
    }
    // Whoever is new is kept out, until the flood's keys have returned what they took.
    let full = Err(Rejection::KeysFull { policy: "test".into(), max_keys: CAP });
    assert_eq!(keyed.check(&u64::MAX), full);
    clock.advance(SEC * 100);
    assert_eq!(keyed.check(&u64::MAX), Ok(()));
}

#[test]
fn when_the_idlest_is_evicted_a_flood_keeps_nobody_out_and_lifts_the_limits_it_evicts() {
    // A key of the log is idle a window after its last admission, one of GCRA the later the more
    // it took: there a flood of keys that take one unit each evicts itself.
    for (algorithm, left_to_exhausted) in [(Algorithm::SlidingLog, 10), (Algorithm::Gcra, 0)] {
        let clock = ManualClock::new();
        let keyed: KeyedRateLimiter<u64> = builder(algorithm, &clock)
            .time_window(SEC * 100)
            .max_keys(CAP)
            .when_full(WhenFull::EvictIdlest)
            .build_keyed()
            .unwrap();
        let (quiet, exhausted) = (0, 1);
        keyed.check(&quiet).unwrap();
        keyed.check_n(&exhausted, 10).unwrap();
        // Everybody who is new gets in.
        flood(&keyed, &clock, |fresh| assert_eq!(keyed.remaining(&fresh), 9));
        assert_eq!(keyed.remaining(&quiet), 10, "{algorithm:?}");
        assert_eq!(keyed.remaining(&exhausted), left_to_exhausted, "{algorithm:?}");
    }
}
