//! What a hedge says about itself.

use std::time::Duration;

use super::Hedge;
use crate::{Name, RetryBudget};

/// How a hedge stands at one moment; made by [`Hedge::status`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct HedgeStatus {
    /// The hedge's name.
    pub name: Name,
    /// How long an attempt goes without an answer now before the next one begins; `None` while
    /// `percentile` warms up.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::duration_text::option"))]
    pub delay: Option<Duration>,
    /// Attempts beyond first ones since it was built.
    pub hedges: u64,
    /// Calls for which a budget refused another attempt since it was built.
    pub refused: u64,
    /// Whole tokens left in the budget that it draws on; `None` without one, or if that never refuses.
    pub budget_tokens: Option<u64>,
}

impl Hedge {
    /// What it has counted, and what its budget has left. Takes nothing.
    pub fn status(&self) -> HedgeStatus {
        let limited = self.budget().filter(|budget| !budget.is_unlimited());
        HedgeStatus {
            name: self.name().clone(),
            delay: self.delay(self.time().now()),
            hedges: self.hedges(),
            refused: self.refused(),
            budget_tokens: limited.map(RetryBudget::balance),
        }
    }
}
