//! GCRA: a limit in one word.

use std::time::Duration;

use super::machine::{Machine, Taken};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::time::nanos;

/// The generic cell rate algorithm, which is a token bucket seen from the other side.
///
/// Instead of a level that must be refilled it keeps one time, the *theoretical arrival time*:
/// when the bucket will be full again. A unit moves it on by T = W/N, and is admitted as long as it
/// stays within B·T of the present. Time alone does the rest.
///
/// **Bound:** B+N−1 in a window, with B = N (the default) 2N−1: that is what a bucket that may be
/// emptied at once and refills meanwhile means. The *exact* form spaces units by T = W/(N−B+1)
/// instead, and then it is never more than N. **Frees:** one unit each T. **Memory:** 8 bytes.
///
/// Source: ITU-T I.371 (1993), the "virtual scheduling" form; the error that its users make with
/// bursts is governor's issue 219.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gcra {
    /// Ticks of one unit.
    interval: u64,
    /// Ticks of a full bucket: burst times interval.
    reach: u64,
    burst: u64,
    /// Ticks in a nanosecond.
    scale: u64,
    /// The clock's time at tick 0, so that ticks last for years whatever the clock shows.
    origin: u64,
}

/// The most ticks in a nanosecond: a word of them lasts for nine years.
///
/// With N/gcd(W, N) ticks T is a whole number of them, and nothing is rounded. Where that would be
/// more, T is rounded up, by less than a tick: never more is admitted than the bound says.
const SCALE_MOST: u64 = 64;
/// A bucket that needs longer to fill is not built: half of all time there is.
const REACH_MOST: u128 = 1 << 62;
/// Where debts end, so that a shared word cannot wrap.
const WORD_MOST: u64 = u64::MAX - (1 << 62);

impl Gcra {
    /// `None` if a bucket of `burst` would need more than about 146 years to fill.
    pub(super) fn new(
        limit: u64,
        window: Duration,
        burst: u64,
        exact: bool,
        origin: u64,
    ) -> Option<Self> {
        let window = nanos(window);
        let units = if exact { limit.saturating_sub(burst).saturating_add(1) } else { limit };
        let (units, burst) = (units.max(1), burst.max(1));
        let whole = units / greatest_common_divisor(window, units);
        [whole.min(SCALE_MOST), 1].into_iter().find_map(|scale| {
            let interval = (u128::from(window) * u128::from(scale)).div_ceil(u128::from(units));
            let reach = interval * u128::from(burst);
            let (interval, reach) = (u64::try_from(interval).ok()?, u64::try_from(reach).ok()?);
            (u128::from(reach) <= REACH_MOST).then_some(Self {
                interval: interval.max(1),
                reach,
                burst,
                scale,
                origin,
            })
        })
    }

    #[inline]
    fn ticks(&self, at: u64) -> u64 {
        at.saturating_sub(self.origin).saturating_mul(self.scale)
    }

    /// The first whole nanosecond at which so many ticks are over.
    fn reached_at(&self, ticks: u64) -> u64 {
        // Usually there is nothing to divide.
        let nanos = if self.scale == 1 { ticks } else { ticks.div_ceil(self.scale) };
        self.origin.saturating_add(nanos)
    }

    fn cost(&self, n: u64) -> u64 {
        n.saturating_mul(self.interval)
    }

    /// The word after `n` more units at `now`, if they fit.
    #[inline]
    fn next(&self, word: u64, n: u64, now: u64) -> Option<u64> {
        let now = self.ticks(now);
        let start = word.max(now);
        // Within reach a sum of two cannot overflow, and past the end of time nothing fits.
        let backlog = (start - now).checked_add(self.cost(n))?;
        if backlog <= self.reach { now.checked_add(backlog) } else { None }
    }

    /// A shared word of at least the present: one that lies before it means the same.
    pub(super) fn lift(&self, shared: &AtomicU64, now: u64) -> u64 {
        let now = self.ticks(now);
        shared.fetch_max(now, Ordering::Relaxed).max(now)
    }

    /// Takes `n` units from a shared word. The error is the word in which they do not fit.
    ///
    /// Relaxed is enough: the word is all there is, and its modification order is the order of
    /// admission.
    #[inline]
    pub(super) fn admit(&self, shared: &AtomicU64, n: u64, now: u64) -> Result<(), u64> {
        let mut word = shared.load(Ordering::Relaxed);
        loop {
            let Some(next) = self.next(word, n, now) else {
                return Err(word);
            };
            match shared.compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(changed) => word = changed,
            }
        }
    }
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

impl Machine for Gcra {
    type Cell = u64;

    fn earliest(&self, word: &mut u64, n: u64, now: u64, behind: u64) -> Option<u64> {
        if n > self.burst {
            return None;
        }
        let full_at = (*word).max(self.ticks(now)).checked_add(self.cost(n))?;
        let at = self.reached_at(full_at.saturating_sub(self.reach));
        Some(at.max(now).max(behind))
    }

    #[inline]
    fn try_take(&self, word: &mut u64, n: u64, now: u64) -> bool {
        let next = self.next(*word, n, now);
        *word = next.unwrap_or(*word);
        next.is_some()
    }

    fn take(&self, word: &mut u64, n: u64, at: u64) -> Taken {
        let before = *word;
        *word = before.max(self.ticks(at)).saturating_add(self.cost(n)).min(WORD_MOST);
        Taken { mark: *word, span: word.saturating_sub(before) }
    }

    fn untake(&self, word: &mut u64, span: u64) {
        *word = word.saturating_sub(span);
    }

    /// A unit is free again once the present has passed its place on the word's axis. Those places
    /// follow each other without a gap as long as the present has not reached them.
    fn give_back(&self, word: &mut u64, mark: u64, n: u64, now: u64) -> u64 {
        let not_yet_free = mark.min(*word).saturating_sub(self.ticks(now));
        let returned = self.cost(n).min(not_yet_free);
        *word = word.saturating_sub(returned);
        returned
    }

    fn used(&self, word: &mut u64, now: u64) -> u64 {
        word.saturating_sub(self.ticks(now)).div_ceil(self.interval)
    }

    fn remaining(&self, word: &mut u64, now: u64) -> u64 {
        let backlog = word.saturating_sub(self.ticks(now));
        self.reach.saturating_sub(backlog) / self.interval
    }

    fn idle_at(&self, word: &u64) -> u64 {
        self.reached_at(*word)
    }
}
