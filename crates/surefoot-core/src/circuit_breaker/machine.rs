//! The machine: one atomic word in front, everything else behind one lock.
//!
//! A call on a closed breaker reads the word, and on success adds one to a counter; a call on an
//! open breaker reads the word, the time and `open_until`. All else takes the lock: failures,
//! half-open, every change of state. Only the holder of the lock writes the word.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use super::config::{CircuitBreakerConfig, TimeoutGrowth};
use super::half_open::{HalfOpen, ProbeId};
use super::status::{CircuitMode, CircuitStatus, CircuitTotals};
use super::successes::{Bank, Counted, Mark, Successes};
use super::trip::TripLimit;
use super::window::{Call, Counts, Window};
use super::word::{Flag, Word};
use super::{CircuitState, OpenReason};
use crate::clock::time_left;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, lock};
use crate::time::nanos;
use crate::{ConfigError, Event, Events, Name, Rejection, TimeSource, Timestamp, Verdict};

pub(super) struct Machine {
    /// See [`Word`].
    word: AtomicU64,
    /// When an open breaker may try: changes only together with the word.
    open_until: AtomicU64,
    /// Until when the callee asked us to stay away; looked at only if the word says so.
    gate_until: AtomicU64,
    /// When the current part of a time window is over.
    bucket_ends: AtomicU64,
    /// From how many nanoseconds on a call is slow.
    slow_after: AtomicU64,
    /// A [`TripLimit`], for rejections.
    limit: AtomicU64,
    pub(super) name: Name,
    pub(super) time: TimeSource,
    pub(super) events: Events,
    inner: Mutex<Inner>,
    rejected: AtomicU64,
    successes: Successes,
}

struct Inner {
    config: CircuitBreakerConfig,
    state: State,
    window: Window,
    /// The successes when the breaker last closed.
    closed_at: Mark,
    /// Successes counted in the last closed phase, once it is over.
    successes_then: u64,
    /// Failures counted since the breaker last closed.
    failures: u64,
    /// How often in a row trial calls have failed.
    reopened: u32,
    /// `force_open` found the breaker closed, so ending it closes it again.
    forced_while_closed: bool,
    /// `WouldHaveTripped` is sent once for each disabling.
    would_have_tripped: bool,
    last_failure: Option<SystemTime>,
    totals: CircuitTotals,
    random: fastrand::Rng,
    outbox: VecDeque<Event>,
    delivering: bool,
}

enum State {
    Closed,
    Open,
    HalfOpen(HalfOpen),
}

/// What an admitted call holds: when it was admitted, and as what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    /// [`Ticket::USED`] once the verdict is in.
    generation: u64,
    probe: Option<ProbeId>,
    /// When it started, where durations matter; [`Timestamp::MAX`] elsewhere, which makes any
    /// duration zero.
    started: Timestamp,
}

/// Why a call is refused, small enough for registers; times are in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refusal {
    Open { left: u64 },
    ProbesOut { left: u64, limit: u32 },
    Gate { left: u64 },
    Forced,
}

impl Machine {
    pub(super) fn new(config: CircuitBreakerConfig, time: TimeSource, events: Events) -> Self {
        let now = match config.trip {
            Some(super::Trip::RateTimeWindow { .. }) => time.now(),
            _ => Timestamp::ZERO,
        };
        let random = random(&config);
        let machine = Self {
            word: AtomicU64::new(Word::new(CircuitState::Closed, 0).0),
            open_until: AtomicU64::new(0),
            gate_until: AtomicU64::new(0),
            bucket_ends: AtomicU64::new(0),
            slow_after: AtomicU64::new(0),
            limit: AtomicU64::new(0),
            name: config.name.clone(),
            time,
            events,
            rejected: AtomicU64::new(0),
            successes: Successes::default(),
            inner: Mutex::new(Inner {
                window: Window::new(&config, now),
                config,
                state: State::Closed,
                closed_at: Mark::default(),
                successes_then: 0,
                failures: 0,
                reopened: 0,
                forced_while_closed: false,
                would_have_tripped: false,
                last_failure: None,
                totals: CircuitTotals::default(),
                random,
                outbox: VecDeque::new(),
                delivering: false,
            }),
        };
        machine.publish_options(&lock(&machine.inner));
        machine
    }

