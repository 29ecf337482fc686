//! What a window means for the limit, rule by rule.

use super::*;
use crate::ConfigError;

const SECOND: Duration = Duration::from_secs(1);

/// A limit, and windows of one second that end in order.
struct Adaptive {
    limit: AdaptiveLimit,
    now: Timestamp,
}

impl Adaptive {
    fn new(config: AdaptiveConfig) -> Self {
        let now = Timestamp::ZERO;
        Self { limit: AdaptiveLimit::new(config, now).unwrap(), now }
    }

    fn starting_at(initial: u32) -> Self {
        Self::new(AdaptiveConfig { initial_limit: Some(initial), ..AdaptiveConfig::default() })
    }

    fn end(&mut self, window: Window) -> u32 {
        self.now = self.now + SECOND;
        self.limit.end_window(&window, self.now)
    }

    /// A window in which the limit was reached.
    fn full(&mut self, samples: u64, latency_ms: u64) -> u32 {
        self.end(window(samples, latency_ms, self.limit.current()))
    }

    fn exact(&self) -> f64 {
        self.limit.limit
    }
}

fn window(samples: u64, latency_ms: u64, max_in_flight: u32) -> Window {
    let latency = Duration::from_millis(latency_ms * samples);
    Window { samples, latency, drops: 0, max_in_flight }
}

fn close(left: f64, right: f64) {
    assert!((left - right).abs() < 1e-9, "{left} is not {right}");
}

#[test]
fn while_latency_is_steady_the_limit_grows_by_a_fifth_of_the_queue() {
    let mut adaptive = Adaptive::starting_at(20);
    adaptive.full(100, 100);
    close(adaptive.exact(), 20.8);
    adaptive.full(100, 100);
    close(adaptive.exact(), 21.6);
    assert_eq!(adaptive.limit.current(), 21);
}

#[test]
fn latency_beyond_the_tolerance_lowers_the_limit() {
    let mut adaptive = Adaptive::starting_at(40);
    for _ in 0..10 {
        adaptive.end(window(100, 100, 1));
    }
    adaptive.end(window(100, 200, 40));
    let long = 100.0 + 100.0 * 2.0 / 301.0;
    close(adaptive.exact(), 0.8 * 40.0 + 0.2 * (1.5 * long / 200.0 * 40.0 + 4.0));
}

#[test]
fn one_window_halves_at_most_what_the_limit_moves_to() {
    let mut adaptive = Adaptive::starting_at(100);
    for _ in 0..10 {
        adaptive.end(window(100, 100, 1));
    }
    adaptive.end(window(100, 100_000, 100));
    close(adaptive.exact(), 0.8 * 100.0 + 0.2 * (50.0 + 4.0));
}

#[test]
fn a_limit_less_than_half_in_use_stays_as_it_is() {
    let mut adaptive = Adaptive::starting_at(20);
    adaptive.end(window(100, 100, 9));
    close(adaptive.exact(), 20.0);
    adaptive.end(window(100, 100, 10));
    close(adaptive.exact(), 20.8);
}

#[test]
fn a_tenth_of_the_calls_may_be_dropped_and_one_more_lowers_the_limit() {
    let mut adaptive = Adaptive::starting_at(50);
    adaptive.end(Window { drops: 10, ..window(90, 100, 10) });
    close(adaptive.exact(), 50.0);
    adaptive.end(Window { drops: 11, ..window(89, 100, 10) });
    close(adaptive.exact(), 45.0);
    adaptive.end(Window { drops: 10, max_in_flight: 45, ..Window::default() });
    close(adaptive.exact(), 40.5);
}

#[test]
fn the_limit_stays_within_its_bounds() {
    let bounds = AdaptiveConfig { min_limit: 18, max_limit: 21, ..AdaptiveConfig::default() };
    let mut adaptive = Adaptive::new(bounds);
    for _ in 0..5 {
        adaptive.full(100, 100);
    }
    assert_eq!(adaptive.limit.current(), 21);
    for _ in 0..9 {
        adaptive.end(Window { drops: 100, max_in_flight: 21, ..Window::default() });
    }
    assert_eq!(adaptive.limit.current(), 18);
}

#[test]
fn a_limit_of_one_can_grow_again() {
    let mut adaptive = Adaptive::starting_at(1);
    adaptive.full(10, 100);
    close(adaptive.exact(), 1.8);
    adaptive.full(10, 100);
    assert_eq!(adaptive.limit.current(), 2);
}

