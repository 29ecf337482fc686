//! A quota per second, as hosted models enforce it: a fixed window, and 429 for what exceeds it.

use std::time::Duration;

/// A second, so that a time's whole seconds are the number of its window.
const WINDOW: Duration = Duration::from_secs(1);

/// Counts the requests of the present second.
#[derive(Debug)]
pub(crate) struct Quota {
    per_window: u32,
    window: u64,
    used: u32,
}

impl Quota {
    pub(crate) fn new(per_window: u32) -> Self {
        Self { per_window, window: 0, used: 0 }
    }

    /// Takes one request's share at `now`, counted from the start of the phase; if there is none left, says how
    /// long until there is.
    pub(crate) fn take(&mut self, now: Duration) -> Result<(), Duration> {
        let window = now.as_secs();
        if window != self.window {
            (self.window, self.used) = (window, 0);
        }
        if self.used < self.per_window {
            self.used += 1;
            return Ok(());
        }
        Err(WINDOW.saturating_sub(Duration::from_nanos(u64::from(now.subsec_nanos()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_serves_its_quota_and_names_the_time_to_the_next() {
        let mut quota = Quota::new(2);
        let at = Duration::from_millis(400);
        assert_eq!(quota.take(at), Ok(()));
        assert_eq!(quota.take(at), Ok(()));
        assert_eq!(quota.take(at), Err(Duration::from_millis(600)));
        assert_eq!(quota.take(WINDOW), Ok(()));
    }
}
