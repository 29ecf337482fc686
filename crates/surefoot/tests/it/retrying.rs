//! Trying again: budgets, rejections, discarded results, and retries inside retries.

mod budget;
mod nesting;
mod refusals;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use surefoot::{CircuitState, Classification, Event, ManualClock, OrderRule, Pipeline, StopReason};

use crate::support::*;

fn exhausted(answer: Result<u16, Error>) -> (Error, StopReason, u32) {
    let Err(Error::Exhausted { last, stop, attempts, .. }) = answer else {
        panic!("did not give up: {answer:?}")
    };
    (*last, stop, attempts)
}

// ---- how often, how long -----------------------------------------------------------------------

/// policies.md §4 rule 37.
#[test]
fn max_attempts_counts_calls_and_the_last_error_comes_back() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [fails("first"), fails("second"), fails("third")]);
        let retry = retry(&clock).max_attempts(3).build().unwrap();
        let answer = call!(host, clock, retry, service);
        assert_eq!(
            answer,
            Err(Error::Exhausted {
                last: Box::new(Error::Operation("third")),
                refusal: None,
                stop: StopReason::Attempts,
                attempts: 3,
                elapsed: 2 * SEC,
                retry_after: None,
            }),
            "{host:?}"
        );
        assert_eq!(service.started(), [ZERO, SEC, 2 * SEC], "{host:?}");
        assert_eq!(retry.retries(), 2, "{host:?}");
    }
}

/// policies.md §4 rule 40.
#[test]
fn a_delay_of_zero_arms_no_timer() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [fails("down"), fails("down"), gives(200)]);
    let retry = retry(&clock).initial_delay(Duration::ZERO).build().unwrap();
    let mut task = Task::new(retry.call(|| service.answer()));
    assert_eq!(task.poll(), std::task::Poll::Ready(Ok(200)));
    assert_eq!((service.calls(), clock.waiting()), (3, 0));
}

/// policies.md §4 rule 44.
#[test]
fn no_attempt_starts_after_max_elapsed() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let slow = fails("slow").after(120 * MS);
        let service = Service::new(&clock, [fails("down"), slow]);
        let retry = retry(&clock).initial_delay(10 * MS).max_elapsed(100 * MS).build().unwrap();
        let (last, stop, attempts) = exhausted(call!(host, clock, retry, service));
        assert_eq!((last, stop, attempts), (Error::Operation("slow"), StopReason::Time, 2));
        assert_eq!(clock.now_ms(), 130, "{host:?}: no wait follows");
    }
}

/// policies.md §4 rule 46: no wait from the callee means the schedule; neither does a wait of
/// zero shorten it.
#[test]
fn without_a_stated_wait_the_schedule_holds() {
    for host in Host::BOTH {
        for asked in [None, Some(Duration::ZERO), Some(999 * MS)] {
            let clock = ManualClock::new();
            let service = Service::new(&clock, [fails("busy"), gives(200)]);
            let judged = retry(&clock).build().unwrap().classify(asking(asked));
            assert_eq!(call!(host, clock, judged, service), Ok(200), "{host:?}");
            assert_eq!(service.started(), [ZERO, SEC], "{host:?}, {asked:?}");
        }
    }
}

/// policies.md §4 rule 46: a wait longer than the time left is not begun.
#[test]
fn a_stated_wait_beyond_the_time_left_ends_the_retrying_at_once() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [fails("busy")]);
        let pipeline = Pipeline::builder("api")
            .idempotent()
            .classify(asking(Some(20 * SEC)))
            .add(timeout(&clock, "total", 10 * SEC))
            .add(retry(&clock).build().unwrap())
            .build()
            .unwrap();
        let (last, stop, _) = exhausted(call!(host, clock, pipeline, service));
        assert_eq!((last, stop), (Error::Operation("busy"), StopReason::Time), "{host:?}");
        assert_eq!((service.calls(), clock.now_ms()), (1, 0), "{host:?}");
    }
}

