//! A body that is watched until it has ended.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use surefoot::host::Sleep;
use surefoot::http::grpc;
use surefoot::stream::Holding;
use surefoot::{Classification, DropReason, Timeout, Timestamp, Verdict, with_drop_reason};

use crate::{BoxError, Error};

pin_project! {
    /// A body that holds its call's permit until it has ended; made by
    /// [`CircuitBreakerLayer::until_body_end`](crate::CircuitBreakerLayer::until_body_end).
    ///
    /// Its error is the body's own, or, after an idle timeout, an [`Error`]:
    /// [`Interrupted`](surefoot::Error::Interrupted).
    pub struct WatchedBody<B> {
        // Dropped before the permit. `None` once we have ended it.
        #[pin]
        body: Option<B>,
        held: Held,
        ending: Ending,
        frames: u64,
        idle: Option<Idle>,
    }
}

/// Where a response tells how it ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ending {
    /// The end itself is the success.
    Plain,
    /// In its trailers.
    Trailers,
    /// In its headers already.
    Told(Verdict),
}

impl Ending {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        if !grpc::is_grpc(headers) {
            return Self::Plain;
        }
        grpc::classify(headers).map_or(Self::Trailers, |judged| Self::Told(judged.verdict))
    }
}

/// The permit. Dropped from outside, so a panic that is unwinding meanwhile is not the body's.
#[derive(Debug, Default)]
struct Held {
    permit: Option<Box<dyn Holding>>,
}

impl Held {
    /// Only the first verdict counts.
    fn close(&mut self, verdict: Verdict) {
        if let Some(mut permit) = self.permit.take() {
            permit.close(verdict);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.close(DropReason::scoped().verdict());
    }
}

/// Dropped armed only when the body panics.
struct FailureOnPanic<'a>(Option<&'a mut Held>);

impl Drop for FailureOnPanic<'_> {
    fn drop(&mut self) {
        if let Some(held) = self.0.take() {
            held.close(Verdict::Failure);
        }
    }
}

impl<B: Body> WatchedBody<B> {
    pub(super) fn new(body: B, idle: Option<Timeout>) -> Self {
        Self {
            body: Some(body),
            held: Held::default(),
            ending: Ending::Plain,
            frames: 0,
            idle: idle.map(Idle::new),
        }
    }

    /// Keeps a permit, until the end that `ending` tells of.
    pub(super) fn hold(&mut self, permit: Box<dyn Holding>, ending: Ending) {
        self.held.permit = Some(permit);
        self.ending = ending;
        match ending {
            Ending::Told(verdict) => self.held.close(verdict),
            // A body that is complete already may never be asked for a frame.
            Ending::Plain => {
                if self.body.as_ref().is_none_or(Body::is_end_stream) {
                    self.held.close(Verdict::Success);
                }
            }
            Ending::Trailers => {}
        }
    }
}

impl<B: Body<Error: Into<BoxError>>> Body for WatchedBody<B> {
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let mut this = self.project();
        let Some(mut body) = this.body.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let mut on_panic = FailureOnPanic(Some(this.held));
        let polled = body.as_mut().poll_frame(cx);
        let is_over = polled.is_ready() && body.is_end_stream();
        let Some(held) = on_panic.0.take() else { return polled.map_err(Into::into) };
        if polled.is_ready()
            && let Some(idle) = this.idle
        {
            idle.since = None;
        }
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                *this.frames += 1;
                match (*this.ending, frame.trailers_ref()) {
                    (Ending::Trailers, Some(trailers)) => {
                        let judged = grpc::classify(trailers).unwrap_or(Classification::TRANSIENT);
                        held.close(judged.verdict);
                    }
                    // Nobody may ask for what is not there.
                    (Ending::Plain, _) if is_over => held.close(Verdict::Success),
                    _ => {}
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                held.close(Verdict::Failure);
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                held.close(match this.ending {
                    Ending::Trailers => Verdict::Failure,
                    Ending::Plain | Ending::Told(_) => Verdict::Success,
                });
                this.body.set(None);
                Poll::Ready(None)
            }
            Poll::Pending => {
                let Some(idle) = this.idle else { return Poll::Pending };
                let timeout = ready!(idle.poll(cx));
                with_drop_reason(DropReason::Deadline, || this.body.set(None));
                held.close(Verdict::Failure);
                let cause = Some(Box::new(timeout));
                Poll::Ready(Some(Err(Error::Interrupted { items: *this.frames, cause }.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// A limit for each wait.
struct Idle {
    limit: Timeout,
    /// The start of the present wait.
    since: Option<Timestamp>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Idle {
    fn new(limit: Timeout) -> Self {
        Self { limit, since: None, sleep: None }
    }

    /// Ready once the present wait has lasted as long as it may. The timer is set again only after it has gone
    /// off, and not for every frame.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let Self { limit, since, sleep } = self;
        let time = limit.time();
        let due = limit.deadline(*since.get_or_insert_with(|| time.now()));
        loop {
            let timer = sleep.get_or_insert_with(|| Box::pin(Sleep::until(time, due.timestamp())));
            ready!(timer.as_mut().poll(cx));
            *sleep = None;
            if due.is_over(time.now()) {
                return Poll::Ready(Error::Timeout {
                    policy: limit.name().clone(),
                    limit: limit.limit(),
                    dispatched: true,
                    last: None,
                });
            }
        }
    }
}

impl<B> fmt::Debug for WatchedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedBody")
            .field("frames", &self.frames)
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}
