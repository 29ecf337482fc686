//! Ending calls at their deadline.

use std::borrow::Borrow;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use surefoot_core::{Deadline, DropReason, Error, Timeout, with_drop_reason};

use crate::operation::{BlockingOperation, Operation};
use crate::pipeline::Part;
use crate::policy::{BlockingPolicy, Policy};
use crate::scope::{self, Due, TimeoutScope};
use crate::stream::Kept;
use crate::time::Sleep;

/// Cancellation: a call dropped by its caller is dropped, and nothing is reported. At the limit
/// the operation is polled once more, for a result that got through, and then dropped in place as
/// a failure ([`DropReason::Deadline`]). A streamed answer is bounded up to its first item by the
/// innermost timeout, and to its end by every other.
impl Policy for Timeout {
    async fn run<O: Operation>(&self, operation: &O) -> Result<O::Value, Error<O::Error>> {
        let limited = Limited::start(self, || operation.attempt());
        let own = limited.own;
        let mut result = limited.await;
        if O::STREAMS
            && let Ok(value) = &mut result
        {
            operation.keep(value, Kept::limit(self, own));
        }
        result
    }

    fn parts(&self, parts: &mut Vec<Part>) {
        parts.push(Part::timeout(self.name().clone(), self.limit()));
    }
}

impl BlockingPolicy for Timeout {
    fn run_blocking<O: BlockingOperation>(
        &self,
        operation: &O,
    ) -> Result<O::Value, Error<O::Error>> {
        let clock = self.time();
        let now = clock.now();
        let own = self.deadline(now);
        let deadline = own.within(scope::deadline_on(clock));
        if deadline.is_over(now) {
            return Err(timed_out(self, false, None));
        }
        let mut scope = TimeoutScope::new(Due { deadline, time: clock.clone() });
        match scope.enter(false, || operation.attempt_blocking()) {
            Err(error) if own.is_over(clock.now()) => {
                Err(timed_out(self, scope.dispatched, Some(error)))
            }
            result => result,
        }
    }
}

pin_project! {
    /// A call under a timeout.
    pub struct Limited<B, F> {
        timeout: B,
        own: Deadline,
        scope: TimeoutScope,
        #[pin]
        running: Option<F>,
        #[pin]
        sleep: Option<Sleep>,
    }
}

impl<B: Borrow<Timeout>, F> Limited<B, F> {
    /// Starts the clock, and then the call, unless a deadline outside is over already.
    pub fn start(timeout: B, call: impl FnOnce() -> F) -> Self {
        let clock = timeout.borrow().time();
        let now = clock.now();
        let own = timeout.borrow().deadline(now);
        let deadline = own.within(scope::deadline_on(clock));
        let mut scope = TimeoutScope::new(Due { deadline, time: clock.clone() });
        let running = (!deadline.is_over(now)).then(|| scope.enter(false, call));
        Self { timeout, own, scope, running, sleep: None }
    }
}

impl<B, F, T, E> Future for Limited<B, F>
where
    B: Borrow<Timeout>,
    F: Future<Output = Result<T, Error<E>>>,
{
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let timeout: &Timeout = (*this.timeout).borrow();
        let clock = timeout.time();
        let mut last_poll = false;
        loop {
            let Some(running) = this.running.as_mut().as_pin_mut() else {
                return Poll::Ready(Err(timed_out(timeout, this.scope.dispatched, None)));
            };
            match this.scope.enter(last_poll, || running.poll(cx)) {
                Poll::Ready(Ok(value)) => return Poll::Ready(Ok(value)),
                Poll::Ready(Err(error)) => {
                    let late = last_poll || this.own.is_over(clock.now());
                    return Poll::Ready(Err(if late {
                        timed_out(timeout, this.scope.dispatched, Some(error))
                    } else {
                        error
                    }));
                }
                Poll::Pending if last_poll => {
                    with_drop_reason(DropReason::Deadline, || this.running.set(None));
                    return Poll::Ready(Err(timed_out(timeout, this.scope.dispatched, None)));
                }
                Poll::Pending => {}
            }
            if this.sleep.is_none() {
                // Our own, even if the deadline outside comes first: whoever set that keeps it,
                // unless this call is carried out of there.
                this.sleep.set(Some(Sleep::until(clock, this.own.timestamp())));
            }
            match this.sleep.as_mut().as_pin_mut().map(|sleep| sleep.poll(cx)) {
                Some(Poll::Pending) => return Poll::Pending,
                Some(Poll::Ready(())) | None => last_poll = true,
            }
        }
    }
}

#[cold]
fn timed_out<E>(timeout: &Timeout, dispatched: bool, last: Option<Error<E>>) -> Error<E> {
    Error::Timeout {
        policy: timeout.name().clone(),
        limit: timeout.limit(),
        dispatched,
        last: last.map(Box::new),
    }
}
