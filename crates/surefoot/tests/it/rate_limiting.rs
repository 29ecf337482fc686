//! Calls through rate limiters: who waits, for how long, in which order, and what becomes of a
//! slot whose call did not run.

mod crowds;
mod learning;
mod weights;

use std::panic::{AssertUnwindSafe, catch_unwind};

use surefoot::rate_limiter::RateLimiterBuilder;
use surefoot::{Event, Limiter, ManualClock, Pipeline, RateLimiter, Rejection};

use crate::support::*;

pub(crate) fn limiter(clock: &ManualClock, requests: u64, window: Duration) -> RateLimiterBuilder {
    RateLimiter::builder("search").max_requests(requests).time_window(window).clock(clock)
}

use std::time::Duration;

/// The time that a refusal promises.
fn promised(result: Result<u16, Error>) -> Option<Duration> {
    match result {
        Err(Error::Rejected(rejection @ Rejection::RateLimited { .. })) => rejection.retry_after(),
        other => panic!("not a refusal by the limiter: {other:?}"),
    }
}

#[test]
fn a_call_waits_until_its_slot_is_due_and_no_longer() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let limiter = limiter(&clock, 2, 10 * SEC).build().unwrap();
        for _ in 0..5 {
            assert_eq!(call!(host, clock, limiter, service), Ok(200));
        }
        let at = [0, 0, 10, 10, 20].map(|seconds| SEC * seconds);
        assert_eq!(service.started(), at, "{host:?}");
        assert_eq!(clock.waiting(), 0);
    }
}

#[test]
fn a_wait_longer_than_max_wait_is_refused_at_once_and_takes_nothing() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let limiter = limiter(&clock, 1, 10 * SEC).max_wait(9 * SEC).build().unwrap();
        assert_eq!(call!(host, clock, limiter, service), Ok(200));
        assert_eq!(promised(call!(host, clock, limiter, service)), Some(10 * SEC));
        assert_eq!((clock.now_ms(), service.calls()), (0, 1), "{host:?}");
        clock.advance(SEC);
        assert_eq!(call!(host, clock, limiter, service), Ok(200), "{host:?}");
        assert_eq!(clock.now_ms(), 10_000);
    }
}

#[test]
fn with_a_max_wait_of_zero_nobody_waits() {
    for host in Host::BOTH {
        for builder in [
            |builder: RateLimiterBuilder| builder,
            |builder: RateLimiterBuilder| builder.gcra(1),
            |builder: RateLimiterBuilder| builder.fixed_window(),
        ] {
            let clock = ManualClock::new();
            let service = Service::new(&clock, [gives(200)]);
            let limiter = builder(limiter(&clock, 1, 10 * SEC).max_wait(ZERO)).build().unwrap();
            assert_eq!(call!(host, clock, limiter, service), Ok(200));
            assert_eq!(promised(call!(host, clock, limiter, service)), Some(10 * SEC));
            clock.advance(10 * SEC);
            assert_eq!(call!(host, clock, limiter, service), Ok(200));
            assert_eq!(limiter.totals().delayed, 0);
        }
    }
}

// ---- deadlines ---------------------------------------------------------------------------------

/// DESIGN §3: refused at once, since the wait could not have ended in time.
#[test]
fn a_slot_that_is_due_only_at_the_deadline_is_refused_at_once() {
    for host in Host::BOTH {
        for (limit, in_time) in [(10 * SEC, false), (10 * SEC + MS, true)] {
            let clock = ManualClock::new();
            let service = Service::new(&clock, [gives(200)]);
            let limiter = limiter(&clock, 1, 10 * SEC).max_wait(100 * SEC).build().unwrap();
            limiter.check().unwrap();
            let pipeline = Pipeline::builder("api")
                .add(timeout(&clock, "total", limit))
                .add(limiter.clone())
                .build()
                .unwrap();
            let answer = call!(host, clock, pipeline, service);
            if in_time {
                assert_eq!(answer, Ok(200), "{host:?}");
            } else {
                assert_eq!(promised(answer), Some(10 * SEC), "{host:?}");
                assert_eq!((clock.now_ms(), limiter.status().waiting), (0, 0), "{host:?}");
                assert_eq!(limiter.retry_after(1), Some(10 * SEC), "nothing was taken");
            }
        }
    }
}

