//! The options of a circuit breaker: their names, defaults and rules.

use std::time::Duration;

use super::trip::{Trip, TripLimit, WINDOW_CALLS_MAX};
use super::{CircuitBreaker, Machine};
use crate::config::{Check, Shown, reads_toml, takes_clock, takes_events, takes_listeners};
#[cfg(feature = "serde")]
use crate::config::{duration_text, table};
use crate::{ConfigError, Events, Name, TimeSource};

/// The options of a circuit breaker as data; [`CircuitBreakerBuilder`] sets the same ones.
///
/// ```
/// # #[cfg(feature = "toml")] {
/// use surefoot_core::circuit_breaker::CircuitBreakerConfig;
///
/// let config = CircuitBreakerConfig::from_toml(r#"
///     name = "payments"
///     failure_threshold = 3
///     timeout = "30s"
/// "#)?;
/// let breaker = config.build()?;
/// assert_eq!(breaker.name(), "payments");
/// # }
/// # Ok::<(), surefoot_core::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
pub struct CircuitBreakerConfig {
    /// What rejections, events, metrics and health call it. Required.
    pub name: Name,
    /// Failures within `failure_window` that open it. Default 5.
    pub failure_threshold: u32,
    /// Successful trial calls that close it again. Default 2.
    pub success_threshold: u32,
    /// How long it stays open before it tries. Default 60 s.
    #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
    pub timeout: Duration,
    /// How far back failures count. Default 60 s.
    #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
    pub failure_window: Duration,
    /// Another rule for opening, instead of `failure_threshold` within `failure_window`.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub trip: Option<Trip>,
    /// Trial calls out at a time while half-open. Default: `success_threshold`.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub half_open_max_calls: Option<u32>,
    /// When the place of a trial call that never reports is given away. Default: `timeout`.
    #[cfg_attr(
        feature = "serde",
        serde(with = "duration_text::option", skip_serializing_if = "Option::is_none")
    )]
    pub half_open_timeout: Option<Duration>,
    /// Longer open times each time trial calls fail in a row. Default: none.
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "table::option", skip_serializing_if = "Option::is_none")
    )]
    pub timeout_growth: Option<TimeoutGrowth>,
    /// Up to this share of the open time is added at random, so that many breakers do not try at
    /// once. From 0.0 (default) to 1.0.
    pub timeout_jitter: f64,
    /// The longest pause that is obeyed when the callee asks for one. Default 1 h.
    #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
    pub max_throttle: Duration,
    /// Makes `timeout_jitter` repeatable. Default: seeded at random.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub seed: Option<u32>,
}

/// How the open time grows while trial calls keep failing: `timeout · factor^n` after the n-th
/// failed return in a row, at most `max`. Closing starts over.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct TimeoutGrowth {
    /// What the open time is multiplied with, from 1.0 up.
    pub factor: f64,
    /// The longest open time.
    #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
    pub max: Duration,
}

impl Default for CircuitBreakerConfig {
    fn default() -> Self {
        Self {
            name: Name::default(),
            failure_threshold: 5,
            success_threshold: 2,
            timeout: Duration::from_secs(60),
            failure_window: Duration::from_secs(60),
            trip: None,
            half_open_max_calls: None,
            half_open_timeout: None,
            timeout_growth: None,
            timeout_jitter: 0.0,
            max_throttle: Duration::from_secs(3600),
            seed: None,
        }
    }
}

impl CircuitBreakerConfig {
    /// The kind of policy, as [`ConfigError::policy`] names it.
    pub const POLICY: &'static str = "circuit_breaker";

    reads_toml!();

    /// Checks every option, alone and against the others.
    ///
    /// # Errors
    /// Names the first option that breaks its rule.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = Check(Self::POLICY);
        check.count("failure_threshold", self.failure_threshold, WINDOW_CALLS_MAX)?;
        check.count("success_threshold", self.success_threshold, WINDOW_CALLS_MAX)?;
        check.period("timeout", self.timeout)?;
        check.period("failure_window", self.failure_window)?;
        if let Some(trip) = &self.trip {
            trip.validate(check)?;
        }
        if let Some(calls) = self.half_open_max_calls {
            check.count("half_open_max_calls", calls, WINDOW_CALLS_MAX)?;
        }
        if let Some(timeout) = self.half_open_timeout {
            check.period("half_open_timeout", timeout)?;
        }
        if let Some(TimeoutGrowth { factor, max }) = self.timeout_growth {
            check.factor("timeout_growth.factor", factor)?;
            check.period("timeout_growth.max", max)?;
            check.rule(
                max >= self.timeout,
                "timeout_growth.max",
                Shown(max),
                &format!("must be at least `timeout`, which is {}", Shown(self.timeout)),
            )?;
        }
        check.rule(
            (0.0..=1.0).contains(&self.timeout_jitter),
            "timeout_jitter",
            self.timeout_jitter,
            "must be from 0.0 to 1.0",
        )?;
        check.period("max_throttle", self.max_throttle)?;
        // Last, since a name that is missing must not hide what is wrong with the options there are.
        check.name("name", &self.name)
    }

    /// A breaker with these options on the system's clock.
    ///
    /// # Errors
    /// See [`validate`](Self::validate).
    pub fn build(self) -> Result<CircuitBreaker, ConfigError> {
        CircuitBreakerBuilder::from(self).build()
    }

    pub(super) fn probes(&self) -> u32 {
        self.half_open_max_calls.unwrap_or(self.success_threshold)
    }

    pub(super) fn probe_timeout(&self) -> Duration {
        self.half_open_timeout.unwrap_or(self.timeout)
    }

    pub(super) fn limit(&self) -> TripLimit {
        #[expect(clippy::cast_possible_truncation, reason = "shown to people, not judged by")]
        match self.trip {
            None => TripLimit::Failures(self.failure_threshold),
            Some(Trip::Consecutive { failures }) => TripLimit::ConsecutiveFailures(failures),
            Some(Trip::RateCountWindow { rate, .. } | Trip::RateTimeWindow { rate, .. }) => {
                TripLimit::FailureRate(rate as f32)
            }
            Some(Trip::Slow { rate, .. }) => TripLimit::SlowRate(rate as f32),
        }
    }
}

