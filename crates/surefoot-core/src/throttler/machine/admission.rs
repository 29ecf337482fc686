//! Asking: a permit, a place in the queue, or neither.

use std::task::Waker;
use std::time::Duration;

use super::super::LeftQueue;
use super::super::grant::Grant;
use super::super::queue::{Cause, Slot, Wakes};
use super::super::status::Counters;
use super::super::waiter::Wait;
use super::{Machine, State};
use crate::sync::{MutexGuard, lock};
use crate::{Deadline, Event, Rejection, Timestamp};

/// How a call that asks to wait is received.
pub(in crate::throttler) enum Received {
    Admitted(Grant),
    Queued { slot: Slot, leaves_at: Timestamp, look_at: Timestamp },
}

impl Machine {
    /// A permit if one is free and nobody waits.
    #[inline(always)]
    pub(in crate::throttler) fn take(&self) -> Result<Grant, Rejection> {
        if self.word.claim() { Ok(self.begin()) } else { self.receive_impatient() }
    }

    /// The same, but a claim that is not met stands: it has to be [received](Self::receive) or
    /// [forgone](Self::forgo).
    #[inline(always)]
    pub(in crate::throttler) fn claim(&self) -> Option<Grant> {
        self.word.claim().then(|| self.begin())
    }

    /// Withdraws a claim.
    #[cold]
    pub(in crate::throttler) fn forgo(&self) {
        let mut state = lock(&self.state);
        state.claims.withdraw(&self.word);
        self.finish(state, &mut Wakes::default());
        self.notice_if_watched();
    }

    /// What a call begins with that need not wait.
    #[inline(always)]
    fn begin(&self) -> Grant {
        if self.is_timed { Grant::own(self.now()) } else { Grant::UNTIMED }
    }

    /// The time, out of the way of those who need none.
    #[inline(never)]
    fn now(&self) -> Timestamp {
        self.time.now()
    }

    #[cold]
    fn receive_impatient(&self) -> Result<Grant, Rejection> {
        match self.receive(0, None)? {
            Received::Admitted(grant) => Ok(grant),
            // Nobody is queued who did not say how to wait.
            Received::Queued { .. } => Err(self.full(0)),
        }
    }

    /// Receives a call that has made a claim.
    #[inline(never)]
    pub(in crate::throttler) fn receive(
        &self,
        level: u8,
        wait: Option<Wait>,
    ) -> Result<Received, Rejection> {
        let now = self.time.now();
        let mut state = lock(&self.state);
        let told = state.look(now, &self.service);
        let mut displaced = None;
        match self.settle_claim(&mut state, now, level, wait, &mut displaced) {
            Ok(received) => {
                let is_news = displaced.is_some() && state.tells_full();
                drop(state);
                displaced.into_iter().for_each(Waker::wake);
                self.tell_standing(told, now);
                if is_news {
                    self.tell_full(now);
                }
                if matches!(received, Received::Queued { .. }) && self.watch_fellows() {
                    self.serve_all(lock(&self.state), self.time.now());
                }
                Ok(received)
            }
            Err(rejection) => Err(self.tell_refused(state, told, now, rejection)),
        }
    }

    #[cold]
    fn tell_refused(
        &self,
        mut state: MutexGuard<'_, State>,
        told: Option<bool>,
        now: Timestamp,
        rejection: Rejection,
    ) -> Rejection {
        let is_full = matches!(&rejection, Rejection::QueueFull { queue_size: 1.., .. });
        let is_news = is_full && state.tells_full();
        drop(state);
        self.tell_standing(told, now);
        if is_news {
            self.tell_full(now);
        }
        self.fellowship.worded(rejection)
    }

    #[cold]
    fn tell_full(&self, at: Timestamp) {
        let (policy, queue_size) = (self.config.name.clone(), self.config.queue_size);
        self.events.send(&Event::QueueFilled { policy, at, queue_size });
    }

