//! Tries again what failed in passing.
//!
//! **Use it** for operations that are safe to repeat and fail now and then. **Not** around
//! another retry (their attempts multiply; it is noticed in the outer one's first call and whenever
//! it does multiply, and reported once), and not for what trying again cannot mend: classify that
//! as permanent.
//!
//! ```text
//! attempt ─► failed? ─► wait = max(own backoff, the callee's Retry-After) ─► attempt ─► …
//!               │ permanent · max_attempts · no time left · no budget · wait too long
//!               ▼
//!            give up with the last error
//! ```
//!
//! | option | default | |
//! |---|---|---|
//! | `max_attempts` | 3 | calls in total, the first included |
//! | `initial_delay` | 1 s | the first wait |
//! | `exponential_base` | 2.0 | 1 s, 2 s, 4 s, …; 1.0 for a fixed delay |
//! | `linear_increment` | – | 1 s, 2 s, 3 s, … instead |
//! | `max_delay` | 30 s | no wait of the schedule is longer, jitter included |
//! | `jitter` | none | `full`, `equal` or `decorrelated` ([`Jitter`]) |
//! | `max_elapsed` | – | no wait ends later than this after the first attempt began |
//! | `min_attempt_time` | 0 | no attempt starts with less time left |
//! | `attempt_timeout` | – | time limit of each attempt |
//! | `max_retry_after` | `max_delay` | a longer wait asked for by the callee ends the retrying |
//! | `budget` | – | tokens shared among all retries to one destination ([`RetryBudget`]) |
//!
//! **Cancellation.** Dropping the call during an attempt or a wait ends it at once: no further
//! attempt is made, and a budget token taken for one is given back. Cancellation is never tried
//! again.
//!
//! **Cost.** When the first attempt succeeds: no clock reading, no allocation, no atomic step (one
//! with a budget).

mod attempts;
mod backoff;
mod budget;
mod config;
mod retry_after;
mod status;

use std::fmt;

pub use attempts::{AttemptResult, Attempts, NextStep};
pub use backoff::{Backoff, Jitter};
pub use budget::{RetryBudget, RetryBudgetBuilder, RetryBudgetConfig};
pub use config::{RetryBuilder, RetryConfig};
pub use retry_after::{retry_after, retry_after_ms};
pub use status::RetryStatus;

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, lock};
use crate::{Event, Events, Name, TimeSource, Timeout, Timestamp};
use backoff::Jittered;

/// A retry policy. Clones are handles to the same one.
///
/// ```
/// use std::time::Duration;
/// use surefoot_core::retry::{AttemptResult, NextStep};
/// use surefoot_core::{Classification, Retry, StopReason, Timestamp};
///
/// let retry = Retry::builder().max_attempts(2).build()?;
/// let mut attempts = retry.attempts();
/// let failed = AttemptResult::Ran(Classification::TRANSIENT);
/// attempts.begin();
/// assert_eq!(attempts.next(failed, Timestamp::ZERO, None), NextStep::Wait(Duration::from_secs(1)));
/// attempts.begin();
/// assert_eq!(attempts.next(failed, Timestamp::ZERO, None), NextStep::Stop(StopReason::Attempts));
/// # Ok::<(), surefoot_core::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Retry {
    shared: Arc<Shared>,
    budget: Option<RetryBudget>,
    counts_calls: bool,
}

struct Shared {
    /// No `max_elapsed` and no `attempt_timeout`, and there has been a call.
    plain: AtomicBool,
    called: AtomicBool,
    config: RetryConfig,
    backoff: Backoff,
    attempt_timeout: Option<Timeout>,
    time: TimeSource,
    events: Events,
    random: Mutex<fastrand::Rng>,
    retries: AtomicU64,
    given_up: AtomicU64,
    told_of_nesting: AtomicBool,
}

impl Retry {
    /// Starts building a retry.
    pub fn builder() -> RetryBuilder {
        RetryBuilder::default()
    }

    fn new(
        config: RetryConfig,
        time: TimeSource,
        budget: Option<RetryBudget>,
        events: Events,
    ) -> Self {
        let random = match config.seed {
            Some(seed) => fastrand::Rng::with_seed(seed.into()),
            None => fastrand::Rng::new(),
        };
        Self {
            shared: Arc::new(Shared {
                plain: AtomicBool::new(false),
                called: AtomicBool::new(false),
                backoff: config.backoff(),
                attempt_timeout: config.attempt_timeout.map(|limit| {
                    Timeout::of_valid(limit).named(config.name.clone()).on_clock(time.clone())
                }),
                config,
                time,
                events,
                random: Mutex::new(random),
                retries: AtomicU64::new(0),
                given_up: AtomicU64::new(0),
                told_of_nesting: AtomicBool::new(false),
            }),
            budget,
            counts_calls: true,
        }
    }

    /// Starts the attempts of one call.
    pub fn attempts(&self) -> Attempts<&Self> {
        Attempts::new(self)
    }

    /// The same with a handle of its own.
    pub fn into_attempts(self) -> Attempts {
        Attempts::new(self)
    }

    /// Notes a call whose first attempt is about to be made without [`attempts`](Self::attempts):
    /// for hosts that keep it free of bookkeeping, as it will most likely succeed.
    #[inline]
    pub fn note_call(&self) {
        if let Some(budget) = self.budget()
            && self.counts_calls
        {
            budget.record_call();
        }
    }

