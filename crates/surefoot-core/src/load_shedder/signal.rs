//! What tells a shedder how loaded the system is.

use std::fmt;

/// A measure of load, as rejections, events and the status name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Signal {
    /// Calls under way, as a share of the capacity; known at the instant.
    InFlight,
    /// Use of the CPU, as a share of what this process may use; sampled.
    Cpu,
    /// Use of memory, as a share of what this process may use; sampled.
    Memory,
    /// How long work waits before it is begun, as a share of `max_queue_delay`; sampled.
    QueueDelay,
    /// A caller's function; known at the instant.
    Custom,
}

impl Signal {
    /// `"in_flight"`, `"cpu"`, `"memory"`, `"queue_delay"` or `"custom"`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::QueueDelay => "queue_delay",
            Self::Custom => "custom",
        }
    }
}

/// As a sentence names it.
impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InFlight => "calls under way",
            Self::Cpu => "CPU",
            Self::Memory => "memory",
            Self::QueueDelay => "queue delay",
            Self::Custom => "the caller's signal",
        })
    }
}
