//! Counters and gauges through the [`metrics`](https://docs.rs/metrics) facade.
//!
//! Policies keep their own counters; publishing writes their present values. So a recorder that
//! is installed late misses nothing, and a call costs nothing. Publish before each scrape, or
//! every few seconds.
//!
//! | metric | kind | label |
//! |---|---|---|
//! | `circuit_breaker.state` | gauge: 0 closed, 1 open, 2 half-open | `circuit` |
//! | `circuit_breaker.failures` | counter | `circuit` |
//! | `circuit_breaker.successes` | counter | `circuit` |
//! | `circuit_breaker.rejections` | counter | `circuit` |
//! | `circuit_breaker.opened` | counter | `circuit` |
//! | `circuit_breaker.failure_rate` | gauge | `circuit` |
//! | `retry.attempts` | counter: retries made | `operation` |
//! | `retry.delay` | histogram: waits in milliseconds | `operation` |
//! | `hedge.attempts` | counter: attempts beyond the first | `operation` |
//! | `backpressure.queue_depth` | gauge: calls that wait | `throttler` |
//! | `throttler.in_flight` | gauge: calls that run | `throttler` |
//! | `throttler.limit` | gauge: calls that may run at once | `throttler` |
//! | `throttler.queued` | counter: calls that had to wait | `throttler` |
//! | `throttler.cancelled` | counter: calls that walked away from the queue | `throttler` |
//! | `throttler.rejections` | counter | `throttler`, `reason`: `queue_full`, `timeout`, `standing_queue`, `deadline`, `closed` |
//!
//! Those of a bulkhead's compartment have the label `throttler` = `<bulkhead>/<compartment>`.
//!
//! ```
//! use surefoot::prelude::*;
//!
//! # fn main() -> Result<(), ConfigError> {
//! let breaker = CircuitBreaker::builder("api").build()?;
//! surefoot::metrics::publish(&breaker); // now `circuit_breaker.state{circuit="api"}` is 0
//! # Ok(())
//! # }
//! ```

use std::hash::Hash;

use metrics::{counter, gauge, histogram};
use surefoot_core::{
    Bulkhead, CircuitBreaker, CircuitState, Event, Hedge, Retry, Subscription, Throttler,
};

use crate::Registry;

/// Something that keeps counters to be published.
pub trait Publish {
    /// Writes the present values to the installed recorder.
    fn publish(&self);
}

/// Writes the present values of `source` to the installed recorder.
pub fn publish(source: &impl Publish) {
    source.publish();
}

impl Publish for CircuitBreaker {
    fn publish(&self) {
        let status = self.status();
        let label = || ("circuit", status.name.to_string());
        let state: f64 = match status.state {
            CircuitState::Closed => 0.0,
            CircuitState::Open => 1.0,
            CircuitState::HalfOpen => 2.0,
        };
        gauge!("circuit_breaker.state", &[label()]).set(state);
        gauge!("circuit_breaker.failure_rate", &[label()]).set(status.failure_rate);
        let totals = status.totals;
        counter!("circuit_breaker.failures", &[label()]).absolute(totals.failures);
        counter!("circuit_breaker.successes", &[label()]).absolute(totals.successes);
        counter!("circuit_breaker.rejections", &[label()]).absolute(totals.rejected);
        counter!("circuit_breaker.opened", &[label()]).absolute(totals.opened);
    }
}

/// Its breakers, and what is registered with it. The key is part of each breaker's name, so there are as many label values as the registry has
/// breakers.
impl<K: Hash + Eq + std::fmt::Display> Publish for Registry<K> {
    fn publish(&self) {
        self.breakers().iter().for_each(Publish::publish);
        self.registered().iter().for_each(|policy| policy.publish_metrics());
    }
}

impl Publish for Retry {
    fn publish(&self) {
        counter!("retry.attempts", "operation" => self.name().to_string()).absolute(self.retries());
    }
}

impl Publish for Hedge {
    fn publish(&self) {
        counter!("hedge.attempts", "operation" => self.name().to_string()).absolute(self.hedges());
    }
}

impl Publish for Throttler {
    fn publish(&self) {
        let status = self.status();
        let label = || ("throttler", status.name.to_string());
        gauge!("backpressure.queue_depth", &[label()]).set(status.queue_depth);
        gauge!("throttler.in_flight", &[label()]).set(status.in_flight);
        gauge!("throttler.limit", &[label()]).set(status.max_concurrent);
        let totals = status.totals;
        counter!("throttler.queued", &[label()]).absolute(totals.queued);
        counter!("throttler.cancelled", &[label()]).absolute(totals.cancelled);
        for (reason, rejected) in [
            ("queue_full", totals.queue_full),
            ("timeout", totals.timed_out),
            ("standing_queue", totals.over_delayed),
            ("deadline", totals.hopeless),
            ("closed", totals.closed),
        ] {
            let labels = [label(), ("reason", reason.to_owned())];
            counter!("throttler.rejections", &labels).absolute(rejected);
        }
    }
}

impl Publish for Bulkhead {
    fn publish(&self) {
        self.compartments().for_each(|(_, compartment)| compartment.publish());
    }
}

/// Records every wait of `retry` in the histogram `retry.delay`, in milliseconds, until the
/// subscription is dropped.
pub fn record_delays(retry: &Retry) -> Subscription {
    retry.events().subscribe(|event| {
        if let Event::RetryScheduled { policy, delay, .. } = event {
            histogram!("retry.delay", "operation" => policy.to_string())
                .record(delay.as_secs_f64() * 1000.0);
        }
    })
}
