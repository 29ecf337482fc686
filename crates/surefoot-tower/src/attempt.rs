//! One call of a service.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use surefoot::host::{Cover, Elsewhere, Limited, covered, draw, is_budgeted, note_dispatch};
use surefoot::{Rejection, Timeout};
use tower_service::Service;

use crate::error::{BoxError, Error, ours};

thread_local! {
    /// Whether the service that is being called is a layer of ours, which itself knows when anything
    /// is dispatched.
    static TAKEN_OVER: Cell<bool> = const { Cell::new(false) };
}

/// Says that a layer of ours takes the call over: to be called first of all in its `call`.
#[inline]
pub(crate) fn take_over() {
    TAKEN_OVER.set(true);
}

/// Calls a service that is ready. Whatever is not a layer of ours, nor hands the call on to one before
/// it returns, is taken for the operation itself, which may take effect from here on.
#[inline]
pub(crate) fn call<S: Service<Q>, Q>(service: &mut S, request: Q) -> Called<S::Future> {
    let call = if is_budgeted() {
        Call::Covered { call: call_covered(service, request) }
    } else {
        Call::Free { response: start(service, request).0 }
    };
    Called { call }
}

/// Calls the service, and tells whether it was taken for the operation itself.
#[inline]
fn start<S: Service<Q>, Q>(service: &mut S, request: Q) -> (S::Future, bool) {
    TAKEN_OVER.set(false);
    let response = service.call(request);
    let dispatched = !TAKEN_OVER.replace(true);
    if dispatched {
        note_dispatch();
    }
    (response, dispatched)
}

/// Takes an attempt from the budgets in scope first. It is given back if nothing is dispatched.
#[cold]
#[inline(never)]
fn call_covered<S: Service<Q>, Q>(service: &mut S, request: Q) -> Elsewhere<Covered<S::Future>> {
    Elsewhere::new(match draw() {
        Err(rejection) => {
            take_over();
            Covered { response: None, cover: None, rejection: Some(rejection) }
        }
        Ok(None) => {
            Covered { response: Some(start(service, request).0), cover: None, rejection: None }
        }
        Ok(Some(cover)) => {
            let unless_it_returns = SpendOnPanic(&cover);
            let (response, dispatched) = cover.enter(|| start(service, request));
            std::mem::forget(unless_it_returns);
            if dispatched {
                cover.spend();
            }
            Covered { response: Some(response), cover: Some(cover), rejection: None }
        }
    })
}

/// Dropped when `Service::call` panics, which may have begun anything.
struct SpendOnPanic<'a>(&'a Cover);

impl Drop for SpendOnPanic<'_> {
    fn drop(&mut self) {
        self.0.spend();
    }
}

