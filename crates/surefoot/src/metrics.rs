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
//! | `retry.given_up` | counter: calls that were given up on | `operation` |
//! | `retry.budget_tokens` | gauge: tokens left in its retry budget, where there is one | `operation` |
//! | `hedge.attempts` | counter: attempts beyond the first | `operation` |
//! | `hedge.refused` | counter: calls for which a budget refused another attempt | `operation` |
//! | `hedge.budget_tokens` | gauge: as for a retry | `operation` |
//! | `rate_limiter.admitted` | counter: calls | `limiter` |
//! | `rate_limiter.rejections` | counter: calls | `limiter` |
//! | `rate_limiter.delayed` | counter: calls that had to wait | `limiter` |
//! | `rate_limiter.pauses` | counter: pauses that the callee asked for | `limiter` |
//! | `rate_limiter.paused` | gauge: milliseconds left of such a pause; not of keyed ones | `limiter` |
//! | `rate_limiter.waiting` | gauge: calls that wait now; not of keyed ones | `limiter` |
//! | `rate_limiter.current_rate` | gauge: units in the present window; not of keyed ones | `limiter` |
//! | `rate_limiter.remaining` | gauge: units that fit now; not of keyed ones | `limiter` |
//! | `rate_limiter.keys` | gauge: keys remembered; of keyed ones only | `limiter` |
//! | `budget.spent` | counter; money in millionths | `budget`, `dimension`: `attempts`, `tokens`, `money` |
//! | `budget.remaining` | gauge, where there is a limit; money in millionths | `budget`, `dimension` |
//! | `backpressure.shed_requests` | counter: calls | `shedder`, `priority` |
//! | `load_shedder.admitted` | counter: calls | `shedder`, `priority` |
//! | `load_shedder.would_shed` | counter: calls that only a dry run let in | `shedder`, `priority` |
//! | `load_shedder.load` | gauge: 1.0 is full; not while it is unknown | `shedder`, `signal` |
//! | `load_shedder.in_flight` | gauge: calls under way; with a `capacity` | `shedder` |
//! | `load_shedder.admitted_share` | gauge: what sampled signals let in; 1.0 is all | `shedder` |
//! | `client_throttle.rejections` | counter: calls held back | `operation` |
//! | `client_throttle.rejection_rate` | gauge: the share held back now | `operation` |
//! | `backpressure.queue_depth` | gauge: calls that wait | `throttler` |
//! | `throttler.in_flight` | gauge: calls that run | `throttler` |
//! | `throttler.limit` | gauge: calls that may run at once | `throttler` |
//! | `throttler.queued` | counter: calls that had to wait | `throttler` |
//! | `throttler.cancelled` | counter: calls that walked away from the queue | `throttler` |
//! | `throttler.rejections` | counter | `throttler`, `reason`: `queue_full`, `timeout`, `standing_queue`, `deadline`, `closed` |
//!
//! Of several limits at once, `waiting` and the counters have `limiter` = their name; `current_rate`, `remaining` and
//! `paused` are those of each limit on all calls together, with `limiter` = `<name>/<unit>` and a label `window` in
//! seconds, since a unit may have several. The limits of each key show in `keys`.
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

use std::hash::{BuildHasher, Hash};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use metrics::{counter, gauge, histogram};
use surefoot_core::budget::Dimension;
use surefoot_core::rate_limiter::RateLimiterTotals;
use surefoot_core::rate_limiter::multi::RateLimits;
use surefoot_core::{
    Budget, Bulkhead, CircuitBreaker, CircuitState, ClientThrottle, Event, Hedge, KeyedRateLimiter,
    LoadShedder, Name, RateLimiter, Retry, Subscription, Throttler,
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
        for policy in self.registered() {
            // A function of its user's may panic, as a load shedder's signal.
            let _ = catch_unwind(AssertUnwindSafe(|| policy.publish_metrics()));
        }
    }
}

impl Publish for Retry {
    fn publish(&self) {
        let status = self.status();
        let label = || ("operation", status.name.to_string());
        counter!("retry.attempts", &[label()]).absolute(status.retries);
        counter!("retry.given_up", &[label()]).absolute(status.given_up);
        publish_tokens("retry.budget_tokens", &status.name, status.budget_tokens);
    }
}

impl Publish for Hedge {
    fn publish(&self) {
        let status = self.status();
        let label = || ("operation", status.name.to_string());
        counter!("hedge.attempts", &[label()]).absolute(status.hedges);
        counter!("hedge.refused", &[label()]).absolute(status.refused);
        publish_tokens("hedge.budget_tokens", &status.name, status.budget_tokens);
    }
}

