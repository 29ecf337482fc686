//! Calls through load shedders and client throttles, in both hosts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use surefoot::load_shedder::{LoadShedderBuilder, Signal};
use surefoot::{
    ClientThrottle, Event, LoadShedder, ManualClock, OrderRule, Pipeline, Rejection, Retry,
    Timestamp,
};

use crate::support::*;

fn shedder(clock: &ManualClock, capacity: u32) -> LoadShedderBuilder {
    LoadShedder::builder("api").capacity(capacity).clock(clock)
}

/// A throttle whose callee has just refused ten calls.
fn throttle(clock: &ManualClock) -> ClientThrottle {
    let throttle = ClientThrottle::builder("api").clock(clock).seed(1).build().unwrap();
    (0..10).for_each(|_| {
        if let Ok(permit) = throttle.admit() {
            permit.failure();
        }
    });
    throttle
}

#[test]
fn a_call_is_under_way_from_its_admission_to_its_end() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let shedder = shedder(&clock, 10).build().unwrap();
        let seen = AtomicU64::new(0);
        let look = || {
            seen.store(shedder.status().in_flight.into(), Ordering::SeqCst);
            Ok::<_, ()>(())
        };
        let handle = shedder.priority(2).unwrap();
        match host {
            Host::Async => {
                let call = handle.call(|| async { look() });
                assert_eq!(shedder.status().in_flight, 0); // not before it is polled
                run(&clock, call).unwrap();
            }
            Host::Blocking => handle.call_blocking(|_| look()).unwrap(),
        }
        assert_eq!(seen.load(Ordering::SeqCst), 1);
        assert_eq!(shedder.status().in_flight, 0);
    }
}

#[test]
fn the_lowest_priority_is_shed_first_and_nothing_is_dispatched() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let shedder = shedder(&clock, 10).build().unwrap();
        let service = Service::new(&clock, [gives(1)]);
        let _under_way: Vec<_> = (0..9).map(|_| shedder.admit(3).unwrap()).collect();
        for (priority, admitted) in [(1, false), (2, false), (3, true)] {
            let answer = call!(host, clock, shedder.priority(priority).unwrap(), service);
            match answer {
                Ok(1) => assert!(admitted),
                Err(Error::Rejected(Rejection::Shed { priority: shed, signal, .. })) => {
                    assert!(!admitted);
                    assert_eq!((shed, signal), (priority, Signal::InFlight));
                }
                other => panic!("{other:?}"),
            }
        }
        // A call without a priority has the lowest.
        assert!(call!(host, clock, shedder, service).unwrap_err().is_undispatched());
        assert_eq!(service.started().len(), 1);
    }
}

#[test]
fn a_call_dropped_anywhere_gives_its_place_back() {
    let clock = ManualClock::new();
    let shedder = shedder(&clock, 1).build().unwrap();
    let handle = shedder.priority(3).unwrap();
    let service = Service::new(&clock, [gives(1).after(SEC)]).yielding(2);
    for polls in 0..6 {
        drop_after(&clock, polls, handle.call(|| service.answer()));
        assert_eq!(shedder.status().in_flight, 0, "after {polls} polls");
    }
}

#[test]
fn a_deadline_and_a_panic_give_the_place_back() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let shedder = shedder(&clock, 1).build().unwrap();
        let limited = Pipeline::builder("limited")
            .add(timeout(&clock, "total", SEC))
            .add(shedder.priority(3).unwrap())
            .build()
            .unwrap();
        let late = Service::new(&clock, [fails("late").after(2 * SEC)]);
        assert!(matches!(call!(host, clock, limited, late), Err(Error::Timeout { .. })));
        assert_eq!(shedder.status().in_flight, 0);

        let broken = Service::new(&clock, [panics()]);
        let handle = shedder.priority(3).unwrap();
        let unwound = std::panic::AssertUnwindSafe(|| call!(host, clock, handle, broken));
        assert!(std::panic::catch_unwind(unwound).is_err());
        assert_eq!(shedder.status().in_flight, 0);
    }
}

