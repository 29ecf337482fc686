//! The bodies of error responses, read where a classifier can see them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::attempt::{self, Called};
use crate::{BoxError, Error};

/// Reads the bodies of responses with a status from 400 up, and puts each into the response's extensions as
/// [`ErrorBody`], where a [`ResponseClassifier`](super::ResponseClassifier) finds it: a model API's 429 means one
/// thing when the rate is too high, and another when the money is spent.
///
/// Who receives the response can still read the body. One that is longer than the limit (64 KiB by default), or
/// that breaks off, is handed on as far as it was read, with its rest or its error behind, and is not judged.
///
/// Put it innermost, inside every layer whose classifier should see the body. Its wait is part of the call.
#[derive(Clone, Copy, Debug)]
pub struct ErrorBodyLayer {
    limit: usize,
}

impl Default for ErrorBodyLayer {
    fn default() -> Self {
        Self { limit: 64 * 1024 }
    }
}

impl ErrorBodyLayer {
    /// Reads bodies of at most `limit` bytes.
    pub fn with_limit(limit: usize) -> Self {
        Self { limit }
    }
}

/// The whole body of an error response; found in its extensions.
#[derive(Clone, Debug)]
pub struct ErrorBody(Bytes);

impl ErrorBody {
    /// The body.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl<S> Layer<S> for ErrorBodyLayer {
    type Service = ErrorBodyService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ErrorBodyService { inner, limit: self.limit }
    }
}

/// A service whose error responses have been read; made by [`ErrorBodyLayer`].
#[derive(Clone, Debug)]
pub struct ErrorBodyService<S> {
    inner: S,
    limit: usize,
}

impl<S, Q, B> Service<Q> for ErrorBodyService<S>
where
    S: Service<Q, Response = Response<B>>,
    S::Error: Into<BoxError> + 'static,
    B: Body,
{
    type Response = Response<MaybeRead<B>>;
    type Error = Error;
    type Future = ErrorBodyFuture<S::Future, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        attempt::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        attempt::take_over();
        let call = attempt::call(&mut self.inner, request);
        ErrorBodyFuture { limit: self.limit, step: Step::Headers { call } }
    }
}

pin_project! {
    /// A call through an [`ErrorBodyService`].
    pub struct ErrorBodyFuture<F, B: Body> {
        limit: usize,
        #[pin]
        step: Step<F, B>,
    }
}

pin_project! {
    #[project = StepProjection]
    enum Step<F, B: Body> {
        Headers { #[pin] call: Called<F> },
        Body { response: Option<Response<Pin<Box<B>>>>, read: BytesMut },
    }
}

impl<F, B, E> Future for ErrorBodyFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError> + 'static,
    B: Body,
{
    type Output = Result<Response<MaybeRead<B>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.step.as_mut().project() {
                StepProjection::Headers { call } => {
                    let response = ready!(call.poll(cx))?.map(Box::pin);
                    if response.status().as_u16() < 400 {
                        return Poll::Ready(Ok(response.map(MaybeRead::unread)));
                    }
                    let read = BytesMut::new();
                    this.step.set(Step::Body { response: Some(response), read });
                }
                StepProjection::Body { response, read } => {
                    let Some(open) = response.as_mut() else { return Poll::Pending };
                    let next = ready!(open.body_mut().as_mut().poll_frame(cx));
                    let (rest, whole) = match next {
                        Some(Ok(frame)) => match frame.into_data() {
                            Ok(mut data) => {
                                // No more than the limit is taken in; a longer body keeps its rest.
                                let room = this.limit.saturating_sub(read.len());
                                if data.remaining() <= room {
                                    read.extend_from_slice(&data.copy_to_bytes(data.remaining()));
                                    continue;
                                }
                                (Rest::Frame(Frame::data(data)), false)
                            }
                            Err(trailers) => (Rest::Frame(trailers), true),
                        },
                        Some(Err(error)) => (Rest::Failed(error), false),
                        None => (Rest::Over, true),
                    };
                    let read = std::mem::take(read).freeze();
                    let Some(mut response) = response.take() else { return Poll::Pending };
                    if whole {
                        response.extensions_mut().insert(ErrorBody(read.clone()));
                    }
                    let response = response.map(|body| MaybeRead { read, rest, body });
                    return Poll::Ready(Ok(response));
                }
            }
        }
    }
}

/// A body of which some, or all, has been read and kept.
pub struct MaybeRead<B: Body> {
    read: Bytes,
    rest: Rest<B>,
    body: Pin<Box<B>>,
}

/// What was found where the reading stopped.
enum Rest<B: Body> {
    /// The body has not been asked for it yet.
    Unread,
    /// Nothing, and the body is not to be asked again.
    Over,
    Frame(Frame<B::Data>),
    Failed(B::Error),
}

impl<B: Body> MaybeRead<B> {
    fn unread(body: Pin<Box<B>>) -> Self {
        Self { read: Bytes::new(), rest: Rest::Unread, body }
    }
}

impl<B: Body> Body for MaybeRead<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        if !this.read.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.read)))));
        }
        let next = match std::mem::replace(&mut this.rest, Rest::Unread) {
            Rest::Unread => ready!(this.body.as_mut().poll_frame(cx)),
            Rest::Frame(frame) => Some(Ok(frame)),
            Rest::Failed(error) => Some(Err(error)),
            Rest::Over => None,
        };
        if !matches!(next, Some(Ok(_))) {
            this.rest = Rest::Over;
        }
        let copied =
            |frame: Frame<B::Data>| frame.map_data(|mut data| data.copy_to_bytes(data.remaining()));
        Poll::Ready(next.map(|frame| frame.map(copied)))
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty()
            && match self.rest {
                Rest::Unread => self.body.is_end_stream(),
                Rest::Over => true,
                Rest::Frame(_) | Rest::Failed(_) => false,
            }
    }

    fn size_hint(&self) -> SizeHint {
        if self.read.is_empty() && matches!(self.rest, Rest::Unread) {
            return self.body.size_hint();
        }
        SizeHint::default()
    }
}

impl<B: Body> Unpin for MaybeRead<B> {}

impl<B: Body> fmt::Debug for MaybeRead<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MaybeRead").field("read", &self.read).finish_non_exhaustive()
    }
}
