//! The queue that latency suggests, as in TCP Vegas.

use super::{Limit, Sample, log10, whole};
use crate::Chance;

/// `VegasLimit`: from the smallest latency seen, which is measured anew now and then.
#[derive(Clone, Debug)]
pub struct Vegas {
    limit: f64,
    smallest: f64,
    samples: f64,
    jitter: f64,
    chance: Chance,
}

impl Vegas {
    const MAX: f64 = 1000.0;
    const PROBE_AFTER: f64 = 30.0;

    /// A limit of 20 to begin with.
    pub fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let jitter = jitter(&mut chance);
        Self { limit: 20.0, smallest: f64::INFINITY, samples: 0.0, jitter, chance }
    }

    fn next(&self, sample: Sample, latency: f64) -> f64 {
        let step = log10(self.limit);
        if sample.dropped {
            return self.limit - step;
        }
        if 2 * sample.in_flight < self.current() {
            return self.limit;
        }
        let queue = (self.limit * (1.0 - self.smallest / latency)).ceil();
        if queue <= step {
            self.limit + 6.0 * step
        } else if queue < 3.0 * step {
            self.limit + step
        } else if queue > 6.0 * step {
            self.limit - step
        } else {
            self.limit
        }
    }
}

fn jitter(chance: &mut Chance) -> f64 {
    0.5 + 0.5 * chance.share()
}

impl Limit for Vegas {
    fn current(&self) -> u32 {
        whole(self.limit)
    }

    fn learn(&mut self, sample: Sample) {
        let latency = sample.latency.as_secs_f64();
        self.samples += 1.0;
        if self.samples >= self.jitter * Self::PROBE_AFTER * self.limit {
            self.samples = 0.0;
            self.jitter = jitter(&mut self.chance);
            self.smallest = latency;
            return;
        }
        if latency < self.smallest {
            self.smallest = latency;
            return;
        }
        self.limit = self.next(sample, latency).clamp(1.0, Self::MAX);
    }
}
