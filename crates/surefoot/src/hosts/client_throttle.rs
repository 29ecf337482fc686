//! Calls through a client throttle.

use std::borrow::Borrow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use surefoot_core::client_throttle::Permit;
use surefoot_core::{ClientThrottle, Error, Verdict};

use crate::health::Inspect;
use crate::operation::{BlockingOperation, Judged, Operation};
use crate::pipeline::{Part, PartKind};
use crate::policy::{BlockingPolicy, Policy};
use crate::stream::{Holding, Kept};

/// A call reports its verdict as the classifier gives it. One that a policy inside refused was not sent, and counts
/// as nothing; so put the throttle inside a retry, where it sees every attempt.
///
/// ```
/// use surefoot::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # async fn search() -> Result<u32, std::io::Error> { Ok(3) }
/// let throttle = ClientThrottle::builder("search").build()?;
/// assert_eq!(throttle.call(search).await?, 3);
/// assert_eq!(throttle.status().accepts, 1);
/// # Ok(())
/// # }
/// ```
///
/// Cancellation: a call dropped by its caller, and one that panics, counts as nothing; one dropped by our own deadline
/// was not accepted. A streamed answer counts at its end.
impl Policy for ClientThrottle {
    async fn run<O: Operation>(&self, operation: &O) -> Result<O::Value, Error<O::Error>> {
        Reported::new(self.admit_borrowed()?, operation, operation.attempt()).await
    }

    fn inspected(&self, found: &mut Vec<Arc<dyn Inspect>>) {
        found.push(Arc::new(self.clone()));
    }

    fn parts(&self, parts: &mut Vec<Part>) {
        parts.push(Part::new(PartKind::ClientThrottle, self.name().clone()));
    }
}

impl BlockingPolicy for ClientThrottle {
    fn run_blocking<O: BlockingOperation>(
        &self,
        operation: &O,
    ) -> Result<O::Value, Error<O::Error>> {
        let mut permit = self.admit_borrowed()?;
        let result = operation.attempt_blocking();
        permit.close(operation.verdict(&result));
        result
    }
}

impl Holding for Permit {
    fn close(&mut self, verdict: Verdict) {
        Permit::close(self, verdict);
    }
}

pin_project! {
    /// A call that reports its verdict to a client throttle.
    #[derive(Debug)]
    pub struct Reported<T: Borrow<ClientThrottle>, J, F> {
        #[pin]
        call: F,
        judge: J,
        permit: Permit<T>,
    }
}

impl<T: Borrow<ClientThrottle>, J, F> Reported<T, J, F> {
    /// A call that was admitted with `permit`, whose result `judge` judges.
    #[inline]
    pub fn new(permit: Permit<T>, judge: J, call: F) -> Self {
        Self { call, judge, permit }
    }
}

impl<T, J, F> Future for Reported<T, J, F>
where
    T: Borrow<ClientThrottle>,
    J: Judged,
    F: Future<Output = Result<J::Value, Error<J::Error>>>,
{
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.call.poll(cx).map(|mut result| {
            let verdict = this.judge.verdict(&result);
            match &mut result {
                Ok(value) if J::STREAMS && verdict == Verdict::Success => {
                    this.judge.keep(value, Kept::permit(this.permit.hand_over()));
                }
                _ => this.permit.close(verdict),
            }
            result
        })
    }
}
