//! The options of a client throttle: their names, defaults and rules.

use std::time::Duration;

use super::ClientThrottle;
use crate::config::{Check, reads_toml, takes_clock, takes_events, takes_listeners};
#[cfg(feature = "serde")]
use crate::config::{duration_text, word};
use crate::{ConfigError, Events, Name, TimeSource};

/// The options of a client throttle as data; [`ClientThrottleBuilder`] sets the same ones.
///
/// ```
/// # #[cfg(feature = "toml")] {
/// use surefoot_core::client_throttle::ClientThrottleConfig;
///
/// let config = ClientThrottleConfig::from_toml(r#"
///     name = "search"
///     multiplier = 2.0
///     window = "30s"
/// "#)?;
/// assert_eq!(config.build()?.name(), "search");
/// # }
/// # Ok::<(), surefoot_core::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
pub struct ClientThrottleConfig {
    /// What rejections, events and metrics call it. Required.
    pub name: Name,
    /// K: calls sent for each one that is accepted, from 1.0 up. Default 2.0.
    pub multiplier: f64,
    /// The largest share of calls that is held back, from 0.0 to below 1.0: the rest finds out when
    /// the callee is well again. Default 0.9.
    pub max_rejection_rate: f64,
    /// How far back calls count. Default 30 s.
    #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
    pub window: Duration,
    /// Which results mean that the callee did not accept the call. Default: every failure.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "word::deserialize"))]
    pub overload: Overload,
    /// Makes the choice of calls repeatable. Default: random.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub seed: Option<u32>,
}

/// Which results mean that the callee did not accept a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Overload {
    /// Failures, our own time limits among them, and answers that ask for a pause.
    #[default]
    Failures,
    /// Only answers that ask for a pause ([`Verdict::Throttled`](crate::Verdict::Throttled)); a failure
    /// is an accepted call that went wrong.
    Throttled,
}

impl Default for ClientThrottleConfig {
    fn default() -> Self {
        Self {
            name: Name::default(),
            multiplier: 2.0,
            max_rejection_rate: 0.9,
            window: Duration::from_secs(30),
            overload: Overload::default(),
            seed: None,
        }
    }
}

impl ClientThrottleConfig {
    /// The kind of policy, as [`ConfigError::policy`] names it.
    pub const POLICY: &'static str = "client_throttle";

    reads_toml!();

    /// Checks every option.
    ///
    /// # Errors
    /// Names the first option that breaks its rule.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = Check(Self::POLICY);
        check.factor("multiplier", self.multiplier)?;
        check.rule(
            (0.0..1.0).contains(&self.max_rejection_rate),
            "max_rejection_rate",
            self.max_rejection_rate,
            "must be from 0.0 to below 1.0: without a call that gets through nobody would see the \
             service recover",
        )?;
        check.period("window", self.window)?;
        // Last, since a name that is missing must not hide what is wrong with the options there are.
        check.name("name", &self.name)
    }

    /// A throttle with these options on the system's clock.
    ///
    /// # Errors
    /// See [`validate`](Self::validate).
    pub fn build(self) -> Result<ClientThrottle, ConfigError> {
        ClientThrottleBuilder::from(self).build()
    }
}

/// Builds a [`ClientThrottle`]; made by [`ClientThrottle::builder`].
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ClientThrottleBuilder {
    config: ClientThrottleConfig,
    clock: TimeSource,
    events: Events,
}

impl From<ClientThrottleConfig> for ClientThrottleBuilder {
    fn from(config: ClientThrottleConfig) -> Self {
        Self { config, ..Self::default() }
    }
}

impl ClientThrottleBuilder {
    /// K: calls sent for each one that is accepted, from 1.0 up. Default 2.0.
    pub fn multiplier(mut self, multiplier: f64) -> Self {
        self.config.multiplier = multiplier;
        self
    }

    /// The largest share of calls that is held back. Default 0.9.
    pub fn max_rejection_rate(mut self, share: f64) -> Self {
        self.config.max_rejection_rate = share;
        self
    }

    /// How far back calls count. Default 30 s.
    pub fn window(mut self, window: Duration) -> Self {
        self.config.window = window;
        self
    }

    /// Which results mean that the callee did not accept the call. Default: every failure.
    pub fn overload(mut self, overload: Overload) -> Self {
        self.config.overload = overload;
        self
    }

    /// Makes the choice of calls repeatable.
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

    /// The throttle, holding nothing back.
    ///
    /// # Errors
    /// Names the first option that breaks its rule.
    pub fn build(self) -> Result<ClientThrottle, ConfigError> {
        self.config.validate()?;
        Ok(ClientThrottle::new(self.config, self.clock, self.events))
    }
}

#[cfg(all(test, not(surefoot_loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_bad_option_is_named() {
        let throttle = || ClientThrottle::builder("api");
        for (builder, field) in [
            (ClientThrottle::builder(" "), "name"),
            (throttle().multiplier(0.99), "multiplier"),
            (throttle().multiplier(f64::NAN), "multiplier"),
            (throttle().max_rejection_rate(1.0), "max_rejection_rate"),
            (throttle().max_rejection_rate(-0.1), "max_rejection_rate"),
            (throttle().max_rejection_rate(f64::NAN), "max_rejection_rate"),
            (throttle().window(Duration::ZERO), "window"),
        ] {
            assert_eq!(builder.build().unwrap_err().field(), field);
        }
    }
}
