//! Calls through a load shedder.

use std::borrow::Borrow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use surefoot_core::load_shedder::{Permit, Prioritized};
use surefoot_core::{Error, LoadShedder, Verdict};

use crate::health::Inspect;
use crate::operation::{BlockingOperation, Operation};
use crate::pipeline::{Part, PartKind};
use crate::policy::{BlockingPolicy, Policy};
use crate::stream::{Holding, Kept};

/// A call counts as under way from the time it is admitted, when it is first polled, to its end; a streamed
/// answer to the end of the stream.
///
/// ```
/// use surefoot::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # async fn answer() -> Result<&'static str, std::io::Error> { Ok("42") }
/// let shedder = LoadShedder::builder("api").capacity(100).build()?;
/// let batch = shedder.priority(1)?;
/// let interactive = shedder.priority(3)?;
/// assert_eq!(interactive.call(answer).await?, "42");
/// assert_eq!(batch.call(answer).await?, "42"); // as long as fewer than 80 are under way
/// # Ok(())
/// # }
/// ```
///
/// Cancellation: whatever ends the call (an answer, its caller, a deadline, a panic) gives its place
/// back.
impl Policy for Prioritized {
    async fn run<O: Operation>(&self, operation: &O) -> Result<O::Value, Error<O::Error>> {
        let mut permit = self.admit_borrowed()?;
        let mut result = operation.attempt().await;
        if O::STREAMS
            && let Ok(value) = &mut result
        {
            operation.keep(value, Kept::permit(permit.hand_over()));
        }
        result
    }

    fn inspected(&self, found: &mut Vec<Arc<dyn Inspect>>) {
        found.push(Arc::new(self.shedder().clone()));
    }

    fn parts(&self, parts: &mut Vec<Part>) {
        parts.push(Part::new(PartKind::LoadShedder, self.shedder().name().clone()));
    }
}

/// Calls without a priority have the lowest.
impl Policy for LoadShedder {
    async fn run<O: Operation>(&self, operation: &O) -> Result<O::Value, Error<O::Error>> {
        self.lowest_priority().run(operation).await
    }

    fn inspected(&self, found: &mut Vec<Arc<dyn Inspect>>) {
        found.push(Arc::new(self.clone()));
    }

    fn parts(&self, parts: &mut Vec<Part>) {
        self.lowest_priority().parts(parts);
    }
}

impl BlockingPolicy for LoadShedder {
    fn run_blocking<O: BlockingOperation>(
        &self,
        operation: &O,
    ) -> Result<O::Value, Error<O::Error>> {
        self.lowest_priority().run_blocking(operation)
    }
}

impl BlockingPolicy for Prioritized {
    fn run_blocking<O: BlockingOperation>(
        &self,
        operation: &O,
    ) -> Result<O::Value, Error<O::Error>> {
        let _permit = self.admit_borrowed()?;
        operation.attempt_blocking()
    }
}

impl Holding for Permit {
    fn close(&mut self, _: Verdict) {
        drop(self.hand_over());
    }
}

pin_project! {
    /// A call that counts as under way as long as it lives.
    #[derive(Debug)]
    pub struct Counted<S: Borrow<LoadShedder>, F> {
        #[pin]
        call: F,
        permit: Option<Permit<S>>,
    }
}

impl<S: Borrow<LoadShedder>, F> Counted<S, F> {
    /// A call that was admitted with `permit`.
    #[inline]
    pub fn new(permit: Permit<S>, call: F) -> Self {
        Self { call, permit: Some(permit) }
    }
}

impl<S: Borrow<LoadShedder>, F: Future> Future for Counted<S, F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let polled = this.call.poll(cx);
        if polled.is_ready() {
            // Not only when the future is dropped, which may be later.
            *this.permit = None;
        }
        polled
    }
}
