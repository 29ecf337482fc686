//! Holds calls back that an overloaded callee would only refuse.
//!
//! **Use it** in front of a service that refuses what is too much for it: refusing costs it something
//! too, and at many times its capacity it does nothing else. **Not** for a callee that is down (a
//! circuit breaker stops all calls), nor at your own door (a load shedder knows your own load).
//!
//! ```text
//!   held back = max(0, (requests − K · accepts) / (requests + 1))    of the last 30 s, at most 0.9
//! ```
//!
//! While the callee accepts at least one call in K nothing happens. Beyond that it is sent about K
//! times what it accepts, whatever the demand: what is held back counts among the requests, so the
//! more there are, the more are held back.
//!
//! | option | default | |
//! |---|---|---|
//! | `multiplier` | 2.0 | K: less holds back earlier, and sees a recovery later |
//! | `max_rejection_rate` | 0.9 | so that at least a tenth of the calls finds out |
//! | `window` | 30 s | how far back calls count |
//! | `overload` | `failures` | which results mean "not accepted": or `throttled` |
//! | `seed` | random | the choice of calls |
//!
//! **What counts.** A call counts when its verdict is in, so that slow answers are not taken for
//! refusals; a call that is held back counts at once. [`Success`](crate::Verdict::Success) is accepted,
//! [`Throttled`](crate::Verdict::Throttled) is not, nor is [`Failure`](crate::Verdict::Failure), our own
//! time limit among them: classify as ignored the errors that say nothing about load, or count only
//! answers that ask for a pause ([`Overload::Throttled`]). Ignored and cancelled calls, and
//! panics, count as nothing.
//!
//! **Cancellation.** A permit dropped by its caller counts as nothing, one dropped by our own deadline
//! as a failure.
//!
//! **Cost.** A call while nothing is held back: one load; its verdict: a clock reading and a short
//! lock. No allocation. Memory: 200 bytes.
//!
//! **Sources.** *Site Reliability Engineering* (Beyer et al., 2016), chapter 21, "Client-side
//! throttling". The cap and the shorter window are ours, measured: with the book's two minutes and
//! no cap it takes 15 minutes to recover from an outage of five; so it takes one.

mod config;
mod permit;
mod window;

use std::fmt;

pub use config::{ClientThrottleBuilder, ClientThrottleConfig, Overload};
pub use permit::Permit;

use crate::draw::Draw;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, MutexGuard, lock};
use crate::{Event, Events, Name, Rejection, TimeSource, Verdict};
use window::{Counts, Window};

/// A client-side throttle. Clones are handles to the same one; share it among all that call the same
/// destination.
///
/// ```
/// use surefoot_core::ClientThrottle;
///
/// let throttle = ClientThrottle::builder("search").seed(1).build()?;
/// for _ in 0..100 {
///     if let Ok(permit) = throttle.admit() {
///         permit.failure(); // the service refuses everything
///     }
/// }
/// assert!(throttle.status().rejected > 50); // what would have been refused stays at home
/// # Ok::<(), surefoot_core::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct ClientThrottle {
    shared: Arc<Shared>,
}

struct Shared {
    config: ClientThrottleConfig,
    time: TimeSource,
    events: Events,
    draw: Draw,
    /// Bits of the share that was held back when a call was last counted; 0 as long as nothing is.
    /// What leaves the window can only be noticed by those who look, under the lock.
    rejection_rate: AtomicU64,
    window: Mutex<Window>,
    rejected: AtomicU64,
}

/// A throttle's counts at one moment.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ClientThrottleStatus {
    /// The throttle's name.
    pub name: Name,
    /// Calls within the window, those held back included.
    pub requests: u64,
    /// Calls within the window that the callee accepted.
    pub accepts: u64,
    /// The share of calls that is held back now.
    pub rejection_rate: f64,
    /// Calls held back since it was made.
    pub rejected: u64,
}

impl ClientThrottle {
    /// Starts building a throttle that will be called `name`.
    pub fn builder(name: impl Into<Name>) -> ClientThrottleBuilder {
        ClientThrottleBuilder::default().name(name.into())
    }

