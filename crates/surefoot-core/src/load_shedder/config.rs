//! The options of a load shedder: their names, defaults and rules.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::LoadShedder;
use super::machine::{LoadFn, Machine};
use super::signal::Signal;
use super::source::{LoadSink, LoadSource};
#[cfg(feature = "serde")]
use crate::config::duration_text;
use crate::config::{Check, reads_toml, takes_clock, takes_events, takes_listeners};
use crate::{ConfigError, Events, Name, TimeSource};

/// The options of a load shedder as data; [`LoadShedderBuilder`] sets the same ones.
///
/// ```
/// # #[cfg(feature = "toml")] {
/// use surefoot_core::load_shedder::LoadShedderConfig;
///
/// let config = LoadShedderConfig::from_toml(r#"
///     name = "api"
///     max_load = 0.8
///     priority_levels = 3
///     capacity = 100
/// "#)?;
/// assert_eq!(config.build()?.config().capacity, Some(100));
/// # }
/// # Ok::<(), surefoot_core::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
pub struct LoadShedderConfig {
    /// What rejections, events, metrics and health call it. Required.
    pub name: Name,
    /// The load from which the lowest priority is shed, above 0.0 and at most 1.0; and the target of
    /// signals that are steered. Default 0.8.
    pub max_load: f64,
    /// Priorities, of which 1 is the lowest. Default 3, at most 100.
    pub priority_levels: u32,
    /// Calls under way that are full load.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub capacity: Option<u32>,
    /// Judge by the CPU, which needs a source of load. Default: with one, unless only `memory` is asked for.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub cpu: Option<bool>,
    /// Judge by memory, which needs a source of load. Default: with one, unless only `cpu` is asked for.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub memory: Option<bool>,
    /// The wait in a queue that is full load.
    #[cfg_attr(
        feature = "serde",
        serde(with = "duration_text::option", skip_serializing_if = "Option::is_none")
    )]
    pub max_queue_delay: Option<Duration>,
    /// How far memory must fall below the load from which a priority is shed before that is admitted
    /// again. Default 0.05, or half of `max_load` if that is less.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub hysteresis: Option<f64>,
    /// How often samples come: the window over which they are averaged. One that is older than four
    /// intervals is unknown, which admits. Default 250 ms.
    #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
    pub sample_interval: Duration,
    /// Sheds nothing, and reports what it would have shed. Default `false`.
    pub dry_run: bool,
    /// Makes the choice among calls of one priority repeatable. Default: random.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub seed: Option<u32>,
}

impl Default for LoadShedderConfig {
    fn default() -> Self {
        Self {
            name: Name::default(),
            max_load: 0.8,
            priority_levels: 3,
            capacity: None,
            cpu: None,
            memory: None,
            max_queue_delay: None,
            hysteresis: None,
            sample_interval: Duration::from_millis(250),
            dry_run: false,
            seed: None,
        }
    }
}

/// Which samples matter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signals {
    pub(super) cpu: bool,
    pub(super) memory: bool,
}

impl LoadShedderConfig {
    /// The kind of policy, as [`ConfigError::policy`] names it.
    pub const POLICY: &'static str = "load_shedder";

    reads_toml!();

    /// Checks every option, alone and against the others. That there is a signal is checked by
    /// `build`, since functions and sources of load are no data.
    ///
    /// # Errors
    /// Names the first option that breaks its rule.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = Check(Self::POLICY);
        check.rate("max_load", self.max_load)?;
        check.count("priority_levels", self.priority_levels, 100)?;
        if let Some(capacity) = self.capacity {
            check.count("capacity", capacity, u32::MAX)?;
        }
        if let Some(delay) = self.max_queue_delay {
            check.period("max_queue_delay", delay)?;
        }
        if let Some(hysteresis) = self.hysteresis {
            check.rule(
                (0.0..self.max_load).contains(&hysteresis),
                "hysteresis",
                hysteresis,
                &format!("must be from 0.0 to below `max_load`, which is {}", self.max_load),
            )?;
        }
        check.period("sample_interval", self.sample_interval)?;
        // Last, since a name that is missing must not hide what is wrong with the options there are.
        check.name("name", &self.name)
    }

    /// A shedder with these options on the system's clock.
    ///
    /// # Errors
    /// See [`validate`](Self::validate); and `capacity` is missing if no signal is asked for. With
    /// `cpu` or `memory`, build it by [`LoadShedderBuilder::load_source`].
    pub fn build(self) -> Result<LoadShedder, ConfigError> {
        LoadShedderBuilder::from(self).build()
    }

    pub(super) fn hysteresis(&self) -> f64 {
        self.hysteresis.unwrap_or_else(|| (self.max_load / 2.0).min(0.05))
    }

    /// A source of load serves both, unless only one is asked for.
    fn signals(&self, has_source: bool) -> Signals {
        let by_default = has_source && self.cpu != Some(true) && self.memory != Some(true);
        Signals { cpu: self.cpu.unwrap_or(by_default), memory: self.memory.unwrap_or(by_default) }
    }
}

