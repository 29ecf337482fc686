//! The options of a rate limiter: their names, defaults and rules.

use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

use super::bucket_ring::BucketRing;
use super::fixed_window::FixedWindow;
use super::gcra::Gcra;
use super::keyed::KeyedRateLimiter;
use super::ledger::{Leaving, Windowed};
use super::line::Patience;
use super::sliding_log::SlidingLog;
use super::{Quota, RateLimiter};
use crate::config::{Check, Shown, reads_toml, takes_clock, takes_events, takes_listeners};
#[cfg(feature = "serde")]
use crate::config::{duration_text, word};
use crate::time::nanos;
use crate::{ConfigError, Events, Name, TimeSource, Timestamp};

/// How a limiter counts. Every one but the default trades exactness for memory or speed, and says
/// what it admits at worst: N is `max_requests`, W is `time_window`, B is `burst`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Algorithm {
    /// Exact: never more than N in any window, and a slot is free again exactly when its request
    /// leaves. 16 bytes for each instant of admission within the window.
    #[default]
    SlidingLog,
    /// One atomic word: B at once, then one each W/N. At worst B+N−1 in a window, so 2N−1 with the
    /// default burst of N.
    Gcra,
    /// One atomic word, never more than N in any window: B at once, then one each W/(N−B+1). The
    /// larger the burst, the slower the rate; with a burst of N it is N at once and one each W.
    GcraExact,
    /// [`Gcra`](Self::Gcra) in its own words: a bucket of B tokens that gains N tokens each W.
    TokenBucket,
    /// Never more than N in any window; slots return up to W/`buckets` late. For large N: its
    /// memory is `buckets` + 1 entries whatever N is.
    BucketRing,
    /// A counter that starts anew each W. At worst 2N in a window.
    FixedWindow,
}

impl Algorithm {
    /// The name in config files: `"sliding_log"`, `"gcra"`, ….
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SlidingLog => "sliding_log",
            Self::Gcra => "gcra",
            Self::GcraExact => "gcra_exact",
            Self::TokenBucket => "token_bucket",
            Self::BucketRing => "bucket_ring",
            Self::FixedWindow => "fixed_window",
        }
    }

    fn has_burst(self) -> bool {
        matches!(self, Self::Gcra | Self::GcraExact | Self::TokenBucket)
    }
}

/// What a keyed limiter does with a new key when it holds `max_keys` that are all in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum WhenFull {
    /// Refuses calls with new keys. Every limit holds, and keys that are known notice nothing;
    /// whoever can make up keys can keep new ones out until theirs have returned what they took.
    #[default]
    RefuseNewKeys,
    /// Forgets the key that would have been idle soonest: of all where `max_keys` is at most 1024,
    /// of a thousand or more that stand near where it is more.
    /// Everybody gets in; a key that was forgotten has its whole limit again. So whoever can make
    /// up keys can lift limits: in windows those of keys that were not admitted for longest, also
    /// of one that is at its limit; with the GCRA family first those of keys that took little.
    EvictIdlest,
}

