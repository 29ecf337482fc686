//! Asks again before the first answer is late.
//!
//! **Use it** for operations that are safe to repeat and whose slowest answers are much slower
//! than the rest: a second attempt rarely meets the same slow machine. **Not** where the callee is
//! slow because of load (the budget then stops it), and not for blocking code, which cannot be
//! given up once the other attempt has won.
//!
//! ```text
//! attempt 1 ──────────────────────────────────► dropped, neutral
//!             delay │ attempt 2 ──────► answer: returned
//!                   │            delay │ attempt 3 …   up to max_hedges
//! ```
//!
//! | option | default | |
//! |---|---|---|
//! | `name` | `hedge` | what events call it |
//! | `delay` | required, or `percentile` | time without an answer before another attempt; 0 makes all at once |
//! | `percentile` | – | that share of answers is usually in by then: 0.95 hedges the slowest 5 % |
//! | `warm_up` | 20 | answers to be seen before `percentile` hedges |
//! | `window` | 60 s | how long answers count for `percentile`: from half of it to all of it |
//! | `max_hedges` | 1 | attempts beyond the first |
//! | `budget` | – | tokens shared with the retries to the same destination |
//!
//! **Answers.** The first success wins, and so does the first error that trying again cannot
//! mend. Another failure starts the next attempt at once, unless the callee asked for a pause or one
//! of our own policies refused. With none accepted, the answer that came last is returned. Only
//! successes count for `percentile`: what fails fast says nothing about when an answer is late.
//!
//! **Deadlines.** No attempt begins once a deadline around the call is over; what it ends then is a
//! failure of every attempt under way.
//!
//! **Cancellation.** Attempts that lost, or whose caller walked away, are dropped in place, which
//! counts as nothing.
//!
//! **Cost.** An answer that comes at once: no clock reading and no allocation, one atomic step with
//! a budget, another with `percentile`. A call that waits: two clock readings and a timer; with
//! `percentile` also a pass over 1,024 counters when the timer is set.
//!
//! Source: Dean and Barroso, "The Tail at Scale" (2013); the budget is that of
//! [`RetryBudget`]; the warm-up is failsafe-go's.

mod config;
mod latency;
mod race;
mod status;

use std::fmt;
use std::time::Duration;

pub use config::{HedgeBuilder, HedgeConfig};
pub use race::{AfterAnswer, Race};
pub use status::HedgeStatus;

use crate::sync::Arc;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::{Event, Events, Name, RetryBudget, TimeSource, Timestamp};
use latency::Latencies;

/// A hedging policy. Clones are handles to the same one.
///
/// ```
/// use std::time::Duration;
/// use surefoot_core::{Hedge, Timestamp};
///
/// let hedge = Hedge::builder().delay(Duration::from_millis(50)).build()?;
/// let mut race = hedge.race();
/// let now = Timestamp::ZERO;
/// assert_eq!(race.next_at(now), Some(now + Duration::from_millis(50)));
/// assert!(race.begin(now + Duration::from_millis(50)));
/// assert_eq!(race.next_at(now), None); // there is only one hedge
/// # Ok::<(), surefoot_core::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Hedge {
    shared: Arc<Shared>,
    budget: Option<RetryBudget>,
    counts_calls: bool,
}

struct Shared {
    config: HedgeConfig,
    latencies: Option<Latencies>,
    time: TimeSource,
    events: Events,
    hedges: AtomicU64,
    refused: AtomicU64,
}

impl Hedge {
    /// Starts building a hedge.
    pub fn builder() -> HedgeBuilder {
        HedgeBuilder::default()
    }

    fn new(
        config: HedgeConfig,
        time: TimeSource,
        budget: Option<RetryBudget>,
        events: Events,
    ) -> Self {
        let latencies = config.percentile.map(|_| Latencies::new(config.window));
        let (hedges, refused) = (AtomicU64::new(0), AtomicU64::new(0));
        let shared = Arc::new(Shared { config, latencies, time, events, hedges, refused });
        Self { shared, budget, counts_calls: true }
    }

    /// Starts the attempts of one call, the first of which begins now.
    #[inline]
    pub fn race(&self) -> Race<&Self> {
        self.note_call();
        Race::new(self)
    }

    /// The same with a handle of its own.
    pub fn into_race(self) -> Race {
        self.note_call();
        Race::new(self)
    }

    #[inline]
    fn note_call(&self) {
        if let Some(budget) = &self.budget
            && self.counts_calls
        {
            budget.record_call();
        }
    }

    /// How long an attempt may go without an answer before the next one begins: `delay`, or the
    /// percentile of recent latencies. `None` before the warm-up is over.
    pub fn delay(&self, now: Timestamp) -> Option<Duration> {
        let config = &self.shared.config;
        match (&self.shared.latencies, config.percentile) {
            (Some(latencies), Some(percentile)) => {
                latencies.percentile(percentile, config.warm_up, now)
            }
            _ => config.delay,
        }
    }

    /// Notes how long the caller waited for an accepted answer, since its first attempt began; only with
    /// `percentile` does it matter.
    #[inline]
    pub fn record(&self, latency: Duration, now: Timestamp) {
        if let Some(latencies) = &self.shared.latencies {
            latencies.record(latency, now);
        }
    }

