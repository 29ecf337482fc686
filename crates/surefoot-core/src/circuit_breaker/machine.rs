//! The machine: one atomic word in front, everything else behind one lock.
//!
//! A call on a closed breaker reads the word, and on success adds one to a counter; a call on an
//! open breaker reads the word, the time and `open_until`. All else takes the lock: failures,
//! half-open, every change of state. Only the holder of the lock writes the word.
//!
//! Here: what it is made of, and how the parts that are read without the lock are written. What
//! it does stands in a file for each question: [`admission`], [`settlement`], [`transitions`],
//! [`view`].

mod admission;
mod settlement;
mod ticket;
mod transitions;
mod view;

use std::collections::VecDeque;
use std::time::SystemTime;

use super::CircuitState;
use super::config::CircuitBreakerConfig;
use super::half_open::HalfOpen;
use super::status::CircuitTotals;
use super::successes::{Mark, Successes};
use super::window::Window;
use super::word::{Flag, Word};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, lock};
use crate::time::nanos;
use crate::{Event, Events, Name, TimeSource, Timestamp};

pub(super) use ticket::Ticket;

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
    /// A [`TripLimit`](super::TripLimit), for rejections.
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

fn random(config: &CircuitBreakerConfig) -> fastrand::Rng {
    match config.seed {
        Some(seed) => fastrand::Rng::with_seed(seed.into()),
        None => fastrand::Rng::new(),
    }
}

fn load_time(time: &AtomicU64) -> Timestamp {
    Timestamp::from_nanos(time.load(Ordering::Acquire))
}
