//! Changes of state: the machine's own, and the operator's.

use std::time::Duration;

use super::super::CircuitState;
use super::super::config::{CircuitBreakerConfig, TimeoutGrowth};
use super::super::half_open::HalfOpen;
use super::super::successes::Bank;
use super::super::window::Window;
use super::super::word::Flag;
use super::{Inner, Machine, State, random};
use crate::sync::atomic::Ordering;
use crate::sync::lock;
use crate::time::nanos;
use crate::{ConfigError, Event, Timestamp};

impl Machine {
    /// The one place where the state changes.
    pub(super) fn enter(&self, inner: &mut Inner, to: CircuitState, now: Timestamp) {
        let word = self.word();
        let (counts, _) = self.counts(inner, now);
        match to {
            CircuitState::Closed => {
                inner.state = State::Closed;
                inner.reopened = 0;
                // Read before the word is published: a success of the new generation must not
                // get lost in the old one's count. Late ones take themselves out.
                let word = word.enter(to).with(Flag::WATCHED, false);
                self.forget(inner, word.bank(), now);
                self.word.store(word.0, Ordering::Release);
            }
            CircuitState::Open => {
                inner.totals.opened += 1;
                let was_closed = matches!(inner.state, State::Closed);
                inner.state = State::Open;
                let until = now + inner.open_time();
                self.open_until.store(until.as_nanos(), Ordering::Release);
                self.word.store(word.enter(to).0, Ordering::Release);
                if was_closed {
                    inner.successes_then = self.successes_since_closing(inner);
                }
            }
            CircuitState::HalfOpen => {
                let config = &inner.config;
                inner.state =
                    State::HalfOpen(HalfOpen::new(config.probes(), config.probe_timeout()));
                self.word.store(word.enter(to).0, Ordering::Release);
            }
        }
        self.post(inner, || Event::StateChanged {
            policy: self.name.clone(),
            at: now,
            from: word.state(),
            to,
            generation: word.generation() + 1,
            failure_count: counts.failures,
            success_count: counts.successes,
        });
    }

    /// Empties the counters, as closing does.
    pub(super) fn forget(&self, inner: &mut Inner, bank: Bank, now: Timestamp) {
        inner.window.clear(now);
        inner.failures = 0;
        inner.closed_at = self.successes.mark(bank);
        inner.would_have_tripped = false;
        self.publish_window(inner, 0);
    }

    pub(in crate::circuit_breaker) fn force_open(&self) {
        let mut guard = lock(&self.inner);
        let inner = &mut *guard;
        let now = self.time.now();
        self.set_flag(Flag::DISABLED, false);
        self.set_flag(Flag::FORCED, true);
        if !matches!(inner.state, State::Open) {
            inner.forced_while_closed = matches!(inner.state, State::Closed);
            self.enter(inner, CircuitState::Open, now);
            // Once released, it may try at once.
            self.open_until.store(now.as_nanos(), Ordering::Release);
        }
        self.deliver(guard);
    }

    pub(in crate::circuit_breaker) fn disable(&self) {
        let mut guard = lock(&self.inner);
        let inner = &mut *guard;
        inner.would_have_tripped = false;
        inner.forced_while_closed = false;
        self.set_flag(Flag::FORCED, false);
        self.set_flag(Flag::DISABLED, true);
        if !matches!(inner.state, State::Closed) {
            self.enter(inner, CircuitState::Closed, self.time.now());
        }
        self.deliver(guard);
    }

    pub(in crate::circuit_breaker) fn automatic(&self) {
        let mut guard = lock(&self.inner);
        let inner = &mut *guard;
        self.set_flag(Flag::FORCED, false);
        self.set_flag(Flag::DISABLED, false);
        if std::mem::take(&mut inner.forced_while_closed) {
            self.enter(inner, CircuitState::Closed, self.time.now());
        }
        self.deliver(guard);
    }

