//! A limit that moves with what it measures: how long calls take, how many fail under load, and
//! how many are done.
//!
//! **Use it** where nobody knows the right number of calls at once, or where it changes: a service
//! behind autoscaling, a database others use too. **Not** where the number is known (a connection
//! pool's size), and not on the full duration of calls whose length is the caller's choice, such as
//! a model's answer: give it the time to the first token, or the latency per token.
//!
//! ```text
//!                       a window ends
//!                             │
//!    more than 10 % dropped? ─┼─► limit × 0.9
//!      less than half in use? ┼─► limit as it was
//!      limit reached 30 times ┼─► try 0.8 × limit for 4 windows; as much done? keep it : restore it
//!                      else ──┴─► 0.8 · limit + 0.2 · (gradient · limit + 4)
//!
//!    gradient = 1.5 · long-term latency ÷ latency of the window, from 0.5 to 1
//! ```
//!
//! | option | default | |
//! |---|---|---|
//! | `initial_limit` | 20 | the limit to begin with, and what idleness never takes it below |
//! | `min_limit` | 1 | the lowest limit |
//! | `max_limit` | 1000 | the highest limit |
//! | `window` | 1 s | how long one measurement takes at least; twice the mean latency if that is longer |
//! | `min_samples` | 10 | a window goes on until as many calls have ended |
//! | `long_window` | 300 | windows that the long-term latency looks back over |
//! | `tolerance` | 1.5 | latency may grow by this factor before the limit falls |
//! | `max_drop_rate` | 0.1 | share of calls dropped in a window from which on the limit falls |
//! | `max_healthy_latency` | – | the long-term latency is never taken to be more than this |
//!
//! **What counts.** A call that succeeded is a *sample* with its latency. A call that failed
//! because of load (a timeout, a refusal, the failure of the callee) is a *drop*. Calls that say
//! nothing about the callee are not reported at all; one that a deadline of ours ended is none of them if
//! its turn had taken longer to come than it then had. A failure's verdict cannot tell load (a 503) from a bug: errors that
//! load has no part in should be [permanent](crate::Classification::PERMANENT) to the classifier, as where more
//! than `max_drop_rate` of all calls fail the limit falls, whatever they fail of.
//!
//! **Why this and not a published algorithm.** In simulation (`cargo run -p surefoot-simulation
//! --release` prints the table) it did 95–99 % of what was possible under every overload tried.
//! Netflix's Vegas and failsafe-go's limiter lost more than that where service times vary,
//! loss-based limits ride the timeout or collapse where one timeout in a window is normal, and
//! Gradient2 alone grows for as long as a moderate overload lasts, because its long-term latency
//! learns the queue. The try at 0.8 is what stops that: it costs nothing where calls only wait.
//!
//! **Its weak spot.** After a sudden and lasting slowdown it is cautious for minutes: the
//! long-term latency has to learn that this is normal now. A smaller `long_window` learns faster
//! and drifts further under noisy overload. And it grows by less than one call in a window (faster growth
//! drifts): where hundreds of calls at once are normal, say so with `initial_limit`.
//!
//! **A clock that goes backwards** makes a window longer, nothing else.
//!
//! **Cost.** A window's end is a few dozen floating-point operations, once a second. Nothing is
//! kept per call.
//!
//! **Sources.** `Gradient2Limit` of Netflix's concurrency-limits; the cap on idle growth is
//! failsafe-go's; drops as a rate and the try are ours.

mod config;
mod gradient;
mod peak;
mod probe;

use std::time::Duration;

pub use config::AdaptiveConfig;

use crate::Timestamp;
use crate::time::nanos;
use gradient::Gradient;
use peak::Peak;
use probe::{Probe, Step};

/// What was seen between two decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Calls that succeeded.
    pub samples: u64,
    /// The time they took, summed.
    pub latency: Duration,
    /// Calls that failed because of load.
    pub drops: u64,
    /// The most calls that were under way at once.
    pub max_in_flight: u32,
}

impl Window {
    /// Notes a call that succeeded.
    pub fn sample(&mut self, latency: Duration, in_flight: u32) {
        self.samples += 1;
        self.latency = self.latency.saturating_add(latency);
        self.max_in_flight = self.max_in_flight.max(in_flight);
    }

    /// Notes a call that failed because of load.
    pub fn drop_one(&mut self, in_flight: u32) {
        self.drops += 1;
        self.max_in_flight = self.max_in_flight.max(in_flight);
    }

    /// Calls that ended, either way.
    pub fn outcomes(&self) -> u64 {
        self.samples.saturating_add(self.drops)
    }

    fn drop_rate(&self) -> f64 {
        ratio(self.drops, self.outcomes()).unwrap_or(0.0)
    }

    /// In nanoseconds.
    fn mean_latency(&self) -> Option<f64> {
        // A latency of nothing would make every gradient infinite.
        ratio(nanos(self.latency), self.samples).map(|mean| mean.max(1.0))
    }
}

