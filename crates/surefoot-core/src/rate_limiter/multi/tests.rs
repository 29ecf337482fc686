//! What several limits promise together.

mod options;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::time::Duration;

use super::super::{Algorithm, Reservation, Unready};
use super::{Limit, LimitedCall, RateLimits, RateLimitsBuilder, Scope};
use crate::{Clock, Event, ManualClock, Rejection, Timestamp};

const SEC: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Timestamp {
    Timestamp::ZERO + Duration::from_secs(seconds)
}

fn limits(clock: &ManualClock) -> RateLimitsBuilder {
    RateLimits::builder("model")
        .limit(Limit::overall("requests", 3, SEC * 10))
        .limit(Limit::overall("tokens", 100, SEC * 10).algorithm(Algorithm::TokenBucket))
        .limit(Limit::per_key("tokens", 60, SEC * 10))
        .clock(clock)
}

#[test]
fn all_limits_are_taken_or_none() {
    let clock = ManualClock::new();
    let limits: RateLimits<String> = limits(&clock).build().unwrap();
    limits.check("a", &[("tokens", 50)]).unwrap();
    // The key's own limit refuses: nothing is taken of the others.
    let refused = limits.check("a", &[("tokens", 20)]).unwrap_err();
    assert_eq!(refused.policy(), "model/tokens");
    assert_eq!(refused.retry_after(), Some(SEC * 10));
    assert_eq!(limits.remaining("b", "requests"), Some(2));
    assert_eq!(limits.remaining("b", "tokens"), Some(50));
    // The overall limit refuses: nothing is taken of the key's.
    let refused = limits.check("b", &[("tokens", 55)]).unwrap_err();
    assert_eq!(refused.retry_after(), Some(Duration::from_millis(500)));
    assert_eq!(limits.remaining("b", "tokens"), Some(50));
    clock.advance(Duration::from_millis(500));
    assert_eq!(limits.check("b", &[("tokens", 55)]), Ok(()));
}

#[test]
fn a_call_is_one_request_unless_it_says_otherwise() {
    let clock = ManualClock::new();
    let limits: RateLimits<String> = limits(&clock).build().unwrap();
    limits.check("a", &[]).unwrap();
    limits.check("a", &[("requests", 2)]).unwrap();
    assert!(limits.check("a", &[]).is_err());
    assert_eq!(limits.check("a", &[("requests", 0)]), Ok(()));
}

#[test]
fn the_longest_wait_of_all_limits_is_told_and_suffices() {
    let clock = ManualClock::new();
    let limits: RateLimits<u8> = limits(&clock).build().unwrap();
    limits.check(&1, &[("tokens", 60)]).unwrap();
    clock.advance(SEC);
    limits.check(&2, &[("tokens", 40)]).unwrap();
    let wait = limits.check(&1, &[("tokens", 60)]).unwrap_err().retry_after().unwrap();
    assert_eq!(wait, SEC * 9);
    assert_eq!(limits.retry_after(&1, &[("tokens", 60)]), Ok(Some(wait)));
    clock.advance(wait);
    assert_eq!(limits.check(&1, &[("tokens", 60)]), Ok(()));
    assert_eq!(limits.check(&1, &[("tokens", 61)]).unwrap_err().retry_after(), None);
}

#[test]
fn estimates_are_corrected_in_all_limits_of_their_unit() {
    let clock = ManualClock::new();
    let limits: RateLimits<String> = limits(&clock).build().unwrap();
    let charge = limits.try_reserve("a", &[("tokens", 60)]).unwrap();
    charge.settle(&[("tokens", 10)]).unwrap();
    assert_eq!(limits.remaining("a", "tokens"), Some(50));
    assert_eq!(limits.remaining("b", "tokens"), Some(60));
    assert_eq!(limits.remaining("b", "requests"), Some(2));
    limits.try_reserve("a", &[("tokens", 50)]).unwrap().give_back();
    assert_eq!(limits.remaining("a", "tokens"), Some(50));
    assert_eq!(limits.remaining("b", "requests"), Some(2));
    drop(limits.try_reserve("a", &[("tokens", 50)]).unwrap());
    assert_eq!(limits.remaining("a", "tokens"), Some(0));
}

#[test]
fn a_unit_that_no_limit_counts_is_an_error_that_lists_the_known_ones() {
    let clock = ManualClock::new();
    let limits: RateLimits<String> = limits(&clock).build().unwrap();
    let error = limits.check("a", &[("token", 5)]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "rate limiter `model` has no limit that counts `token`: it knows `requests`, `tokens`"
    );
    assert_eq!(limits.remaining("a", "requests"), Some(3));
    assert_eq!(limits.remaining("a", "token"), None);
}

