//! What a breaker tells and does when calls go through it.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use surefoot::circuit_breaker::CircuitMode;
use surefoot::{
    CircuitBreaker, CircuitState, Clock, Event, ManualClock, Rejection, Timer, Timestamp,
};

use crate::support::*;

fn is_change(event: &Event) -> bool {
    matches!(event, Event::StateChanged { .. })
}

fn opened(event: &Event) -> bool {
    matches!(event, Event::StateChanged { to: CircuitState::Open, .. })
}

/// policies.md §4 rules 1 and 14.
#[test]
fn a_breaker_opens_refuses_tries_and_closes() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let breaker = breaker(&clock).build().unwrap();
        let down = Service::new(&clock, [fails("down")]);
        let up = Service::new(&clock, [gives(200)]);
        for _ in 0..5 {
            assert_eq!(call!(host, clock, breaker, down), Err(Error::Operation("down")));
        }
        clock.advance(59 * SEC);
        let Err(Error::Rejected(rejection)) = call!(host, clock, breaker, up) else {
            panic!("{host:?}: admitted while open")
        };
        assert_eq!(rejection.retry_after(), Some(SEC), "{host:?}");
        clock.advance(SEC);
        for _ in 0..2 {
            assert_eq!(call!(host, clock, breaker, up), Ok(200), "{host:?}");
        }
        assert_eq!(breaker.state(), CircuitState::Closed, "{host:?}");
        assert_eq!((down.calls(), up.calls()), (5, 2), "{host:?}");
    }
}

/// policies.md §4 rule 15.
#[test]
fn rejections_are_counted_apart() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let breaker = breaker(&clock).failure_threshold(1).build().unwrap();
        let down = Service::new(&clock, [fails("down")]);
        for _ in 0..4 {
            assert!(call!(host, clock, breaker, down).is_err());
        }
        let status = breaker.status();
        assert_eq!((status.totals.rejected, status.totals.failures), (3, 1), "{host:?}");
        assert_eq!(down.calls(), 1, "{host:?}");
    }
}

/// policies.md §4 rule 19.
#[test]
fn late_results_neither_extend_the_open_time_nor_open_it_twice() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).failure_threshold(1).timeout(10 * SEC).build().unwrap();
    let log = Log::of(breaker.events());
    let service = Service::new(&clock, [fails("a").after(SEC), fails("b").after(4 * SEC)]);
    let mut tasks: Vec<_> = (0..2).map(|_| Task::new(breaker.call(|| service.answer()))).collect();
    assert!(tasks.iter_mut().all(|task| task.poll().is_pending()));
    clock.advance(SEC);
    assert!(tasks[0].poll().is_ready());
    clock.advance(3 * SEC);
    assert!(tasks[1].poll().is_ready(), "the late failure");
    assert_eq!(log.count(opened), 1);
    let status = breaker.status();
    assert_eq!(status.retry_after, Some(7 * SEC), "counted from the first");
    assert_eq!((status.totals.failures, status.totals.opened), (2, 1));
}

/// policies.md §4 rule 20.
#[test]
fn looking_at_a_breaker_moves_nothing() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).failure_threshold(1).timeout(SEC).build().unwrap();
    breaker.admit().unwrap().failure();
    clock.advance(3600 * SEC);
    let log = Log::of(breaker.events());
    for _ in 0..10 {
        assert_eq!(breaker.state(), CircuitState::Open, "until somebody calls");
        assert_eq!(breaker.status().retry_after, None, "but it would admit");
    }
    assert_eq!(log.events(), []);
}

