//! Spans and events through [`tracing`](https://docs.rs/tracing).
//!
//! With the feature `tracing`, every call of a [`Pipeline`](crate::Pipeline) runs in a span
//! `surefoot.call` with the pipeline's name. What policies do is logged for those given to
//! [`log`].

use std::future::Future;

use surefoot_core::{Event, Events, Name, Subscription};
use tracing::{Instrument, Span, info, warn};

pub(crate) fn span(name: &Name) -> Span {
    tracing::debug_span!("surefoot.call", pipeline = name.as_str())
}

pub(crate) fn in_span<F: Future>(name: &Name, call: F) -> impl Future<Output = F::Output> + use<F> {
    call.instrument(span(name))
}

pub(crate) fn in_optional_span<F: Future>(
    name: Option<&Name>,
    call: F,
) -> impl Future<Output = F::Output> + use<F> {
    call.instrument(name.map_or_else(Span::none, span))
}

/// Logs a policy's events until the subscription is dropped: changes of state, retries that gave up
/// and budgets that end as warnings, the rest as information.
///
/// ```
/// use surefoot::prelude::*;
///
/// # fn main() -> Result<(), ConfigError> {
/// let breaker = CircuitBreaker::builder("api").build()?;
/// surefoot::tracing::log(breaker.events()).forever();
/// # Ok(())
/// # }
/// ```
pub fn log(events: &Events) -> Subscription {
    events.subscribe(|event| match event {
        Event::StateChanged { policy, from, to, failure_count, success_count, .. } => {
            warn!(
                circuit = policy.as_str(),
                from = from.as_str(),
                to = to.as_str(),
                failure_count,
                success_count,
                "circuit breaker changed its state"
            );
        }
        Event::WouldHaveTripped { policy, limit, .. } => {
            warn!(circuit = policy.as_str(), %limit, "disabled circuit breaker would have opened");
        }
        Event::Throttled { policy, retry_after, .. } => {
            info!(circuit = policy.as_str(), ?retry_after, "callee asked for a pause");
        }
        Event::RetryScheduled { policy, attempt, delay, .. } => {
            info!(operation = policy.as_str(), attempt, ?delay, "attempt failed, will try again");
        }
        Event::RetryStopped { policy, attempts, stop, .. } => {
            warn!(operation = policy.as_str(), attempts, %stop, "retry gave up");
        }
        Event::NestedRetry { policy } => {
            warn!(operation = policy.as_str(), "a retry runs inside another: attempts multiply");
        }
        Event::Hedged { policy, attempt, .. } => {
            info!(operation = policy.as_str(), attempt, "no answer yet, another attempt begins");
        }
        Event::HedgeRefused { policy, .. } => {
            info!(operation = policy.as_str(), "no hedge: the budget is spent");
        }
        Event::RateLimited { policy, retry_after, .. } => {
            info!(limiter = policy.as_str(), ?retry_after, "rate limiter refused a call");
        }
        Event::RateDelayed { policy, delay, .. } => {
            info!(limiter = policy.as_str(), ?delay, "a call waits for its slot");
        }
        Event::RatePaused { policy, until, .. } => {
            info!(
                limiter = policy.as_str(),
                ?until,
                "callee asked for a pause, nobody is admitted"
            );
        }
        Event::KeysFull { policy, max_keys } => {
            warn!(limiter = policy.as_str(), max_keys, "rate limiter has no room for a new key");
        }
        Event::Shed { policy, priority, signal, load, dry_run, .. } => {
            let signal = signal.as_str();
            info!(shedder = policy.as_str(), priority, signal, load, dry_run, "call shed");
        }
        Event::ClientThrottled { policy, rejection_rate, .. } => {
            info!(operation = policy.as_str(), rejection_rate, "call held back");
        }
        Event::FellBack { policy, link } => {
            warn!(operation = policy.as_str(), link = link.as_str(), "a link of a fallback failed");
        }
        Event::RegistryFull { policy, max_breakers } => {
            warn!(registry = policy.as_str(), max_breakers, "registry is full");
        }
        Event::LimitChanged { policy, from, to, .. } => {
            info!(throttler = policy.as_str(), from, to, "limit of concurrent calls changed");
        }
        Event::QueueFilled { policy, queue_size, .. } => {
            warn!(throttler = policy.as_str(), queue_size, "queue is full, calls are refused");
        }
        Event::QueueStanding { policy, stands, .. } => {
            warn!(throttler = policy.as_str(), stands, "queue stands, or no longer does");
        }
        Event::BudgetLow { policy, dimension, spent, limit } => {
            warn!(budget = policy.as_str(), %dimension, spent, limit, "budget is nearly spent");
        }
        Event::BudgetExhausted { policy, dimension, spent, limit } => {
            warn!(budget = policy.as_str(), %dimension, spent, limit, "budget is spent");
        }
        event => info!(policy = event.policy().as_str(), ?event, "event"),
    })
}
