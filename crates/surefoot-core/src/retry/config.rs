//! The options of a retry: their names, defaults and rules.

use std::time::Duration;

use super::{Backoff, Jitter, Retry, RetryBudget, RetryBudgetConfig};
use crate::config::{Check, Shown, reads_toml, takes_clock, takes_listeners};
#[cfg(feature = "serde")]
use crate::config::{duration_text, table, word};
use crate::{ConfigError, Event, Events, Name, TimeSource};

/// The options of a retry as data; [`RetryBuilder`] sets the same ones.
///
/// ```
/// # #[cfg(feature = "toml")] {
/// use surefoot_core::retry::RetryConfig;
///
/// let config = RetryConfig::from_toml(r#"
///     max_attempts = 5
///     initial_delay = "250ms"
///     jitter = "full"
/// "#)?;
/// assert_eq!(config.build()?.config().max_attempts, 5);
/// # }
/// # Ok::<(), surefoot_core::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
pub struct RetryConfig {
    /// What events and metrics call it. Default `retry`.
    pub name: Name,
    /// Calls in total, the first included. Default 3.
    pub max_attempts: u32,
    /// The wait before the first retry. Default 1 s.
    #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
    pub initial_delay: Duration,
    /// The longest wait of the schedule, jitter included. Default 30 s.
    #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
    pub max_delay: Duration,
    /// What each wait is multiplied with; 1.0 keeps them alike. Default 2.0.
    pub exponential_base: f64,
    /// What is added to each wait, instead of multiplying. Default: none.
    #[cfg_attr(
        feature = "serde",
        serde(with = "duration_text::option", skip_serializing_if = "Option::is_none")
    )]
    pub linear_increment: Option<Duration>,
    /// How chance spreads the waits. Default: not at all.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "word::deserialize"))]
    pub jitter: Jitter,
    /// No wait ends, and no attempt starts, later than this after the first. Default: no limit.
    #[cfg_attr(
        feature = "serde",
        serde(with = "duration_text::option", skip_serializing_if = "Option::is_none")
    )]
    pub max_elapsed: Option<Duration>,
    /// No attempt starts with less time than this left. Default 0.
    #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
    pub min_attempt_time: Duration,
    /// The time limit of each attempt. Default: none.
    #[cfg_attr(
        feature = "serde",
        serde(with = "duration_text::option", skip_serializing_if = "Option::is_none")
    )]
    pub attempt_timeout: Option<Duration>,
    /// The longest wait that is obeyed when the callee asks for one; a longer one ends the
    /// retrying at once. Default: `max_delay`.
    #[cfg_attr(
        feature = "serde",
        serde(with = "duration_text::option", skip_serializing_if = "Option::is_none")
    )]
    pub max_retry_after: Option<Duration>,
    /// Makes the jitter repeatable. Default: seeded at random.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub seed: Option<u32>,
    /// A budget of its own. To share one with others, give the builder that one; it counts instead.
    /// Default: none.
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "table::option", skip_serializing_if = "Option::is_none")
    )]
    pub budget: Option<RetryBudgetConfig>,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            name: Name::from("retry"),
            max_attempts: 3,
            initial_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(30),
            exponential_base: 2.0,
            linear_increment: None,
            jitter: Jitter::None,
            max_elapsed: None,
            min_attempt_time: Duration::ZERO,
            attempt_timeout: None,
            max_retry_after: None,
            seed: None,
            budget: None,
        }
    }
}

impl RetryConfig {
    /// The kind of policy, as [`ConfigError::policy`] names it.
    pub const POLICY: &'static str = "retry";

    reads_toml!();