    fn new(config: ClientThrottleConfig, time: TimeSource, events: Events) -> Self {
        let window = Mutex::new(Window::new(config.window, time.now()));
        let draw = Draw::new(config.seed);
        let (rejection_rate, rejected) = (AtomicU64::new(0), AtomicU64::new(0));
        let shared = Shared { config, time, events, draw, rejection_rate, window, rejected };
        Self { shared: Arc::new(shared) }
    }

    /// Asks to make one call.
    ///
    /// # Errors
    /// [`Rejection::ClientThrottled`], without a time at which it would be admitted: the next call
    /// may be.
    #[inline]
    pub fn admit(&self) -> Result<Permit, Rejection> {
        self.decide()?;
        Ok(Permit::new(self.clone()))
    }

    /// The same with a permit that borrows the throttle: two atomic steps cheaper.
    ///
    /// # Errors
    /// As [`admit`](Self::admit).
    #[inline]
    pub fn admit_borrowed(&self) -> Result<Permit<&Self>, Rejection> {
        self.decide()?;
        Ok(Permit::new(self))
    }

    #[inline]
    fn decide(&self) -> Result<(), Rejection> {
        if self.shared.rejection_rate.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        self.draw()
    }

    #[cold]
    fn draw(&self) -> Result<(), Rejection> {
        let mut window = self.window();
        let rate = self.rejection_rate(&window);
        if self.shared.draw.share() >= rate {
            self.shared.rejection_rate.store(rate.to_bits(), Ordering::Relaxed);
            return Ok(());
        }
        self.count(&mut window, Counts { requests: 1, accepts: 0 });
        drop(window);
        self.shared.rejected.fetch_add(1, Ordering::Relaxed);
        let (policy, rejection_rate) = (self.name().clone(), to_f32(rate));
        if !self.events().is_empty() {
            let (policy, at) = (policy.clone(), self.time().now());
            self.events().send(&Event::ClientThrottled { policy, at, rejection_rate });
        }
        Err(Rejection::ClientThrottled { policy, rejection_rate })
    }

    fn record(&self, verdict: Verdict) {
        let accepted = match (verdict, self.shared.config.overload) {
            (Verdict::Success, _) | (Verdict::Failure, Overload::Throttled) => 1,
            (Verdict::Throttled { .. }, _) | (Verdict::Failure, Overload::Failures) => 0,
            (Verdict::Ignored | Verdict::Cancelled, _) => return,
        };
        let mut window = self.window();
        self.count(&mut window, Counts { requests: 1, accepts: accepted });
    }

    fn count(&self, window: &mut Window, counts: Counts) {
        window.add(counts);
        let rate = self.rejection_rate(window);
        self.shared.rejection_rate.store(rate.to_bits(), Ordering::Relaxed);
    }

    /// The window as it is now.
    fn window(&self) -> MutexGuard<'_, Window> {
        let now = self.shared.time.now();
        let mut window = lock(&self.shared.window);
        window.turn_to(now);
        window
    }

    /// The share of calls to hold back; exactly 0.0 where that is none.
    #[expect(clippy::cast_precision_loss, reason = "counts of calls fit an f64 well enough")]
    fn rejection_rate(&self, window: &Window) -> f64 {
        let Counts { requests, accepts } = window.total();
        let ClientThrottleConfig { multiplier, max_rejection_rate, .. } = self.shared.config;
        let refused = requests as f64 - multiplier * accepts as f64;
        (refused / (requests + 1) as f64).clamp(0.0, max_rejection_rate)
    }

    /// Counts at this moment. Decides nothing.
    pub fn status(&self) -> ClientThrottleStatus {
        let window = self.window();
        let Counts { requests, accepts } = window.total();
        ClientThrottleStatus {
            name: self.name().clone(),
            requests,
            accepts,
            rejection_rate: self.rejection_rate(&window),
            rejected: self.shared.rejected.load(Ordering::Relaxed),
        }
    }

    /// The name it was built with.
    pub fn name(&self) -> &Name {
        &self.shared.config.name
    }

    /// The options in force.
    pub fn config(&self) -> &ClientThrottleConfig {
        &self.shared.config
    }

    /// Where to listen for calls that are held back.
    pub fn events(&self) -> &Events {
        &self.shared.events
    }

    /// The clock it decides by.
    pub fn time(&self) -> &TimeSource {
        &self.shared.time
    }
}

