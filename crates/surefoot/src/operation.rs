//! What policies protect: operations, and how their results are judged.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use surefoot_core::rate_limiter::ServerLimits;
use surefoot_core::{AttemptResult, Classification, Classify, Error, Verdict};

use crate::Attempt;
use crate::elsewhere::Elsewhere;
use crate::scope;
use crate::scope::spending::{self, Cover};
use crate::stream::Kept;

/// Something with results that can be judged.
pub trait Judged {
    /// What it gives when it works.
    type Value;
    /// What it gives when it does not.
    type Error;

    /// Whether a value is the beginning of a streamed answer, whose end is yet to come.
    const STREAMS: bool = false;

    /// Whether every attempt starts the operation itself: then nothing that is taken for one has to
    /// be given back.
    const DISPATCHES: bool = false;

    /// Has a streamed answer keep what a policy holds until it has ended.
    fn keep(&self, value: &mut Self::Value, kept: Kept) {
        let _ = (value, kept); // a value that is the whole answer keeps nothing
    }

    /// What a result of the innermost operation means.
    fn classify(&self, result: Result<&Self::Value, &Self::Error>) -> Classification;

    /// What a result of the innermost operation says about the limits of its server.
    fn server_limits(&self, result: Result<&Self::Value, &Self::Error>) -> ServerLimits {
        self.classify(result).into()
    }

    /// The same of what came of a call: nothing, unless the operation itself has answered.
    fn limits_told(&self, result: &Result<Self::Value, Error<Self::Error>>) -> ServerLimits {
        match result {
            Ok(value) => self.server_limits(Ok(value)),
            Err(error) => match error.operation() {
                Some(error) => self.server_limits(Err(error)),
                None => ServerLimits::default(),
            },
        }
    }

    /// The verdict on an error: nothing dispatched says nothing about the callee, our own time
    /// limit is its failure (but for an answer that came late and asked for a pause), and a retry's
    /// verdict is that on its last error.
    fn verdict_on_error(&self, error: &Error<Self::Error>) -> Verdict {
        match error {
            Error::Operation(error) => self.classify(Err(error)).verdict,
            error if error.is_undispatched() => Verdict::Ignored,
            Error::Exhausted { last, .. } => self.verdict_on_error(last),
            Error::Timeout { last: Some(last), .. }
            | Error::Interrupted { cause: Some(last), .. } => match self.verdict_on_error(last) {
                asked @ Verdict::Throttled { .. } => asked,
                _ => Verdict::Failure,
            },
            _ => Verdict::Failure,
        }
    }

    /// The verdict on what came of a call.
    fn verdict(&self, result: &Result<Self::Value, Error<Self::Error>>) -> Verdict {
        match result {
            Ok(value) => self.classify(Ok(value)).verdict,
            Err(error) => self.verdict_on_error(error),
        }
    }

    /// A result as a retry or a hedge sees it.
    fn attempt_result(&self, result: &Result<Self::Value, Error<Self::Error>>) -> AttemptResult {
        match result {
            Ok(value) => AttemptResult::Ran(self.classify(Ok(value))),
            Err(error) => self.attempt_error(error),
        }
    }

    /// An error as a retry or a hedge sees it.
    fn attempt_error(&self, error: &Error<Self::Error>) -> AttemptResult {
        use surefoot_core::StopReason::Permanent;
        AttemptResult::Ran(match error {
            Error::Operation(error) => self.classify(Err(error)),
            Error::Rejected(rejection) => {
                return AttemptResult::Rejected { retry_after: rejection.retry_after() };
            }
            Error::Exhausted { stop: Permanent, .. } => Classification::PERMANENT,
            // It came late, but it said what it said.
            Error::Timeout { last: Some(last), .. } => match self.attempt_error(last) {
                AttemptResult::Ran(late) => Classification { verdict: Verdict::Failure, ..late },
                AttemptResult::Rejected { retry_after } => {
                    Classification::TRANSIENT.with_retry_after(retry_after)
                }
            },
            error => Classification::TRANSIENT.with_retry_after(error.retry_after()),
        })
    }
}

