//! Taking a scope along to where it would not reach by itself.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use surefoot_core::Budget;

use super::spending::{self, Frame};
use super::{DEADLINE, Due, attempt_number, in_attempt};

/// What calls here inherit: the budgets they draw on, the deadline, and that a retry is at work.
///
/// A scope follows a call, not a thread: it is there in every poll of the future it belongs to. It
/// does not cross a spawn or a thread by itself; [`instrument`](Self::instrument) and
/// [`enter`](Self::enter) take it along.
///
/// ```
/// use surefoot::{Budget, BudgetScope, Scope};
/// use surefoot::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let run = Budget::builder("run").attempts(10).build()?;
/// run.scope(async {
///     let alone = tokio::spawn(async { Scope::current().budget() });
///     assert!(alone.await.unwrap().is_none()); // it was left behind
///
///     let taken_along = Scope::current().instrument(async { Scope::current().budget() });
///     assert!(tokio::spawn(taken_along).await.unwrap().is_some());
/// })
/// .await;
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Scope {
    frame: Option<Arc<Frame>>,
    attempt: u32,
    due: Option<Due>,
}

impl Scope {
    /// What is in scope here.
    pub fn current() -> Self {
        Self {
            frame: spending::current(),
            attempt: attempt_number(),
            due: DEADLINE.with_borrow(Clone::clone),
        }
    }

    /// The innermost budget, to reserve and settle what a call uses.
    pub fn budget(&self) -> Option<Budget> {
        self.frame.as_ref().and_then(Frame::budget).cloned()
    }

    /// `future` with this in scope instead of what is around it, wherever it is polled.
    pub fn instrument<F>(self, future: F) -> Instrumented<F> {
        Instrumented { scope: self, future }
    }

    /// Runs `inside` with this in scope: for another thread.
    pub fn enter<R>(&self, inside: impl FnOnce() -> R) -> R {
        struct Exit {
            outer: Option<Due>,
        }
        impl Drop for Exit {
            fn drop(&mut self) {
                DEADLINE.set(self.outer.take());
            }
        }
        let _exit = Exit { outer: DEADLINE.replace(self.due.clone()) };
        spending::enter(self.frame.clone(), || in_attempt(self.attempt, inside))
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("budget", &self.frame.as_ref().and_then(Frame::budget))
            .field("deadline", &self.due.as_ref().map(|due| due.deadline))
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// A future that takes its scope along; made by [`Scope::instrument`].
    #[derive(Debug)]
    pub struct Instrumented<F> {
        scope: Scope,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Instrumented<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.scope.enter(|| this.future.poll(cx))
    }
}