    // ---- asking ----------------------------------------------------------------------------

    #[inline(always)]
    pub(super) fn admit(&self) -> Result<Ticket, Refusal> {
        let word = self.word();
        if word.admits_plainly() {
            return Ok(Ticket {
                generation: word.generation(),
                probe: None,
                started: Timestamp::MAX,
            });
        }
        if word.with(Flag::TIMED, false).admits_plainly() {
            return Ok(Ticket::plain(word, self.now()));
        }
        self.admit_carefully(word)
    }

    /// Out of line: a call without a clock should not carry the code of reading it.
    #[inline(never)]
    fn now(&self) -> Timestamp {
        self.time.now()
    }

    #[inline(never)]
    fn admit_carefully(&self, mut word: Word) -> Result<Ticket, Refusal> {
        loop {
            if word.has(Flag::FORCED) {
                return self.refuse(Refusal::Forced);
            }
            let now = self.time.now();
            if word.has(Flag::DISABLED) {
                return Ok(Ticket::plain(word, now));
            }
            let gate = if word.has(Flag::GATED) { load_time(&self.gate_until) } else { now };
            let open =
                if word.state() == CircuitState::Open { load_time(&self.open_until) } else { now };
            // The three were read one after the other: they belong together only if the word
            // still is what it was.
            let again = self.word();
            if again != word {
                word = again;
                continue;
            }
            if let left @ 1.. = nanos_left(open, now) {
                return self.refuse(Refusal::Open { left: left.max(nanos_left(gate, now)) });
            }
            if let left @ 1.. = nanos_left(gate, now) {
                return self.refuse(Refusal::Gate { left });
            }
            if word.state() == CircuitState::Closed && !word.has(Flag::GATED) {
                return Ok(Ticket::plain(word, now));
            }
            return self.admit_locked();
        }
    }

    /// Half-open, about to be, or a gate whose time is over.
    fn admit_locked(&self) -> Result<Ticket, Refusal> {
        let mut guard = lock(&self.inner);
        let inner = &mut *guard;
        let now = self.time.now();
        let word = self.word();
        if word.has(Flag::FORCED) {
            return self.refuse(Refusal::Forced);
        }
        if word.has(Flag::DISABLED) {
            return Ok(Ticket::plain(word, now));
        }
        let gate = if word.has(Flag::GATED) { load_time(&self.gate_until) } else { now };
        if let State::Open = inner.state
            && let left @ 1.. = nanos_left(load_time(&self.open_until), now)
        {
            return self.refuse(Refusal::Open { left: left.max(nanos_left(gate, now)) });
        }
        if let left @ 1.. = nanos_left(gate, now) {
            return self.refuse(Refusal::Gate { left });
        }
        self.set_flag(Flag::GATED, false);
        if let State::Open = inner.state {
            self.enter(inner, CircuitState::HalfOpen, now);
        }
        let word = self.word();
        let ticket = match &mut inner.state {
            State::HalfOpen(half_open) => match half_open.take_place(now) {
                Ok(probe) => Ok(Ticket { probe: Some(probe), ..Ticket::plain(word, now) }),
                Err(expires) => {
                    let limit = inner.config.probes();
                    self.refuse(Refusal::ProbesOut { left: nanos_left(expires, now), limit })
                }
            },
            State::Closed | State::Open => Ok(Ticket::plain(word, now)),
        };
        self.deliver(guard);
        ticket
    }

    fn refuse(&self, refusal: Refusal) -> Result<Ticket, Refusal> {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        Err(refusal)
    }

    /// A refusal in full.
    #[inline]
    pub(super) fn rejection(&self, refusal: Refusal) -> Rejection {
        let policy = self.name.clone();
        let (reason, retry_after) = match refusal {
            Refusal::Gate { left } => {
                return Rejection::Throttled { policy, retry_after: Duration::from_nanos(left) };
            }
            Refusal::Open { left } => {
                let limit = TripLimit::from_bits(self.limit.load(Ordering::Relaxed));
                (OpenReason::Tripped(limit), Some(Duration::from_nanos(left)))
            }
            Refusal::ProbesOut { left, limit } => {
                (OpenReason::ProbesOut { limit }, Some(Duration::from_nanos(left)))
            }
            Refusal::Forced => (OpenReason::Forced, None),
        };
        Rejection::CircuitOpen { policy, reason, retry_after }
    }

