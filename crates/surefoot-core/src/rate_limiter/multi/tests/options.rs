//! Options, keys and corrections of several limits.

use super::super::*;
use crate::rate_limiter::{Algorithm, WhenFull};
use crate::{ConfigError, ManualClock, Timestamp};

const SEC: Duration = Duration::from_secs(1);

/// Ten requests and a hundred tokens of each key, a thousand tokens of all.
fn builder(clock: &ManualClock) -> RateLimitsBuilder {
    let tokens = |limit: Limit| limit.algorithm(Algorithm::TokenBucket);
    RateLimits::builder("model")
        .limit(Limit::per_key("requests", 10, SEC * 10))
        .limit(tokens(Limit::per_key("tokens", 100, SEC * 10)))
        .limit(Limit::per_key("tokens", 500, SEC * 100))
        .limit(tokens(Limit::overall("tokens", 1000, SEC * 10)))
        .clock(clock)
}

fn limits(clock: &ManualClock) -> RateLimits<String> {
    builder(clock).build().unwrap()
}

#[test]
fn a_key_is_forgotten_when_the_last_of_its_units_has_returned() {
    let clock = ManualClock::new();
    let limits = limits(&clock);
    limits.check("a", &[]).unwrap();
    limits.check("b", &[("tokens", 1)]).unwrap();
    limits.evict_idle();
    assert_eq!(limits.keys(), 2);
    clock.advance(SEC * 10);
    limits.evict_idle();
    assert_eq!(limits.keys(), 1, "`b` has a token out for a hundred seconds");
    clock.advance(SEC * 90);
    limits.evict_idle();
    assert_eq!(limits.keys(), 0);
}

#[test]
fn a_key_is_kept_while_a_charge_may_be_corrected_and_no_longer() {
    let clock = ManualClock::new();
    let limits = limits(&clock);
    let charge = limits.try_reserve("a", &[("tokens", 10)]).unwrap();
    assert_eq!(charge.limits().name(), limits.name());
    clock.advance(SEC * 1000);
    limits.evict_idle();
    assert_eq!(limits.keys(), 1);
    drop(charge);
    limits.evict_idle();
    assert_eq!(limits.keys(), 0);
}

#[test]
fn a_correction_reaches_the_key_and_all_keys() {
    let clock = ManualClock::new();
    let limits = limits(&clock);
    limits.try_reserve("a", &[("tokens", 100)]).unwrap().settle(&[("tokens", 40)]).unwrap();
    assert_eq!(limits.remaining("a", "tokens"), Some(60));
    for key in ["b", "c", "d", "e", "f", "g", "h", "i", "j"] {
        limits.check(key, &[("tokens", 100)]).unwrap();
    }
    assert_eq!(limits.remaining("k", "tokens"), Some(60), "of all keys");
    assert_eq!(limits.remaining("a", "requests"), Some(9), "not named, so as estimated");
}

/// Three took 20 of a hundred that return at ten a second. One used 180, so that 120 are owed; what
/// another gives back shortens the debt.
#[test]
fn a_debt_is_paid_once_whatever_is_corrected_meanwhile() {
    let clock = ManualClock::new();
    for algorithm in [Algorithm::TokenBucket, Algorithm::SlidingLog] {
        let tokens = Limit::per_key("tokens", 100, SEC * 10).algorithm(algorithm);
        let limits: RateLimits<u8> =
            RateLimits::builder("x").limit(tokens).clock(&clock).build().unwrap();
        let reserve = |n| limits.try_reserve(&1, &[("tokens", n)]).unwrap();
        let [first, second, third] = [reserve(20), reserve(20), reserve(20)];
        first.settle(&[("tokens", 180)]).unwrap();
        let owed = limits.retry_after(&1, &[("tokens", 1)]).unwrap().unwrap();
        second.give_back();
        third.settle(&[("tokens", 30)]).unwrap();
        let wait = limits.retry_after(&1, &[("tokens", 1)]).unwrap().unwrap();
        let bucket = algorithm == Algorithm::TokenBucket;
        let (before, after) = if bucket { (12_100, 11_100) } else { (10_000, 10_000) };
        let millis = Duration::from_millis;
        assert_eq!((owed, wait), (millis(before), millis(after)), "{algorithm:?}");
    }
}

#[test]
fn it_tells_its_name_its_units_its_options_and_its_clock() {
    let clock = ManualClock::new();
    clock.set(Timestamp::ZERO + SEC);
    let limits = limits(&clock);
    assert!(limits.counts("requests") && limits.counts("tokens") && !limits.counts("token"));
    assert_eq!((limits.name().as_str(), limits.config().limits.len()), ("model", 4));
    assert_eq!(limits.time().now(), Timestamp::ZERO + SEC);
}

