//! What the properties do not say: lines, wakers, corrections, texts, options, threads.

mod waiting;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use super::*;
use crate::{ConfigError, Event, Events, ManualClock};

const SEC: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Timestamp {
    Timestamp::ZERO + SEC * u32::try_from(seconds).unwrap()
}

fn builder(limit: u64, seconds: u32, clock: &ManualClock) -> RateLimiterBuilder {
    RateLimiter::builder("test").max_requests(limit).time_window(SEC * seconds).clock(clock)
}

#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn slots_are_due_in_the_order_in_which_they_were_asked_for() {
    let clock = ManualClock::new();
    let limiter = builder(2, 10, &clock).max_wait(SEC * 100).build().unwrap();
    limiter.check_n(2).unwrap();
    let dues: Vec<_> = (0..5).map(|_| limiter.reserve(1, Timestamp::MAX).unwrap()).collect();
    let dues: Vec<_> = dues.iter().map(Reservation::due).collect();
    assert_eq!(dues, [at(10), at(10), at(20), at(20), at(30)]);
}

#[test]
fn a_call_that_does_not_wait_cannot_push_in_before_those_who_do() {
    let clock = ManualClock::new();
    let limiter = builder(3, 10, &clock).build().unwrap();
    limiter.check_n(2).unwrap();
    let heavy = limiter.reserve(2, Timestamp::MAX).unwrap();
    assert_eq!(heavy.due(), at(10));
    assert_eq!(limiter.remaining(), 0);
    assert_eq!(limiter.check().unwrap_err().retry_after(), Some(SEC * 10));
    drop(heavy);
    assert_eq!(limiter.check(), Ok(()));
}

#[test]
fn a_wait_that_cannot_end_in_time_is_refused_at_once_and_takes_nothing() {
    let clock = ManualClock::new();
    let limiter = builder(1, 10, &clock).build().unwrap();
    limiter.check().unwrap();
    let refused = limiter.reserve(1, at(9)).unwrap_err();
    assert_eq!(refused.retry_after(), Some(SEC * 10));
    let slot = limiter.reserve(1, at(10)).unwrap();
    // The next would have to wait for longer than `max_wait`, which is the window here.
    let refused = limiter.reserve(1, Timestamp::MAX).unwrap_err();
    assert_eq!(refused.retry_after(), Some(SEC * 20));
    assert_eq!(slot.due(), at(10));
    assert_eq!(limiter.reserve(2, Timestamp::MAX).unwrap_err().retry_after(), None);
}

#[test]
fn a_slot_is_begun_when_it_is_due_and_not_before() {
    let clock = ManualClock::new();
    let limiter = builder(1, 10, &clock).build().unwrap();
    limiter.check().unwrap();
    let slot = limiter.reserve(1, Timestamp::MAX).unwrap();
    clock.set(at(10).saturating_sub(Duration::from_nanos(1)));
    let slot = slot.begin().unwrap_err().into_reservation().unwrap();
    clock.set(at(10));
    drop(slot.begin().unwrap());
    assert_eq!(limiter.retry_after(1), Some(SEC * 10));
}

#[test]
fn whoever_moves_up_is_woken_once_and_nobody_else() {
    let clock = ManualClock::new();
    for builder in [builder(1, 10, &clock), builder(1, 10, &clock).gcra(1)] {
        let limiter = builder.max_wait(SEC * 100).build().unwrap();
        limiter.check().unwrap();
        let bells: Vec<_> = (0..3).map(|_| Arc::new(Bell::default())).collect();
        let mut slots: Vec<_> = bells
            .iter()
            .map(|bell| {
                let slot = limiter.reserve(1, Timestamp::MAX).unwrap();
                slot.watch(&Waker::from(Arc::clone(bell)));
                slot
            })
            .collect();
        drop(slots.remove(1));
        let rung: Vec<_> = bells.iter().map(|bell| bell.0.load(Ordering::SeqCst)).collect();
        assert_eq!(rung, [0, 0, 1]);
        assert_eq!([slots[0].due(), slots[1].due()], [at(10), at(20)]);
    }
}

#[test]
fn a_waker_may_call_the_limiter() {
    struct Caller(RateLimiter, AtomicUsize);
    impl Wake for Caller {
        fn wake(self: Arc<Self>) {
            self.1.fetch_add(usize::try_from(self.0.remaining()).unwrap() + 1, Ordering::SeqCst);
        }
    }
    let clock = ManualClock::new();
    let limiter = builder(1, 10, &clock).max_wait(SEC * 100).build().unwrap();
    limiter.check().unwrap();
    let first = limiter.reserve(1, Timestamp::MAX).unwrap();
    let second = limiter.reserve(1, Timestamp::MAX).unwrap();
    let caller = Arc::new(Caller(limiter, AtomicUsize::new(0)));
    second.watch(&Waker::from(Arc::clone(&caller)));
    drop(first);
    assert_eq!(caller.1.load(Ordering::SeqCst), 1);
}

