//! The options of a throttler: their names, defaults and rules.

use std::time::Duration;

use super::codel::CodelConfig;
use super::machine::Machine;
use super::{AdaptiveConfig, Throttler};
use crate::config::{Check, reads_toml, takes_clock, takes_events, takes_listeners};
#[cfg(feature = "serde")]
use crate::config::{duration_text, table, word};
use crate::{ConfigError, Events, Name, TimeSource};

/// Whose turn it is when a permit is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Order {
    /// Whoever has waited longest: fair.
    #[default]
    Fifo,
    /// Whoever came last. Under lasting overload most of those served have hardly waited, and the
    /// others time out.
    Lifo,
    /// The most important, and of those whoever has waited longest. A lower priority can wait until
    /// it times out. A full queue refuses every priority alike, unless it is told to
    /// [`displace`](ThrottlerConfig::displace).
    Priority,
}

/// The options of a throttler as data; [`ThrottlerBuilder`] sets the same ones.
///
/// ```
/// # #[cfg(feature = "toml")] {
/// use surefoot_core::throttler::ThrottlerConfig;
///
/// let config = ThrottlerConfig::from_toml(r#"
///     name = "reports"
///     max_concurrent = 4
///     queue_size = 20
///     timeout = "5s"
///     order = "priority"
/// "#)?;
/// let throttler = config.build()?;
/// assert_eq!(throttler.max_concurrent(), 4);
/// # }
/// # Ok::<(), surefoot_core::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
pub struct ThrottlerConfig {
    /// What rejections, events, metrics and health call it. Default `throttler`.
    pub name: Name,
    /// Calls that may run at once. Default 10. Not an option where the limit is `adaptive`.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub max_concurrent: Option<u32>,
    /// Calls that may wait; with 0 nobody does. Default 100.
    pub queue_size: u32,
    /// The longest wait. Default 30 s.
    #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
    pub timeout: Duration,
    /// Whose turn it is. Default: whoever has waited longest.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "word::deserialize"))]
    pub order: Order,
    /// Levels of priority, where `order` is `priority`; 1 is the lowest. Default 3.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub priority_levels: Option<u32>,
    /// Whether a full queue sends somebody away for a call of a higher priority: of the lowest priority
    /// there is in it, whoever came last. An option where `order` is `priority`. Default: no.
    pub displace: bool,
    /// Cuts waits short while the queue stands. Default: off.
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "table::option", skip_serializing_if = "Option::is_none")
    )]
    pub codel: Option<CodelConfig>,
    /// How long a call holds its permit: no permit is given to a call whose deadline is nearer.
    /// Default: the median of the latest calls that had to wait.
    #[cfg_attr(
        feature = "serde",
        serde(with = "duration_text::option", skip_serializing_if = "Option::is_none")
    )]
    pub expected_service: Option<Duration>,
    /// Has the limit find itself, from latencies and failures. Default: off.
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "table::option", skip_serializing_if = "Option::is_none")
    )]
    pub adaptive: Option<AdaptiveConfig>,
}

/// Permits are counted in half a word, and sums of them must not overflow it.
pub(super) const PERMITS_MOST: u32 = 1 << 30;
const QUEUE_MOST: u32 = 1 << 30;
const LEVELS_MOST: u32 = 255;
const MAX_CONCURRENT: u32 = 10;
const PRIORITY_LEVELS: u32 = 3;

impl Default for ThrottlerConfig {
    fn default() -> Self {
        Self {
            name: Name::from("throttler"),
            max_concurrent: None,
            queue_size: 100,
            timeout: Duration::from_secs(30),
            order: Order::Fifo,
            priority_levels: None,
            displace: false,
            codel: None,
            expected_service: None,
            adaptive: None,
        }
    }
}

impl ThrottlerConfig {
    /// The kind of policy, as [`ConfigError::policy`] names it.
    pub const POLICY: &'static str = "throttler";

    reads_toml!();

