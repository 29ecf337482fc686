//! The limit as latency has it: Netflix's Gradient2.

use std::ops::RangeInclusive;

use super::AdaptiveConfig;
use crate::time::nanos;

/// Calls that may wait in the callee: what lets the limit grow while latency is as it was.
const QUEUE: f64 = 4.0;
/// How far one window moves the limit towards what it says.
const SMOOTHING: f64 = 0.2;
/// One window can halve what the limit moves to, and cannot raise it but by `QUEUE`.
const GRADIENTS: RangeInclusive<f64> = 0.5..=1.0;
/// So many windows count alike before the average starts to forget.
const WARM_UP: u32 = 10;
/// A long-term latency more than so many times that of a window belongs to an overload that is over,
const STALE: f64 = 2.0;
/// and shrinks so much in each window, which is faster than the average forgets.
const SHRINK: f64 = 0.95;

#[derive(Clone, Copy, Debug)]
pub(super) struct Gradient {
    /// Exponential average of the windows' mean latencies, in nanoseconds.
    long_latency: f64,
    windows: u32,
    forgetting: f64,
    tolerance: f64,
    healthy: f64,
}

impl Gradient {
    pub(super) fn new(config: &AdaptiveConfig) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a latency needs no 53rd bit")]
        let healthy = config.max_healthy_latency.map_or(f64::INFINITY, |most| nanos(most) as f64);
        Self {
            long_latency: 0.0,
            windows: 0,
            forgetting: 2.0 / (f64::from(config.long_window) + 1.0),
            tolerance: config.tolerance,
            healthy,
        }
    }

    /// The limit after a window with this mean latency.
    pub(super) fn next(&mut self, limit: f64, max_in_flight: u32, latency: f64) -> f64 {
        self.learn(latency);
        // What is not used says nothing about how much would be too much.
        if f64::from(max_in_flight) < limit / 2.0 {
            return limit;
        }
        let normal = self.long_latency.min(self.healthy);
        let gradient =
            (self.tolerance * normal / latency).clamp(*GRADIENTS.start(), *GRADIENTS.end());
        limit + SMOOTHING * (gradient * limit + QUEUE - limit)
    }

    /// Takes a latency for the normal one, without waiting for the average to get there.
    pub(super) fn adopt(&mut self, latency: f64) {
        self.long_latency = latency;
    }

    fn learn(&mut self, latency: f64) {
        self.windows = self.windows.saturating_add(1);
        let share =
            if self.windows <= WARM_UP { 1.0 / f64::from(self.windows) } else { self.forgetting };
        self.long_latency += share * (latency - self.long_latency);
        if self.long_latency > STALE * latency {
            self.long_latency *= SHRINK;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(latencies: &[f64]) -> f64 {
        let mut gradient = Gradient::new(&AdaptiveConfig::default());
        for latency in latencies {
            gradient.learn(*latency);
        }
        gradient.long_latency
    }

    #[track_caller]
    fn close(left: f64, right: f64) {
        assert!((left - right).abs() < 1e-9, "{left} and {right}");
    }

    #[test]
    fn the_first_windows_count_alike() {
        close(after(&[10.0, 20.0]), 15.0);
        close(after(&[10.0, 20.0, 30.0]), 20.0);
    }

    /// The average of 100 and 10 is 55, more than twice 10; that of 100 and 60 is 80, less.
    #[test]
    fn the_latency_of_an_overload_that_is_over_shrinks_faster_than_it_is_forgotten() {
        close(after(&[100.0, 10.0]), 55.0 * 0.95);
        close(after(&[100.0, 60.0]), 80.0);
    }

    #[test]
    fn a_latency_that_is_adopted_is_the_normal_one_at_once() {
        let mut gradient = Gradient::new(&AdaptiveConfig::default());
        gradient.learn(100.0);
        gradient.adopt(7.0);
        close(gradient.long_latency, 7.0);
    }
}
