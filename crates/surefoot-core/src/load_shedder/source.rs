//! Whoever measures the load of the system.

use std::sync::Weak;
use std::time::Duration;

use super::machine::Machine;

/// Measures the load of the system, and feeds it to load shedders.
///
/// Core reads no files and starts no threads; a host does. `surefoot::SystemLoad` is one.
pub trait LoadSource: Send + Sync {
    /// From now on records a sample every [`LoadSink::interval`] or so, until that
    /// says that the shedder is gone.
    fn feed(&self, sink: LoadSink);
}

/// No source: whoever holds the shedder records samples of the CPU and of memory themselves, with
/// [`record_cpu`](super::LoadShedder::record_cpu) and
/// [`record_memory`](super::LoadShedder::record_memory). Until then the load is unknown, which admits.
///
/// ```
/// use std::sync::Arc;
/// use surefoot_core::LoadShedder;
/// use surefoot_core::load_shedder::Recorded;
///
/// let shedder = LoadShedder::builder("api").memory(true).load_source(Arc::new(Recorded)).build()?;
/// shedder.record_memory(0.85);
/// assert!(shedder.should_shed(1));
/// # Ok::<(), surefoot_core::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Recorded;

impl LoadSource for Recorded {
    fn feed(&self, _: LoadSink) {}
}

/// What a source of load writes to: a shedder, as long as somebody holds it.
#[derive(Clone, Debug)]
pub struct LoadSink {
    machine: Weak<Machine>,
    interval: Duration,
}

/// How loaded the system was at one moment: 0.0 is idle, 1.0 is all it may use. What is not known
/// is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LoadSample {
    /// The CPU; above 1.0 where work waited for it.
    pub cpu: Option<f64>,
    /// Memory that cannot simply be taken back.
    pub memory: Option<f64>,
}

impl LoadSink {
    pub(super) fn new(machine: Weak<Machine>, interval: Duration) -> Self {
        Self { machine, interval }
    }

    /// How often the shedder expects a sample: its `sample_interval`.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Records a sample now. `false` if the shedder is gone and no more are needed.
    pub fn record(&self, sample: LoadSample) -> bool {
        let Some(machine) = self.machine.upgrade() else { return false };
        if let Some(load) = sample.cpu {
            machine.record_cpu(load);
        }
        if let Some(load) = sample.memory {
            machine.record_memory(load);
        }
        true
    }
}
