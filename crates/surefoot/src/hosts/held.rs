//! Calls that hold a permit until they have ended.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use surefoot_core::{Error, Rejection};

use crate::operation::Judged;

/// What a permit makes of how its call ends.
pub trait Ends {
    /// The call came to its own end: closes the permit with the verdict on the result, or has a streamed
    /// answer keep it.
    fn answered<J: Judged>(
        &mut self,
        judge: &J,
        result: Result<J::Value, Error<J::Error>>,
    ) -> Result<J::Value, Error<J::Error>>;

    /// The operation has panicked.
    fn panicked(&mut self);

    /// The future is dropped from outside; the permit may be closed already. A panic that is unwinding meanwhile
    /// is not the operation's.
    fn dropped(&mut self);
}

pin_project! {
    /// A call that asks for its permit when it is first polled, and starts when it has it.
    pub(super) struct Guarded<A, O, S, F, P: Ends> {
        ask: A,
        operation: O,
        start: S,
        #[pin]
        call: Option<F>,
        held: Option<Held<P>>,
    }
}

impl<A, O, S, F, P> Guarded<A, O, S, F, P>
where
    A: FnMut(&mut Context<'_>) -> Poll<Result<P, Rejection>>,
    S: Fn(&O) -> F,
    P: Ends,
{
    #[inline]
    pub(super) fn new(ask: A, operation: O, start: S) -> Self {
        Self { ask, operation, start, call: None, held: None }
    }
}

impl<A, O, S, F, P> Future for Guarded<A, O, S, F, P>
where
    A: FnMut(&mut Context<'_>) -> Poll<Result<P, Rejection>>,
    O: Judged,
    S: Fn(&O) -> F,
    F: Future<Output = Result<O::Value, Error<O::Error>>>,
    P: Ends,
{
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        if this.call.is_none() {
            let permit = ready!((this.ask)(cx))?;
            // A panic here finds the permit on the stack.
            this.call.set(Some((this.start)(this.operation)));
            *this.held = Some(Held { permit });
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
    pub struct Watched<P: Ends, J, F> {
        #[pin]
        call: F,
        held: Held<P>,
        judge: J,
    }
}

impl<P: Ends, J, F> Watched<P, J, F> {
    /// The call that `permit` was given for.
    #[inline]
    pub fn new(permit: P, judge: J, call: F) -> Self {
        Self { call, held: Held { permit }, judge }
    }
}

impl<P, J, F> Future for Watched<P, J, F>
where
    P: Ends,
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

/// The permit of a future.
#[derive(Debug)]
struct Held<P: Ends> {
    permit: P,
}

impl<P: Ends> Held<P> {
    /// Polls the call the permit was given for, and closes it when the call has ended.
    #[inline]
    fn poll<J: Judged>(
        &mut self,
        call: Pin<&mut impl Future<Output = Result<J::Value, Error<J::Error>>>>,
        judge: &J,
        cx: &mut Context<'_>,
    ) -> Poll<Result<J::Value, Error<J::Error>>> {
        let on_panic = OnPanic(Some(&mut self.permit));
        let polled = call.poll(cx);
        let Some(permit) = on_panic.disarm() else { return polled };
        polled.map(|result| permit.answered(judge, result))
    }
}

impl<P: Ends> Drop for Held<P> {
    #[inline]
    fn drop(&mut self) {
        self.permit.dropped();
    }
}

/// Dropped armed only when a poll of the operation panics.
struct OnPanic<'a, P: Ends>(Option<&'a mut P>);

impl<'a, P: Ends> OnPanic<'a, P> {
    #[inline]
    fn disarm(mut self) -> Option<&'a mut P> {
        self.0.take()
    }
}

impl<P: Ends> Drop for OnPanic<'_, P> {
    #[inline]
    fn drop(&mut self) {
        if let Some(permit) = self.0.take() {
            permit.panicked();
        }
    }
}