/// policies.md §4 rules 23 and 31.
#[test]
fn a_trial_call_that_hangs_loses_its_place_and_its_say() {
    let clock = ManualClock::new();
    let builder = breaker(&clock).half_open_max_calls(1).half_open_timeout(10 * SEC);
    let breaker = about_to_try(&clock, builder);
    let hung = Service::new(&clock, [fails("late").after(11 * SEC)]);
    let up = Service::new(&clock, [gives(200)]);
    let mut late = Task::new(breaker.call(|| hung.answer()));
    assert!(late.poll().is_pending());
    clock.advance(9 * SEC);
    let Err(Error::Rejected(rejection)) = run(&clock, breaker.call(|| up.answer())) else {
        panic!("the only place was taken")
    };
    assert_eq!(rejection.retry_after(), Some(SEC), "when the place is offered again");
    clock.advance(SEC);
    assert_eq!(run(&clock, breaker.call(|| up.answer())), Ok(200));
    clock.advance(SEC);
    assert!(late.poll().is_ready());
    let status = breaker.status();
    assert_eq!((status.state, status.success_count), (CircuitState::HalfOpen, 1));
}

/// policies.md §4 rules 29 and 30.
#[test]
fn a_call_of_an_earlier_time_decides_nothing_in_half_open() {
    for late in [gives(200).after(2 * SEC), fails("late").after(2 * SEC)] {
        let clock = ManualClock::new();
        let breaker = breaker(&clock)
            .failure_threshold(1)
            .success_threshold(1)
            .timeout(SEC)
            .half_open_timeout(60 * SEC)
            .build()
            .unwrap();
        let service = Service::new(&clock, [late, fails("down"), hangs()]);
        let mut closed_era = Task::new(breaker.call(|| service.answer()));
        assert!(closed_era.poll().is_pending());
        assert!(run(&clock, breaker.call(|| service.answer())).is_err());
        clock.advance(SEC);
        let mut probe = Task::new(breaker.call(|| service.answer()));
        assert!(probe.poll().is_pending());
        clock.advance(SEC);
        assert!(closed_era.poll().is_ready());
        assert_eq!(breaker.state(), CircuitState::HalfOpen);
        assert!(breaker.admit().is_err(), "nor does it free the probe's place");
    }
}

/// Whatever the threads do, every call that was admitted has one verdict.
#[test]
fn calls_of_many_threads_are_all_counted() {
    const CALLS: u64 = 500;
    let clock = ManualClock::new();
    let breaker = breaker(&clock).failure_threshold(1_000_000).build().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (breaker, clock) = (&breaker, &clock);
            scope.spawn(move || {
                for call in 0..CALLS {
                    let answer = move || if call % 5 == 0 { Err("down") } else { Ok(()) };
                    let _ = match thread % 2 {
                        0 => breaker.call_blocking(|_| answer()),
                        _ => run(clock, breaker.call(|| async { answer() })),
                    };
                }
            });
        }
    });
    let totals = breaker.status().totals;
    assert_eq!((totals.successes, totals.failures), (8 * CALLS / 5 * 4, 8 * CALLS / 5));
    assert_eq!(settled(totals), 8 * CALLS);
}

/// policies.md §4 rule 33; §2 trap g.
#[test]
fn a_disabled_breaker_says_once_that_it_would_have_tripped() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let breaker = breaker(&clock).failure_threshold(2).build().unwrap();
        let log = Log::of(breaker.events());
        breaker.disable();
        let down = Service::new(&clock, [fails("down")]);
        for _ in 0..10 {
            assert_eq!(call!(host, clock, breaker, down), Err(Error::Operation("down")));
        }
        let would = |event: &Event| matches!(event, Event::WouldHaveTripped { .. });
        assert_eq!(log.count(would), 1, "{host:?}");
        assert_eq!(log.count(is_change), 0, "{host:?}");
        let status = breaker.status();
        assert_eq!((status.mode, status.state), (CircuitMode::Disabled, CircuitState::Closed));
        assert_eq!(status.totals.failures, 10, "{host:?}: it went on counting");

        breaker.disable(); // anew
        assert!(call!(host, clock, breaker, down).is_err());
        assert_eq!(log.count(would), 2, "{host:?}: once for each disabling");
    }
}

/// policies.md §4 rule 34.
#[test]
fn what_does_not_change_the_state_sends_no_event() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let log = Log::of(breaker.events());
    breaker.reset();
    breaker.automatic();
    breaker.disable();
    breaker.automatic();
    assert_eq!(log.events(), []);
    breaker.force_open();
    breaker.force_open();
    assert_eq!(log.count(is_change), 1);
    breaker.reset();
    breaker.reset();
    assert_eq!(log.count(is_change), 2);
}

