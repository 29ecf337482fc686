//! A body as a stream of server-sent events.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_core::Stream;
use http_body::Body;
use surefoot::http::sse::{EventTooLarge, SseEvent, SseParser};

use super::FramesInARow;
use crate::BoxError;

/// The events of a `text/event-stream` body, as they come in: for
/// [`call_stream`](surefoot::Policy::call_stream), whose `until` knows the terminal one.
///
/// Nothing is read ahead: the next piece of the body is asked for when every event of the one before has been
/// taken, so back-pressure reaches the server, and memory holds one piece and one event. A stream of nothing but
/// comments, however fast they come, lets others run and time limits be looked at now and then.
///
/// **Cancellation.** Dropping it drops the body, which closes its connection or stream. **Cost.** An allocation for
/// the body, and those of the parser for each event.
///
/// ```
/// use http_body_util::Full;
/// use surefoot::http::sse::SseEvent;
/// use surefoot::prelude::*;
/// use surefoot_tower::http::{EventError, Events};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let model = CircuitBreaker::builder("model").build()?;
/// let open = || async {
///     let body: Full<&[u8]> = Full::new(b"data: Hello\n\ndata: [DONE]\n\n");
///     Ok::<_, EventError>(Events::new(body))
/// };
/// let is_done = |event: &SseEvent| event.data() == "[DONE]";
/// let mut answer = model.streaming().until(is_done).call(open).await?;
/// let mut text = String::new();
/// while let Some(event) = answer.next().await {
///     text += event?.data();
/// }
/// assert_eq!(text, "Hello[DONE]");
/// # Ok(())
/// # }
/// ```
pub struct Events<B: Body> {
    body: Pin<Box<B>>,
    parser: SseParser,
    piece: Bytes,
    over: bool,
}

impl<B: Body> Events<B> {
    /// The events of a body, each at most 1 MiB.
    pub fn new(body: B) -> Self {
        Self::with_parser(body, SseParser::new())
    }

    /// The events of a body, each at most as large as the parser allows.
    pub fn with_parser(body: B, parser: SseParser) -> Self {
        Self { body: Box::pin(body), parser, piece: Bytes::new(), over: false }
    }
}

/// Why a body gives no further event.
#[derive(Debug)]
#[non_exhaustive]
pub enum EventError {
    /// The connection failed.
    Body(BoxError),
    /// An event is larger than the parser allows.
    TooLarge(EventTooLarge),
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(error) => error.fmt(f),
            Self::TooLarge(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for EventError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Body(error) => error.source(),
            Self::TooLarge(error) => error.source(),
        }
    }
}

impl<B: Body<Error: Into<BoxError>>> Events<B> {
    /// The next event of the piece at hand.
    fn next_at_hand(&mut self) -> Result<Option<SseEvent>, EventTooLarge> {
        let mut rest = &self.piece[..];
        let event = self.parser.next_event(&mut rest);
        let taken = self.piece.len() - rest.len();
        self.piece.advance(taken);
        event
    }
}

impl<B: Body<Error: Into<BoxError>>> Stream for Events<B> {
    type Item = Result<SseEvent, EventError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let mut frames = FramesInARow::default();
        while !this.over {
            match this.next_at_hand() {
                Ok(Some(event)) => return Poll::Ready(Some(Ok(event))),
                Ok(None) => {}
                Err(error) => {
                    this.over = true;
                    return Poll::Ready(Some(Err(EventError::TooLarge(error))));
                }
            }
            ready!(frames.poll_another(cx));
            match ready!(this.body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(mut data) = frame.into_data() {
                        this.piece = data.copy_to_bytes(data.remaining());
                    }
                }
                Some(Err(error)) => {
                    this.over = true;
                    return Poll::Ready(Some(Err(EventError::Body(error.into()))));
                }
                None => this.over = true,
            }
        }
        Poll::Ready(None)
    }
}

impl<B: Body> fmt::Debug for Events<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("over", &self.over).finish_non_exhaustive()
    }
}
