//! Calls whose answers a rate limiter learns from.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use surefoot_core::rate_limiter::ServerLimits;
use surefoot_core::{Classification, Error, Name};

use super::{Limiter, Slotted, run_blocking};
use crate::operation::{BlockingOperation, Judged, Operation};
use crate::pipeline::{Part, PartKind};
use crate::policy::{BlockingPolicy, Policy};
use crate::scope;
use crate::stream::Kept;

/// A rate limiter that learns from the answers to its calls; made by
/// [`Limiter::learning`](super::Limiter::learning).
///
/// After each call it takes in what the answer says about the server's limits: the classifier
/// says what that is ([`Classify::server_limits`](surefoot_core::Classify::server_limits)).
/// Any classifier tells a wait that was asked for; an `HttpClassifier` (feature `http`) reads all
/// headers and bodies that it knows, [`limits_from`](crate::limits_from) has a function of yours do it.
///
/// - A refusal (a 429) closes the key for everybody until the stated time: those who wait in line for
///   it are due after that, so that not every one of them collects a refusal of its own. A caller who
///   cannot wait for so long is refused at once. A refusal that states no time closes it for
///   [`unstated_pause`](Self::unstated_pause).
/// - Where less is left than was thought, because others use the same key, so it is here.
/// - A spent quota closes nothing: the answer is final, and no wait of a limiter's helps.
///
/// **With a circuit breaker inside**, the limiter keeps the pauses, and the breaker does not: to
/// it such an answer counts as nothing. A pause that a stream asks for after its first item is the
/// breaker's.
///
/// ```
/// use http::Response;
/// use std::time::Duration;
/// use surefoot::http::HttpClassifier;
/// use surefoot::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # async fn send() -> Result<Response<Vec<u8>>, std::io::Error> {
/// #     let mut answer = Response::new(Vec::new());
/// #     answer.headers_mut().insert("x-ratelimit-remaining-requests", 12.into());
/// #     Ok(answer)
/// # }
/// let limiter = RateLimiter::builder("model").max_requests(50).build()?;
/// let model = limiter.learning().classify_with(HttpClassifier::new());
/// model.call(send).await?;
/// assert_eq!(limiter.remaining(), 12); // as `x-ratelimit-remaining-requests` said
/// # Ok(())
/// # }
/// ```
///
/// **Cancellation.** As for the limiter; from a call that is dropped nothing is learned.
///
/// **Cost.** Beside the limiter's: what reading the answer costs, and a short lock if it says
/// anything.
#[derive(Clone, Debug)]
pub struct Learning<L> {
    limiter: L,
    units: u64,
    unit: Name,
    unstated_pause: Duration,
}

impl<L: Limiter> Learning<L> {
    pub(super) fn new(limiter: L, units: u64) -> Self {
        let (unit, unstated_pause) = (Name::from("requests"), Duration::from_secs(1));
        Self { limiter, units, unit, unstated_pause }
    }

    /// What the limiter counts, as the answers call it. Default `requests`.
    pub fn unit(self, unit: impl Into<Name>) -> Self {
        Self { unit: unit.into(), ..self }
    }

    /// For how long nobody calls after a refusal that states no time. Default 1 s; zero: not at
    /// all.
    pub fn unstated_pause(self, pause: Duration) -> Self {
        Self { unstated_pause: pause, ..self }
    }

    /// The limiter.
    pub fn limiter(&self) -> &L {
        &self.limiter
    }

    /// Takes in what an answer says. Calls through this do so by themselves.
    pub fn learn(&self, limits: &ServerLimits) {
        // With a key there may be no room to remember it: then it is not admitted either.
        let _ = self.limiter.learn(&self.unit, limits);
        if limits.throttled && !limits.quota_spent && limits.pause(&self.unit).is_none() {
            let _ = self.limiter.pause_for(self.unstated_pause);
        }
    }

    /// The same from what came of a call, as `judge` reads it; for other hosts.
    pub fn learn_from<J: Judged>(&self, judge: &J, result: &Result<J::Value, Error<J::Error>>) {
        let limits = judge.limits_told(result);
        if !limits.is_empty() {
            self.learn(&limits);
        }
    }
}

/// See [`Limiter`](super::Limiter) for waiting.
impl<L: Limiter> Policy for Learning<L> {
    fn run<O: Operation>(
        &self,
        operation: &O,
    ) -> impl Future<Output = Result<O::Value, Error<O::Error>>> + Send {
        let lesson = Lesson { learning: self, operation };
        Slotted::new(&self.limiter, self.units, lesson, Lesson::attend)
    }

    fn parts(&self, parts: &mut Vec<Part>) {
        parts.push(Part::new(PartKind::RateLimiter, self.limiter.name().clone()));
    }
}

impl<L: Limiter> BlockingPolicy for Learning<L> {
    fn run_blocking<O: BlockingOperation>(
        &self,
        operation: &O,
    ) -> Result<O::Value, Error<O::Error>> {
        run_blocking(&self.limiter, self.units, &Lesson { learning: self, operation })
    }
}

/// An operation whose results are learned from.
struct Lesson<'l, 'o, L, O> {
    learning: &'l Learning<L>,
    operation: &'o O,
}

impl<L, O: Judged> Judged for Lesson<'_, '_, L, O> {
    type Value = O::Value;
    type Error = O::Error;

    const STREAMS: bool = O::STREAMS;
    const DISPATCHES: bool = O::DISPATCHES;

    fn keep(&self, value: &mut O::Value, kept: Kept) {
        self.operation.keep(value, kept);
    }

    fn classify(&self, result: Result<&O::Value, &O::Error>) -> Classification {
        self.operation.classify(result)
    }

    fn server_limits(&self, result: Result<&O::Value, &O::Error>) -> ServerLimits {
        self.operation.server_limits(result)
    }
}

impl<'l, 'o, L: Limiter, O: Operation> Lesson<'l, 'o, L, O> {
    fn attend(
        &self,
    ) -> impl Future<Output = Result<O::Value, Error<O::Error>>> + Send + use<'l, 'o, L, O> {
        let Self { learning, operation } = *self;
        async move {
            let result = LearnedFrom::new(operation.attempt()).await;
            learning.learn_from(operation, &result);
            result
        }
    }
}

impl<L: Limiter, O: BlockingOperation> BlockingOperation for Lesson<'_, '_, L, O> {
    fn attempt_blocking(&self) -> Result<O::Value, Error<O::Error>> {
        let result = scope::learned_from(|| self.operation.attempt_blocking());
        self.learning.learn_from(self.operation, &result);
        result
    }
}

pin_project! {
    /// A call whose answer a limiter learns from, so that circuit breakers inside leave the pauses
    /// that the callee asks for to it.
    #[derive(Debug)]
    pub struct LearnedFrom<F> {
        #[pin]
        call: F,
    }
}

impl<F> LearnedFrom<F> {
    /// That call.
    pub fn new(call: F) -> Self {
        Self { call }
    }
}

impl<F: Future> Future for LearnedFrom<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        scope::learned_from(|| self.project().call.poll(cx))
    }
}
