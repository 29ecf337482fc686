//! The moment by which an answer is due.

use std::time::Duration;

use crate::Timestamp;

/// A point in time by which a call has to be answered; fixed once, so that every wait inside it
/// only ever uses up what is left.
///
/// Deadlines nest: an inner one never outlives the outer ([`within`](Self::within)). At the very
/// moment it is over (`>=`).
///
/// ```
/// use std::time::Duration;
/// use surefoot_core::{Deadline, Timestamp};
///
/// let now = Timestamp::ZERO;
/// let total = Deadline::after(now, Duration::from_secs(30));
/// let attempt = Deadline::after(now, Duration::from_secs(60)).within(Some(total));
/// assert_eq!(attempt, total);
/// assert_eq!(attempt.remaining(now + Duration::from_secs(10)), Duration::from_secs(20));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Timestamp);

impl Deadline {
    /// The deadline at `at`.
    pub const fn at(at: Timestamp) -> Self {
        Self(at)
    }

    /// The deadline `limit` from `now`; one too far away to tell never comes.
    pub fn after(now: Timestamp, limit: Duration) -> Self {
        Self(now + limit)
    }

    /// The earlier of this one and the one around it.
    pub fn within(self, outer: Option<Self>) -> Self {
        outer.map_or(self, |outer| self.min(outer))
    }

    /// The moment itself.
    pub const fn timestamp(self) -> Timestamp {
        self.0
    }

    /// The time left at `now`; zero once it is over.
    pub fn remaining(self, now: Timestamp) -> Duration {
        self.0 - now
    }

    /// Whether the time is up.
    pub fn is_over(self, now: Timestamp) -> bool {
        now >= self.0
    }
}