    // ---- reporting -------------------------------------------------------------------------

    /// The whole of a success on the hot path: one atomic step. `false` if there is more to it.
    ///
    /// A failure publishes `WATCHED`, and a change of state its new word, *before* it reads the
    /// counter with a read-modify-write. So either it reads our step, or our step came after its
    /// reading and we see its word here.
    #[inline(always)]
    pub(super) fn count_success(&self, ticket: &Ticket) -> bool {
        let word = self.word();
        if word.counts_plainly(ticket.generation) {
            self.count_success_under(word, ticket);
            return true;
        }
        self.count_success_by_time(word, ticket)
    }

    /// The same where time matters: one atomic step and one look at the clock.
    #[inline(never)]
    fn count_success_by_time(&self, word: Word, ticket: &Ticket) -> bool {
        let plain_but_for_time = word.with(Flag::TIMED, false).with(Flag::BUCKETED, false);
        if !plain_but_for_time.counts_plainly(ticket.generation) {
            return false;
        }
        let now = self.time.now();
        let plain = if word.has(Flag::BUCKETED) {
            now < load_time(&self.bucket_ends)
        } else {
            ticket.nanos_at(now) < self.slow_after.load(Ordering::Relaxed)
        };
        if plain {
            self.count_success_under(word, ticket);
        }
        plain
    }

    #[inline]
    fn count_success_under(&self, word: Word, ticket: &Ticket) {
        let counted = self.successes.count(word.bank());
        if self.word() != word {
            self.judge_counted_success(*ticket, counted);
        }
    }

    /// A success was counted while the word changed: judge it, or take it out again.
    #[inline(never)]
    fn judge_counted_success(&self, ticket: Ticket, counted: Counted) {
        let mut guard = lock(&self.inner);
        let inner = &mut *guard;
        let word = self.word();
        if word.generation() == ticket.generation {
            if !inner.closed_at.precedes(counted) {
                return; // the counters were emptied since: it came before that
            }
            let now = self.time.now();
            let took = now - ticket.started;
            self.judge(inner, Call { at: now, failed: false, took, successes: 0 });
        } else {
            // It arrived in a later generation, and after that one began to count.
            inner.closed_at.pass_over(counted);
        }
        self.deliver(guard);
    }

    /// Everything but a success on the hot path.
    pub(super) fn settle(&self, ticket: Ticket, verdict: Verdict) {
        let mut guard = lock(&self.inner);
        let inner = &mut *guard;
        let now = self.time.now();
        inner.totals.count(verdict);
        let counted =
            (verdict == Verdict::Success).then(|| self.successes.count(self.word().bank()));
        let current = self.word().generation() == ticket.generation;
        match &mut inner.state {
            State::Closed if current => self.settle_closed(inner, ticket, verdict, now),
            State::HalfOpen(half_open) if current => {
                // A place that was given to another makes this result a stale one too.
                if ticket.probe.is_some_and(|probe| half_open.give_back(probe)) {
                    self.settle_probe(inner, ticket, verdict, now);
                }
            }
            // A later generation: counted in the totals, and nothing else.
            State::Closed | State::Open | State::HalfOpen(_) => {
                if let Some(counted) = counted {
                    inner.closed_at.pass_over(counted);
                }
            }
        }
        self.deliver(guard);
    }

    fn settle_closed(&self, inner: &mut Inner, ticket: Ticket, verdict: Verdict, now: Timestamp) {
        let took = now - ticket.started;
        match verdict {
            Verdict::Success => {
                self.judge(inner, Call { at: now, failed: false, took, successes: 0 });
            }
            Verdict::Failure => {
                self.judge(inner, Call { at: now, failed: true, took, successes: 0 });
            }
            Verdict::Throttled { retry_after } => self.shut_gate(inner, retry_after, now),
            Verdict::Ignored | Verdict::Cancelled => {}
        }
    }

