//! Waiting until every permit is home.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::Throttler;
use super::queue::Wakes;

/// Completes when no permit is out; made by [`Throttler::drain`]. Needs no timer and no runtime.
///
/// **Cancellation.** Dropping it ends the waiting and nothing else.
#[derive(Debug)]
#[must_use = "it waits for nothing until it is awaited"]
pub struct Drain {
    throttler: Throttler,
    id: Option<u64>,
}

impl Drain {
    pub(super) fn new(throttler: Throttler) -> Self {
        Self { throttler, id: None }
    }
}

impl Future for Drain {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { throttler, id } = &mut *self;
        throttler.machine.poll_drained(id, cx.waker())
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.throttler.machine.leave_drain(id);
        }
    }
}

/// Those who wait for that.
#[derive(Debug, Default)]
pub(super) struct Drains {
    next_id: u64,
    waiting: Vec<(u64, Waker)>,
}

impl Drains {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn watch(&mut self, id: &mut Option<u64>, waker: Waker) -> Option<Waker> {
        let id = *id.get_or_insert_with(|| {
            self.next_id += 1;
            self.next_id
        });
        if let Some((_, known)) = self.waiting.iter_mut().find(|(other, _)| *other == id) {
            return Some(std::mem::replace(known, waker));
        }
        self.waiting.push((id, waker));
        None
    }

    pub(super) fn leave(&mut self, id: u64) -> Option<Waker> {
        let place = self.waiting.iter().position(|(other, _)| *other == id)?;
        Some(self.waiting.swap_remove(place).1)
    }

    pub(super) fn end(&mut self, wakes: &mut Wakes) {
        self.waiting.drain(..).for_each(|(_, waker)| wakes.add(Some(waker)));
    }
}