/// The options of a rate limiter as data; [`RateLimiterBuilder`] sets the same ones.
///
/// ```
/// # #[cfg(feature = "toml")] {
/// use surefoot_core::rate_limiter::RateLimiterConfig;
///
/// let config = RateLimiterConfig::from_toml(r#"
///     name = "search"
///     max_requests = 20
///     time_window = "1s"
///     algorithm = "gcra"
///     burst = 5
/// "#)?;
/// let limiter = config.build()?;
/// assert_eq!(limiter.remaining(), 5);
/// # }
/// # Ok::<(), surefoot_core::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
pub struct RateLimiterConfig {
    /// What rejections, metrics and health call it. Default `rate_limiter`.
    pub name: Name,
    /// Units in a window; a unit is a request unless calls have weights. Default 100.
    pub max_requests: u64,
    /// The length of the window. Default 60 s.
    #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
    pub time_window: Duration,
    /// How it counts. Default: exactly, with a sliding log.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "word::deserialize"))]
    pub algorithm: Algorithm,
    /// Units that may be taken at once by `gcra`, `gcra_exact` and `token_bucket`. Default:
    /// `max_requests`.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub burst: Option<u64>,
    /// Into how many parts `bucket_ring` divides its window. Default 10.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub buckets: Option<u32>,
    /// The longest wait for a slot; a longer one is refused at once. Default: `time_window`.
    #[cfg_attr(
        feature = "serde",
        serde(with = "duration_text::option", skip_serializing_if = "Option::is_none")
    )]
    pub max_wait: Option<Duration>,
    /// The longest pause that is kept when the callee asks for one. Default 1 h.
    #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
    pub max_throttle: Duration,
    /// The most keys a keyed limiter remembers. Default 100 000.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub max_keys: Option<u32>,
    /// What a keyed limiter does with a new key when it is full. Default: refuses it.
    #[cfg_attr(
        feature = "serde",
        serde(
            deserialize_with = "word::option::deserialize",
            skip_serializing_if = "Option::is_none"
        )
    )]
    pub when_full: Option<WhenFull>,
}

impl Default for RateLimiterConfig {
    fn default() -> Self {
        Self {
            name: Name::from("rate_limiter"),
            max_requests: 100,
            time_window: Duration::from_secs(60),
            algorithm: Algorithm::SlidingLog,
            burst: None,
            buckets: None,
            max_wait: None,
            max_throttle: Duration::from_secs(3600),
            max_keys: None,
            when_full: None,
        }
    }
}

/// Units in a window at most, so that sums of them stay far from overflowing.
const UNITS_MOST: u64 = 1 << 48;
const BUCKETS: u32 = 10;
const BUCKETS_MOST: u32 = 10_000;
const KEYS: u32 = 100_000;
const KEYS_MOST: u32 = 1 << 30;

/// The machine that the options describe.
#[derive(Clone, Copy, Debug)]
pub(super) enum Built {
    Gcra(Gcra),
    Windowed(Windowed),
}

impl RateLimiterConfig {
    /// The kind of policy, as [`ConfigError::policy`] names it.
    pub const POLICY: &'static str = "rate_limiter";

    reads_toml!();