    fn settle_probe(&self, inner: &mut Inner, ticket: Ticket, verdict: Verdict, now: Timestamp) {
        let slow =
            inner.window.slow_after().is_some_and(|slow_after| now - ticket.started >= slow_after);
        match verdict {
            Verdict::Success if !slow => {
                if let State::HalfOpen(half_open) = &mut inner.state {
                    half_open.successes += 1;
                    if half_open.successes >= u64::from(inner.config.success_threshold) {
                        self.enter(inner, CircuitState::Closed, now);
                    }
                }
            }
            Verdict::Success | Verdict::Failure => {
                inner.last_failure = Some(self.time.time_of_day());
                if let Window::Failures(times) = &mut inner.window {
                    times.record(now);
                }
                inner.reopened = inner.reopened.saturating_add(1);
                self.enter(inner, CircuitState::Open, now);
            }
            Verdict::Throttled { retry_after } => self.shut_gate(inner, retry_after, now),
            Verdict::Ignored | Verdict::Cancelled => {}
        }
    }

    /// Shows a call to the window, and opens the breaker if it trips.
    fn judge(&self, inner: &mut Inner, call: Call) {
        let watched = self.word().has(Flag::WATCHED);
        if inner.window.minds(&call) {
            // Before the counter is read: see `count_success`.
            self.set_flag(Flag::WATCHED, true);
        }
        let successes = self.successes_since_closing(inner);
        // Successes that were only counted may have completed the minimum of calls meanwhile. If
        // that trips, this call came after it.
        let others = successes.saturating_sub(u64::from(!call.failed));
        let mut trips = watched && inner.window.trips_by_count(call.at, others);
        if !trips {
            if call.failed {
                inner.failures += 1;
                inner.last_failure = Some(self.time.time_of_day());
            }
            trips = inner.window.record(Call { successes, ..call });
        }
        self.publish_window(inner, successes);
        if !trips {
            return;
        }
        if !self.word().has(Flag::DISABLED) {
            self.enter(inner, CircuitState::Open, call.at);
        } else if !inner.would_have_tripped {
            inner.would_have_tripped = true;
            let limit = inner.config.limit();
            self.post(inner, || Event::WouldHaveTripped {
                policy: self.name.clone(),
                at: call.at,
                limit,
            });
        }
    }

    /// The longest stated pause wins; a pause without a length says nothing.
    fn shut_gate(&self, inner: &mut Inner, retry_after: Option<Duration>, now: Timestamp) {
        let Some(pause) = retry_after else { return };
        let until = now + pause.min(inner.config.max_throttle);
        if until <= now || until <= self.gate() {
            return;
        }
        self.gate_until.store(until.as_nanos(), Ordering::Release);
        self.set_flag(Flag::GATED, true);
        self.post(inner, || Event::Throttled {
            policy: self.name.clone(),
            at: now,
            retry_after: until - now,
        });
    }

    // ---- changes of state ------------------------------------------------------------------

    /// The one place where the state changes.
    fn enter(&self, inner: &mut Inner, to: CircuitState, now: Timestamp) {
        let word = self.word();
        let (counts, _) = self.counts(inner, now);
        match to {
            CircuitState::Closed => {
                inner.state = State::Closed;
                inner.reopened = 0;
                // Read before the word is published: a success of the new generation must not
                // get lost in the old one's count. Late ones take themselves out.
                let word = word.enter(to).with(Flag::WATCHED, false);
                self.forget(inner, word.bank(), now);
                self.word.store(word.0, Ordering::Release);
            }
            CircuitState::Open => {
                inner.totals.opened += 1;
                let was_closed = matches!(inner.state, State::Closed);
                inner.state = State::Open;
                let until = now + inner.open_time();
                self.open_until.store(until.as_nanos(), Ordering::Release);
                self.word.store(word.enter(to).0, Ordering::Release);
                if was_closed {
                    inner.successes_then = self.successes_since_closing(inner);
                }
            }
            CircuitState::HalfOpen => {
                let config = &inner.config;
                inner.state =
                    State::HalfOpen(HalfOpen::new(config.probes(), config.probe_timeout()));
                self.word.store(word.enter(to).0, Ordering::Release);
            }
        }
        self.post(inner, || Event::StateChanged {
            policy: self.name.clone(),
            at: now,
            from: word.state(),
            to,
            generation: word.generation() + 1,
            failure_count: counts.failures,
            success_count: counts.successes,
        });
    }

