//! Additive increase, multiplicative decrease.

use std::time::Duration;

use super::{Limit, Sample, whole};

/// `AIMDLimit`: one more when the limit is in use, a tenth less when a call is dropped or takes
/// longer than the timeout.
#[derive(Clone, Debug)]
pub struct Aimd {
    limit: f64,
    timeout: Duration,
}

impl Aimd {
    const MAX: f64 = 1000.0;

    /// A limit of 20 to begin with; `timeout` is that of its callers (published: 5 s).
    pub fn new(timeout: Duration) -> Self {
        Self { limit: 20.0, timeout }
    }
}

impl Limit for Aimd {
    fn current(&self) -> u32 {
        whole(self.limit)
    }

    fn learn(&mut self, sample: Sample) {
        if sample.dropped || sample.latency > self.timeout {
            self.limit = (0.9 * self.limit).floor();
        } else if 2 * sample.in_flight >= self.current() {
            self.limit += 1.0;
        }
        self.limit = self.limit.clamp(1.0, Self::MAX);
    }
}
