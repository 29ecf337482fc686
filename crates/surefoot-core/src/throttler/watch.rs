//! One timer for all who wait.

use std::sync::{Arc, Weak};

use super::machine::Machine;
use crate::Timestamp;

/// One timer for all who wait at a throttler, instead of one each. For hosts: whoever is handed it by
/// [`Waiter::watch`](super::Waiter::watch) sets a timer for [`at`](Self::at), calls
/// [`look`](Self::look) when that has come, and goes on with the watch this gives.
///
/// It does not keep the throttler alive. The timer has to be one that fires whatever becomes of the
/// task that set it: dropped, a watch leaves the others without one.
#[derive(Debug)]
#[must_use = "those who wait rely on it"]
pub struct Watch {
    machine: Weak<Machine>,
    at: Timestamp,
}

impl Watch {
    /// The watch that `machine` needs at `at`, if no other looks as early.
    pub(super) fn claim(machine: &Arc<Machine>, at: Timestamp) -> Option<Self> {
        machine.claim_watch(at).then(|| Self { machine: Arc::downgrade(machine), at })
    }

    /// When to look.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Sends away who has waited too long. Gives the next watch, if anybody waits and no other
    /// looks.
    pub fn look(self) -> Option<Self> {
        let at = self.machine.upgrade()?.look(self.at)?;
        Some(Self { at, ..self })
    }
}