    pub(in crate::circuit_breaker) fn reset(&self) {
        let mut guard = lock(&self.inner);
        let inner = &mut *guard;
        let now = self.time.now();
        inner.forced_while_closed = false;
        inner.last_failure = None;
        // `WATCHED` stays until the counters are empty: until then successes may matter.
        for flag in [Flag::FORCED, Flag::DISABLED, Flag::GATED] {
            self.set_flag(flag, false);
        }
        match inner.state {
            State::Closed => self.forget(inner, self.word().bank(), now),
            State::Open | State::HalfOpen(_) => self.enter(inner, CircuitState::Closed, now),
        }
        self.deliver(guard);
    }

    pub(in crate::circuit_breaker) fn reconfigure(
        &self,
        config: CircuitBreakerConfig,
    ) -> Result<(), ConfigError> {
        config.validate()?;
        if config.name != self.name {
            let rule = format!("must stay `{}`: a breaker keeps its name", self.name);
            let policy = CircuitBreakerConfig::POLICY;
            return Err(ConfigError::new(policy, "name", &config.name, rule));
        }
        let mut guard = lock(&self.inner);
        let inner = &mut *guard;
        let now = self.time.now();
        let mut window = Window::new(&config, now);
        let successes = self.successes_in_window(inner);
        let inherited = window.inherit(&mut inner.window, successes);
        inner.window = window;
        if config.seed != inner.config.seed {
            inner.random = random(&config);
        }
        inner.config = config;
        if !inherited {
            self.forget(inner, self.word().bank(), now);
            inner.successes_then = 0;
        }
        if let State::HalfOpen(half_open) = &mut inner.state {
            half_open.reconfigure(inner.config.probes(), inner.config.probe_timeout());
        }
        self.publish_options(inner);
        Ok(())
    }
}

impl Inner {
    /// How long the breaker stays open this time.
    pub(super) fn open_time(&mut self) -> Duration {
        let base = nanos(self.config.timeout);
        let longest = self.config.timeout_growth.map_or(u64::MAX, |growth| nanos(growth.max));
        let factor = match self.config.timeout_growth {
            Some(TimeoutGrowth { factor, .. }) => {
                factor.powi(i32::try_from(self.reopened).unwrap_or(i32::MAX))
            }
            None => 1.0,
        };
        let jitter = 1.0 + self.config.timeout_jitter * self.random.f64();
        Duration::from_nanos(scale(base, factor * jitter).min(longest))
    }
}

/// `nanos · factor`, exact for whole factors that fit, saturated at the most that fits.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates; below 104 days every nanosecond is exact"
)]
fn scale(nanos: u64, factor: f64) -> u64 {
    if factor <= 1.0 { nanos } else { (nanos as f64 * factor).round() as u64 }
}

#[cfg(all(test, not(surefoot_loom)))]
mod tests {
    use std::time::Duration;

    use crate::{CircuitBreaker, ManualClock};

    /// A breaker whose open times are drawn from `seed`.
    fn breaker(seed: u32) -> CircuitBreaker {
        CircuitBreaker::builder("api")
            .failure_threshold(1)
            .timeout_jitter(1.0)
            .seed(seed)
            .clock(ManualClock::new())
            .build()
            .unwrap()
    }

    fn next_open_time(breaker: &CircuitBreaker) -> Option<Duration> {
        breaker.reset();
        breaker.admit().unwrap().failure();
        breaker.status().retry_after
    }

    #[test]
    fn a_new_seed_starts_its_own_row_of_open_times_and_the_same_seed_goes_on_with_its_own() {
        let kept = breaker(1);
        let (first, second) = (next_open_time(&kept), next_open_time(&kept));
        let reconfigured = breaker(1);
        assert_eq!(next_open_time(&reconfigured), first);
        reconfigured.reconfigure(breaker(1).config()).unwrap();
        assert_eq!(next_open_time(&reconfigured), second);
        reconfigured.reconfigure(breaker(2).config()).unwrap();
        assert_eq!(next_open_time(&reconfigured), next_open_time(&breaker(2)));
    }
}
