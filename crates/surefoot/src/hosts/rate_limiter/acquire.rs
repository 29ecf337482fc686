//! Waiting for a slot: on a future, and on the calling thread.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use surefoot_core::rate_limiter::{Admission, Charge, Reservation, Slots};
use surefoot_core::{Rejection, Timestamp};

use super::Limiter;
use crate::scope;
use crate::time::{Nap, Sleep};

/// The last moment at which a call that begins has any time: just before the deadline around it.
#[inline]
pub(super) fn latest<L: Slots>(limiter: &L) -> Timestamp {
    match scope::deadline_on(limiter.time()) {
        None => Timestamp::MAX,
        Some(deadline) => Timestamp::from_nanos(deadline.timestamp().as_nanos().saturating_sub(1)),
    }
}

/// Takes `units` for a call that will use them whatever happens.
pub(super) async fn admitted<L: Limiter>(limiter: &L, units: u64) -> Result<(), Rejection> {
    if let Admission::Later(slot) = limiter.admit(units, latest(limiter))? {
        drop(Waiting::new(limiter, units, slot).await?);
    }
    Ok(())
}

/// The same on the calling thread.
pub(super) fn admitted_blocking<L: Limiter>(limiter: &L, units: u64) -> Result<(), Rejection> {
    let latest = latest(limiter);
    if let Admission::Later(slot) = limiter.admit(units, latest)? {
        drop(block(limiter, units, slot, latest)?);
    }
    Ok(())
}

/// Takes a place in the line, and waits on the calling thread until it is due.
pub(super) fn blocking<L: Limiter>(limiter: &L, units: u64) -> Result<Charge<L>, Rejection> {
    let latest = latest(limiter);
    block(limiter, units, limiter.reserve(units, latest)?, latest)
}

fn block<L: Limiter>(
    limiter: &L,
    units: u64,
    slot: Reservation<L>,
    latest: Timestamp,
) -> Result<Charge<L>, Rejection> {
    let mut slot = slot;
    let mut nap = None;
    loop {
        slot = match begin(limiter, units, slot, latest, Timestamp::ZERO)? {
            Ok(charge) => return Ok(charge),
            Err(early) => early,
        };
        // Watched before its time is read, so that no move is missed.
        let nap = nap.get_or_insert_with(Nap::new);
        slot.watch(nap.waker());
        nap.until(limiter.time(), slot.due());
    }
}

/// Uses the slot if it is due. Too late for the deadline, it is given back and asked for again,
/// which is refused and says when it would fit. So is one whose time has moved beyond the deadline.
fn begin<L: Limiter>(
    limiter: &L,
    units: u64,
    slot: Reservation<L>,
    latest: Timestamp,
    slept_until: Timestamp,
) -> Result<Result<Charge<L>, Reservation<L>>, Rejection> {
    let in_time = |slot: &Reservation<L>| limiter.time().now().max(slot.due()) <= latest;
    if latest == Timestamp::MAX || in_time(&slot) {
        return begin_after(slot, slept_until);
    }
    drop(slot);
    limiter.reserve(units, latest).map(Err)
}

fn begin_after<L: Slots>(
    slot: Reservation<L>,
    slept_until: Timestamp,
) -> Result<Result<Charge<L>, Reservation<L>>, Rejection> {
    match slot.begin_after(slept_until) {
        Ok(charge) => Ok(Ok(charge)),
        Err(unready) => unready.into_reservation().map(Err),
    }
}

pin_project! {
    /// A call that waits until its slot is due.
    ///
    /// **Cancellation.** Dropping it gives the slot back.
    pub struct Waiting<L: Slots> {
        limiter: L,
        units: u64,
        latest: Timestamp,
        slot: Option<Reservation<L>>,
        due: Timestamp,
        #[pin]
        sleep: Option<Sleep>,
    }
}

impl<L: Limiter> Waiting<L> {
    /// In the last place of the line.
    ///
    /// # Errors
    /// As [`Limiter::acquire_n`].
    pub fn in_line(limiter: &L, units: u64) -> Result<Self, Rejection> {
        Ok(Self::new(limiter, units, limiter.reserve(units, latest(limiter))?))
    }

    /// In the place that `slot` is.
    pub fn new(limiter: &L, units: u64, slot: Reservation<L>) -> Self {
        let latest = latest(limiter);
        Self {
            limiter: limiter.clone(),
            units,
            latest,
            slot: Some(slot),
            due: Timestamp::ZERO,
            sleep: None,
        }
    }

    /// The slot in the last place of the line if it is due at once, and what waits for it if not.
    ///
    /// # Errors
    /// As [`Limiter::acquire_n`].
    #[inline]
    pub fn begin(limiter: &L, units: u64) -> Result<Result<Charge<L>, Self>, Rejection> {
        let slot = limiter.reserve(units, latest(limiter))?;
        match begin_after(slot, Timestamp::ZERO)? {
            Ok(charge) => Ok(Ok(charge)),
            Err(slot) => Ok(Err(Self::new(limiter, units, slot))),
        }
    }
}

impl<L: Limiter> Future for Waiting<L> {
    type Output = Result<Charge<L>, Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        // This poll is the last, so a call that begins now would be cut off at once.
        let too_late = this.sleep.is_some() && scope::has_expired();
        let mut slept_until = Timestamp::ZERO;
        loop {
            let Some(slot) = this.slot.take_if(|_| !too_late) else { return Poll::Pending };
            let slot = match begin(this.limiter, *this.units, slot, *this.latest, slept_until)? {
                Ok(charge) => return Poll::Ready(Ok(charge)),
                Err(early) => this.slot.insert(early),
            };
            // Watched before its time is read, so that no move is missed.
            slot.watch(cx.waker());
            let due = slot.due();
            if this.sleep.is_none() || *this.due != due {
                *this.due = due;
                this.sleep.set(Some(Sleep::until(this.limiter.time(), due)));
            }
            if let Some(sleep) = this.sleep.as_mut().as_pin_mut() {
                ready!(sleep.poll(cx));
            }
            slept_until = due;
            this.sleep.set(None);
        }
    }
}
