//! Admits at most so many calls in a window of time, and says exactly when the next one fits.
//!
//! **Use it** in front of whatever counts your calls (a provider's requests or tokens per minute,
//! a paid tool), or to protect a service of your own from each of its callers. **Not** against
//! overload: how many calls are under way at once is a throttler's business.
//!
//! ```text
//!      window (now − W, now]           N = 3
//!            ├─────────────────┤
//!   ──●──────┼──●────●────●────┼──►    full: the next one fits when the oldest leaves,
//!            │  └─ leaves at t+W       at t + W, exactly
//! ```
//!
//! | option | default | |
//! |---|---|---|
//! | `max_requests` | 100 | N: units in a window; a request is one unless it has a weight |
//! | `time_window` | 60 s | W: what is exactly this old has left |
//! | `algorithm` | `sliding_log` | see below |
//! | `burst` | `max_requests` | B: units at once, for the GCRA family |
//! | `buckets` | 10 | parts of the window, for the ring |
//! | `max_wait` | `time_window` | longest wait for a slot; a longer one is refused at once |
//! | `max_throttle` | 1 h | longest pause that is kept when the callee asks for one |
//! | `max_keys` | 100 000 | keyed: the most keys remembered |
//! | `when_full` | `refuse_new_keys` | keyed: what a new key gets then, or `evict_idlest` |
//!
//! | algorithm | most in any window | a slot returns | memory |
//! |---|---|---|---|
//! | `sliding_log` | **N** | exactly when its request leaves | 16 B for each instant of admission |
//! | `bucket_ring` | **N** | up to W/`buckets` late | 16 B for each bucket |
//! | `gcra_exact` | **N** | one each W/(N−B+1) | 8 B |
//! | `gcra`, `token_bucket` | B+N−1 | one each W/N | 8 B |
//! | `fixed_window` | 2N | all at the boundary | 16 B |
//!
//! **Weights.** `check_n` takes many units or none: a refusal consumes nothing. A weight above
//! what can ever fit is refused without a time, not made to wait.
//!
//! **`retry_after`** is rounded up: obeyed alone, it always suffices. With `sliding_log`,
//! `fixed_window` and the GCRA family it is also the earliest that does.
//!
//! **Waiting.** [`reserve`](RateLimiter::reserve) gives a place in the line and says when it is
//! due; the host waits. The line is first in, first out, also for those who do not wait: as long as
//! somebody does, [`check`](RateLimiter::check) is refused. A wait that could not end in time is
//! refused at once. The slot counts from when it was due.
//!
//! **Estimates.** [`try_reserve`](RateLimiter::try_reserve) takes what a call may use, and
//! [`Charge::settle`] corrects it when the usage is known.
//!
//! **Learning from a server** that counts too: [`learn`](RateLimiter::learn). A wait that it asks
//! for is kept by all, those in line included, so that not every one of them is refused by it;
//! what it has left is all there is; nothing it says makes the limit more generous.
//!
//! **Several limits at once**: [`multi`]. **One for each key**: [`KeyedRateLimiter`].
//!
//! **Cancellation.** A [`Reservation`] dropped gives its slot back, and those behind move up. A
//! [`Charge`] dropped keeps what it took, since the call may have run.
//!
//! **A clock that goes backwards** is taken to stand still: slots return late, never early.
//!
//! **Cost.** `gcra`: one clock reading and one compare-and-swap, no lock. The others: a short lock,
//! whatever the history. No allocation, except while the log grows to the largest number of
//! instants it has held.
//!
//! **Sources.** ITU-T I.371 for GCRA; the bounds are proved by brute force in the tests, and the
//! traps (bursts that double the quota, refusals that consume, waits rounded down) are those of
//! peers.

mod bucket_ring;
mod config;
mod contention;
mod engine;
mod fixed_window;
mod gcra;
mod keyed;
mod lane;
mod learning;
mod ledger;
mod line;
mod machine;
pub mod multi;
mod pause;
mod reservation;
mod sliding_log;
mod status;

use std::fmt;
use std::task::Waker;
use std::time::Duration;

pub use config::{Algorithm, RateLimiterBuilder, RateLimiterConfig, WhenFull};
pub use keyed::{KeyedRateLimiter, LimiterKey};
pub use learning::{ServerBudget, ServerLimits};
pub use reservation::{Admission, Charge, Reservation, Slots, Unready};
pub use status::{KeyedRateLimiterStatus, RateLimiterStatus, RateLimiterTotals};