    /// Empties the counters, as closing does.
    fn forget(&self, inner: &mut Inner, bank: Bank, now: Timestamp) {
        inner.window.clear(now);
        inner.failures = 0;
        inner.closed_at = self.successes.mark(bank);
        inner.would_have_tripped = false;
        self.publish_window(inner, 0);
    }

    // ---- operators -------------------------------------------------------------------------

    pub(super) fn force_open(&self) {
        let mut guard = lock(&self.inner);
        let inner = &mut *guard;
        let now = self.time.now();
        self.set_flag(Flag::DISABLED, false);
        self.set_flag(Flag::FORCED, true);
        if !matches!(inner.state, State::Open) {
            inner.forced_while_closed = matches!(inner.state, State::Closed);
            self.enter(inner, CircuitState::Open, now);
            // Once released, it may try at once.
            self.open_until.store(now.as_nanos(), Ordering::Release);
        }
        self.deliver(guard);
    }

    pub(super) fn disable(&self) {
        let mut guard = lock(&self.inner);
        let inner = &mut *guard;
        inner.would_have_tripped = false;
        inner.forced_while_closed = false;
        self.set_flag(Flag::FORCED, false);
        self.set_flag(Flag::DISABLED, true);
        if !matches!(inner.state, State::Closed) {
            self.enter(inner, CircuitState::Closed, self.time.now());
        }
        self.deliver(guard);
    }

    pub(super) fn automatic(&self) {
        let mut guard = lock(&self.inner);
        let inner = &mut *guard;
        self.set_flag(Flag::FORCED, false);
        self.set_flag(Flag::DISABLED, false);
        if std::mem::take(&mut inner.forced_while_closed) {
            self.enter(inner, CircuitState::Closed, self.time.now());
        }
        self.deliver(guard);
    }

    pub(super) fn reset(&self) {
        let mut guard = lock(&self.inner);
        let inner = &mut *guard;
        let now = self.time.now();
        inner.forced_while_closed = false;
        inner.last_failure = None;
        // `WATCHED` stays until the counters are empty: until then successes may matter.
        for flag in [Flag::FORCED, Flag::DISABLED, Flag::GATED] {
            self.set_flag(flag, false);
        }
        match inner.state {
            State::Closed => self.forget(inner, self.word().bank(), now),
            State::Open | State::HalfOpen(_) => self.enter(inner, CircuitState::Closed, now),
        }
        self.deliver(guard);
    }

    pub(super) fn reconfigure(&self, config: CircuitBreakerConfig) -> Result<(), ConfigError> {
        config.validate()?;
        if config.name != self.name {
            let rule = format!("must stay `{}`: a breaker keeps its name", self.name);
            let policy = CircuitBreakerConfig::POLICY;
            return Err(ConfigError::new(policy, "name", &config.name, rule));
        }
        let mut guard = lock(&self.inner);
        let inner = &mut *guard;
        let now = self.time.now();
        let mut window = Window::new(&config, now);
        let successes = self.successes_in_window(inner);
        let inherited = window.inherit(&mut inner.window, successes);
        inner.window = window;
        if config.seed != inner.config.seed {
            inner.random = random(&config);
        }
        inner.config = config;
        if !inherited {
            self.forget(inner, self.word().bank(), now);
            inner.successes_then = 0;
        }
        if let State::HalfOpen(half_open) = &mut inner.state {
            half_open.reconfigure(inner.config.probes(), inner.config.probe_timeout());
        }
        self.publish_options(inner);
        Ok(())
    }

    // ---- looking ---------------------------------------------------------------------------

    pub(super) fn state(&self) -> CircuitState {
        self.word().state()
    }