#[test]
fn a_streamed_answer_is_under_way_until_its_end() {
    let clock = ManualClock::new();
    let shedder = shedder(&clock, 10).build().unwrap();
    let handle = shedder.priority(3).unwrap();
    let open = || async { Ok::<_, &str>(futures_lite::stream::iter([Ok(1), Ok(2)])) };
    let mut stream = Box::pin(run(&clock, handle.call_stream(open)).unwrap());
    assert_eq!(shedder.status().in_flight, 1);
    while run(&clock, futures_lite::StreamExt::next(&mut stream)).is_some() {}
    assert_eq!(shedder.status().in_flight, 0);

    let stream = run(&clock, handle.call_stream(open)).unwrap();
    assert_eq!(shedder.status().in_flight, 1);
    drop(stream);
    assert_eq!(shedder.status().in_flight, 0);
}

#[test]
fn a_retry_does_not_try_what_was_shed_again() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let shedder = shedder(&clock, 1).build().unwrap();
        let _full = shedder.admit(3).unwrap();
        let retry = Pipeline::builder("retried")
            .idempotent()
            .add(retry(&clock).build().unwrap())
            .add(shedder.priority(3).unwrap())
            .build()
            .unwrap();
        let service = Service::new(&clock, [gives(1)]);
        let answer = call!(host, clock, retry, service);
        assert!(matches!(answer, Err(Error::Rejected(Rejection::Shed { .. }))), "{answer:?}");
        assert_eq!(clock.now_ms(), 0);
    }
}

#[test]
fn a_shedder_reads_any_load_that_a_throttler_tells() {
    let clock = ManualClock::new();
    let throttler =
        surefoot::Throttler::builder("db").max_concurrent(10).clock(&clock).build().unwrap();
    let load = throttler.clone();
    let shedder = LoadShedder::builder("api")
        .in_flight(move || {
            let status = load.status();
            f64::from(status.in_flight) / f64::from(status.max_concurrent)
        })
        .build()
        .unwrap();
    let held: Vec<_> = (0..8).map(|_| throttler.try_acquire().unwrap()).collect();
    assert!(shedder.should_shed(1));
    assert!(!shedder.should_shed(2));
    drop(held);
    assert!(!shedder.should_shed(1));
}

#[test]
fn one_shedder_serves_pipelines_of_different_priorities() {
    let clock = ManualClock::new();
    let shedder = shedder(&clock, 5).build().unwrap();
    let pipeline = |priority| {
        Pipeline::builder("api")
            .add(timeout(&clock, "total", 30 * SEC))
            .add(shedder.priority(priority).unwrap())
            .add(breaker(&clock).build().unwrap())
            .add(timeout(&clock, "attempt", SEC))
            .build()
            .unwrap()
    };
    let [low, high] = [pipeline(1), pipeline(3)];
    let _under_way: Vec<_> = (0..4).map(|_| shedder.admit(3).unwrap()).collect();
    let service = Service::new(&clock, [gives(1)]);
    assert!(call!(Host::Async, clock, low, service).is_err());
    assert_eq!(call!(Host::Async, clock, high, service), Ok(1));
}

#[test]
fn a_breaker_around_a_shedder_or_a_client_throttle_does_not_build() {
    let clock = ManualClock::new();
    let breaker = || breaker(&clock).build().unwrap();
    let attempt = || timeout(&clock, "attempt", SEC);
    let shed = shedder(&clock, 1).build().unwrap();
    let error = Pipeline::builder("p").add(breaker()).add(shed).add(attempt()).build().unwrap_err();
    assert!(error.rule().contains(&format!("{:?}", OrderRule::BreakerOutsideLimiter)), "{error}");
    let hold = throttle(&clock);
    let error = Pipeline::builder("p").add(breaker()).add(hold).add(attempt()).build().unwrap_err();
    assert!(error.rule().contains(&format!("{:?}", OrderRule::BreakerOutsideLimiter)), "{error}");
}

