//! Bounds how many calls run at once; the others wait their turn, for a bounded time.
//!
//! **Use it** around whatever gets slower the more is asked of it: a model, a database, a tool that
//! runs on your own machine. **Not** where the bound is so many per minute: that is a
//! [rate limiter](crate::rate_limiter).
//!
//! ```text
//!              a permit is free
//!   call ────────────────────────────────► runs ───► permit returns
//!     │                                     ▲             │
//!     │ none is       ┌──────────────┐ next │             │
//!     ├─────────────► │ queue, bound │ ─────┴─────────────┘
//!     │               └──────────────┘
//!     │ queue full           │ waited for `timeout`
//!     ▼                      ▼
//!   QueueFull            QueueTimeout
//! ```
//!
//! | option | default | |
//! |---|---|---|
//! | `max_concurrent` | 10 | calls that may run at once; [`resize`](Throttler::resize) changes it |
//! | `queue_size` | 100 | calls that may wait; with 0 nobody does |
//! | `timeout` | 30 s | the longest wait; whoever has waited exactly this long leaves |
//! | `order` | `fifo` | whose turn it is: `fifo`, `lifo` or `priority` |
//! | `priority_levels` | 3 | levels of priority; 1 is the lowest, and that of calls without one |
//! | `displace` | no | by `priority`: a full queue sends its lowest away for a call of a higher one |
//! | `codel` | off | cuts waits short while the queue stands ([`CodelConfig`]) |
//! | `expected_service` | learned | no permit for a call whose deadline is nearer |
//! | `adaptive` | off | the limit finds itself ([`adaptive`]) |
//!
//! **Choosing.** A queue evens out bursts and nothing else. Under lasting overload every place in it
//! only adds to everybody's wait, so let `timeout` be less than the time your callers have. `lifo` keeps most of those
//! who are served quick, `codel` keeps the wait at about twice what a call takes.
//!
//! **Fairness.** While somebody waits, no newcomer is let in past the queue.
//!
//! **Deadlines.** A permit is not given to a call that would not be done in time: whose deadline is
//! nearer than a call usually takes. A free permit is given without a look at the time, but
//! by hosts not to a thread past its deadline, nor in the last poll that a timeout grants. "Usually" is the median of the latest 32 calls that had to wait (of all calls, where `codel` or
//! `adaptive` is on); before there is one, any deadline ahead will do.
//!
//! **Cancellation.** A waiter that is dropped leaves the queue at once, and if it had been given a
//! permit, the next one gets that. A permit returns when it is dropped, on any thread, by a panic too.
//!
//! **Cost.** A call that need not wait: two atomic read-modify-writes, no lock, no allocation, no
//! clock reading (two of those, where `codel` or `adaptive` is on). One that waits: a short lock to queue up and one when a permit returns,
//! each with a clock reading; it collects its permit without a lock. Nothing is allocated once as many have waited at once. Memory: 72 bytes
//! for each place, of which there are as many as have waited at once, and up to twice `max_concurrent` more.
//!
//! **Sources.** Cutting waits short: the CoDel of folly and of HBase's call queue ([`CodelConfig`]); the
//! adaptive limit has its own ([`adaptive`]).

pub mod adaptive;
mod answers;
mod claim;
mod claims;
mod codel;
mod config;
mod drain;
mod fellows;
mod grant;
mod machine;
mod permit;
mod queue;
mod samples;
mod service;
mod status;
mod waiter;
mod watch;
mod word;

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

pub use adaptive::AdaptiveConfig;
pub use claim::Claim;
pub use codel::CodelConfig;
pub use config::{Order, ThrottlerBuilder, ThrottlerConfig};
pub use drain::Drain;
pub(crate) use fellows::Fellows;
pub use permit::Permit;
pub use status::{ThrottlerStatus, ThrottlerTotals};
pub use waiter::{Admission, Wait, Waiter};
pub use watch::Watch;

use crate::config::Check;
use crate::{ConfigError, Events, Name, Rejection, TimeSource};
use config::PERMITS_MOST;
use machine::Machine;

/// Bounds how many calls run at once. Clones are handles to the same one.
///
/// ```
/// use surefoot_core::{Rejection, Throttler};
///
/// let throttler = Throttler::builder("reports").max_concurrent(1).build()?;
/// let permit = throttler.try_acquire()?;
/// assert!(matches!(throttler.try_acquire(), Err(Rejection::QueueFull { .. })));
/// drop(permit); // … the work is done
/// assert!(throttler.try_acquire().is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Throttler {
    machine: Arc<Machine>,
    /// The priority of calls through this handle, from 0.
    level: u8,
}

