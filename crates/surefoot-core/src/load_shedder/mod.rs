//! Refuses the least important calls when there are more than can be served.
//!
//! **Use it** at the door of a service of your own: work that is refused at once costs next to
//! nothing, while work that is accepted and then not finished in time costs all of it. **Not**
//! against a callee's overload: that is a [`ClientThrottle`](crate::ClientThrottle)'s business. And
//! queue before you shed: an unlucky moment at 70 % load costs the lowest of three priorities a
//! tenth of its calls, which a short queue (a throttler's) would have smoothed away.
//!
//! ```text
//!   load  0 ─────────────────────── 0.8 ──── 0.9 ──── 1.0      max_load = 0.8
//!   priority 1 (lowest)   admitted   │ shed ───────────────
//!   priority 2            admitted ──┼────────│ shed ──────     max_load + (1 − max_load)·(p−1)/(n−1)
//!   priority 3 (highest)  admitted ──┼────────┼────────│ shed
//! ```
//!
//! | option | default | |
//! |---|---|---|
//! | `max_load` | 0.8 | where the lowest priority is shed; the target of steered signals |
//! | `priority_levels` | 3 | 1 is the lowest; with a single one, it is shed from `max_load` |
//! | `capacity` | – | calls under way that are full load |
//! | `in_flight`, `signal` | – | functions that tell a load at the instant |
//! | `cpu`, `memory` | with a `load_source` | judge by samples of the system's load: from `surefoot::SystemLoad`, or recorded by you ([`Recorded`]); without a source they do not build |
//! | `max_queue_delay` | – | wait in a queue that is full load |
//! | `hysteresis` | 0.05 | how far memory must fall before a priority is admitted again |
//! | `sample_interval` | 250 ms | how often samples come; after four without one, a signal is unknown |
//! | `dry_run` | `false` | sheds nothing and reports what it would |
//! | `seed` | random | the choice among calls of one priority |
//!
//! A call is shed if any signal says so. A signal that is unknown, because nothing feeds it, because
//! its samples are stale, or because it is NaN, admits.
//!
//! **Two rules.** *Steps*, as drawn, judge what is known at the instant: calls under way, which never
//! exceed the capacity, and functions; and memory, which shedding lowers slowly, with hysteresis. CPU
//! and queue delay are *sampled*, and shedding does lower them: steps on a load that is even a
//! tenth of a second old shed all priorities alike (32, 33 and 35 % admitted at five times the
//! capacity, measured). There the samples decide how many calls are admitted, so that the load meets
//! `max_load`, and the histogram of recent arrivals which ones: the most important (0, 0 and 54 %).
//! With every window (`sample_interval`) the admitted share is multiplied by `max_load / load`, the
//! load smoothed over two windows, by at least 0.5 and at most 1.1; it stays between 1 % and all.
//! Within one priority the choice is random; with [`Prioritized::user`] it is by user, and changes
//! every hour, so that a user's calls are served together or not at all.
//!
//! **Cancellation.** A [`Permit`] gives the call's place back when it is dropped, whatever the reason.
//!
//! **Cost.** Calls under way: one atomic step to enter and one to leave. A sampled signal: one atomic
//! step in the histogram; the clock is read only while it sheds. Counting what was admitted takes a
//! load and a store. No lock and no allocation for a call; recording a sample takes a short lock.
//! Memory: 1.3 kB for each priority, as much again with a sampled signal.
//!
//! **Sources.** The steps are the AOS specification's (section 4.3); see `level.rs` for the other
//! rule. Capacity as a measure, and keeping the door cheap: Amazon Builders' Library, "Using load
//! shedding to avoid overload".

mod config;
mod freshness;
mod in_flight;
mod level;
mod machine;
mod memory;
mod permit;
mod prioritized;
mod signal;
mod source;
mod status;
mod steps;
#[cfg(all(test, not(surefoot_loom)))]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use config::{LoadShedderBuilder, LoadShedderConfig};
pub use permit::Permit;
pub use prioritized::Prioritized;
pub use signal::Signal;
pub use source::{LoadSample, LoadSink, LoadSource, Recorded};
pub use status::{LoadShedderStatus, PriorityStatus, SignalStatus};

use crate::{ConfigError, Events, Name, Rejection, TimeSource};
use machine::{Arrival, Machine};

/// A load shedder. Clones are handles to the same one.
///
/// ```
/// use surefoot_core::LoadShedder;
///
/// let shedder = LoadShedder::builder("api").capacity(10).build()?;
/// let under_way: Vec<_> = (0..8).map(|_| shedder.admit(3)).collect::<Result<_, _>>()?;
///
/// assert!(shedder.should_shed(1)); // 8 of 10: the lowest priority goes first
/// assert!(!shedder.should_shed(2));
/// drop(under_way);
/// assert!(!shedder.should_shed(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct LoadShedder {
    machine: Arc<Machine>,
}