    /// Checks every option, alone and against the others.
    ///
    /// # Errors
    /// Names the first option that breaks its rule.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = Check(Self::POLICY);
        check.name("name", &self.name)?;
        check.count("max_attempts", self.max_attempts, u32::MAX)?;
        check.wait("initial_delay", self.initial_delay)?;
        check.wait("max_delay", self.max_delay)?;
        check.rule(
            self.initial_delay <= self.max_delay,
            "initial_delay",
            Shown(self.initial_delay),
            &format!("must be at most `max_delay`, which is {}", Shown(self.max_delay)),
        )?;
        check.factor("exponential_base", self.exponential_base)?;
        if let Some(increment) = self.linear_increment {
            check.wait("linear_increment", increment)?;
            #[expect(clippy::float_cmp, reason = "the default itself, or 1.0, or another number")]
            let contradicts = self.exponential_base != 2.0 && self.exponential_base != 1.0;
            check.rule(
                !contradicts,
                "linear_increment",
                Shown(increment),
                &format!(
                    "contradicts `exponential_base`, which is {}: waits either add up or multiply",
                    self.exponential_base
                ),
            )?;
        }
        if let Some(max_elapsed) = self.max_elapsed {
            check.period("max_elapsed", max_elapsed)?;
            check.rule(
                self.min_attempt_time <= max_elapsed,
                "min_attempt_time",
                Shown(self.min_attempt_time),
                &format!("must be at most `max_elapsed`, which is {}", Shown(max_elapsed)),
            )?;
        }
        check.wait("min_attempt_time", self.min_attempt_time)?;
        if let Some(timeout) = self.attempt_timeout {
            check.period("attempt_timeout", timeout)?;
        }
        if let Some(longest) = self.max_retry_after {
            check.wait("max_retry_after", longest)?;
        }
        self.budget.map_or(Ok(()), |budget| budget.validate_as(Self::POLICY, "budget."))
    }

    /// A retry with these options on the system's clock.
    ///
    /// # Errors
    /// See [`validate`](Self::validate).
    pub fn build(self) -> Result<Retry, ConfigError> {
        RetryBuilder::from(self).build()
    }

    /// The schedule these options describe.
    pub fn backoff(&self) -> Backoff {
        match self.linear_increment {
            Some(increment) => Backoff::linear(self.initial_delay, increment, self.max_delay),
            None => Backoff::exponential(self.initial_delay, self.exponential_base, self.max_delay),
        }
    }

    pub(super) fn longest_server_wait(&self) -> Duration {
        self.max_retry_after.unwrap_or(self.max_delay)
    }
}

/// Builds a [`Retry`]; made by [`Retry::builder`].
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct RetryBuilder {
    config: RetryConfig,
    clock: TimeSource,
    budget: Option<RetryBudget>,
    events: Events,
}

impl From<RetryConfig> for RetryBuilder {
    fn from(config: RetryConfig) -> Self {
        Self { config, ..Self::default() }
    }
}

impl RetryBuilder {
    /// What events and metrics call it. Default `retry`.
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.config.name = name.into();
        self
    }

    /// Calls in total, the first included. Default 3.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.config.max_attempts = attempts;
        self
    }

    /// The wait before the first retry. Default 1 s.
    pub fn initial_delay(mut self, delay: Duration) -> Self {
        self.config.initial_delay = delay;
        self
    }

    /// The longest wait of the schedule, jitter included. Default 30 s.
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.config.max_delay = delay;
        self
    }

    /// What each wait is multiplied with; 1.0 keeps them alike. Default 2.0.
    pub fn exponential_base(mut self, base: f64) -> Self {
        self.config.exponential_base = base;
        self
    }

    /// What is added to each wait, instead of multiplying.
    pub fn linear_increment(mut self, increment: Duration) -> Self {
        self.config.linear_increment = Some(increment);
        self
    }

    /// How chance spreads the waits. Default: not at all.
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.config.jitter = jitter;
        self
    }

    /// No wait ends, and no attempt starts, later than this after the first.
    pub fn max_elapsed(mut self, limit: Duration) -> Self {
        self.config.max_elapsed = Some(limit);
        self
    }

    /// No attempt starts with less time than this left. Default 0.
    pub fn min_attempt_time(mut self, least: Duration) -> Self {
        self.config.min_attempt_time = least;
        self
    }

    /// The time limit of each attempt. Default: none.
    pub fn attempt_timeout(mut self, limit: Duration) -> Self {
        self.config.attempt_timeout = Some(limit);
        self
    }

    /// The longest wait that is obeyed when the callee asks for one. Default: `max_delay`.
    pub fn max_retry_after(mut self, longest: Duration) -> Self {
        self.config.max_retry_after = Some(longest);
        self
    }

    /// Makes the jitter repeatable.
    pub fn seed(mut self, seed: u32) -> Self {
        self.config.seed = Some(seed);
        self
    }

    /// The budget that retries draw on; share it among all that call one destination.
    pub fn budget(mut self, budget: RetryBudget) -> Self {
        self.budget = Some(budget);
        self
    }

    takes_clock!();

    /// Calls `listener` before each wait, with the number of the attempt that failed and the
    /// length of the wait.
    pub fn on_retry(self, listener: impl Fn(u32, Duration) + Send + Sync + 'static) -> Self {
        self.on_event(move |event| {
            if let Event::RetryScheduled { attempt, delay, .. } = event {
                listener(*attempt, *delay);
            }
        })
    }

    takes_listeners!();

    /// The retry.
    ///
    /// # Errors
    /// Names the first option that breaks its rule.
    pub fn build(self) -> Result<Retry, ConfigError> {
        let Self { config, clock, budget, events } = self;
        config.validate()?;
        let own = || config.budget.map(|budget| budget.of_valid(clock.clone()));
        let budget = budget.or_else(own);
        Ok(Retry::new(config, clock, budget, events))
    }
}