    /// Whether latencies matter, so that a call has to be timed.
    #[inline]
    pub fn is_timed(&self) -> bool {
        self.shared.latencies.is_some()
    }

    /// A handle to the same hedge that draws on `budget`. One of those who share a budget counts
    /// the calls, which is what fills it.
    pub fn drawing_on(self, budget: RetryBudget, counts_calls: bool) -> Self {
        Self { budget: Some(budget), counts_calls, ..self }
    }

    /// The name it was built with.
    pub fn name(&self) -> &Name {
        &self.shared.config.name
    }

    /// The options in force.
    pub fn config(&self) -> &HedgeConfig {
        &self.shared.config
    }

    /// The budget it draws on.
    pub fn budget(&self) -> Option<&RetryBudget> {
        self.budget.as_ref()
    }

    /// Attempts made beyond first ones since it was built.
    pub fn hedges(&self) -> u64 {
        self.shared.hedges.load(Ordering::Relaxed)
    }

    /// Calls for which a budget refused another attempt since it was built.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Where to listen for hedges.
    pub fn events(&self) -> &Events {
        &self.shared.events
    }

    /// The clock it decides by.
    pub fn time(&self) -> &TimeSource {
        &self.shared.time
    }

    fn post(&self, event: impl FnOnce() -> Event) {
        if !self.shared.events.is_empty() {
            self.shared.events.send(&event());
        }
    }
}

impl fmt::Debug for Hedge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hedge").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::{Clock, ManualClock};

    const SECOND: Duration = Duration::from_secs(1);

    fn hedge() -> HedgeBuilder {
        Hedge::builder().delay(SECOND)
    }

    /// One call puts half a token in.
    fn budget() -> RetryBudget {
        let builder = RetryBudget::builder().initial(0).ratio(0.5);
        builder.clock(ManualClock::new()).build().unwrap()
    }

    #[test]
    fn every_call_fills_the_budget_however_its_race_is_held() {
        let budget = budget();
        let hedge = hedge().budget(budget.clone()).build().unwrap();
        assert!(hedge.budget().is_some_and(|own| own.is_same(&budget)));
        let _ = (hedge.race(), hedge.clone().into_race());
        assert_eq!(budget.balance(), 1);
    }

    #[test]
    fn of_those_who_share_a_budget_only_one_counts_the_calls() {
        let budget = budget();
        let counting = hedge().build().unwrap().drawing_on(budget.clone(), true);
        let drawing = counting.clone().drawing_on(budget.clone(), false);
        let _ = (counting.race(), drawing.race());
        assert_eq!(budget.balance(), 0);
        let _ = counting.race();
        assert_eq!(budget.balance(), 1);
    }

    #[test]
    fn a_percentile_decides_once_it_is_warm_and_needs_calls_to_be_timed() {
        let hedge = Hedge::builder().percentile(1.0).warm_up(2).build().unwrap();
        assert!(hedge.is_timed());
        hedge.record(SECOND, Timestamp::ZERO);
        assert_eq!(hedge.delay(Timestamp::ZERO), None);
        hedge.record(SECOND, Timestamp::ZERO);
        let delay = hedge.delay(Timestamp::ZERO).unwrap();
        assert!(delay > SECOND && delay <= SECOND.mul_f64(1.0 + 1.0 / 16.0), "{delay:?}");
    }

    #[test]
    fn a_fixed_delay_needs_no_call_to_be_timed() {
        let hedge = hedge().build().unwrap();
        assert!(!hedge.is_timed());
        hedge.record(2 * SECOND, Timestamp::ZERO);
        assert_eq!(hedge.delay(Timestamp::ZERO), Some(SECOND));
    }

    /// Those given to the builder and those who ask the hedge for its events.
    #[test]
    fn listeners_hear_which_attempt_began_and_when_one_was_refused() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let listener = || {
            let heard = Arc::clone(&heard);
            move |event: &Event| heard.lock().unwrap().push(event.clone())
        };
        let built = hedge().name("search").max_hedges(2).on_event(listener());
        let initial = RetryBudget::builder().initial(1).build().unwrap();
        let hedge = built.budget(initial).build().unwrap();
        hedge.events().subscribe(listener()).forever();
        let at = Timestamp::ZERO + SECOND;
        let mut race = hedge.race();
        assert!(race.begin(at));
        assert!(!race.begin(at));
        let policy = hedge.name().clone();
        assert_eq!(policy.as_str(), "search");
        let begun = Event::Hedged { policy: policy.clone(), at, attempt: 2 };
        let refused = Event::HedgeRefused { policy, at };
        assert_eq!(*heard.lock().unwrap(), [begun.clone(), begun, refused.clone(), refused]);
    }

    #[test]
    fn it_tells_the_clock_it_was_given() {
        let clock = ManualClock::new();
        clock.advance(SECOND);
        let hedge = hedge().clock(clock.clone()).build().unwrap();
        assert_eq!(hedge.time().now(), clock.now());
    }
}
