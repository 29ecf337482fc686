//! Calls through a rate limiter.

mod acquire;
mod function;
mod learning;
mod paid;
mod settling;

use std::future::Future;
use std::hash::{BuildHasher, Hash};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use surefoot_core::rate_limiter::{Admission, Charge, LimiterKey, Slots};
use surefoot_core::{Classify, Error, RateLimiter, Rejection};

pub use acquire::Waiting;
pub use function::LimitedFn;
pub use learning::{LearnedFrom, Learning};
pub use paid::Metered;
use paid::Paid;
pub use settling::Settling;

use crate::health::Inspect;
use crate::operation::{BlockingOperation, Judged, Operation, Typed};
use crate::pipeline::{Part, PartKind};
use crate::policy::{BlockingPolicy, Policy};
use crate::scope;

/// What hosts do with rate limiters: waiting for a slot, weights, wrapped functions. For a
/// [`RateLimiter`], for one [`LimiterKey`] of a keyed one, and for a
/// [kind of call](surefoot_core::rate_limiter::multi::LimitedCall) under several limits, all of which are also policies: a
/// call is one unit, and waits for its slot.
///
/// ```
/// use surefoot::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # async fn search(query: &str) -> Result<usize, std::io::Error> { Ok(query.len()) }
/// let limiter = RateLimiter::builder("search").max_requests(100).build()?;
/// assert_eq!(limiter.call(|| search("ants")).await?, 4);
///
/// let charge = limiter.acquire_n(3).await?; // a permit: ask, work, report
/// charge.settle(2);
/// assert_eq!(limiter.current_rate(), 3);
/// # Ok(())
/// # }
/// ```
///
/// **Waiting.** A slot is waited for if it is due within the limiter's `max_wait` and before the
/// deadline around the call ([`Timeout`](crate::Timeout), on the same clock). If it is not, the call
/// is refused at once with [`Rejection::RateLimited`]. With a `max_wait` of zero nobody waits. If the deadline
/// passes all the same (the wait ended late, or a limit runs by another clock), the answer is
/// [`Error::Timeout`] with `dispatched: false`. Slots are given out in the order in which they are asked for.
///
/// **Cancellation.** Dropping a call that waits gives its slot back and those behind it move up. A call that ends without having started
/// the operation (a policy inside refused it, or it was dropped while it waited there) gives its units back. One that has been started keeps them,
/// whatever becomes of it.
///
/// **Cost.** A call that is admitted at once costs what [`check`](RateLimiter::check) does if
/// nothing inside can refuse it, and otherwise two short locks.
pub trait Limiter: Slots + Clone + Send + Sync {
    /// Waits for a slot.
    ///
    /// # Errors
    /// [`Rejection::RateLimited`], at once if it could not be due in time. With a key,
    /// [`Rejection::KeysFull`] if there is no room for it.
    fn acquire(&self) -> impl Future<Output = Result<Charge<Self>, Rejection>> + Send {
        self.acquire_n(1)
    }

    /// Waits until `n` units fit.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire); at once, and without a time, if they never fit.
    fn acquire_n(&self, n: u64) -> impl Future<Output = Result<Charge<Self>, Rejection>> + Send {
        async move { Waiting::in_line(self, n)?.await }
    }

    /// Waits for a slot on the calling thread.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    fn acquire_blocking(&self) -> Result<Charge<Self>, Rejection> {
        self.acquire_n_blocking(1)
    }

    /// Waits on the calling thread until `n` units fit.
    ///
    /// # Errors
    /// As [`acquire_n`](Self::acquire_n).
    fn acquire_n_blocking(&self, n: u64) -> Result<Charge<Self>, Rejection> {
        acquire::blocking(self, n)
    }

    /// A policy of which each call is `units` units. One of no units is always admitted.
    fn weighing(&self, units: u64) -> Weighted<Self> {
        Weighted { limiter: self.clone(), units }
    }

    /// A policy that learns from the answers to its calls: from the pauses that a server asks for,
    /// and from what it has left.
    fn learning(&self) -> Learning<Self> {
        Learning::new(self.clone(), 1)
    }

    /// Wraps a function of one argument, so that each of its calls takes a unit first.
    fn limit<F>(&self, function: F) -> LimitedFn<Self, F> {
        LimitedFn::new(self.clone(), function)
    }
}

impl<L: Slots + Clone + Send + Sync> Limiter for L {}

/// See [`Limiter`] for waiting and cancellation.
impl Policy for RateLimiter {
    #[inline]
    fn run<O: Operation>(
        &self,
        operation: &O,
    ) -> impl Future<Output = Result<O::Value, Error<O::Error>>> + Send {
        Slotted::new(self, 1, operation, |operation| operation.attempt())
    }

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
        Slotted::new(self, 1, Typed::new(operation, classifier), Typed::start)
    }

    fn inspected(&self, found: &mut Vec<Arc<dyn Inspect>>) {
        found.push(Arc::new(self.clone()));
    }

    fn parts(&self, parts: &mut Vec<Part>) {
        parts.push(Part::new(PartKind::RateLimiter, self.name().clone()));
    }
}

impl BlockingPolicy for RateLimiter {
    fn run_blocking<O: BlockingOperation>(
        &self,
        operation: &O,
    ) -> Result<O::Value, Error<O::Error>> {
        run_blocking(self, 1, operation)
    }
}