#[test]
fn calls_run_under_any_executor() {
    let clock = ManualClock::new();
    let shedder = shedder(&clock, 10).build().unwrap();
    let throttle = ClientThrottle::builder("api").clock(&clock).build().unwrap();
    let pipeline = Pipeline::builder("p")
        .add(shedder.priority(2).unwrap())
        .add(throttle.clone())
        .build()
        .unwrap();
    let answer = futures_lite::future::block_on(pipeline.call(|| async {
        futures_lite::future::yield_now().await;
        Ok::<_, ()>(shedder.status().in_flight)
    }));
    assert_eq!(answer, Ok(1));
    assert_eq!((shedder.status().in_flight, throttle.status().accepts), (0, 1));
}

#[test]
fn who_listens_hears_of_every_call_that_is_shed_or_held_back() {
    let clock = ManualClock::new();
    let shedder = shedder(&clock, 1).build().unwrap();
    let log = Log::of(shedder.events());
    let _full = shedder.admit(3).unwrap();
    clock.advance(SEC);
    assert!(shedder.should_shed(2));
    let expected = Event::Shed {
        policy: "api".into(),
        at: Timestamp::ZERO + SEC,
        priority: 2,
        signal: Signal::InFlight,
        load: 1.0,
        limit: 0.9,
        dry_run: false,
    };
    assert_eq!(log.events(), [expected]);

    let throttle = throttle(&clock);
    let log = Log::of(throttle.events());
    let before = throttle.status().rejected;
    (0..20).for_each(|_| drop(throttle.admit()));
    let held_back = |event: &Event| matches!(event, Event::ClientThrottled { .. });
    assert_eq!(log.count(held_back) as u64, throttle.status().rejected - before);
    assert!(log.count(held_back) > 0);
}

#[test]
fn a_call_held_back_is_told_why_and_what_to_do() {
    let throttle = throttle(&ManualClock::new());
    let rejection = std::iter::repeat_with(|| throttle.admit()).find_map(Result::err).unwrap();
    assert_eq!(rejection.retry_after(), None);
    assert_eq!(
        rejection.to_string(),
        "client throttle `api` holds 90 % of calls back, since the service refuses too many: try \
         later or elsewhere"
    );
}

// ---- client throttle -----------------------------------------------------------------------

#[test]
fn a_client_throttle_counts_what_the_classifier_says() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let throttle = ClientThrottle::builder("api").clock(&clock).seed(1).build().unwrap();
        let service = Service::new(&clock, [gives(1), fails("overloaded"), gives(1)]);
        for counts in [(1, 1), (2, 1), (3, 2)] {
            let _ = call!(host, clock, throttle, service);
            let status = throttle.status();
            assert_eq!((status.requests, status.accepts), counts);
        }
    }
}

#[test]
fn a_client_throttle_holds_calls_back_and_they_are_not_dispatched() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let throttle = throttle(&clock);
        let service = Service::new(&clock, [fails("overloaded")]);
        let before = throttle.status().rejected;
        let mut held_back = 0;
        for _ in 0..100 {
            match call!(host, clock, throttle, service) {
                Err(Error::Rejected(Rejection::ClientThrottled { .. })) => held_back += 1,
                Err(Error::Operation("overloaded")) => {}
                other => panic!("{other:?}"),
            }
        }
        assert!((70..=99).contains(&held_back), "{held_back}");
        assert_eq!(service.started().len(), 100 - held_back);
        assert_eq!(throttle.status().rejected - before, held_back as u64);
    }
}

#[test]
fn a_call_dropped_by_its_caller_counts_as_nothing_and_by_our_deadline_as_not_accepted() {
    let clock = ManualClock::new();
    let throttle = ClientThrottle::builder("api").clock(&clock).build().unwrap();
    let service = Service::new(&clock, [gives(1).after(SEC)]).yielding(2);
    for polls in 0..4 {
        drop_after(&clock, polls, throttle.call(|| service.answer()));
        assert_eq!(throttle.status().requests, 0, "after {polls} polls");
    }
    let limited = Pipeline::builder("p")
        .add(timeout(&clock, "t", SEC / 2))
        .add(throttle.clone())
        .build()
        .unwrap();
    assert!(call!(Host::Async, clock, limited, service).is_err());
    let status = throttle.status();
    assert_eq!((status.requests, status.accepts), (1, 0));
}