    /// Checks every option, alone and against the others. Options for keys are allowed here; a
    /// limiter without keys refuses them when it is built.
    ///
    /// # Errors
    /// Names the first option that breaks its rule, or that the algorithm does not have.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = Check(Self::POLICY);
        check.name("name", &self.name)?;
        units(check, "max_requests", self.max_requests)?;
        check.period("time_window", self.time_window)?;
        if let Some(burst) = self.burst {
            self.belongs(check, "burst", burst, self.algorithm.has_burst())?;
            units(check, "burst", burst)?;
            check.rule(
                self.algorithm != Algorithm::GcraExact || burst <= self.max_requests,
                "burst",
                burst,
                &format!("must be at most `max_requests`, which is {}", self.max_requests),
            )?;
        }
        if let Some(buckets) = self.buckets {
            let has_buckets = self.algorithm == Algorithm::BucketRing;
            self.belongs(check, "buckets", u64::from(buckets), has_buckets)?;
            check.count("buckets", buckets, BUCKETS_MOST)?;
        }
        if let Some(longest) = self.max_wait {
            check.wait("max_wait", longest)?;
        }
        check.period("max_throttle", self.max_throttle)?;
        if let Some(keys) = self.max_keys {
            check.count("max_keys", keys, KEYS_MOST)?;
        }
        self.built(0).map(drop)
    }

    /// A limiter with these options on the system's clock.
    ///
    /// # Errors
    /// See [`validate`](Self::validate); and options for keys are errors.
    pub fn build(self) -> Result<RateLimiter, ConfigError> {
        RateLimiterBuilder::from(self).build()
    }

    /// A limiter for each key, with these options on the system's clock.
    ///
    /// # Errors
    /// See [`validate`](Self::validate).
    pub fn build_keyed<K: Hash + Eq>(self) -> Result<KeyedRateLimiter<K>, ConfigError> {
        RateLimiterBuilder::from(self).build_keyed()
    }

    fn belongs(
        &self,
        check: Check,
        field: &str,
        value: u64,
        belongs: bool,
    ) -> Result<(), ConfigError> {
        let rule = format!("is not an option of the algorithm `{}`", self.algorithm.as_str());
        check.rule(belongs, field, value, &rule)
    }

    /// The most that can be taken at once.
    pub(super) fn capacity(&self) -> u64 {
        match self.burst {
            Some(burst) if self.algorithm.has_burst() => burst,
            _ => self.max_requests,
        }
    }

    pub(super) fn quota(&self) -> Quota {
        Quota::new(self.max_requests, self.time_window)
    }

    pub(super) fn longest_wait(&self) -> Duration {
        self.max_wait.unwrap_or(self.time_window)
    }

    pub(super) fn patience(&self, latest: Timestamp) -> Patience {
        Patience { latest: latest.as_nanos(), longest: nanos(self.longest_wait()) }
    }

    pub(super) fn keys(&self) -> u32 {
        self.max_keys.unwrap_or(KEYS)
    }

    /// The machine, for a limiter made at `origin`.
    pub(super) fn built(&self, origin: u64) -> Result<Built, ConfigError> {
        let window = self.time_window;
        let leaving = match self.algorithm {
            Algorithm::Gcra | Algorithm::TokenBucket | Algorithm::GcraExact => {
                let exact = self.algorithm == Algorithm::GcraExact;
                let burst = self.capacity();
                let gcra = Gcra::new(self.max_requests, window, burst, exact, origin);
                return gcra.map(Built::Gcra).ok_or_else(|| {
                    let rule = "must be shorter: a whole burst would need over a century to return";
                    ConfigError::new(Self::POLICY, "time_window", Shown(window), rule)
                });
            }
            Algorithm::SlidingLog => Leaving::Sliding(SlidingLog::new(window)),
            Algorithm::BucketRing => {
                let buckets = self.buckets.unwrap_or(BUCKETS);
                Leaving::Buckets(BucketRing::new(window, buckets, origin))
            }
            Algorithm::FixedWindow => Leaving::Fixed(FixedWindow::new(window, origin)),
        };
        Ok(Built::Windowed(Windowed { limit: self.max_requests, leaving }))
    }
}

fn units(check: Check, field: &str, units: u64) -> Result<(), ConfigError> {
    let rule = format!("must be from 1 to {UNITS_MOST}");
    check.rule((1..=UNITS_MOST).contains(&units), field, units, &rule)
}

/// Builds a [`RateLimiter`] or a [`KeyedRateLimiter`]; made by [`RateLimiter::builder`].
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct RateLimiterBuilder {
    config: RateLimiterConfig,
    clock: TimeSource,
    events: Events,
}

impl From<RateLimiterConfig> for RateLimiterBuilder {
    fn from(config: RateLimiterConfig) -> Self {
        Self { config, clock: TimeSource::System, events: Events::default() }
    }
}

impl RateLimiterBuilder {
    /// Units in a window; a unit is a request unless calls have weights. Default 100.
    pub fn max_requests(mut self, units: u64) -> Self {
        self.config.max_requests = units;
        self
    }

    /// The length of the window. Default 60 s.
    pub fn time_window(mut self, window: Duration) -> Self {
        self.config.time_window = window;
        self
    }