    pub(super) fn generation(&self) -> u64 {
        self.word().generation()
    }

    pub(super) fn status(&self) -> CircuitStatus {
        let inner = lock(&self.inner);
        let now = self.time.now();
        let word = self.word();
        let (counts, failure_rate) = self.counts(&inner, now);
        let mode = match word {
            word if word.has(Flag::FORCED) => CircuitMode::ForcedOpen,
            word if word.has(Flag::DISABLED) => CircuitMode::Disabled,
            _ => CircuitMode::Automatic,
        };
        let retry_after = match (mode, &inner.state) {
            (CircuitMode::Automatic, State::Open) => {
                time_left(load_time(&self.open_until).max(self.gate()), now)
            }
            (CircuitMode::Automatic, State::HalfOpen(half_open)) => {
                let free = half_open.next_free_place().unwrap_or(now);
                time_left(free.max(self.gate()), now)
            }
            (CircuitMode::Automatic, State::Closed) => time_left(self.gate(), now),
            (CircuitMode::ForcedOpen | CircuitMode::Disabled, _) => None,
        };
        CircuitStatus {
            name: self.name.clone(),
            state: word.state(),
            mode,
            failure_count: counts.failures,
            success_count: counts.successes,
            failure_rate,
            last_failure_time: inner.last_failure,
            retry_after,
            generation: word.generation(),
            totals: CircuitTotals {
                successes: self.successes.total(),
                rejected: self.rejected.load(Ordering::Relaxed),
                ..inner.totals
            },
        }
    }

    pub(super) fn config(&self) -> CircuitBreakerConfig {
        lock(&self.inner).config.clone()
    }

    /// Closed, automatic and with nothing remembered that matters: a new one would decide alike.
    pub(super) fn is_as_new(&self) -> bool {
        let inner = lock(&self.inner);
        let now = self.time.now();
        let word = self.word();
        word.state() == CircuitState::Closed
            && !word.has(Flag::DISABLED)
            && time_left(self.gate(), now).is_none()
            && inner.window.is_empty(now, self.successes_since_closing(&inner))
    }

    /// The counters that the status shows, and the share of failures.
    fn counts(&self, inner: &Inner, now: Timestamp) -> (Counts, f64) {
        let closed = matches!(inner.state, State::Closed);
        let successes = self.successes_in_window(inner);
        let failures = inner.window.failures(now, successes);
        let in_window = inner.window.counts(now, successes);
        let since =
            if closed { Counts { failures: inner.failures, successes } } else { Counts::default() };
        let shown = match &inner.state {
            State::HalfOpen(half_open) => half_open.successes,
            State::Closed | State::Open => in_window.unwrap_or(since).successes,
        };
        (Counts { failures, successes: shown }, in_window.unwrap_or(since).rate())
    }

    // ---- the shared words ------------------------------------------------------------------

    #[inline]
    fn word(&self) -> Word {
        // Acquire: what was published before the word (`open_until`, …) is seen with it.
        Word(self.word.load(Ordering::Acquire))
    }

    /// Only under the lock: nobody else writes the word meanwhile.
    fn set_flag(&self, flag: Flag, on: bool) {
        let word = self.word();
        let changed = word.with(flag, on);
        if changed != word {
            self.word.store(changed.0, Ordering::Release);
        }
    }

    /// The successes that stand beside the failures the window remembers.
    fn successes_in_window(&self, inner: &Inner) -> u64 {
        match inner.state {
            State::Closed => self.successes_since_closing(inner),
            State::Open | State::HalfOpen(_) => inner.successes_then,
        }
    }

    fn successes_since_closing(&self, inner: &Inner) -> u64 {
        self.successes.since(&inner.closed_at)
    }

    /// Until when callers are to stay away; the origin if no gate is shut.
    fn gate(&self) -> Timestamp {
        let shut = self.word().has(Flag::GATED);
        if shut { load_time(&self.gate_until) } else { Timestamp::ZERO }
    }

