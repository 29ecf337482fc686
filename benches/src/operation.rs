//! The one operation that every subject protects, and the one way asynchronous subjects are driven.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::hint::{black_box, spin_loop};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tower::Service;

/// A request the operation answers.
pub(crate) const SUCCEEDING: u64 = 1;

/// A request the operation fails: what opens a circuit before its rejections are measured.
pub(crate) const FAILING: u64 = u64::MAX;

/// The operation's error: a value, so that no subject's cost contains the cost of making an error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failure;

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the operation was asked to fail")
    }
}

impl Error for Failure {}

/// Answers with the request. The optimiser knows neither the request nor, therefore, the outcome, so every
/// subject has to look at the result as it would at a real one.
#[inline]
pub(crate) fn operation(request: u64) -> Result<u64, Failure> {
    match black_box(request) {
        FAILING => Err(Failure),
        answer => Ok(answer),
    }
}

/// [`operation`] as a future that is ready when first polled.
#[inline]
pub(crate) async fn operation_async(request: u64) -> Result<u64, Failure> {
    operation(request)
}

/// Polls `future` once, where it stands, with a waker that does nothing: an executor would cost more than what
/// is measured.
///
/// # Panics
///
/// If the future is not ready: nothing measured here has a reason to wait.
#[inline]
pub(crate) fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a measured future is ready at its first poll"),
    }
}

/// Polls `future` until it is ready, without pause: for futures that may find another thread in their way. One that
/// is ready at once costs what it costs in [`ready`].
#[inline]
pub(crate) fn until_ready<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        spin_loop();
    }
}

/// Sends `request` through a tower service as its users do: ready, then call, then the answer.
#[inline]
pub(crate) async fn call_service<S: Service<u64>>(
    service: &mut S,
    request: u64,
) -> Result<S::Response, S::Error> {
    poll_fn(|context| service.poll_ready(context)).await?;
    service.call(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operation_fails_only_when_asked_to() {
        assert_eq!(operation(SUCCEEDING).ok(), Some(SUCCEEDING));
        assert!(operation(FAILING).is_err());
        assert_eq!(ready(operation_async(7)).ok(), Some(7));
    }

    #[test]
    fn a_future_that_waits_can_be_waited_for() {
        let mut polls = 0;
        until_ready(poll_fn(|_| {
            polls += 1;
            if polls == 3 { Poll::Ready(()) } else { Poll::Pending }
        }));
        assert_eq!(polls, 3);
    }

    #[test]
    #[should_panic(expected = "ready at its first poll")]
    fn a_future_that_waits_is_refused() {
        ready(std::future::pending::<()>());
    }
}