#[test]
fn every_option_is_set_and_leaves_the_others_alone() {
    let burst = Limit::overall("tokens", 9, SEC).algorithm(Algorithm::Gcra).burst(4);
    let built = RateLimits::builder("model")
        .limit(burst.clone())
        .max_wait(SEC * 3)
        .max_throttle(SEC * 4)
        .max_keys(5)
        .when_full(WhenFull::EvictIdlest);
    let config = RateLimitsConfig {
        name: "model".into(),
        limits: vec![Limit { burst: Some(4), ..burst }],
        max_wait: Some(SEC * 3),
        max_throttle: SEC * 4,
        max_keys: Some(5),
        when_full: Some(WhenFull::EvictIdlest),
    };
    assert_eq!(built.build::<u8>().unwrap().config(), &config);
    assert_eq!(RateLimitsBuilder::from(config.clone()).build::<u8>().unwrap().config(), &config);
}

#[test]
fn the_longest_window_is_the_longest_wait_unless_another_is_set() {
    let clock = ManualClock::new();
    let longest =
        |builder: RateLimitsBuilder| builder.build::<u8>().unwrap().config().longest_wait();
    assert_eq!(longest(builder(&clock)), SEC * 100);
    assert_eq!(longest(builder(&clock).max_wait(SEC * 7)), SEC * 7);
}

#[test]
fn a_burst_is_all_that_is_there_at_once() {
    let limit = Limit::overall("requests", 9, SEC).algorithm(Algorithm::Gcra).burst(4);
    let builder = RateLimits::builder("x").limit(limit).clock(ManualClock::new());
    assert_eq!(builder.build::<u8>().unwrap().remaining(&1, "requests"), Some(4));
}

#[test]
fn new_keys_are_refused_or_let_in_as_the_options_say() {
    let clock = ManualClock::new();
    let full = |builder: RateLimitsBuilder| {
        let limits: RateLimits<u8> = builder.max_keys(1).build().unwrap();
        limits.check(&1, &[]).unwrap();
        limits.check(&2, &[])
    };
    let refused = Rejection::KeysFull { policy: "model".into(), max_keys: 1 };
    assert_eq!(full(builder(&clock)), Err(refused));
    // With so few keys each has a shard of its own, or the two share one.
    let evicting = || full(builder(&clock).when_full(WhenFull::EvictIdlest));
    assert!((0..100).any(|_| evicting() == Ok(())));
}

#[test]
fn a_pause_is_cut_to_the_longest_that_is_kept() {
    let clock = ManualClock::new();
    let limits: RateLimits<u8> = builder(&clock).max_throttle(SEC * 5).build().unwrap();
    limits.pause_for(&1, Scope::PerKey, SEC * 50).unwrap();
    assert_eq!(limits.retry_after(&1, &[]), Ok(Some(SEC * 5)));
    assert_eq!(limits.retry_after(&2, &[]), Ok(Some(Duration::ZERO)));
}

#[test]
fn bad_options_are_named_as_those_of_several_limits() {
    let clock = ManualClock::new();
    let good = || builder(&clock);
    let one = |limit: Limit| RateLimits::builder("x").limit(limit);
    let ring = Limit { buckets: Some(0), ..Limit::overall("a", 1, SEC) };
    let early = Limit::overall("a", 1, SEC).algorithm(Algorithm::Gcra).burst(0);
    for (builder, field) in [
        (RateLimits::builder(" "), "name"),
        (good().max_wait(Duration::MAX), "max_wait"),
        (good().max_throttle(Duration::ZERO), "max_throttle"),
        (good().max_keys(0), "max_keys"),
        (one(early), "limits[0].burst"),
        (one(ring), "limits[0].buckets"),
    ] {
        let error: ConfigError = builder.build::<u8>().unwrap_err();
        assert_eq!((error.policy(), error.field()), ("rate_limits", field));
    }
}

#[cfg(feature = "toml")]
#[test]
fn options_are_read_from_toml_and_unknown_ones_refused() {
    let text = "name = 'model'\nmax_wait = '3s'\n[[limits]]\nunit = 'tokens'\nmax_requests = 9";
    let config = RateLimitsConfig::from_toml(text).unwrap();
    assert_eq!((config.name.as_str(), config.max_wait), ("model", Some(SEC * 3)));
    assert_eq!(config.limits, [Limit::overall("tokens", 9, SEC * 60)]);
    assert_eq!(RateLimitsConfig::from_toml("keys = 2").unwrap_err().field(), "keys");
}

#[test]
fn a_limit_that_is_reached_is_no_pause() {
    let clock = ManualClock::new();
    let limits = limits(&clock);
    limits.check("a", &[("requests", 10)]).unwrap();
    assert!(matches!(limits.check("a", &[]), Err(Rejection::RateLimited { .. })));
    limits.pause_for("a", Scope::PerKey, SEC * 50).unwrap();
    assert!(matches!(limits.check("a", &[]), Err(Rejection::Throttled { .. })));
}
