//! What a limiter says about itself, and what it tells and counts of its refusals.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::engine::{Placed, Refusal, View};
use super::line::Heeded;
use super::{Quota, RateLimiterConfig};
use crate::counter::Counter;
use crate::{Event, Events, Name, Rejection, Timestamp};

/// How a limiter, or one key of it, stands at one moment.
///
/// ```
/// # #[cfg(feature = "serde")] {
/// use surefoot_core::{ManualClock, RateLimiter};
///
/// let limiter = RateLimiter::builder("search").max_requests(2).clock(ManualClock::new()).build()?;
/// limiter.check()?;
/// let status = serde_json::to_value(limiter.status())?;
/// assert_eq!(status["name"], "search");
/// assert_eq!(status["remaining"], 1);
/// assert_eq!(status["totals"]["admitted"], 1);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct RateLimiterStatus {
    /// The limiter's name.
    pub name: Name,
    /// The most units in a window.
    pub max_requests: u64,
    /// Units in the present window; for the GCRA family those taken and not yet returned.
    pub current_rate: u64,
    /// Units that could be taken now; none while somebody waits.
    pub remaining: u64,
    /// Calls that wait for their slot.
    pub waiting: u64,
    /// How long until one more unit fits, if nobody else comes.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::duration_text"))]
    pub retry_after: Duration,
    /// How long until everything taken so far will have returned.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::duration_text"))]
    pub reset_after: Duration,
    /// How much of a pause is left that the callee asked for.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::duration_text"))]
    pub paused_for: Duration,
    /// When everything will have returned, on the limiter's clock.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub reset_at: Timestamp,
    /// Counts since the limiter was made, of all its keys together.
    pub totals: RateLimiterTotals,
}

/// A keyed limiter as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct KeyedRateLimiterStatus {
    /// The limiter's name.
    pub name: Name,
    /// The most units in a window, for each key.
    pub max_requests: u64,
    /// Keys it remembers.
    pub keys: usize,
    /// The most keys it remembers.
    pub max_keys: u32,
    /// Counts since it was made, of all keys together.
    pub totals: RateLimiterTotals,
}

/// Calls counted since a limiter was made. Those of no units are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct RateLimiterTotals {
    /// Calls admitted, at once or after a wait.
    pub admitted: u64,
    /// Calls refused, also for want of room for their key.
    pub rejected: u64,
    /// Calls that had to wait, whether they were admitted in the end or gave up.
    pub delayed: u64,
    /// Pauses that the callee asked for, and longer ones in place of those.
    pub paused: u64,
}

/// What a limiter counts, and whom it tells.
#[derive(Debug)]
pub(super) struct Tally {
    admitted: Counter,
    rejected: Counter,
    delayed: AtomicU64,
    paused: AtomicU64,
    told_full: AtomicBool,
    pub(super) events: Events,
}

impl Tally {
    pub(super) fn new(events: Events) -> Self {
        let (admitted, rejected) = (Counter::default(), Counter::default());
        let (delayed, paused) = (AtomicU64::new(0), AtomicU64::new(0));
        let told_full = AtomicBool::new(false);
        Self { admitted, rejected, delayed, paused, told_full, events }
    }

    /// Notes a call that may begin.
    #[inline]
    pub(super) fn admit(&self) {
        self.admitted.add();
    }

    /// Notes a place in the line.
    pub(super) fn place(&self, policy: &Name, Placed { due, now, .. }: Placed) {
        if due > now {
            self.delayed.fetch_add(1, Ordering::Relaxed);
            let delay = Duration::from_nanos(due - now);
            let at = Timestamp::from_nanos(now);
            self.tell(|| Event::RateDelayed { policy: policy.clone(), at, delay });
        }
    }

    /// Notes a refusal by `policy`.
    #[cold]
    pub(super) fn refuse(&self, policy: &Name, quota: Quota, refusal: Refusal) -> Rejection {
        self.rejected.add();
        let (at, retry_after) = (Timestamp::from_nanos(refusal.now), refusal.wait());
        self.tell(|| Event::RateLimited { policy: policy.clone(), at, retry_after });
        refusal.rejection(policy, quota)
    }

    /// Wakes those whose time has moved, and notes a pause of `policy`.
    pub(super) fn heed(&self, policy: &Name, Heeded { moved, paused }: Heeded) {
        moved.wake();
        if let Some((now, until)) = paused {
            self.pause(policy, now, until);
        }
    }

    /// Notes that nobody is admitted from `now` until `until`.
    pub(super) fn pause(&self, policy: &Name, now: u64, until: u64) {
        self.paused.fetch_add(1, Ordering::Relaxed);
        let (at, until) = (Timestamp::from_nanos(now), Timestamp::from_nanos(until));
        self.tell(|| Event::RatePaused { policy: policy.clone(), at, until });
    }

    /// Notes a refusal of a new key.
    #[cold]
    pub(super) fn full(&self, policy: &Name, max_keys: u32) -> Rejection {
        self.rejected.add();
        if !self.told_full.swap(true, Ordering::Relaxed) {
            self.tell(|| Event::KeysFull { policy: policy.clone(), max_keys });
        }
        Rejection::KeysFull { policy: policy.clone(), max_keys }
    }

    pub(super) fn totals(&self) -> RateLimiterTotals {
        RateLimiterTotals {
            admitted: self.admitted.get(),
            rejected: self.rejected.get(),
            delayed: self.delayed.load(Ordering::Relaxed),
            paused: self.paused.load(Ordering::Relaxed),
        }
    }

    /// The status of what shows `view`.
    pub(super) fn status(&self, config: &RateLimiterConfig, view: View) -> RateLimiterStatus {
        let fits_at = view.fits_at.unwrap_or(view.now);
        let reset_at = view.idle_at.max(view.now);
        RateLimiterStatus {
            name: config.name.clone(),
            max_requests: config.max_requests,
            current_rate: view.used,
            remaining: view.remaining,
            waiting: view.waiting,
            retry_after: Duration::from_nanos(fits_at.saturating_sub(view.now)),
            reset_after: Duration::from_nanos(reset_at - view.now),
            paused_for: Duration::from_nanos(view.paused_until.saturating_sub(view.now)),
            reset_at: Timestamp::from_nanos(reset_at),
            totals: self.totals(),
        }
    }

    fn tell(&self, event: impl FnOnce() -> Event) {
        if !self.events.is_empty() {
            self.events.send(&event());
        }
    }
}
