//! Attempts that race each other.

use std::borrow::Borrow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use surefoot_core::hedge::{AfterAnswer, Race};
use surefoot_core::{AttemptResult, DropReason, Error, Hedge, Timestamp, with_drop_reason};

use crate::health::Inspect;
use crate::operation::{Judged, Operation};
use crate::pipeline::{Composition, Part, PartKind};
use crate::policy::Policy;
use crate::scope;
use crate::scope::spending;
use crate::time::Sleep;

/// Cancellation: dropping the call drops every attempt, which counts as nothing, and so do the
/// attempts that lost; they are gone before the answer is returned. A token taken for a hedge stays
/// spent: the hedge was made.
///
/// The first attempt runs in place; each further one is allocated when it begins.
impl Policy for Hedge {
    fn run<O: Operation>(
        &self,
        operation: &O,
    ) -> impl Future<Output = Result<O::Value, Error<O::Error>>> + Send {
        Racing::with(self.race(), operation, operation.attempt(), || operation.attempt())
    }

    fn inspected(&self, found: &mut Vec<Arc<dyn Inspect>>) {
        found.push(Arc::new(self.clone()));
    }

    fn parts(&self, parts: &mut Vec<Part>) {
        parts.push(Part::new(PartKind::Hedge, self.name().clone()));
    }

    /// A hedge in a pipeline has a budget, the one its retries draw on.
    fn composed(self, composition: &mut Composition) -> Self {
        let (budget, counts_calls) = composition.budget(self.budget(), self.time());
        self.drawing_on(budget, counts_calls)
    }
}

/// Begins attempts of one call beyond the first.
pub trait Begin {
    /// The attempt's future.
    type Attempt;

    /// Whether another attempt can be made: asked before a token is taken for it.
    fn can_begin(&self) -> bool {
        true
    }

    /// Begins another attempt, if another can be made.
    fn begin(&mut self) -> Option<Self::Attempt>;
}

impl<F, A: FnMut() -> F> Begin for A {
    type Attempt = F;

    fn begin(&mut self) -> Option<F> {
        Some(self())
    }
}

pin_project! {
    /// One call's attempts.
    pub struct Racing<H: Borrow<Hedge>, J: Judged, F, B> {
        race: Race<H>,
        judge: J,
        begin: B,
        #[pin]
        first: Option<F>,
        // A call that is answered at once needs no clock; one that has to wait begins its time there.
        first_waits_since: Option<Timestamp>,
        others: Vec<Pin<Box<F>>>,
        // The latest answer that was not accepted; see `keep`.
        last: Option<Result<J::Value, Error<J::Error>>>,
        // When the next attempt begins if no answer comes.
        due: Option<Timestamp>,
        #[pin]
        timer: Option<Sleep>,
    }
}

impl<J: Judged, F, B> Racing<Hedge, J, F, B> {
    /// A call with a handle of its own, whose first attempt is `first`.
    pub fn new(hedge: Hedge, judge: J, first: F, begin: B) -> Self {
        Self::with(hedge.into_race(), judge, first, begin)
    }
}

impl<H: Borrow<Hedge>, J: Judged, F, B> Racing<H, J, F, B> {
    #[inline]
    fn with(race: Race<H>, judge: J, first: F, begin: B) -> Self {
        Self {
            race,
            judge,
            begin,
            first: Some(first),
            first_waits_since: None,
            others: Vec::new(),
            last: None,
            due: None,
            timer: None,
        }
    }
}

impl<H, J, F, B> Future for Racing<H, J, F, B>
where
    H: Borrow<Hedge>,
    J: Judged,
    F: Future<Output = Result<J::Value, Error<J::Error>>>,
    B: Begin<Attempt = F>,
{
    type Output = F::Output;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut failed = 0;
        loop {
            if let Poll::Ready(result) = self.as_mut().poll_attempts(cx) {
                let this = self.as_mut().project();
                let judged = this.judge.attempt_result(&result);
                match this.race.answered(judged) {
                    AfterAnswer::Return => {
                        self.record(judged);
                        self.drop_losers(DropReason::Cancelled);
                        return Poll::Ready(result);
                    }
                    AfterAnswer::Begin => {
                        failed += 1;
                        keep(this.last, result);
                    }
                    AfterAnswer::Wait => keep(this.last, result),
                }
                continue;
            }
            // Only now: another attempt may have had the answer.
            if failed > 0 {
                failed -= 1;
                let now = self.race.hedge().time().now();
                let _ = self.as_mut().begin_another(now); // or wait for the others
                continue;
            }
            let mut this = self.as_mut().project();
            if this.first.is_none() && this.others.is_empty() {
                return this.last.take().map_or(Poll::Pending, Poll::Ready);
            }
            if self.as_mut().poll_timer(cx).is_pending() {
                this = self.as_mut().project();
                let Some(last) = this.last.take_if(|_| scope::has_expired()) else {
                    return Poll::Pending;
                };
                self.drop_losers(DropReason::Deadline);
                return Poll::Ready(last);
            }
        }
    }
}