/// Builds a [`CircuitBreaker`]; made by [`CircuitBreaker::builder`].
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct CircuitBreakerBuilder {
    config: CircuitBreakerConfig,
    clock: TimeSource,
    events: Events,
}

impl From<CircuitBreakerConfig> for CircuitBreakerBuilder {
    fn from(config: CircuitBreakerConfig) -> Self {
        Self { config, ..Self::default() }
    }
}

impl CircuitBreakerBuilder {
    /// Failures within `failure_window` that open it. Default 5.
    pub fn failure_threshold(mut self, failures: u32) -> Self {
        self.config.failure_threshold = failures;
        self
    }

    /// Successful trial calls that close it again. Default 2.
    pub fn success_threshold(mut self, successes: u32) -> Self {
        self.config.success_threshold = successes;
        self
    }

    /// How long it stays open before it tries. Default 60 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.config.timeout = timeout;
        self
    }

    /// How far back failures count. Default 60 s.
    pub fn failure_window(mut self, window: Duration) -> Self {
        self.config.failure_window = window;
        self
    }

    /// Another rule for opening, instead of `failure_threshold` within `failure_window`.
    pub fn trip(mut self, trip: Trip) -> Self {
        self.config.trip = Some(trip);
        self
    }

    /// Trial calls out at a time while half-open. Default: `success_threshold`.
    pub fn half_open_max_calls(mut self, calls: u32) -> Self {
        self.config.half_open_max_calls = Some(calls);
        self
    }

    /// When the place of a trial call that never reports is given away. Default: `timeout`.
    pub fn half_open_timeout(mut self, timeout: Duration) -> Self {
        self.config.half_open_timeout = Some(timeout);
        self
    }

    /// Multiplies the open time with `factor` each time trial calls fail in a row, up to `max`.
    pub fn timeout_growth(mut self, factor: f64, max: Duration) -> Self {
        self.config.timeout_growth = Some(TimeoutGrowth { factor, max });
        self
    }

    /// Adds up to this share of the open time at random. Default 0.0.
    pub fn timeout_jitter(mut self, share: f64) -> Self {
        self.config.timeout_jitter = share;
        self
    }

    /// The longest pause that is obeyed when the callee asks for one. Default 1 h.
    pub fn max_throttle(mut self, longest: Duration) -> Self {
        self.config.max_throttle = longest;
        self
    }

    /// Makes `timeout_jitter` repeatable.
    pub fn seed(mut self, seed: u32) -> Self {
        self.config.seed = Some(seed);
        self
    }

    takes_clock!();
    takes_listeners!();
    takes_events!();

    pub(super) fn name(mut self, name: Name) -> Self {
        self.config.name = name;
        self
    }

    /// The breaker, closed.
    ///
    /// # Errors
    /// Names the first option that breaks its rule.
    pub fn build(self) -> Result<CircuitBreaker, ConfigError> {
        self.config.validate()?;
        Ok(CircuitBreaker::from_machine(Machine::new(self.config, self.clock, self.events)))
    }
}

#[cfg(all(test, not(surefoot_loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_set_and_leaves_the_others_alone() {
        let second = Duration::from_secs(1);
        let built = CircuitBreaker::builder("api")
            .failure_threshold(3)
            .success_threshold(4)
            .timeout(5 * second)
            .failure_window(6 * second)
            .half_open_max_calls(7)
            .half_open_timeout(8 * second)
            .timeout_growth(2.0, 90 * second)
            .timeout_jitter(0.5)
            .max_throttle(10 * second)
            .seed(11);
        let expected = CircuitBreakerConfig {
            name: "api".into(),
            failure_threshold: 3,
            success_threshold: 4,
            timeout: 5 * second,
            failure_window: 6 * second,
            half_open_max_calls: Some(7),
            half_open_timeout: Some(8 * second),
            timeout_growth: Some(TimeoutGrowth { factor: 2.0, max: 90 * second }),
            timeout_jitter: 0.5,
            max_throttle: 10 * second,
            seed: Some(11),
            ..CircuitBreakerConfig::default()
        };
        assert_eq!(built.config, expected);
    }

    #[cfg(feature = "toml")]
    #[test]
    fn what_is_read_is_checked() {
        let read =
            |text| CircuitBreakerConfig::from_toml(text).and_then(CircuitBreakerConfig::build);
        let breaker = read("name = \"api\"\nfailure_threshold = 3").unwrap();
        assert_eq!(breaker.config().failure_threshold, 3);
        for (text, field) in [
            ("name = \"\"", "name"),
            ("name = \"api\"\nfailure_threshold = 0", "failure_threshold"),
            ("name = \"api\"\nsuccess_threshold = 0", "success_threshold"),
            ("name = \"api\"\ntimeout = \"0s\"", "timeout"),
            ("name = \"api\"\nhalf_open_max_calls = 0", "half_open_max_calls"),
            ("name = \"api\"\ntrip = { kind = \"consecutive\", failures = 0 }", "trip.failures"),
            ("name = \"api\"\nfailures = 3", "failures"),
        ] {
            assert_eq!(read(text).unwrap_err().field(), field, "{text}");
        }
    }
}