#[cfg(all(test, not(surefoot_loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_set_and_leaves_the_others_alone() {
        let second = Duration::from_secs(1);
        let built = RetryBuilder::default()
            .name("fetch")
            .max_attempts(4)
            .initial_delay(2 * second)
            .max_delay(9 * second)
            .exponential_base(3.0)
            .linear_increment(second)
            .jitter(Jitter::Equal)
            .max_elapsed(90 * second)
            .min_attempt_time(5 * second)
            .attempt_timeout(6 * second)
            .max_retry_after(7 * second)
            .seed(11);
        let expected = RetryConfig {
            name: "fetch".into(),
            max_attempts: 4,
            initial_delay: 2 * second,
            max_delay: 9 * second,
            exponential_base: 3.0,
            linear_increment: Some(second),
            jitter: Jitter::Equal,
            max_elapsed: Some(90 * second),
            min_attempt_time: 5 * second,
            attempt_timeout: Some(6 * second),
            max_retry_after: Some(7 * second),
            budget: None,
            seed: Some(11),
        };
        assert_eq!(built.config, expected);
    }

    /// Equal is allowed where one option bounds another.
    #[test]
    fn each_bad_option_is_named_and_its_bound_is_good() {
        let second = Duration::from_secs(1);
        let nano = Duration::from_nanos(1);
        let retry = RetryBuilder::default;
        for (builder, field) in [
            (retry().name(" "), "name"),
            (retry().max_attempts(0), "max_attempts"),
            (retry().initial_delay(second + nano).max_delay(second), "initial_delay"),
            (retry().max_delay(Duration::MAX), "max_delay"),
            (retry().exponential_base(0.99), "exponential_base"),
            (retry().linear_increment(Duration::MAX), "linear_increment"),
            (retry().linear_increment(second).exponential_base(3.0), "linear_increment"),
            (retry().max_elapsed(Duration::ZERO), "max_elapsed"),
            (retry().min_attempt_time(second + nano).max_elapsed(second), "min_attempt_time"),
            (retry().min_attempt_time(Duration::MAX), "min_attempt_time"),
            (retry().attempt_timeout(Duration::ZERO), "attempt_timeout"),
            (retry().max_retry_after(Duration::MAX), "max_retry_after"),
        ] {
            assert_eq!(builder.build().unwrap_err().field(), field);
        }
        for builder in [
            retry().max_attempts(1),
            retry().initial_delay(second).max_delay(second),
            retry().exponential_base(1.0),
            retry().linear_increment(second).exponential_base(1.0),
            retry().linear_increment(second).exponential_base(2.0),
            retry().min_attempt_time(second).max_elapsed(second),
            retry().max_retry_after(Duration::ZERO),
        ] {
            let config = builder.config.clone();
            assert_eq!(builder.build().unwrap().config(), &config);
        }
    }

    #[cfg(feature = "toml")]
    #[test]
    fn options_are_read_from_toml_and_unknown_ones_refused() {
        assert_eq!(RetryConfig::from_toml("max_attempts = 9").unwrap().max_attempts, 9);
        assert_eq!(RetryConfig::from_toml("attempts = 9").unwrap_err().field(), "attempts");
    }

    #[test]
    fn who_listens_for_retries_hears_which_attempt_failed_and_how_long_the_wait_is() {
        use std::sync::{Arc, Mutex};
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = Arc::clone(&heard);
        let builder = RetryBuilder::default().initial_delay(Duration::from_secs(2));
        let builder =
            builder.on_retry(move |attempt, delay| ear.lock().unwrap().push((attempt, delay)));
        let retry = builder.build().unwrap();
        let (policy, at) = (retry.name().clone(), crate::Timestamp::ZERO);
        let delay = Duration::from_secs(2);
        let scheduled = Event::RetryScheduled { policy: policy.clone(), at, attempt: 1, delay };
        retry.events().send(&scheduled);
        retry.events().send(&Event::NestedRetry { policy });
        assert_eq!(*heard.lock().unwrap(), [(1, delay)]);
    }

    #[test]
    fn that_a_retry_runs_inside_another_is_told_once() {
        use std::sync::{Arc, Mutex};
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = Arc::clone(&heard);
        let builder = RetryBuilder::default();
        let retry =
            builder.on_event(move |event| ear.lock().unwrap().push(event.clone())).build().unwrap();
        (0..3).for_each(|_| retry.note_nesting());
        assert_eq!(*heard.lock().unwrap(), [Event::NestedRetry { policy: retry.name().clone() }]);
    }
}