impl LoadShedder {
    /// Starts building a shedder that will be called `name`.
    pub fn builder(name: impl Into<Name>) -> LoadShedderBuilder {
        LoadShedderBuilder::default().name(name.into())
    }

    fn from_machine(machine: Arc<Machine>) -> Self {
        Self { machine }
    }

    fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Asks to make one call of `priority`, which counts as under way as long as the permit lives.
    ///
    /// # Errors
    /// [`Rejection::Shed`], without a time at which it would be admitted: nobody knows. And
    /// [`Rejection::UnknownPriority`] if there is no such priority.
    #[inline]
    pub fn admit(&self, priority: u32) -> Result<Permit, Rejection> {
        let counted = self.machine.admit(self.arrival(priority)?)?;
        Ok(Permit::new(self.clone(), counted))
    }

    /// The same decision about a call that is not counted as under way.
    ///
    /// # Errors
    /// As [`admit`](Self::admit).
    pub fn check(&self, priority: u32) -> Result<(), Rejection> {
        self.machine.check(self.arrival(priority)?)
    }

    /// Whether a call of `priority` is to be refused now. The call is not counted as under way: with
    /// `capacity` as the signal, use [`admit`](Self::admit).
    ///
    /// A priority below 1 is taken for the lowest, one above the levels for the highest;
    /// [`check`](Self::check) refuses them.
    pub fn should_shed(&self, priority: u32) -> bool {
        let priority = priority.clamp(1, self.priority_levels());
        self.check(priority).is_err()
    }

    /// A handle whose calls have `priority`: it is what hosts run calls under. A shedder itself runs
    /// calls of the lowest.
    ///
    /// # Errors
    /// If there is no such priority.
    pub fn priority(&self, priority: u32) -> Result<Prioritized, ConfigError> {
        match self.arrival(priority) {
            Ok(arrival) => Ok(Prioritized::new(self.clone(), arrival)),
            Err(_) => Err(ConfigError::new(
                LoadShedderConfig::POLICY,
                "priority",
                priority,
                format!(
                    "must be from 1 to {}, the `priority_levels` of `{}`",
                    self.priority_levels(),
                    self.name()
                ),
            )),
        }
    }

    /// The handle for calls to which nobody gave a priority.
    pub fn lowest_priority(&self) -> Prioritized {
        Prioritized::new(self.clone(), Arrival { level: 0, user: None })
    }

    fn arrival(&self, priority: u32) -> Result<Arrival, Rejection> {
        let levels = self.priority_levels();
        let level = priority.checked_sub(1).filter(|level| *level < levels);
        let arrival = level.map(|level| Arrival { level: level as usize, user: None });
        arrival.ok_or_else(|| {
            let policy = self.name().clone();
            Rejection::UnknownPriority { policy, priority, levels }
        })
    }

    /// Tells the load of the CPU in the last interval: 1.0 is all that may be used, more if work
    /// waited for it. Without [`cpu`](LoadShedderBuilder::cpu) it is not needed, and ignored; so is
    /// what is negative or no number.
    pub fn record_cpu(&self, load: f64) {
        self.machine.record_cpu(load);
    }

    /// Tells the load of memory now, likewise.
    pub fn record_memory(&self, load: f64) {
        self.machine.record_memory(load);
    }

    /// Tells how long something has waited in a queue; without
    /// [`max_queue_delay`](LoadShedderBuilder::max_queue_delay) it is ignored.
    pub fn record_queue_delay(&self, delay: Duration) {
        self.machine.record_queue_delay(delay);
    }

    /// Signals and counters at this moment. Decides nothing.
    pub fn status(&self) -> LoadShedderStatus {
        self.machine.status()
    }

    /// How many priorities there are; the highest is the most important.
    pub fn priority_levels(&self) -> u32 {
        self.machine.config.priority_levels
    }

    /// The name it was built with.
    pub fn name(&self) -> &Name {
        &self.machine.config.name
    }

    /// The options in force.
    pub fn config(&self) -> &LoadShedderConfig {
        &self.machine.config
    }

    /// Where to listen for calls that are shed.
    pub fn events(&self) -> &Events {
        &self.machine.events
    }

    /// The clock it decides by.
    pub fn time(&self) -> &TimeSource {
        &self.machine.time
    }
}

impl fmt::Debug for LoadShedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadShedder").field("name", self.name()).finish_non_exhaustive()
    }
}