#[test]
fn a_correction_upward_is_a_debt_that_time_pays_off() {
    let clock = ManualClock::new();
    let limiter = builder(10, 10, &clock).token_bucket(10).build().unwrap();
    limiter.try_reserve(4).unwrap().settle(25);
    assert_eq!(limiter.remaining(), 0);
    assert_eq!(limiter.retry_after(1), Some(SEC * 16));
    clock.advance(SEC * 16);
    assert_eq!(limiter.check(), Ok(()));

    let exact = builder(10, 10, &clock).build().unwrap();
    let charge = exact.try_reserve(4).unwrap();
    clock.advance(SEC * 3);
    charge.settle(25);
    assert_eq!((exact.current_rate(), exact.remaining()), (25, 0));
    assert_eq!(exact.retry_after(1), Some(SEC * 10));
}

#[test]
fn a_correction_downward_returns_what_has_not_returned_by_itself_and_no_more() {
    let clock = ManualClock::new();
    let limiter = builder(10, 10, &clock).token_bucket(10).build().unwrap();
    let charge = limiter.try_reserve(6).unwrap();
    clock.advance(SEC * 4);
    assert_eq!(limiter.remaining(), 8);
    charge.give_back();
    assert_eq!(limiter.remaining(), 10);

    // One that has returned whole is not returned again at the cost of others.
    let charge = limiter.try_reserve(2).unwrap();
    clock.advance(SEC * 2);
    limiter.check_n(10).unwrap();
    charge.give_back();
    assert_eq!(limiter.remaining(), 0);

    let exact = builder(10, 10, &clock).build().unwrap();
    let charge = exact.try_reserve(6).unwrap();
    clock.advance(SEC * 10);
    exact.check_n(10).unwrap();
    charge.settle(1);
    assert_eq!(exact.current_rate(), 10);
}

#[test]
fn estimates_of_many_calls_are_each_returned_in_their_own_place() {
    let clock = ManualClock::new();
    let limiter = builder(10, 10, &clock).token_bucket(10).build().unwrap();
    let charges: Vec<_> = (0..3).map(|_| limiter.try_reserve(3).unwrap()).collect();
    clock.advance(SEC * 4); // the first has returned, and a third of the second
    let [first, second, third]: [Charge; 3] = charges.try_into().unwrap();
    second.give_back();
    assert_eq!(limiter.remaining(), 7);
    third.give_back();
    assert_eq!(limiter.remaining(), 10);
    first.give_back();
    assert_eq!(limiter.remaining(), 10);
}

#[test]
fn what_one_call_returns_moves_those_behind_it_up_and_they_return_the_less() {
    let clock = ManualClock::new();
    let limiter = builder(10, 10, &clock).token_bucket(10).build().unwrap();
    let first = limiter.try_reserve(6).unwrap();
    let second = limiter.try_reserve(3).unwrap();
    limiter.check().unwrap();
    clock.advance(SEC * 4);
    first.give_back(); // two of six: the second now stands at 4 to 7 s
    clock.advance(SEC * 2);
    assert_eq!(limiter.remaining(), 8);
    second.give_back(); // so that two of three have returned by themselves
    assert_eq!(limiter.remaining(), 9);
}

#[test]
fn a_charge_that_is_dropped_keeps_its_estimate() {
    let clock = ManualClock::new();
    for builder in [builder(10, 10, &clock), builder(10, 10, &clock).gcra(10)] {
        let limiter = builder.build().unwrap();
        drop(limiter.try_reserve(4).unwrap());
        assert_eq!(limiter.remaining(), 6);
    }
}

#[test]
fn a_clock_that_starts_late_costs_gcra_no_precision() {
    let clock = ManualClock::new();
    clock.set(Timestamp::from_nanos(u64::MAX / 2));
    let limiter = builder(7, 1, &clock).gcra(1).build().unwrap();
    limiter.check().unwrap();
    assert_eq!(limiter.retry_after(1), Some(Duration::from_nanos(142_857_143)));
}

