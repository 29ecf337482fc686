//! Monotonic time at the price of a counter reading.
//!
//! `Instant::now()` costs about 22 ns on the machines this was written on, reading the CPU's
//! time-stamp counter about 8 ns. Policies that judge by time read a clock on every call, so the
//! difference is most of their cost.
//!
//! [`now`] starts as `Instant`: there is no start-up stall. Where the counter can be trusted, it is
//! measured against `Instant` in passing, and takes over after [`CALIBRATION`]. It is trusted on
//! Linux on x86-64 while the kernel itself keeps time with it (`current_clocksource` is `tsc`,
//! which the kernel checks all the time against other clocks). About once a second a reading is
//! compared with `Instant`; should they disagree by more than [`TOLERANCE`], `Instant` takes over
//! again for good. Everywhere else `Instant` is all there is.
//!
//! This is a crate of its own because reading the counter is `unsafe`, and the crate that decides
//! forbids that.

#[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
mod counter;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long the counter is measured before it takes over: long enough that two readings off by
/// 50 ns each leave the rate off by five millionths at most.
pub const CALIBRATION: Duration = Duration::from_millis(20);

/// The share of the time since the calibration by which counter and `Instant` may differ. Clock
/// steering (NTP) moves `Instant` by at most 0.0005.
pub const TOLERANCE: f64 = 0.001;

/// Nanoseconds since the first reading in this process. Never goes backwards, except once, by the
/// difference that has built up, if the counter proves untrustworthy ([`TOLERANCE`]); policies
/// saturate.
#[inline]
pub fn now() -> u64 {
    #[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
    return counter::now();
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux", not(miri))))]
    by_instant()
}

/// Whether readings come from the counter at present.
pub fn reads_counter() -> bool {
    #[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
    return counter::is_used();
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux", not(miri))))]
    return false;
}

/// The same reading from `Instant`.
#[inline]
fn by_instant() -> u64 {
    nanos(origin().elapsed())
}

fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_goes_backwards_and_agrees_with_the_instant_before_and_after_it_takes_over() {
        let begin = Instant::now();
        let first = now();
        let mut last = first;
        while begin.elapsed() < 3 * CALIBRATION {
            let reading = now();
            assert!(reading >= last, "{reading} after {last}");
            last = reading;
        }
        let by_us = Duration::from_nanos(now() - first);
        let by_instant = begin.elapsed();
        let apart = by_instant.abs_diff(by_us);
        // A preempted test may have waited between the two readings, but only in one direction.
        assert!(by_us <= by_instant + Duration::from_micros(50), "{by_us:?}, {by_instant:?}");
        assert!(apart < Duration::from_secs(1), "{by_us:?}, {by_instant:?}");
    }

    #[test]
    fn readings_of_many_threads_are_in_the_order_they_were_made() {
        let begin = Instant::now();
        let latest = std::sync::Mutex::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while begin.elapsed() < 2 * CALIBRATION {
                        let mut latest = latest.lock().unwrap();
                        let reading = now();
                        // Counters of two cores may differ by a few nanoseconds.
                        assert!(reading + 1000 >= *latest, "{reading} after {latest}");
                        *latest = reading.max(*latest);
                    }
                });
            }
        });
    }
}
