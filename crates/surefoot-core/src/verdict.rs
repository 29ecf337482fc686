//! How a call ended, as far as a policy is concerned.

use std::time::Duration;

/// What closes a permit: how the call it was given for ended.
///
/// Which results are which is the classifier's decision ([`Classify`](crate::Classify)); what a
/// verdict does is the policy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The callee did its work.
    Success,
    /// The callee failed, or our own time limit ended the call.
    Failure,
    /// Says nothing about the callee's health: a refused request, a caller's mistake.
    Ignored,
    /// The callee works but asked us to stay away: a 429, with the wait it stated, if any.
    Throttled {
        /// The wait the callee asked for, counted from now.
        retry_after: Option<Duration>,
    },
    /// The caller walked away before there was a result.
    Cancelled,
}