#[test]
fn a_panic_says_nothing_about_the_callee_s_load() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let throttle = ClientThrottle::builder("api").clock(&clock).build().unwrap();
        let broken = Service::new(&clock, [panics()]);
        let unwound = std::panic::AssertUnwindSafe(|| call!(host, clock, throttle, broken));
        assert!(std::panic::catch_unwind(unwound).is_err());
        assert_eq!(throttle.status().requests, 0);
    }
}

#[test]
fn what_a_policy_inside_refused_was_not_sent_and_counts_as_nothing() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let throttle = ClientThrottle::builder("api").clock(&clock).build().unwrap();
        let open = breaker(&clock).build().unwrap();
        open.force_open();
        let pipeline = Pipeline::builder("p")
            .add(throttle.clone())
            .add(open)
            .add(timeout(&clock, "t", SEC))
            .build()
            .unwrap();
        let service = Service::new(&clock, [gives(1)]);
        assert!(call!(host, clock, pipeline, service).is_err());
        assert_eq!(throttle.status().requests, 0);
    }
}

#[test]
fn inside_a_retry_a_client_throttle_sees_every_attempt() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let throttle = ClientThrottle::builder("api").clock(&clock).build().unwrap();
        let pipeline = Pipeline::builder("p")
            .idempotent()
            .add(Retry::builder().max_attempts(3).clock(&clock).build().unwrap())
            .add(throttle.clone())
            .build()
            .unwrap();
        let service = Service::new(&clock, [fails("x"), fails("x"), gives(1)]);
        let answer = call!(host, clock, pipeline, service);
        let status = throttle.status();
        // The second or third may have been held back: then it stops there.
        match answer {
            Ok(1) => assert_eq!((status.requests, status.accepts), (3, 1)),
            Err(_) => assert_eq!(status.rejected, 1),
            Ok(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_streamed_answer_counts_at_its_end() {
    let clock = ManualClock::new();
    let throttle = ClientThrottle::builder("api").clock(&clock).build().unwrap();
    let open = || async { Ok::<_, &str>(futures_lite::stream::iter([Ok(1), Ok(2)])) };
    let mut stream = Box::pin(run(&clock, throttle.call_stream(open)).unwrap());
    assert_eq!(throttle.status().requests, 0);
    while run(&clock, futures_lite::StreamExt::next(&mut stream)).is_some() {}
    let status = throttle.status();
    assert_eq!((status.requests, status.accepts), (1, 1));

    let broken = || async { Ok::<_, &str>(futures_lite::stream::iter([Ok(1), Err("reset")])) };
    let mut stream = Box::pin(run(&clock, throttle.call_stream(broken)).unwrap());
    while run(&clock, futures_lite::StreamExt::next(&mut stream)).is_some() {}
    let status = throttle.status();
    assert_eq!((status.requests, status.accepts), (2, 1));
}

// ---- many threads ----------------------------------------------------------------------------

#[test]
fn however_many_threads_call_the_capacity_is_never_exceeded_and_every_place_comes_back() {
    let shedder = LoadShedder::builder("api").capacity(3).build().unwrap();
    let most = Arc::new(AtomicU64::new(0));
    let running = Arc::new(AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..8_u32 {
            let handle = shedder.priority(1 + thread % 3).unwrap();
            let (most, running) = (&most, &running);
            scope.spawn(move || {
                for _ in 0..2000 {
                    let _ = handle.call_blocking(|_| {
                        let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(now, Ordering::SeqCst);
                        std::thread::yield_now();
                        running.fetch_sub(1, Ordering::SeqCst);
                        Ok::<_, ()>(())
                    });
                }
            });
        }
    });
    assert!(most.load(Ordering::SeqCst) <= 3);
    let status = shedder.status();
    assert_eq!(status.in_flight, 0);
    let calls: u64 =
        status.priorities.iter().map(|priority| priority.admitted + priority.shed).sum();
    assert_eq!(calls, 16_000);
}
