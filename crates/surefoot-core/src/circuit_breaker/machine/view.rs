//! Looking: what the machine says about itself, without changing.

use super::super::CircuitState;
use super::super::config::CircuitBreakerConfig;
use super::super::status::{CircuitMode, CircuitStatus, CircuitTotals};
use super::super::window::Counts;
use super::super::word::Flag;
use super::{Inner, Machine, State, load_time};
use crate::Timestamp;
use crate::clock::time_left;
use crate::sync::atomic::Ordering;
use crate::sync::lock;

impl Machine {
    pub(in crate::circuit_breaker) fn state(&self) -> CircuitState {
        self.word().state()
    }

    pub(in crate::circuit_breaker) fn generation(&self) -> u64 {
        self.word().generation()
    }

    pub(in crate::circuit_breaker) fn status(&self) -> CircuitStatus {
        let inner = lock(&self.inner);
        let now = self.time.now();
        let word = self.word();
        let (counts, failure_rate) = self.counts(&inner, now);
        let mode = match word {
            word if word.has(Flag::FORCED) => CircuitMode::ForcedOpen,
            word if word.has(Flag::DISABLED) => CircuitMode::Disabled,
            _ => CircuitMode::Automatic,
        };
        let retry_after = match (mode, &inner.state) {
            (CircuitMode::Automatic, State::Open) => {
                time_left(load_time(&self.open_until).max(self.gate()), now)
            }
            (CircuitMode::Automatic, State::HalfOpen(half_open)) => {
                let free = half_open.next_free_place(now).unwrap_or(now);
                time_left(free.max(self.gate()), now)
            }
            (CircuitMode::Automatic, State::Closed) => time_left(self.gate(), now),
            (CircuitMode::ForcedOpen | CircuitMode::Disabled, _) => None,
        };
        CircuitStatus {
            name: self.name.clone(),
            state: word.state(),
            mode,
            failure_count: counts.failures,
            success_count: counts.successes,
            failure_rate,
            last_failure_time: inner.last_failure,
            retry_after,
            generation: word.generation(),
            totals: CircuitTotals {
                successes: self.successes.total(),
                rejected: self.rejected.load(Ordering::Relaxed),
                ..inner.totals
            },
        }
    }

    pub(in crate::circuit_breaker) fn config(&self) -> CircuitBreakerConfig {
        lock(&self.inner).config.clone()
    }

    /// Closed, automatic and with nothing remembered that matters: a new one would decide alike.
    pub(in crate::circuit_breaker) fn is_as_new(&self) -> bool {
        let inner = lock(&self.inner);
        let now = self.time.now();
        let word = self.word();
        word.state() == CircuitState::Closed
            && !word.has(Flag::DISABLED)
            && time_left(self.gate(), now).is_none()
            && inner.window.is_empty(now, self.successes_since_closing(&inner))
    }

    /// The counters that the status shows, and the share of failures.
    pub(super) fn counts(&self, inner: &Inner, now: Timestamp) -> (Counts, f64) {
        let closed = matches!(inner.state, State::Closed);
        let successes = self.successes_in_window(inner);
        let failures = inner.window.failures(now, successes);
        let in_window = inner.window.counts(now, successes);
        let since =
            if closed { Counts { failures: inner.failures, successes } } else { Counts::default() };
        let shown = match &inner.state {
            State::HalfOpen(half_open) => half_open.successes,
            State::Closed | State::Open => in_window.unwrap_or(since).successes,
        };
        (Counts { failures, successes: shown }, in_window.unwrap_or(since).rate())
    }
}
