//! A throttler, or a compartment of a bulkhead, around a service.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use surefoot::host::{Acquiring, Admitted, Elsewhere};
use surefoot::throttler::{Claim, Permit};
use surefoot::{Classify, DefaultClassifier, Rejection, Throttler};
use tower_layer::Layer;
use tower_service::Service;

use crate::attempt::{self, Called, Decided};
use crate::{BoxError, Error, Judge, ServiceError};

/// Bounds how many calls of a service run at once: see [`surefoot::throttler`] and
/// [`surefoot::bulkhead`].
///
/// Waits for its permit in `poll_ready`, and reserves it there: so a service that is ready has one, which
/// goes back with the response, or when the service is dropped uncalled. A refusal (the queue is full, the wait was
/// too long, it was closed) is no reason to discard the service: `poll_ready` is ready then, and the refusal is what
/// the call gives.
///
/// One throttler can be given to any number of layers, and is shared. A compartment of a bulkhead is one:
/// `ThrottlerLayer::new(bulkhead.compartment("critical")?)`.
///
/// **Cancellation.** Dropping the response future, or a service that waits, gives back what it has.
#[derive(Clone, Debug)]
pub struct ThrottlerLayer<C = DefaultClassifier> {
    throttler: Throttler,
    classifier: C,
}

impl ThrottlerLayer {
    /// Around every service it is given, the same throttler.
    pub fn new(throttler: Throttler) -> Self {
        Self { throttler, classifier: DefaultClassifier }
    }
}

impl<C> ThrottlerLayer<C> {
    /// Judges responses and errors by `classifier`: what an adaptive limit goes by.
    pub fn classify<D>(self, classifier: D) -> ThrottlerLayer<D> {
        ThrottlerLayer { throttler: self.throttler, classifier }
    }
}

impl<S, C: Clone> Layer<S> for ThrottlerLayer<C> {
    type Service = ThrottlerService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { throttler, classifier } = self.clone();
        ThrottlerService { inner, throttler, classifier, permit: None, turn: Turn::Unasked }
    }
}

/// A service behind a throttler; made by [`ThrottlerLayer`].
pub struct ThrottlerService<S, C = DefaultClassifier> {
    inner: S,
    throttler: Throttler,
    classifier: C,
    /// For the next call, and closed when that has it. A clone has none.
    permit: Option<Permit>,
    /// How far it is with getting one that was not free at once. A clone begins anew.
    turn: Turn,
}

enum Turn {
    Unasked,
    Waiting(Acquiring),
    Refused(Rejection),
}

impl<S, C> ThrottlerService<S, C> {
    /// The throttler.
    pub fn throttler(&self) -> &Throttler {
        &self.throttler
    }

    /// The service below.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The permit, or the answer that there will be none.
    #[inline]
    fn poll_permit(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_permit() {
            return Poll::Ready(());
        }
        if let Turn::Unasked = self.turn {
            match Throttler::claim(self.throttler.clone()) {
                Ok(permit) => {
                    self.permit = Some(permit);
                    Poll::Ready(())
                }
                Err(claim) => self.queue_up(claim, cx),
            }
        } else {
            self.poll_turn(cx)
        }
    }

    #[inline]
    fn has_permit(&self) -> bool {
        self.permit.as_ref().is_some_and(|permit| !permit.is_closed())
    }

    #[cold]
    #[inline(never)]
    fn queue_up(&mut self, claim: Claim<Throttler>, cx: &mut Context<'_>) -> Poll<()> {
        let (acquiring, answer) = Acquiring::begin(claim, cx);
        self.turn = Turn::Waiting(acquiring);
        self.take_in(answer)
    }

    #[cold]
    #[inline(never)]
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Turn::Waiting(acquiring) = &mut self.turn else { return Poll::Ready(()) };
        let answer = Pin::new(acquiring).poll(cx);
        self.take_in(answer)
    }

    fn take_in(&mut self, answer: Poll<Result<Permit, Rejection>>) -> Poll<()> {
        self.turn = match ready!(answer) {
            Ok(permit) => {
                self.permit = Some(permit);
                Turn::Unasked
            }
            Err(rejection) => Turn::Refused(rejection),
        };
        Poll::Ready(())
    }
}

/// For a call that has no permit: it is given one if one is free, unless it was refused already.
#[cold]
#[inline(never)]
fn answer(throttler: &Throttler, turn: &mut Turn) -> Result<Permit, Elsewhere<Rejection>> {
    match std::mem::replace(turn, Turn::Unasked) {
        Turn::Refused(rejection) => Err(rejection),
        Turn::Unasked | Turn::Waiting(_) => throttler.try_acquire_owned(),
    }
    .map_err(Elsewhere::new)
}

impl<S: Clone, C: Clone> Clone for ThrottlerService<S, C> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            throttler: self.throttler.clone(),
            classifier: self.classifier.clone(),
            permit: None,
            turn: Turn::Unasked,
        }
    }
}

impl<S: fmt::Debug, C> fmt::Debug for ThrottlerService<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThrottlerService")
            .field("inner", &self.inner)
            .field("throttler", &self.throttler)
            .finish_non_exhaustive()
    }
}

/// A call through a [`ThrottlerService`].
pub type ThrottlerFuture<F, C, R> = Decided<Admitted<Throttler, Judge<C, R>, Called<F>>>;

impl<S, Q, C> Service<Q> for ThrottlerService<S, C>
where
    S: Service<Q>,
    S::Error: Into<BoxError> + 'static,
    C: Classify<S::Response, ServiceError> + Clone,
{
    type Response = S::Response;
    type Error = Error;
    type Future = ThrottlerFuture<S::Future, C, S::Response>;

    /// The permit first: a service below that is ready has reserved something, perhaps, and should not
    /// keep it through the wait.
    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        ready!(self.poll_permit(cx));
        if !self.has_permit() {
            return Poll::Ready(Ok(())); // to refuse the call
        }
        attempt::poll_ready(&mut self.inner, cx)
    }

    /// Without `poll_ready` before it, the call has no permit: then it is given one if one is free, and
    /// refused otherwise.
    #[inline]
    fn call(&mut self, request: Q) -> Self::Future {
        attempt::take_over();
        // Each way to a permit has a call of its own: where two meet, what they bring would be moved
        // through memory (ARCHITECTURE.md, "Goals that are missed").
        let mut admitted = |permit, request| {
            let judge = Judge::new(self.classifier.clone());
            let call = Admitted::new(permit, judge, attempt::call(&mut self.inner, request));
            Decided::admitted(call)
        };
        if let Some(permit) = self.permit.as_mut().and_then(Permit::take) {
            return admitted(permit, request);
        }
        match answer(&self.throttler, &mut self.turn) {
            Ok(permit) => admitted(permit, request),
            Err(rejection) => Decided::refused(rejection),
        }
    }
}
