//! The time left: told to the callee, and obeyed when a caller tells it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, Request};
use pin_project_lite::pin_project;
use surefoot::http::deadline::DeadlineHeader;
use surefoot::{Attempt, ConfigError, TimeSource, Timeout};
use tower_layer::Layer;
use tower_service::Service;

use crate::attempt::{self, Called, MaybeLimited};
use crate::{BoxError, Error};

/// Tells the callee, in a header, how much time is left for the call: that of the
/// [`TimeoutLayer`](crate::TimeoutLayer)s around, of a [`DeadlineServerLayer`], and of the policies of
/// [`surefoot`] that the call runs under. Without any time limit around, no header is set. A request that asks for
/// less time itself, such as one of tonic's with a `set_timeout`, keeps its own header.
///
/// Put it innermost, so that a retry's every attempt tells what is left then.
#[derive(Clone, Debug, Default)]
pub struct DeadlineClientLayer {
    header: DeadlineHeader,
}

impl DeadlineClientLayer {
    /// With the usual header for plain HTTP, `x-envoy-expected-rq-timeout-ms`.
    pub fn new() -> Self {
        Self::default()
    }

    /// With another header: [`DeadlineHeader::grpc`] for gRPC.
    pub fn with_header(header: DeadlineHeader) -> Self {
        Self { header }
    }
}

impl<S> Layer<S> for DeadlineClientLayer {
    type Service = DeadlineClientService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        DeadlineClientService { inner, header: self.header.clone() }
    }
}

/// A service that is told the time left; made by [`DeadlineClientLayer`].
#[derive(Clone, Debug)]
pub struct DeadlineClientService<S> {
    inner: S,
    header: DeadlineHeader,
}

impl<S, B> Service<Request<B>> for DeadlineClientService<S>
where
    S: Service<Request<B>>,
    S::Error: Into<BoxError> + 'static,
{
    type Response = S::Response;
    type Error = Error;
    type Future = Called<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        attempt::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        attempt::take_over();
        tell(&self.header, request.headers_mut());
        attempt::call(&mut self.inner, request)
    }
}

fn tell(header: &DeadlineHeader, headers: &mut HeaderMap) {
    let Some(remaining) = Attempt::current().remaining() else { return };
    if header.get(headers).is_none_or(|asked| asked > remaining) {
        header.set(headers, remaining);
    }
}

#[cfg(feature = "reqwest")]
impl<S> Service<reqwest::Request> for DeadlineClientService<S>
where
    S: Service<reqwest::Request>,
    S::Error: Into<BoxError> + 'static,
{
    type Response = S::Response;
    type Error = Error;
    type Future = Called<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        attempt::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, mut request: reqwest::Request) -> Self::Future {
        attempt::take_over();
        tell(&self.header, request.headers_mut());
        attempt::call(&mut self.inner, request)
    }
}

/// Obeys the deadline that a request brings: the service works no longer than the caller waits, and its
/// own calls, with a [`DeadlineClientLayer`], tell what is left of it.
///
/// A deadline that is over already is refused before anything is dispatched; a malformed one is none. With
/// [`at_most`](Self::at_most) a caller cannot ask for more time than that. What bounds the call is a
/// [`Timeout`]: a response that got through is given, and its body then takes as long as it takes.
///
/// **Cancellation.** At the deadline the call is dropped, which to the policies inside is a failure of what they
/// call ([`DropReason::Deadline`](surefoot::DropReason::Deadline)). Handlers see the time left with
/// [`Attempt::current`]; what they spawn does not.
#[derive(Clone, Debug, Default)]
pub struct DeadlineServerLayer {
    header: DeadlineHeader,
    most: Option<Duration>,
    time: TimeSource,
}

impl DeadlineServerLayer {
    /// With the usual header for plain HTTP, `x-envoy-expected-rq-timeout-ms`, and no limit of its own.
    pub fn new() -> Self {
        Self::default()
    }

    /// With another header: [`DeadlineHeader::grpc`] for gRPC.
    pub fn with_header(header: DeadlineHeader) -> Self {
        Self { header, ..Self::default() }
    }

    /// The most time that a request gets, also one that brings no deadline.
    ///
    /// # Errors
    /// If the limit is zero, which would refuse every request, or beyond what a clock can tell.
    pub fn at_most(self, limit: Duration) -> Result<Self, ConfigError> {
        Timeout::new(limit).map_err(|error| {
            ConfigError::new("deadline_server", "at_most", error.value(), error.rule())
        })?;
        Ok(Self { most: Some(limit), ..self })
    }

    /// The clock to decide by. Default: the system's.
    pub fn on_clock(self, clock: impl Into<TimeSource>) -> Self {
        Self { time: clock.into(), ..self }
    }

    fn limit<B>(&self, request: &Request<B>) -> Option<Duration> {
        let told = self.header.get(request.headers());
        told.into_iter().chain(self.most).min()
    }
}

impl<S> Layer<S> for DeadlineServerLayer {
    type Service = DeadlineServerService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        DeadlineServerService { inner, layer: self.clone() }
    }
}

/// A service that obeys its callers' deadlines; made by [`DeadlineServerLayer`].
#[derive(Clone, Debug)]
pub struct DeadlineServerService<S> {
    inner: S,
    layer: DeadlineServerLayer,
}

/// What the deadline is called in errors.
const NAME: &str = "the caller's deadline";

impl<S, B> Service<Request<B>> for DeadlineServerService<S>
where
    S: Service<Request<B>>,
    S::Error: Into<BoxError> + 'static,
{
    type Response = S::Response;
    type Error = Error;
    type Future = DeadlineServerFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        attempt::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        attempt::take_over();
        let Self { inner, layer } = self;
        let limit = layer.limit(&request);
        if limit.is_some_and(|limit| limit.is_zero()) {
            return DeadlineServerFuture { call: None };
        }
        // A limit beyond what a clock can tell is none.
        let timeout = limit.and_then(|limit| Timeout::new(limit).ok());
        let timeout = timeout.map(|timeout| timeout.named(NAME).on_clock(layer.time.clone()));
        let call = MaybeLimited::start(timeout.as_ref(), || attempt::call(inner, request));
        DeadlineServerFuture { call: Some(call) }
    }
}

pin_project! {
    /// A call through a [`DeadlineServerService`].
    pub struct DeadlineServerFuture<F> {
        // `None` if the deadline was over before it began.
        #[pin]
        call: Option<MaybeLimited<Called<F>>>,
    }
}

impl<F, R, E> Future for DeadlineServerFuture<F>
where
    F: Future<Output = Result<R, E>>,
    E: Into<BoxError> + 'static,
{
    type Output = Result<R, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().call.as_pin_mut() {
            Some(call) => call.poll(cx),
            None => Poll::Ready(Err(Error::Timeout {
                policy: NAME.into(),
                limit: Duration::ZERO,
                dispatched: false,
                last: None,
            })),
        }
    }
}