#[test]
fn the_end_of_time_does_not_panic() {
    for algorithm in [Algorithm::Gcra, Algorithm::SlidingLog, Algorithm::FixedWindow] {
        let clock = ManualClock::new();
        let limiter = builder(2, 1, &clock).algorithm(algorithm).build().unwrap();
        clock.set(Timestamp::MAX);
        let admitted = (0..5).filter(|_| limiter.is_allowed()).count();
        assert!(algorithm != Algorithm::Gcra || admitted == 0, "no time is left to pay in");
        let _ = (limiter.status(), limiter.reserve(1, Timestamp::MAX).map(drop));
    }
}

#[test]
fn keys_that_have_returned_everything_are_forgotten_by_calls_in_passing() {
    let clock = ManualClock::new();
    let keyed: KeyedRateLimiter<u32> = builder(1, 1, &clock).gcra(1).build_keyed().unwrap();
    (0..10_000).for_each(|key| assert!(keyed.is_allowed(&key)));
    assert_eq!(keyed.keys(), 10_000);
    clock.advance(SEC * 100);
    (0..600).for_each(|_| drop(keyed.check(&0)));
    assert_eq!(keyed.keys(), 1);
}

#[test]
fn a_key_with_an_open_reservation_is_not_forgotten() {
    let clock = ManualClock::new();
    let keyed: KeyedRateLimiter<String> = builder(10, 1, &clock).build_keyed().unwrap();
    let charge = keyed.try_reserve("a", 3).unwrap();
    clock.advance(SEC * 100);
    keyed.evict_idle();
    assert_eq!(keyed.keys(), 1);
    charge.settle(5); // a debt
    assert_eq!(keyed.remaining("a"), 8);
}

#[test]
fn a_key_whose_line_is_empty_again_is_a_key_like_all_others() {
    let clock = ManualClock::new();
    let keyed: KeyedRateLimiter<String> = builder(2, 2, &clock).gcra(2).build_keyed().unwrap();
    keyed.check("a").unwrap();
    let (charge, waiting) = (keyed.try_reserve("a", 1).unwrap(), keyed.reserve("a", 1, at(1)));
    assert_eq!((keyed.remaining("a"), keyed.status("a").waiting), (0, 1));
    drop(waiting);
    charge.settle(0);
    assert_eq!((keyed.remaining("a"), keyed.keys()), (1, 1));
    // A pause is over by itself, and nobody has to ask for the key once more.
    keyed.pause_for("a", SEC * 3).unwrap();
    assert!(keyed.check("a").is_err());
    keyed.evict_idle();
    assert_eq!(keyed.keys(), 1);
    clock.advance(SEC * 3);
    keyed.evict_idle();
    assert_eq!((keyed.remaining("a"), keyed.keys()), (2, 0));
}

#[test]
fn new_keys_are_refused_when_all_that_fit_are_in_use() {
    let clock = ManualClock::new();
    let keyed: KeyedRateLimiter<u32> = builder(2, 10, &clock).max_keys(3).build_keyed().unwrap();
    (0..3).for_each(|key| keyed.check(&key).unwrap());
    assert_eq!(keyed.check(&3), Err(Rejection::KeysFull { policy: "test".into(), max_keys: 3 }));
    assert_eq!(keyed.check(&0), Ok(()));
    clock.advance(SEC * 10);
    // The key that was asked first is in use again, the other two have returned everything.
    assert_eq!(keyed.check(&0), Ok(()));
    assert_eq!((keyed.check(&3), keyed.check(&4)), (Ok(()), Ok(())));
    assert!(keyed.keys() <= 3);
}

#[test]
fn a_key_that_becomes_idle_makes_room_at_that_moment_also_right_after_a_refusal() {
    let clock = ManualClock::new();
    let keyed: KeyedRateLimiter<u32> = builder(1, 10, &clock).max_keys(2).build_keyed().unwrap();
    keyed.check(&0).unwrap();
    clock.advance(SEC);
    keyed.check(&1).unwrap();
    clock.advance(Duration::from_nanos(8_999_999_999));
    assert!(matches!(keyed.check(&2), Err(Rejection::KeysFull { .. })));
    clock.advance(Duration::from_nanos(1));
    assert_eq!(keyed.check(&2), Ok(()));
    assert!(matches!(keyed.check(&3), Err(Rejection::KeysFull { .. })));
}

#[test]
fn in_a_small_table_the_idlest_key_of_all_makes_room() {
    let clock = ManualClock::new();
    let keyed: KeyedRateLimiter<u32> = builder(1, 1000, &clock)
        .max_keys(1024)
        .when_full(WhenFull::EvictIdlest)
        .build_keyed()
        .unwrap();
    let nanosecond = Duration::from_nanos(1);
    for key in 0..1024 {
        assert!(keyed.is_allowed(&key));
        clock.advance(nanosecond);
    }
    for evicted in 0..100 {
        assert!(keyed.is_allowed(&(5000 + evicted)));
        assert_eq!((keyed.remaining(&evicted), keyed.remaining(&(evicted + 1))), (1, 0));
    }
}

