//! The bodies of error responses, and if asked for of successes, read where a classifier can see them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Response, header};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::FramesInARow;
use crate::attempt::{self, Called};
use crate::{BoxError, Error};

/// Reads the bodies of responses with a status from 400 up (and, with [`successes_too`](Self::successes_too), of others), and puts each into the response's extensions as
/// [`ErrorBody`], where a [`ResponseClassifier`](super::ResponseClassifier) finds it: a model API's 429 means one
/// thing when the rate is too high, and another when the money is spent.
///
/// Who receives the response can still read the body. One that is longer than the limit (64 KiB by default), or
/// that breaks off, is handed on as far as it was read, with its rest or its error behind, and is not judged. One
/// that says beforehand that it is longer is not read at all.
///
/// Put it innermost, inside every layer whose classifier should see the body, and outside one that decompresses. Its wait is part of the call, and
/// dropping the call drops the body. reqwest's responses: see [the module](super#reqwest).
///
/// **Cost.** Nothing for other responses; for an error two allocations, and a copy of the body.
#[derive(Clone, Copy, Debug)]
pub struct ErrorBodyLayer {
    reads: Reads,
}

/// Which bodies are read.
#[derive(Clone, Copy, Debug)]
struct Reads {
    limit: usize,
    successes: bool,
}

impl Default for ErrorBodyLayer {
    fn default() -> Self {
        Self::with_limit(64 * 1024)
    }
}

impl ErrorBodyLayer {
    /// Reads bodies of at most `limit` bytes.
    pub fn with_limit(limit: usize) -> Self {
        Self { reads: Reads { limit, successes: false } }
    }

    /// Reads the bodies of successes (2xx) as well, for a classifier with
    /// [`errors_in_success`](super::ResponseClassifier::errors_in_success) or
    /// [`body_required`](super::ResponseClassifier::body_required): those that are JSON, empty, or of no stated
    /// type. Others, event streams and gRPC among them, are handed on as they come.
    ///
    /// A JSON answer is then there when its body is, or the limit is reached.
    pub fn successes_too(mut self) -> Self {
        self.reads.successes = true;
        self
    }
}

impl Reads {
    fn are_for<B: Body>(self, response: &Response<B>) -> bool {
        let status = response.status();
        let is_read = status.as_u16() >= 400
            || (self.successes
                && status.is_success()
                && (response.body().is_end_stream() || may_be_json(response.headers())));
        let least = usize::try_from(response.body().size_hint().lower());
        is_read && least.is_ok_and(|least| least <= self.limit)
    }
}

/// Whether a body is one JSON value, or nothing is said of it. What is made of many (`x-ndjson`) is not.
fn may_be_json(headers: &HeaderMap) -> bool {
    let Some(stated) = headers.get(header::CONTENT_TYPE) else { return true };
    let essence = stated.to_str().ok().and_then(|stated| stated.split(';').next());
    let essence = essence.unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}

/// The whole body of a response that was read; found in its extensions.
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
        ErrorBodyService { inner, reads: self.reads }
    }
}

/// A service whose error responses have been read; made by [`ErrorBodyLayer`].
#[derive(Clone, Debug)]
pub struct ErrorBodyService<S> {
    inner: S,
    reads: Reads,
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
        ErrorBodyFuture { reads: self.reads, step: Step::Headers { call } }
    }
}

pin_project! {
    /// A call through an [`ErrorBodyService`].
    pub struct ErrorBodyFuture<F, B: Body> {
        reads: Reads,
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
        let mut frames = FramesInARow::default();
        loop {
            match this.step.as_mut().project() {
                StepProjection::Headers { call } => {
                    let response = ready!(call.poll(cx))?;
                    if !this.reads.are_for(&response) {
                        return Poll::Ready(Ok(response.map(MaybeRead::unread)));
                    }
                    let response = Some(response.map(Box::pin));
                    this.step.set(Step::Body { response, read: BytesMut::new() });
                }
                StepProjection::Body { response, read } => {
                    let Some(open) = response.as_mut() else { return Poll::Pending };
                    ready!(frames.poll_another(cx));
                    let next = ready!(open.body_mut().as_mut().poll_frame(cx));
                    let (stop, whole) = match next {
                        Some(Ok(frame)) => match frame.into_data() {
                            Ok(mut data) => {
                                // No more than the limit is taken in; a longer body keeps its rest.
                                let room = this.reads.limit.saturating_sub(read.len());
                                if data.remaining() <= room {
                                    read.extend_from_slice(&data.copy_to_bytes(data.remaining()));
                                    continue;
                                }
                                (Stop::At(Frame::data(data)), false)
                            }
                            Err(trailers) => (Stop::At(trailers), true),
                        },
                        Some(Err(error)) => (Stop::Failed(error), false),
                        None => (Stop::Ended, true),
                    };
                    let read = std::mem::take(read).freeze();
                    let Some(mut response) = response.take() else { return Poll::Pending };
                    if whole {
                        response.extensions_mut().insert(ErrorBody(read.clone()));
                    }
                    let response = response.map(|body| MaybeRead::read(read, stop, body));
                    return Poll::Ready(Ok(response));
                }
            }
        }
    }
}

