//! Ends a call that takes too long.
//!
//! **Use it** twice: outside a retry for the total, inside a breaker for each attempt. **Not** to
//! interrupt blocking code, which nothing can: there the operation is told its deadline, and a
//! failure that comes late becomes a timeout.
//!
//! ```text
//! start ─────────────── limit ──────────►
//!    value: returned      │ value that got through: returned
//!    failure: returned    │ failure: Timeout, with the failure inside
//!                         │ nothing yet: the call is dropped, Timeout
//! ```
//!
//! | option | default | |
//! |---|---|---|
//! | `name` | `timeout` | what the error calls it |
//! | `limit` | required | longer than zero; far beyond any lifetime means none |
//!
//! **Nesting.** An inner deadline never outlives the one around it. Which of the two passed
//! decides which timeout reports.
//!
//! **Cancellation.** A call dropped by its caller is cancelled, not timed out: no error is made
//! and no policy counts a failure. A call dropped at the limit is a failure for the policies
//! inside.
//!
//! **Cost.** One clock reading; a timer only if the operation has to wait.

mod config;

use std::time::Duration;

pub use config::TimeoutConfig;

use crate::{ConfigError, Deadline, Name, TimeSource, Timestamp};

/// A time limit. Each call gets its own deadline when it starts.
#[derive(Clone, Debug)]
pub struct Timeout {
    name: Name,
    limit: Duration,
    time: TimeSource,
}

impl Timeout {
    /// A limit of `limit`, on the system's clock.
    ///
    /// # Errors
    /// If the limit is zero or beyond what a clock can tell.
    pub fn new(limit: Duration) -> Result<Self, ConfigError> {
        TimeoutConfig { limit, ..TimeoutConfig::default() }.build()
    }

    /// For limits that were validated already.
    pub(crate) fn of_valid(limit: Duration) -> Self {
        Self { name: Name::from("timeout"), limit, time: TimeSource::System }
    }

    /// The same limit under another name; two timeouts in one pipeline want two names.
    pub fn named(self, name: impl Into<Name>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// The same limit on another clock.
    pub fn on_clock(self, clock: impl Into<TimeSource>) -> Self {
        Self { time: clock.into(), ..self }
    }

    /// The deadline of a call that starts now.
    pub fn deadline(&self, now: Timestamp) -> Deadline {
        Deadline::after(now, self.limit)
    }

    /// What the error calls it.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// How long a call may take.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// The clock it decides by.
    pub fn time(&self) -> &TimeSource {
        &self.time
    }
}

#[cfg(all(test, not(surefoot_loom)))]
mod tests {
    use super::*;
    use crate::ManualClock;

    #[test]
    fn a_timeout_is_what_it_was_made_to_be() {
        let limit = Duration::from_secs(3);
        let timeout = Timeout::new(limit).unwrap();
        assert_eq!((timeout.name().as_str(), timeout.limit()), ("timeout", limit));
        let clock = ManualClock::new();
        let timeout = timeout.on_clock(&clock).named("attempt");
        assert_eq!((timeout.name().as_str(), timeout.limit()), ("attempt", limit));
        assert!(timeout.time().is_same_clock(&TimeSource::from(&clock)));
    }
}
