//! What rules out each trap that other libraries fell into (policies.md §2, "Avoid").
//!
//! | trap | what happened elsewhere | what rules it out here |
//! |---|---|---|
//! | a | a "sliding" window that never slides | cases `breaker-rates.json`: "a count window slides: an outage after many successes trips within the window", "each verdict leaves the count window when window_calls newer ones have come"; `breaker-config.json`: "more min_calls than the window holds could never trip and are refused"; `breaker-slow.json`: "slow calls leave the window as newer calls come" |
//! | b | unbounded half-open | [`cancellation`](crate::cancellation): `half_open_admits_only_as_many_pending_calls_as_it_has_places`; here: `threads_at_the_boundary_are_admitted_one_for_each_place`; case `breaker-half-open.json`: "of six calls four are admitted where four probes may run" |
//! | c | a result of the closed era frees a place; a panicking call leaks one | cases `breaker-half-open.json`: "a call from the closed time that ends in half-open frees no place, failed or not" and its neighbours; [`panics`](crate::panics): `a_panic_in_a_trial_call_reopens_and_leaks_no_place`; [`cancellation`](crate::cancellation): `a_call_dropped_at_any_await_…` |
//! | d | a cancelled probe counts as a success | cases `breaker-half-open.json`: "a cancelled probe closes nothing"; `breaker-rates.json`: "cancelled calls do not dilute the rate"; [`cancellation`](crate::cancellation): `a_trial_call_dropped_at_any_await_gives_its_place_back` |
//! | e | open time by the wall clock | by type: `Timestamp` comes only from `Clock::now`, and `SystemTime` only into `last_failure_time`; [`breaker`](crate::breaker): `a_step_of_the_wall_clock_neither_ends_nor_prolongs_an_outage`; case `breaker-boundaries.json`: "a clock that runs backwards …" |
//! | f | listeners called under the lock | [`breaker`](crate::breaker): `a_listener_may_call_every_method`; [`registry`](crate::registry): `a_listener_of_a_registry_may_use_it` |
//! | g | a disabled breaker counts nothing | cases `breaker-manual.json`: "a disabled breaker admits under failures only and goes on counting", "automatic after disable stays closed with its counters, …"; [`breaker`](crate::breaker): `a_disabled_breaker_says_once_that_it_would_have_tripped` |
//! | h | an ignored result of the closed era gives one place too many | case `breaker-half-open.json`: "a call from the closed time that is ignored or cancelled in half-open frees no place" |
//! | i | a probe of one cycle decides the next; a map without bound | cases `breaker-half-open.json`: "a probe of cycle 1 that succeeds in cycle 2 is not counted there", "… that fails in cycle 2 does not re-open"; [`registry`](crate::registry): `the_cap_is_hard` |
//! | j | delays beyond their maximum; jitter that undercuts `Retry-After` | cases `retry-jitter.json` and `retry-server-wait.json`: "full jitter never exceeds max_delay", "… never makes the wait shorter than the server's …"; [`retrying`](crate::retrying): `jitter_never_shortens_a_stated_wait`, `a_stated_wait_beyond_the_cap_ends_the_retrying_and_is_handed_on` |
//! | k | the budget is asked after the sleep, and the last error is lost | [`retrying`](crate::retrying): `a_retry_the_budget_denies_returns_the_last_error_without_a_wait`, `a_token_whose_wait_is_cancelled_is_given_back` |
//! | l | an epoch pinned for as long as a call takes | by type: there is no epoch; a permit is a handle and a ticket of plain numbers (`Ticket: Copy`); here: `a_pending_call_holds_no_lock` |
//! | m | recording in `Drop` panics, or takes a poisoned lock | [`panics`](crate::panics): `a_listener_that_panics_during_unwinding_is_passed_over`; here: `a_permit_dropped_while_unwinding_does_not_abort` |

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use surefoot::{CircuitState, ManualClock};

use crate::support::*;

/// policies.md §2 trap b.
#[test]
fn threads_at_the_boundary_are_admitted_one_for_each_place() {
    for round in 0..50 {
        let clock = ManualClock::new();
        let breaker = about_to_try(&clock, breaker(&clock).half_open_max_calls(3));
        let (start, admitted) = (Barrier::new(8), AtomicUsize::new(0));
        let all_asked = Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    let answer = breaker.call_blocking(|_| {
                        admitted.fetch_add(1, Ordering::SeqCst);
                        all_asked.wait(); // nobody leaves before everybody has asked
                        Err::<(), _>("down")
                    });
                    if let Err(Error::Rejected(_)) = answer {
                        all_asked.wait();
                    }
                });
            }
        });
        assert_eq!(admitted.into_inner(), 3, "round {round}");
    }
}

/// policies.md §2 trap l.
#[test]
fn a_pending_call_holds_no_lock() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).failure_threshold(1).build().unwrap();
    let service = Service::new(&clock, [hangs()]);
    let mut pending = Task::new(breaker.call(|| service.answer()));
    assert!(pending.poll().is_pending());
    // Every method of the breaker goes on, from any thread.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            breaker.admit().unwrap().failure();
            assert_eq!(breaker.state(), CircuitState::Open);
            breaker.reset();
            breaker.reconfigure(breaker.config()).unwrap();
        });
    });
    drop(pending);
    assert_eq!(breaker.status().totals.cancelled, 1);
}

/// policies.md §2 trap m.
#[test]
fn a_permit_dropped_while_unwinding_does_not_abort() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).failure_threshold(1).build().unwrap();
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let _permit = breaker.admit().unwrap();
        panic!("boom");
    }));
    assert!(caught.is_err());
    assert_eq!(breaker.state(), CircuitState::Open, "a panic is a failure");
    breaker.reset();
    assert!(breaker.admit().is_ok(), "no lock is poisoned");
}
