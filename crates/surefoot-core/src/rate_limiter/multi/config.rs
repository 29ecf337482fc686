//! The options of several limits at once: their names, defaults and rules.

use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

use super::super::config::Built;
use super::super::{Algorithm, RateLimiterConfig, WhenFull};
use super::RateLimits;
use super::lanes::Rule;
use crate::config::{Check, reads_toml, takes_clock, takes_events, takes_listeners};
#[cfg(feature = "serde")]
use crate::config::{duration_text, word};
use crate::{ConfigError, Events, Name, TimeSource};

/// For whom a limit counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Scope {
    /// All calls together.
    #[default]
    Overall,
    /// The calls of each key.
    PerKey,
}

/// One of several limits.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
pub struct Limit {
    /// What it counts. Default `requests`, of which every call is one unless it says otherwise.
    pub unit: Name,
    /// For whom. Default: all calls together.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "word::deserialize"))]
    pub scope: Scope,
    /// Units in a window. Default 100.
    pub max_requests: u64,
    /// The length of the window. Default 60 s.
    #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
    pub time_window: Duration,
    /// How it counts. Default: exactly, with a sliding log.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "word::deserialize"))]
    pub algorithm: Algorithm,
    /// As [`RateLimiterConfig::burst`].
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub burst: Option<u64>,
    /// As [`RateLimiterConfig::buckets`].
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub buckets: Option<u32>,
}

impl Default for Limit {
    fn default() -> Self {
        Self::from(RateLimiterConfig::default())
    }
}

impl From<RateLimiterConfig> for Limit {
    fn from(config: RateLimiterConfig) -> Self {
        Self {
            unit: Name::from(super::REQUESTS),
            scope: Scope::Overall,
            max_requests: config.max_requests,
            time_window: config.time_window,
            algorithm: config.algorithm,
            burst: config.burst,
            buckets: config.buckets,
        }
    }
}

impl Limit {
    /// `max_requests` units in each `time_window`, for all calls together.
    pub fn overall(unit: impl Into<Name>, max_requests: u64, time_window: Duration) -> Self {
        Self { unit: unit.into(), max_requests, time_window, ..Self::default() }
    }

    /// The same for each key.
    pub fn per_key(unit: impl Into<Name>, max_requests: u64, time_window: Duration) -> Self {
        Self { scope: Scope::PerKey, ..Self::overall(unit, max_requests, time_window) }
    }

    /// How it counts.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// Units that may be taken at once by the GCRA family.
    pub fn burst(mut self, burst: u64) -> Self {
        self.burst = Some(burst);
        self
    }

    fn as_config(&self) -> RateLimiterConfig {
        RateLimiterConfig {
            max_requests: self.max_requests,
            time_window: self.time_window,
            algorithm: self.algorithm,
            burst: self.burst,
            buckets: self.buckets,
            ..RateLimiterConfig::default()
        }
    }
}

/// The options of several limits as data; [`RateLimitsBuilder`] sets the same ones.
///
/// ```
/// # #[cfg(feature = "toml")] {
/// use surefoot_core::rate_limiter::multi::{RateLimits, RateLimitsConfig};
///
/// let config = RateLimitsConfig::from_toml(r#"
///     name = "model"
///     [[limits]]
///     unit = "tokens"
///     max_requests = 30_000
///     [[limits]]
///     scope = "per_key"
///     max_requests = 50
/// "#)?;
/// let limits: RateLimits<String> = config.build()?;
/// assert_eq!(limits.remaining("alice", "tokens"), Some(30_000));
/// # }
/// # Ok::<(), surefoot_core::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
pub struct RateLimitsConfig {
    /// What rejections call it, followed by the unit. Default `rate_limits`.
    pub name: Name,
    /// The limits, 1 to 16 of them.
    pub limits: Vec<Limit>,
    /// The longest wait until all limits fit, where a host waits; a longer one is refused at once.
    /// Default: the longest `time_window`.
    #[cfg_attr(
        feature = "serde",
        serde(with = "duration_text::option", skip_serializing_if = "Option::is_none")
    )]
    pub max_wait: Option<Duration>,
    /// The longest pause that is kept when the callee asks for one. Default 1 h.
    #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
    pub max_throttle: Duration,
    /// The most keys remembered. Default 100 000.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub max_keys: Option<u32>,
    /// What a new key gets when it is full. Default: refusal.
    #[cfg_attr(
        feature = "serde",
        serde(
            deserialize_with = "word::option::deserialize",
            skip_serializing_if = "Option::is_none"
        )
    )]
    pub when_full: Option<WhenFull>,
}

impl Default for RateLimitsConfig {
    fn default() -> Self {
        Self {
            name: Name::from("rate_limits"),
            limits: Vec::new(),
            max_wait: None,
            max_throttle: RateLimiterConfig::default().max_throttle,
            max_keys: None,
            when_full: None,
        }
    }
}