/// policies.md §4 rule 35.
#[test]
fn reset_closes_empties_the_counters_and_begins_a_generation_wherever_it_stood() {
    for host in Host::BOTH {
        let arrange: [fn(&CircuitBreaker, &ManualClock); 3] = [
            |breaker, _| breaker.force_open(),
            |breaker, _| breaker.admit().unwrap().failure(),
            |breaker, clock| {
                breaker.admit().unwrap().failure();
                clock.advance(60 * SEC);
                breaker.admit().unwrap().cancel();
            },
        ];
        for (number, arrange) in arrange.iter().enumerate() {
            let clock = ManualClock::new();
            let breaker = breaker(&clock).failure_threshold(1).build().unwrap();
            arrange(&breaker, &clock);
            assert_ne!(breaker.state(), CircuitState::Closed);
            let generation = breaker.generation();
            breaker.reset();
            let status = breaker.status();
            assert_eq!(status.state, CircuitState::Closed, "{number}");
            assert_eq!((status.failure_count, status.success_count), (0, 0), "{number}");
            assert_eq!(status.last_failure_time, None, "{number}");
            assert_eq!(breaker.generation(), generation + 1, "{number}");
            let service = Service::new(&clock, [gives(200)]);
            assert_eq!(call!(host, clock, breaker, service), Ok(200), "{number}");
        }
    }
}

/// policies.md §2 adopt 17: the counters of the state it left travel with the event.
#[test]
fn an_event_tells_what_was_counted_and_when() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let breaker = breaker(&clock).failure_threshold(2).build().unwrap();
        let log = Log::of(breaker.events());
        let service = Service::new(&clock, [gives(200), fails("a"), fails("b")]);
        for _ in 0..3 {
            let _ = call!(host, clock, breaker, service);
            clock.advance(SEC);
        }
        let event = Event::StateChanged {
            policy: "api".into(),
            at: Timestamp::ZERO + 2 * SEC,
            from: CircuitState::Closed,
            to: CircuitState::Open,
            generation: 1,
            failure_count: 2,
            success_count: 1,
        };
        assert_eq!(log.events(), [event], "{host:?}");
    }
}

/// policies.md §2 trap f.
#[test]
fn a_listener_may_call_every_method() {
    let clock = ManualClock::new();
    let handle = Arc::new(OnceLock::<CircuitBreaker>::new());
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (listening, log) = (handle.clone(), seen.clone());
    let breaker = breaker(&clock)
        .failure_threshold(1)
        .on_event(move |event| {
            let breaker = listening.get().unwrap();
            if log.lock().unwrap().len() > 10 {
                return;
            }
            let Event::StateChanged { to, .. } = event else { return };
            log.lock().unwrap().push(*to);
            let _ = (breaker.state(), breaker.generation(), breaker.failure_rate());
            let _ = (breaker.status(), breaker.config(), breaker.is_disposable());
            breaker.reconfigure(breaker.config()).unwrap();
            drop(breaker.events().subscribe(|_| ()));
            let _ = breaker.admit();
            if *to == CircuitState::Open {
                breaker.disable();
                breaker.automatic();
                breaker.force_open();
                breaker.reset();
            }
        })
        .build()
        .unwrap();
    handle.set(breaker.clone()).unwrap();
    breaker.admit().unwrap().failure();
    let seen = seen.lock().unwrap();
    assert_eq!(seen[..2], [CircuitState::Open, CircuitState::Closed]);
}

/// A clock whose time of day jumps while its monotonic time goes on.
#[derive(Debug)]
struct Jumping {
    clock: ManualClock,
    time_of_day: std::sync::Mutex<SystemTime>,
}

impl Clock for Jumping {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn time_of_day(&self) -> SystemTime {
        *self.time_of_day.lock().unwrap()
    }
}

impl Timer for Jumping {
    fn sleep_until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.clock.sleep_until(at))
    }

    fn block_until(&self, at: Timestamp) {
        self.clock.block_until(at);
    }
}