use crate::config::Shown;
use crate::sync::Arc;
use crate::{Events, Name, Rejection, TimeSource, Timestamp};
use config::Built;
use engine::{Engine, Refusal, View};
use reservation::sealed::{Sealed, Turn};
use status::Tally;

/// A rate limiter without keys. Clones are handles to the same one.
///
/// ```
/// use std::time::Duration;
/// use surefoot_core::{ManualClock, RateLimiter};
///
/// let clock = ManualClock::new();
/// let limiter = RateLimiter::builder("search")
///     .max_requests(2)
///     .time_window(Duration::from_secs(60))
///     .clock(&clock)
///     .build()?;
///
/// limiter.check()?;
/// clock.advance(Duration::from_secs(10));
/// limiter.check()?;
/// let refusal = limiter.check().unwrap_err();
/// assert_eq!(refusal.retry_after(), Some(Duration::from_secs(50)));
///
/// clock.advance(Duration::from_secs(50));
/// assert!(limiter.is_allowed());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RateLimiter {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Engine,
    time: TimeSource,
    quota: Quota,
    tally: Tally,
    config: RateLimiterConfig,
}

/// So many units in a window of so long; part of a rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    limit: u64,
    window: Timestamp,
}

impl Quota {
    /// `limit` units in `window`.
    pub fn new(limit: u64, window: Duration) -> Self {
        Self { limit, window: Timestamp::ZERO + window }
    }

    /// Units in the window.
    pub fn limit(self) -> u64 {
        self.limit
    }

    /// The length of the window.
    pub fn window(self) -> Duration {
        self.window - Timestamp::ZERO
    }
}

/// As in `100 per 1m`.
impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per {}", self.limit, Shown(self.window()))
    }
}

impl RateLimiter {
    /// Starts building a limiter that will be called `name`.
    pub fn builder(name: impl Into<Name>) -> RateLimiterBuilder {
        RateLimiterBuilder::default().name(name.into())
    }

    fn new(config: RateLimiterConfig, built: Built, time: TimeSource, events: Events) -> Self {
        let engine = match built {
            Built::Gcra(machine) => Engine::from(machine),
            Built::Windowed(machine) => Engine::from(machine),
        };
        let (quota, tally) = (config.quota(), Tally::new(events));
        Self { shared: Arc::new(Shared { engine, time, quota, tally, config }) }
    }

    /// Asks to make one call now.
    ///
    /// # Errors
    /// [`Rejection::RateLimited`] with the time after which the call fits.
    #[inline(always)]
    pub fn check(&self) -> Result<(), Rejection> {
        self.check_n(1)
    }

    /// Takes `n` units now, or none. Zero units are always admitted.
    ///
    /// # Errors
    /// [`Rejection::RateLimited`] with the time after which they fit, or none if they never do.
    #[inline(always)]
    pub fn check_n(&self, n: u64) -> Result<(), Rejection> {
        if n == 0 {
            return Ok(());
        }
        match self.shared.engine.check(n, &self.shared.time) {
            Ok(()) => {
                self.shared.tally.admit();
                Ok(())
            }
            Err(refusal) => Err(self.rejection(refusal)),
        }
    }

    /// Whether one call is admitted now; it counts if it is.
    #[inline]
    pub fn is_allowed(&self) -> bool {
        self.check().is_ok()
    }

    /// Takes `n` units now, to be corrected when it is known how many the call used.
    ///
    /// # Errors
    /// As [`check_n`](Self::check_n).
    pub fn try_reserve(&self, n: u64) -> Result<Charge, Rejection> {
        match self.shared.engine.reserve(n, &self.shared.time, None) {
            Ok(placed) => Ok(Charge::new(self.clone(), placed.id, n)),
            Err(refusal) => Err(self.rejection(refusal)),
        }
    }

    /// Takes a place in the line for `n` units that is due by `latest` (a caller's deadline; or
    /// [`Timestamp::MAX`]) and within `max_wait`.
    ///
    /// # Errors
    /// [`Rejection::RateLimited`] at once if it could not be due in time, with the time after which
    /// the units would fit behind all who wait, or none if they never do.
    pub fn reserve(&self, n: u64, latest: Timestamp) -> Result<Reservation, Rejection> {
        let patience = self.shared.config.patience(latest);
        match self.shared.engine.reserve(n, &self.shared.time, Some(patience)) {
            Ok(placed) => {
                // The place first: what a listener does must not leave it without an owner.
                let reservation = Reservation::new(self.clone(), placed.id, n);
                self.shared.tally.place(self.name(), placed);
                Ok(reservation)
            }
            Err(refusal) => Err(self.rejection(refusal)),
        }
    }

