//! Calls through a throttler, which hold a permit of it.

mod acquire;

use std::borrow::Borrow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use surefoot_core::throttler::Permit;
use surefoot_core::{Classify, DropReason, Error, Rejection, Throttler, Verdict};

pub use self::acquire::{Acquire, Acquiring};
use super::held::{self, Ends, Guarded};
use crate::health::Inspect;
use crate::operation::{BlockingOperation, Judged, Operation, Typed};
use crate::pipeline::{Part, PartKind};
use crate::policy::{BlockingPolicy, Policy};
use crate::stream::{Holding, Kept};

/// Cancellation: dropping the call leaves the queue, or gives the permit back. A streamed answer keeps its
/// permit until it has ended.
impl Policy for Throttler {
    #[inline]
    fn run<O: Operation>(
        &self,
        operation: &O,
    ) -> impl Future<Output = Result<O::Value, Error<O::Error>>> + Send {
        Guarded::new(asking(self), operation, |operation| operation.attempt())
    }

    /// As the default would, but with the operation in the future: see the circuit breaker's.
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
        Guarded::new(asking(self), Typed::new(operation, classifier), Typed::start)
    }

    fn inspected(&self, found: &mut Vec<Arc<dyn Inspect>>) {
        found.push(Arc::new(self.clone()));
    }

    fn parts(&self, parts: &mut Vec<Part>) {
        let is_compartment = self.bulkhead().is_some();
        let kind = if is_compartment { PartKind::Bulkhead } else { PartKind::Throttler };
        parts.push(Part::new(kind, self.name().clone()));
    }
}

impl BlockingPolicy for Throttler {
    #[inline]
    fn run_blocking<O: BlockingOperation>(
        &self,
        operation: &O,
    ) -> Result<O::Value, Error<O::Error>> {
        let mut permit = self.acquire_blocking()?;
        let result = operation.attempt_blocking();
        permit.close_for(|| operation.verdict(&result));
        result
    }
}

/// How a call asks for its permit, poll by poll.
#[inline]
fn asking<'t>(
    throttler: &'t Throttler,
) -> impl FnMut(&mut Context<'_>) -> Poll<Result<Permit<&'t Throttler>, Rejection>> {
    let mut acquiring = Acquiring::new(throttler);
    move |cx| Pin::new(&mut acquiring).poll(cx)
}

/// An admitted call, whose end gives its permit back.
pub type Admitted<B, J, F> = held::Watched<Permit<B>, J, F>;

impl<B: Borrow<Throttler>> Ends for Permit<B> {
    #[inline]
    fn answered<J: Judged>(
        &mut self,
        judge: &J,
        mut result: Result<J::Value, Error<J::Error>>,
    ) -> Result<J::Value, Error<J::Error>> {
        if J::STREAMS
            && let Ok(value) = &mut result
            && judge.classify(Ok(value)).verdict == Verdict::Success
            && let Some(permit) = self.hand_over()
        {
            judge.keep(value, Kept::permit(permit));
        }
        self.close_for(|| judge.verdict(&result));
        result
    }

    #[cold]
    #[inline(never)]
    fn panicked(&mut self) {
        self.close(Verdict::Failure);
    }

    #[inline]
    fn dropped(&mut self) {
        #[cold]
        #[inline(never)]
        fn close<B: Borrow<Throttler>>(permit: &mut Permit<B>) {
            permit.close_for(|| DropReason::scoped().verdict());
        }
        if !self.is_closed() {
            close(self);
        }
    }
}

impl Holding for Permit {
    fn close(&mut self, verdict: Verdict) {
        Permit::close(self, verdict);
    }
}
