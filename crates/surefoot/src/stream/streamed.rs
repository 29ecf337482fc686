//! An answer that is coming in.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use surefoot_core::{
    Classify, DefaultClassifier, DropReason, Error, Timeout, Verdict, with_drop_reason,
};

use super::kept::{Held, Limit, Timer, ran_out};
use super::opening::Opened;
use crate::scope::{Due, TimeoutScope};
use crate::time::Sleep;

/// A streamed answer under the policies it was opened through; made by
/// [`Policy::call_stream`](crate::Policy::call_stream).
///
/// After an error, and after its end, it gives nothing more.
pub struct Streamed<S, T, C = DefaultClassifier, U = fn(&T) -> bool> {
    /// Dropped before what is held for it.
    stream: Option<Pin<Box<S>>>,
    held: Held,
    first: Option<T>,
    items: u64,
    classifier: C,
    until: Option<U>,
    limits: Vec<Limit>,
    /// The earliest of the limits, as the stream's own calls see it.
    scope: Option<TimeoutScope>,
    idle: Option<Idle>,
    /// The terminal item has been handed on.
    complete: bool,
    /// The limit that was over when the last item came.
    overrun: Option<usize>,
}

#[derive(Debug)]
struct Idle {
    limit: Timeout,
    /// Set for the present wait.
    timer: Timer,
}

impl<S, T, C, U> Streamed<S, T, C, U> {
    pub(super) fn new(
        opened: Opened<S, T>,
        classifier: C,
        idle: Option<Timeout>,
        until: Option<U>,
    ) -> Self {
        let Opened { stream, first, held, limits, .. } = opened;
        let earliest = limits.iter().min_by_key(|limit| limit.deadline.timestamp());
        let scope = earliest.map(|limit| {
            TimeoutScope::new(Due { deadline: limit.deadline, time: limit.time().clone() })
        });
        Self {
            stream: Some(stream),
            held,
            first: Some(first),
            items: 0,
            classifier,
            until,
            limits,
            scope,
            idle: idle.map(|limit| Idle { limit, timer: Timer::default() }),
            complete: false,
            overrun: None,
        }
    }

    /// Items handed on so far.
    pub fn items(&self) -> u64 {
        self.items
    }
}

