//! Who may run, and whose turn it is next.

mod admission;
mod change;
mod hand_over;
mod look;
mod notice;
mod view;
mod waiting;

use super::adaptive::AdaptiveLimit;
use super::answers::Answers;
use super::claims::Claims;
use super::codel::Codel;
use super::config::{Order, ThrottlerConfig};
use super::drain::Drains;
use super::fellows::Fellowship;
use super::queue::{Queue, Wakes};
use super::samples::Samples;
use super::service::ServiceTimes;
use super::status::Counters;
use super::word::Word;
use crate::sync::atomic::{AtomicU32, AtomicU64};
use crate::sync::{Mutex, MutexGuard};
use crate::{ConfigError, Events, TimeSource};

pub(super) use admission::Received;

/// Everything that handles to one throttler share.
///
/// A call that finds a permit free writes the word and nothing else, and so does one that returns a
/// permit nobody has claimed. All others take the lock. At every unlock, nobody waits while a permit
/// is handed in.
pub(super) struct Machine {
    word: Word,
    state: Mutex<State>,
    answers: Answers,
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
            answers: Answers::new(),
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

    /// What is done at the end of everything that may have changed who waits, or for what.
    #[inline(always)]
    fn finish(&self, mut state: MutexGuard<'_, State>, wakes: &mut Wakes) {
        self.settle(&mut state, wakes);
        drop(state);
        wakes.wake();
    }

    #[inline(never)]
    fn settle(&self, state: &mut State, wakes: &mut Wakes) {
        let waiting = state.queue.waiting();
        state.claims.tell(&self.word, waiting > 0);
        if waiting < self.config.queue_size {
            state.told_full = false;
        }
        if !state.drains.is_empty() && self.is_drained(state) {
            state.drains.end(wakes);
        }
    }
}
