//! The time-stamp counter of x86-64 on Linux.

use std::fs;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::{CALIBRATION, TOLERANCE, by_instant, nanos};

/// How counter readings become nanoseconds.
struct Scale {
    ticks: u64,
    nanos: u64,
    /// Nanoseconds for each tick, in units of 2^-32.
    rate: u64,
}

/// A counter reading and the time it was made.
#[derive(Clone, Copy)]
struct Sample {
    ticks: u64,
    nanos: u64,
}

static SCALE: OnceLock<Scale> = OnceLock::new();
/// The counter reading from which on a comparison with `Instant` is due.
static COMPARE_AT: AtomicU64 = AtomicU64::new(0);
static DISTRUSTED: AtomicBool = AtomicBool::new(false);

/// The time by the counter, once it can be trusted.
#[inline]
pub(crate) fn now() -> Option<u64> {
    let Some(scale) = SCALE.get() else { return calibrate() };
    let ticks = read();
    // Relaxed: whoever sees the old value compares once more than needed.
    if ticks >= COMPARE_AT.load(Ordering::Relaxed) || ticks < scale.ticks {
        return compare(scale, ticks);
    }
    Some(scale.at(ticks))
}

impl Scale {
    #[inline]
    fn at(&self, ticks: u64) -> u64 {
        let since = (u128::from(ticks.wrapping_sub(self.ticks)) * u128::from(self.rate)) >> 32;
        #[expect(clippy::cast_possible_truncation, reason = "584 years of nanoseconds fit")]
        let since = since as u64;
        self.nanos.wrapping_add(since)
    }
}

/// Measures the counter against `Instant`, from the first call to the first one long enough after
/// it.
#[cold]
fn calibrate() -> Option<u64> {
    static FIRST: OnceLock<Option<Sample>> = OnceLock::new();
    let first = (*FIRST.get_or_init(|| kernel_trusts_it().then(sample)))?;
    if by_instant() < first.nanos + nanos(CALIBRATION) {
        return None;
    }
    let scale = SCALE.get_or_init(|| {
        let second = sample();
        let scale = Scale { ticks: second.ticks, nanos: second.nanos, rate: rate(first, second) };
        COMPARE_AT.store(second.ticks + one_second(&scale), Ordering::Relaxed);
        scale
    });
    Some(scale.at(read()).max(scale.nanos))
}

/// About once a second: do the counter and `Instant` still agree?
#[cold]
fn compare(scale: &Scale, ticks: u64) -> Option<u64> {
    if DISTRUSTED.load(Ordering::Relaxed) {
        return None;
    }
    let now = sample();
    let by_counter = scale.at(now.ticks);
    let elapsed = now.nanos.saturating_sub(scale.nanos);
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let apart = by_counter.abs_diff(now.nanos) as f64 / elapsed.max(1) as f64;
    if ticks < scale.ticks || apart > TOLERANCE {
        DISTRUSTED.store(true, Ordering::Relaxed);
        // Every reading comes here from now on, and goes on to `Instant`.
        COMPARE_AT.store(0, Ordering::Relaxed);
        return None;
    }
    COMPARE_AT.store(now.ticks + one_second(scale), Ordering::Relaxed);
    Some(by_counter)
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

fn rate(first: Sample, second: Sample) -> u64 {
    let nanos = u128::from(second.nanos.saturating_sub(first.nanos));
    let ticks = u128::from(second.ticks.saturating_sub(first.ticks)).max(1);
    u64::try_from((nanos << 32) / ticks).unwrap_or(u64::MAX)
}

fn one_second(scale: &Scale) -> u64 {
    let ticks = (1_000_000_000_u128 << 32) / u128::from(scale.rate.max(1));
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
        let scale = Scale { ticks: second.ticks, nanos: second.nanos, rate: rate(first, second) };
        let a_second_later = scale.at(second.ticks + 2_500_000_000);
        assert!(a_second_later.abs_diff(second.nanos + 1_000_000_000) <= 1);
        assert!(one_second(&scale).abs_diff(2_500_000_000) <= 2);
    }

    #[test]
    fn centuries_of_ticks_do_not_overflow() {
        let scale = Scale { ticks: 0, nanos: 0, rate: 1 << 31 };
        assert_eq!(scale.at(u64::MAX), u64::MAX / 2);
    }
}
