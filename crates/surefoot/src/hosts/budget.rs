//! Calls that draw on a budget.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use surefoot_core::{Budget, Error};

use crate::health::Inspect;
use crate::operation::{BlockingOperation, Operation};
use crate::pipeline::{Part, PartKind};
use crate::policy::{BlockingPolicy, Policy};
use crate::scope::spending::{self, Frame};

/// Takes one attempt for each call before anything inside begins, and gives it back if nothing was
/// dispatched. Every further call that is made inside takes another: retries, hedges, calls of other
/// pipelines.
///
/// Cancellation: dropping the call gives the attempt back, unless an operation was started: then it
/// is spent, whatever became of it.
impl Policy for Budget {
    async fn run<O: Operation>(&self, operation: &O) -> Result<O::Value, Error<O::Error>> {
        let frame = Frame::of(self.clone());
        let cover = spending::enter(Some(frame), spending::draw)?;
        spending::in_cover(cover, operation.attempt()).await
    }

    fn inspected(&self, found: &mut Vec<Arc<dyn Inspect>>) {
        found.push(Arc::new(self.clone()));
    }

    fn parts(&self, parts: &mut Vec<Part>) {
        let kind = if self.limits_attempts() { PartKind::Budget } else { PartKind::Other };
        parts.push(Part::new(kind, self.name().clone()));
    }
}

impl BlockingPolicy for Budget {
    fn run_blocking<O: BlockingOperation>(
        &self,
        operation: &O,
    ) -> Result<O::Value, Error<O::Error>> {
        let frame = Frame::of(self.clone());
        let cover = spending::enter(Some(frame), spending::draw)?;
        spending::covered(cover.as_ref(), || operation.attempt_blocking())
    }
}

/// Puts a [`Budget`] into scope: every call that a policy protects then draws on it.
///
/// ```
/// use surefoot::prelude::*;
/// use surefoot::{Budget, BudgetScope};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), ConfigError> {
/// let run = Budget::builder("run").attempts(2).build()?;
/// let breaker = CircuitBreaker::builder("api").build()?;
/// run.scope(async {
///     for _ in 0..2 {
///         assert!(breaker.call(|| async { Ok::<_, ()>(()) }).await.is_ok());
///     }
///     let refused = breaker.call(|| async { Ok::<_, ()>(()) }).await.unwrap_err();
///     assert_eq!(
///         refused.rejection().unwrap().to_string(),
///         "budget `run` has nothing left of its 2 attempts: end here, ask for less or give it more"
///     );
/// })
/// .await;
/// # Ok(())
/// # }
/// ```
///
/// Within the scope of another budget, calls draw on both, at all levels or at none; where one
/// is above the other, that is the lower one's affair. An attempt is taken when an operation starts,
/// and by a retry before it waits for its next one. Scopes do not cross a spawn: see
/// [`Scope`](crate::Scope).
pub trait BudgetScope: sealed::Sealed {
    /// `future` with the budget in scope, in every poll.
    fn scope<F: Future>(&self, future: F) -> InBudget<F>;

    /// Runs `inside` with the budget in scope, on this thread.
    fn scope_blocking<R>(&self, inside: impl FnOnce() -> R) -> R;
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for super::Budget {}
}

impl BudgetScope for Budget {
    fn scope<F: Future>(&self, future: F) -> InBudget<F> {
        InBudget { budget: self.clone(), frame: None, future }
    }

    fn scope_blocking<R>(&self, inside: impl FnOnce() -> R) -> R {
        spending::enter(Some(Frame::of(self.clone())), inside)
    }
}

pin_project! {
    /// A future with a budget in scope; made by [`BudgetScope::scope`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct InBudget<F> {
        budget: Budget,
        // Of the first poll, with what is around it then.
        frame: Option<Arc<Frame>>,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for InBudget<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let frame = this.frame.get_or_insert_with(|| Frame::of(this.budget.clone()));
        spending::enter(Some(Arc::clone(frame)), || this.future.poll(cx))
    }
}
