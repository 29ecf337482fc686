//! Responses whose body has begun.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::error_body::longer;
use crate::attempt::{self, Called};
use crate::error::ours;
use crate::{BoxError, Error};

/// Gives a response when the first frame of its body is there, and its error where the body begins with one.
///
/// A streaming server sends its headers at once and thinks then. With this layer inside a retry and an attempt
/// timeout, what goes wrong before the first frame can still be tried again, and the timeout bounds the wait for
/// the first token. The frame is kept, and nothing else is read ahead.
///
/// A gRPC call that fails without a message may send headers and then, as its first frame, trailers. A
/// [`ResponseClassifier`](super::ResponseClassifier) outside sees them here.
///
/// **Cancellation.** Dropping the call drops the body. **Cost.** One allocation for the body.
#[derive(Clone, Copy, Debug, Default)]
pub struct FirstFrameLayer;

impl<S> Layer<S> for FirstFrameLayer {
    type Service = FirstFrameService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        FirstFrameService { inner }
    }
}

/// A service whose responses have begun; made by [`FirstFrameLayer`].
#[derive(Clone, Debug)]
pub struct FirstFrameService<S> {
    inner: S,
}

impl<S, Q, B> Service<Q> for FirstFrameService<S>
where
    S: Service<Q, Response = Response<B>>,
    S::Error: Into<BoxError> + 'static,
    B: Body<Error: Into<BoxError> + 'static>,
{
    type Response = Response<Begun<B>>;
    type Error = Error;
    type Future = FirstFrameFuture<S::Future, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        attempt::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        attempt::take_over();
        let call = attempt::call(&mut self.inner, request);
        FirstFrameFuture { step: Step::Headers { call } }
    }
}

pin_project! {
    /// A call through a [`FirstFrameService`].
    pub struct FirstFrameFuture<F, B: Body> {
        #[pin]
        step: Step<F, B>,
    }
}

pin_project! {
    #[project = StepProjection]
    enum Step<F, B: Body> {
        Headers { #[pin] call: Called<F> },
        Body { response: Option<Response<Pin<Box<B>>>> },
    }
}

impl<F, B, E> Future for FirstFrameFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError> + 'static,
    B: Body<Error: Into<BoxError> + 'static>,
{
    type Output = Result<Response<Begun<B>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut step = self.project().step;
        loop {
            match step.as_mut().project() {
                StepProjection::Headers { call } => {
                    let response = ready!(call.poll(cx))?.map(Box::pin);
                    step.set(Step::Body { response: Some(response) });
                }
                StepProjection::Body { response } => {
                    let Some(begun) = response else { return Poll::Pending };
                    let first = ready!(begun.body_mut().as_mut().poll_frame(cx));
                    let first = first.transpose().map_err(ours)?;
                    let Some(mut begun) = response.take() else { return Poll::Pending };
                    if let Some(trailers) = first.as_ref().and_then(Frame::trailers_ref) {
                        let trailers = NothingButTrailers(trailers.clone());
                        begun.extensions_mut().insert(trailers);
                    }
                    return Poll::Ready(Ok(
                        begun.map(|body| Begun { body: first.is_some().then_some(body), first })
                    ));
                }
            }
        }
    }
}

/// The trailers of a response without content; in its extensions, for the classifier.
#[derive(Clone, Debug)]
pub(super) struct NothingButTrailers(pub(super) HeaderMap);

/// A body whose first frame has come.
pub struct Begun<B: Body> {
    /// `None` if it was empty: a body is not asked again after its end.
    body: Option<Pin<Box<B>>>,
    first: Option<Frame<B::Data>>,
}

impl<B: Body> Body for Begun<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.get_mut();
        match (this.first.take(), &mut this.body) {
            (Some(first), _) => Poll::Ready(Some(Ok(first))),
            (None, Some(body)) => body.as_mut().poll_frame(cx),
            (None, None) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        longer(&rest, self.first.as_ref().and_then(Frame::data_ref).map_or(0, Buf::remaining))
    }
}

impl<B: Body> Unpin for Begun<B> {}

impl<B: Body> fmt::Debug for Begun<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun").field("first", &self.first.is_some()).finish_non_exhaustive()
    }
}