/// Builds a [`LoadShedder`]; made by [`LoadShedder::builder`].
#[derive(Default)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct LoadShedderBuilder {
    config: LoadShedderConfig,
    functions: Vec<(Signal, LoadFn)>,
    source: Option<Arc<dyn LoadSource>>,
    clock: TimeSource,
    events: Events,
}

impl From<LoadShedderConfig> for LoadShedderBuilder {
    fn from(config: LoadShedderConfig) -> Self {
        Self { config, ..Self::default() }
    }
}

impl LoadShedderBuilder {
    /// The load from which the lowest priority is shed, above 0.0 and at most 1.0; and the target of
    /// signals that are steered. Default 0.8.
    pub fn max_load(mut self, load: f64) -> Self {
        self.config.max_load = load;
        self
    }

    /// Priorities, of which 1 is the lowest. Default 3, at most 100.
    pub fn priority_levels(mut self, levels: u32) -> Self {
        self.config.priority_levels = levels;
        self
    }

    /// Calls under way that are full load. They are counted as long as their permits live.
    pub fn capacity(mut self, calls: u32) -> Self {
        self.config.capacity = Some(calls);
        self
    }

    /// Judges by calls under way that somebody else counts, a throttler for one: `load` tells them as
    /// a share of the capacity, at the instant. It is called for every call, so it has to be quick.
    pub fn in_flight(mut self, load: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        self.functions.push((Signal::InFlight, Box::new(load)));
        self
    }

    /// Judges by a function of yours that tells the load at the instant: 0.0 is idle, 1.0 full, NaN
    /// unknown, which admits. It is called for every call, so it has to be quick; of several, one
    /// suffices to shed. Its panics are the caller's.
    pub fn signal(mut self, load: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        self.functions.push((Signal::Custom, Box::new(load)));
        self
    }

    /// Whether to judge by the CPU; needs a [`load_source`](Self::load_source).
    pub fn cpu(mut self, judge: bool) -> Self {
        self.config.cpu = Some(judge);
        self
    }

    /// Whether to judge by memory; needs a [`load_source`](Self::load_source).
    pub fn memory(mut self, judge: bool) -> Self {
        self.config.memory = Some(judge);
        self
    }

    /// The wait in a queue that is full load; judges by the waits that
    /// [`record_queue_delay`](LoadShedder::record_queue_delay) is told.
    pub fn max_queue_delay(mut self, delay: Duration) -> Self {
        self.config.max_queue_delay = Some(delay);
        self
    }

    /// Who feeds samples of CPU and memory: `surefoot::SystemLoad`, or
    /// [`Recorded`](super::Recorded) if that is you. Both are judged by then, unless
    /// [`cpu`](Self::cpu) or [`memory`](Self::memory) says otherwise.
    pub fn load_source(mut self, source: Arc<dyn LoadSource>) -> Self {
        self.source = Some(source);
        self
    }

    /// How far memory must fall below the load from which a priority is shed before that is admitted
    /// again. Default 0.05, or half of `max_load` if that is less.
    pub fn hysteresis(mut self, load: f64) -> Self {
        self.config.hysteresis = Some(load);
        self
    }

    /// How often samples come: the window over which they are averaged. One that is older than four
    /// intervals is unknown, which admits. Default 250 ms.
    pub fn sample_interval(mut self, interval: Duration) -> Self {
        self.config.sample_interval = interval;
        self
    }