/// Why a call that waited was sent away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LeftQueue {
    /// It had waited as long as the queue allows.
    Timeout,
    /// It had waited too long for a queue that stands: see [`CodelConfig`].
    StandingQueue,
    /// It would not have been done by its deadline.
    Deadline,
    /// A call of a higher priority came while the queue was full: see
    /// [`displace`](ThrottlerConfig::displace).
    Displaced,
}

impl LeftQueue {
    /// The end of "call left the queue after 30 s …".
    pub(crate) const fn because(self) -> &'static str {
        match self {
            Self::Timeout => ", the longest wait there is",
            Self::StandingQueue => " because more comes than is done",
            Self::Deadline => " as it would not have been done by its deadline",
            Self::Displaced => " for a call of a higher priority, as the queue was full",
        }
    }

    pub(crate) const fn advice(self) -> &'static str {
        match self {
            Self::Timeout | Self::StandingQueue | Self::Displaced => {
                ": send less at once, or try elsewhere"
            }
            Self::Deadline => ": give it more time, or try elsewhere",
        }
    }
}

impl Throttler {
    /// Starts building a throttler that will be called `name`.
    pub fn builder(name: impl Into<Name>) -> ThrottlerBuilder {
        ThrottlerBuilder::default().name(name.into())
    }

    fn from_machine(machine: Machine) -> Self {
        Self { machine: Arc::new(machine), level: 0 }
    }

    /// A permit if one is free and nobody waits. It borrows the throttler.
    ///
    /// # Errors
    /// [`Rejection::QueueFull`], as this call has no place to wait, or [`Rejection::Closed`].
    #[inline(always)]
    pub fn try_acquire(&self) -> Result<Permit<&Self>, Rejection> {
        self.machine.take().map(|grant| Permit::new(self, grant))
    }