impl<J: Judged> Judged for &J {
    type Value = J::Value;
    type Error = J::Error;

    const STREAMS: bool = J::STREAMS;
    const DISPATCHES: bool = J::DISPATCHES;

    fn keep(&self, value: &mut J::Value, kept: Kept) {
        (**self).keep(value, kept);
    }

    #[inline]
    fn classify(&self, result: Result<&J::Value, &J::Error>) -> Classification {
        (**self).classify(result)
    }

    fn server_limits(&self, result: Result<&J::Value, &J::Error>) -> ServerLimits {
        (**self).server_limits(result)
    }
}

/// An operation that can be attempted asynchronously, once or again.
pub trait Operation: Judged<Value: Send, Error: Send> + Sync {
    /// Makes one attempt.
    fn attempt(&self) -> impl Future<Output = Result<Self::Value, Error<Self::Error>>> + Send;
}

/// An operation that can be attempted on the calling thread, once or again.
pub trait BlockingOperation: Judged {
    /// Makes one attempt.
    ///
    /// # Errors
    /// The operation's own error, or that of a policy around it.
    fn attempt_blocking(&self) -> Result<Self::Value, Error<Self::Error>>;
}

/// The user's own operation, innermost of all.
pub(crate) struct Leaf<'a, F, C> {
    pub(crate) run: F,
    pub(crate) classifier: &'a C,
}

/// Names what a leaf's function gives, for the traits above.
pub(crate) struct Typed<'a, F, C, T, E> {
    leaf: Leaf<'a, F, C>,
    gives: std::marker::PhantomData<fn() -> (T, E)>,
}

impl<'a, F, C, T, E> Typed<'a, F, C, T, E> {
    #[inline]
    pub(crate) fn new(run: F, classifier: &'a C) -> Self {
        Self { leaf: Leaf { run, classifier }, gives: std::marker::PhantomData }
    }
}

impl<F, C: Classify<T, E>, T, E> Judged for Typed<'_, F, C, T, E> {
    type Value = T;
    type Error = E;

    const DISPATCHES: bool = true;

    #[inline]
    fn classify(&self, result: Result<&T, &E>) -> Classification {
        self.leaf.classifier.classify(result)
    }

    fn server_limits(&self, result: Result<&T, &E>) -> ServerLimits {
        self.leaf.classifier.server_limits(result)
    }
}

impl<F, Fut, C, T, E> Operation for Typed<'_, F, C, T, E>
where
    F: Fn() -> Fut + Sync,
    Fut: Future<Output = Result<T, E>> + Send,
    C: Classify<T, E> + Sync,
    T: Send,
    E: Send,
{
    #[inline]
    fn attempt(&self) -> impl Future<Output = Result<T, Error<E>>> + Send {
        LeafAttempt { start: &self.leaf.run, running: None }
    }
}

impl<F, Fut, C, T, E> Typed<'_, F, C, T, E>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    /// Starts the operation, here and now, and pays for it.
    #[inline]
    pub(crate) fn start(&self) -> Paid<Started<Fut>> {
        Paid::start(&self.leaf.run)
    }

    /// The same where no budget is known to be in scope.
    #[inline]
    pub(crate) fn start_unpaid(&self) -> Started<Fut> {
        Started::new(&self.leaf.run)
    }
}

pin_project! {
    /// An attempt at the user's operation. It starts when it is first polled, so that it does so
    /// inside every policy's scope.
    struct LeafAttempt<'a, F, S: Future> {
        start: &'a F,
        #[pin]
        running: Option<Paid<S>>,
    }
}

