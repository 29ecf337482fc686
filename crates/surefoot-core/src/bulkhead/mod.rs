//! Divides calls into compartments, so that one kind of call cannot use up what another needs.
//!
//! **Use it** where calls of different importance, or to different callees, share a process: slow
//! background work then fills its own compartment and no other. **Not** where all calls are alike: that
//! is a [throttler](crate::throttler).
//!
//! ```text
//!               ┌ critical    10 run, 20 wait
//!   bulkhead  ──┼ normal       5 run, 10 wait
//!               └ background   2 run,  5 wait    full: BulkheadFull; the others notice nothing
//! ```
//!
//! | option of a compartment | default | |
//! |---|---|---|
//! | `max_concurrent` | 10 | calls that may run in it at once |
//! | `queue_size` | 100 | calls that may wait for it; with 0 nobody does |
//! | `timeout` | – | the longest wait; without it, as long as the caller's deadline allows |
//! | `reserve` | – | permits that stay its own; those above it lends. Without it, it lends none |
//!
//! **A compartment is a [`Throttler`]** of its own, with all that one can do: acquire, resize, close,
//! status. It is called `<bulkhead>/<compartment>`.
//!
//! **Lending.** A compartment with a `reserve` lets calls of the others run with what it has free above
//! that, when they have no permit of their own and nobody before them waits. A permit that is lent comes back when the
//! call that holds it ends, not before: so what a compartment must have at once has to be in its reserve. While it has
//! waiters of its own, it lends nothing. Of several that could lend the first by name does.
//!
//! **Cancellation, cost.** Those of the throttler. Compartments share no lock and, but for lending, no word.

mod config;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

pub use config::{BulkheadBuilder, BulkheadConfig, CompartmentConfig};

use crate::rejection::UnknownCompartment;
use crate::throttler::{Fellows, Permit, ThrottlerStatus};
use crate::{Events, Name, Rejection, Throttler};

/// Divides calls into compartments. Clones are handles to the same one.
///
/// ```
/// use surefoot_core::{Bulkhead, Rejection};
///
/// let bulkhead = Bulkhead::builder("tools")
///     .compartment("critical", 10, 20)
///     .compartment("background", 1, 0)
///     .build()?;
///
/// let busy = bulkhead.try_acquire("background")?;
/// assert!(matches!(bulkhead.try_acquire("background"), Err(Rejection::BulkheadFull { .. })));
/// assert!(bulkhead.try_acquire("critical").is_ok());
/// drop(busy);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Bulkhead {
    shared: Arc<Shared>,
}

struct Shared {
    config: BulkheadConfig,
    compartments: BTreeMap<String, Throttler>,
    events: Events,
    /// What lets them lend: for as long as there is a bulkhead.
    _fellows: Arc<Fellows>,
}

/// One compartment of a [`Bulkhead`]: a throttler that knows where it belongs.
pub type Compartment = Throttler;

/// A bulkhead at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct BulkheadStatus {
    /// Its name.
    pub name: Name,
    /// Its compartments, in the order of their names.
    pub compartments: Vec<ThrottlerStatus>,
}

impl Bulkhead {
    /// Starts building a bulkhead that will be called `name`.
    pub fn builder(name: impl Into<Name>) -> BulkheadBuilder {
        BulkheadBuilder::default().name(name.into())
    }

    /// A compartment, to keep and to make calls with.
    ///
    /// # Errors
    /// [`Rejection::UnknownCompartment`], which lists those there are.
    pub fn compartment(&self, name: &str) -> Result<Compartment, Rejection> {
        self.get(name).cloned()
    }

    /// The same by reference.
    ///
    /// # Errors
    /// As [`compartment`](Self::compartment).
    pub fn get(&self, name: &str) -> Result<&Compartment, Rejection> {
        self.shared.compartments.get(name).ok_or_else(|| self.unknown(name))
    }

    /// All compartments with their names, in the order of those.
    pub fn compartments(&self) -> impl Iterator<Item = (&str, &Compartment)> {
        self.shared.compartments.iter().map(|(name, compartment)| (name.as_str(), compartment))
    }

    /// A permit of a compartment if one is free and nobody waits for it.
    ///
    /// # Errors
    /// [`Rejection::BulkheadFull`], [`Rejection::UnknownCompartment`] or [`Rejection::Closed`].
    pub fn try_acquire(&self, compartment: &str) -> Result<Permit<&Compartment>, Rejection> {
        self.get(compartment)?.try_acquire()
    }

    /// Lets nobody in any more, into no compartment, for good.
    pub fn close(&self) {
        self.compartments().for_each(|(_, compartment)| compartment.close());
    }

    /// Waits until no call runs: see [`Throttler::drain`].
    pub fn drain(&self) -> impl Future<Output = ()> + Send + use<> {
        let compartments: Vec<_> = self.shared.compartments.values().cloned().collect();
        async move {
            for compartment in compartments {
                compartment.drain().await;
            }
        }
    }

    /// Every compartment at this moment.
    pub fn status(&self) -> BulkheadStatus {
        let compartments = self.compartments().map(|(_, compartment)| compartment.status());
        BulkheadStatus { name: self.name().clone(), compartments: compartments.collect() }
    }

    /// The name it was built with.
    pub fn name(&self) -> &Name {
        &self.shared.config.name
    }

    /// The options it was built with.
    pub fn config(&self) -> &BulkheadConfig {
        &self.shared.config
    }

    /// Where to listen to all compartments.
    pub fn events(&self) -> &Events {
        &self.shared.events
    }

    #[cold]
    fn unknown(&self, name: &str) -> Rejection {
        let known = self.shared.compartments.keys().map(|known| Name::from(known.clone()));
        let compartment =
            UnknownCompartment { name: Name::from(name.to_owned()), known: known.collect() };
        Rejection::UnknownCompartment {
            policy: self.name().clone(),
            compartment: Box::new(compartment),
        }
    }
}

impl fmt::Debug for Bulkhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulkhead")
            .field("name", self.name())
            .field("compartments", &self.shared.compartments)
            .finish()
    }
}

#[cfg(all(test, not(surefoot_loom)))]
mod tests;
