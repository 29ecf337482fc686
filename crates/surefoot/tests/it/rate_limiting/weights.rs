//! Calls of several units, estimates that are corrected, wrapped functions, keys.

use std::panic::{AssertUnwindSafe, catch_unwind};

use surefoot::{Event, KeyedRateLimiter, Limiter, ManualClock, Pipeline, Rejection};

use super::{limiter, promised};
use crate::support::*;

#[test]
fn a_weighted_call_waits_until_all_its_units_fit() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let tokens = limiter(&clock, 10, 10 * SEC).build().unwrap();
        tokens.check_n(4).unwrap();
        clock.advance(SEC);
        tokens.check_n(4).unwrap();
        assert_eq!(call!(host, clock, tokens.weighing(6), service), Ok(200));
        assert_eq!(service.started(), [10 * SEC], "{host:?}: 2 free, 4 more at 10 s");
        assert_eq!(tokens.current_rate(), 10);
    }
}

#[test]
fn a_call_heavier_than_the_limit_is_refused_without_a_time() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let tokens = limiter(&clock, 10, 10 * SEC).build().unwrap();
        assert_eq!(promised(call!(host, clock, tokens.weighing(11), service)), None);
        assert_eq!((tokens.remaining(), service.calls()), (10, 0), "{host:?}");
    }
}

#[test]
fn a_call_of_no_units_is_always_admitted() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let tokens = limiter(&clock, 1, 10 * SEC).max_wait(ZERO).build().unwrap();
        tokens.check().unwrap();
        assert_eq!(call!(host, clock, tokens.weighing(0), service), Ok(200), "{host:?}");
    }
}

#[test]
fn weights_work_inside_a_pipeline() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let tokens = limiter(&clock, 10, 10 * SEC).build().unwrap();
        let pipeline = Pipeline::builder("model")
            .add(timeout(&clock, "total", 60 * SEC))
            .add(tokens.weighing(6))
            .add(breaker(&clock).build().unwrap())
            .add(timeout(&clock, "attempt", SEC))
            .build()
            .unwrap();
        for _ in 0..2 {
            assert_eq!(call!(host, clock, pipeline, service), Ok(200));
        }
        assert_eq!(service.started(), [ZERO, 10 * SEC], "{host:?}");
    }
}

// ---- estimates ---------------------------------------------------------------------------------

/// What each answer says it used.
fn usage(result: Result<&u16, &&'static str>) -> Option<u64> {
    result.ok().map(|used| u64::from(*used))
}

#[test]
fn an_estimate_is_corrected_to_what_the_answer_says() {
    for host in Host::BOTH {
        for (used, left) in [(2, 8), (6, 4), (9, 1), (14, 0)] {
            let clock = ManualClock::new();
            let service = Service::new(&clock, [gives(used)]);
            let tokens = limiter(&clock, 10, 10 * SEC).build().unwrap();
            let model = tokens.weighing(6).settling(usage);
            assert_eq!(call!(host, clock, model, service), Ok(used));
            assert_eq!(tokens.remaining(), left, "{host:?}, {used} used");
            assert_eq!(tokens.current_rate(), u64::from(used));
        }
    }
}

#[test]
fn an_estimate_stays_where_nobody_knows_better() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [fails("down"), panics()]);
        let tokens = limiter(&clock, 10, 10 * SEC).build().unwrap();
        let model = tokens.weighing(4).settling(usage);
        assert_eq!(call!(host, clock, model, service), Err(Error::Operation("down")));
        assert_eq!(tokens.remaining(), 6, "{host:?}");
        assert!(catch_unwind(AssertUnwindSafe(|| call!(host, clock, model, service))).is_err());
        assert_eq!(tokens.remaining(), 2, "{host:?}");
    }
}

#[test]
fn an_estimate_dropped_at_any_await_is_kept_only_after_the_operation_was_started() {
    for polls in 0.. {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(2).after(SEC)]).yielding(2);
        let tokens = limiter(&clock, 10, 10 * SEC).build().unwrap();
        tokens.check_n(8).unwrap();
        let model = tokens.weighing(6).settling(usage);
        let answer = drop_after(&clock, polls, model.call(|| service.answer()));
        let before = if clock.now_ms() >= 10_000 { 0 } else { 8 };
        let kept = match (&answer, service.calls()) {
            (Some(_), _) => 2,
            (None, 0) => 0,
            (None, _) => 6,
        };
        assert_eq!(tokens.current_rate(), before + kept, "dropped after {polls} polls");
        assert_eq!((clock.waiting(), tokens.status().waiting), (0, 0));
        if answer.is_some() {
            return;
        }
    }
}

#[test]
fn a_permit_can_be_asked_for_and_settled_in_two_steps() {
    let clock = ManualClock::new();
    let tokens = limiter(&clock, 10, 10 * SEC).build().unwrap();
    let charge = run(&clock, tokens.acquire_n(8)).unwrap();
    charge.settle(3);
    assert_eq!(tokens.remaining(), 7);
    tokens.acquire_n_blocking(7).unwrap().give_back();
    assert_eq!(tokens.remaining(), 7);
}

