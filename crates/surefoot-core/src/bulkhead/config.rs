//! The options of a bulkhead: their names, defaults and rules.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Bulkhead, Shared};
#[cfg(feature = "serde")]
use crate::config::duration_text;
use crate::config::{Check, reads_toml, takes_clock, takes_events, takes_listeners};
use crate::throttler::{Fellows, ThrottlerBuilder, ThrottlerConfig};
use crate::{ConfigError, Events, Name, TimeSource};

/// The options of a bulkhead as data; [`BulkheadBuilder`] sets the same ones.
///
/// ```
/// # #[cfg(feature = "toml")] {
/// use surefoot_core::bulkhead::BulkheadConfig;
///
/// let config = BulkheadConfig::from_toml(r#"
///     name = "tools"
///     compartments.critical = { max_concurrent = 10, queue_size = 20 }
///     compartments.background = { max_concurrent = 2, queue_size = 5, timeout = "1m" }
/// "#)?;
/// let bulkhead = config.build()?;
/// assert!(bulkhead.compartment("critical").is_ok());
/// # }
/// # Ok::<(), surefoot_core::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
pub struct BulkheadConfig {
    /// What rejections, events, metrics and health call it. Default `bulkhead`.
    pub name: Name,
    /// The compartments by name; at least one.
    pub compartments: BTreeMap<String, CompartmentConfig>,
}

/// The options of one compartment.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
pub struct CompartmentConfig {
    /// Calls that may run in it at once. Default 10.
    pub max_concurrent: u32,
    /// Calls that may wait for it; with 0 nobody does. Default 100.
    pub queue_size: u32,
    /// The longest wait. Default: as long as the caller's deadline allows.
    #[cfg_attr(
        feature = "serde",
        serde(with = "duration_text::option", skip_serializing_if = "Option::is_none")
    )]
    pub timeout: Option<Duration>,
    /// Permits that stay its own; those above it lends to other compartments while it does not use
    /// them. Default: it lends none.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub reserve: Option<u32>,
}

impl Default for BulkheadConfig {
    fn default() -> Self {
        Self { name: Name::from("bulkhead"), compartments: BTreeMap::new() }
    }
}

impl Default for CompartmentConfig {
    fn default() -> Self {
        Self { max_concurrent: 10, queue_size: 100, timeout: None, reserve: None }
    }
}

impl CompartmentConfig {
    /// A compartment for `max_concurrent` calls, and a queue for `queue_size` more. Of several with
    /// one name the last counts, so that a file's options can be overridden.
    pub fn new(max_concurrent: u32, queue_size: u32) -> Self {
        Self { max_concurrent, queue_size, ..Self::default() }
    }

    fn throttler(&self, name: Name) -> ThrottlerConfig {
        ThrottlerConfig {
            name,
            max_concurrent: Some(self.max_concurrent),
            queue_size: self.queue_size,
            timeout: self.timeout.unwrap_or(FOREVER),
            ..ThrottlerConfig::default()
        }
    }
}

/// As long as a clock can tell.
const FOREVER: Duration = Duration::from_nanos(u64::MAX - 1);

impl BulkheadConfig {
    /// The kind of policy, as [`ConfigError::policy`] names it.
    pub const POLICY: &'static str = "bulkhead";

    reads_toml!();

    /// Checks every option of every compartment; its errors name it (`compartments.<name>.<option>`).
    ///
    /// # Errors
    /// Names the first option that breaks its rule.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = Check(Self::POLICY);
        check.name("name", &self.name)?;
        let is_divided = !self.compartments.is_empty();
        check.rule(is_divided, "compartments", "", "must have at least one compartment")?;
        for (name, compartment) in &self.compartments {
            let of = format!("compartments.{name}.");
            let named = Name::from(name.clone());
            compartment.throttler(named).validate_as(check, &of)?;
            if let Some(reserve) = compartment.reserve {
                let most = compartment.max_concurrent;
                let rule = format!("must be at most `max_concurrent`, which is {most}");
                check.rule(reserve <= most, &format!("{of}reserve"), reserve, &rule)?;
            }
        }
        Ok(())
    }

    /// A bulkhead with these options on the system's clock.
    ///
    /// # Errors
    /// See [`validate`](Self::validate).
    pub fn build(self) -> Result<Bulkhead, ConfigError> {
        BulkheadBuilder::from(self).build()
    }
}

/// Builds a [`Bulkhead`]; made by [`Bulkhead::builder`].
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct BulkheadBuilder {
    config: BulkheadConfig,
    clock: TimeSource,
    events: Events,
}

impl From<BulkheadConfig> for BulkheadBuilder {
    fn from(config: BulkheadConfig) -> Self {
        Self { config, ..Self::default() }
    }
}

impl BulkheadBuilder {
    /// A compartment for `max_concurrent` calls, and a queue for `queue_size` more.
    pub fn compartment(
        self,
        name: impl Into<String>,
        max_concurrent: u32,
        queue_size: u32,
    ) -> Self {
        self.compartment_with(name, CompartmentConfig::new(max_concurrent, queue_size))
    }

    /// A compartment with more options.
    pub fn compartment_with(mut self, name: impl Into<String>, config: CompartmentConfig) -> Self {
        self.config.compartments.insert(name.into(), config);
        self
    }

    takes_clock!();
    takes_listeners!();
    takes_events!();

    pub(super) fn name(mut self, name: Name) -> Self {
        self.config.name = name;
        self
    }

    /// The bulkhead, with every compartment empty.
    ///
    /// # Errors
    /// Names the first option that breaks its rule.
    pub fn build(self) -> Result<Bulkhead, ConfigError> {
        let Self { config, clock, events } = self;
        config.validate()?;
        let mut compartments = BTreeMap::new();
        for (name, compartment) in &config.compartments {
            let full_name = Name::from(format!("{}/{name}", config.name));
            let throttler = ThrottlerBuilder::from(compartment.throttler(full_name))
                .clock(clock.clone())
                .events(events.clone())
                .build()?;
            compartments.insert(name.clone(), throttler);
        }
        let joining = compartments.iter().map(|(name, throttler)| {
            let reserve = config.compartments.get(name).and_then(|config| config.reserve);
            (Name::from(name.clone()), throttler, reserve)
        });
        let fellows = Fellows::join(&config.name, joining);
        let shared = Shared { config, compartments, events, _fellows: fellows };
        Ok(Bulkhead { shared: Arc::new(shared) })
    }
}