/// See [`Limiter`] for waiting and cancellation.
impl<K, S> Policy for LimiterKey<K, S>
where
    K: Hash + Eq + Clone + Send + Sync,
    S: BuildHasher + Send + Sync,
{
    fn run<O: Operation>(
        &self,
        operation: &O,
    ) -> impl Future<Output = Result<O::Value, Error<O::Error>>> + Send {
        Slotted::new(self, 1, operation, |operation| operation.attempt())
    }

    fn parts(&self, parts: &mut Vec<Part>) {
        parts.push(Part::new(PartKind::RateLimiter, Slots::name(self).clone()));
    }
}

impl<K, S> BlockingPolicy for LimiterKey<K, S>
where
    K: Hash + Eq + Clone + Send + Sync,
    S: BuildHasher + Send + Sync,
{
    fn run_blocking<O: BlockingOperation>(
        &self,
        operation: &O,
    ) -> Result<O::Value, Error<O::Error>> {
        run_blocking(self, 1, operation)
    }
}

/// A rate limiter of which each call takes several units; made by [`Limiter::weighing`].
#[derive(Clone, Debug)]
pub struct Weighted<L> {
    limiter: L,
    units: u64,
}

impl<L> Weighted<L> {
    /// Units of each call.
    pub fn units(&self) -> u64 {
        self.units
    }

    /// The same, learning from the answers: see [`Limiter::learning`].
    pub fn learning(self) -> Learning<L>
    where
        L: Limiter,
    {
        Learning::new(self.limiter, self.units)
    }

    /// The same with the units as an estimate, to be corrected once it is known how many the call
    /// used: `used` is asked for that with its result, and leaves the estimate with `None`.
    pub fn settling<T, E, U>(self, used: U) -> Settling<L, U>
    where
        U: Fn(Result<&T, &E>) -> Option<u64>,
    {
        Settling::new(self.limiter, self.units, used)
    }
}

/// See [`Limiter`] for waiting and cancellation.
impl<L: Limiter> Policy for Weighted<L> {
    fn run<O: Operation>(
        &self,
        operation: &O,
    ) -> impl Future<Output = Result<O::Value, Error<O::Error>>> + Send {
        Slotted::new(&self.limiter, self.units, operation, |operation| operation.attempt())
    }

    fn parts(&self, parts: &mut Vec<Part>) {
        parts.push(Part::new(PartKind::RateLimiter, self.limiter.name().clone()));
    }
}

impl<L: Limiter> BlockingPolicy for Weighted<L> {
    fn run_blocking<O: BlockingOperation>(
        &self,
        operation: &O,
    ) -> Result<O::Value, Error<O::Error>> {
        run_blocking(&self.limiter, self.units, operation)
    }
}

/// Whether an attempt is certain to start the operation: no budget may refuse it in between.
#[inline]
fn dispatches<O: Judged>() -> bool {
    O::DISPATCHES && !scope::is_budgeted()
}

pub(super) fn run_blocking<L: Limiter, O: BlockingOperation>(
    limiter: &L,
    units: u64,
    operation: &O,
) -> Result<O::Value, Error<O::Error>> {
    if dispatches::<O>() || units == 0 {
        acquire::admitted_blocking(limiter, units)?;
        return operation.attempt_blocking();
    }
    let mut paid = Paid::new(acquire::blocking(limiter, units)?);
    paid.watch(|| operation.attempt_blocking())
}

pin_project! {
    /// A call that asks for its units when it is first polled, and starts when it has them.
    pub(super) struct Slotted<'l, L: Slots, O, S, F> {
        limiter: &'l L,
        units: u64,
        operation: O,
        start: S,
        #[pin]
        step: Step<L, F>,
    }
}

pin_project! {
    #[project = StepProjection]
    enum Step<L: Slots, F> {
        New,
        Waiting { #[pin] waiting: Waiting<L> },
        Begun { #[pin] call: F },
        Paid { #[pin] call: Metered<L, F> },
    }
}

impl<'l, L: Limiter, O: Judged, S: Fn(&O) -> F, F> Slotted<'l, L, O, S, F> {
    #[inline]
    pub(super) fn new(limiter: &'l L, units: u64, operation: O, start: S) -> Self {
        Self { limiter, units, operation, start, step: Step::New }
    }
}

impl<L, O, S, F> Future for Slotted<'_, L, O, S, F>
where
    L: Limiter,
    O: Judged,
    S: Fn(&O) -> F,
    F: Future<Output = Result<O::Value, Error<O::Error>>>,
{
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let limiter: &L = this.limiter;
        if let StepProjection::New = this.step.as_mut().project() {
            let next = if dispatches::<O>() || *this.units == 0 {
                match limiter.admit(*this.units, acquire::latest(limiter)) {
                    Ok(Admission::Now) => Step::Begun { call: (this.start)(this.operation) },
                    Ok(Admission::Later(slot)) => {
                        Step::Waiting { waiting: Waiting::new(limiter, *this.units, slot) }
                    }
                    Err(rejection) => return Poll::Ready(Err(Error::Rejected(rejection))),
                }
            } else {
                Step::Waiting { waiting: Waiting::in_line(limiter, *this.units)? }
            };
            this.step.set(next);
        }
        if let StepProjection::Waiting { waiting } = this.step.as_mut().project() {
            let charge = ready!(waiting.poll(cx))?;
            let start = || (this.start)(this.operation);
            let next = if dispatches::<O>() {
                let paid = Paid::new(charge);
                let call = start();
                paid.spend();
                Step::Begun { call }
            } else {
                Step::Paid { call: Metered::start(Some(charge), start) }
            };
            this.step.set(next);
        }
        match this.step.project() {
            StepProjection::Begun { call } => call.poll(cx),
            StepProjection::Paid { call } => call.poll(cx),
            StepProjection::New | StepProjection::Waiting { .. } => Poll::Pending,
        }
    }
}
