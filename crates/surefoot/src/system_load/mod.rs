//! The load of the system, for load shedders: CPU and memory as this process's container sees them.
//!
//! ```
//! use surefoot::{LoadShedder, SystemLoad};
//!
//! let shedder = LoadShedder::builder("api").load_source(SystemLoad::shared()).build()?;
//! if shedder.should_shed(1) {
//!     // the lowest priority goes first
//! }
//! # Ok::<(), surefoot::ConfigError>(())
//! ```
//!
//! **CPU.** Time used since the last sample, as a share of what may be used: the quota of every control
//! group that this process is nested in, also in fractions of a CPU, or the CPUs there are. Where
//! work waited for a CPU, because its group was throttled or, by the pressure-stall information,
//! because others had it, the load is larger by that share of the time. A group without a quota counts only if it is
//! our own, so neighbours shed nobody here. Without groups it is the use of the machine.
//!
//! **Memory.** What is used, without the part of the page cache that is inactive, as a share of the
//! smaller of `memory.max` and `memory.high`, in the group where that is largest; full load if memory
//! has run out since the last sample. Without a limit, as a share of that and what the machine has available.
//!
//! Control groups of version 1 and 2 are found through `/proc/self/cgroup` and
//! `/proc/self/mountinfo`, also under a host's cgroup namespace, and looked up again every ten seconds.
//! What is missing is no limit. What cannot be told at all (gVisor, macOS) is unknown, which
//! [admits](surefoot_core::load_shedder).

mod cgroup;
mod cpu;
mod memory;
mod meter;
mod text;

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use surefoot_core::load_shedder::{LoadSample, LoadSink, LoadSource};
use surefoot_core::{Clock, SystemClock};

pub use meter::Meter;

/// Tells what is in a file, by its absolute path.
type Files = dyn Fn(&str) -> Option<String> + Send;

/// Samples the load of the system in a thread of its own, named `surefoot-load`, and feeds it to load
/// shedders.
///
/// The thread starts with the first shedder, samples as often as the most eager of them wants
/// (`sample_interval`, by default 250 ms, at least 10 ms), and ends when the last is gone. If it
/// cannot be started the load is unknown, which admits; another shedder tries again.
pub struct SystemLoad {
    new_meter: Box<dyn Fn() -> Meter + Send + Sync>,
    state: Mutex<State>,
    /// Signalled when another shedder is to be fed.
    more: Condvar,
    me: std::sync::Weak<Self>,
}

#[derive(Default)]
struct State {
    sinks: Vec<LoadSink>,
    running: bool,
    latest: LoadSample,
}

const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

impl SystemLoad {
    /// The one of this process.
    pub fn shared() -> Arc<Self> {
        static SHARED: OnceLock<Arc<SystemLoad>> = OnceLock::new();
        Arc::clone(SHARED.get_or_init(|| Self::measured_by(Meter::new)))
    }

    /// One that measures by another meter, which is made anew whenever the thread starts.
    pub fn measured_by(meter: impl Fn() -> Meter + Send + Sync + 'static) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            new_meter: Box::new(meter),
            state: Mutex::default(),
            more: Condvar::new(),
            me: me.clone(),
        })
    }

    /// The last sample; nothing is known while no shedder is fed.
    pub fn latest(&self) -> LoadSample {
        self.lock().latest
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Feeds all shedders until the last is gone.
    fn run(&self) {
        let mut meter = (self.new_meter)();
        loop {
            let sample = meter.sample(SystemClock.now());
            let mut sinks = std::mem::take(&mut self.lock().sinks);
            // Without the lock: a shedder may end here, and what its functions own with it.
            sinks.retain(|sink| sink.record(sample));
            let mut state = self.lock();
            state.latest = sample;
            state.sinks.append(&mut sinks);
            if state.sinks.is_empty() {
                (state.running, state.latest) = (false, LoadSample::default());
                return;
            }
            let sampled = Instant::now();
            loop {
                let left = interval(&state.sinks).saturating_sub(sampled.elapsed());
                if left.is_zero() {
                    break;
                }
                let waited = self.more.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}

impl LoadSource for SystemLoad {
    fn feed(&self, sink: LoadSink) {
        let mut state = self.lock();
        state.sinks.push(sink);
        if state.running {
            self.more.notify_one();
        } else if let Some(this) = self.me.upgrade() {
            let thread = thread::Builder::new().name("surefoot-load".into());
            state.running = thread.spawn(move || this.run()).is_ok();
        }
    }
}

fn interval(sinks: &[LoadSink]) -> Duration {
    let shortest = sinks.iter().map(LoadSink::interval).min();
    shortest.unwrap_or_default().max(SHORTEST_INTERVAL)
}

impl fmt::Debug for SystemLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemLoad").field("latest", &self.latest()).finish_non_exhaustive()
    }
}
