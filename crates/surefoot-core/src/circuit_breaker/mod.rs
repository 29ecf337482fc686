//! Stops calling what keeps failing, and finds out carefully when it works again.
//!
//! **Use it** around every dependency that can be down or hang: one breaker for each host, model
//! or tool. **Not** for your own bugs or a caller's bad input: classify those as ignored.
//!
//! ```text
//!               limit reached                    timeout over, somebody calls
//!   ┌────────┐ ───────────────► ┌──────┐ ─────────────────────► ┌───────────┐
//!   │ Closed │                  │ Open │                        │ Half-open │
//!   └────────┘                  └──────┘ ◄───────────────────── └───────────┘
//!       ▲                                 any trial call fails        │
//!       └─────────────────────────────────────────────────────────────┘
//!                     success_threshold trial calls succeed
//! ```
//!
//! | option | default | |
//! |---|---|---|
//! | `failure_threshold` | 5 | failures within the window that open it; exact |
//! | `failure_window` | 60 s | a failure exactly this old has left |
//! | `trip` | – | another rule: in a row, a rate over calls or time, slow calls ([`Trip`]) |
//! | `timeout` | 60 s | open time; admits at `>=` |
//! | `timeout_growth` | – | `factor` and `max`: longer while trial calls keep failing |
//! | `timeout_jitter` | 0.0 | share of the open time added at random |
//! | `success_threshold` | 2 | successful trial calls that close it |
//! | `half_open_max_calls` | `success_threshold` | trial calls out at a time |
//! | `half_open_timeout` | `timeout` | when the place of a silent trial call is given away |
//! | `max_throttle` | 1 h | longest pause obeyed when the callee asks for one |
//!
//! **A 429 is not a failure.** [`Verdict::Throttled`](crate::Verdict::Throttled) shuts a gate
//! beside the state for as long as the callee asked; nothing is counted, and no trial call is
//! needed afterwards.
//!
//! **Cancellation.** A permit dropped by its caller counts as nothing and gives its place back. A
//! permit dropped by our own deadline, or by a panic, is a failure ([`DropReason`](crate::DropReason)).
//! A trial call that never reports loses its place after `half_open_timeout`.
//!
//! **Stale results.** Every permit carries the generation it was admitted in, which changes with
//! the state and only then. A result that arrives in a later generation is counted in the totals
//! and changes nothing else.
//!
//! **Cost.** A success on a closed breaker: one atomic read-modify-write, no lock, no allocation;
//! no clock reading by default, in a row, or with a rate over calls; one with a rate over time
//! (and the lock once for each bucket); two with slow calls. A rejection while open: one clock
//! reading and one atomic step. Failures and trial calls take a short lock. Memory: about a
//! kilobyte, and 8 bytes for each failure in the window.
//!
//! **Sources.** The pattern is Michael Nygard's (*Release It!*); bounded, expiring trial calls and
//! generations follow from what peers got wrong (see `conformance/`).

mod config;
mod half_open;
mod machine;
mod permit;
mod status;
mod successes;
mod trip;
mod window;
mod word;

use std::fmt;

pub use config::{CircuitBreakerBuilder, CircuitBreakerConfig, TimeoutGrowth};
pub use permit::Permit;
pub use status::{CircuitMode, CircuitStatus, CircuitTotals};
#[cfg(surefoot_loom)]
pub use successes::use_stripe;
pub use trip::{Trip, TripLimit};

use crate::rejection::OpenReason;
use crate::sync::Arc;
use crate::{ConfigError, Events, Name, Rejection, TimeSource};
use machine::Machine;

/// A circuit breaker. Clones are handles to the same one.
///
/// ```
/// use surefoot_core::CircuitBreaker;
///
/// let breaker = CircuitBreaker::builder("weather").failure_threshold(3).build()?;
/// let permit = breaker.admit()?; // or a `Rejection` that says when to come back
/// // … make the call …
/// permit.success();
/// assert_eq!(breaker.status().success_count, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct CircuitBreaker {
    machine: Arc<Machine>,
}

/// What a breaker does with calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum CircuitState {
    /// Normal operation.
    Closed = 0,
    /// Refuses every call.
    Open = 1,
    /// Admits a few trial calls.
    HalfOpen = 2,
}

impl CircuitState {
    /// `"closed"`, `"open"` or `"half_open"`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

impl fmt::Display for CircuitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl CircuitBreaker {
    /// Starts building a breaker that will be called `name`.
    pub fn builder(name: impl Into<Name>) -> CircuitBreakerBuilder {
        CircuitBreakerBuilder::default().name(name.into())
    }

    fn from_machine(machine: Machine) -> Self {
        Self { machine: Arc::new(machine) }
    }

    fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Asks to make one call. The permit is owned and keeps the breaker alive.
    ///
    /// # Errors
    /// A [`Rejection`] if the breaker is open, has all its trial calls out, or holds calls back
    /// because the callee asked for a pause.
    #[inline]
    pub fn admit(&self) -> Result<Permit, Rejection> {
        match self.machine.admit() {
            Ok(ticket) => Ok(Permit::new(self.clone(), ticket)),
            Err(refusal) => Err(self.machine.rejection(refusal)),
        }
    }

    /// The same with a permit that borrows the breaker: two atomic steps cheaper.
    ///
    /// # Errors
    /// As [`admit`](Self::admit).
    #[inline]
    pub fn admit_borrowed(&self) -> Result<Permit<&Self>, Rejection> {
        match self.machine.admit() {
            Ok(ticket) => Ok(Permit::new(self, ticket)),
            Err(refusal) => Err(self.machine.rejection(refusal)),
        }
    }

    /// The name it was built with.
    pub fn name(&self) -> &Name {
        &self.machine.name
    }

    /// The present state. Never changes it: open stays open until somebody calls.
    pub fn state(&self) -> CircuitState {
        self.machine.state()
    }

    /// How often the state has changed.
    pub fn generation(&self) -> u64 {
        self.machine.generation()
    }

    /// State and counters at this moment. Never changes the state and takes no permit.
    pub fn status(&self) -> CircuitStatus {
        self.machine.status()
    }

    /// The share of failures that [`status`](Self::status) shows; 0.0 before any call.
    pub fn failure_rate(&self) -> f64 {
        self.status().failure_rate
    }

    /// Closes it, ends every manual mode and pause, and empties the counters.
    pub fn reset(&self) {
        self.machine.reset();
    }

    /// Holds it open until [`automatic`](Self::automatic) or [`reset`](Self::reset).
    pub fn force_open(&self) {
        self.machine.force_open();
    }

    /// Admits every call, and still counts: the event `WouldHaveTripped` tells once when it would
    /// have opened. Ends with [`automatic`](Self::automatic) or [`reset`](Self::reset).
    pub fn disable(&self) {
        self.machine.disable();
    }

    /// Lets the breaker decide again. One that was forced open while closed is closed again; one
    /// that was open goes on from there.
    pub fn automatic(&self) {
        self.machine.automatic();
    }

    /// Changes the options in mid-operation and keeps state and counters. Counters start anew only
    /// where another kind of window, or other buckets, cannot take them over.
    ///
    /// # Errors
    /// Names the option that breaks its rule; then nothing has changed.
    pub fn reconfigure(&self, config: CircuitBreakerConfig) -> Result<(), ConfigError> {
        self.machine.reconfigure(config)
    }

    /// The options in force.
    pub fn config(&self) -> CircuitBreakerConfig {
        self.machine.config()
    }

    /// Where to listen for changes of state.
    pub fn events(&self) -> &Events {
        &self.machine.events
    }

    /// The clock it decides by.
    pub fn time(&self) -> &TimeSource {
        &self.machine.time
    }