/// DESIGN §3: a limit that runs by another clock is not known beforehand, so the time runs out in
/// the queue.
#[test]
fn a_time_limit_that_ends_a_wait_gives_the_slot_back_and_says_that_nothing_was_started() {
    let clock = ManualClock::new();
    let other = ManualClock::new();
    let service = Service::new(&clock, [gives(200)]);
    let limiter = limiter(&clock, 1, 10 * SEC).build().unwrap();
    limiter.check().unwrap();
    let pipeline = Pipeline::builder("api")
        .add(timeout(&other, "total", SEC))
        .add(limiter.clone())
        .build()
        .unwrap();
    let mut call = Task::new(pipeline.call(|| service.answer()));
    assert!(call.poll().is_pending());
    assert_eq!(limiter.status().waiting, 1);
    other.advance(SEC);
    let std::task::Poll::Ready(Err(error)) = call.poll() else { panic!("the limit has passed") };
    assert!(matches!(error, Error::Timeout { dispatched: false, .. }), "{error:?}");
    assert_eq!((limiter.status().waiting, clock.waiting(), service.calls()), (0, 0, 0));
    assert_eq!(limiter.retry_after(1), Some(10 * SEC));
}

/// Both the slot's time and the deadline have passed before anybody looks: nothing begins that
/// would have to be cut off at once.
#[test]
fn a_wait_that_ends_after_the_deadline_begins_nothing() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [gives(200)]);
    let limiter = limiter(&clock, 1, 10 * SEC).build().unwrap();
    limiter.check().unwrap();
    let pipeline = Pipeline::builder("api")
        .add(timeout(&clock, "total", 11 * SEC))
        .add(limiter.clone())
        .build()
        .unwrap();
    let mut call = Task::new(pipeline.call(|| service.answer()));
    assert!(call.poll().is_pending());
    clock.advance(20 * SEC);
    let std::task::Poll::Ready(Err(error)) = call.poll() else { panic!("the limit has passed") };
    let Error::Timeout { dispatched: false, ref last, .. } = error else { panic!("{error:?}") };
    assert!(matches!(last.as_deref(), Some(Error::Rejected(_)) | None), "{error:?}");
    assert_eq!((service.calls(), limiter.status().waiting), (0, 0));
    assert_eq!(limiter.remaining(), 1, "the slot was given back");
}

#[test]
fn a_thread_that_wakes_after_the_deadline_begins_nothing_either() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [gives(200)]);
    let limiter = limiter(&clock, 1, 10 * SEC).build().unwrap();
    limiter.check().unwrap();
    let pipeline = Pipeline::builder("api")
        .add(timeout(&clock, "total", 11 * SEC))
        .add(limiter.clone())
        .build()
        .unwrap();
    let answer = std::thread::scope(|scope| {
        let call =
            scope.spawn(|| pipeline.call_blocking(|attempt| service.answer_blocking(attempt)));
        clock.wait_for_waiters(1);
        clock.advance(20 * SEC);
        call.join().unwrap()
    });
    let Err(Error::Timeout { dispatched: false, last: Some(last), .. }) = answer else {
        panic!("{answer:?}")
    };
    assert!(matches!(*last, Error::Rejected(Rejection::RateLimited { .. })), "{last:?}");
    assert_eq!((service.calls(), limiter.remaining()), (0, 1));
}