    /// Sheds nothing, and reports what it would have shed: in its events, its counters and its
    /// status.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.config.dry_run = dry_run;
        self
    }

    /// Makes the choice among calls of one priority repeatable.
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

    /// The shedder. A source of load feeds it from now on.
    ///
    /// # Errors
    /// Names the first option that breaks its rule; `capacity` if there is no signal at all; `cpu` or
    /// `memory` if nobody feeds samples of it.
    pub fn build(self) -> Result<LoadShedder, ConfigError> {
        let Self { config, functions, source, clock, events } = self;
        config.validate()?;
        for (field, judged) in [("cpu", config.cpu), ("memory", config.memory)] {
            Check(LoadShedderConfig::POLICY).rule(
                judged != Some(true) || source.is_some(),
                field,
                true,
                "needs samples, without which it would never shed: give the builder a `load_source`, \
                 such as `surefoot::SystemLoad::shared()`, or `Recorded` if you record them",
            )?;
        }
        let signals = config.signals(source.is_some());
        let judges_by_something = config.capacity.is_some()
            || config.max_queue_delay.is_some()
            || signals.cpu
            || signals.memory
            || !functions.is_empty();
        Check(LoadShedderConfig::POLICY).rule(
            judges_by_something,
            "capacity",
            "",
            "must be given, or another signal to judge by: `load_source` for the system's CPU and \
             memory (such as `surefoot::SystemLoad::shared()`), `max_queue_delay`, `in_flight` or \
             `signal`",
        )?;
        let interval = config.sample_interval;
        let machine = Arc::new(Machine::new(config, signals, functions, clock, events));
        if let Some(source) = source
            && (signals.cpu || signals.memory)
        {
            source.feed(LoadSink::new(Arc::downgrade(&machine), interval));
        }
        Ok(LoadShedder::from_machine(machine))
    }
}

impl fmt::Debug for LoadShedderBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadShedderBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(surefoot_loom)))]
mod tests {
    use super::super::Recorded;
    use super::*;

    #[test]
    fn each_bad_option_is_named() {
        let shedder = || LoadShedder::builder("api").capacity(10);
        for (builder, field) in [
            (LoadShedder::builder("api"), "capacity"),
            (LoadShedder::builder("api").cpu(false), "capacity"),
            (shedder().cpu(true), "cpu"),
            (shedder().memory(true), "memory"),
            (shedder().capacity(0), "capacity"),
            (LoadShedder::builder(" ").capacity(1), "name"),
            (shedder().max_load(0.0), "max_load"),
            (shedder().max_load(1.01), "max_load"),
            (shedder().max_load(f64::NAN), "max_load"),
            (shedder().priority_levels(0), "priority_levels"),
            (shedder().priority_levels(101), "priority_levels"),
            (shedder().max_queue_delay(Duration::ZERO), "max_queue_delay"),
            (shedder().hysteresis(-0.1), "hysteresis"),
            (shedder().hysteresis(0.8), "hysteresis"),
            (shedder().hysteresis(f64::NAN), "hysteresis"),
            (shedder().sample_interval(Duration::ZERO), "sample_interval"),
        ] {
            assert_eq!(builder.build().unwrap_err().field(), field);
        }
    }

    #[test]
    fn the_default_hysteresis_fits_every_maximum_load() {
        for (max_load, hysteresis) in [(1.0, 0.05), (0.8, 0.05), (0.1, 0.05), (0.02, 0.01)] {
            let config = LoadShedderConfig { max_load, ..LoadShedderConfig::default() };
            assert!((config.hysteresis() - hysteresis).abs() < 1e-12);
            let builder = LoadShedder::builder("api").load_source(Arc::new(Recorded));
            assert!(builder.max_load(max_load).build().is_ok());
        }
    }

    #[test]
    fn a_source_of_load_serves_both_signals_unless_only_one_is_asked_for() {
        for (cpu, memory, served) in [
            (None, None, (true, true)),
            (Some(true), None, (true, false)),
            (None, Some(true), (false, true)),
            (Some(true), Some(true), (true, true)),
            (Some(false), None, (false, true)),
            (Some(false), Some(false), (false, false)),
        ] {
            let config = LoadShedderConfig { cpu, memory, ..LoadShedderConfig::default() };
            let signals = config.signals(true);
            assert_eq!((signals.cpu, signals.memory), served, "{cpu:?} {memory:?}");
        }
    }
}
