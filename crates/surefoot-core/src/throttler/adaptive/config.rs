//! The options of an adaptive limit: their names, defaults and rules.

use std::time::Duration;

use crate::ConfigError;
use crate::config::Check;
#[cfg(feature = "serde")]
use crate::config::duration_text;

/// The options of an adaptive limit.
///
/// ```
/// use std::time::Duration;
/// use surefoot_core::throttler::adaptive::AdaptiveConfig;
///
/// let config = AdaptiveConfig {
///     max_limit: 200,
///     max_healthy_latency: Some(Duration::from_millis(500)),
///     ..AdaptiveConfig::default()
/// };
/// assert!(config.validate().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
pub struct AdaptiveConfig {
    /// The limit to begin with, and what idleness never takes it below. Default 20, or the nearest
    /// that the bounds allow.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub initial_limit: Option<u32>,
    /// The lowest limit. Default 1.
    pub min_limit: u32,
    /// The highest limit. Default 1000.
    pub max_limit: u32,
    /// How long one measurement takes at least; twice the mean latency if that is longer, up to ten
    /// times this. Default 1 s.
    #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
    pub window: Duration,
    /// A window goes on until as many calls have ended. Default 10.
    pub min_samples: u32,
    /// Windows that the long-term latency looks back over. Fewer learn a lasting slowdown sooner,
    /// and drift further under noisy overload. Default 300.
    pub long_window: u32,
    /// The factor by which latency may exceed the long-term one before the limit falls, from 1.0
    /// up. Default 1.5.
    pub tolerance: f64,
    /// The share of calls dropped in a window above which the limit falls by a tenth. Above 0.0, at
    /// most 1.0. Default 0.1.
    pub max_drop_rate: f64,
    /// The long-term latency is never taken to be more than this, so that no incident becomes the
    /// normal state. Default: no such bound.
    #[cfg_attr(
        feature = "serde",
        serde(with = "duration_text::option", skip_serializing_if = "Option::is_none")
    )]
    pub max_healthy_latency: Option<Duration>,
}

impl Default for AdaptiveConfig {
    fn default() -> Self {
        Self {
            initial_limit: None,
            min_limit: 1,
            max_limit: 1000,
            window: Duration::from_secs(1),
            min_samples: 10,
            long_window: 300,
            tolerance: 1.5,
            max_drop_rate: 0.1,
            max_healthy_latency: None,
        }
    }
}

impl AdaptiveConfig {
    /// The kind of policy, as [`ConfigError::policy`] names it.
    pub const POLICY: &'static str = "throttler.adaptive";

    /// Checks every option, alone and against the others.
    ///
    /// # Errors
    /// Names the first option that breaks its rule.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = Check(Self::POLICY);
        check.count("min_limit", self.min_limit, u32::MAX)?;
        check.rule(
            self.max_limit >= self.min_limit,
            "max_limit",
            self.max_limit,
            &format!("must be at least `min_limit`, which is {}", self.min_limit),
        )?;
        if let Some(initial) = self.initial_limit {
            check.rule(
                (self.min_limit..=self.max_limit).contains(&initial),
                "initial_limit",
                initial,
                &format!(
                    "must be from `min_limit` to `max_limit`, which are {} and {}",
                    self.min_limit, self.max_limit
                ),
            )?;
        }
        check.period("window", self.window)?;
        check.count("min_samples", self.min_samples, u32::MAX)?;
        check.count("long_window", self.long_window, u32::MAX)?;
        check.factor("tolerance", self.tolerance)?;
        check.rate("max_drop_rate", self.max_drop_rate)?;
        match self.max_healthy_latency {
            Some(latency) => check.period("max_healthy_latency", latency),
            None => Ok(()),
        }
    }

    pub(super) fn initial(&self) -> u32 {
        self.initial_limit.unwrap_or(20).clamp(self.min_limit, self.max_limit)
    }
}