    /// How it counts. Default: exactly, with a sliding log.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.config.algorithm = algorithm;
        self
    }

    /// [`Algorithm::Gcra`]: `burst` units at once, then one each W/N.
    pub fn gcra(mut self, burst: u64) -> Self {
        self.config.burst = Some(burst);
        self.algorithm(Algorithm::Gcra)
    }

    /// [`Algorithm::GcraExact`]: `burst` units at once, then one each W/(N−B+1).
    pub fn gcra_exact(mut self, burst: u64) -> Self {
        self.config.burst = Some(burst);
        self.algorithm(Algorithm::GcraExact)
    }

    /// [`Algorithm::TokenBucket`]: a bucket of `tokens` that gains N tokens each W.
    pub fn token_bucket(mut self, tokens: u64) -> Self {
        self.config.burst = Some(tokens);
        self.algorithm(Algorithm::TokenBucket)
    }

    /// [`Algorithm::BucketRing`] with so many buckets.
    pub fn bucket_ring(mut self, buckets: u32) -> Self {
        self.config.buckets = Some(buckets);
        self.algorithm(Algorithm::BucketRing)
    }

    /// [`Algorithm::FixedWindow`].
    pub fn fixed_window(self) -> Self {
        self.algorithm(Algorithm::FixedWindow)
    }

    /// The longest wait for a slot; a longer one is refused at once. Default: `time_window`.
    pub fn max_wait(mut self, longest: Duration) -> Self {
        self.config.max_wait = Some(longest);
        self
    }

    /// The longest pause that is kept when the callee asks for one. Default 1 h.
    pub fn max_throttle(mut self, longest: Duration) -> Self {
        self.config.max_throttle = longest;
        self
    }

    /// The most keys a keyed limiter remembers. Default 100 000.
    pub fn max_keys(mut self, keys: u32) -> Self {
        self.config.max_keys = Some(keys);
        self
    }

    /// What a keyed limiter does with a new key when it is full. Default: refuses it.
    pub fn when_full(mut self, what: WhenFull) -> Self {
        self.config.when_full = Some(what);
        self
    }

    takes_clock!();
    takes_listeners!();
    takes_events!();

    pub(super) fn name(mut self, name: Name) -> Self {
        self.config.name = name;
        self
    }

    /// The limiter, with nothing taken.
    ///
    /// # Errors
    /// Names the first option that breaks its rule.
    pub fn build(self) -> Result<RateLimiter, ConfigError> {
        let Self { config, clock, events } = self;
        config.validate()?;
        let check = Check(RateLimiterConfig::POLICY);
        let rule = "needs keys: build it with `build_keyed`";
        check.rule(config.max_keys.is_none(), "max_keys", config.keys(), rule)?;
        let when_full = config.when_full.unwrap_or_default();
        check.rule(config.when_full.is_none(), "when_full", format!("{when_full:?}"), rule)?;
        let built = config.built(clock.now().as_nanos())?;
        Ok(RateLimiter::new(config, built, clock, events))
    }

    /// A limiter for each key, with none yet.
    ///
    /// # Errors
    /// Names the first option that breaks its rule.
    pub fn build_keyed<K: Hash + Eq>(self) -> Result<KeyedRateLimiter<K>, ConfigError> {
        self.build_keyed_with_hasher(RandomState::new())
    }

    /// The same with a hasher of one's own. The default, SipHash with random keys, is slower than
    /// some and cannot be defeated by whoever chooses the keys. One's own has to spread keys over all
    /// 64 bits: with the identity as a hash, say, all small numbers stand in one place and a look
    /// for one of them passes all others.
    ///
    /// # Errors
    /// As [`build_keyed`](Self::build_keyed).
    pub fn build_keyed_with_hasher<K: Hash + Eq, S: BuildHasher>(
        self,
        hasher: S,
    ) -> Result<KeyedRateLimiter<K, S>, ConfigError> {
        let Self { config, clock, events } = self;
        config.validate()?;
        let built = config.built(clock.now().as_nanos())?;
        Ok(KeyedRateLimiter::new(config, built, clock, events, hasher))
    }
}