    fn settle_claim(
        &self,
        state: &mut State,
        now: Timestamp,
        level: u8,
        wait: Option<Wait>,
        displaced: &mut Option<Waker>,
    ) -> Result<Received, Rejection> {
        if state.claims.take() {
            return Ok(Received::Admitted(Grant::own(now)));
        }
        let refused = if state.is_closed {
            self.refuse_closed()
        } else if state.queue.waiting() == 0
            && let Some(grant) = self.fellowship.borrow(self, now)
        {
            state.claims.withdraw(&self.word);
            return Ok(Received::Admitted(grant));
        } else if let Some(Wait { deadline, waker }) = wait {
            if self.is_hopeless(deadline, now) {
                self.rejection(Cause::Left { at: now, reason: LeftQueue::Deadline }, now)
            } else if state.queue.waiting() < self.config.queue_size
                || self.displace(state, now, level, displaced)
            {
                return Ok(self.queue_up(state, now, level, deadline, waker));
            } else {
                self.full(self.config.queue_size)
            }
        } else {
            self.full(0)
        };
        state.claims.withdraw(&self.word);
        Err(refused)
    }

    /// Makes room in a full queue, if it holds somebody of a lower level and may send them away.
    #[cold]
    fn displace(
        &self,
        state: &mut State,
        now: Timestamp,
        level: u8,
        displaced: &mut Option<Waker>,
    ) -> bool {
        if !self.config.displace {
            return false;
        }
        let Some(slot) = state.queue.lowest_below(level) else { return false };
        state.claims.withdraw(&self.word);
        *displaced =
            state.queue.refuse(slot, Cause::Left { at: now, reason: LeftQueue::Displaced });
        true
    }

    fn queue_up(
        &self,
        state: &mut State,
        now: Timestamp,
        level: u8,
        deadline: Option<Deadline>,
        waker: Waker,
    ) -> Received {
        if state.queue.waiting() == 0
            && let Some(codel) = &mut state.codel
        {
            codel.saw(Duration::ZERO); // whoever came a moment ago did not wait behind anybody
        }
        Counters::add_alone(&self.counters.queued);
        let (answers, permits) = (&self.answers, self.limit());
        let slot = state.queue.push(answers, permits, level, now, deadline, waker);
        let ends = now + self.config.timeout;
        let leaves_at = Deadline::at(ends).within(deadline).timestamp();
        let look_at = state.codel.as_ref().map_or(ends, |codel| self.look_for(Some(codel), now));
        Received::Queued { slot, leaves_at, look_at }
    }

    fn full(&self, queue_size: u32) -> Rejection {
        Counters::add(&self.counters.queue_full);
        let (policy, max_concurrent) = (self.config.name.clone(), self.limit());
        Rejection::QueueFull { policy, max_concurrent, queue_size }
    }

    fn refuse_closed(&self) -> Rejection {
        Counters::add(&self.counters.closed);
        Rejection::Closed { policy: self.config.name.clone() }
    }

    pub(in crate::throttler) fn refuse_late(&self) -> Rejection {
        let (at, reason) = (Timestamp::ZERO, LeftQueue::Deadline);
        self.rejection(Cause::Left { at, reason }, at)
    }

    #[cold]
    pub(super) fn rejection(&self, cause: Cause, since: Timestamp) -> Rejection {
        let policy = self.config.name.clone();
        match cause {
            Cause::Closed => self.refuse_closed(),
            Cause::Left { at, reason } => {
                Counters::add(self.counters.left(reason));
                Rejection::QueueTimeout { policy, waited: at - since, reason }
            }
        }
    }

    /// Whether a call that begins now would not be done by its deadline.
    pub(super) fn is_hopeless(&self, deadline: Option<Deadline>, now: Timestamp) -> bool {
        deadline.is_some_and(|deadline| {
            deadline.is_over(now)
                || self.expected().is_some_and(|expected| deadline.remaining(now) < expected)
        })
    }

    pub(super) fn expected(&self) -> Option<Duration> {
        self.config.expected_service.or_else(|| self.service.median())
    }
}

impl State {
    /// Somebody is refused as the queue is full. Whether listeners are yet to be told.
    fn tells_full(&mut self) -> bool {
        !std::mem::replace(&mut self.told_full, true)
    }
}