    /// The same with a permit that keeps the throttler alive and can go anywhere: two atomic steps
    /// dearer.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_owned(&self) -> Result<Permit, Rejection> {
        self.machine.take().map(|grant| Permit::new(self.clone(), grant))
    }

    /// A permit, or a place in the queue. For hosts; callers use those of the `surefoot` crate.
    ///
    /// `throttler` is a reference, or a handle that the permit then keeps. `wait` is asked only by one
    /// who has to wait, and is told the throttler's clock.
    ///
    /// ```
    /// use std::task::{Context, Poll, Waker};
    /// use surefoot_core::Throttler;
    /// use surefoot_core::throttler::{Admission, Wait};
    ///
    /// let throttler = Throttler::builder("reports").max_concurrent(1).build()?;
    /// let permit = throttler.try_acquire()?;
    /// let wait = |_: &_| Wait { deadline: None, waker: Waker::noop().clone() };
    /// let Admission::Queued(mut waiter) = Throttler::enqueue(&throttler, wait)? else {
    ///     unreachable!("no permit is free")
    /// };
    /// let mut cx = Context::from_waker(Waker::noop());
    /// assert!(waiter.poll(&mut cx).is_pending());
    /// drop(permit);
    /// assert!(matches!(waiter.poll(&mut cx), Poll::Ready(Ok(_))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Rejection::QueueFull`]; [`Rejection::QueueTimeout`] at once if the deadline is too near;
    /// [`Rejection::Closed`].
    #[inline(always)]
    pub fn enqueue<B: Borrow<Self>>(
        throttler: B,
        wait: impl FnOnce(&TimeSource) -> Wait,
    ) -> Result<Admission<B>, Rejection> {
        match Self::claim(throttler) {
            Ok(permit) => Ok(Admission::Admitted(permit)),
            Err(claim) => claim.enqueue(wait),
        }
    }

    /// [`enqueue`](Self::enqueue) in two steps, for hosts that keep the second out of the way of calls
    /// that need not wait: a permit, or else a claim to one, which is then either queued up or dropped.
    ///
    /// ```
    /// use surefoot_core::{Rejection, Throttler};
    ///
    /// let throttler = Throttler::builder("reports").max_concurrent(1).build()?;
    /// let Ok(permit) = Throttler::claim(&throttler) else { unreachable!("one is free") };
    /// let Err(claim) = Throttler::claim(&throttler) else { unreachable!("none is free") };
    /// drop(permit);
    /// assert!(throttler.try_acquire().is_ok()); // a claim that is not queued keeps nobody out
    /// drop(claim);
    /// assert!(throttler.try_acquire().is_ok()); // nor does one that is withdrawn take anything along
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The claim, if no permit is free or somebody waits.
    #[inline(always)]
    pub fn claim<B: Borrow<Self>>(throttler: B) -> Result<Permit<B>, Claim<B>> {
        match throttler.borrow().machine.claim() {
            Some(grant) => Ok(Permit::new(throttler, grant)),
            None => Err(Claim::new(throttler)),
        }
    }

    /// Refuses a call whose deadline has passed before it could ask. For hosts, which know the
    /// deadline: a permit that is free is given without a look at the time.
    #[cold]
    pub fn refuse_late(&self) -> Rejection {
        self.machine.refuse_late()
    }

    /// The same throttler for calls of another priority: a handle that can be kept.
    ///
    /// ```
    /// use surefoot_core::Throttler;
    /// use surefoot_core::throttler::Order;
    ///
    /// let throttler = Throttler::builder("model").order(Order::Priority).build()?;
    /// let urgent = throttler.priority(3)?; // of the levels 1, 2 and 3
    /// assert!(urgent.try_acquire().is_ok());
    /// assert!(throttler.priority(4).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If `priority` is not from 1 to `priority_levels`, or the order is not [`Order::Priority`].
    pub fn priority(&self, priority: u32) -> Result<Self, ConfigError> {
        let check = Check(ThrottlerConfig::POLICY);
        let is_ordered = self.machine.config.order == Order::Priority;
        check.rule(is_ordered, "priority", priority, "needs `order` = priority")?;
        let levels = self.machine.config.levels();
        check.count("priority", priority, u32::from(levels))?;
        let level = u8::try_from(priority - 1).unwrap_or(u8::MAX);
        Ok(Self { machine: self.machine.clone(), level })
    }

    /// Changes how many calls may run at once. A higher limit lets in as many who wait as it added;
    /// a lower one lets those who run come to their end. An adaptive limit goes on from its own.
    ///
    /// # Errors
    /// If `max_concurrent` is zero, or more than a billion.
    pub fn resize(&self, max_concurrent: u32) -> Result<(), ConfigError> {
        let check = Check(ThrottlerConfig::POLICY);
        check.count("max_concurrent", max_concurrent, PERMITS_MOST)?;
        self.machine.resize(max_concurrent);
        Ok(())
    }

    /// Lets nobody in any more, for good. All who wait are refused at once; those who run go on.
    pub fn close(&self) {
        self.machine.close();
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.machine.is_closed()
    }

    /// Waits until no call runs: after [`close`](Self::close), until the last one has ended;
    /// otherwise, for the first moment without one.
    pub fn drain(&self) -> Drain {
        Drain::new(self.clone())
    }

    /// Calls that may run at once now.
    pub fn max_concurrent(&self) -> u32 {
        self.machine.limit()
    }

    /// Calls that run.
    pub fn in_flight(&self) -> u32 {
        self.machine.in_flight()
    }

    /// Calls that wait.
    pub fn queue_depth(&self) -> u32 {
        self.machine.queue_depth()
    }

    /// All of this at one moment, and the counters.
    pub fn status(&self) -> ThrottlerStatus {
        self.machine.status()
    }

    /// The name it was built with.
    pub fn name(&self) -> &Name {
        &self.machine.config.name
    }

    /// The bulkhead of which it is a compartment.
    pub fn bulkhead(&self) -> Option<&Name> {
        self.machine.fellowship.bulkhead()
    }

    /// The options it was built with.
    pub fn config(&self) -> &ThrottlerConfig {
        &self.machine.config
    }

    /// Where to listen: the limit changed, the queue was full, it stands or no longer does.
    pub fn events(&self) -> &Events {
        &self.machine.events
    }

    /// The clock it decides by.
    pub fn time(&self) -> &TimeSource {
        &self.machine.time
    }
}

impl fmt::Debug for Throttler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttler")
            .field("name", self.name())
            .field("max_concurrent", &self.max_concurrent())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(surefoot_loom)))]
mod tests;