// ---- wrapped functions -------------------------------------------------------------------------

/// Spec 4.1: `@limiter.limit`.
#[test]
fn a_wrapped_function_takes_a_unit_for_each_call() {
    let clock = ManualClock::new();
    let limiter = limiter(&clock, 2, 10 * SEC).max_wait(ZERO).build().unwrap();
    let endpoint = limiter.limit(|request: u16| async move { Ok::<_, &str>(request + 1) });
    assert_eq!(run(&clock, endpoint.call(1)), Ok(2));
    let blocking =
        limiter.limit(|request: u16| Err::<u16, _>(if request > 0 { "bad" } else { "" }));
    assert_eq!(blocking.call_blocking(1), Err(Error::Operation("bad")));
    assert_eq!(promised(run(&clock, endpoint.call(1))), Some(10 * SEC));
    assert_eq!(promised(blocking.call_blocking(1)), Some(10 * SEC));
}

#[test]
fn a_wrapped_function_waits_for_its_slot() {
    let clock = ManualClock::new();
    let limiter = limiter(&clock, 1, 10 * SEC).build().unwrap();
    let endpoint = limiter.limit(|()| async { Ok::<_, &str>(clock.now_ms()) });
    assert_eq!(run(&clock, endpoint.call(())), Ok(0));
    assert_eq!(run(&clock, endpoint.call(())), Ok(10_000));
    let blocking = limiter.limit(|()| Ok::<_, &str>(clock.now_ms()));
    assert_eq!(block(&clock, || blocking.call_blocking(())), Ok(20_000));
}

// ---- keys --------------------------------------------------------------------------------------

#[test]
fn the_calls_of_one_key_wait_for_that_key_alone() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let keyed: KeyedRateLimiter<String> = limiter(&clock, 1, 10 * SEC).build_keyed().unwrap();
        let (alice, bob) = (keyed.key("alice"), keyed.key("bob"));
        for key in [&alice, &bob, &alice] {
            assert_eq!(call!(host, clock, key, service), Ok(200));
        }
        assert_eq!(service.started(), [ZERO, ZERO, 10 * SEC], "{host:?}");
        assert_eq!(bob.remaining(), 1);
    }
}

#[test]
fn a_key_in_a_pipeline_gives_back_what_was_not_used() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let keyed: KeyedRateLimiter<String> =
            limiter(&clock, 5, 10 * SEC).max_wait(ZERO).build_keyed().unwrap();
        let breaker = breaker(&clock).build().unwrap();
        let pipeline = Pipeline::builder("api")
            .add(keyed.key("alice").weighing(3))
            .add(breaker.clone())
            .add(timeout(&clock, "attempt", SEC))
            .build()
            .unwrap();
        breaker.force_open();
        assert!(call!(host, clock, pipeline, service).is_err());
        assert_eq!(keyed.remaining("alice"), 5, "{host:?}");
        breaker.automatic();
        assert_eq!(call!(host, clock, pipeline, service), Ok(200));
        assert_eq!(keyed.remaining("alice"), 2, "{host:?}");
        assert_eq!(promised(call!(host, clock, pipeline, service)), Some(10 * SEC));
    }
}

#[test]
fn a_key_that_is_waited_for_is_not_forgotten() {
    let clock = ManualClock::new();
    let keyed: KeyedRateLimiter<u32> = limiter(&clock, 1, 10 * SEC).build_keyed().unwrap();
    let key = keyed.key(7_u32);
    key.check().unwrap();
    let mut waiting = Task::new(key.acquire());
    assert!(waiting.poll().is_pending());
    clock.advance(10 * SEC);
    keyed.evict_idle();
    assert!(waiting.poll().is_ready());
    assert!(!keyed.is_allowed(&7), "its call counts");
    // The call has gone; what it took leaves in time, and the key with it.
    drop(waiting);
    clock.advance(10 * SEC);
    keyed.evict_idle();
    assert_eq!(keyed.keys(), 0);
}

#[test]
fn a_new_key_without_room_is_refused_and_told_of_once() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let keyed: KeyedRateLimiter<u32> =
            limiter(&clock, 1, 10 * SEC).max_keys(1).build_keyed().unwrap();
        let log = Log::of(keyed.events());
        assert_eq!(call!(host, clock, keyed.key(1_u32), service), Ok(200));
        for key in 2..=3_u32 {
            let refused = call!(host, clock, keyed.key(key), service);
            let Err(Error::Rejected(Rejection::KeysFull { max_keys: 1, .. })) = refused else {
                panic!("{refused:?}")
            };
        }
        let full = |event: &Event| matches!(event, Event::KeysFull { max_keys: 1, .. });
        assert_eq!(log.count(full), 1, "{host:?}");
        let overview = keyed.overview();
        assert_eq!((overview.keys, overview.totals.rejected), (1, 2), "{host:?}");
        assert_eq!(overview.totals.admitted, 1);
    }
}