    /// Whether there is nothing to note before a first attempt but [the call](Self::note_call): no
    /// `max_elapsed`, no `attempt_timeout`, and it is not [the first](Self::is_first_call) of all.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.shared.plain.load(Ordering::Relaxed)
    }

    /// `true` when it is asked for the first time: for hosts that look at the first call of all more
    /// closely than at the others.
    pub fn is_first_call(&self) -> bool {
        let Shared { called, plain, config, .. } = &*self.shared;
        if called.load(Ordering::Relaxed) || called.swap(true, Ordering::Relaxed) {
            return false;
        }
        let is_plain = config.max_elapsed.is_none() && config.attempt_timeout.is_none();
        plain.store(is_plain, Ordering::Relaxed);
        true
    }

    /// Goes on after such a first attempt, which began at `started`, if that is known.
    pub fn attempts_after_first(&self, started: Option<Timestamp>) -> Attempts<&Self> {
        Attempts::resume(self, 1, started)
    }

    /// The waits of the schedule in order, before jitter and without end.
    pub fn delays(&self) -> impl Iterator<Item = std::time::Duration> + use<> {
        self.shared.backoff.delays()
    }

    /// A handle to the same retry that draws on `budget`. One of those who share a budget counts
    /// the calls, which is what fills it.
    pub fn drawing_on(self, budget: RetryBudget, counts_calls: bool) -> Self {
        Self { budget: Some(budget), counts_calls, ..self }
    }

    /// The name it was built with.
    pub fn name(&self) -> &Name {
        &self.shared.config.name
    }

    /// The options in force.
    pub fn config(&self) -> &RetryConfig {
        &self.shared.config
    }

    /// The time limit of each attempt.
    #[inline]
    pub fn attempt_timeout(&self) -> Option<&Timeout> {
        self.shared.attempt_timeout.as_ref()
    }

    /// The budget it draws on.
    pub fn budget(&self) -> Option<&RetryBudget> {
        self.budget.as_ref()
    }

    /// Retries made since it was built; first attempts are not counted.
    pub fn retries(&self) -> u64 {
        self.shared.retries.load(Ordering::Relaxed)
    }

    /// Calls that it gave up on since it was built, for whatever reason.
    pub fn given_up(&self) -> u64 {
        self.shared.given_up.load(Ordering::Relaxed)
    }

    /// Where to listen for retries.
    pub fn events(&self) -> &Events {
        &self.shared.events
    }

    /// The clock it decides by.
    pub fn time(&self) -> &TimeSource {
        &self.shared.time
    }

    /// Notes that this retry runs inside another one. Told to listeners once.
    pub fn note_nesting(&self) {
        if !self.shared.told_of_nesting.swap(true, Ordering::Relaxed) {
            self.post(|| Event::NestedRetry { policy: self.name().clone() });
        }
    }

    fn jittered(&self, retry: u32, previous: Option<std::time::Duration>) -> Jittered {
        let mut random = lock(&self.shared.random);
        self.shared.backoff.jittered(retry, previous, self.shared.config.jitter, &mut random)
    }

    fn count_retry(&self) {
        self.shared.retries.fetch_add(1, Ordering::Relaxed);
    }

    fn count_given_up(&self) {
        self.shared.given_up.fetch_add(1, Ordering::Relaxed);
    }

    fn post(&self, event: impl FnOnce() -> Event) {
        if !self.shared.events.is_empty() {
            self.shared.events.send(&event());
        }
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(surefoot_loom)))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Clock, ManualClock};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_retry_is_what_it_was_built_to_be() {
        let clock = ManualClock::new();
        let retry = Retry::builder()
            .name("fetch")
            .attempt_timeout(SECOND)
            .max_attempts(4)
            .clock(&clock)
            .build()
            .unwrap();
        assert_eq!((retry.name().as_str(), retry.config().max_attempts), ("fetch", 4));
        let timeout = retry.attempt_timeout().unwrap();
        assert_eq!((timeout.name().as_str(), timeout.limit()), ("fetch", SECOND));
        clock.advance(SECOND);
        assert_eq!((retry.time().now(), timeout.time().now()), (clock.now(), clock.now()));
        let delays: Vec<_> = retry.delays().take(3).collect();
        assert_eq!(delays, [SECOND, 2 * SECOND, 4 * SECOND]);
    }

    /// Which calls a host may begin without a look at the options.
    #[test]
    fn a_retry_is_plain_after_its_first_call_if_no_option_asks_for_more() {
        let plain = Retry::builder();
        let bounded = Retry::builder().max_elapsed(SECOND);
        let limited = Retry::builder().attempt_timeout(SECOND);
        for (builder, is_plain) in [(plain, true), (bounded, false), (limited, false)] {
            let retry = builder.build().unwrap();
            assert!(!retry.is_plain());
            assert!(retry.is_first_call());
            assert!(!retry.is_first_call());
            assert_eq!(retry.is_plain(), is_plain, "{retry:?}");
        }
    }

    #[test]
    fn of_those_who_share_a_budget_one_counts_the_calls() {
        let budget = RetryBudget::builder().initial(0).ratio(1.0).build().unwrap();
        let retry = Retry::builder().build().unwrap();
        for (counts_calls, balance) in [(false, 0), (true, 1)] {
            let retry = retry.clone().drawing_on(budget.clone(), counts_calls);
            retry.note_call();
            assert_eq!(retry.budget().map(RetryBudget::balance), Some(balance));
        }
    }

    #[test]
    fn listeners_are_told_of_nesting_once() {
        let retry = Retry::builder().build().unwrap();
        let heard = Arc::new(AtomicU64::new(0));
        let ear = Arc::clone(&heard);
        let _subscription = retry.events().subscribe(move |event| {
            ear.fetch_add(u64::from(matches!(event, Event::NestedRetry { .. })), Ordering::Relaxed);
        });
        retry.note_nesting();
        retry.note_nesting();
        assert_eq!(heard.load(Ordering::Relaxed), 1);
    }
}
