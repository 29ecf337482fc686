//! How long to wait before trying again.

use std::time::Duration;

use crate::time::nanos;

/// The waits between attempts, before any jitter: exponential, linear or fixed, with a cap.
///
/// ```
/// use std::time::Duration;
/// use surefoot_core::Backoff;
///
/// let seconds = |backoff: Backoff| -> Vec<u64> {
///     backoff.delays().take(5).map(|delay| delay.as_secs()).collect()
/// };
/// let second = Duration::from_secs(1);
/// let minute = Duration::from_secs(60);
/// assert_eq!(seconds(Backoff::exponential(second, 2.0, minute)), [1, 2, 4, 8, 16]);
/// assert_eq!(seconds(Backoff::linear(second, second, minute)), [1, 2, 3, 4, 5]);
/// assert_eq!(seconds(Backoff::fixed(5 * second)), [5, 5, 5, 5, 5]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    initial: Duration,
    growth: Growth,
    max: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Growth {
    Times(f64),
    Plus(Duration),
}

impl Backoff {
    /// `initial · base^n`, at most `max`.
    pub fn exponential(initial: Duration, base: f64, max: Duration) -> Self {
        Self { initial, growth: Growth::Times(base), max }
    }

    /// `initial + increment · n`, at most `max`.
    pub fn linear(initial: Duration, increment: Duration, max: Duration) -> Self {
        Self { initial, growth: Growth::Plus(increment), max }
    }

    /// The same wait each time.
    pub fn fixed(delay: Duration) -> Self {
        Self { initial: delay, growth: Growth::Times(1.0), max: delay }
    }

    /// The wait before retry number `retry`, counted from 0. Any number gives a finite wait.
    pub fn delay(&self, retry: u32) -> Duration {
        let grown = match self.growth {
            Growth::Times(base) => times(self.initial, base, retry),
            Growth::Plus(increment) => self.initial.saturating_add(increment.saturating_mul(retry)),
        };
        grown.min(self.max)
    }

    /// The waits in order, without end.
    pub fn delays(&self) -> impl Iterator<Item = Duration> + use<> {
        let backoff = *self;
        (0u32..).map(move |retry| backoff.delay(retry))
    }

    /// The wait before retry number `retry` with jitter; `previous` is the one before.
    pub(super) fn jittered(
        &self,
        retry: u32,
        previous: Option<Duration>,
        jitter: Jitter,
        random: &mut fastrand::Rng,
    ) -> Jittered {
        let delay = self.delay(retry);
        let (low, high) = match jitter {
            Jitter::None => (delay, delay),
            Jitter::Full => (Duration::ZERO, delay),
            Jitter::Equal => (delay / 2, delay),
            Jitter::Decorrelated => {
                let low = self.initial.min(self.max);
                let high = previous.unwrap_or(low).saturating_mul(3);
                (low, high.clamp(low, self.max))
            }
        };
        let spread = Duration::from_nanos(random.u64(0..=nanos(high.saturating_sub(low))));
        Jittered { low, spread }
    }
}

/// A wait in its two parts: what it is at least, and what chance added.
#[derive(Clone, Copy, Debug)]
pub(super) struct Jittered {
    low: Duration,
    pub(super) spread: Duration,
}

impl Jittered {
    pub(super) fn total(self) -> Duration {
        self.low + self.spread
    }
}

/// How chance spreads the waits, so that many clients do not come back at once.
///
/// Source: Marc Brooker, *Exponential Backoff And Jitter* (AWS Architecture Blog, 2015).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Jitter {
    /// The schedule as it is.
    #[default]
    None,
    /// Anywhere from nothing to the schedule's wait: spreads best.
    Full,
    /// Half the schedule's wait, and anywhere up to all of it.
    Equal,
    /// From the initial delay to three times the wait before, capped.
    Decorrelated,
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and turns the NaN of 0 · ∞ into 0"
)]
fn times(initial: Duration, base: f64, exponent: u32) -> Duration {
    let exponent = i32::try_from(exponent).unwrap_or(i32::MAX);
    Duration::from_nanos((nanos(initial) as f64 * base.powi(exponent)).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// policies.md §4 rule 41.
    #[test]
    fn no_number_of_retries_leaves_the_bounds() {
        let mut random = fastrand::Rng::with_seed(1);
        for jitter in [Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Decorrelated] {
            let backoff = Backoff::exponential(MS, 2.0, 10 * MS);
            let mut previous = None;
            for retry in (0..2048).chain([u32::MAX]) {
                let wait = backoff.jittered(retry, previous, jitter, &mut random).total();
                assert!(wait <= 10 * MS, "{jitter:?}, retry {retry}: {wait:?}");
                previous = Some(wait);
            }
        }
    }

    /// policies.md §4 rule 40.
    #[test]
    fn nothing_grows_to_nothing() {
        let backoff = Backoff::exponential(Duration::ZERO, 2.0, MS);
        assert_eq!(backoff.delays().take(2000).filter(Duration::is_zero).count(), 2000);
    }

    #[test]
    fn whole_factors_are_exact_to_the_nanosecond() {
        let initial = Duration::from_nanos(1_000_000_007);
        let backoff = Backoff::exponential(initial, 3.0, Duration::from_secs(1000));
        assert_eq!(backoff.delay(4), initial * 81);
    }

    #[test]
    fn decorrelated_waits_lie_between_the_initial_and_three_times_the_last() {
        let mut random = fastrand::Rng::with_seed(7);
        let backoff = Backoff::exponential(10 * MS, 2.0, Duration::from_secs(10));
        let mut previous = 10 * MS;
        for retry in 0..50 {
            let jitter = Jitter::Decorrelated;
            let wait = backoff.jittered(retry, Some(previous), jitter, &mut random).total();
            assert!((10 * MS..=previous * 3).contains(&wait), "retry {retry}: {wait:?}");
            previous = wait;
        }
    }
}
