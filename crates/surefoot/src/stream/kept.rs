//! What a streamed answer keeps until it has ended.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use surefoot_core::{Deadline, DropReason, Error, Permit, TimeSource, Timeout, Verdict};

use crate::time::Sleep;

/// What a policy holds for a call, to be kept by a streamed answer until it has ended.
#[derive(Debug)]
pub struct Kept(pub(super) What);

#[derive(Debug)]
pub(super) enum What {
    Holding(Box<dyn Holding>),
    Limit(Limit),
}

/// Something that is held during a call and closed with its verdict, which is that of the
/// [`DropReason`] if the answer is dropped before its end.
pub trait Holding: Send + Sync + fmt::Debug {
    /// The call has ended. Only the first verdict counts.
    fn close(&mut self, verdict: Verdict);
}

impl Holding for Permit {
    fn close(&mut self, verdict: Verdict) {
        Permit::close(self, verdict);
    }
}

impl Kept {
    /// A permit, or whatever else is closed with a verdict.
    pub fn permit(permit: impl Holding + 'static) -> Self {
        Self(What::Holding(Box::new(permit)))
    }

    /// What is to be closed with the verdict, if it is that: for other hosts, whose answers keep no
    /// time limits.
    pub fn into_holding(self) -> Option<Box<dyn Holding>> {
        match self.0 {
            What::Holding(holding) => Some(holding),
            What::Limit(_) => None,
        }
    }

    /// A time limit: the innermost one has done its work with the first item, the others go on.
    pub(crate) fn limit(timeout: &Timeout, deadline: Deadline) -> Self {
        Self(What::Limit(Limit::new(timeout, deadline)))
    }
}

/// What is held for a streamed answer, until the verdict is in.
///
/// Dropped from outside, so a panic that is unwinding meanwhile is not the operation's.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) holdings: Vec<Box<dyn Holding>>,
    pub(super) settled: bool,
}

impl Held {
    /// Only the first verdict counts.
    #[cold]
    pub(super) fn settle(&mut self, verdict: Verdict) {
        self.settled = true;
        for mut holding in self.holdings.drain(..) {
            holding.close(verdict);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.settle(DropReason::scoped().verdict());
    }
}

/// A deadline that a stream may run into.
#[derive(Debug)]
pub(super) struct Limit {
    pub(super) timeout: Timeout,
    pub(super) deadline: Deadline,
    timer: Timer,
}

impl Limit {
    fn new(timeout: &Timeout, deadline: Deadline) -> Self {
        Self { timeout: timeout.clone(), deadline, timer: Timer::default() }
    }

    pub(super) fn time(&self) -> &TimeSource {
        self.timeout.time()
    }

    pub(super) fn is_over(&self) -> bool {
        self.deadline.is_over(self.time().now())
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self { timeout, deadline, timer } = self;
        timer.poll(cx, || Sleep::until(timeout.time(), deadline.timestamp()))
    }
}

/// The error of a stream that has run into `timeout`, after the failure `last` if it was a late one.
pub(super) fn ran_out<E>(timeout: &Timeout, last: Option<Error<E>>) -> Error<E> {
    let (policy, limit) = (timeout.name().clone(), timeout.limit());
    Error::Timeout { policy, limit, dispatched: true, last: last.map(Box::new) }
}

/// A timer that is set when it is first polled.
#[derive(Default)]
pub(super) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, set: impl FnOnce() -> Sleep) -> Poll<()> {
        self.sleep.get_or_insert_with(|| Box::pin(set())).as_mut().poll(cx)
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("is_set", &self.sleep.is_some()).finish()
    }
}