#[test]
fn a_limit_that_nobody_needs_any_more_is_forgotten() {
    let mut adaptive = Adaptive::starting_at(20);
    for _ in 0..29 {
        adaptive.full(100, 100);
    }
    assert_eq!(adaptive.limit.current(), 43);
    for _ in 0..200 {
        adaptive.end(window(10, 100, 6));
    }
    assert_eq!(adaptive.limit.current(), 30);
    for _ in 0..200 {
        adaptive.end(window(10, 100, 1));
    }
    assert_eq!(adaptive.limit.current(), 20, "the initial limit stands");
}

/// Thirty windows with the limit reached.
fn until_the_try(adaptive: &mut Adaptive) -> f64 {
    for _ in 0..29 {
        adaptive.full(100, 100);
    }
    let before = adaptive.exact();
    adaptive.full(100, 100);
    close(adaptive.exact(), 0.8 * before);
    before
}

#[test]
fn after_thirty_full_windows_less_is_tried_and_kept_if_as_much_is_done() {
    let mut adaptive = Adaptive::starting_at(40);
    let before = until_the_try(&mut adaptive);
    for _ in 0..4 {
        adaptive.full(96, 80);
    }
    close(adaptive.exact(), 0.8 * before);
    // The latency at less is what is normal now: 120 is within the tolerance, 130 is not.
    adaptive.full(100, 119);
    close(adaptive.exact(), 0.8 * before + 0.8);
}

#[test]
fn a_limit_at_which_less_is_done_is_restored() {
    let mut adaptive = Adaptive::starting_at(40);
    let before = until_the_try(&mut adaptive);
    for _ in 0..3 {
        adaptive.full(80, 100);
    }
    close(adaptive.exact(), 0.8 * before);
    adaptive.full(80, 100);
    close(adaptive.exact(), before);
}

#[test]
fn the_first_window_of_a_try_is_not_judged() {
    let mut adaptive = Adaptive::starting_at(40);
    let before = until_the_try(&mut adaptive);
    adaptive.full(0, 100);
    adaptive.full(10, 100);
    for _ in 0..3 {
        adaptive.full(100, 100);
    }
    assert!(adaptive.exact() < before);
}

#[test]
fn a_try_that_was_kept_is_followed_by_the_next_three_full_windows_later() {
    let mut adaptive = Adaptive::starting_at(40);
    until_the_try(&mut adaptive);
    for _ in 0..4 {
        adaptive.full(100, 100);
    }
    for _ in 0..2 {
        adaptive.full(100, 100);
    }
    let before = adaptive.exact();
    adaptive.full(100, 100);
    close(adaptive.exact(), 0.8 * before);
}

#[test]
fn windows_with_room_left_bring_no_try_nearer() {
    let mut adaptive = Adaptive::starting_at(40);
    for _ in 0..500 {
        let in_flight = adaptive.limit.current() - 1;
        adaptive.end(window(100, 100, in_flight));
    }
    assert!(adaptive.limit.current() > 400);
}

#[test]
fn drops_end_a_try() {
    let mut adaptive = Adaptive::starting_at(40);
    let before = until_the_try(&mut adaptive);
    adaptive.end(Window { drops: 50, ..window(50, 100, 40) });
    close(adaptive.exact(), 0.8 * before * 0.9);
    adaptive.full(100, 100);
    close(adaptive.exact(), 0.8 * before * 0.9 + 0.8);
}

#[test]
fn a_limit_that_cannot_be_lowered_by_a_whole_call_is_not_tried_lower() {
    let mut adaptive = Adaptive::new(AdaptiveConfig { max_limit: 1, ..AdaptiveConfig::default() });
    assert!((0..100).all(|_| adaptive.full(100, 100) == 1));
}

#[test]
fn latency_above_the_healthy_one_lowers_the_limit_however_long_it_lasts() {
    let mut adaptive = Adaptive::new(AdaptiveConfig {
        max_healthy_latency: Some(Duration::from_millis(100)),
        ..AdaptiveConfig::default()
    });
    for _ in 0..2000 {
        adaptive.full(100, 1000);
    }
    assert!(adaptive.limit.current() <= 4, "{}", adaptive.limit.current());
}

#[test]
fn a_latency_that_lasts_becomes_the_normal_one() {
    let mut adaptive = Adaptive::starting_at(100);
    for _ in 0..10 {
        adaptive.full(100, 100);
    }
    let mut limits = vec![];
    for _ in 0..400 {
        let done = u64::from(adaptive.limit.current()) * 1000 / 400;
        limits.push(adaptive.full(done, 400));
    }
    let lowest = limits.iter().min().copied().unwrap();
    assert!(lowest < 20, "{lowest}");
    assert!(limits.last() > Some(&(2 * lowest)), "{limits:?}");
}