    fn publish_window(&self, inner: &Inner, successes: u64) {
        if let Some(time) = inner.window.buckets() {
            self.bucket_ends.store(time.current_ends().as_nanos(), Ordering::Release);
        }
        self.set_flag(Flag::WATCHED, inner.window.is_watchful(successes));
    }

    fn publish_options(&self, inner: &Inner) {
        self.limit.store(inner.config.limit().to_bits(), Ordering::Relaxed);
        let slow_after = inner.window.slow_after();
        self.slow_after.store(slow_after.map_or(u64::MAX, nanos), Ordering::Relaxed);
        self.set_flag(Flag::TIMED, slow_after.is_some());
        self.set_flag(Flag::BUCKETED, inner.window.buckets().is_some());
        self.publish_window(inner, self.successes_since_closing(inner));
    }

    // ---- events ----------------------------------------------------------------------------

    fn post(&self, inner: &mut Inner, event: impl FnOnce() -> Event) {
        if !self.events.is_empty() {
            inner.outbox.push_back(event());
        }
    }

    /// Releases the lock, then sends what was posted: one thread at a time, in order.
    fn deliver<'a>(&'a self, mut inner: MutexGuard<'a, Inner>) {
        if inner.delivering {
            return; // whoever delivers now will find ours
        }
        while let Some(event) = inner.outbox.pop_front() {
            inner.delivering = true;
            drop(inner);
            self.events.send(&event);
            inner = lock(&self.inner);
        }
        inner.delivering = false;
    }
}

impl Inner {
    /// How long the breaker stays open this time.
    fn open_time(&mut self) -> Duration {
        let base = nanos(self.config.timeout);
        let longest = self.config.timeout_growth.map_or(u64::MAX, |growth| nanos(growth.max));
        let factor = match self.config.timeout_growth {
            Some(TimeoutGrowth { factor, .. }) => {
                factor.powi(i32::try_from(self.reopened).unwrap_or(i32::MAX))
            }
            None => 1.0,
        };
        let jitter = 1.0 + self.config.timeout_jitter * self.random.f64();
        Duration::from_nanos(scale(base, factor * jitter).min(longest))
    }
}

impl Ticket {
    /// Generations have 56 bits, so this is none.
    const USED: u64 = u64::MAX;

    /// The ticket, once.
    #[inline]
    pub(super) fn use_up(&mut self) -> Option<Self> {
        let ticket = *self;
        self.generation = Self::USED;
        (!ticket.is_used()).then_some(ticket)
    }

    #[inline]
    pub(super) fn mark_used(&mut self) {
        self.generation = Self::USED;
    }

    /// How long ago it started.
    #[inline]
    fn nanos_at(&self, now: Timestamp) -> u64 {
        now.as_nanos().saturating_sub(self.started.as_nanos())
    }

    #[inline]
    pub(super) fn is_used(&self) -> bool {
        self.generation == Self::USED
    }

    #[inline]
    fn plain(word: Word, now: Timestamp) -> Self {
        let started = if word.has(Flag::TIMED) { now } else { Timestamp::MAX };
        Self { generation: word.generation(), probe: None, started }
    }
}

impl CircuitTotals {
    fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Success => {} // the atomic counter has it
            Verdict::Failure => self.failures += 1,
            Verdict::Ignored => self.ignored += 1,
            Verdict::Throttled { .. } => self.throttled += 1,
            Verdict::Cancelled => self.cancelled += 1,
        }
    }
}

fn random(config: &CircuitBreakerConfig) -> fastrand::Rng {
    match config.seed {
        Some(seed) => fastrand::Rng::with_seed(seed.into()),
        None => fastrand::Rng::new(),
    }
}

fn nanos_left(at: Timestamp, now: Timestamp) -> u64 {
    at.as_nanos().saturating_sub(now.as_nanos())
}

fn load_time(time: &AtomicU64) -> Timestamp {
    Timestamp::from_nanos(time.load(Ordering::Acquire))
}

/// `nanos · factor`, exact for whole factors that fit, saturated at the most that fits.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates; below 104 days every nanosecond is exact"
)]
fn scale(nanos: u64, factor: f64) -> u64 {
    if factor <= 1.0 { nanos } else { (nanos as f64 * factor).round() as u64 }
}