    /// Takes `n` units now if they fit and nobody waits, or else a place in the line: see
    /// [`Slots::admit`].
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve).
    #[inline]
    pub fn admit(&self, n: u64, latest: Timestamp) -> Result<Admission, Rejection> {
        let Shared { engine, time, tally, config, .. } = &*self.shared;
        if n == 0 {
            return Ok(Admission::Now);
        }
        if latest == Timestamp::MAX || time.now() <= latest {
            match engine.check(n, time) {
                Ok(()) => {
                    tally.admit();
                    return Ok(Admission::Now);
                }
                Err(refusal) if config.longest_wait().is_zero() => {
                    return Err(self.rejection(refusal));
                }
                Err(_) => {}
            }
        }
        self.reserve(n, latest).map(Admission::Later)
    }

    /// Units in the present window; for the GCRA family those taken and not yet returned.
    pub fn current_rate(&self) -> u64 {
        self.view(1).used
    }

    /// Units that [`check_n`](Self::check_n) would admit now; none while somebody waits.
    pub fn remaining(&self) -> u64 {
        self.view(1).remaining
    }

    /// How long until `n` units fit, if nobody else comes: zero if they fit now, `None` if they
    /// never do.
    pub fn retry_after(&self, n: u64) -> Option<Duration> {
        let View { now, fits_at, .. } = self.view(n);
        fits_at.map(|at| Duration::from_nanos(at.saturating_sub(now)))
    }

    /// When everything taken so far will have returned; now if nothing is out.
    pub fn reset_at(&self) -> Timestamp {
        let View { now, idle_at, .. } = self.view(1);
        Timestamp::from_nanos(idle_at.max(now))
    }

    /// All of this at one moment. Takes nothing.
    pub fn status(&self) -> RateLimiterStatus {
        self.shared.tally.status(&self.shared.config, self.view(1))
    }

    /// Calls admitted, refused and delayed since it was made.
    pub fn totals(&self) -> RateLimiterTotals {
        self.shared.tally.totals()
    }

    /// Where to listen to refusals and delays.
    pub fn events(&self) -> &Events {
        &self.shared.tally.events
    }

    /// The most units in a window.
    pub fn max_requests(&self) -> u64 {
        self.shared.config.max_requests
    }

    /// The name it was built with.
    pub fn name(&self) -> &Name {
        &self.shared.config.name
    }

    /// The options in force.
    pub fn config(&self) -> &RateLimiterConfig {
        &self.shared.config
    }

    /// The clock it decides by.
    pub fn time(&self) -> &TimeSource {
        &self.shared.time
    }

    fn view(&self, n: u64) -> View {
        self.shared.engine.view(n, &self.shared.time)
    }

    #[cold]
    fn rejection(&self, refusal: Refusal) -> Rejection {
        self.shared.tally.refuse(&self.shared.config.name, self.shared.quota, refusal)
    }
}

impl Slots for RateLimiter {
    #[inline]
    fn admit(&self, n: u64, latest: Timestamp) -> Result<Admission, Rejection> {
        self.admit(n, latest)
    }

    fn reserve(&self, n: u64, latest: Timestamp) -> Result<Reservation, Rejection> {
        self.reserve(n, latest)
    }

    fn learn(&self, unit: &str, limits: &ServerLimits) -> Result<(), Rejection> {
        self.learn(unit, limits);
        Ok(())
    }

    fn pause_for(&self, wait: Duration) -> Result<(), Rejection> {
        self.pause_for(wait);
        Ok(())
    }

    fn name(&self) -> &Name {
        self.name()
    }

    fn time(&self) -> &TimeSource {
        self.time()
    }
}

impl Sealed for RateLimiter {
    fn due(&self, id: u64) -> Timestamp {
        Timestamp::from_nanos(self.shared.engine.due(id))
    }

    fn watch(&self, id: u64, waker: &Waker) {
        self.shared.engine.watch(id, waker).wake();
    }

    fn begin(&self, id: u64, slept_until: Timestamp) -> Turn {
        self.shared.engine.begin(id, slept_until.as_nanos(), &self.shared.time)
    }

    fn refusal(&self, units: u64) -> Rejection {
        self.rejection(self.view(units).refusal())
    }

    fn settle(&self, id: u64, used: u64) {
        self.shared.engine.settle(id, used, &self.shared.time).wake();
    }

    fn forget(&self, id: u64) {
        self.shared.engine.forget(id, &self.shared.time);
    }

    fn admitted(&self) {
        self.shared.tally.admit();
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("name", self.name())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
