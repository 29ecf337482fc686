//! Calls and accepted calls of the last time.

use std::time::Duration;

use crate::Timestamp;
use crate::time::nanos;

/// Parts of the window; each leaves as a whole, so a call counts for nine to ten tenths of it.
const PARTS: usize = 10;

/// What is counted of one stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Calls whose result is known, or that were refused here.
    pub(super) requests: u64,
    /// Those that the callee accepted.
    pub(super) accepts: u64,
}

/// Counts in equal parts of time.
#[derive(Debug)]
pub(super) struct Window {
    length: u64,
    /// Indexed by a part's number modulo their count.
    parts: [Counts; PARTS],
    total: Counts,
    current: u64,
}

impl Window {
    pub(super) fn new(length: Duration, now: Timestamp) -> Self {
        let mut window = Self {
            length: nanos(length),
            parts: [Counts::default(); PARTS],
            total: Counts::default(),
            current: 0,
        };
        window.current = window.part(now);
        window
    }

    pub(super) fn add(&mut self, counts: Counts) {
        for sum in [&mut self.parts[index(self.current)], &mut self.total] {
            sum.requests += counts.requests;
            sum.accepts += counts.accepts;
        }
    }

    pub(super) fn total(&self) -> Counts {
        self.total
    }

    /// Lets what has left the window go. Time that goes backwards changes nothing.
    pub(super) fn turn_to(&mut self, now: Timestamp) {
        let part = self.part(now);
        let passed = part.saturating_sub(self.current).min(PARTS as u64);
        for offset in 1..=passed {
            let gone = std::mem::take(&mut self.parts[index(self.current + offset)]);
            self.total.requests -= gone.requests;
            self.total.accepts -= gone.accepts;
        }
        self.current = self.current.max(part);
    }

    /// The number of the part that `now` lies in, in integers, so that parts never drift.
    fn part(&self, now: Timestamp) -> u64 {
        let part = u128::from(now.as_nanos()) * PARTS as u128 / u128::from(self.length.max(1));
        u64::try_from(part).unwrap_or(u64::MAX - PARTS as u64)
    }
}

fn index(part: u64) -> usize {
    usize::try_from(part % PARTS as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(seconds)
    }

    fn window() -> Window {
        Window::new(Duration::from_secs(30), at(0))
    }

    #[test]
    fn a_call_counts_until_its_part_of_the_window_leaves() {
        let mut window = window();
        window.turn_to(at(2));
        window.add(Counts { requests: 2, accepts: 1 });
        window.turn_to(at(3));
        window.add(Counts { requests: 5, accepts: 5 });
        assert_eq!(window.total(), Counts { requests: 7, accepts: 6 });
        window.turn_to(at(29));
        assert_eq!(window.total(), Counts { requests: 7, accepts: 6 });
        window.turn_to(at(30));
        assert_eq!(window.total(), Counts { requests: 5, accepts: 5 });
        window.turn_to(at(33));
        assert_eq!(window.total(), Counts::default());
    }

    #[test]
    fn everything_has_left_after_a_long_silence() {
        let mut window = window();
        window.add(Counts { requests: 9, accepts: 3 });
        window.turn_to(at(1_000_000));
        assert_eq!(window.total(), Counts::default());
        window.turn_to(Timestamp::MAX);
        window.add(Counts { requests: 1, accepts: 0 });
        assert_eq!(window.total(), Counts { requests: 1, accepts: 0 });
    }

    #[test]
    fn time_that_goes_backwards_changes_nothing() {
        let mut window = window();
        window.turn_to(at(100));
        window.add(Counts { requests: 1, accepts: 1 });
        window.turn_to(at(1));
        window.add(Counts { requests: 1, accepts: 0 });
        assert_eq!(window.total(), Counts { requests: 2, accepts: 1 });
        window.turn_to(at(130));
        assert_eq!(window.total(), Counts::default());
    }
}
