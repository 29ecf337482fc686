//! Long-term latency over that of the present.

use super::{Limit, Sample, whole};

/// `Gradient2Limit`, with room up to 1000 (published: 200) and down to 1 (published: 20). It takes
/// no notice of drops.
#[derive(Clone, Debug)]
pub struct Gradient2 {
    limit: f64,
    long_latency: f64,
    samples: u32,
}

impl Gradient2 {
    const MAX: f64 = 1000.0;
    const QUEUE: f64 = 4.0;
    const TOLERANCE: f64 = 1.5;
    const SMOOTHING: f64 = 0.2;
    const LONG_WINDOW: f64 = 600.0;
    const WARM_UP: u32 = 10;

    fn learn_latency(&mut self, latency: f64) {
        self.samples = self.samples.saturating_add(1);
        let share = if self.samples <= Self::WARM_UP {
            1.0 / f64::from(self.samples)
        } else {
            2.0 / (Self::LONG_WINDOW + 1.0)
        };
        self.long_latency += share * (latency - self.long_latency);
        if self.long_latency / latency > 2.0 {
            self.long_latency *= 0.95;
        }
    }
}

impl Default for Gradient2 {
    fn default() -> Self {
        Self { limit: 20.0, long_latency: 0.0, samples: 0 }
    }
}

impl Limit for Gradient2 {
    fn current(&self) -> u32 {
        whole(self.limit)
    }

    fn learn(&mut self, sample: Sample) {
        let latency = sample.latency.as_secs_f64();
        self.learn_latency(latency);
        if f64::from(sample.in_flight) < self.limit / 2.0 {
            return;
        }
        let gradient = (Self::TOLERANCE * self.long_latency / latency).clamp(0.5, 1.0);
        let limit = gradient * self.limit + Self::QUEUE;
        self.limit += Self::SMOOTHING * (limit - self.limit);
        self.limit = self.limit.clamp(1.0, Self::MAX);
    }
}