    /// Whether nobody else holds this breaker and a new one would decide alike, so that a registry
    /// may let it go.
    pub fn is_disposable(&self) -> bool {
        Arc::strong_count(&self.machine) == 1 && self.machine.is_as_new()
    }
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("name", self.name())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(surefoot_loom)))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{ManualClock, Verdict};

    fn breaker(clock: &ManualClock) -> CircuitBreaker {
        CircuitBreaker::builder("api").clock(clock).build().unwrap()
    }

    #[test]
    fn a_breaker_that_somebody_else_holds_is_not_let_go() {
        let breaker = breaker(&ManualClock::new());
        let handle = breaker.clone();
        assert!(!breaker.is_disposable());
        drop(handle);
        assert!(breaker.is_disposable());
        let permit = breaker.admit().unwrap();
        assert!(!breaker.is_disposable());
        permit.success();
        assert!(breaker.is_disposable());
    }

    #[test]
    fn a_breaker_is_not_let_go_while_a_new_one_would_decide_otherwise() {
        fn fail(breaker: &CircuitBreaker) {
            breaker.admit_borrowed().unwrap().failure();
        }
        fn pause(breaker: &CircuitBreaker) {
            breaker.admit_borrowed().unwrap().throttled(Duration::from_secs(60));
        }
        fn trip(breaker: &CircuitBreaker) {
            (0..5).for_each(|_| fail(breaker));
        }
        type Happens = fn(&CircuitBreaker);
        // Whether a minute, which ends pauses and windows, makes it as good as new.
        let cases: [(&str, Happens, bool); 5] = [
            ("failed", fail, true),
            ("paused", pause, true),
            ("tripped", trip, false),
            ("disabled", CircuitBreaker::disable, false),
            ("forced open", CircuitBreaker::force_open, false),
        ];
        for (what, happens, passes) in cases {
            let clock = ManualClock::new();
            let breaker = breaker(&clock);
            happens(&breaker);
            assert!(!breaker.is_disposable(), "{what}");
            clock.advance(Duration::from_secs(60));
            assert_eq!(breaker.is_disposable(), passes, "{what}, a minute later");
            breaker.reset();
            assert!(breaker.is_disposable(), "{what}, reset");
        }
    }

    #[test]
    fn a_breaker_is_not_let_go_while_its_window_remembers_a_call() {
        let window = Duration::from_secs(10);
        for trip in [
            Trip::Consecutive { failures: 2 },
            Trip::RateCountWindow { rate: 1.0, window_calls: 4, min_calls: 4 },
            Trip::RateTimeWindow { rate: 1.0, window, min_calls: 4, buckets: 10 },
            Trip::Slow { rate: 1.0, slow_after: window, window_calls: 4, min_calls: 4 },
        ] {
            let breaker =
                CircuitBreaker::builder("api").trip(trip).clock(ManualClock::new()).build();
            let breaker = breaker.unwrap();
            assert!(breaker.is_disposable(), "{trip:?}");
            breaker.admit_borrowed().unwrap().failure();
            assert!(!breaker.is_disposable(), "{trip:?}");
            breaker.reset();
            assert!(breaker.is_disposable(), "{trip:?}");
        }
    }

    #[test]
    fn a_state_is_written_as_config_files_and_metrics_write_it() {
        let states = [CircuitState::Closed, CircuitState::Open, CircuitState::HalfOpen];
        assert_eq!(states.map(CircuitState::as_str), ["closed", "open", "half_open"]);
        assert_eq!(states.map(|state| state.to_string()), ["closed", "open", "half_open"]);
    }

    #[test]
    fn the_failure_rate_is_the_share_of_failures_among_the_calls() {
        let breaker = breaker(&ManualClock::new());
        assert!(breaker.failure_rate().abs() < f64::EPSILON);
        for verdict in [Verdict::Failure, Verdict::Success, Verdict::Success, Verdict::Success] {
            breaker.admit().unwrap().settle(verdict);
        }
        assert!((breaker.failure_rate() - 0.25).abs() < f64::EPSILON);
    }

    #[test]
    fn a_breaker_hands_out_the_clock_and_the_listeners_it_was_given() {
        let clock = ManualClock::new();
        let events = Events::default();
        let breaker =
            CircuitBreaker::builder("api").clock(&clock).events(events.clone()).build().unwrap();
        assert!(breaker.time().is_same_clock(&(&clock).into()));
        assert!(breaker.events().is_empty());
        let _listening = events.subscribe(|_| ());
        assert!(!breaker.events().is_empty());
    }

    #[test]
    fn a_breaker_tells_its_name_and_a_generation_that_changes_with_its_state() {
        let breaker = breaker(&ManualClock::new());
        assert_eq!(breaker.name().as_str(), "api");
        let closed = breaker.generation();
        breaker.admit().unwrap().success();
        assert_eq!(breaker.generation(), closed);
        breaker.force_open();
        let open = breaker.generation();
        breaker.reset();
        let again = breaker.generation();
        assert!(closed < open && open < again, "{closed}, {open}, {again}");
    }

    /// The first word about a pause holds until a longer one is said.
    #[test]
    fn a_pause_of_nothing_and_one_that_ends_no_later_are_not_told() {
        use crate::Event;
        use std::sync::Mutex;
        let clock = ManualClock::new();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = Arc::clone(&heard);
        let builder = CircuitBreaker::builder("api").clock(&clock);
        let breaker = builder
            .on_event(move |event| {
                if let Event::Throttled { retry_after, .. } = event {
                    ear.lock().unwrap().push(retry_after.as_secs());
                }
            })
            .build()
            .unwrap();
        let permits = [0, 5, 5, 3, 8].map(|seconds| (seconds, breaker.admit().unwrap()));
        for (seconds, permit) in permits {
            permit.throttled(Duration::from_secs(seconds));
        }
        assert_eq!(*heard.lock().unwrap(), [5, 8]);
    }

    #[test]
    fn a_slow_probe_opens_the_circuit_again_though_it_worked() {
        let clock = ManualClock::new();
        let slow_after = Duration::from_secs(2);
        let trip = Trip::Slow { rate: 1.0, slow_after, window_calls: 1, min_calls: 1 };
        let builder = CircuitBreaker::builder("api").trip(trip).success_threshold(1);
        let breaker = builder.clock(&clock).build().unwrap();
        let slow_call = || {
            let permit = breaker.admit().unwrap();
            clock.advance(slow_after);
            permit.success();
        };
        slow_call();
        assert_eq!(breaker.state(), CircuitState::Open);
        clock.advance(Duration::from_secs(60));
        slow_call();
        assert_eq!(breaker.state(), CircuitState::Open);
        clock.advance(Duration::from_secs(60));
        breaker.admit().unwrap().success();
        assert_eq!(breaker.state(), CircuitState::Closed);
    }
}