impl<S, T, E, C, U> Streamed<S, T, C, U>
where
    S: Stream<Item = Result<T, E>>,
    C: Classify<T, E>,
    U: Fn(&T) -> bool,
{
    /// The next item, or `None` after the last one.
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<T, Error<E>>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    #[inline]
    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, E>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        let panicking = FailureOnPanic(Some(&mut self.held));
        let polled = match &mut self.scope {
            None => stream.as_mut().poll_next(cx),
            Some(scope) => scope.enter(false, || stream.as_mut().poll_next(cx)),
        };
        panicking.disarm();
        polled
    }

    /// Judges an item on its way to the consumer.
    #[inline]
    fn hand_on(&mut self, item: T) -> Poll<Option<Result<T, Error<E>>>> {
        self.items += 1;
        if let Some(idle) = &mut self.idle {
            idle.timer = Timer::default();
        }
        if !self.held.settled {
            let verdict = self.classifier.classify(Ok(&item)).verdict;
            if verdict != Verdict::Success {
                self.held.settle(verdict);
            }
        }
        if self.is_terminal(&item) {
            self.complete = true;
            self.held.settle(Verdict::Success);
        } else {
            // A stream that never lets us wait meets its time limit here.
            self.overrun = self.limits.iter().position(Limit::is_over);
        }
        Poll::Ready(Some(Ok(item)))
    }

    #[inline]
    fn is_terminal(&self, item: &T) -> bool {
        self.until.as_ref().is_some_and(|is_terminal| is_terminal(item))
    }

    /// The producer has nothing more to say.
    fn end(&mut self) -> Poll<Option<Result<T, Error<E>>>> {
        let was_open = self.stream.is_some();
        let overdue = self.overdue().map(|timeout| ran_out(timeout, None));
        self.close();
        if was_open && self.until.is_some() && !self.complete {
            return self.interrupt(Verdict::Failure, overdue);
        }
        self.held.settle(Verdict::Success);
        Poll::Ready(None)
    }

    fn fail(&mut self, error: E) -> Poll<Option<Result<T, Error<E>>>> {
        let verdict = self.classifier.classify(Err(&error)).verdict;
        let error = Error::Operation(error);
        let (verdict, cause) = match (self.overdue(), verdict) {
            (None, verdict) => (verdict, error),
            (Some(timeout), asked @ Verdict::Throttled { .. }) => {
                (asked, ran_out(timeout, Some(error)))
            }
            (Some(timeout), _) => (Verdict::Failure, ran_out(timeout, Some(error))),
        };
        self.close();
        self.interrupt(verdict, Some(cause))
    }

    /// Ends the stream in place for one of our own time limits.
    #[cold]
    fn expire(&mut self, timeout: Error<E>) -> Poll<Option<Result<T, Error<E>>>> {
        with_drop_reason(DropReason::Deadline, || self.close());
        self.interrupt(Verdict::Failure, Some(timeout))
    }

    #[cold]
    fn interrupt(
        &mut self,
        verdict: Verdict,
        cause: Option<Error<E>>,
    ) -> Poll<Option<Result<T, Error<E>>>> {
        self.held.settle(verdict);
        let cause = cause.map(Box::new);
        Poll::Ready(Some(Err(Error::Interrupted { items: self.items, cause })))
    }

    /// Lets go of the stream below, and of every timer.
    fn close(&mut self) {
        self.stream = None;
        self.limits.clear();
        self.idle = None;
    }

    /// The time limit that is over by now.
    fn overdue(&self) -> Option<&Timeout> {
        self.limits.iter().find(|limit| limit.is_over()).map(|limit| &limit.timeout)
    }

    /// The time limit that the wait for the next item has run into.
    fn poll_limits(&mut self, cx: &mut Context<'_>) -> Poll<Error<E>> {
        if let Some(limit) = self.overrun {
            return Poll::Ready(ran_out(&self.limits[limit].timeout, None));
        }
        for limit in &mut self.limits {
            if limit.poll(cx).is_ready() {
                return Poll::Ready(ran_out(&limit.timeout, None));
            }
        }
        if let Some(Idle { limit, timer }) = &mut self.idle {
            let time = limit.time();
            let due = || limit.deadline(time.now()).timestamp();
            if timer.poll(cx, || Sleep::until(time, due())).is_ready() {
                return Poll::Ready(ran_out(limit, None));
            }
        }
        Poll::Pending
    }
}

impl<S, T, E, C, U> Stream for Streamed<S, T, C, U>
where
    S: Stream<Item = Result<T, E>>,
    C: Classify<T, E>,
    U: Fn(&T) -> bool,
{
    type Item = Result<T, Error<E>>;

    #[inline]
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let polled = this.poll_inner(cx);
        if this.complete {
            // That look was for a connection that is at its end, so that it can be used again.
            return this.end();
        }
        match polled {
            Poll::Ready(Some(Ok(item))) if this.overrun.is_none() || this.is_terminal(&item) => {
                this.hand_on(item)
            }
            Poll::Ready(Some(Err(error))) => this.fail(error),
            Poll::Ready(None) => this.end(),
            Poll::Ready(Some(Ok(_))) | Poll::Pending => match this.poll_limits(cx) {
                Poll::Ready(timeout) => this.expire(timeout),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl<S, T, C, U> Unpin for Streamed<S, T, C, U> {}

impl<S, T, C, U> fmt::Debug for Streamed<S, T, C, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streamed")
            .field("items", &self.items)
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

/// Dropped armed only when the stream panics.
struct FailureOnPanic<'a>(Option<&'a mut Held>);

impl FailureOnPanic<'_> {
    #[inline]
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for FailureOnPanic<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(held) = self.0.take() {
            held.settle(Verdict::Failure);
        }
    }
}