#[test]
fn a_window_is_over_when_it_has_lasted_and_seen_enough() {
    let adaptive = AdaptiveLimit::new(AdaptiveConfig::default(), Timestamp::ZERO).unwrap();
    let at = |millis| Timestamp::ZERO + Duration::from_millis(millis);
    assert!(adaptive.is_over(10, at(1000)));
    assert!(!adaptive.is_over(10, at(999)));
    assert!(!adaptive.is_over(9, at(1000)));
}

#[test]
fn a_window_lasts_for_two_calls_and_ten_times_its_length_at_most() {
    for (latency_ms, lasts_ms) in [(10, 1000), (500, 1000), (700, 1400), (60_000, 10_000)] {
        let mut adaptive = Adaptive::starting_at(20);
        adaptive.end(window(10, latency_ms, 20));
        let ends = adaptive.now + Duration::from_millis(lasts_ms);
        assert_eq!(adaptive.limit.window_ends(), ends, "{latency_ms}");
    }
}

#[test]
fn extremes_neither_panic_nor_break_the_bounds() {
    for samples in [0, 1, u64::MAX] {
        for drops in [0, 1, u64::MAX] {
            for latency in [Duration::ZERO, Duration::MAX] {
                for max_in_flight in [0, u32::MAX] {
                    let mut adaptive = Adaptive::starting_at(20);
                    for _ in 0..40 {
                        let limit = adaptive.end(Window { samples, latency, drops, max_in_flight });
                        assert!((1..=1000).contains(&limit), "{samples} {drops} {latency:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn bad_options_are_named_with_their_rule() {
    let good = AdaptiveConfig::default;
    let zero = Duration::ZERO;
    let cases: [(AdaptiveConfig, &str, &str); 9] = [
        (AdaptiveConfig { min_limit: 0, ..good() }, "min_limit", "must be at least 1"),
        (
            AdaptiveConfig { min_limit: 9, max_limit: 8, ..good() },
            "max_limit",
            "must be at least `min_limit`, which is 9",
        ),
        (
            AdaptiveConfig { initial_limit: Some(1001), ..good() },
            "initial_limit",
            "must be from `min_limit` to `max_limit`, which are 1 and 1000",
        ),
        (AdaptiveConfig { window: zero, ..good() }, "window", "must be longer than zero"),
        (AdaptiveConfig { min_samples: 0, ..good() }, "min_samples", "must be at least 1"),
        (AdaptiveConfig { long_window: 0, ..good() }, "long_window", "must be at least 1"),
        (AdaptiveConfig { tolerance: 0.9, ..good() }, "tolerance", "must be a number from 1.0 up"),
        (
            AdaptiveConfig { max_drop_rate: 0.0, ..good() },
            "max_drop_rate",
            "must be above 0.0 and at most 1.0",
        ),
        (
            AdaptiveConfig { max_healthy_latency: Some(zero), ..good() },
            "max_healthy_latency",
            "must be longer than zero",
        ),
    ];
    for (config, field, rule) in cases {
        let error: ConfigError = AdaptiveLimit::new(config, Timestamp::ZERO).unwrap_err();
        assert_eq!(
            (error.policy(), error.field(), error.rule()),
            ("throttler.adaptive", field, rule)
        );
    }
}

#[test]
fn the_initial_limit_is_the_nearest_to_twenty_that_the_bounds_allow() {
    for (min_limit, max_limit, initial) in [(1, 1000, 20), (1, 10, 10), (50, 60, 50)] {
        let adaptive =
            Adaptive::new(AdaptiveConfig { min_limit, max_limit, ..AdaptiveConfig::default() });
        assert_eq!(adaptive.limit.current(), initial);
    }
}

#[test]
fn a_window_sums_what_worked_and_counts_what_did_not() {
    let mut window = Window::default();
    window.sample(Duration::from_millis(3), 4);
    window.sample(Duration::from_millis(5), 2);
    window.drop_one(6);
    window.drop_one(1);
    let latency = Duration::from_millis(8);
    assert_eq!(window, Window { samples: 2, latency, drops: 2, max_in_flight: 6 });
    assert_eq!(window.outcomes(), 4);
}

#[test]
fn it_tells_the_options_in_force() {
    let config = AdaptiveConfig { min_samples: 3, ..AdaptiveConfig::default() };
    let limit = AdaptiveLimit::new(config.clone(), Timestamp::ZERO).unwrap();
    assert_eq!(limit.config(), &config);
}
