//! Who may run, and whose turn it is next.

use std::task::{Poll, Waker};
use std::time::Duration;

use super::LeftQueue;
use super::adaptive::AdaptiveLimit;
use super::claims::Claims;
use super::codel::Codel;
use super::config::{Order, PERMITS_MOST, ThrottlerConfig};
use super::drain::Drains;
use super::fellows::Fellowship;
use super::grant::Grant;
use super::queue::{Cause, Queue, Slot, Standing, Waiting, Wakes};
use super::samples::Samples;
use super::service::ServiceTimes;
use super::status::{Counters, ThrottlerStatus};
use super::waiter::{self, Wait};
use super::word::{Flag, Returned, Word};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, lock};
use crate::{ConfigError, Deadline, Event, Events, Rejection, TimeSource, Timestamp, Verdict};

/// Everything that handles to one throttler share.
///
/// A call that finds a permit free writes the word and nothing else, and so does one that returns a
/// permit nobody has claimed. All others take the lock. At every unlock, nobody waits while a permit
/// is handed in.
pub(super) struct Machine {
    word: Word,
    state: Mutex<State>,
    /// Changed under the lock.
    limit: AtomicU32,
    pub(super) config: ThrottlerConfig,
    pub(super) time: TimeSource,
    pub(super) events: Events,
    counters: Counters,
    service: ServiceTimes,
    /// Where the limit is adaptive.
    samples: Option<Samples>,
    /// Whether every call's time is taken, or only that of calls that had to wait.
    is_timed: bool,
    /// When the next timer that a host has set will call [`look`](Self::look); 0 if none is set.
    watched: AtomicU64,
    /// The compartments of the same bulkhead.
    pub(super) fellowship: Fellowship,
}

struct State {
    claims: Claims,
    queue: Queue,
    adaptive: Option<AdaptiveLimit>,
    codel: Option<Codel>,
    drains: Drains,
    is_closed: bool,
    /// Whether listeners know that the queue is full.
    told_full: bool,
}

/// Whoever is to be looked at later than this, after centuries, is never looked at.
const LATEST: u64 = u64::MAX / 2;

/// How a call that asks to wait is received.
pub(super) enum Received {
    Admitted(Grant),
    Queued { slot: Slot, leaves_at: Timestamp, look_at: Timestamp },
}

impl Machine {
    pub(super) fn new(
        config: ThrottlerConfig,
        time: TimeSource,
        events: Events,
    ) -> Result<Self, ConfigError> {
        let adaptive = match config.adaptive.clone() {
            Some(adaptive) => Some(AdaptiveLimit::new(adaptive, time.now())?),
            None => None,
        };
        let limit = adaptive.as_ref().map_or(config.first_limit(), AdaptiveLimit::current);
        let samples = adaptive.as_ref().map(|adaptive| Samples::new(adaptive.window_ends()));
        let codel = config.codel.map(Codel::new);
        let is_timed = codel.is_some() || adaptive.is_some();
        let state = State {
            claims: Claims::default(),
            queue: Queue::new(config.levels(), config.order == Order::Lifo),
            adaptive,
            codel,
            drains: Drains::default(),
            is_closed: false,
            told_full: false,
        };
        Ok(Self {
            word: Word::new(limit),
            state: Mutex::new(state),
            limit: AtomicU32::new(limit),
            config,
            time,
            events,
            counters: Counters::default(),
            service: ServiceTimes::new(),
            samples,
            is_timed,
            watched: AtomicU64::new(0),
            fellowship: Fellowship::default(),
        })
    }

    /// A permit if one is free and nobody waits.
    #[inline(always)]
    pub(super) fn take(&self) -> Result<Grant, Rejection> {
        if self.word.claim() { Ok(self.begin()) } else { self.receive_impatient() }
    }