fn publish_tokens(metric: &'static str, name: &Name, tokens: Option<u64>) {
    if let Some(tokens) = tokens {
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        gauge!(metric, "operation" => name.to_string()).set(tokens as f64);
    }
}

impl Publish for Budget {
    fn publish(&self) {
        let status = self.status();
        for dimension in Dimension::ALL {
            let labels =
                [("budget", status.name.to_string()), ("dimension", dimension.to_string())];
            counter!("budget.spent", &labels).absolute(status.spent.of(dimension));
            if let Some(remaining) = status.remaining.of(dimension) {
                #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
                gauge!("budget.remaining", &labels).set(remaining as f64);
            }
        }
    }
}

impl Publish for RateLimiter {
    fn publish(&self) {
        let status = self.status();
        publish_limiter(&status.name, status.totals);
        let gauges = [
            ("rate_limiter.waiting", status.waiting),
            ("rate_limiter.current_rate", status.current_rate),
            ("rate_limiter.remaining", status.remaining),
        ];
        for (name, value) in gauges {
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
            gauge!(name, "limiter" => status.name.to_string()).set(value as f64);
        }
        gauge!("rate_limiter.paused", "limiter" => status.name.to_string())
            .set(milliseconds(status.paused_for));
    }
}

/// Of all keys together: keys are no labels.
impl<K: Hash + Eq, S: BuildHasher> Publish for RateLimits<K, S> {
    fn publish(&self) {
        let overview = self.overview();
        publish_limiter(&overview.name, overview.totals);
        let whole = || ("limiter", overview.name.to_string());
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        let (waiting, keys) = (overview.waiting as f64, overview.keys as f64);
        gauge!("rate_limiter.waiting", &[whole()]).set(waiting);
        gauge!("rate_limiter.keys", &[whole()]).set(keys);
        for limit in &overview.limits {
            let labels = || {
                let window = limit.time_window.as_secs_f64().to_string();
                [("limiter", format!("{}/{}", overview.name, limit.unit)), ("window", window)]
            };
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
            let (rate, remaining) = (limit.current_rate as f64, limit.remaining as f64);
            gauge!("rate_limiter.current_rate", &labels()).set(rate);
            gauge!("rate_limiter.remaining", &labels()).set(remaining);
            gauge!("rate_limiter.paused", &labels()).set(milliseconds(limit.paused_for));
        }
    }
}

fn milliseconds(wait: Duration) -> f64 {
    wait.as_secs_f64() * 1000.0
}

/// Of all keys together: keys are no labels.
impl<K: Hash + Eq, S: BuildHasher> Publish for KeyedRateLimiter<K, S> {
    fn publish(&self) {
        let overview = self.overview();
        publish_limiter(&overview.name, overview.totals);
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        let keys = overview.keys as f64;
        gauge!("rate_limiter.keys", "limiter" => overview.name.to_string()).set(keys);
    }
}

impl Publish for LoadShedder {
    fn publish(&self) {
        let status = self.status();
        let label = || ("shedder", status.name.to_string());
        for counts in &status.priorities {
            let labels = || [label(), ("priority", counts.priority.to_string())];
            counter!("backpressure.shed_requests", &labels()).absolute(counts.shed);
            counter!("load_shedder.admitted", &labels()).absolute(counts.admitted);
            counter!("load_shedder.would_shed", &labels()).absolute(counts.would_shed);
        }
        for signal in &status.signals {
            if let Some(load) = signal.load {
                let labels = [label(), ("signal", signal.signal.as_str().to_owned())];
                gauge!("load_shedder.load", &labels).set(load);
            }
        }
        if status.capacity.is_some() {
            gauge!("load_shedder.in_flight", &[label()]).set(f64::from(status.in_flight));
        }
        gauge!("load_shedder.admitted_share", &[label()]).set(status.admitted_share);
    }
}

impl Publish for ClientThrottle {
    fn publish(&self) {
        let status = self.status();
        let label = || ("operation", status.name.to_string());
        counter!("client_throttle.rejections", &[label()]).absolute(status.rejected);
        gauge!("client_throttle.rejection_rate", &[label()]).set(status.rejection_rate);
    }
}

fn publish_limiter(name: &Name, totals: RateLimiterTotals) {
    let label = || ("limiter", name.to_string());
    counter!("rate_limiter.admitted", &[label()]).absolute(totals.admitted);
    counter!("rate_limiter.rejections", &[label()]).absolute(totals.rejected);
    counter!("rate_limiter.delayed", &[label()]).absolute(totals.delayed);
    counter!("rate_limiter.pauses", &[label()]).absolute(totals.paused);
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
            ("displaced", totals.displaced),
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
                .record(milliseconds(*delay));
        }
    })
}
