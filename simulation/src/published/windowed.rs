//! A limit that learns once for many calls.

use std::time::Duration;

use surefoot::Timestamp;

use super::{Limit, Sample};

/// `WindowedLimit`: hands on the mean latency of a second, its most calls at once, and whether *any*
/// call was dropped. A window with less than ten calls is thrown away.
pub struct Windowed<L> {
    inner: L,
    ends: Timestamp,
    calls: u32,
    latency: Duration,
    max_in_flight: u32,
    dropped: bool,
}

impl<L: Limit> Windowed<L> {
    const WINDOW: Duration = Duration::from_secs(1);
    const ENOUGH: u32 = 10;

    /// The limit `inner`, in windows.
    pub fn new(inner: L) -> Self {
        let latency = Duration::ZERO;
        let ends = Timestamp::ZERO + Self::WINDOW;
        Self { inner, ends, calls: 0, latency, max_in_flight: 0, dropped: false }
    }

    fn end_window(&mut self, now: Timestamp) {
        if self.calls >= Self::ENOUGH {
            let latency = self.latency / self.calls;
            let (in_flight, dropped) = (self.max_in_flight, self.dropped);
            self.inner.learn(Sample { now, latency, in_flight, dropped });
        }
        self.ends = now + Self::WINDOW;
        self.calls = 0;
        self.latency = Duration::ZERO;
        self.max_in_flight = 0;
        self.dropped = false;
    }
}

impl<L: Limit> Limit for Windowed<L> {
    fn current(&self) -> u32 {
        self.inner.current()
    }

    fn learn(&mut self, sample: Sample) {
        self.max_in_flight = self.max_in_flight.max(sample.in_flight);
        self.dropped |= sample.dropped;
        // Published: a call that is dropped adds no latency.
        if !sample.dropped {
            self.calls += 1;
            self.latency += sample.latency;
        }
        if sample.now > self.ends {
            self.end_window(sample.now);
        }
    }
}