/// policies.md §4 rule 74; §2 trap j.
#[test]
fn a_stated_wait_beyond_the_cap_ends_the_retrying_and_is_handed_on() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [fails("busy")]);
        let hour = 3600 * SEC;
        let judged = retry(&clock).build().unwrap().classify(asking(Some(hour)));
        let answer = call!(host, clock, judged, service);
        let Err(error) = &answer else { panic!("{host:?}: {answer:?}") };
        assert_eq!(error.retry_after(), Some(hour), "{host:?}");
        assert_eq!(exhausted(answer).1, StopReason::WaitTooLong, "{host:?}");
        assert_eq!((service.calls(), clock.now_ms()), (1, 0), "{host:?}");
    }
}

/// policies.md §4 rule 73; §2 trap j: chance only ever adds to what the callee asked for.
#[test]
fn jitter_never_shortens_a_stated_wait() {
    for seed in 0..50 {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [fails("busy"), gives(200)]);
        let retry = retry(&clock).jitter(surefoot::Jitter::Full).seed(seed).build().unwrap();
        let judged = retry.classify(asking(Some(20 * SEC)));
        assert_eq!(run(&clock, judged.call(|| service.answer())), Ok(200));
        let second = service.started()[1];
        assert!((20 * SEC..=21 * SEC).contains(&second), "seed {seed}: {second:?}");
    }
}

/// Every error is transient and asks for a wait.
fn asking(
    wait: Option<Duration>,
) -> impl Fn(Result<&u16, &&'static str>) -> Classification + Send + Sync {
    move |result| match result {
        Ok(_) => Classification::SUCCESS,
        Err(_) => Classification::TRANSIENT.with_retry_after(wait),
    }
}

#[test]
fn listeners_hear_of_every_retry_and_of_the_end() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let told = Arc::new(Mutex::new(Vec::new()));
        let teller = told.clone();
        let retry = retry(&clock)
            .max_attempts(3)
            .linear_increment(SEC)
            .exponential_base(2.0)
            .on_retry(move |attempt, delay| teller.lock().unwrap().push((attempt, delay)))
            .build()
            .unwrap();
        let log = Log::of(retry.events());
        let service = Service::new(&clock, [fails("down")]);
        assert!(call!(host, clock, retry, service).is_err());
        assert_eq!(*told.lock().unwrap(), [(1, SEC), (2, 2 * SEC)], "{host:?}");
        assert!(
            matches!(
                log.events()[..],
                [
                    Event::RetryScheduled { attempt: 1, .. },
                    Event::RetryScheduled { attempt: 2, .. },
                    Event::RetryStopped { attempts: 3, stop: StopReason::Attempts, .. },
                ]
            ),
            "{host:?}: {:?}",
            log.events()
        );
    }
}

// ---- results that are not good enough ----------------------------------------------------------

/// A response that tells when it is closed.
#[derive(Clone)]
struct Response {
    status: u16,
    closed: Arc<AtomicUsize>,
    closes: bool,
}

