//! The time-stamp counter of x86-64 on Linux.

use std::fs;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::{CALIBRATION, TOLERANCE, by_instant, nanos};

/// How counter readings become nanoseconds.
struct Scale {
    ticks: u64,
    nanos: u64,
    /// Nanoseconds for each tick, in units of 2^-63: so the upper half of a product is the time.
    rate: u64,
}

/// A counter reading and the time it was made.
#[derive(Clone, Copy)]
struct Sample {
    ticks: u64,
    nanos: u64,
}

static SCALE: OnceLock<Scale> = OnceLock::new();
/// The ticks since the scale's own from which on a comparison with `Instant` is due.
static COMPARE_AFTER: AtomicU64 = AtomicU64::new(0);
static DISTRUSTED: AtomicBool = AtomicBool::new(false);

/// The time: by the counter, once it can be trusted.
#[inline]
pub(crate) fn now() -> u64 {
    let Some(scale) = SCALE.get() else { return calibrate() };
    // Of a counter that ran backwards this is more than any time to compare.
    let since = read().wrapping_sub(scale.ticks);
    // Relaxed: whoever sees the old value compares once more than needed.
    if since >= COMPARE_AFTER.load(Ordering::Relaxed) {
        return compare(scale, since);
    }
    scale.after(since)
}

/// Whether that is by the counter at present.
pub(crate) fn is_used() -> bool {
    now();
    SCALE.get().is_some() && !DISTRUSTED.load(Ordering::Relaxed)
}

impl Scale {
    /// The time so many ticks after this one's. Half of all ticks there are last for a century.
    #[inline]
    fn after(&self, ticks: u64) -> u64 {
        let since = (u128::from(ticks.wrapping_mul(2)) * u128::from(self.rate)) >> 64;
        #[expect(clippy::cast_possible_truncation, reason = "the upper half of 128 bits")]
        let since = since as u64;
        self.nanos.wrapping_add(since)
    }
}

/// Measures the counter against `Instant`, from the first call to the first one long enough after
/// it.
#[cold]
fn calibrate() -> u64 {
    static FIRST: OnceLock<Option<Sample>> = OnceLock::new();
    let first = *FIRST.get_or_init(|| kernel_trusts_it().then(sample));
    let by_instant = by_instant();
    let Some(first) = first.filter(|first| by_instant >= first.nanos + nanos(CALIBRATION)) else {
        return by_instant;
    };
    let scale = SCALE.get_or_init(|| {
        let second = sample();
        let rate = rate(first, second);
        // A counter of less than 500 MHz does not fit the scale.
        DISTRUSTED.store(rate.is_none(), Ordering::Relaxed);
        let rate = rate.unwrap_or(u64::MAX);
        let scale = Scale { ticks: second.ticks, nanos: second.nanos, rate };
        if !DISTRUSTED.load(Ordering::Relaxed) {
            COMPARE_AFTER.store(one_second(&scale), Ordering::Relaxed);
        }
        scale
    });
    if DISTRUSTED.load(Ordering::Relaxed) {
        return by_instant;
    }
    scale.after(read().saturating_sub(scale.ticks))
}

/// About once a second: do the counter and `Instant` still agree?
#[cold]
fn compare(scale: &Scale, since: u64) -> u64 {
    if DISTRUSTED.load(Ordering::Relaxed) {
        return by_instant();
    }
    let now = sample();
    let ticks = now.ticks.wrapping_sub(scale.ticks);
    let by_counter = scale.after(ticks);
    let elapsed = now.nanos.saturating_sub(scale.nanos);
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let apart = by_counter.abs_diff(now.nanos) as f64 / elapsed.max(1) as f64;
    if since > u64::MAX / 2 || apart > TOLERANCE {
        DISTRUSTED.store(true, Ordering::Relaxed);
        // Every reading comes here from now on, and goes on to `Instant`.
        COMPARE_AFTER.store(0, Ordering::Relaxed);
        return by_instant();
    }
    COMPARE_AFTER.store(ticks + one_second(scale), Ordering::Relaxed);
    by_counter
}

/// Reads both clocks as closely together as a few tries allow.
fn sample() -> Sample {
    let tries = std::array::from_fn::<_, 8, _>(|_| {
        let before = read();
        let nanos = by_instant();
        let after = read();
        (
            after.wrapping_sub(before),
            Sample { ticks: before + (after.wrapping_sub(before)) / 2, nanos },
        )
    });
    let closest = tries.iter().min_by_key(|(apart, _)| *apart);
    closest.map_or(tries[0].1, |(_, sample)| *sample)
}

fn rate(first: Sample, second: Sample) -> Option<u64> {
    let nanos = u128::from(second.nanos.saturating_sub(first.nanos));
    let ticks = u128::from(second.ticks.saturating_sub(first.ticks)).max(1);
    u64::try_from((nanos << 63) / ticks).ok()
}

fn one_second(scale: &Scale) -> u64 {
    let ticks = (1_000_000_000_u128 << 63) / u128::from(scale.rate.max(1));
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

fn kernel_trusts_it() -> bool {
    let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    fs::read_to_string(path).is_ok_and(|source| source.trim() == "tsc")
}

#[inline]
fn read() -> u64 {
    // SAFETY: the instruction exists on every x86-64 CPU, and reads nothing but a register of its
    // own. It could only trap if the kernel had forbidden it to user programs; but it is reached
    // only after `kernel_trusts_it`, and a kernel that keeps time by this counter has every
    // program read it (in the vDSO's `clock_gettime`, which `Instant::now` calls).
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_turns_ticks_into_nanoseconds() {
        let first = Sample { ticks: 1_000, nanos: 50 };
        let second = Sample { ticks: 25_001_000, nanos: 10_000_050 };
        let rate = rate(first, second).unwrap();
        let scale = Scale { ticks: second.ticks, nanos: second.nanos, rate };
        let a_second_later = scale.after(2_500_000_000);
        assert!(a_second_later.abs_diff(second.nanos + 1_000_000_000) <= 1);
        assert!(one_second(&scale).abs_diff(2_500_000_000) <= 2);
    }

    #[test]
    fn a_century_of_ticks_does_not_overflow() {
        let scale = Scale { ticks: 0, nanos: 0, rate: 1 << 62 };
        assert_eq!(scale.after(u64::MAX / 2), u64::MAX / 4);
    }

    #[test]
    fn a_counter_slower_than_the_scale_has_no_rate() {
        let first = Sample { ticks: 0, nanos: 0 };
        assert_eq!(rate(first, Sample { ticks: 1_000, nanos: 2_000 }), None);
        assert!(rate(first, Sample { ticks: 1_001, nanos: 2_000 }).is_some());
    }
}
