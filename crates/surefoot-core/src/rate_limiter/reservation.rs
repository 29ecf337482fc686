//! Units taken before a call: for a wait that the host does, and for a size that is known later.

use std::fmt;
use std::task::Waker;
use std::time::Duration;

use self::sealed::Turn;
use super::ServerLimits;
use crate::{Name, Rejection, TimeSource, Timestamp};

/// A slot in the line, which is due now or later; made by `reserve`.
///
/// Core decides and the host waits: sleep until [`due`](Self::due), then [`begin`](Self::begin).
/// Slots are given out in the order in which they are asked for. If somebody ahead gives theirs
/// back, the due time moves up, and whoever is registered with [`watch`](Self::watch) is woken. If
/// the callee asks for a pause, or has less left than was thought, it moves back; and whoever cannot
/// be due in time then is woken too, and refused.
///
/// **Cancellation.** Dropping it gives the slot back: the others move up, and the limiter is as if
/// it had never been asked.
///
/// ```
/// use std::time::Duration;
/// use surefoot_core::{Clock, ManualClock, RateLimiter, Timestamp};
///
/// let clock = ManualClock::new();
/// let limiter = RateLimiter::builder("search")
///     .max_requests(1)
///     .time_window(Duration::from_secs(10))
///     .clock(&clock)
///     .build()?;
/// limiter.check()?;
/// let slot = limiter.reserve(1, Timestamp::MAX)?;
/// assert_eq!(slot.due(), Timestamp::ZERO + Duration::from_secs(10));
/// let slot = slot.begin().unwrap_err().into_reservation()?; // not yet
/// clock.advance(Duration::from_secs(10)); // where a host would sleep
/// let charge = slot.begin().unwrap();
/// drop(charge); // the call was made
/// assert!(limiter.check().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a reservation that is dropped gives its slot back"]
pub struct Reservation<S: Slots = super::RateLimiter> {
    held: Option<Held<S>>,
}

/// Units taken for a call that may have begun; closed with what the call really used.
///
/// Dropping it keeps the estimate: the call was made, and nobody knows better. A limit that is
/// corrected upward is in debt, which time pays off before anybody else is admitted; corrected
/// downward it gets back at most what is not free again by itself.
///
/// ```
/// use std::time::Duration;
/// use surefoot_core::{ManualClock, RateLimiter};
///
/// let tokens = RateLimiter::builder("tokens")
///     .max_requests(10_000)
///     .clock(ManualClock::new())
///     .build()?;
/// let charge = tokens.try_reserve(4_000)?; // `max_tokens` of the call
/// charge.settle(1_500); // as the answer's usage says
/// assert_eq!(tokens.remaining(), 8_500);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Charge<S: Slots = super::RateLimiter> {
    held: Option<Held<S>>,
}

struct Held<S> {
    slots: S,
    id: u64,
    units: u64,
}

/// Why a call cannot begin.
pub enum Unready<S: Slots = super::RateLimiter> {
    /// Its turn has not come: wait on, until [`due`](Reservation::due).
    NotDue(Reservation<S>),
    /// While it waited the callee asked for a pause, or had less left, and it cannot be due in time
    /// any more. Says when the units would fit now.
    Refused(Rejection),
}

impl<S: Slots> Unready<S> {
    /// The reservation, to wait on.
    ///
    /// # Errors
    /// The refusal, if it was refused.
    pub fn into_reservation(self) -> Result<Reservation<S>, Rejection> {
        match self {
            Self::NotDue(reservation) => Ok(reservation),
            Self::Refused(rejection) => Err(rejection),
        }
    }
}

/// The limiter that a reservation belongs to: a [`RateLimiter`](super::RateLimiter), or one
/// [key](super::LimiterKey) of a keyed one.
pub trait Slots: sealed::Sealed {
    /// Takes `n` units now if they fit and nobody waits, or else a place in the line that is due by
    /// `latest` and within `max_wait`. What is taken at once cannot be given back; use
    /// [`reserve`](Self::reserve) where it may have to be.
    ///
    /// # Errors
    /// [`Rejection::RateLimited`] at once if they could not be due in time: then with the time
    /// after which they would fit behind all who wait, or none if they never do. With a key also
    /// [`Rejection::KeysFull`].
    fn admit(&self, n: u64, latest: Timestamp) -> Result<Admission<Self>, Rejection>
    where
        Self: Sized;

    /// Takes a place in the line for `n` units that is due by `latest` and within `max_wait`.
    ///
    /// # Errors
    /// As [`admit`](Self::admit).
    fn reserve(&self, n: u64, latest: Timestamp) -> Result<Reservation<Self>, Rejection>
    where
        Self: Sized;

    /// Takes in what an answer says about limits that count `unit`: see
    /// [`RateLimiter::learn`](super::RateLimiter::learn).
    ///
    /// # Errors
    /// With a key [`Rejection::KeysFull`].
    fn learn(&self, unit: &str, limits: &ServerLimits) -> Result<(), Rejection>;

    /// Admits nobody for `wait`: see [`RateLimiter::pause_for`](super::RateLimiter::pause_for).
    ///
    /// # Errors
    /// As [`learn`](Self::learn).
    fn pause_for(&self, wait: Duration) -> Result<(), Rejection>;

