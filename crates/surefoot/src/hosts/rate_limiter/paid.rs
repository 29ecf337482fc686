//! Units taken for a call, and what becomes of them if it never runs.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use surefoot_core::rate_limiter::{Charge, Slots};

use crate::scope;

pin_project! {
    /// A call whose units are given back if it ends without having started the operation.
    #[derive(Debug)]
    pub struct Metered<L: Slots, F> {
        #[pin]
        call: F,
        paid: Paid<L>,
    }
}

impl<L: Slots, F> Metered<L, F> {
    /// The call that `start` makes, which may start the operation at once. One without a charge has
    /// nothing to give back.
    #[inline]
    pub fn start(charge: Option<Charge<L>>, start: impl FnOnce() -> F) -> Self {
        let mut paid = Paid { charge, dispatched: false };
        let call = paid.watch(start);
        Self { call, paid }
    }
}

impl<L: Slots, F: Future> Future for Metered<L, F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let polled = this.paid.watch(|| this.call.poll(cx));
        if polled.is_ready() {
            this.paid.close();
        }
        polled
    }
}

/// Units taken for a call, and whether it has started the operation.
#[derive(Debug)]
pub(super) struct Paid<L: Slots> {
    charge: Option<Charge<L>>,
    dispatched: bool,
}

impl<L: Slots> Paid<L> {
    pub(super) fn new(charge: Charge<L>) -> Self {
        Self { charge: Some(charge), dispatched: false }
    }

    /// Runs a piece of the call. One that panics may have started anything.
    #[inline]
    pub(super) fn watch<R>(&mut self, piece: impl FnOnce() -> R) -> R {
        let before = std::mem::replace(&mut self.dispatched, true);
        let (output, noted) = scope::watch_dispatch(piece);
        self.dispatched = before || noted;
        output
    }

    /// The units are used.
    pub(super) fn spend(mut self) {
        self.dispatched = true;
    }

    /// The call has ended.
    #[inline]
    fn close(&mut self) {
        if let Some(charge) = self.charge.take() {
            end(charge, self.dispatched);
        }
    }
}

/// Keeps what was taken for a call that was dispatched, and gives it back otherwise.
#[inline(never)]
fn end<L: Slots>(charge: Charge<L>, dispatched: bool) {
    if !dispatched {
        charge.give_back();
    }
}

impl<L: Slots> Drop for Paid<L> {
    #[inline]
    fn drop(&mut self) {
        self.close();
    }
}
