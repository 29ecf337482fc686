//! Calls through a circuit breaker.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use surefoot_core::{CircuitBreaker, DropReason, Error, Permit, Verdict};

use crate::operation::{BlockingOperation, Operation};
use crate::pipeline::{Part, PartKind};
use crate::policy::{BlockingPolicy, Policy};
use crate::stream::Kept;

/// Cancellation: dropping the call gives the permit back, which counts as nothing; being dropped
/// by one of our own deadlines, or a panic in the operation, counts as a failure once. A streamed answer keeps
/// the permit until it has ended.
impl Policy for CircuitBreaker {
    #[inline]
    async fn run<O: Operation>(&self, operation: &O) -> Result<O::Value, Error<O::Error>> {
        let mut held = match self.admit_borrowed() {
            Ok(permit) => Held { permit },
            Err(rejection) => return Err(Error::Rejected(rejection)),
        };
        match (Guarded { attempt: operation.attempt(), held: &mut held }).await {
            Ok(mut value) => {
                let verdict = operation.classify(Ok(&value)).verdict;
                if O::STREAMS && verdict == Verdict::Success {
                    operation.keep(&mut value, Kept::permit(held.permit.hand_over()));
                } else {
                    held.permit.close(verdict);
                }
                Ok(value)
            }
            Err(error) => {
                held.permit.close(operation.verdict_on_error(&error));
                Err(error)
            }
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

/// The permit of a future. Dropped from outside, so a panic that is unwinding meanwhile is not the
/// operation's.
struct Held<'a> {
    permit: Permit<&'a CircuitBreaker>,
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.permit.is_closed() {
            self.permit.close(DropReason::scoped().verdict());
        }
    }
}

pin_project! {
    /// An attempt whose own panic closes the permit as a failure.
    struct Guarded<'h, 'b, F> {
        #[pin]
        attempt: F,
        held: &'h mut Held<'b>,
    }
}

impl<F: Future> Future for Guarded<'_, '_, F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let on_panic = FailureOnPanic(Some(this.held));
        let polled = this.attempt.poll(cx);
        on_panic.disarm();
        polled
    }
}

/// Dropped armed only when a poll of the operation panics.
struct FailureOnPanic<'a, 'b>(Option<&'a mut Held<'b>>);

impl FailureOnPanic<'_, '_> {
    #[inline]
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for FailureOnPanic<'_, '_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(held) = self.0.take() {
            held.permit.close(Verdict::Failure);
        }
    }
}
