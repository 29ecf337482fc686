//! What a budget says about itself.

use super::{Cost, Limits};
use crate::Name;

/// A budget at one moment.
///
/// Serialises to `{"name": "run", "spent": {"attempts": 3, "tokens": 1500, "money": "0.0045"}, …}`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct BudgetStatus {
    /// The budget's name.
    pub name: Name,
    /// Its own limits.
    pub limits: Limits,
    /// See [`Budget::spent`](super::Budget::spent).
    pub spent: Cost,
    /// Taken by calls under way, and what slices have left.
    pub reserved: Cost,
    /// See [`Budget::remaining`](super::Budget::remaining).
    pub remaining: Limits,
}
