//! How several limits stand.

use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use super::super::RateLimiterTotals;
use super::super::engine::View;
use super::lanes::Rule;
use super::{RateLimits, Scope};
use crate::Name;
use crate::sync::atomic::Ordering;

/// How several limits stand at one moment; made by
/// [`RateLimits::overview`](super::RateLimits::overview), and for a key by
/// [`status`](super::RateLimits::status).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct RateLimitsStatus {
    /// The name they were built with.
    pub name: Name,
    /// Each limit: those of the key first.
    pub limits: Vec<LimitStatus>,
    /// Calls that wait for their turn, of all keys.
    pub waiting: u64,
    /// Keys that are remembered; none if no limit counts by key.
    pub keys: usize,
    /// The most keys that are remembered.
    pub max_keys: u32,
    /// Counts since they were made, of all keys together.
    pub totals: RateLimiterTotals,
}

/// How one of several limits stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LimitStatus {
    /// What it counts.
    pub unit: Name,
    /// For whom.
    pub scope: Scope,
    /// The most units in a window.
    pub max_requests: u64,
    /// The length of the window.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::duration_text"))]
    pub time_window: Duration,
    /// Units in the present window; for the GCRA family those taken and not yet returned.
    pub current_rate: u64,
    /// Units that could be taken now; none while somebody waits.
    pub remaining: u64,
    /// How long until one more unit fits, if nobody else comes.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::duration_text"))]
    pub retry_after: Duration,
    /// How much of a pause is left that the callee asked for.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::duration_text"))]
    pub paused_for: Duration,
}

impl RateLimitsStatus {
    /// The limit that binds: the one whose next unit takes longest; of those that admit one now,
    /// the one of which the largest share is taken.
    pub fn binding(&self) -> Option<&LimitStatus> {
        self.limits
            .iter()
            .reduce(|binding, other| if other.binds(binding) { other } else { binding })
    }
}

impl LimitStatus {
    /// More than `other` does.
    fn binds(&self, other: &Self) -> bool {
        let share =
            |one: &Self, of: &Self| u128::from(one.current_rate) * u128::from(of.max_requests);
        let waits = self.retry_after.cmp(&other.retry_after);
        waits.then(share(self, other).cmp(&share(other, self))).is_gt()
    }
}

impl<K: Hash + Eq, S: BuildHasher> RateLimits<K, S> {
    pub(super) fn status_of(&self, views: &[(&Rule, View)], now: u64) -> RateLimitsStatus {
        let shared = &*self.shared;
        let left = |at: u64| Duration::from_nanos(at.saturating_sub(now));
        let limits = views.iter().map(|(rule, view)| LimitStatus {
            unit: shared.units[rule.unit].clone(),
            scope: rule.scope,
            max_requests: rule.quota.limit(),
            time_window: rule.quota.window(),
            current_rate: view.used,
            remaining: view.remaining,
            retry_after: left(view.fits_at.unwrap_or(now)),
            paused_for: left(view.paused_until),
        });
        RateLimitsStatus {
            name: shared.config.name.clone(),
            limits: limits.collect(),
            waiting: shared.waiting.load(Ordering::Relaxed),
            keys: self.keys(),
            max_keys: shared.config.keys().keys(),
            totals: shared.tally.totals(),
        }
    }
}
