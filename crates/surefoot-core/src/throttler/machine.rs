//! Who may run, and whose turn it is next.

use std::task::{Poll, Waker};
use std::time::Duration;

use super::LeftQueue;
use super::adaptive::AdaptiveLimit;
use super::codel::Codel;
use super::config::{Order, PERMITS_MOST, ThrottlerConfig};
use super::drain::Drains;
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
/// A call that finds a permit free, and nobody waiting, writes the word and nothing else. All
/// others take the lock. At every unlock the flag `Queued` says whether somebody waits, and nobody
/// waits while a permit is free, unless whoever has just returned it is on the way to the lock.
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
}

struct State {
    queue: Queue,
    adaptive: Option<AdaptiveLimit>,
    codel: Option<Codel>,
    drains: Drains,
    /// Whether listeners know that the queue is full.
    told_full: bool,
}

/// How a call that asks to wait is received.
pub(super) enum Received {
    Admitted { since: Option<Timestamp> },
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
        let queue = Queue::new(config.levels(), config.order == Order::Lifo);
        let codel = config.codel.map(Codel::new);
        let is_timed = codel.is_some() || adaptive.is_some();
        let state = State { queue, adaptive, codel, drains: Drains::default(), told_full: false };
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
        })
    }

    /// A permit if one is free and nobody waits.
    #[inline]
    pub(super) fn take(&self) -> Result<Option<Timestamp>, Rejection> {
        match self.word.take() {
            Ok(_) => Ok(self.begin()),
            Err(seen) => Err(self.refuse_to_wait(seen.has(Flag::Closed))),
        }
    }

    /// When a call begins, where that is of interest.
    #[inline]
    fn begin(&self) -> Option<Timestamp> {
        if self.is_timed { Some(self.time.now()) } else { None }
    }

    #[cold]
    fn refuse_to_wait(&self, is_closed: bool) -> Rejection {
        if is_closed {
            return self.refuse_closed();
        }
        Counters::add(&self.counters.queue_full);
        let max_concurrent = self.limit();
        Rejection::QueueFull { policy: self.config.name.clone(), max_concurrent, queue_size: 0 }
    }

    fn refuse_closed(&self) -> Rejection {
        Counters::add(&self.counters.closed);
        Rejection::Closed { policy: self.config.name.clone() }
    }

    /// A permit, or a place in the queue.
    #[inline]
    pub(super) fn enqueue(
        &self,
        level: u8,
        wait: impl FnOnce(&TimeSource) -> Wait,
    ) -> Result<Received, Rejection> {
        match self.word.take() {
            Ok(_) => Ok(Received::Admitted { since: self.begin() }),
            Err(_) => self.queue_up(level, wait(&self.time)),
        }
    }

    #[cold]
    fn queue_up(&self, level: u8, wait: Wait) -> Result<Received, Rejection> {
        let now = self.time.now();
        let mut state = lock(&self.state);
        let told = state.look(now, &self.service);
        let received = self.receive(&mut state, now, level, wait);
        let filled = received.as_ref().is_err_and(|refusal| {
            matches!(refusal, Rejection::QueueFull { .. }) && !state.told_full
        });
        state.told_full |= filled;
        drop(state);
        self.tell_standing(told, now);
        if filled {
            let (policy, queue_size) = (self.config.name.clone(), self.config.queue_size);
            self.events.send(&Event::QueueFilled { policy, at: now, queue_size });
        }
        received
    }

    fn receive(
        &self,
        state: &mut State,
        now: Timestamp,
        level: u8,
        Wait { deadline, waker }: Wait,
    ) -> Result<Received, Rejection> {
        loop {
            let Err(seen) = self.word.take() else {
                return Ok(Received::Admitted { since: Some(now) });
            };
            if seen.has(Flag::Closed) {
                return Err(self.refuse_closed());
            }
            if self.is_hopeless(deadline, now) {
                let cause = Cause::Left { at: now, reason: LeftQueue::Deadline };
                return Err(self.rejection(cause, now));
            }
            if state.queue.waiting() >= self.config.queue_size {
                Counters::add(&self.counters.queue_full);
                let (policy, max_concurrent) = (self.config.name.clone(), self.limit());
                let queue_size = self.config.queue_size;
                return Err(Rejection::QueueFull { policy, max_concurrent, queue_size });
            }
            if self.word.queue_up().is_ok() {
                break;
            }
        }
        if state.queue.waiting() == 0
            && let Some(codel) = &mut state.codel
        {
            codel.saw(Duration::ZERO); // whoever came a moment ago did not wait behind anybody
        }
        Counters::add(&self.counters.queued);
        let slot = state.queue.push(level, now, deadline, waker);
        let leaves_at = waiter::leaves_at(now, self.config.timeout, deadline);
        let look_at = state.codel.as_ref().map_or(Timestamp::MAX, Codel::next_look);
        let look_at = look_at.min(now + self.config.timeout);
        Ok(Received::Queued { slot, leaves_at, look_at })
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
    ) -> Poll<Result<Timestamp, Rejection>> {
        let mut state = lock(&self.state);
        let (standing, since) = state.queue.standing(slot);
        let cause = match standing {
            Standing::Granted { at } => {
                let _ = state.queue.leave(slot);
                return Poll::Ready(Ok(at));
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
                Cause::Left { at: now, reason: self.why_late(since, now) }
            }
        };
        let (_, known) = state.queue.leave(slot);
        self.settle_flag(&mut state);
        drop(state);
        drop(known);
        Poll::Ready(Err(self.rejection(cause, since)))
    }

    fn why_late(&self, since: Timestamp, now: Timestamp) -> LeftQueue {
        if now >= since + self.config.timeout { LeftQueue::Timeout } else { LeftQueue::Deadline }
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

    /// A waiter gives up its place before it has collected an answer.
    pub(super) fn leave(&self, slot: Slot) {
        let mut state = lock(&self.state);
        let (standing, waker) = state.queue.leave(slot);
        match standing {
            Standing::Granted { .. } => {
                Counters::add(&self.counters.cancelled);
                self.hand_over(state);
            }
            Standing::Waiting => {
                Counters::add(&self.counters.cancelled);
                self.settle_flag(&mut state);
                drop(state);
            }
            Standing::Refused(cause) => {
                drop(state);
                drop(self.rejection(cause, Timestamp::ZERO)); // which counts it
            }
        }
        drop(waker);
    }

    /// Returns a permit that was given at `since`, if that was noted.
    #[inline]
    pub(super) fn release(&self, since: Option<Timestamp>, verdict: impl FnOnce() -> Verdict) {
        match since {
            None => self.put_back(),
            Some(since) => self.release_timed(since, &verdict()),
        }
    }

    #[inline]
    fn put_back(&self) {
        match self.word.put_back() {
            Returned::Done => {}
            Returned::Wanted => self.serve(),
            Returned::NotYet => self.hand_over(lock(&self.state)),
        }
    }

    #[inline(never)]
    fn release_timed(&self, since: Timestamp, verdict: &Verdict) {
        let now = self.time.now();
        self.service.record(now - since);
        let Some(samples) = &self.samples else { return self.put_back() };
        samples.note(verdict, now - since, self.in_flight());
        self.put_back();
        if samples.is_due(now) {
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

    /// Gives a permit that is still out to whoever is next, or takes it home.
    #[cold]
    fn hand_over(&self, mut state: MutexGuard<'_, State>) {
        let now = self.time.now();
        let mut wakes = Wakes::default();
        let told = state.look(now, &self.service);
        // More may be out than the limit now allows: then one of them goes home.
        let next =
            if self.word.load().free() < 0 { None } else { self.next(&mut state, now, &mut wakes) };
        match next {
            Some(next) => state.grant(next, now, &mut wakes),
            None => {
                self.word.add(1);
            }
        }
        self.finish(state, now, told, wakes);
    }

    /// Gives what is free to those who wait.
    #[cold]
    fn serve(&self) {
        self.serve_all(lock(&self.state));
    }

    fn serve_all(&self, mut state: MutexGuard<'_, State>) {
        let now = self.time.now();
        let mut wakes = Wakes::default();
        let told = state.look(now, &self.service);
        while let Some(next) = self.next(&mut state, now, &mut wakes) {
            if !self.word.take_for_queue() {
                break;
            }
            state.grant(next, now, &mut wakes);
        }
        self.finish(state, now, told, wakes);
    }

    fn finish(
        &self,
        mut state: MutexGuard<'_, State>,
        now: Timestamp,
        told: Option<bool>,
        mut wakes: Wakes,
    ) {
        self.settle_flag(&mut state);
        if !state.drains.is_empty() && self.is_drained() {
            state.drains.end(&mut wakes);
            self.word.lower(Flag::Draining);
        }
        drop(state);
        wakes.wake();
        self.tell_standing(told, now);
    }

    /// Whose turn it is: those who cannot use one any more are sent away first.
    fn next(&self, state: &mut State, now: Timestamp, wakes: &mut Wakes) -> Option<Waiting> {
        while let Some(next) = state.queue.first() {
            let Some(reason) = self.unfit(state, next, now) else { return Some(next) };
            if let Some(codel) = &mut state.codel {
                codel.saw(now - next.since);
            }
            let cause = Cause::Left { at: now, reason };
            wakes.add(state.queue.answer(next.slot, Standing::Refused(cause)));
        }
        None
    }

    fn unfit(&self, state: &State, waiting: Waiting, now: Timestamp) -> Option<LeftQueue> {
        let Waiting { since, deadline, .. } = waiting;
        if now >= since + self.config.timeout {
            Some(LeftQueue::Timeout)
        } else if state.is_over_delayed(since, now) {
            Some(LeftQueue::StandingQueue)
        } else if self.is_hopeless(deadline, now) {
            Some(LeftQueue::Deadline)
        } else {
            None
        }
    }

    /// At every unlock: the flag says whether somebody waits.
    fn settle_flag(&self, state: &mut State) {
        if state.queue.waiting() < self.config.queue_size {
            state.told_full = false;
        }
        if state.queue.waiting() == 0 && self.word.load().has(Flag::Queued) {
            self.word.lower(Flag::Queued);
        }
    }

    fn is_drained(&self) -> bool {
        self.in_flight() == 0
    }

    /// Sends away whoever has waited too long. Tells when to look again, if anybody waits.
    fn sweep(&self) -> Option<Timestamp> {
        let now = self.time.now();
        let mut wakes = Wakes::default();
        let mut state = lock(&self.state);
        let told = state.look(now, &self.service);
        loop {
            let late = state.queue.oldest().find_map(|waiting| {
                let timed_out = now >= waiting.since + self.config.timeout;
                let reason = if timed_out {
                    LeftQueue::Timeout
                } else if state.is_over_delayed(waiting.since, now) {
                    LeftQueue::StandingQueue
                } else {
                    return None;
                };
                Some((waiting.slot, reason))
            });
            let Some((slot, reason)) = late else { break };
            let cause = Cause::Left { at: now, reason };
            wakes.add(state.queue.answer(slot, Standing::Refused(cause)));
        }
        let next = self.next_look(&state);
        self.finish(state, now, told, wakes);
        next
    }

    fn next_look(&self, state: &State) -> Option<Timestamp> {
        let oldest = state.queue.oldest().map(|waiting| waiting.since).min()?;
        let codel = state.codel.as_ref();
        let longest = codel.and_then(Codel::longest_wait).unwrap_or(Duration::MAX);
        let next = oldest + self.config.timeout.min(longest);
        Some(codel.map_or(next, |codel| next.min(codel.next_look())))
    }

    /// Whether the host that asks has to set a timer for `at`, as none is set that early.
    pub(super) fn claim_watch(&self, at: Timestamp) -> bool {
        let at = at.as_nanos().max(1);
        if at == u64::MAX {
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
        let next = self.sweep()?;
        // An earlier timer has taken over.
        (is_last && self.claim_watch(next)).then_some(next)
    }

    /// Looks, for a host that has a timer for each waiter.
    pub(super) fn look_now(&self) -> Option<Timestamp> {
        self.sweep()
    }

    pub(super) fn resize(&self, limit: u32) {
        self.set_limit(lock(&self.state), limit);
    }

    fn set_limit(&self, state: MutexGuard<'_, State>, limit: u32) {
        let before = self.limit();
        let difference = i64::from(limit) - i64::from(before);
        if difference == 0 {
            return;
        }
        // In the order in which nobody sees more in flight than there were.
        if difference < 0 {
            self.limit.store(limit, Ordering::Release);
        }
        self.word.add(difference);
        self.limit.store(limit, Ordering::Release);
        self.serve_all(state);
        let (policy, at) = (self.config.name.clone(), self.time.now());
        self.events.send(&Event::LimitChanged { policy, at, from: before, to: limit });
    }

    pub(super) fn close(&self) {
        let mut wakes = Wakes::default();
        let mut state = lock(&self.state);
        self.word.raise(Flag::Closed);
        while let Some(next) = state.queue.first() {
            wakes.add(state.queue.answer(next.slot, Standing::Refused(Cause::Closed)));
        }
        self.finish(state, Timestamp::ZERO, None, wakes);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.word.load().has(Flag::Closed)
    }

    /// Ready when every permit is home; until then `waker` is woken for that.
    pub(super) fn poll_drained(&self, id: &mut Option<u64>, waker: &Waker) -> Poll<()> {
        let waker = waker.clone();
        let mut state = lock(&self.state);
        // The flag first: a permit that comes home after this look then brings its holder here.
        self.word.raise(Flag::Draining);
        if self.is_drained() {
            let mut wakes = Wakes::default();
            state.drains.end(&mut wakes);
            self.word.lower(Flag::Draining);
            drop(state);
            wakes.wake();
            return Poll::Ready(());
        }
        let known = state.drains.watch(id, waker);
        drop(state);
        drop(known);
        Poll::Pending
    }

    pub(super) fn leave_drain(&self, id: u64) {
        let mut state = lock(&self.state);
        let known = state.drains.leave(id);
        if state.drains.is_empty() {
            self.word.lower(Flag::Draining);
        }
        drop(state);
        drop(known);
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit.load(Ordering::Acquire)
    }

    pub(super) fn in_flight(&self) -> u32 {
        let out = i64::from(self.limit()) - i64::from(self.word.load().free());
        u32::try_from(out).unwrap_or_default()
    }

    pub(super) fn queue_depth(&self) -> u32 {
        lock(&self.state).queue.waiting()
    }

    pub(super) fn status(&self) -> ThrottlerStatus {
        let state = lock(&self.state);
        ThrottlerStatus {
            name: self.config.name.clone(),
            max_concurrent: self.limit(),
            in_flight: self.in_flight(),
            queue_size: self.config.queue_size,
            queue_depth: state.queue.waiting(),
            stands: state.codel.as_ref().is_some_and(|codel| codel.longest_wait().is_some()),
            closed: self.is_closed(),
            service_time: self.expected(),
            totals: self.counters.totals(),
        }
    }

    fn tell_standing(&self, told: Option<bool>, at: Timestamp) {
        if let Some(stands) = told {
            self.events.send(&Event::QueueStanding {
                policy: self.config.name.clone(),
                at,
                stands,
            });
        }
    }
}

impl State {
    fn grant(&mut self, next: Waiting, now: Timestamp, wakes: &mut Wakes) {
        if let Some(codel) = &mut self.codel {
            codel.saw(now - next.since);
        }
        wakes.add(self.queue.answer(next.slot, Standing::Granted { at: now }));
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
