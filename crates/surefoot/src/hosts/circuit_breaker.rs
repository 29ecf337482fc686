//! Calls through a circuit breaker.

use std::borrow::Borrow;
use std::future::Future;
use std::sync::Arc;
use std::task::Poll;

use surefoot_core::{CircuitBreaker, Classify, DropReason, Error, Permit, Verdict};

use super::held::{self, Ends, Guarded};
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
        Guarded::new(
            |_| Poll::Ready(self.admit_borrowed()),
            operation,
            |operation| operation.attempt(),
        )
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
        let operation = Typed::new(operation, classifier);
        Guarded::new(|_| Poll::Ready(self.admit_borrowed()), operation, Typed::start)
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

/// An admitted call, whose result, end or panic closes its permit.
pub type Watched<B, J, F> = held::Watched<Permit<B>, J, F>;

impl<B: Borrow<CircuitBreaker>> Ends for Permit<B> {
    #[inline]
    fn answered<J: Judged>(
        &mut self,
        judge: &J,
        result: Result<J::Value, Error<J::Error>>,
    ) -> Result<J::Value, Error<J::Error>> {
        match result {
            Ok(mut value) => {
                let verdict = judge.classify(Ok(&value)).verdict;
                if J::STREAMS && verdict == Verdict::Success {
                    judge.keep(&mut value, Kept::permit(self.hand_over()));
                } else {
                    self.close(scope::without_kept_pauses(verdict));
                }
                Ok(value)
            }
            Err(error) => {
                let verdict = judge.verdict_on_error(&error);
                self.close(scope::without_kept_pauses(verdict));
                Err(error)
            }
        }
    }

    #[inline]
    fn panicked(&mut self) {
        self.close(Verdict::Failure);
    }

    #[inline]
    fn dropped(&mut self) {
        self.drop_for(DropReason::scoped);
    }
}