impl fmt::Debug for ClientThrottle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientThrottle").field("name", self.name()).finish_non_exhaustive()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "shown to people, not judged by")]
fn to_f32(rate: f64) -> f32 {
    rate as f32
}

#[cfg(all(test, not(surefoot_loom)))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{ManualClock, Timestamp};

    const SEC: Duration = Duration::from_secs(1);

    fn throttle(clock: &ManualClock) -> ClientThrottleBuilder {
        ClientThrottle::builder("api").seed(1).clock(clock)
    }

    fn report(throttle: &ClientThrottle, verdict: Verdict, times: u32) {
        (0..times).for_each(|_| throttle.record(verdict));
    }

    fn rate(throttle: &ClientThrottle) -> f64 {
        throttle.status().rejection_rate
    }

    #[test]
    fn nothing_is_held_back_while_one_in_k_is_accepted() {
        let throttle = throttle(&ManualClock::new()).build().unwrap();
        report(&throttle, Verdict::Success, 50);
        report(&throttle, Verdict::Failure, 50);
        assert!(rate(&throttle).abs() < 1e-12);
        assert!((0..1000).all(|_| throttle.admit().is_ok_and(|permit| {
            permit.settle(Verdict::Ignored);
            true
        })));
    }

    #[test]
    fn beyond_that_the_share_of_the_formula_is_held_back() {
        let throttle = throttle(&ManualClock::new()).build().unwrap();
        report(&throttle, Verdict::Success, 10);
        report(&throttle, Verdict::Failure, 89);
        assert!((rate(&throttle) - (99.0 - 20.0) / 100.0).abs() < 1e-12);
    }

    #[test]
    fn a_tenth_always_finds_out() {
        let throttle = throttle(&ManualClock::new()).build().unwrap();
        report(&throttle, Verdict::Failure, 1_000_000);
        assert!((rate(&throttle) - 0.9).abs() < 1e-12);
        let through = (0..10_000).filter(|_| throttle.decide().is_ok()).count();
        assert!((850..1150).contains(&through), "{through}");
        assert_eq!(throttle.status().rejected, 10_000 - through as u64);
    }

    #[test]
    fn what_is_held_back_counts_among_the_requests() {
        let throttle = throttle(&ManualClock::new()).build().unwrap();
        report(&throttle, Verdict::Failure, 9);
        let held_back = (0..100).filter(|_| throttle.decide().is_err()).count();
        assert!(held_back > 50);
        assert_eq!(throttle.status().requests, 9 + held_back as u64);
    }

    #[test]
    fn a_call_counts_when_its_verdict_is_in() {
        let throttle = throttle(&ManualClock::new()).build().unwrap();
        let slow: Vec<_> = (0..100).map(|_| throttle.admit().unwrap()).collect();
        assert_eq!(throttle.status().requests, 0);
        slow.into_iter().for_each(Permit::success);
        let status = throttle.status();
        assert_eq!((status.requests, status.accepts), (100, 100));
    }

    #[test]
    fn what_is_over_is_forgotten_with_the_window() {
        let clock = ManualClock::new();
        let throttle = throttle(&clock).build().unwrap();
        report(&throttle, Verdict::Failure, 1000);
        clock.advance(29 * SEC);
        assert!(rate(&throttle) > 0.89);
        clock.advance(SEC);
        assert!(rate(&throttle).abs() < 1e-12);
        assert!(throttle.admit().is_ok());
        // Looked at once, it costs nothing any more.
        assert_eq!(throttle.shared.rejection_rate.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn which_verdicts_are_refusals() {
        use Verdict::{Cancelled, Failure, Ignored, Success};
        let asked = Verdict::Throttled { retry_after: None };
        for (overload, verdict, counts) in [
            (Overload::Failures, Success, (1, 1)),
            (Overload::Failures, Failure, (1, 0)),
            (Overload::Failures, asked, (1, 0)),
            (Overload::Failures, Ignored, (0, 0)),
            (Overload::Failures, Cancelled, (0, 0)),
            (Overload::Throttled, Success, (1, 1)),
            (Overload::Throttled, Failure, (1, 1)),
            (Overload::Throttled, asked, (1, 0)),
            (Overload::Throttled, Ignored, (0, 0)),
            (Overload::Throttled, Cancelled, (0, 0)),
        ] {
            let throttle = throttle(&ManualClock::new()).overload(overload).build().unwrap();
            throttle.admit().unwrap().settle(verdict);
            let status = throttle.status();
            assert_eq!((status.requests, status.accepts), counts, "{overload:?} {verdict:?}");
        }
    }

    #[test]
    fn a_permit_dropped_by_our_own_deadline_was_not_accepted_and_any_other_counts_as_nothing() {
        use crate::{DropReason, with_drop_reason};
        for (why, requests) in
            [(DropReason::Deadline, 1), (DropReason::Cancelled, 0), (DropReason::Panic, 0)]
        {
            let throttle = throttle(&ManualClock::new()).build().unwrap();
            let permit = throttle.admit().unwrap();
            with_drop_reason(why, || drop(permit));
            let status = throttle.status();
            assert_eq!((status.requests, status.accepts), (requests, 0), "{why:?}");
        }
    }

    #[test]
    fn a_permit_handed_over_reports_once() {
        let throttle = throttle(&ManualClock::new()).build().unwrap();
        let mut permit = throttle.admit_borrowed().unwrap();
        let kept = permit.hand_over();
        drop(permit);
        assert_eq!(throttle.status().requests, 0);
        kept.success();
        assert_eq!(throttle.status().requests, 1);
    }

    #[test]
    fn a_seed_repeats_the_choice() {
        let choice = |seed| {
            let throttle = throttle(&ManualClock::new()).seed(seed).build().unwrap();
            report(&throttle, Verdict::Failure, 1);
            (0..50).map(|_| throttle.decide().is_ok()).collect::<Vec<_>>()
        };
        assert_eq!(choice(1), choice(1));
        assert_ne!(choice(1), choice(2));
    }

    #[test]
    fn it_tells_its_name_its_options_and_its_clock() {
        let clock = ManualClock::new();
        clock.advance(SEC);
        let throttle = throttle(&clock).build().unwrap();
        assert_eq!((throttle.name().as_str(), throttle.config().seed), ("api", Some(1)));
        assert_eq!(throttle.time().now(), Timestamp::ZERO + SEC);
        let config = throttle.config().clone();
        let again = ClientThrottleBuilder::from(config.clone()).build().unwrap();
        assert_eq!(again.config(), &config);
    }

    #[cfg(feature = "toml")]
    #[test]
    fn options_are_read_from_toml_and_unknown_ones_refused() {
        assert_eq!(ClientThrottleConfig::from_toml("seed = 9").unwrap().seed, Some(9));
        assert_eq!(ClientThrottleConfig::from_toml("sed = 9").unwrap_err().field(), "sed");
    }

    /// Nine tenths are held back when a million have failed.
    #[test]
    fn what_is_held_back_is_told_with_its_share() {
        use std::sync::{Arc, Mutex};
        let heard = Arc::new(Mutex::new(Vec::new()));
        let listener = || {
            let heard = Arc::clone(&heard);
            move |event: &Event| heard.lock().unwrap().push(event.clone())
        };
        let shared = Events::default();
        shared.subscribe(listener()).forever();
        let clock = ManualClock::new();
        let builder = throttle(&clock).events(shared).on_event(listener());
        let throttle = builder.build().unwrap();
        throttle.events().subscribe(listener()).forever();
        report(&throttle, Verdict::Failure, 1_000_000);
        heard.lock().unwrap().clear();
        let refused = (0..100).find_map(|_| throttle.admit().err()).unwrap();
        let Rejection::ClientThrottled { rejection_rate, .. } = refused else {
            panic!("{refused}")
        };
        assert!((rejection_rate - 0.9).abs() < 1e-3, "{rejection_rate}");
        let heard = heard.lock().unwrap();
        let told = |event: &Event| match event {
            Event::ClientThrottled { policy, rejection_rate: rate, .. } => {
                policy == throttle.name() && (rate - rejection_rate).abs() < 1e-6
            }
            _ => false,
        };
        assert_eq!((heard.len(), heard.iter().all(told)), (3, true));
    }

    #[test]
    fn a_permit_that_failed_is_a_request_that_was_not_accepted() {
        let throttle = throttle(&ManualClock::new()).build().unwrap();
        throttle.admit().unwrap().success();
        throttle.admit().unwrap().failure();
        let status = throttle.status();
        assert_eq!((status.requests, status.accepts), (2, 1));
    }
}
