//! The machines under real threads: what loom proves for a few steps, for many.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use surefoot_core::budget::{Cost, Dimension};
use surefoot_core::circuit_breaker::{CircuitBreakerBuilder, CircuitTotals, Trip};
use surefoot_core::{
    Budget, CircuitBreaker, CircuitState, Clock, DropReason, Event, ManualClock, Permit,
    RetryBudget, Timestamp, Verdict, with_drop_reason,
};

const TIMEOUT: Duration = Duration::from_secs(60);

/// A breaker that one failure trips, and its clock.
fn fragile(with: impl FnOnce(CircuitBreakerBuilder) -> CircuitBreakerBuilder) -> Setup {
    let clock = ManualClock::new();
    let builder = CircuitBreaker::builder("concurrent").failure_threshold(1).timeout(TIMEOUT);
    let breaker = with(builder).clock(&clock).build().unwrap();
    Setup { breaker, clock }
}

struct Setup {
    breaker: CircuitBreaker,
    clock: ManualClock,
}

impl Setup {
    /// Trips the breaker and lets its open time pass, so that the next caller is a trial call.
    fn trip_and_wait(&self) {
        self.breaker.admit().unwrap().failure();
        self.clock.advance(TIMEOUT);
    }
}

/// Runs `work` in `threads` threads that start at once, and gives their results.
fn together<T: Send>(threads: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let start = Barrier::new(threads);
    let run = |thread| {
        start.wait();
        work(thread)
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Fails instead of hanging when `work` deadlocks.
fn in_time(work: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    let worker = thread::spawn(move || {
        work();
        done.send(()).unwrap();
    });
    match wait.recv_timeout(Duration::from_secs(60)) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("deadlock"),
        Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => worker.join().unwrap(),
    }
}

// ---- half-open -----------------------------------------------------------------------------

#[test]
fn a_thousand_callers_at_the_half_open_boundary_are_admitted_exactly_up_to_the_limit() {
    for limit in [1, 3, 10] {
        for _ in 0..20 {
            let setup = fragile(|builder| builder.half_open_max_calls(limit));
            setup.trip_and_wait();
            let permits = together(8, |_| {
                let asked = (0..125).map(|_| setup.breaker.admit());
                asked.filter_map(Result::ok).collect::<Vec<_>>()
            });
            let admitted = permits.iter().map(Vec::len).sum::<usize>();
            assert_eq!(admitted, limit as usize);
            assert_eq!(setup.breaker.status().totals.rejected, 1000 - u64::from(limit));
        }
    }
}

#[test]
fn ten_thousand_cancelled_trial_calls_leave_the_breaker_usable() {
    let setup = fragile(|builder| builder.success_threshold(2).half_open_max_calls(3));
    setup.trip_and_wait();
    let cancelled = together(4, |_| {
        let dropped = |permit: Permit| drop(permit);
        let mut cancelled = 0;
        while cancelled < 2500 {
            cancelled += usize::from(setup.breaker.admit().map(dropped).is_ok());
        }
        cancelled
    });
    let status = setup.breaker.status();
    assert_eq!(status.totals.cancelled, cancelled.iter().sum::<usize>() as u64);
    assert_eq!((status.state, status.success_count), (CircuitState::HalfOpen, 0));
    let all_places = [0; 3].map(|_| setup.breaker.admit().unwrap());
    assert!(setup.breaker.admit().is_err());
    all_places.into_iter().for_each(Permit::success);
    assert_eq!(setup.breaker.state(), CircuitState::Closed);
}

#[test]
fn trial_calls_out_at_once_never_pass_the_limit_while_old_permits_settle() {
    const LIMIT: u32 = 3;
    // Never closes of its own, so that all that it admits are trial calls.
    let setup = fragile(|builder| builder.half_open_max_calls(LIMIT).success_threshold(100_000));
    let mut old = Vec::new();
    for round in 0..50 {
        old.extend((0..40).map(|_| setup.breaker.admit().unwrap()));
        setup.trip_and_wait();
        let rest = old.split_off(old.len().min(20)); // some grow older still
        let late = Mutex::new(std::mem::replace(&mut old, rest));
        let out = AtomicUsize::new(0);
        let most = together(4, |thread| {
            let mut most = 0;
            for call in 0..100 {
                if (call + thread) % 3 == 0 {
                    let permit = late.lock().unwrap().pop();
                    if let Some(permit) = permit {
                        settle(permit, call + round);
                    }
                }
                if let Ok(permit) = setup.breaker.admit() {
                    most = most.max(out.fetch_add(1, Ordering::SeqCst) + 1);
                    if call % 4 == 0 {
                        thread::yield_now();
                    }
                    out.fetch_sub(1, Ordering::SeqCst);
                    match call % 3 {
                        0 => permit.success(),
                        1 => permit.ignore(),
                        _ => drop(permit),
                    }
                }
            }
            most
        });
        assert!(most.iter().all(|most| *most <= LIMIT as usize), "round {round}: {most:?}");
        assert_eq!(setup.breaker.state(), CircuitState::HalfOpen);
        let all_places: Vec<_> = (0..LIMIT).map(|_| setup.breaker.admit().unwrap()).collect();
        assert!(setup.breaker.admit().is_err());
        drop(all_places);
        setup.breaker.reset();
    }
}

const FAILURE: usize = 0;
const SUCCESS: usize = 5;

fn settle(permit: Permit, how: usize) -> Verdict {
    let verdict = match how % 6 {
        FAILURE => Verdict::Failure,
        1 => Verdict::Ignored,
        2 => Verdict::Throttled { retry_after: None },
        3 => {
            drop(permit);
            return Verdict::Cancelled;
        }
        4 => {
            with_drop_reason(DropReason::Deadline, || drop(permit));
            return Verdict::Failure;
        }
        _ => Verdict::Success,
    };
    permit.settle(verdict);
    verdict
}

// ---- counting ------------------------------------------------------------------------------

#[test]
fn totals_add_up_to_the_calls_made_in_every_mode() {
    let (rate, slow_after) = (0.2, Duration::from_secs(1));
    let modes = [
        None,
        Some(Trip::Consecutive { failures: 2 }),
        Some(Trip::RateCountWindow { rate, window_calls: 8, min_calls: 4 }),
        Some(Trip::RateTimeWindow { rate, window: TIMEOUT, min_calls: 4, buckets: 5 }),
        Some(Trip::Slow { rate, slow_after, window_calls: 8, min_calls: 4 }),
    ];
    for mode in modes {
        let setup = fragile(|builder| match mode {
            None => builder.failure_threshold(3),
            Some(trip) => builder.trip(trip),
        });
        let made = together(4, |thread| hammer(&setup, thread, 5_000));
        let mut expected = CircuitTotals::default();
        for made in &made {
            expected.successes += made.successes;
            expected.failures += made.failures;
            expected.ignored += made.ignored;
            expected.throttled += made.throttled;
            expected.cancelled += made.cancelled;
            expected.rejected += made.rejected;
        }
        let totals = setup.breaker.status().totals;
        expected.opened = totals.opened;
        assert_eq!(totals, expected, "{mode:?}");
        assert!(totals.opened > 0, "{mode:?}: the test is to see every state");
    }
}

fn hammer(setup: &Setup, thread: usize, calls: usize) -> CircuitTotals {
    let mut made = CircuitTotals::default();
    let mut held = Vec::new();
    for call in 0..calls {
        // Good times and bad times take turns; in bad ones nearly every call is slow and fails.
        let bad = call / 200 % 2 == 1;
        match setup.breaker.admit() {
            Ok(permit) => held.push(permit),
            Err(_) => made.rejected += 1,
        }
        // Every few calls one that is older, often of an earlier generation.
        let oldest = call % 7 == 0 && !held.is_empty();
        let permit = if oldest { Some(held.remove(0)) } else { held.pop() };
        let Some(permit) = permit else { continue };
        if bad || call % 50 == thread {
            setup.clock.advance(TIMEOUT / 20);
        }
        let usual = if bad { FAILURE } else { SUCCESS };
        match settle(permit, if call % 4 == 0 { call / 4 + thread } else { usual }) {
            Verdict::Success => made.successes += 1,
            Verdict::Failure => made.failures += 1,
            Verdict::Ignored => made.ignored += 1,
            Verdict::Throttled { .. } => made.throttled += 1,
            Verdict::Cancelled => made.cancelled += 1,
        }
    }
    made.cancelled += held.len() as u64;
    made
}

#[test]
fn successes_of_many_threads_are_counted_to_the_last() {
    let setup = fragile(|builder| builder);
    together(8, |_| {
        for _ in 0..10_000 {
            setup.breaker.admit_borrowed().unwrap().success();
        }
    });
    let status = setup.breaker.status();
    assert_eq!((status.success_count, status.failure_count), (80_000, 0));
    assert_eq!(status.totals.successes, 80_000);
}

#[test]
fn failures_of_many_threads_trip_at_the_threshold_and_not_before() {
    for _ in 0..200 {
        let setup = fragile(|builder| builder.failure_threshold(40));
        let permits = Mutex::new(Vec::from([0; 80].map(|_| setup.breaker.admit().unwrap())));
        let next = || permits.lock().unwrap().pop();
        together(4, |_| (0..9).for_each(|_| next().unwrap().failure()));
        assert_eq!(setup.breaker.state(), CircuitState::Closed);
        together(4, |_| next().unwrap().failure());
        let status = setup.breaker.status();
        assert_eq!((status.state, status.failure_count), (CircuitState::Open, 40));
        together(4, |_| (0..10).for_each(|_| next().unwrap().failure()));
        assert_eq!(setup.breaker.status().totals.opened, 1);
        assert_eq!(setup.breaker.generation(), 1);
    }
}

#[test]
fn a_budget_is_spent_to_the_last_token_and_no_further() {
    let budget = RetryBudget::builder().initial(10).ratio(0.5).clock(ManualClock::new());
    let budget = budget.max(10_000).build().unwrap();
    let granted = together(4, |_| {
        let mut granted = 0;
        for _ in 0..1000 {
            budget.record_call();
            granted += u64::from(budget.try_withdraw());
        }
        granted
    });
    let granted = granted.iter().sum::<u64>();
    let rest = std::iter::repeat_with(|| budget.try_withdraw()).take_while(|granted| *granted);
    assert_eq!(granted + rest.count() as u64, 10 + 4000 / 2);
}

// ---- listeners -----------------------------------------------------------------------------

/// Remembers changes of state, and checks that each begins where the last one ended.
#[derive(Default)]
struct History(Mutex<Vec<(CircuitState, CircuitState, u64)>>);

impl History {
    fn note(&self, event: &Event) {
        if let Event::StateChanged { from, to, generation, .. } = event {
            self.0.lock().unwrap().push((*from, *to, *generation));
        }
    }

    fn check(&self) -> usize {
        let history = self.0.lock().unwrap();
        let (mut state, mut last) = (CircuitState::Closed, 0);
        for (from, to, generation) in history.iter() {
            assert_eq!((*from, *generation), (state, last + 1), "{history:?}");
            (state, last) = (*to, *generation);
        }
        history.len()
    }
}

#[test]
fn events_of_many_threads_come_in_the_order_of_the_changes() {
    let history = Arc::new(History::default());
    let heard = Arc::clone(&history);
    let setup = fragile(|builder| builder.on_event(move |event| heard.note(event)));
    together(4, |thread| {
        for call in 0..2000 {
            setup.clock.advance(TIMEOUT / 4);
            match (call + thread) % 31 {
                0 => setup.breaker.force_open(),
                1 => setup.breaker.automatic(),
                2 => setup.breaker.reset(),
                _ => drop(setup.breaker.admit().map(|permit| settle(permit, call))),
            }
        }
    });
    assert_eq!(history.check() as u64, setup.breaker.generation());
    assert!(setup.breaker.generation() > 100);
}

#[test]
fn a_listener_may_call_every_method_from_every_thread() {
    in_time(|| {
        let history = Arc::new(History::default());
        let calls_left = AtomicUsize::new(2000);
        let itself = Arc::new(OnceLock::<CircuitBreaker>::new());
        let setup = {
            let (history, itself) = (Arc::clone(&history), Arc::clone(&itself));
            fragile(|builder| {
                builder.on_event(move |event| {
                    history.note(event);
                    let less = |left: usize| left.checked_sub(1);
                    // What it does causes events, too: that has to come to an end.
                    let left = calls_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
                    if let (Ok(left), Some(breaker)) = (left, itself.get()) {
                        call_every_method(breaker, left);
                    }
                })
            })
        };
        assert!(itself.set(setup.breaker.clone()).is_ok());
        together(4, |thread| {
            for call in 0..500 {
                setup.clock.advance(TIMEOUT);
                drop(setup.breaker.admit().map(|permit| settle(permit, call + thread)));
            }
        });
        setup.breaker.reset();
        assert_eq!(history.check() as u64, setup.breaker.generation());
        assert_eq!(setup.breaker.state(), CircuitState::Closed);
    });
}

fn call_every_method(breaker: &CircuitBreaker, turn: usize) {
    drop(breaker.admit().map(|permit| settle(permit, turn)));
    drop(breaker.admit_borrowed().map(Permit::success));
    drop(breaker.events().subscribe(|_| {}));
    assert_eq!(breaker.name(), &breaker.status().name);
    assert!(!breaker.is_disposable(), "this is not the only handle");
    let _ = (breaker.state(), breaker.generation(), breaker.failure_rate(), breaker.time().now());
    breaker.reconfigure(breaker.config()).unwrap();
    match turn % 4 {
        0 => breaker.force_open(),
        1 => breaker.disable(),
        2 => breaker.automatic(),
        _ => breaker.reset(),
    }
}

#[test]
fn a_listener_that_panics_harms_nobody() {
    let history = Arc::new(History::default());
    let heard = Arc::clone(&history);
    let setup = fragile(|builder| {
        builder
            .on_event(|_| std::panic::resume_unwind(Box::new("a listener's own fault")))
            .on_event(move |event| heard.note(event))
    });
    together(4, |thread| {
        for call in 0..500 {
            setup.clock.advance(TIMEOUT);
            drop(setup.breaker.admit().map(|permit| settle(permit, call + thread)));
        }
    });
    setup.breaker.reset();
    assert_eq!(history.check() as u64, setup.breaker.generation());
    setup.breaker.admit().unwrap().success();
    assert_eq!(setup.breaker.status().success_count, 1);
}

#[test]
fn a_permit_dropped_by_a_panic_is_a_failure_even_where_the_listener_panics_too() {
    let setup = fragile(|builder| builder.on_event(|_| std::panic::resume_unwind(Box::new(()))));
    let breaker = setup.breaker.clone();
    let call = thread::spawn(move || {
        let _permit = breaker.admit().unwrap();
        std::panic::resume_unwind(Box::new("the operation's own fault"));
    });
    assert!(call.join().is_err());
    assert_eq!(setup.breaker.state(), CircuitState::Open);
    assert_eq!(setup.clock.now(), Timestamp::ZERO);
}

// ---- budgets -------------------------------------------------------------------------------

/// Children that come and go, shared and sliced, draw on one run from eight threads: what was granted
/// and what was spent agree at every level, and nothing stays held.
#[test]
fn threads_that_draw_on_a_tree_of_budgets_neither_lose_a_unit_nor_double_one() {
    let run = Budget::builder("run").attempts(20_000).tokens(1_000_000).build().unwrap();
    let shared = Budget::builder("shared").attempts(12_000).share_of(&run).unwrap();
    let spent = AtomicU64::new(0);
    let tokens_spent = AtomicU64::new(0);
    together(8, |thread| {
        let mut random = fastrand::Rng::with_seed(thread as u64);
        for _ in 0..10_000 {
            let above = if random.bool() { &run } else { &shared };
            let own = match random.u8(0..3) {
                0 => Budget::builder("slice").attempts(2).tokens(50).slice_of(above).ok(),
                1 => Budget::builder("child").attempts(2).share_of(above).ok(),
                _ => Some(above.clone()),
            };
            let Some(own) = own else { continue };
            for _ in 0..2 {
                if let Ok(charge) = own.draw() {
                    if random.u8(0..4) == 0 {
                        charge.give_back();
                    } else {
                        drop(charge);
                        spent.fetch_add(1, Ordering::Relaxed);
                    }
                }
                if let Ok(charge) = own.reserve(Cost::tokens(30)) {
                    let used = random.u64(0..=30);
                    charge.settle(Cost::tokens(used));
                    tokens_spent.fetch_add(used, Ordering::Relaxed);
                }
            }
        }
    });
    let status = run.status();
    assert_eq!(status.reserved, Cost::ZERO);
    assert_eq!(status.spent.of(Dimension::Attempts), spent.into_inner());
    assert_eq!(status.spent.of(Dimension::Tokens), tokens_spent.into_inner());
    assert!(status.spent.attempts <= 20_000);
    let status = shared.status();
    assert_eq!(status.reserved, Cost::ZERO);
    assert!(status.spent.attempts <= 12_000);
    assert!(run.is_exhausted(), "there were enough calls to use it up");
}

/// Of many threads that ask for the last units, exactly as many are told yes.
#[test]
fn the_last_attempts_are_granted_once_whatever_level_they_are_asked_at() {
    for _ in 0..50 {
        let run = Budget::builder("run").attempts(100).build().unwrap();
        let child = Budget::builder("child").attempts(70).share_of(&run).unwrap();
        let granted = together(8, |thread| {
            let budget = if thread % 2 == 0 { &run } else { &child };
            (0..50).filter_map(|_| budget.draw().ok()).map(drop).count()
        });
        let total: usize = granted.iter().sum();
        let by_child: usize = granted.iter().skip(1).step_by(2).sum();
        assert_eq!(total as u64, run.spent().attempts);
        assert_eq!(by_child as u64, child.spent().attempts);
        assert_eq!(total, 100);
    }
}