/// Asks whether a service is ready.
#[inline]
pub(crate) fn poll_ready<S, Q>(service: &mut S, cx: &mut Context<'_>) -> Poll<Result<(), Error>>
where
    S: Service<Q>,
    S::Error: Into<BoxError> + 'static,
{
    service.poll_ready(cx).map_err(ours)
}

pin_project! {
    /// A service's response, with its error as one of ours.
    #[derive(Debug)]
    pub struct Called<F> {
        #[pin]
        call: Call<F>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = CallProjection]
    enum Call<F> {
        // No budget was in scope.
        Free { #[pin] response: F },
        // So that nothing of a call without a budget has to be in memory.
        Covered { call: Elsewhere<Covered<F>> },
    }
}

pin_project! {
    /// A call for which the budgets in scope were asked.
    #[derive(Debug)]
    struct Covered<F> {
        // None if they do not pay.
        #[pin]
        response: Option<F>,
        cover: Option<Cover>,
        rejection: Option<Rejection>,
    }
}

impl<F, R, E> Future for Called<F>
where
    F: Future<Output = Result<R, E>>,
    E: Into<BoxError> + 'static,
{
    type Output = Result<R, Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().call.project() {
            CallProjection::Free { response } => response.poll(cx).map_err(ours),
            CallProjection::Covered { call } => match call.get_mut() {
                Some(call) => poll_covered(call, cx).map(|result| *result),
                None => Poll::Pending,
            },
        }
    }
}

#[cold]
#[inline(never)]
fn poll_covered<R, E>(
    call: Pin<&mut Covered<impl Future<Output = Result<R, E>>>>,
    cx: &mut Context<'_>,
) -> Poll<Box<Result<R, Error>>>
where
    E: Into<BoxError> + 'static,
{
    let call = call.project();
    let polled = match call.response.as_pin_mut() {
        Some(response) => covered(call.cover.as_ref(), || response.poll(cx)).map_err(ours),
        None => match call.rejection.take() {
            Some(rejection) => Poll::Ready(Err(Error::Rejected(rejection))),
            None => Poll::Pending, // polled again after it was ready
        },
    };
    polled.map(Box::new)
}

pin_project! {
    /// What a policy has decided about a call: the call it admitted, or why it refused.
    #[derive(Debug)]
    pub struct Decided<F> {
        #[pin]
        decision: Decision<F>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = DecisionProjection]
    enum Decision<F> {
        Admitted { #[pin] call: F },
        Refused { rejection: Elsewhere<Rejection> },
    }
}

impl<F> Decided<F> {
    /// Of an answer to which `call` follows, if it is a permit.
    #[inline]
    pub(crate) fn of<P>(
        answer: Result<P, impl Into<Elsewhere<Rejection>>>,
        call: impl FnOnce(P) -> F,
    ) -> Self {
        match answer {
            Ok(permit) => Self::admitted(call(permit)),
            Err(rejection) => Self::refused(rejection.into()),
        }
    }

    #[inline]
    pub(crate) fn admitted(call: F) -> Self {
        Self { decision: Decision::Admitted { call } }
    }

    #[inline]
    pub(crate) fn refused(rejection: Elsewhere<Rejection>) -> Self {
        Self { decision: Decision::Refused { rejection } }
    }
}

impl<F, R> Future for Decided<F>
where
    F: Future<Output = Result<R, Error>>,
{
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project().decision.project() {
            DecisionProjection::Admitted { call } => call.poll(cx),
            DecisionProjection::Refused { rejection } => refuse(rejection),
        }
    }
}

/// Answers with a rejection, once.
#[cold]
pub(crate) fn refuse<R>(rejection: &mut Elsewhere<Rejection>) -> Poll<Result<R, Error>> {
    match rejection.take() {
        Some(rejection) => Poll::Ready(Err(Error::Rejected(*rejection))),
        None => Poll::Pending, // polled again after it was ready
    }
}

pin_project! {
    /// A call, with a time limit or without one.
    #[project = MaybeLimitedProjection]
    pub enum MaybeLimited<F> {
        Plain { #[pin] call: F },
        Limited { #[pin] call: Limited<Timeout, F> },
    }
}

impl<F> MaybeLimited<F> {
    #[inline]
    pub(crate) fn start(limit: Option<&Timeout>, call: impl FnOnce() -> F) -> Self {
        match limit {
            None => Self::Plain { call: call() },
            Some(limit) => Self::Limited { call: Limited::start(limit.clone(), call) },
        }
    }
}

impl<F, R> Future for MaybeLimited<F>
where
    F: Future<Output = Result<R, Error>>,
{
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project() {
            MaybeLimitedProjection::Plain { call } => call.poll(cx),
            MaybeLimitedProjection::Limited { call } => call.poll(cx),
        }
    }
}

pin_project! {
    /// A call of a service that may have to get ready first.
    #[project = ReadyCallProjection]
    pub enum ReadyCall<S, Q, F> {
        Waiting { service: S, request: Option<Q> },
        Called { #[pin] call: Called<F> },
    }
}

impl<S, Q> ReadyCall<S, Q, S::Future>
where
    S: Service<Q>,
    S::Error: 'static,
{
    /// Of a service that is not known to be ready.
    pub(crate) fn waiting(service: S, request: Q) -> Self {
        Self::Waiting { service, request: Some(request) }
    }

    /// Of one that is ready.
    #[inline]
    pub(crate) fn ready(service: &mut S, request: Q) -> Self {
        Self::Called { call: call(service, request) }
    }
}

impl<S, Q> Future for ReadyCall<S, Q, S::Future>
where
    S: Service<Q>,
    S::Error: Into<BoxError> + 'static,
{
    type Output = Result<S::Response, Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match self.as_mut().project() {
                ReadyCallProjection::Called { call } => return call.poll(cx),
                ReadyCallProjection::Waiting { service, request } => {
                    ready!(poll_ready(service, cx))?;
                    let Some(request) = request.take() else { return Poll::Pending };
                    let call = call(service, request);
                    self.set(Self::Called { call });
                }
            }
        }
    }
}