#[test]
fn a_deadline_that_is_over_admits_nobody_even_if_there_is_room() {
    let clock = ManualClock::new();
    let limiter = limiter(&clock, 5, 10 * SEC).build().unwrap();
    let slow = Service::new(&clock, [gives(200).after(2 * SEC)]);
    let total = timeout(&clock, "total", SEC);
    let answer: Result<(), Error> = total.call_blocking(|attempt| {
        slow.answer_blocking(attempt)?;
        let refused = limiter.acquire_blocking().unwrap_err();
        assert!(matches!(refused, Rejection::RateLimited { .. }));
        Ok(())
    });
    assert_eq!(answer, Ok(()), "a success that got through is returned");
    assert_eq!(limiter.remaining(), 5);
}

// ---- order -------------------------------------------------------------------------------------

#[test]
fn slots_go_to_those_who_wait_in_the_order_in_which_they_asked() {
    let clock = ManualClock::new();
    let limiter = limiter(&clock, 1, SEC).max_wait(100 * SEC).build().unwrap();
    limiter.check().unwrap();
    let order = std::sync::Mutex::new(Vec::new());
    let mut waiting: Vec<_> = (0..5)
        .map(|number| {
            let (limiter, order) = (&limiter, &order);
            Task::new(async move {
                limiter.acquire().await.unwrap();
                order.lock().unwrap().push(number);
            })
        })
        .collect();
    assert!(waiting.iter_mut().all(|task| task.poll().is_pending()));
    // Whoever does not wait cannot push in between.
    for second in 1..=5 {
        clock.advance(SEC);
        assert!(!limiter.is_allowed(), "at {second} s");
        // Polled last first: it is the line that decides, and not who looks first.
        for task in waiting.iter_mut().rev().filter(|task| task.is_woken()) {
            let _ = task.poll();
        }
        assert_eq!(order.lock().unwrap().len(), second);
    }
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
}

#[test]
fn whoever_gives_up_lets_those_behind_move_up_whatever_host_they_wait_in() {
    let clock = ManualClock::new();
    let limiter = limiter(&clock, 1, 10 * SEC).max_wait(100 * SEC).build().unwrap();
    limiter.check().unwrap();
    let mut first = Task::new(limiter.acquire());
    assert!(first.poll().is_pending());
    let mut second = Task::new(limiter.acquire());
    assert!(second.poll().is_pending());
    std::thread::scope(|scope| {
        let third = scope.spawn(|| {
            limiter.acquire_blocking().unwrap();
            clock.now_ms()
        });
        clock.wait_for_waiters(3);
        drop(first); // due at 10 s; the others were due at 20 and 30
        assert!(second.is_woken());
        assert!(second.poll().is_pending());
        clock.advance(10 * SEC);
        assert!(second.poll().is_ready());
        // The thread sleeps again, until the time it has moved up to.
        clock.wait_for_waiters(1);
        clock.advance(10 * SEC);
        assert_eq!(third.join().unwrap(), 20_000);
    });
    assert_eq!(clock.waiting(), 0);
}

// ---- what becomes of a slot --------------------------------------------------------------------

/// A limiter around a breaker around a service: dropped after each number of polls.
#[test]
fn a_call_dropped_at_any_await_keeps_its_unit_only_if_the_operation_was_started() {
    for waits in [false, true] {
        let mut ended = false;
        for polls in 0.. {
            let clock = ManualClock::new();
            let service = Service::new(&clock, [gives(200).after(SEC)]).yielding(2);
            let limiter = limiter(&clock, 2, 10 * SEC).build().unwrap();
            limiter.check_n(if waits { 2 } else { 1 }).unwrap();
            let pipeline = Pipeline::builder("api")
                .add(limiter.clone())
                .add(breaker(&clock).build().unwrap())
                .add(timeout(&clock, "attempt", 5 * SEC))
                .build()
                .unwrap();
            let at = format!("dropped after {polls} polls, waits: {waits}");
            let answer = drop_after(&clock, polls, pipeline.call(|| service.answer()));
            assert_eq!(clock.waiting(), 0, "{at}");
            assert_eq!(limiter.status().waiting, 0, "{at}");
            let before = if clock.now_ms() >= 10_000 { 0 } else { if waits { 2 } else { 1 } };
            let kept = service.calls() as u64;
            assert_eq!(limiter.current_rate(), before + kept, "{at}");
            if answer.is_some() {
                assert_eq!(answer, Some(Ok(200)));
                ended = true;
                break;
            }
        }
        assert!(ended);
    }
}

