//! Calls through a circuit breaker.

use surefoot_core::{CircuitBreaker, Error};

use crate::operation::{BlockingOperation, Operation};
use crate::pipeline::{Part, PartKind};
use crate::policy::Policy;

/// Cancellation: dropping the call gives the permit back, which counts as nothing; being dropped
/// by one of our own deadlines, or a panic in the operation, counts as a failure once.
impl Policy for CircuitBreaker {
    #[inline]
    async fn run<O: Operation>(&self, operation: &O) -> Result<O::Value, Error<O::Error>> {
        let permit = self.admit_borrowed()?;
        let result = operation.attempt().await;
        permit.settle(operation.verdict(&result));
        result
    }

    #[inline]
    fn run_blocking<O: BlockingOperation>(
        &self,
        operation: &O,
    ) -> Result<O::Value, Error<O::Error>> {
        let permit = self.admit_borrowed()?;
        let result = operation.attempt_blocking();
        permit.settle(operation.verdict(&result));
        result
    }

    fn parts(&self, parts: &mut Vec<Part>) {
        parts.push(Part::new(PartKind::CircuitBreaker, self.name().clone()));
    }
}