impl<H, J, F, B> Racing<H, J, F, B>
where
    H: Borrow<Hedge>,
    J: Judged,
    F: Future<Output = Result<J::Value, Error<J::Error>>>,
    B: Begin<Attempt = F>,
{
    /// The next answer.
    #[inline]
    fn poll_attempts(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        if let Some(first) = this.first.as_mut().as_pin_mut()
            && let Poll::Ready(result) = first.poll(cx)
        {
            this.first.set(None);
            return Poll::Ready(result);
        }
        for place in 0..this.others.len() {
            if let Poll::Ready(result) = this.others[place].as_mut().poll(cx) {
                drop(this.others.remove(place)); // in order: of two answers the earlier attempt's wins
                return Poll::Ready(result);
            }
        }
        Poll::Pending
    }

    /// Ready when another attempt has begun.
    fn poll_timer(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.as_mut().project();
        let time = this.race.hedge().time();
        if this.timer.is_none() {
            let begins_to_wait = this.first.is_some() && this.first_waits_since.is_none();
            if !begins_to_wait && this.due.is_none() {
                return Poll::Pending;
            }
            let now = time.now();
            if begins_to_wait {
                *this.first_waits_since = Some(now);
                *this.due = this.race.next_at(now);
            }
            let Some(due) = *this.due else { return Poll::Pending };
            if due <= now {
                return self.begin_another(now);
            }
            this.timer.set(Some(Sleep::until(time, due)));
        }
        match this.timer.as_mut().as_pin_mut().map(|timer| timer.poll(cx)) {
            Some(Poll::Ready(())) => {
                let now = time.now();
                self.begin_another(now)
            }
            _ => Poll::Pending,
        }
    }

    /// Begins another attempt, if the race allows it and there is time left, and notes when the one
    /// after it is due.
    fn begin_another(self: Pin<&mut Self>, now: Timestamp) -> Poll<()> {
        let mut this = self.project();
        this.timer.set(None);
        *this.due = None;
        let deadline = scope::deadline_on(this.race.hedge().time());
        let in_time = deadline.is_none_or(|deadline| !deadline.is_over(now));
        if !in_time || !this.begin.can_begin() {
            return Poll::Pending;
        }
        if scope::is_budgeted() && spending::is_spent() {
            this.race.refuse(now);
            return Poll::Pending;
        }
        if !this.race.begin(now) {
            return Poll::Pending;
        }
        let Some(another) = this.begin.begin() else { return Poll::Pending };
        this.first_waits_since.get_or_insert(now);
        *this.due = this.race.next_at(now);
        this.others.push(Box::pin(another));
        Poll::Ready(())
    }

    /// Notes how long the caller waited for an answer, if it is one to wait for: since the first attempt,
    /// or hedging would hide the slow answers that it is there for, and hedge ever sooner.
    #[inline]
    fn record(&self, judged: AttemptResult) {
        let hedge = self.race.hedge();
        if hedge.is_timed() && judged.is_success() {
            let now = hedge.time().now();
            let waited = self.first_waits_since.map_or(Duration::ZERO, |since| now - since);
            hedge.record(waited, now);
        }
    }

    #[inline]
    fn drop_losers(self: Pin<&mut Self>, reason: DropReason) {
        let mut this = self.project();
        if this.first.is_some() || !this.others.is_empty() {
            with_drop_reason(reason, || {
                this.first.set(None);
                this.others.clear();
            });
        }
    }
}

/// Keeps the latest answer. Not a refusal in place of an attempt's own answer: it would say that nothing
/// was dispatched.
fn keep<T, E>(last: &mut Option<Result<T, Error<E>>>, result: Result<T, Error<E>>) {
    let refused = |result: &Result<T, Error<E>>| matches!(result, Err(e) if e.is_undispatched());
    if !refused(&result) || last.as_ref().is_none_or(refused) {
        *last = Some(result);
    }
}
