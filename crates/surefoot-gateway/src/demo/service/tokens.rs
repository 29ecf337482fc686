//! A streamed answer: tokens with gaps between them, as a model gives them, and an end that is not always the right one.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame};
use tokio::time::{Instant, Sleep, sleep};

use super::Reset;

/// Tokens of a whole answer. With [`GAP`] one takes as long as an answer in one piece.
pub(crate) const TOKENS: u32 = 10;
pub(crate) const GAP: Duration = Duration::from_millis(10);

/// How an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With its terminal event.
    Done,
    /// Not at all: nothing comes after the first token, and the connection stays open.
    Hangs,
    /// With a reset, half-way.
    CutOff,
}

/// The body of a streamed answer.
#[derive(Debug)]
pub(crate) struct Tokens {
    ending: Ending,
    sent: u32,
    gap: Pin<Box<Sleep>>,
}

impl Tokens {
    pub(crate) fn new(ending: Ending) -> Self {
        Self { ending, sent: 0, gap: Box::pin(sleep(GAP)) }
    }
}

impl Body for Tokens {
    type Data = Bytes;
    type Error = Reset;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Reset>>> {
        let this = self.get_mut();
        match this.ending {
            Ending::Hangs if this.sent == 1 => return Poll::Pending,
            Ending::CutOff if this.sent == TOKENS / 2 => return Poll::Ready(Some(Err(Reset))),
            _ if this.sent > TOKENS => return Poll::Ready(None),
            _ => {}
        }
        ready!(this.gap.as_mut().poll(cx));
        this.gap.as_mut().reset(Instant::now() + GAP);
        this.sent += 1;
        let event = if this.sent > TOKENS { "data: [DONE]\n\n" } else { "data: token\n\n" };
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(event.as_bytes())))))
    }
}
