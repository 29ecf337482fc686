//! The options of a hedge: their names, defaults and rules.

use std::time::Duration;

use super::Hedge;
use crate::config::{Check, Shown, reads_toml, takes_clock, takes_listeners};
#[cfg(feature = "serde")]
use crate::config::{duration_text, table};
use crate::retry::RetryBudgetConfig;
use crate::{ConfigError, Events, Name, RetryBudget, TimeSource};

/// The options of a hedge as data; [`HedgeBuilder`] sets the same ones.
///
/// ```
/// # #[cfg(feature = "toml")] {
/// use surefoot_core::hedge::HedgeConfig;
///
/// let config = HedgeConfig::from_toml(r#"
///     percentile = 0.95
///     max_hedges = 2
/// "#)?;
/// assert_eq!(config.build()?.config().max_hedges, 2);
/// # }
/// # Ok::<(), surefoot_core::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
pub struct HedgeConfig {
    /// What events and metrics call it. Default `hedge`.
    pub name: Name,
    /// The time without an answer before another attempt begins. This or `percentile` is
    /// required.
    #[cfg_attr(
        feature = "serde",
        serde(with = "duration_text::option", skip_serializing_if = "Option::is_none")
    )]
    pub delay: Option<Duration>,
    /// The share of answers after whose usual time another attempt begins, above 0.0 and at most
    /// 1.0, instead of `delay`.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub percentile: Option<f64>,
    /// Answers to be seen before `percentile` hedges. Default 20.
    pub warm_up: u32,
    /// How long answers count for `percentile`. Default 60 s.
    #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
    pub window: Duration,
    /// Attempts beyond the first. Default 1.
    pub max_hedges: u32,
    /// A budget of its own. To share one with others, give the builder that one; it counts instead.
    /// Default: none.
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "table::option", skip_serializing_if = "Option::is_none")
    )]
    pub budget: Option<RetryBudgetConfig>,
}

impl Default for HedgeConfig {
    fn default() -> Self {
        Self {
            name: Name::from("hedge"),
            delay: None,
            percentile: None,
            warm_up: 20,
            window: Duration::from_secs(60),
            max_hedges: 1,
            budget: None,
        }
    }
}

impl HedgeConfig {
    /// The kind of policy, as [`ConfigError::policy`] names it.
    pub const POLICY: &'static str = "hedge";

    reads_toml!();

    /// Checks every option, alone and against the others.
    ///
    /// # Errors
    /// Names the first option that breaks its rule.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = Check(Self::POLICY);
        check.name("name", &self.name)?;
        match (self.delay, self.percentile) {
            (None, None) => {
                check.rule(false, "delay", "", "must be given, or `percentile` instead")?;
            }
            (Some(delay), Some(percentile)) => {
                let rule = format!("contradicts `percentile`, which is {percentile}: give one");
                check.rule(false, "delay", Shown(delay), &rule)?;
            }
            (Some(delay), None) => check.wait("delay", delay)?,
            (None, Some(percentile)) => check.rate("percentile", percentile)?,
        }
        check.count("warm_up", self.warm_up, u32::MAX)?;
        check.period("window", self.window)?;
        check.count("max_hedges", self.max_hedges, 100)?;
        self.budget.map_or(Ok(()), |budget| budget.validate_as(Self::POLICY, "budget."))
    }

    /// A hedge with these options on the system's clock.
    ///
    /// # Errors
    /// See [`validate`](Self::validate).
    pub fn build(self) -> Result<Hedge, ConfigError> {
        HedgeBuilder::from(self).build()
    }
}

/// Builds a [`Hedge`]; made by [`Hedge::builder`].
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct HedgeBuilder {
    config: HedgeConfig,
    clock: TimeSource,
    budget: Option<RetryBudget>,
    events: Events,
}

impl From<HedgeConfig> for HedgeBuilder {
    fn from(config: HedgeConfig) -> Self {
        Self { config, ..Self::default() }
    }
}

impl HedgeBuilder {
    /// What events and metrics call it. Default `hedge`.
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.config.name = name.into();
        self
    }

    /// The time without an answer before another attempt begins. Zero makes all attempts at once.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.config.delay = Some(delay);
        self
    }

    /// Begins another attempt when this share of answers is usually in, instead of after a fixed
    /// `delay`.
    pub fn percentile(mut self, share: f64) -> Self {
        self.config.percentile = Some(share);
        self
    }

    /// Answers to be seen before `percentile` hedges. Default 20.
    pub fn warm_up(mut self, answers: u32) -> Self {
        self.config.warm_up = answers;
        self
    }

    /// How long answers count for `percentile`. Default 60 s.
    pub fn window(mut self, window: Duration) -> Self {
        self.config.window = window;
        self
    }

    /// Attempts beyond the first. Default 1.
    pub fn max_hedges(mut self, hedges: u32) -> Self {
        self.config.max_hedges = hedges;
        self
    }

    /// The budget that hedges draw on; share it with the retries to the same destination.
    pub fn budget(mut self, budget: RetryBudget) -> Self {
        self.budget = Some(budget);
        self
    }

    takes_clock!();
    takes_listeners!();

    /// The hedge.
    ///
    /// # Errors
    /// Names the first option that breaks its rule.
    pub fn build(self) -> Result<Hedge, ConfigError> {
        let Self { config, clock, budget, events } = self;
        config.validate()?;
        let own = || config.budget.map(|budget| budget.of_valid(clock.clone()));
        let budget = budget.or_else(own);
        Ok(Hedge::new(config, clock, budget, events))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bad_option_is_named() {
        let second = Duration::from_secs(1);
        let hedge = || Hedge::builder().delay(second);
        for (builder, field) in [
            (Hedge::builder(), "delay"),
            (hedge().percentile(0.9), "delay"),
            (hedge().delay(Duration::MAX), "delay"),
            (Hedge::builder().percentile(0.0), "percentile"),
            (Hedge::builder().percentile(1.1), "percentile"),
            (Hedge::builder().percentile(f64::NAN), "percentile"),
            (hedge().warm_up(0), "warm_up"),
            (hedge().window(Duration::ZERO), "window"),
            (hedge().max_hedges(0), "max_hedges"),
            (hedge().name(" "), "name"),
        ] {
            assert_eq!(builder.build().unwrap_err().field(), field);
        }
    }

    fn config() -> HedgeConfig {
        HedgeConfig {
            name: "search".into(),
            delay: None,
            percentile: Some(0.9),
            warm_up: 3,
            window: Duration::from_secs(5),
            max_hedges: 2,
            budget: None,
        }
    }

    #[test]
    fn every_option_is_set_and_leaves_the_others_alone() {
        let builder = Hedge::builder().name("search").percentile(0.9).warm_up(3);
        let built = builder.window(Duration::from_secs(5)).max_hedges(2).build().unwrap();
        assert_eq!(built.config(), &config());
        assert_eq!(HedgeBuilder::from(config()).build().unwrap().config(), &config());
    }

    #[cfg(feature = "toml")]
    #[test]
    fn options_are_read_from_toml_and_unknown_ones_refused() {
        let text = "name = 'search'\npercentile = 0.9\nwarm_up = 3\nwindow = '5s'\nmax_hedges = 2";
        assert_eq!(HedgeConfig::from_toml(text).unwrap(), config());
        assert_eq!(HedgeConfig::from_toml("hedges = 2").unwrap_err().field(), "hedges");
    }
}
