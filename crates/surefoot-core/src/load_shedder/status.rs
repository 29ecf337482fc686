//! What a shedder says about itself.

use super::signal::Signal;
use crate::Name;

/// A shedder's signals and counters at one moment.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LoadShedderStatus {
    /// The shedder's name.
    pub name: Name,
    /// Whether it only reports what it would shed.
    pub dry_run: bool,
    /// Calls under way; 0 without a `capacity`.
    pub in_flight: u32,
    /// The calls it is built for.
    pub capacity: Option<u32>,
    /// What it judges by, as it is now.
    pub signals: Vec<SignalStatus>,
    /// The share of the arrivals that sampled signals let in: 1.0 unless they shed.
    pub admitted_share: f64,
    /// The lowest priority first.
    pub priorities: Vec<PriorityStatus>,
}

/// One signal at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SignalStatus {
    /// Which one.
    pub signal: Signal,
    /// The load it tells; `None` while it is unknown, which admits.
    pub load: Option<f64>,
}

/// What became of one priority's calls since the shedder was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct PriorityStatus {
    /// The priority, from 1.
    pub priority: u32,
    /// Calls admitted, those of a dry run included.
    pub admitted: u64,
    /// Calls shed.
    pub shed: u64,
    /// Calls that would have been shed but for the dry run.
    pub would_shed: u64,
}

impl LoadShedderStatus {
    /// Calls shed, of all priorities.
    pub fn shed(&self) -> u64 {
        self.priorities.iter().map(|priority| priority.shed).sum()
    }
}