    /// The name it was built with.
    fn name(&self) -> &Name;

    /// The clock it decides by.
    fn time(&self) -> &TimeSource;
}

/// How a call is admitted.
#[derive(Debug)]
#[must_use = "a reservation that is dropped gives its slot back"]
pub enum Admission<S: Slots = super::RateLimiter> {
    /// It may begin.
    Now,
    /// It has to wait until its slot is due.
    Later(Reservation<S>),
}

pub(super) mod sealed {
    use std::task::Waker;

    use crate::{Rejection, Timestamp};

    /// What a reservation hears that asks to begin.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Turn {
        /// The call may be made.
        Begun,
        /// It is not due.
        NotDue,
        /// It cannot be due in time any more.
        Refused,
    }

    /// What a reservation asks its limiter.
    pub trait Sealed {
        /// When a slot is due.
        fn due(&self, id: u64) -> Timestamp;
        /// Wakes `waker` when that moves up, or the slot is lost.
        fn watch(&self, id: u64, waker: &Waker);
        /// Uses the slot, if its turn has come, by the clock or by a timer that slept.
        fn begin(&self, id: u64, slept_until: Timestamp) -> Turn;
        /// A refusal of those units.
        fn refusal(&self, units: u64) -> Rejection;
        /// Corrects what a slot took.
        fn settle(&self, id: u64, used: u64);
        /// Leaves it at that.
        fn forget(&self, id: u64);
        /// Counts an admission.
        fn admitted(&self);
    }
}

impl<S: Slots> Reservation<S> {
    pub(super) fn new(slots: S, id: u64, units: u64) -> Self {
        Self { held: Some(Held { slots, id, units }) }
    }

    /// When the call may begin. Moves up when somebody ahead gives up, and back only when the callee
    /// asks for more time; never beyond what it was reserved with.
    pub fn due(&self) -> Timestamp {
        self.held.as_ref().map_or(Timestamp::ZERO, |held| held.slots.due(held.id))
    }

    /// Wakes `waker` once if the due time moves up, or if the slot is lost: at once if it is
    /// already. Only the last waker counts.
    pub fn watch(&self, waker: &Waker) {
        if let Some(held) = &self.held {
            held.slots.watch(held.id, waker);
        }
    }

    /// Uses the slot.
    ///
    /// # Errors
    /// [`Unready::NotDue`] with the reservation itself, to wait on; or [`Unready::Refused`].
    pub fn begin(self) -> Result<Charge<S>, Unready<S>> {
        self.begin_after(Timestamp::ZERO)
    }

    /// Uses the slot on the word of a timer that slept until `slept_until`: for hosts whose timers may
    /// run by another clock than the limiter, as tokio's do in tests that pause them.
    ///
    /// # Errors
    /// As [`begin`](Self::begin), for a slot that is due later than that.
    pub fn begin_after(mut self, slept_until: Timestamp) -> Result<Charge<S>, Unready<S>> {
        let Some(held) = self.held.take() else { return Err(Unready::NotDue(self)) };
        match held.slots.begin(held.id, slept_until) {
            Turn::Begun => {
                held.slots.admitted();
                Ok(Charge { held: Some(held) })
            }
            Turn::NotDue => Err(Unready::NotDue(Self { held: Some(held) })),
            Turn::Refused => Err(Unready::Refused(held.slots.refusal(held.units))),
        }
    }
}

impl<S: Slots> fmt::Debug for Unready<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDue(reservation) => f.debug_tuple("NotDue").field(reservation).finish(),
            Self::Refused(rejection) => f.debug_tuple("Refused").field(rejection).finish(),
        }
    }
}

impl<S: Slots> Drop for Reservation<S> {
    fn drop(&mut self) {
        if let Some(Held { slots, id, .. }) = self.held.take() {
            slots.settle(id, 0);
        }
    }
}

impl<S: Slots> fmt::Debug for Reservation<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("due", &self.due()).finish_non_exhaustive()
    }
}

impl<S: Slots> Charge<S> {
    pub(super) fn new(slots: S, id: u64, units: u64) -> Self {
        slots.admitted();
        Self { held: Some(Held { slots, id, units }) }
    }

    /// Corrects the estimate to what was used, more or less.
    ///
    /// What was used too much is owed in full, since whoever counts on the other side counts it in
    /// full: a debt of k times the limit lets nobody in for about k windows. A usage that cannot be
    /// true, as of an answer that was misread, is for the caller to cut.
    pub fn settle(mut self, used: u64) {
        if let Some(Held { slots, id, .. }) = self.held.take() {
            slots.settle(id, used);
        }
    }

    /// The call never ran.
    pub fn give_back(self) {
        self.settle(0);
    }
}

impl<S: Slots> Drop for Charge<S> {
    fn drop(&mut self) {
        if let Some(Held { slots, id, .. }) = self.held.take() {
            slots.forget(id);
        }
    }
}

impl<S: Slots> fmt::Debug for Charge<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charge").finish_non_exhaustive()
    }
}
