//! Time limits: when they fire, who they blame, and how they nest.

mod queues;
mod retries;
mod told;

use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::Poll;
use std::time::Duration;

use surefoot::{CircuitState, ManualClock, OrderRule, Pipeline, Timestamp};

use crate::support::*;

fn timed_out(policy: &'static str, limit: Duration, last: Option<Error>) -> Error {
    Error::Timeout { policy: policy.into(), limit, dispatched: true, last: last.map(Box::new) }
}

/// policies.md §4 rule 83; §5 trap 11.
#[test]
fn a_hanging_service_under_an_outer_deadline_trips_the_breaker() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [hangs()]);
    let breaker = breaker(&clock).build().unwrap();
    let pipeline = Pipeline::builder("api")
        .allow(OrderRule::NoTimeoutInsideBreaker)
        .add(timeout(&clock, "total", SEC))
        .add(breaker.clone())
        .build()
        .unwrap();
    for call in 1..=5 {
        assert_eq!(breaker.state(), CircuitState::Closed, "before call {call}");
        let answer = run(&clock, pipeline.call(|| service.answer()));
        assert_eq!(answer, Err(timed_out("total", SEC, None)));
    }
    assert_eq!(breaker.state(), CircuitState::Open);
    assert_eq!(breaker.status().totals.failures, 5);
    assert_eq!((service.calls(), service.running(), clock.waiting()), (5, 0, 0));
}

/// policies.md §4 rule 83.
#[test]
fn callers_who_give_up_do_not_trip_the_breaker() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [hangs()]);
    let breaker = breaker(&clock).build().unwrap();
    let pipeline = Pipeline::builder("api")
        .allow(OrderRule::NoTimeoutInsideBreaker)
        .add(timeout(&clock, "total", SEC))
        .add(breaker.clone())
        .build()
        .unwrap();
    for _ in 0..5 {
        let answer = drop_after(&clock, 1, pipeline.call(|| service.answer()));
        assert_eq!(answer, None);
    }
    let status = breaker.status();
    assert_eq!((status.state, status.failure_count), (CircuitState::Closed, 0));
    assert_eq!((status.totals.cancelled, status.totals.failures), (5, 0));
}

/// policies.md §4 rule 83: the deadline's reason reaches through a retry, and through a pipeline.
#[test]
fn the_outer_deadline_blames_the_attempt_it_ends_through_all_layers_between() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [fails("reset"), hangs()]);
    let breaker = breaker(&clock).build().unwrap();
    let inner = Pipeline::builder("inner")
        .allow(OrderRule::NoTimeoutInsideBreaker)
        .idempotent()
        .add(retry(&clock).build().unwrap())
        .add(breaker.clone())
        .build()
        .unwrap();
    let outer = timeout(&clock, "total", 10 * SEC);
    let call = || async { inner.call(|| service.answer()).await };
    let answer = run(&clock, outer.call(call));
    let Err(surefoot::Error::Timeout { policy, last: Some(last), .. }) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(policy, "total");
    assert_eq!(last.operation().and_then(Error::operation), Some(&"reset"));
    let totals = breaker.status().totals;
    assert_eq!((totals.failures, totals.cancelled), (2, 0));
}

/// policies.md §4 rule 50.
#[test]
fn a_value_in_time_is_returned_and_the_timer_is_gone() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200).after(SEC)]);
        let limit = timeout(&clock, "limit", 2 * SEC);
        assert_eq!(call!(host, clock, limit, service), Ok(200), "{host:?}");
        assert_eq!(clock.waiting(), 0, "{host:?}");
    }
}

/// policies.md §4 rule 50: nothing to wait for, nothing armed.
#[test]
fn a_call_that_answers_at_once_arms_no_timer() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [gives(200)]);
    let limit = timeout(&clock, "limit", SEC);
    let mut task = Task::new(limit.call(|| service.answer()));
    assert_eq!(task.poll(), Poll::Ready(Ok(200)));
    assert_eq!(clock.waiting(), 0);
}

/// policies.md §4 rule 54.
#[test]
fn a_timeout_does_not_interrupt_what_comes_after_the_call() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [fails("down")]);
    let limit = timeout(&clock, "limit", 100 * MS);
    let answer = run(&clock, async {
        match limit.call(|| service.answer()).await {
            Err(Error::Operation("down")) => {
                assert_eq!(told_here(), (1, None));
                clock.sleep_until(Timestamp::ZERO + SEC).await; // a slow fallback
                Ok(304)
            }
            answer => answer,
        }
    });
    assert_eq!(answer, Ok(304));
    assert_eq!(clock.now_ms(), 1000);
}