    /// A permit, or a place in the queue.
    #[inline(always)]
    pub(super) fn enqueue(
        &self,
        level: u8,
        wait: impl FnOnce(&TimeSource) -> Wait,
    ) -> Result<Received, Rejection> {
        if self.word.claim() {
            return Ok(Received::Admitted(self.begin()));
        }
        self.receive(level, Some(wait(&self.time)))
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
    fn receive(&self, level: u8, wait: Option<Wait>) -> Result<Received, Rejection> {
        let now = self.time.now();
        let mut state = lock(&self.state);
        let told = state.look(now, &self.service);
        let received = self.settle_claim(&mut state, now, level, wait);
        let is_full = matches!(&received, Err(Rejection::QueueFull { queue_size: 1.., .. }));
        let is_news = is_full && !std::mem::replace(&mut state.told_full, is_full);
        drop(state);
        self.tell_standing(told, now);
        if is_news {
            let (policy, queue_size) = (self.config.name.clone(), self.config.queue_size);
            self.events.send(&Event::QueueFilled { policy, at: now, queue_size });
        }
        if matches!(received, Ok(Received::Queued { .. })) && self.watch_fellows() {
            self.serve_all(lock(&self.state), self.time.now());
        }
        received.map_err(|rejection| self.fellowship.worded(rejection))
    }

    fn settle_claim(
        &self,
        state: &mut State,
        now: Timestamp,
        level: u8,
        wait: Option<Wait>,
    ) -> Result<Received, Rejection> {
        if state.claims.take() {
            return Ok(Received::Admitted(Grant::own(now)));
        }
        let refused = if state.is_closed {
            self.refuse_closed()
        } else if state.queue.waiting() == 0 && self.fellowship.borrow(self) {
            state.claims.withdraw(&self.word);
            return Ok(Received::Admitted(Grant::borrowed(now)));
        } else if let Some(Wait { deadline, waker }) = wait {
            if self.is_hopeless(deadline, now) {
                self.rejection(Cause::Left { at: now, reason: LeftQueue::Deadline }, now)
            } else if state.queue.waiting() < self.config.queue_size {
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
        Counters::add(&self.counters.queued);
        let slot = state.queue.push(level, now, deadline, waker);
        let leaves_at = waiter::leaves_at(now, self.config.timeout, deadline);
        let look_at = self.look_for(state.codel.as_ref(), now);
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

    #[cold]
    fn rejection(&self, cause: Cause, since: Timestamp) -> Rejection {
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
    fn is_hopeless(&self, deadline: Option<Deadline>, now: Timestamp) -> bool {
        deadline.is_some_and(|deadline| {
            deadline.is_over(now)
                || self.expected().is_some_and(|expected| deadline.remaining(now) < expected)
        })
    }

    fn expected(&self) -> Option<Duration> {
        self.config.expected_service.or_else(|| self.service.median())
    }

    /// What a waiter's place has come to.
    pub(super) fn collect(
        &self,
        slot: Slot,
        leaves_at: Timestamp,
        waker: &Waker,
    ) -> Poll<Result<Grant, Rejection>> {
        let mut state = lock(&self.state);
        let (standing, since) = state.queue.standing(slot);
        let cause = match standing {
            Standing::Granted(grant) => {
                let left = state.queue.leave(slot);
                drop(state);
                drop(left);
                return Poll::Ready(Ok(grant));
            }
            Standing::Refused(cause) => cause,
            Standing::Waiting => {
                let now = self.time.now();
                if now < leaves_at {
                    let known = state.queue.watch(slot, waker);
                    drop(state);
                    drop(known);
                    return Poll::Pending;
                }
                state.claims.withdraw(&self.word);
                Cause::Left { at: now, reason: self.why_late(since, now) }
            }
        };
        let left = state.queue.leave(slot);
        self.finish(state, Wakes::default());
        drop(left);
        Poll::Ready(Err(self.rejection(cause, since)))
    }

    fn why_late(&self, since: Timestamp, now: Timestamp) -> LeftQueue {
        if now >= since + self.config.timeout { LeftQueue::Timeout } else { LeftQueue::Deadline }
    }

    /// A waiter gives up its place before it has collected an answer.
    pub(super) fn leave(&self, slot: Slot) {
        let mut state = lock(&self.state);
        let left = state.queue.leave(slot);
        match left.standing {
            Standing::Granted(grant) => {
                Counters::add(&self.counters.cancelled);
                drop(state);
                self.return_permit(grant, self.time.now());
            }
            Standing::Waiting => {
                Counters::add(&self.counters.cancelled);
                state.claims.withdraw(&self.word);
                self.finish(state, Wakes::default());
            }
            Standing::Refused(cause) => {
                drop(state);
                drop(self.rejection(cause, Timestamp::ZERO)); // which counts it
            }
        }
        drop(left);
    }

    fn return_permit(&self, grant: Grant, now: Timestamp) {
        if grant.is_borrowed() {
            self.fellowship.give_back();
            return self.notice_if_watched();
        }
        match self.word.put_back() {
            Returned::Free => {}
            Returned::Claimed => self.hand_over_at(now),
            Returned::Noticed => self.notice(),
        }
    }

    /// Returns a permit. Of one that is untimed nobody need know how the call ended.
    #[inline(always)]
    pub(super) fn release(&self, grant: Grant, verdict: Option<Verdict>) {
        match verdict {
            None => self.put_back(),
            Some(verdict) => self.release_timed(grant, &verdict),
        }
    }

    #[inline(always)]
    pub(super) fn put_back(&self) {
        match self.word.put_back() {
            Returned::Free => {}
            Returned::Claimed => self.hand_over(),
            Returned::Noticed => self.notice(),
        }
    }

    #[inline(never)]
    fn release_timed(&self, grant: Grant, verdict: &Verdict) {
        let now = self.time.now();
        let held = now - grant.at();
        self.service.record(held);
        if let Some(samples) = &self.samples {
            samples.note(verdict, held, self.limit().saturating_sub(self.word.load().free()));
        }
        self.return_permit(grant, now);
        if let Some(samples) = self.samples.as_ref().filter(|samples| samples.is_due(now)) {
            self.end_window(samples, now);
        }
    }

    fn end_window(&self, samples: &Samples, now: Timestamp) {
        let mut state = lock(&self.state);
        let Some(adaptive) = &mut state.adaptive else { return };
        if adaptive.is_over(samples.outcomes(), now) {
            let limit = adaptive.end_window(&samples.take(), now);
            samples.end_at(adaptive.window_ends());
            self.set_limit(state, limit.min(PERMITS_MOST));
        }
    }

    /// Hands in a permit that has met a claim.
    #[inline(never)]
    fn hand_over(&self) {
        self.hand_over_at(self.time.now());
    }

    fn hand_over_at(&self, now: Timestamp) {
        let mut state = lock(&self.state);
        state.claims.hand_in(&self.word);
        self.serve_all(state, now);
        self.notice_if_watched();
    }

    /// Gives what was handed in to those who wait.
    fn serve_all(&self, mut state: MutexGuard<'_, State>, now: Timestamp) {
        let mut wakes = Wakes::default();
        let told = state.look(now, &self.service);
        while (state.claims.has_permit() || self.fellowship.may_borrow())
            && let Some(next) = self.next(&mut state, now, &mut wakes)
        {
            let grant = if state.claims.take() {
                Grant::own(now)
            } else if self.fellowship.borrow(self) {
                state.claims.withdraw(&self.word);
                Grant::borrowed(now)
            } else {
                break;
            };
            if let Some(samples) = &self.samples {
                samples.waited(now - next.since);
            }
            state.grant(next, now, grant, &mut wakes);
        }
        self.finish(state, wakes);
        self.tell_standing(told, now);
    }

    /// What is done at the end of everything that may have changed who waits, or for what.
    fn finish(&self, mut state: MutexGuard<'_, State>, mut wakes: Wakes) {
        if state.queue.waiting() < self.config.queue_size {
            state.told_full = false;
        }
        if !state.drains.is_empty() && self.is_drained(&state) {
            state.drains.end(&mut wakes);
        }
        drop(state);
        wakes.wake();
    }

    /// Whose turn it is: those who cannot use one any more are sent away first.
    fn next(&self, state: &mut State, now: Timestamp, wakes: &mut Wakes) -> Option<Waiting> {
        while let Some(next) = state.queue.first() {
            let Some(reason) = self.unfit(state, next, now) else { return Some(next) };
            if let Some(codel) = &mut state.codel {
                codel.saw(now - next.since);
            }
            self.send_away(state, next.slot, Cause::Left { at: now, reason }, wakes);
        }
        None
    }

    fn send_away(&self, state: &mut State, slot: Slot, cause: Cause, wakes: &mut Wakes) {
        state.claims.withdraw(&self.word);
        wakes.add(state.queue.answer(slot, Standing::Refused(cause)));
    }

    fn unfit(&self, state: &State, waiting: Waiting, now: Timestamp) -> Option<LeftQueue> {
        let Waiting { since, deadline, .. } = waiting;
        self.is_late(state, since, now)
            .or_else(|| self.is_hopeless(deadline, now).then_some(LeftQueue::Deadline))
    }

    fn is_late(&self, state: &State, since: Timestamp, now: Timestamp) -> Option<LeftQueue> {
        if now >= since + self.config.timeout {
            Some(LeftQueue::Timeout)
        } else if state.is_over_delayed(since, now) {
            Some(LeftQueue::StandingQueue)
        } else {
            None
        }
    }

    fn out(&self, state: &State) -> u32 {
        let limit = if state.is_closed { 0 } else { self.limit() };
        state.claims.out(&self.word, limit)
    }

    /// Whether no call runs, with a permit of its own or a borrowed one.
    fn is_drained(&self, state: &State) -> bool {
        self.out(state) == 0 && self.fellowship.counts().0 == 0
    }

    /// Sends away whoever has waited too long. Tells when to look again, if anybody waits.
    pub(super) fn look_now(&self) -> Option<Timestamp> {
        let now = self.time.now();
        let mut wakes = Wakes::default();
        let mut state = lock(&self.state);
        let told = state.look(now, &self.service);
        loop {
            let late = state.queue.oldest().find_map(|waiting| {
                let reason = self.is_late(&state, waiting.since, now)?;
                Some((waiting.slot, reason))
            });
            let Some((slot, reason)) = late else { break };
            self.send_away(&mut state, slot, Cause::Left { at: now, reason }, &mut wakes);
        }
        let next = self.next_look(&state);
        self.finish(state, wakes);
        self.tell_standing(told, now);
        next
    }

    fn next_look(&self, state: &State) -> Option<Timestamp> {
        let oldest = state.queue.oldest().map(|waiting| waiting.since).min()?;
        Some(self.look_for(state.codel.as_ref(), oldest))
    }

    /// When to look for somebody who waits since then.
    fn look_for(&self, codel: Option<&Codel>, since: Timestamp) -> Timestamp {
        let longest = codel.and_then(Codel::longest_wait).unwrap_or(Duration::MAX);
        let next = since + self.config.timeout.min(longest);
        codel.map_or(next, |codel| next.min(codel.next_look()))
    }

    /// Whether the host that asks has to set a timer for `at`, as none is set that early.
    pub(super) fn claim_watch(&self, at: Timestamp) -> bool {
        let at = at.as_nanos().max(1);
        if at > LATEST {
            return false;
        }
        let mut watched = self.watched.load(Ordering::Acquire);
        while watched == 0 || watched > at {
            match self.watched.compare_exchange(watched, at, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => watched = now,
            }
        }
        false
    }

    /// What a timer that was set for `at` has to do; and for when it is to be set again.
    pub(super) fn look(&self, at: Timestamp) -> Option<Timestamp> {
        // Before the lock: whoever queues up too late for this look finds that nobody watches.
        let (set, none) = (at.as_nanos().max(1), 0);
        let is_last =
            self.watched.compare_exchange(set, none, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        let next = self.look_now()?;
        // Otherwise an earlier timer has taken over.
        (is_last && self.claim_watch(next)).then_some(next)
    }

    pub(super) fn resize(&self, limit: u32) {
        self.set_limit(lock(&self.state), limit);
    }

    fn set_limit(&self, mut state: MutexGuard<'_, State>, limit: u32) {
        let before = self.limit();
        if before == limit {
            return;
        }
        self.limit.store(limit, Ordering::Release);
        if !state.is_closed {
            if limit > before {
                state.claims.raise(&self.word, limit - before);
            } else {
                state.claims.lower(&self.word, before - limit);
            }
        }
        let at = self.time.now();
        self.serve_all(state, at);
        self.notice_if_watched();
        let policy = self.config.name.clone();
        self.events.send(&Event::LimitChanged { policy, at, from: before, to: limit });
    }

    pub(super) fn close(&self) {
        let mut wakes = Wakes::default();
        let mut state = lock(&self.state);
        if !std::mem::replace(&mut state.is_closed, true) {
            state.claims.lower(&self.word, self.limit());
        }
        while let Some(next) = state.queue.first() {
            self.send_away(&mut state, next.slot, Cause::Closed, &mut wakes);
        }
        self.finish(state, wakes);
    }

    pub(super) fn is_closed(&self) -> bool {
        lock(&self.state).is_closed
    }

    /// Ready when every permit is home; until then `waker` is woken for that.
    pub(super) fn poll_drained(&self, id: &mut Option<u64>, waker: &Waker) -> Poll<()> {
        let waker = waker.clone();
        let mut state = lock(&self.state);
        // The flag first: a permit that returns after this look then brings its holder here.
        self.word.raise(Flag::Watched);
        if self.is_drained(&state) {
            self.finish(state, Wakes::default());
            return Poll::Ready(());
        }
        let known = state.drains.watch(id, waker);
        drop(state);
        drop(known);
        Poll::Pending
    }

    pub(super) fn leave_drain(&self, id: u64) {
        let known = lock(&self.state).drains.leave(id);
        drop(known);
    }

    fn notice_if_watched(&self) {
        if self.word.load().has(Flag::Watched) {
            self.notice();
        }
    }

    /// A permit has returned, and somebody outside the queue may want to know: those who wait until
    /// all are home, and the compartments that may borrow it.
    #[cold]
    fn notice(&self) {
        // Down before looking: who raises it after that is looked at by the next one.
        self.word.lower(Flag::Watched);
        let state = lock(&self.state);
        self.finish(state, Wakes::default());
        let still_drains = !lock(&self.state).drains.is_empty();
        if self.fellowship.offer(self) || still_drains {
            self.word.raise(Flag::Watched);
        }
    }

    /// Has those that may lend a permit tell when they can; tells whether there are any.
    fn watch_fellows(&self) -> bool {
        self.fellowship.lenders(self, |lender| lender.word.raise(Flag::Watched))
    }

    /// Gives those who wait what others can spare; tells whether somebody waits still.
    pub(super) fn serve_from_fellows(&self) -> bool {
        self.serve_all(lock(&self.state), self.time.now());
        self.queue_depth() > 0
    }

    /// A permit to be lent, if more than `reserve` are free.
    pub(super) fn lend_above(&self, reserve: u32) -> bool {
        self.word.take_above(reserve)
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit.load(Ordering::Acquire)
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.out(&lock(&self.state))
    }

    pub(super) fn queue_depth(&self) -> u32 {
        lock(&self.state).queue.waiting()
    }

    pub(super) fn status(&self) -> ThrottlerStatus {
        let (borrowed, lent) = self.fellowship.counts();
        let state = lock(&self.state);
        ThrottlerStatus {
            name: self.config.name.clone(),
            max_concurrent: self.limit(),
            in_flight: self.out(&state),
            queue_size: self.config.queue_size,
            queue_depth: state.queue.waiting(),
            stands: state.codel.as_ref().is_some_and(|codel| codel.longest_wait().is_some()),
            borrowed,
            lent,
            closed: state.is_closed,
            service_time: self.expected(),
            totals: self.counters.totals(),
        }
    }

    fn tell_standing(&self, told: Option<bool>, at: Timestamp) {
        if let Some(stands) = told {
            let policy = self.config.name.clone();
            self.events.send(&Event::QueueStanding { policy, at, stands });
        }
    }
}

impl State {
    fn grant(&mut self, next: Waiting, now: Timestamp, grant: Grant, wakes: &mut Wakes) {
        if let Some(codel) = &mut self.codel {
            codel.saw(now - next.since);
        }
        wakes.add(self.queue.answer(next.slot, Standing::Granted(grant)));
    }

    fn look(&mut self, now: Timestamp, service: &ServiceTimes) -> Option<bool> {
        let codel = self.codel.as_mut()?;
        let oldest = self.queue.oldest().map(|waiting| waiting.since).min();
        codel.look(now, oldest, service.median())
    }

    /// Whether the queue stands and this one has waited too long for that.
    fn is_over_delayed(&self, since: Timestamp, now: Timestamp) -> bool {
        let longest = self.codel.as_ref().and_then(Codel::longest_wait);
        longest.is_some_and(|longest| now - since >= longest)
    }
}
