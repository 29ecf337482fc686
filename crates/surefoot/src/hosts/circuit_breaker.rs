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
        let mut permit = match self.admit_borrowed() {
            Ok(permit) => permit,
            Err(rejection) => return Err(Error::Rejected(rejection)),
        };
        match operation.attempt().await {
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

    fn parts(&self, parts: &mut Vec<Part>) {
        parts.push(Part::new(PartKind::CircuitBreaker, self.name().clone()));
    }
}
