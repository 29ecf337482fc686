//! Attempts that race each other.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use surefoot_core::hedge::{AfterAnswer, Race};
use surefoot_core::{DropReason, Error, Hedge, Timestamp, with_drop_reason};

use crate::operation::Operation;
use crate::pipeline::{Composition, Part, PartKind};
use crate::policy::Policy;
use crate::scope;
use crate::time::Sleep;

/// Cancellation: dropping the call drops every attempt, which counts as nothing, and so do the
/// attempts that lost; they are gone before the answer is returned. A token taken for a hedge stays
/// spent: the hedge was made.
///
/// The first attempt runs in place; each further one is allocated when it begins.
impl Policy for Hedge {
    async fn run<O: Operation>(&self, operation: &O) -> Result<O::Value, Error<O::Error>> {
        let mut field = Field {
            hedge: self,
            operation,
            race: self.race(),
            begin: || operation.attempt(),
            first: pin!(Some(operation.attempt())),
            first_waits_since: None,
            others: Vec::new(),
            last: None,
            due: None,
            timer: pin!(None),
        };
        poll_fn(|cx| field.poll(cx)).await
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

/// One call's attempts.
struct Field<'a, O: Operation, F, B> {
    hedge: &'a Hedge,
    operation: &'a O,
    race: Race<'a>,
    begin: B,
    first: Pin<&'a mut Option<F>>,
    /// A call that is answered at once needs no clock; one that has to wait begins its time there.
    first_waits_since: Option<Timestamp>,
    others: Vec<(Timestamp, Pin<Box<F>>)>,
    /// The latest answer that was not accepted.
    last: Option<Result<O::Value, Error<O::Error>>>,
    /// When the next attempt begins if no answer comes.
    due: Option<Timestamp>,
    timer: Pin<&'a mut Option<Sleep>>,
}

impl<O, F, B> Field<'_, O, F, B>
where
    O: Operation,
    F: Future<Output = Result<O::Value, Error<O::Error>>>,
    B: Fn() -> F,
{
    #[inline]
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<F::Output> {
        loop {
            if let Poll::Ready((begun, result)) = self.poll_attempts(cx) {
                match self.race.answered(self.operation.attempt_result(&result)) {
                    AfterAnswer::Return => {
                        self.record(begun);
                        return self.end(DropReason::Cancelled, result);
                    }
                    AfterAnswer::Begin => {
                        self.last = Some(result); // closed before another attempt begins
                        self.begin_another(self.hedge.time().now());
                    }
                    AfterAnswer::Wait => self.last = Some(result),
                }
                continue;
            }
            if self.first.is_none() && self.others.is_empty() {
                return self.last.take().map_or(Poll::Pending, Poll::Ready);
            }
            if self.poll_timer(cx).is_pending() {
                return match self.last.take_if(|_| scope::has_expired()) {
                    Some(last) => self.end(DropReason::Deadline, last),
                    None => Poll::Pending,
                };
            }
        }
    }

    /// The next answer, and since when it was waited for.
    #[inline]
    fn poll_attempts(&mut self, cx: &mut Context<'_>) -> Poll<(Option<Timestamp>, F::Output)> {
        if let Some(first) = self.first.as_mut().as_pin_mut()
            && let Poll::Ready(result) = first.poll(cx)
        {
            self.first.set(None);
            return Poll::Ready((self.first_waits_since, result));
        }
        for place in 0..self.others.len() {
            let (begun, attempt) = &mut self.others[place];
            if let Poll::Ready(result) = attempt.as_mut().poll(cx) {
                let begun = *begun;
                drop(self.others.swap_remove(place));
                return Poll::Ready((Some(begun), result));
            }
        }
        Poll::Pending
    }

    /// Ready when another attempt has begun.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let time = self.hedge.time();
        if self.first_waits_since.is_none() && self.first.is_some() {
            let now = time.now();
            self.first_waits_since = Some(now);
            self.due = self.due.or_else(|| self.race.next_at(now));
            if self.due.is_some_and(|due| due <= now) {
                return if self.begin_another(now) { Poll::Ready(()) } else { Poll::Pending };
            }
        }
        let Some(due) = self.due else { return Poll::Pending };
        if self.timer.is_none() {
            self.timer.set(Some(Sleep::until(time, due)));
        }
        match self.timer.as_mut().as_pin_mut().map(|timer| timer.poll(cx)) {
            Some(Poll::Ready(())) if self.begin_another(time.now()) => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }

    /// Begins another attempt, if the race allows it, and notes when the one after it is due.
    fn begin_another(&mut self, now: Timestamp) -> bool {
        self.timer.set(None);
        let allowed = self.race.begin(now);
        if allowed {
            self.others.push((now, Box::pin((self.begin)())));
        }
        self.due = self.race.next_at(now);
        allowed
    }

    #[inline]
    fn record(&self, begun: Option<Timestamp>) {
        if self.hedge.is_timed() {
            let now = self.hedge.time().now();
            self.hedge.record(begun.map_or(Duration::ZERO, |begun| now - begun), now);
        }
    }

    /// Drops what is left of the field, and gives the result.
    #[inline]
    fn end(&mut self, reason: DropReason, result: F::Output) -> Poll<F::Output> {
        if self.first.is_some() || !self.others.is_empty() {
            with_drop_reason(reason, || {
                self.first.set(None);
                self.others.clear();
            });
        }
        Poll::Ready(result)
    }
}