impl RateLimitsConfig {
    /// The kind of policy, as [`ConfigError::policy`] names it.
    pub const POLICY: &'static str = "rate_limits";

    reads_toml!();

    /// Checks every option, alone and against the others.
    ///
    /// # Errors
    /// Names the first option that breaks its rule.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = Check(Self::POLICY);
        check.name("name", &self.name)?;
        let count = u32::try_from(self.limits.len()).unwrap_or(u32::MAX);
        #[expect(clippy::cast_possible_truncation, reason = "a small constant")]
        check.count("limits", count, super::LIMITS_MOST as u32)?;
        for (place, limit) in self.limits.iter().enumerate() {
            check.name(&format!("limits[{place}].unit"), &limit.unit)?;
            let checked = limit.as_config().validate();
            checked.map_err(|error| error.in_part(Self::POLICY, &format!("limits[{place}]")))?;
        }
        self.keys().validate().map_err(|error| {
            ConfigError::new(Self::POLICY, error.field(), error.value(), error.rule())
        })
    }

    /// The longest wait that is worth it.
    pub fn longest_wait(&self) -> Duration {
        let longest = || self.limits.iter().map(|limit| limit.time_window).max();
        self.max_wait.or_else(longest).unwrap_or_default()
    }

    /// The limits, on the system's clock.
    ///
    /// # Errors
    /// See [`validate`](Self::validate).
    pub fn build<K: Hash + Eq>(self) -> Result<RateLimits<K>, ConfigError> {
        RateLimitsBuilder::from(self).build()
    }

    /// What keyed limiters have in common.
    pub(super) fn keys(&self) -> RateLimiterConfig {
        RateLimiterConfig {
            max_wait: self.max_wait,
            max_throttle: self.max_throttle,
            max_keys: self.max_keys,
            ..RateLimiterConfig::default()
        }
    }
}

/// Builds [`RateLimits`]; made by [`RateLimits::builder`].
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct RateLimitsBuilder {
    config: RateLimitsConfig,
    clock: TimeSource,
    events: Events,
}

impl From<RateLimitsConfig> for RateLimitsBuilder {
    fn from(config: RateLimitsConfig) -> Self {
        Self { config, clock: TimeSource::System, events: Events::default() }
    }
}

impl RateLimitsBuilder {
    /// One more limit.
    pub fn limit(mut self, limit: Limit) -> Self {
        self.config.limits.push(limit);
        self
    }

    /// The longest wait until all limits fit. Default: the longest `time_window`.
    pub fn max_wait(mut self, longest: Duration) -> Self {
        self.config.max_wait = Some(longest);
        self
    }

    /// The longest pause that is kept when the callee asks for one. Default 1 h.
    pub fn max_throttle(mut self, longest: Duration) -> Self {
        self.config.max_throttle = longest;
        self
    }

    /// The most keys remembered. Default 100 000.
    pub fn max_keys(mut self, keys: u32) -> Self {
        self.config.max_keys = Some(keys);
        self
    }

    /// What a new key gets when it is full. Default: refusal.
    pub fn when_full(mut self, what: WhenFull) -> Self {
        self.config.when_full = Some(what);
        self
    }

    takes_clock!();

    takes_events!();
    takes_listeners!();

    pub(super) fn name(mut self, name: Name) -> Self {
        self.config.name = name;
        self
    }

    /// The limits, with nothing taken.
    ///
    /// # Errors
    /// Names the first option that breaks its rule.
    pub fn build<K: Hash + Eq>(self) -> Result<RateLimits<K>, ConfigError> {
        self.build_with_hasher(RandomState::new())
    }

    /// The same with a hasher of one's own for the keys.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_with_hasher<K: Hash + Eq, S: BuildHasher>(
        self,
        hasher: S,
    ) -> Result<RateLimits<K, S>, ConfigError> {
        let Self { config, clock, events } = self;
        config.validate()?;
        let origin = clock.now().as_nanos();
        let mut units: Vec<Name> = Vec::new();
        let (mut overall, mut per_key) = (Vec::new(), Vec::new());
        for limit in &config.limits {
            let unit = units.iter().position(|known| *known == limit.unit).unwrap_or_else(|| {
                units.push(limit.unit.clone());
                units.len() - 1
            });
            let of_limit = limit.as_config();
            let machine: Built = of_limit.built(origin)?;
            let policy = Name::from(format!("{}/{}", config.name, limit.unit));
            let rule = Rule { machine, unit, policy, quota: of_limit.quota(), scope: limit.scope };
            match limit.scope {
                Scope::Overall => overall.push(rule),
                Scope::PerKey => per_key.push(rule),
            }
        }
        Ok(RateLimits::new(config, units, overall, per_key, clock, events, hasher))
    }
}