/// DESIGN §3: a failure seen after the deadline is `Timeout` with the last error inside.
#[test]
fn a_failure_seen_after_the_deadline_is_a_timeout_with_the_failure_inside() {
    for host in Host::BOTH {
        for late in [SEC, SEC + MS] {
            let clock = ManualClock::new();
            // The async one is ready together with the deadline's timer, or behind it.
            let service = Service::new(&clock, [fails("late").after(late)]);
            let limit = timeout(&clock, "limit", SEC);
            let answer = match host {
                Host::Async => {
                    let mut task = Task::new(limit.call(|| service.answer()));
                    assert!(task.poll().is_pending());
                    clock.advance(late);
                    let Poll::Ready(answer) = task.poll() else { panic!("still running") };
                    answer
                }
                Host::Blocking => call!(host, clock, limit, service),
            };
            let last = Some(Error::Operation("late"));
            assert_eq!(answer, Err(timed_out("limit", SEC, last)), "{host:?}, {late:?}");
        }
    }
}

/// DESIGN §3: a success that got through is returned.
#[test]
fn a_success_that_got_through_after_the_deadline_is_returned() {
    for host in Host::BOTH {
        for late in [SEC, SEC + MS] {
            let clock = ManualClock::new();
            let service = Service::new(&clock, [gives(200).after(late)]);
            let breaker = breaker(&clock).failure_threshold(1).build().unwrap();
            let pipeline = Pipeline::builder("api")
                .add(breaker.clone())
                .add(timeout(&clock, "limit", SEC))
                .build()
                .unwrap();
            let answer = match host {
                Host::Async => {
                    let mut task = Task::new(pipeline.call(|| service.answer()));
                    assert!(task.poll().is_pending());
                    clock.advance(late);
                    let Poll::Ready(answer) = task.poll() else { panic!("still running") };
                    answer
                }
                Host::Blocking => call!(host, clock, pipeline, service),
            };
            assert_eq!(answer, Ok(200), "{host:?}, {late:?}");
            assert_eq!(breaker.status().success_count, 1, "{host:?}, {late:?}");
        }
    }
}

#[test]
fn a_call_that_hangs_ends_exactly_at_the_limit() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [hangs()]);
    let limit = timeout(&clock, "limit", SEC);
    let mut task = Task::new(limit.call(|| service.answer()));
    assert!(task.poll().is_pending());
    clock.advance(Duration::from_nanos(999_999_999));
    assert!(!task.is_woken());
    assert!(task.poll().is_pending());
    clock.advance(Duration::from_nanos(1));
    assert!(task.is_woken());
    assert_eq!(task.poll(), Poll::Ready(Err(timed_out("limit", SEC, None))));
}

/// policies.md §3, deadline × retries: the inner deadline never outlives the outer, and whichever
/// passed reports.
#[test]
fn the_earlier_of_two_nested_deadlines_ends_the_call_and_reports() {
    for (outer, inner) in [(5, 60), (60, 5), (5, 5)] {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [hangs()]);
        let outer_pipeline =
            Pipeline::builder("outer").add(timeout(&clock, "outer", outer * SEC)).build().unwrap();
        let breaker = breaker(&clock).build().unwrap();
        let inner_pipeline = Pipeline::builder("inner")
            .add(breaker.clone())
            .add(timeout(&clock, "inner", inner * SEC))
            .build()
            .unwrap();
        let seen = Mutex::new(None);
        let answer = run(
            &clock,
            outer_pipeline.call(|| async {
                let answer = inner_pipeline
                    .call(|| async {
                        *seen.lock().unwrap() = told_here().1;
                        service.answer().await
                    })
                    .await;
                Ok::<_, &str>(answer)
            }),
        );
        let earlier = outer.min(inner);
        assert_eq!(clock.now_ms(), u128::from(earlier) * 1000, "{outer} around {inner}");
        assert_eq!(*seen.lock().unwrap(), Some(earlier * SEC), "{outer} around {inner}");
        match answer {
            Err(error) => assert!(outer < inner, "{outer} around {inner}: {error:?}"),
            Ok(answer) => {
                assert!(inner <= outer, "{outer} around {inner}");
                assert_eq!(answer, Err(timed_out("inner", inner * SEC, None)));
            }
        }
        let totals = breaker.status().totals;
        assert_eq!((totals.failures, totals.cancelled), (1, 0), "{outer} around {inner}");
    }
}

type Flight<'a> = Pin<Box<dyn Future<Output = Result<u16, Error>> + Send + 'a>>;

/// A future that began under one deadline and goes on outside it (a shared flight, whose first
/// waiter left) still has its own limit.
#[test]
fn a_call_carried_out_of_the_deadline_it_began_under_keeps_its_own_limit() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [hangs()]);
    let outer = timeout(&clock, "outer", 5 * SEC);
    let inner = timeout(&clock, "inner", 60 * SEC);
    let flight: Mutex<Flight> = Mutex::new(Box::pin(inner.call(|| service.answer())));
    let first = outer.call(|| {
        std::future::poll_fn(|cx| flight.lock().unwrap().as_mut().poll(cx).map(Ok::<_, &str>))
    });
    assert!(run(&clock, first).is_err(), "the first waiter's time is up");
    let mut second = Task::new(flight.into_inner().unwrap());
    assert!(second.poll().is_pending());
    clock.advance(60 * SEC);
    assert_eq!(second.poll(), Poll::Ready(Err(timed_out("inner", 60 * SEC, None))));
}