#[test]
fn a_call_that_a_policy_inside_refuses_gives_its_unit_back() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let limiter = limiter(&clock, 1, 10 * SEC).max_wait(ZERO).build().unwrap();
        let breaker = breaker(&clock).build().unwrap();
        breaker.force_open();
        let pipeline = Pipeline::builder("api")
            .add(limiter.clone())
            .add(breaker.clone())
            .add(timeout(&clock, "attempt", SEC))
            .build()
            .unwrap();
        for _ in 0..3 {
            let refused = call!(host, clock, pipeline, service);
            let Err(Error::Rejected(Rejection::CircuitOpen { .. })) = refused else {
                panic!("{refused:?}")
            };
        }
        assert_eq!(limiter.remaining(), 1, "{host:?}");
        breaker.automatic();
        assert_eq!(call!(host, clock, pipeline, service), Ok(200));
        assert_eq!(limiter.remaining(), 0, "{host:?}: this one was started");
    }
}

/// The unit of a refused call goes to whoever waits.
#[test]
fn what_a_refused_call_gives_back_lets_the_next_one_begin() {
    let clock = ManualClock::new();
    let limiter = limiter(&clock, 1, 10 * SEC).build().unwrap();
    let gate = Gate::default();
    let pipeline = Pipeline::builder("api").add(limiter.clone()).add(gate.clone()).build().unwrap();
    let mut refused = Task::new(pipeline.call(|| async { Ok::<_, &str>(1) }));
    assert!(refused.poll().is_pending());
    let mut next = Task::new(limiter.acquire());
    assert!(next.poll().is_pending());
    gate.refuse();
    assert!(matches!(refused.poll(), std::task::Poll::Ready(Err(Error::Rejected(_)))));
    assert!(next.is_woken());
    assert!(next.poll().is_ready());
    assert_eq!(clock.now_ms(), 0);
}

/// A policy that holds calls back until it refuses them.
#[derive(Clone, Default)]
struct Gate(std::sync::Arc<std::sync::atomic::AtomicBool>);

impl Gate {
    fn refuse(&self) {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Policy for Gate {
    async fn run<O: surefoot::Operation>(
        &self,
        _: &O,
    ) -> Result<O::Value, surefoot::Error<O::Error>> {
        while !self.0.load(std::sync::atomic::Ordering::SeqCst) {
            yield_now().await;
        }
        Err(Rejection::Throttled { policy: "gate".into(), retry_after: SEC }.into())
    }

    fn parts(&self, parts: &mut Vec<surefoot::Part>) {
        parts.push(surefoot::Part::new(surefoot::PartKind::Other, "gate".into()));
    }
}

#[test]
fn an_operation_that_fails_or_panics_has_used_its_unit() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [fails("down"), panics(), gives(200)]);
        let limiter = limiter(&clock, 3, 10 * SEC).max_wait(ZERO).build().unwrap();
        let pipeline = Pipeline::builder("api")
            .add(limiter.clone())
            .add(timeout(&clock, "attempt", SEC))
            .build()
            .unwrap();
        assert_eq!(call!(host, clock, pipeline, service), Err(Error::Operation("down")));
        let panicked = catch_unwind(AssertUnwindSafe(|| call!(host, clock, pipeline, service)));
        assert!(panicked.is_err());
        assert_eq!(limiter.remaining(), 1, "{host:?}");
        assert_eq!(call!(host, clock, pipeline, service), Ok(200));
        assert_eq!((limiter.remaining(), clock.waiting()), (0, 0), "{host:?}");
    }
}