    /// Checks every option, alone and against the others.
    ///
    /// # Errors
    /// Names the first option that breaks its rule.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_as(Check(Self::POLICY), "")
    }

    /// The same, for the part of another policy whose options are called `<of>.<option>`.
    pub(crate) fn validate_as(&self, check: Check, of: &str) -> Result<(), ConfigError> {
        let field = |field: &str| format!("{of}{field}");
        check.name(&field("name"), &self.name)?;
        if let Some(permits) = self.max_concurrent {
            check.rule(
                self.adaptive.is_none(),
                &field("max_concurrent"),
                permits,
                "is found by `adaptive`: set its `initial_limit`, `min_limit` and `max_limit`",
            )?;
            check.count(&field("max_concurrent"), permits, PERMITS_MOST)?;
        }
        check.rule(
            self.queue_size <= QUEUE_MOST,
            &field("queue_size"),
            self.queue_size,
            &format!("must be at most {QUEUE_MOST}"),
        )?;
        check.period(&field("timeout"), self.timeout)?;
        if let Some(levels) = self.priority_levels {
            check.rule(
                self.order == Order::Priority,
                &field("priority_levels"),
                levels,
                "is only an option with `order` = priority",
            )?;
            check.count(&field("priority_levels"), levels, LEVELS_MOST)?;
        }
        check.rule(
            self.order == Order::Priority || !self.displace,
            &field("displace"),
            self.displace,
            "is only an option with `order` = priority",
        )?;
        if let Some(CodelConfig { target, interval }) = self.codel {
            for (name, time) in [("codel.target", target), ("codel.interval", interval)] {
                time.map_or(Ok(()), |time| check.period(&field(name), time))?;
            }
        }
        if let Some(expected) = self.expected_service {
            check.wait(&field("expected_service"), expected)?;
        }
        let Some(adaptive) = &self.adaptive else { return Ok(()) };
        check.rule(
            adaptive.max_limit <= PERMITS_MOST,
            &field("adaptive.max_limit"),
            adaptive.max_limit,
            &format!("must be at most {PERMITS_MOST}"),
        )?;
        adaptive.validate().map_err(|error| error.in_part(check.0, &field("adaptive")))
    }

    /// A throttler with these options on the system's clock.
    ///
    /// # Errors
    /// See [`validate`](Self::validate).
    pub fn build(self) -> Result<Throttler, ConfigError> {
        ThrottlerBuilder::from(self).build()
    }

    /// The limit to begin with, where it is not adaptive.
    pub(super) fn first_limit(&self) -> u32 {
        self.max_concurrent.unwrap_or(MAX_CONCURRENT)
    }

    /// Levels of priority; one where the order is another.
    pub(super) fn levels(&self) -> u8 {
        match self.order {
            Order::Fifo | Order::Lifo => 1,
            Order::Priority => {
                u8::try_from(self.priority_levels.unwrap_or(PRIORITY_LEVELS)).unwrap_or(u8::MAX)
            }
        }
    }
}

/// Builds a [`Throttler`]; made by [`Throttler::builder`].
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ThrottlerBuilder {
    config: ThrottlerConfig,
    clock: TimeSource,
    events: Events,
}

impl From<ThrottlerConfig> for ThrottlerBuilder {
    fn from(config: ThrottlerConfig) -> Self {
        Self { config, ..Self::default() }
    }
}

impl ThrottlerBuilder {
    /// Calls that may run at once. Default 10.
    pub fn max_concurrent(mut self, calls: u32) -> Self {
        self.config.max_concurrent = Some(calls);
        self
    }

    /// Calls that may wait; with 0 nobody does. Default 100.
    pub fn queue_size(mut self, calls: u32) -> Self {
        self.config.queue_size = calls;
        self
    }

    /// The longest wait. Default 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.config.timeout = timeout;
        self
    }

    /// Whose turn it is. Default: whoever has waited longest.
    pub fn order(mut self, order: Order) -> Self {
        self.config.order = order;
        self
    }

    /// Levels of priority, with [`Order::Priority`]; 1 is the lowest. Default 3.
    pub fn priority_levels(mut self, levels: u32) -> Self {
        self.config.priority_levels = Some(levels);
        self
    }

    /// Has a full queue send somebody away for a call of a higher priority: of the lowest priority
    /// there is in it, whoever came last ([`LeftQueue::Displaced`](super::LeftQueue::Displaced)). With
    /// [`Order::Priority`]. Default: no.
    ///
    /// ```
    /// use surefoot_core::Throttler;
    /// use surefoot_core::throttler::{Admission, Order, Wait};
    /// # use std::task::{Context, Waker};
    /// # let wait = |_: &_| Wait { deadline: None, waker: Waker::noop().clone() };
    ///
    /// let model = Throttler::builder("model").max_concurrent(1).queue_size(1);
    /// let model = model.order(Order::Priority).displace(true).build()?;
    /// let running = model.try_acquire()?;
    /// let Admission::Queued(mut low) = Throttler::enqueue(model.priority(1)?, wait)? else {
    ///     unreachable!("the only permit is out")
    /// };
    /// let high = Throttler::enqueue(model.priority(3)?, wait);
    /// assert!(matches!(high, Ok(Admission::Queued(_))));
    /// assert!(low.poll(&mut Context::from_waker(Waker::noop())).is_ready()); // sent away
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn displace(mut self, displace: bool) -> Self {
        self.config.displace = displace;
        self
    }

    /// Cuts waits short while the queue stands. Default: off.
    pub fn codel(mut self, config: CodelConfig) -> Self {
        self.config.codel = Some(config);
        self
    }

    /// How long a call holds its permit: no permit is given to a call whose deadline is nearer.
    /// Default: the median of the latest calls that had to wait.
    pub fn expected_service(mut self, time: Duration) -> Self {
        self.config.expected_service = Some(time);
        self
    }

    /// Has the limit find itself, from latencies and failures. Default: off.
    pub fn adaptive(mut self, config: AdaptiveConfig) -> Self {
        self.config.adaptive = Some(config);
        self
    }

    takes_clock!();
    takes_listeners!();
    takes_events!();

    pub(super) fn name(mut self, name: Name) -> Self {
        self.config.name = name;
        self
    }

    /// The throttler, with every permit free.
    ///
    /// # Errors
    /// Names the first option that breaks its rule.
    pub fn build(self) -> Result<Throttler, ConfigError> {
        self.config.validate()?;
        Ok(Throttler::from_machine(Machine::new(self.config, self.clock, self.events)?))
    }
}
