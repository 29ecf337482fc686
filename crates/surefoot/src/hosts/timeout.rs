//! Ending calls at their deadline.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use surefoot_core::{DropReason, Error, Timeout, with_drop_reason};

use crate::operation::{BlockingOperation, Operation};
use crate::pipeline::Part;
use crate::policy::{BlockingPolicy, Policy};
use crate::scope::{self, Due, TimeoutScope};
use crate::stream::Kept;
use crate::time;

/// Cancellation: a call dropped by its caller is dropped, and nothing is reported. At the limit
/// the operation is polled once more, for a result that got through, and then dropped in place as
/// a failure ([`DropReason::Deadline`]). A streamed answer is bounded up to its first item by the
/// innermost timeout, and to its end by every other.
impl Policy for Timeout {
    async fn run<O: Operation>(&self, operation: &O) -> Result<O::Value, Error<O::Error>> {
        let clock = self.time();
        let now = clock.now();
        let own = self.deadline(now);
        let deadline = own.within(scope::deadline_on(clock));
        if deadline.is_over(now) {
            return Err(timed_out(self, false, None));
        }
        let mut scope = TimeoutScope::new(Due { deadline, time: clock.clone() });
        let mut running = pin!(Some(operation.attempt()));
        let mut sleep = pin!(None);
        poll_fn(|cx| {
            let mut last_poll = false;
            loop {
                let Some(attempt) = running.as_mut().as_pin_mut() else {
                    return Poll::Ready(Err(timed_out(self, scope.dispatched, None)));
                };
                match scope.enter(last_poll, || attempt.poll(cx)) {
                    Poll::Ready(Ok(mut value)) => {
                        if O::STREAMS {
                            operation.keep(&mut value, Kept::limit(self, own));
                        }
                        return Poll::Ready(Ok(value));
                    }
                    Poll::Ready(Err(error)) => {
                        let late = last_poll || own.is_over(clock.now());
                        return Poll::Ready(Err(if late {
                            timed_out(self, scope.dispatched, Some(error))
                        } else {
                            error
                        }));
                    }
                    Poll::Pending if last_poll => {
                        with_drop_reason(DropReason::Deadline, || running.set(None));
                        return Poll::Ready(Err(timed_out(self, scope.dispatched, None)));
                    }
                    Poll::Pending => {}
                }
                if sleep.is_none() {
                    // Our own, even if the deadline outside comes first: whoever set that keeps it,
                    // unless this call is carried out of there.
                    sleep.set(Some(time::Sleep::until(clock, own.timestamp())));
                }
                match sleep.as_mut().as_pin_mut().map(|sleep| sleep.poll(cx)) {
                    Some(Poll::Pending) => return Poll::Pending,
                    Some(Poll::Ready(())) | None => last_poll = true,
                }
            }
        })
        .await
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

#[cold]
fn timed_out<E>(timeout: &Timeout, dispatched: bool, last: Option<Error<E>>) -> Error<E> {
    Error::Timeout {
        policy: timeout.name().clone(),
        limit: timeout.limit(),
        dispatched,
        last: last.map(Box::new),
    }
}