#[test]
fn a_flood_of_new_keys_stays_within_the_cap_and_evicts_the_idlest() {
    let clock = ManualClock::new();
    let keyed: KeyedRateLimiter<u32> = builder(1, 1000, &clock)
        .max_keys(100)
        .when_full(WhenFull::EvictIdlest)
        .build_keyed()
        .unwrap();
    for key in 0..20_000 {
        clock.advance(Duration::from_millis(1));
        assert!(keyed.is_allowed(&key), "{key}");
        assert!(keyed.keys() <= 100);
    }
    assert!(!keyed.is_allowed(&19_999));
}

#[test]
fn looking_at_a_key_does_not_remember_it() {
    let clock = ManualClock::new();
    let keyed: KeyedRateLimiter<String> = builder(1, 1, &clock).build_keyed().unwrap();
    assert_eq!(keyed.remaining("a"), 1);
    assert_eq!(keyed.retry_after("a", 1), Some(Duration::ZERO));
    assert_eq!(keyed.keys(), 0);
}

#[test]
fn threads_get_no_more_than_the_limit_whatever_the_algorithm() {
    for algorithm in [
        Algorithm::SlidingLog,
        Algorithm::Gcra,
        Algorithm::GcraExact,
        Algorithm::BucketRing,
        Algorithm::FixedWindow,
    ] {
        let clock = ManualClock::new();
        let limiter = builder(1000, 10, &clock).algorithm(algorithm).build().unwrap();
        let keyed: KeyedRateLimiter<u8> =
            builder(100, 10, &clock).algorithm(algorithm).build_keyed().unwrap();
        let (single, by_key) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for call in 0..1000 {
                        single.fetch_add(usize::from(limiter.is_allowed()), Ordering::SeqCst);
                        let key = u8::try_from(call % 7).unwrap();
                        by_key.fetch_add(usize::from(keyed.is_allowed(&key)), Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(single.into_inner(), 1000, "{algorithm:?}");
        assert_eq!(by_key.into_inner(), 700, "{algorithm:?}");
    }
}

#[test]
fn a_rejection_says_what_is_admitted_and_when_to_come_back() {
    let clock = ManualClock::new();
    let limiter = builder(2, 60, &clock).build().unwrap();
    limiter.check_n(2).unwrap();
    clock.advance(Duration::from_millis(1500));
    let shown = |n| limiter.check_n(n).unwrap_err().to_string();
    assert_eq!(shown(1), "rate limiter `test` admits 2 per 1m: try again in 58s 500ms");
    assert_eq!(
        shown(3),
        "rate limiter `test` admits 2 per 1m and this call weighs more than ever fits: make it \
         smaller"
    );
}

#[test]
fn options_that_the_algorithm_does_not_have_are_errors() {
    let clock = ManualClock::new();
    let error = |builder: RateLimiterBuilder| builder.build().unwrap_err().field().to_owned();
    assert_eq!(error(builder(1, 1, &clock).bucket_ring(3).fixed_window()), "buckets");
    assert_eq!(error(builder(5, 1, &clock).gcra(3).fixed_window()), "burst");
    assert_eq!(error(builder(5, 1, &clock).gcra_exact(6)), "burst");
    assert_eq!(error(builder(5, 1, &clock).bucket_ring(0)), "buckets");
    assert_eq!(error(builder(5, 1, &clock).max_keys(3)), "max_keys");
    assert_eq!(error(builder(5, 1, &clock).when_full(WhenFull::EvictIdlest)), "when_full");
    let keyed: Result<KeyedRateLimiter<u8>, ConfigError> =
        builder(5, 1, &clock).max_keys(0).build_keyed();
    assert_eq!(keyed.unwrap_err().field(), "max_keys");
    let slow = RateLimiter::builder("x").max_requests(1).time_window(SEC * 3_000_000_000);
    assert_eq!(error(slow.clone().gcra(2)), "time_window");
    assert!(slow.build().is_ok());
}

#[test]
fn it_tells_how_it_stands_by_what_name_and_by_which_clock() {
    let clock = ManualClock::new();
    clock.set(at(5));
    let limiter = builder(3, 10, &clock).build().unwrap();
    assert_eq!((limiter.name().as_str(), limiter.max_requests()), ("test", 3));
    assert_eq!(limiter.time().now(), at(5));
    assert_eq!(limiter.reset_at(), at(5));
    limiter.check_n(2).unwrap();
    limiter.check_n(2).unwrap_err();
    let slot = limiter.reserve(2, Timestamp::MAX).unwrap();
    assert_eq!(
        limiter.totals(),
        RateLimiterTotals { admitted: 1, rejected: 1, delayed: 1, paused: 0 }
    );
    clock.set(at(15));
    drop(slot.begin().unwrap());
    assert_eq!(limiter.totals().admitted, 2);
    assert_eq!(limiter.reset_at(), at(25));
    let quota = Quota::new(3, SEC * 10);
    assert_eq!((quota.limit(), quota.window()), (3, SEC * 10));
}

/// Hosts that take any kind of limiter ask through the trait.
#[test]
fn as_slots_it_learns_pauses_and_tells_the_same() {
    fn ask(slots: &impl Slots, at: Timestamp) {
        assert_eq!((slots.name().as_str(), slots.time().now()), ("test", at));
        let left = ServerBudget { remaining: Some(1), ..ServerBudget::of("requests") };
        let limits = ServerLimits { budgets: vec![left], ..ServerLimits::default() };
        slots.learn("requests", &limits).unwrap();
    }
    let clock = ManualClock::new();
    clock.set(at(5));
    let limiter = builder(3, 10, &clock).build().unwrap();
    ask(&limiter, at(5));
    assert_eq!(limiter.remaining(), 1);
    Slots::pause_for(&limiter, SEC * 2).unwrap();
    assert_eq!(limiter.retry_after(1), Some(SEC * 2));
}

#[test]
fn listeners_hear_of_refusals_whether_they_came_early_or_late() {
    let clock = ManualClock::new();
    let heard = Arc::new(AtomicUsize::new(0));
    let listener = || {
        let heard = Arc::clone(&heard);
        move |_: &Event| _ = heard.fetch_add(1, Ordering::SeqCst)
    };
    let shared = Events::default();
    shared.subscribe(listener()).forever();
    let limiter = builder(1, 10, &clock).events(shared).on_event(listener()).build().unwrap();
    limiter.events().subscribe(listener()).forever();
    limiter.check().unwrap();
    limiter.check().unwrap_err();
    assert_eq!(heard.load(Ordering::SeqCst), 3);
}

#[test]
fn an_algorithm_is_called_as_in_config_files() {
    for (algorithm, name) in [
        (Algorithm::SlidingLog, "sliding_log"),
        (Algorithm::Gcra, "gcra"),
        (Algorithm::GcraExact, "gcra_exact"),
        (Algorithm::TokenBucket, "token_bucket"),
        (Algorithm::BucketRing, "bucket_ring"),
        (Algorithm::FixedWindow, "fixed_window"),
    ] {
        assert_eq!(algorithm.as_str(), name);
        #[cfg(feature = "toml")]
        {
            let text = format!("algorithm = '{name}'");
            assert_eq!(RateLimiterConfig::from_toml(&text).unwrap().algorithm, algorithm);
        }
    }
}

#[test]
fn options_as_data_build_the_same_limiter() {
    let config = RateLimiterConfig { max_requests: 7, ..RateLimiterConfig::default() };
    assert_eq!(config.clone().build().unwrap().max_requests(), 7);
    for (limit, burst, field) in [(0, None, "max_requests"), (5, Some(0), "burst")] {
        let algorithm = Algorithm::Gcra;
        let config = RateLimiterConfig { max_requests: limit, burst, algorithm, ..config.clone() };
        assert_eq!(config.validate().unwrap_err().field(), field);
    }
}

/// A third of a hundredth of a second is no whole number of nanoseconds.
#[test]
fn all_units_are_back_after_exactly_one_window_however_it_divides() {
    for limit in [3, 7, 64, 96, 1000] {
        let clock = ManualClock::new();
        let limiter = builder(limit, 1, &clock).gcra(limit).build().unwrap();
        limiter.check_n(limit).unwrap();
        assert_eq!(limiter.reset_at(), at(1), "{limit}");
    }
}

/// Of three units in ten buckets of a second each, taken in the middle of the first: the bucket
/// ends at 1 s.
#[test]
fn a_ring_of_buckets_frees_a_unit_a_window_after_its_bucket_ended() {
    let clock = ManualClock::new();
    clock.set(at(100));
    let limiter = builder(3, 10, &clock).bucket_ring(10).build().unwrap();
    clock.advance(Duration::from_millis(500));
    limiter.check_n(3).unwrap();
    assert_eq!(limiter.retry_after(1), Some(Duration::from_millis(10_500)));
    clock.set(at(112));
    limiter.check_n(3).unwrap();
    assert_eq!(limiter.retry_after(1), Some(SEC * 11));
}