#[test]
fn each_attempt_of_a_retry_takes_a_unit_and_waits_for_it() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [fails("down"), fails("down"), gives(200)]);
        let limiter = limiter(&clock, 1, 10 * SEC).build().unwrap();
        let pipeline = Pipeline::builder("api")
            .idempotent()
            .add(retry(&clock).initial_delay(SEC).build().unwrap())
            .add(limiter.clone())
            .build()
            .unwrap();
        assert_eq!(call!(host, clock, pipeline, service), Ok(200));
        assert_eq!(service.started(), [ZERO, 10 * SEC, 20 * SEC], "{host:?}");
    }
}

/// DESIGN §4: own rejections are not tried again before their `retry_after`.
#[test]
fn a_retry_outside_comes_back_exactly_when_a_refusal_said() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let limiter = limiter(&clock, 1, 10 * SEC).max_wait(ZERO).build().unwrap();
        limiter.check().unwrap();
        let pipeline = Pipeline::builder("api")
            .idempotent()
            .add(retry(&clock).initial_delay(SEC).max_delay(60 * SEC).build().unwrap())
            .add(limiter.clone())
            .build()
            .unwrap();
        assert_eq!(call!(host, clock, pipeline, service), Ok(200));
        assert_eq!(service.started(), [10 * SEC], "{host:?}");
        assert_eq!(limiter.totals().rejected, 1, "{host:?}");
    }
}

// ---- what it tells -----------------------------------------------------------------------------

#[test]
fn admissions_refusals_and_delays_are_counted_once_each_and_told() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let limiter = limiter(&clock, 1, 10 * SEC).max_wait(10 * SEC).build().unwrap();
        let log = Log::of(limiter.events());
        assert_eq!(call!(host, clock, limiter, service), Ok(200));
        let mut waiting = Task::new(limiter.acquire());
        assert!(waiting.poll().is_pending());
        assert_eq!(promised(call!(host, clock, limiter, service)), Some(20 * SEC));
        let status = limiter.status();
        assert_eq!((status.waiting, status.current_rate, status.remaining), (1, 1, 0));
        let totals = status.totals;
        assert_eq!((totals.admitted, totals.rejected, totals.delayed), (1, 1, 1), "{host:?}");
        clock.advance(10 * SEC);
        assert!(waiting.poll().is_ready());
        assert_eq!(limiter.totals().admitted, 2);
        assert_eq!(limiter.totals().delayed, 1);
        let (policy, at) = ("search".into(), surefoot::Timestamp::ZERO);
        assert_eq!(
            log.events(),
            [
                Event::RateDelayed { policy, at, delay: 10 * SEC },
                Event::RateLimited { policy: "search".into(), at, retry_after: Some(20 * SEC) },
            ]
        );
    }
}

#[test]
fn a_waiter_that_gives_up_was_never_admitted() {
    let clock = ManualClock::new();
    let limiter = limiter(&clock, 1, 10 * SEC).build().unwrap();
    limiter.check().unwrap();
    assert!(drop_after(&clock, 1, limiter.acquire()).is_none());
    let totals = limiter.totals();
    assert_eq!((totals.admitted, totals.rejected, totals.delayed), (1, 0, 1));
}

/// A listener may call whatever it likes, the limiter included.
#[test]
fn a_listener_may_ask_the_limiter() {
    let clock = ManualClock::new();
    let limiter = limiter(&clock, 1, 10 * SEC).build().unwrap();
    let asked = limiter.clone();
    limiter.events().subscribe(move |_| drop(asked.status())).forever();
    limiter.check().unwrap();
    assert!(limiter.check().is_err());
    assert!(drop_after(&clock, 1, limiter.acquire()).is_none());
}