impl Drop for Response {
    fn drop(&mut self) {
        if self.closes {
            self.closed.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// policies.md §4 rule 49; §2 adopt 16.
#[test]
fn a_discarded_result_is_closed_once_and_before_the_wait_the_returned_one_is_not() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let closed = Arc::new(AtomicUsize::new(0));
        let made = AtomicUsize::new(0);
        let make = || {
            let status = if made.fetch_add(1, Ordering::SeqCst) < 2 { 503 } else { 200 };
            Ok::<_, &str>(Response { status, closed: closed.clone(), closes: true })
        };
        let (witness, at_wait) = (closed.clone(), Arc::new(Mutex::new(Vec::new())));
        let seen = at_wait.clone();
        let retry = retry(&clock).build().unwrap();
        let judged = retry.classify(|result: Result<&Response, &&'static str>| match result {
            Ok(Response { status: 200, .. }) => Classification::SUCCESS,
            _ => Classification::TRANSIENT,
        });
        let answer = match host {
            Host::Async => {
                let mut task = Task::new(judged.call(|| async { make() }));
                loop {
                    match task.poll() {
                        std::task::Poll::Ready(answer) => break answer,
                        std::task::Poll::Pending => {
                            seen.lock().unwrap().push(witness.load(Ordering::SeqCst));
                            task.wait(&clock);
                        }
                    }
                }
            }
            Host::Blocking => std::thread::scope(|scope| {
                let call = scope.spawn(|| judged.call_blocking(|_| make()));
                for _ in 0..2 {
                    clock.wait_for_waiters(1);
                    seen.lock().unwrap().push(witness.load(Ordering::SeqCst));
                    clock.advance_to_next_waiter();
                }
                call.join().unwrap()
            }),
        };
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(*at_wait.lock().unwrap(), [1, 2], "{host:?}: closed before each wait");
        assert_eq!(closed.load(Ordering::SeqCst), 2, "{host:?}: the answer is open");
        drop(answer);
        assert_eq!(closed.load(Ordering::SeqCst), 3, "{host:?}: once each");
    }
}

/// policies.md §4 rule 49.
#[test]
fn when_attempts_run_out_the_last_result_is_the_answer() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [fails("down"), gives(503)]);
        let judged = retry(&clock).max_attempts(2).build().unwrap().classify(
            |result: Result<&u16, &&'static str>| match result {
                Ok(200) => Classification::SUCCESS,
                _ => Classification::TRANSIENT,
            },
        );
        assert_eq!(call!(host, clock, judged, service), Ok(503), "{host:?}");
    }
}

// ---- retry and breaker -------------------------------------------------------------------------

/// policies.md §4 rule 69.
#[test]
fn a_breaker_over_a_retry_sees_one_failure_for_each_request() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [fails("down")]);
        let breaker = breaker(&clock).build().unwrap();
        let pipeline = Pipeline::builder("api")
            .allow(OrderRule::BreakerOutsideRetry)
            .allow(OrderRule::NoTimeoutInsideBreaker)
            .idempotent()
            .add(breaker.clone())
            .add(retry(&clock).max_attempts(3).build().unwrap())
            .build()
            .unwrap();
        for request in 1..=3 {
            exhausted(call!(host, clock, pipeline, service));
            assert_eq!(breaker.status().totals.failures, request, "{host:?}");
        }
        assert_eq!(service.calls(), 9, "{host:?}");
    }
}

/// policies.md §4 rule 70.
#[test]
fn a_breaker_over_a_timeout_counts_timeouts_and_opens() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [hangs()]);
    let breaker = breaker(&clock).failure_threshold(2).build().unwrap();
    let pipeline = Pipeline::builder("api")
        .add(breaker.clone())
        .add(timeout(&clock, "attempt", SEC))
        .build()
        .unwrap();
    for _ in 0..2 {
        assert!(run(&clock, pipeline.call(|| service.answer())).is_err());
    }
    assert_eq!(breaker.state(), CircuitState::Open);
}

/// policies.md §4 rule 70, blocking: a failure that came late is a timeout, and one failure.
#[test]
fn a_breaker_over_a_blocking_timeout_counts_the_late_failure_once() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [fails("slow").after(2 * SEC)]);
    let breaker = breaker(&clock).build().unwrap();
    let pipeline = Pipeline::builder("api")
        .add(breaker.clone())
        .add(timeout(&clock, "attempt", SEC))
        .build()
        .unwrap();
    let answer = call!(Host::Blocking, clock, pipeline, service);
    assert!(matches!(answer, Err(Error::Timeout { .. })));
    assert_eq!(settled(breaker.status().totals), 1);
    assert_eq!(breaker.status().failure_count, 1);
}
