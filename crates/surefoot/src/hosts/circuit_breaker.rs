//! Calls through a circuit breaker.

use std::borrow::Borrow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use surefoot_core::{CircuitBreaker, Classify, DropReason, Error, Permit, Verdict};

use crate::health::Inspect;
use crate::operation::{BlockingOperation, Judged, Operation, Typed};
use crate::pipeline::{Part, PartKind};
use crate::policy::{BlockingPolicy, Policy};
use crate::scope;
use crate::stream::Kept;

/// Cancellation: dropping the call gives the permit back, which counts as nothing; being dropped
/// by one of our own deadlines, or a panic in the operation, counts as a failure once. A streamed answer keeps
/// the permit until it has ended.
impl Policy for CircuitBreaker {
    #[inline]
    fn run<O: Operation>(
        &self,
        operation: &O,
    ) -> impl Future<Output = Result<O::Value, Error<O::Error>>> + Send {
        Guarded::new(self, operation, |operation| operation.attempt())
    }

    /// As the default would, but with the operation in the future that [`run`](Self::run) only
    /// refers to: nothing in it then points into itself, and a call that succeeds at once needs no
    /// place in memory.
    #[inline]
    fn call_classified<F, Fut, C, T, E>(
        &self,
        classifier: &C,
        operation: F,
    ) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, E>> + Send,
        C: Classify<T, E> + Sync,
        T: Send,
        E: Send,
    {
        Guarded::new(self, Typed::new(operation, classifier), Typed::start)
    }

    fn inspected(&self, found: &mut Vec<Arc<dyn Inspect>>) {
        found.push(Arc::new(self.clone()));
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
                let verdict = operation.classify(Ok(&value)).verdict;
                permit.close(scope::without_kept_pauses(verdict));
                Ok(value)
            }
            Err(error) => {
                let verdict = operation.verdict_on_error(&error);
                permit.close(scope::without_kept_pauses(verdict));
                Err(error)
            }
        }
    }
}

pin_project! {
    /// A call that asks to be admitted, and starts, when it is first polled.
    struct Guarded<'b, O, S, F> {
        breaker: &'b CircuitBreaker,
        operation: O,
        start: S,
        #[pin]
        call: Option<F>,
        held: Option<Held<&'b CircuitBreaker>>,
    }
}

impl<'b, O, S: Fn(&O) -> F, F> Guarded<'b, O, S, F> {
    #[inline]
    fn new(breaker: &'b CircuitBreaker, operation: O, start: S) -> Self {
        Self { breaker, operation, start, call: None, held: None }
    }
}

impl<O, S, F> Future for Guarded<'_, O, S, F>
where
    O: Judged,
    S: Fn(&O) -> F,
    F: Future<Output = Result<O::Value, Error<O::Error>>>,
{
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        if this.call.is_none() {
            match this.breaker.admit_borrowed() {
                Ok(permit) => {
                    // A panic here finds the permit on the stack, where it counts as a failure.
                    this.call.set(Some((this.start)(this.operation)));
                    *this.held = Some(Held { permit });
                }
                Err(rejection) => return Poll::Ready(Err(Error::Rejected(rejection))),
            }
        }
        match (this.call.as_pin_mut(), this.held) {
            (Some(call), Some(held)) => held.poll(call, this.operation, cx),
            _ => Poll::Pending,
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
        this.held.poll(this.call, this.judge, cx)
    }
}

/// The permit of a future. Dropped from outside, so a panic that is unwinding meanwhile is not the
/// operation's.
#[derive(Debug)]
struct Held<B: Borrow<CircuitBreaker>> {
    permit: Permit<B>,
}

impl<B: Borrow<CircuitBreaker>> Held<B> {
    /// Polls the call the permit was given for, and closes it with the call's verdict.
    #[inline]
    fn poll<J: Judged>(
        &mut self,
        call: Pin<&mut impl Future<Output = Result<J::Value, Error<J::Error>>>>,
        judge: &J,
        cx: &mut Context<'_>,
    ) -> Poll<Result<J::Value, Error<J::Error>>> {
        let on_panic = FailureOnPanic(Some(self));
        let polled = call.poll(cx);
        let Some(held) = on_panic.disarm() else { return polled };
        polled.map(|result| match result {
            Ok(mut value) => {
                let verdict = judge.classify(Ok(&value)).verdict;
                if J::STREAMS && verdict == Verdict::Success {
                    judge.keep(&mut value, Kept::permit(held.permit.hand_over()));
                } else {
                    held.permit.close(scope::without_kept_pauses(verdict));
                }
                Ok(value)
            }
            Err(error) => {
                let verdict = judge.verdict_on_error(&error);
                held.permit.close(scope::without_kept_pauses(verdict));
                Err(error)
            }
        })
    }
}

impl<B: Borrow<CircuitBreaker>> Drop for Held<B> {
    #[inline]
    fn drop(&mut self) {
        self.permit.drop_for(DropReason::scoped);
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