#[test]
fn threads_get_what_all_limits_allow_and_lose_nothing_to_refusals() {
    let clock = ManualClock::new();
    let limits: RateLimits<u8> = RateLimits::builder("model")
        .limit(Limit::overall("requests", 100, SEC * 10))
        .limit(Limit::per_key("requests", 60, SEC * 10).algorithm(Algorithm::Gcra))
        .clock(&clock)
        .build()
        .unwrap();
    let admitted = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for key in [0, 1, 0, 1] {
            let (limits, admitted) = (&limits, &admitted);
            scope.spawn(move || {
                for _ in 0..500 {
                    let taken = limits.check(&key, &[]).is_ok();
                    admitted.fetch_add(usize::from(taken), Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(admitted.into_inner(), 100);
}

#[test]
fn a_bad_limit_is_named_by_its_place() {
    let build = |builder: RateLimitsBuilder| builder.build::<u8>().unwrap_err();
    let error = build(RateLimits::builder("x"));
    assert_eq!(error.field(), "limits");
    let one = RateLimits::builder("x").limit(Limit::overall("tokens", 1, SEC));
    let error = build(one.clone().limit(Limit::per_key("tokens", 1, Duration::ZERO)));
    assert_eq!(error.field(), "limits[1].time_window");
    assert_eq!(build(one.limit(Limit::overall("", 1, SEC))).field(), "limits[1].unit");
}

type Slot = Reservation<LimitedCall<&'static str>>;

/// Two requests in ten seconds for all, and one for each key.
fn by_key(clock: &ManualClock) -> RateLimits<&'static str> {
    RateLimits::builder("model")
        .limit(Limit::overall("requests", 2, SEC * 10))
        .limit(Limit::per_key("requests", 1, SEC * 10))
        .clock(clock)
        .build()
        .unwrap()
}

fn one_by_one(clock: &ManualClock) -> RateLimitsBuilder {
    RateLimits::builder("model").limit(Limit::overall("requests", 1, SEC * 10)).clock(clock)
}

fn reserve(limits: &RateLimits<&'static str>, key: &'static str) -> Slot {
    limits.reserve(&key, &[], Timestamp::MAX).unwrap()
}

/// Not yet.
fn early(slot: Slot) -> Slot {
    slot.begin().unwrap_err().into_reservation().unwrap()
}

struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn nobody_who_comes_later_gets_what_somebody_waits_for() {
    let clock = ManualClock::new();
    let limits = one_by_one(&clock).max_wait(SEC * 100).build().unwrap();
    limits.check(&"a", &[]).unwrap();
    let (first, second) = (reserve(&limits, "b"), reserve(&limits, "a"));
    assert_eq!((first.due(), second.due()), (at(10), at(20)));
    assert_eq!(limits.check(&"c", &[]).unwrap_err().retry_after(), Some(SEC * 30));
    assert_eq!(limits.overview().waiting, 2);
    clock.set(at(10));
    let second = early(second);
    drop(first.begin().unwrap());
    assert!(limits.check(&"c", &[]).is_err());
    clock.set(at(20));
    drop(second.begin().unwrap());
    assert_eq!((limits.overview().waiting, limits.totals().delayed), (0, 2));
}

#[test]
fn a_key_that_waits_for_its_own_limit_holds_up_nobody_else() {
    let clock = ManualClock::new();
    let limits = by_key(&clock);
    limits.check(&"a", &[]).unwrap();
    let waits = reserve(&limits, "a");
    assert_eq!(waits.due(), at(10));
    assert_eq!(limits.check(&"b", &[]), Ok(()));
    assert!(limits.check(&"a", &[]).is_err(), "of the same key it is the first");
}

#[test]
fn once_its_key_admits_it_a_call_stands_in_the_line_of_all() {
    let clock = ManualClock::new();
    let limits = by_key(&clock);
    limits.check(&"a", &[]).unwrap();
    clock.set(at(5));
    limits.check(&"b", &[]).unwrap();
    let of_a = reserve(&limits, "a");
    let of_c = reserve(&limits, "c");
    assert_eq!((of_a.due(), of_c.due()), (at(10), at(10)));
    clock.set(at(10));
    drop(of_c.begin().unwrap());
    let of_a = early(of_a);
    assert_eq!(of_a.due(), at(15), "behind those who came before it there");
    assert!(limits.check(&"d", &[]).is_err());
    clock.set(at(15));
    drop(of_a.begin().unwrap());
    // With its key, too, it counts from when it began.
    assert_eq!(limits.check(&"a", &[]).unwrap_err().retry_after(), Some(SEC * 10));
    clock.set(at(24));
    assert_eq!(limits.remaining(&"a", "requests"), Some(0));
    clock.set(at(25));
    assert_eq!(limits.remaining(&"a", "requests"), Some(1));
}

#[test]
fn whoever_walks_away_gives_everything_back_and_those_behind_move_up() {
    let clock = ManualClock::new();
    let limits = one_by_one(&clock)
        .limit(Limit::per_key("requests", 1, SEC * 10))
        .max_wait(SEC * 100)
        .build()
        .unwrap();
    limits.check(&"x", &[]).unwrap();
    let (first, second) = (reserve(&limits, "a"), reserve(&limits, "b"));
    assert_eq!(second.due(), at(20));
    let woken = Arc::new(Woken(AtomicUsize::new(0)));
    second.watch(&Waker::from(Arc::clone(&woken)));
    drop(first);
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert_eq!(second.due(), at(10));
    assert_eq!(limits.remaining(&"a", "requests"), Some(0), "somebody waits for those of all");
    drop(second);
    assert_eq!(limits.overview().waiting, 0);
    clock.set(at(10));
    assert_eq!(limits.check(&"a", &[]), Ok(()));
    assert_eq!(limits.totals().admitted, 2);
}

#[test]
fn a_wait_that_could_not_end_in_time_is_refused_at_once_and_takes_nothing() {
    let clock = ManualClock::new();
    let limits = one_by_one(&clock).build().unwrap();
    limits.check(&"a", &[]).unwrap();
    let refused = limits.reserve(&"b", &[], Timestamp::from_nanos(9_999_999_999)).unwrap_err();
    assert_eq!(refused.retry_after(), Some(SEC * 10));
    assert_eq!(refused.policy(), "model/requests");
    let _first = reserve(&limits, "b"); // 10 s, as long as it may be
    assert_eq!(
        limits.reserve(&"c", &[], Timestamp::MAX).unwrap_err().retry_after(),
        Some(SEC * 20)
    );
    assert_eq!(limits.overview().waiting, 1);
    let never = limits.reserve(&"b", &[("requests", 2)], Timestamp::MAX).unwrap_err();
    assert_eq!(never.retry_after(), None);
}

#[test]
fn who_cannot_be_in_time_any_more_is_told_at_once() {
    let clock = ManualClock::new();
    let limits = by_key(&clock);
    limits.check(&"a", &[]).unwrap();
    let slot = reserve(&limits, "a");
    let woken = Arc::new(Woken(AtomicUsize::new(0)));
    slot.watch(&Waker::from(Arc::clone(&woken)));
    limits.pause_for(&"a", Scope::PerKey, SEC * 11).unwrap();
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    let Err(Unready::Refused(refused)) = slot.begin() else { panic!("10 s is all it waits") };
    assert!(matches!(refused, Rejection::Throttled { .. }), "{refused}");
    assert_eq!(limits.overview().waiting, 0);
    clock.set(at(11));
    assert_eq!(limits.check(&"a", &[]), Ok(()));
}

#[test]
fn listeners_are_told_which_limit_it_was() {
    let clock = ManualClock::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let ear = Arc::clone(&told);
    let limits: RateLimits<&str> = RateLimits::builder("model")
        .limit(Limit::overall("requests", 2, SEC * 10))
        .limit(Limit::overall("tokens", 10, SEC * 20))
        .clock(&clock)
        .on_event(move |event| ear.lock().unwrap().push(event.clone()))
        .build()
        .unwrap();
    limits.check(&"a", &[("tokens", 10)]).unwrap();
    limits.check(&"a", &[("tokens", 1)]).unwrap_err();
    drop(limits.reserve(&"a", &[("tokens", 1)], Timestamp::MAX).unwrap());
    limits.pause_for(&"a", Scope::Overall, SEC * 3).unwrap();
    let at_start = Timestamp::ZERO;
    let tokens = || "model/tokens".into();
    let expected = [
        Event::RateLimited { policy: tokens(), at: at_start, retry_after: Some(SEC * 20) },
        Event::RateDelayed { policy: tokens(), at: at_start, delay: SEC * 20 },
        Event::RatePaused { policy: "model/requests".into(), at: at_start, until: at(3) },
        Event::RatePaused { policy: tokens(), at: at_start, until: at(3) },
    ];
    assert_eq!(*told.lock().unwrap(), expected);
    let totals = limits.totals();
    assert_eq!((totals.admitted, totals.rejected, totals.delayed, totals.paused), (1, 1, 1, 2));
}

#[test]
fn the_limit_that_binds_is_the_one_that_takes_longest_or_is_fullest() {
    let clock = ManualClock::new();
    let limits: RateLimits<u8> = limits(&clock).build().unwrap();
    limits.check(&1, &[("tokens", 50)]).unwrap();
    let binding = |status: &super::RateLimitsStatus| {
        status.binding().map(|limit| (limit.unit.to_string(), limit.scope))
    };
    assert_eq!(binding(&limits.status(&1)), Some(("tokens".into(), Scope::PerKey)));
    assert_eq!(binding(&limits.overview()), Some(("tokens".into(), Scope::Overall)));
    limits.check(&2, &[("requests", 2)]).unwrap();
    assert_eq!(binding(&limits.status(&1)), Some(("requests".into(), Scope::Overall)));
}

/// A key, what it takes of each unit, and its place in line.
type Waiting = (u8, [u64; 2], Reservation<LimitedCall<u8>>);

/// Calls that come, wait, leave and begin at random: never more than any limit allows, counted
/// from when they began, and everybody gets an answer.
#[test]
fn no_limit_is_ever_exceeded_whoever_waits_for_which_of_them() {
    for seed in 0..100 {
        let mut random = fastrand::Rng::with_seed(seed);
        let clock = ManualClock::new();
        let quotas = [
            (true, 0, random.u64(1..6)),
            (true, 1, random.u64(4..12)),
            (false, 0, random.u64(1..4)),
            (false, 1, random.u64(3..9)),
        ];
        let windows = quotas.map(|_| SEC * random.u32(1..20));
        let units = ["requests", "tokens"];
        let mut builder = RateLimits::builder("model").clock(&clock).max_wait(SEC * 60);
        for ((overall, unit, most), window) in quotas.into_iter().zip(windows) {
            let limit = if overall { Limit::overall } else { Limit::per_key };
            builder = builder.limit(limit(units[unit], most, window));
        }
        let limits: RateLimits<u8> = builder.build().unwrap();
        let mut began: Vec<(Timestamp, u8, [u64; 2])> = Vec::new();
        let mut waiting: Vec<Waiting> = Vec::new();
        for _ in 0..120 {
            let (key, amounts) = (random.u8(0..3), [random.u64(0..3), random.u64(0..4)]);
            let stated = [("requests", amounts[0]), ("tokens", amounts[1])];
            match random.u8(0..10) {
                0..=2 => {
                    if limits.check(&key, &stated).is_ok() {
                        began.push((clock.now(), key, amounts));
                    }
                }
                3..=6 => {
                    if let Ok(slot) = limits.reserve(&key, &stated, Timestamp::MAX) {
                        waiting.push((key, amounts, slot));
                    }
                }
                7 if !waiting.is_empty() => drop(waiting.remove(random.usize(0..waiting.len()))),
                _ => {
                    let until = clock.now() + Duration::from_millis(random.u64(1..4_000));
                    begin_until(until, &clock, &mut waiting, &mut began);
                }
            }
            begin_until(clock.now(), &clock, &mut waiting, &mut began);
        }
        begin_until(at(100_000), &clock, &mut waiting, &mut began);
        assert!(waiting.is_empty(), "seed {seed}: somebody waits for ever");
        assert_eq!(limits.overview().waiting, 0, "seed {seed}");
        for ((overall, unit, most), window) in quotas.into_iter().zip(windows) {
            for (from, key, _) in &began {
                let within = began.iter().filter(|(at, other, _)| {
                    *at >= *from && *at < *from + window && (overall || other == key)
                });
                let taken: u64 = within.map(|(.., amounts)| amounts[unit]).sum();
                assert!(
                    taken <= most,
                    "seed {seed}: {taken} > {most} {} from {from:?}",
                    units[unit]
                );
            }
        }
    }
}

/// Goes on in time, and begins every call when it is due.
fn begin_until(
    until: Timestamp,
    clock: &ManualClock,
    waiting: &mut Vec<Waiting>,
    began: &mut Vec<(Timestamp, u8, [u64; 2])>,
) {
    let mut rounds = 0;
    loop {
        rounds += 1;
        assert!(rounds < 10_000, "somebody is due and does not begin");
        for (key, amounts, slot) in std::mem::take(waiting) {
            match slot.begin() {
                Ok(charge) => {
                    drop(charge);
                    began.push((clock.now(), key, amounts));
                }
                Err(Unready::NotDue(slot)) => waiting.push((key, amounts, slot)),
                Err(Unready::Refused(_)) => {}
            }
        }
        let next = waiting.iter().map(|(.., slot)| slot.due()).min().filter(|due| *due <= until);
        clock.set(next.unwrap_or(until).max(clock.now())); // one that moved up is due at once
        if next.is_none() {
            return;
        }
    }
}