/// policies.md §2 trap e.
#[test]
fn a_step_of_the_wall_clock_neither_ends_nor_prolongs_an_outage() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let now = std::sync::Mutex::new(SystemTime::UNIX_EPOCH + 1_000_000 * SEC);
        let jumping = Arc::new(Jumping { clock: clock.clone(), time_of_day: now });
        let breaker = CircuitBreaker::builder("api")
            .failure_threshold(1)
            .timeout(10 * SEC)
            .clock(jumping.clone())
            .build()
            .unwrap();
        let service = Service::new(&clock, [fails("down"), gives(200)]);
        assert!(call!(host, clock, breaker, service).is_err());
        for jump in [SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + 2_000_000 * SEC] {
            *jumping.time_of_day.lock().unwrap() = jump;
            assert_eq!(breaker.status().retry_after, Some(10 * SEC), "{host:?}");
        }
        clock.advance(10 * SEC);
        assert_eq!(call!(host, clock, breaker, service), Ok(200), "{host:?}");
    }
}

/// A clock of a user's own is waited on in its own way.
#[test]
fn a_custom_clock_drives_waits_and_deadlines() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let time_of_day = std::sync::Mutex::new(SystemTime::UNIX_EPOCH);
        let custom: surefoot::TimeSource =
            Arc::new(Jumping { clock: clock.clone(), time_of_day }).into();
        let retry = surefoot::Retry::builder().max_attempts(2).clock(custom.clone());
        let pipeline = surefoot::Pipeline::builder("api")
            .idempotent()
            .add(surefoot::Timeout::new(10 * SEC).unwrap().on_clock(custom))
            .add(retry.build().unwrap())
            .build()
            .unwrap();
        let service = Service::new(&clock, [fails("down"), gives(200)]);
        assert_eq!(call!(host, clock, pipeline, service), Ok(200), "{host:?}");
        assert_eq!(service.started(), [Duration::ZERO, SEC], "{host:?}");
        assert_eq!(clock.waiting(), 0, "{host:?}");
    }
}

/// Spec 2.3: the fallback answers while the circuit is open, and only then.
#[test]
fn a_fallback_answers_rejections_and_nothing_else() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let breaker = breaker(&clock).failure_threshold(1).build().unwrap();
        let service = Service::new(&clock, [fails("down")]);
        let guarded = breaker.clone().with_fallback(|rejection: &Rejection| {
            assert_eq!(rejection.policy(), &"api");
            304
        });
        assert_eq!(call!(host, clock, guarded, service), Err(Error::Operation("down")));
        assert_eq!(call!(host, clock, guarded, service), Ok(304), "{host:?}");
        assert_eq!(service.calls(), 1, "{host:?}");
    }
}

/// Spec 2.3 and policies.md §4 rule 68: it also answers when the circuit opens between two
/// attempts of a retry.
#[test]
fn a_fallback_answers_for_a_circuit_that_opens_during_the_retrying() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [fails("down")]);
        let pipeline = surefoot::Pipeline::builder("api")
            .idempotent()
            .add(retry(&clock).build().unwrap())
            .add(breaker(&clock).failure_threshold(2).timeout(3600 * SEC).build().unwrap())
            .add(timeout(&clock, "attempt", 5 * SEC))
            .build()
            .unwrap()
            .with_fallback(|_: &Rejection| 304);
        assert_eq!(call!(host, clock, pipeline, service), Ok(304), "{host:?}");
        assert_eq!(service.calls(), 2, "{host:?}");
    }
}

/// policies.md §4 rule 66.
#[test]
fn a_cancelled_call_runs_no_fallback() {
    let clock = ManualClock::new();
    let asked = std::sync::atomic::AtomicBool::new(false);
    let guarded = breaker(&clock).build().unwrap().with_fallback(|_: &Rejection| {
        asked.store(true, std::sync::atomic::Ordering::SeqCst);
        304
    });
    let service = Service::new(&clock, [hangs()]);
    assert_eq!(drop_after(&clock, 1, guarded.call(|| service.answer())), None);
    assert!(!asked.into_inner());
}
