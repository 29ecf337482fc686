//! Calls through a circuit breaker.

use std::borrow::Borrow;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use surefoot_core::{CircuitBreaker, DropReason, Error, Permit, Verdict};

use crate::operation::{BlockingOperation, Judged, Operation};
use crate::pipeline::{Part, PartKind};
use crate::policy::{BlockingPolicy, Policy};
use crate::stream::Kept;

/// Cancellation: dropping the call gives the permit back, which counts as nothing; being dropped
/// by one of our own deadlines, or a panic in the operation, counts as a failure once. A streamed answer keeps
/// the permit until it has ended.
impl Policy for CircuitBreaker {
    #[inline]
    async fn run<O: Operation>(&self, operation: &O) -> Result<O::Value, Error<O::Error>> {
        match self.admit_borrowed() {
            Ok(permit) => Watched::new(permit, operation, operation.attempt()).await,
            Err(rejection) => Err(Error::Rejected(rejection)),
        }
    }

    fn parts(&self, parts: &mut Vec<Part>) {
        parts.push(Part::new(PartKind::CircuitBreaker, self.name().clone()));
    }
}

impl BlockingPolicy for CircuitBreaker {
    #[inline]
    fn run_blocking<O: BlockingOperation>(
        &self,
        operation: &O,
    ) -> Result<O::Value, Error<O::Error>> {
        let mut permit = match self.admit_borrowed() {
            Ok(permit) => permit,
            Err(rejection) => return Err(Error::Rejected(rejection)),
        };
        match operation.attempt_blocking() {
            Ok(value) => {
                permit.close(operation.classify(Ok(&value)).verdict);
                Ok(value)
            }
            Err(error) => {
                permit.close(operation.verdict_on_error(&error));
                Err(error)
            }
        }
    }
}

pin_project! {
    /// An admitted call, whose result, end or panic closes its permit.
    #[derive(Debug)]
    pub struct Watched<B: Borrow<CircuitBreaker>, J, F> {
        #[pin]
        call: F,
        held: Held<B>,
        judge: J,
    }
}

impl<B: Borrow<CircuitBreaker>, J, F> Watched<B, J, F> {
    /// The call that `permit` was given for.
    #[inline]
    pub fn new(permit: Permit<B>, judge: J, call: F) -> Self {
        Self { call, held: Held { permit }, judge }
    }
}

impl<B, J, F> Future for Watched<B, J, F>
where
    B: Borrow<CircuitBreaker>,
    J: Judged,
    F: Future<Output = Result<J::Value, Error<J::Error>>>,
{
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let on_panic = FailureOnPanic(Some(this.held));
        let polled = this.call.poll(cx);
        let Some(held) = on_panic.disarm() else { return polled };
        polled.map(|result| match result {
            Ok(mut value) => {
                let verdict = this.judge.classify(Ok(&value)).verdict;
                if J::STREAMS && verdict == Verdict::Success {
                    this.judge.keep(&mut value, Kept::permit(held.permit.hand_over()));
                } else {
                    held.permit.close(verdict);
                }
                Ok(value)
            }
            Err(error) => {
                held.permit.close(this.judge.verdict_on_error(&error));
                Err(error)
            }
        })
    }
}

/// The permit of a future. Dropped from outside, so a panic that is unwinding meanwhile is not the
/// operation's.
#[derive(Debug)]
struct Held<B: Borrow<CircuitBreaker>> {
    permit: Permit<B>,
}

impl<B: Borrow<CircuitBreaker>> Drop for Held<B> {
    #[inline]
    fn drop(&mut self) {
        if !self.permit.is_closed() {
            self.permit.close(DropReason::scoped().verdict());
        }
    }
}

/// Dropped armed only when a poll of the operation panics.
struct FailureOnPanic<'a, B: Borrow<CircuitBreaker>>(Option<&'a mut Held<B>>);

impl<'a, B: Borrow<CircuitBreaker>> FailureOnPanic<'a, B> {
    #[inline]
    fn disarm(mut self) -> Option<&'a mut Held<B>> {
        self.0.take()
    }
}

impl<B: Borrow<CircuitBreaker>> Drop for FailureOnPanic<'_, B> {
    #[inline]
    fn drop(&mut self) {
        if let Some(held) = self.0.take() {
            held.permit.close(Verdict::Failure);
        }
    }
}