impl<T, E, F, Fut> Future for LeafAttempt<'_, F, Started<Fut>>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Output = Result<T, Error<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if this.running.is_none() {
            this.running.set(Some(Paid::start(*this.start)));
        }
        match this.running.as_pin_mut() {
            Some(running) => running.poll(cx),
            None => Poll::Pending,
        }
    }
}

pin_project! {
    /// The user's operation under way, with its error as one of ours.
    pub(crate) struct Started<Fut> {
        #[pin]
        running: Fut,
    }
}

impl<Fut> Started<Fut> {
    #[inline]
    fn new(start: impl Fn() -> Fut) -> Self {
        scope::note_dispatch();
        Self { running: start() }
    }
}

impl<T, E, Fut: Future<Output = Result<T, E>>> Future for Started<Fut> {
    type Output = Result<T, Error<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().running.poll(cx) {
            Poll::Ready(Ok(value)) => Poll::Ready(Ok(value)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(Error::Operation(error))),
            Poll::Pending => Poll::Pending,
        }
    }
}

pin_project! {
    /// The same, paid by the budgets in scope.
    #[project = PaidProjection]
    pub(crate) enum Paid<F: Future> {
        // No budget is in scope.
        Free { #[pin] started: F },
        // So that nothing of a call without a budget has to be in memory.
        Covered { call: Elsewhere<Covered<F>> },
    }
}

pin_project! {
    /// A call for which a budget is asked, and its result until that is fetched.
    pub(crate) struct Covered<F: Future> {
        // None if it was refused.
        #[pin]
        started: Option<F>,
        cover: Option<Cover>,
        output: Poll<F::Output>,
    }
}

impl<T, E, Fut: Future<Output = Result<T, E>>> Paid<Started<Fut>> {
    #[inline(always)]
    fn start(start: impl Fn() -> Fut) -> Self {
        if scope::is_budgeted() {
            Self::Covered { call: Covered::start(start) }
        } else {
            Self::Free { started: Started::new(start) }
        }
    }
}

impl<T, E, Fut: Future<Output = Result<T, E>>> Covered<Started<Fut>> {
    #[cold]
    #[inline(never)]
    fn start(start: impl Fn() -> Fut) -> Elsewhere<Self> {
        let (started, cover, output) = match spending::draw() {
            Ok(cover) => {
                if let Some(cover) = &cover {
                    cover.spend();
                }
                let started = spending::covered(cover.as_ref(), || Started::new(start));
                (Some(started), cover, Poll::Pending)
            }
            Err(rejection) => (None, None, Poll::Ready(Err(Error::Rejected(rejection)))),
        };
        Elsewhere::new(Self { started, cover, output })
    }
}

impl<F: Future> Covered<F> {
    /// Its result stays here, to be taken from here only if there is one: see `Rest` in the retry.
    #[cold]
    #[inline(never)]
    fn poll<'a>(self: Pin<&'a mut Self>, cx: &mut Context<'_>) -> &'a mut Poll<F::Output> {
        let this = self.project();
        if let Some(started) = this.started.as_pin_mut() {
            *this.output = spending::covered(this.cover.as_ref(), || started.poll(cx));
        }
        this.output
    }
}

impl<F: Future> Future for Paid<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project() {
            PaidProjection::Free { started } => started.poll(cx),
            PaidProjection::Covered { call } => {
                let mut polled = Poll::Pending;
                if let Some(call) = call.get_mut() {
                    std::mem::swap(&mut polled, call.poll(cx));
                }
                polled
            }
        }
    }
}

impl<F, C, T, E> BlockingOperation for Typed<'_, F, C, T, E>
where
    F: Fn(&Attempt) -> Result<T, E>,
    C: Classify<T, E>,
{
    #[inline]
    fn attempt_blocking(&self) -> Result<T, Error<E>> {
        let cover = spending::draw_if_budgeted()?;
        spending::dispatch(cover.as_ref());
        spending::covered(cover.as_ref(), || (self.leaf.run)(&Attempt::current()))
            .map_err(Error::Operation)
    }
}
