//! What a retry says about itself.

use super::{Retry, RetryBudget};
use crate::Name;

/// How a retry stands at one moment; made by [`Retry::status`].
///
/// First attempts are not counted: a call that succeeds at once costs nothing, not even a count.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct RetryStatus {
    /// The retry's name.
    pub name: Name,
    /// Calls in total that it makes at most.
    pub max_attempts: u32,
    /// Attempts beyond first ones since it was built.
    pub retries: u64,
    /// Calls that it gave up on since it was built, for whatever reason.
    pub given_up: u64,
    /// Whole tokens left in the budget that it draws on; `None` without one, or if that never refuses.
    pub budget_tokens: Option<u64>,
}

impl Retry {
    /// What it has counted, and what its budget has left. Takes nothing.
    pub fn status(&self) -> RetryStatus {
        let limited = self.budget().filter(|budget| !budget.is_unlimited());
        RetryStatus {
            name: self.name().clone(),
            max_attempts: self.config().max_attempts,
            retries: self.retries(),
            given_up: self.given_up(),
            budget_tokens: limited.map(RetryBudget::balance),
        }
    }
}
