//! The rule is the design's: under concurrency, exact means as some order of the same calls would
//! give. Each scenario says what a few threads do; it is first run in every order by one thread,
//! which gives the outcomes that are allowed, and then by loom in every interleaving.

mod counting;
mod generations;
mod half_open;
mod operators;
mod pauses;
mod scenario;

use std::time::Duration;

use surefoot_core::circuit_breaker::{CircuitBreakerConfig, Trip};
use surefoot_core::{Name, Verdict};

use scenario::Do::{self, Call};

fn config(trip: Option<Trip>) -> CircuitBreakerConfig {
    CircuitBreakerConfig {
        name: Name::from("loom"),
        failure_threshold: 2,
        success_threshold: 1,
        timeout: Duration::from_nanos(10),
        failure_window: Duration::from_nanos(100),
        trip,
        ..CircuitBreakerConfig::default()
    }
}

fn failures(threshold: u32) -> CircuitBreakerConfig {
    CircuitBreakerConfig { failure_threshold: threshold, ..config(None) }
}

fn in_a_row(failures: u32) -> CircuitBreakerConfig {
    config(Some(Trip::Consecutive { failures }))
}

fn rate(rate: f64, window_calls: u32, min_calls: u32) -> CircuitBreakerConfig {
    config(Some(Trip::RateCountWindow { rate, window_calls, min_calls }))
}

fn rate_in_time(rate: f64, min_calls: u32) -> CircuitBreakerConfig {
    let window = Duration::from_nanos(100);
    config(Some(Trip::RateTimeWindow { rate, window, min_calls, buckets: 2 }))
}

fn slow(rate: f64, window_calls: u32, min_calls: u32) -> CircuitBreakerConfig {
    let slow_after = Duration::from_nanos(5);
    config(Some(Trip::Slow { rate, slow_after, window_calls, min_calls }))
}

const SUCCESS: Do = Call(Verdict::Success);
const FAILURE: Do = Call(Verdict::Failure);