/// The limit, and what it is decided from.
///
/// A pure machine: whoever counts calls asks [`is_over`](Self::is_over) when one ends, and hands
/// in the [`Window`] when it says so.
///
/// ```
/// use std::time::Duration;
/// use surefoot_core::Timestamp;
/// use surefoot_core::throttler::adaptive::{AdaptiveConfig, AdaptiveLimit, Window};
///
/// let mut limit = AdaptiveLimit::new(AdaptiveConfig::default(), Timestamp::ZERO)?;
/// assert_eq!(limit.current(), 20);
///
/// // All twenty places in use, and every fifth call timed out.
/// let now = Timestamp::ZERO + Duration::from_secs(1);
/// let window =
///     Window { samples: 80, latency: Duration::from_secs(8), drops: 20, max_in_flight: 20 };
/// assert!(limit.is_over(window.outcomes(), now));
/// assert_eq!(limit.end_window(&window, now), 18);
/// # Ok::<(), surefoot_core::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct AdaptiveLimit {
    config: AdaptiveConfig,
    /// Fractions count: small limits would otherwise never grow.
    limit: f64,
    started: Timestamp,
    ends: Timestamp,
    gradient: Gradient,
    peak: Peak,
    probe: Probe,
}

/// What a window with too many drops leaves of the limit.
const BACKOFF: f64 = 0.9;
/// The limit is at most so many times the calls that were ever under way lately.
const PEAK_FACTOR: f64 = 5.0;
/// No window is longer than so many times the configured one, whatever the latency.
const LONGEST_WINDOW: u32 = 10;

impl AdaptiveLimit {
    /// A limit that begins at `initial_limit`, with its first window.
    ///
    /// # Errors
    /// Names the first option that breaks its rule.
    pub fn new(config: AdaptiveConfig, now: Timestamp) -> Result<Self, crate::ConfigError> {
        config.validate()?;
        Ok(Self {
            limit: f64::from(config.initial()),
            started: now,
            ends: now + config.window,
            gradient: Gradient::new(&config),
            peak: Peak::default(),
            probe: Probe::default(),
            config,
        })
    }

    /// Calls that may be under way at once.
    pub fn current(&self) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from `min_limit` to `max_limit`, which are u32"
        )]
        let whole = self.limit as u32;
        whole
    }

    /// When the window may end.
    pub fn window_ends(&self) -> Timestamp {
        self.ends
    }

    /// Whether the window has seen enough, time and calls, with so many calls that ended in it.
    pub fn is_over(&self, outcomes: u64, now: Timestamp) -> bool {
        now >= self.ends && outcomes >= u64::from(self.config.min_samples)
    }

    /// Decides what follows from a window that is over, begins the next one, and gives the new
    /// limit.
    pub fn end_window(&mut self, window: &Window, now: Timestamp) -> u32 {
        let elapsed = now - self.started;
        self.begin_window(window, now);
        self.peak.note(window.max_in_flight);
        self.limit = self.next_limit(window, elapsed);
        self.keep_in_bounds();
        self.current()
    }

    /// The options in force.
    pub fn config(&self) -> &AdaptiveConfig {
        &self.config
    }

    fn next_limit(&mut self, window: &Window, elapsed: Duration) -> f64 {
        let too_many_drops = window.drop_rate() > self.config.max_drop_rate;
        let (false, Some(latency)) = (too_many_drops, window.mean_latency()) else {
            self.probe.abandon();
            return self.limit * if too_many_drops { BACKOFF } else { 1.0 };
        };
        let is_saturated = window.max_in_flight >= self.current();
        match self.probe.step(self.limit, is_saturated, window, elapsed) {
            Step::Follow => self.gradient.next(self.limit, window.max_in_flight, latency),
            Step::Stay => self.limit,
            Step::Set(limit) => limit,
            Step::Keep { latency } => {
                self.gradient.adopt(latency);
                self.limit
            }
        }
    }

    fn keep_in_bounds(&mut self) {
        let used = (PEAK_FACTOR * f64::from(self.peak.get())).max(f64::from(self.config.initial()));
        let (min, max) = (f64::from(self.config.min_limit), f64::from(self.config.max_limit));
        self.limit = self.limit.min(used).clamp(min, max);
    }

    /// A change of the limit shows only in calls that began after it.
    fn begin_window(&mut self, window: &Window, now: Timestamp) {
        let shortest = self.config.window;
        let twice = window.latency.saturating_mul(2);
        let two_calls = twice.checked_div(u32::try_from(window.samples).unwrap_or(u32::MAX));
        let longest = shortest.saturating_mul(LONGEST_WINDOW);
        self.started = now;
        self.ends = now + two_calls.unwrap_or_default().clamp(shortest, longest);
    }
}

/// `None` for a share of nothing.
fn ratio(part: u64, whole: u64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a measurement needs no 53rd bit")]
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests;