pin_project! {
    /// A body of which some, or all, may have been read and kept.
    pub struct MaybeRead<B: Body> {
        #[pin]
        state: State<B>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<B: Body> {
        Unread { #[pin] body: B },
        Read { read: Bytes, rest: Rest<B> },
    }
}

/// What was found where the reading stopped.
enum Stop<B: Body> {
    Ended,
    At(Frame<B::Data>),
    Failed(B::Error),
}

/// What comes after the part that was read.
enum Rest<B: Body> {
    /// Nothing: a body is not asked again after its end.
    None,
    Failed(B::Error),
    Frame(Frame<B::Data>, Pin<Box<B>>),
    Body(Pin<Box<B>>),
}

impl<B: Body> MaybeRead<B> {
    fn unread(body: B) -> Self {
        Self { state: State::Unread { body } }
    }

    fn read(read: Bytes, stop: Stop<B>, body: Pin<Box<B>>) -> Self {
        let rest = match stop {
            Stop::Ended => Rest::None,
            Stop::At(frame) => Rest::Frame(frame, body),
            Stop::Failed(error) => Rest::Failed(error),
        };
        Self { state: State::Read { read, rest } }
    }
}

impl<B: Body> Body for MaybeRead<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let next = match self.project().state.project() {
            StateProjection::Unread { body } => ready!(body.poll_frame(cx)),
            StateProjection::Read { read, .. } if !read.is_empty() => {
                return Poll::Ready(Some(Ok(Frame::data(std::mem::take(read)))));
            }
            StateProjection::Read { rest, .. } => match std::mem::replace(rest, Rest::None) {
                Rest::None => None,
                Rest::Failed(error) => Some(Err(error)),
                Rest::Frame(frame, body) => {
                    *rest = Rest::Body(body);
                    Some(Ok(frame))
                }
                Rest::Body(mut body) => {
                    let polled = body.as_mut().poll_frame(cx);
                    if !matches!(polled, Poll::Ready(None)) {
                        *rest = Rest::Body(body);
                    }
                    ready!(polled)
                }
            },
        };
        let copied =
            |frame: Frame<B::Data>| frame.map_data(|mut data| data.copy_to_bytes(data.remaining()));
        Poll::Ready(next.map(|frame| frame.map(copied)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Unread { body } => body.is_end_stream(),
            State::Read { read, rest } => read.is_empty() && rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Unread { body } => body.size_hint(),
            State::Read { read, rest } => longer(&rest.size_hint(), read.len()),
        }
    }
}

impl<B: Body> Rest<B> {
    fn is_end_stream(&self) -> bool {
        match self {
            Self::None => true,
            Self::Failed(_) | Self::Frame(..) => false,
            Self::Body(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::None => SizeHint::with_exact(0),
            Self::Failed(_) => SizeHint::default(),
            Self::Frame(frame, body) => {
                longer(&body.size_hint(), frame.data_ref().map_or(0, Buf::remaining))
            }
            Self::Body(body) => body.size_hint(),
        }
    }
}

/// The hint of a body that has `before` more bytes in front.
pub(super) fn longer(hint: &SizeHint, before: usize) -> SizeHint {
    let before = u64::try_from(before).unwrap_or(u64::MAX);
    let mut sum = SizeHint::new();
    if let Some(upper) = hint.upper().and_then(|upper| upper.checked_add(before)) {
        sum.set_upper(upper);
    }
    sum.set_lower(hint.lower().saturating_add(before).min(sum.upper().unwrap_or(u64::MAX)));
    sum
}

impl<B: Body> fmt::Debug for MaybeRead<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = match &self.state {
            State::Unread { .. } => None,
            State::Read { read, .. } => Some(read),
        };
        f.debug_struct("MaybeRead").field("read", &read).finish_non_exhaustive()
    }
}
