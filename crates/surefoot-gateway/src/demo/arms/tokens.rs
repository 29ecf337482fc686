//! A streamed answer as it reaches the caller: events out of the body's chunks.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use hyper::body::{Body as _, Bytes};
use surefoot::http::sse::{SseEvent, SseParser};

use super::endpoint::Reply;
use super::{Endpoint, Failure, Verdict};

/// Why there is no answer, or no rest of it.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The service answered with a status that is not 200.
    Refused(Reply),
    /// The connection failed.
    Broken,
}

impl Fault {
    pub(crate) fn verdict(&self) -> Verdict {
        Verdict::Failed(match self {
            Self::Refused(reply) => Failure::Status(reply.status.as_u16()),
            Self::Broken => Failure::Connection,
        })
    }
}

/// The events of one answer.
pub(crate) struct Tokens {
    body: reqwest::Body,
    parser: SseParser,
    chunk: Bytes,
}

impl Endpoint {
    /// Sends one request and gives the answer as it comes.
    pub(crate) async fn open(&self) -> Result<Tokens, Fault> {
        let response = self.client.get(&self.url).send().await.map_err(|_| Fault::Broken)?;
        let reply = Reply::of(&response);
        if reply.status != reqwest::StatusCode::OK {
            return Err(Fault::Refused(reply));
        }
        Ok(Tokens { body: response.into(), parser: SseParser::new(), chunk: Bytes::new() })
    }
}

impl Stream for Tokens {
    type Item = Result<SseEvent, Fault>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            let mut rest = &this.chunk[..];
            let event = this.parser.next_event(&mut rest);
            this.chunk = this.chunk.slice_ref(rest);
            match event {
                Ok(Some(event)) => return Poll::Ready(Some(Ok(event))),
                Ok(None) => {}
                Err(_too_large) => return Poll::Ready(Some(Err(Fault::Broken))),
            }
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => this.chunk = frame.into_data().unwrap_or_default(),
                Some(Err(_)) => return Poll::Ready(Some(Err(Fault::Broken))),
                None => return Poll::Ready(None),
            }
        }
    }
}

/// Whether this event completes the answer.
pub(crate) fn is_done(event: &SseEvent) -> bool {
    event.data() == "[DONE]"
}
