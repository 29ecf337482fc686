//! Trying again: budgets, rejections, discarded results, and retries inside retries.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use surefoot::{
    CircuitState, Classification, Event, ManualClock, OpenReason, OrderRule, Pipeline, Rejection,
    Retry, RetryBudget, StopReason,
};

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

// ---- budgets -----------------------------------------------------------------------------------

/// policies.md §4 rule 47; §2 trap k.
#[test]
fn a_retry_the_budget_denies_returns_the_last_error_without_a_wait() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let budget = RetryBudget::builder().initial(1).ratio(0.0).clock(&clock).build().unwrap();
        let service = Service::new(&clock, [fails("first"), fails("second"), gives(200)]);
        let retry = retry(&clock).budget(budget.clone()).build().unwrap();
        let (last, stop, attempts) = exhausted(call!(host, clock, retry, service));
        assert_eq!((last, stop, attempts), (Error::Operation("second"), StopReason::Budget, 2));
        assert_eq!((clock.now_ms(), budget.balance()), (1000, 0), "{host:?}: one wait");
    }
}

/// policies.md §4 rule 47: 20 % of the calls, whatever the number of attempts.
#[test]
fn when_everything_fails_a_fifth_of_the_calls_is_retried() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let day = 86_400 * SEC;
        let budget =
            RetryBudget::builder().initial(0).refill_every(day).clock(&clock).build().unwrap();
        let service = Service::new(&clock, [fails("down")]);
        let retry = retry(&clock).budget(budget).build().unwrap();
        for _ in 0..100 {
            assert!(call!(host, clock, retry, service).is_err());
        }
        assert_eq!(service.calls(), 120, "{host:?}");
    }
}

/// policies.md §4 rule 47: the token is taken before the wait, and given back if the wait is cut.
#[test]
fn a_token_whose_wait_is_cancelled_is_given_back() {
    let clock = ManualClock::new();
    let budget = RetryBudget::builder().initial(3).ratio(0.0).clock(&clock).build().unwrap();
    let service = Service::new(&clock, [fails("down")]);
    let retry = retry(&clock).budget(budget.clone()).build().unwrap();
    let mut tasks: Vec<_> = (0..3).map(|_| Task::new(retry.call(|| service.answer()))).collect();
    assert!(tasks.iter_mut().all(|task| task.poll().is_pending()));
    assert_eq!(budget.balance(), 0);
    let (_, stop, attempts) = exhausted(run(&clock, retry.call(|| service.answer())));
    assert_eq!((stop, attempts), (StopReason::Budget, 1), "waiting retries hold their tokens");
    tasks.clear();
    assert_eq!(budget.balance(), 3);
}

/// A budget is shared by all that hold it.
#[test]
fn retries_to_one_destination_share_one_budget() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let budget = RetryBudget::builder().initial(1).ratio(0.0).clock(&clock).build().unwrap();
        let one = retry(&clock).max_attempts(2).budget(budget.clone()).build().unwrap();
        let other = retry(&clock).max_attempts(2).budget(budget).build().unwrap();
        let service = Service::new(&clock, [fails("down")]);
        assert_eq!(exhausted(call!(host, clock, one, service)).1, StopReason::Attempts);
        assert_eq!(exhausted(call!(host, clock, other, service)).1, StopReason::Budget);
    }
}

/// DESIGN §4 Retry: on by default wherever Surefoot composes the pipeline itself.
#[test]
fn a_retry_in_a_pipeline_has_a_budget_of_ten_and_a_bare_one_has_none() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let many = || retry(&clock).max_attempts(50).initial_delay(MS).build().unwrap();
        let service = Service::new(&clock, [fails("down")]);

        let bare = many();
        assert!(bare.budget().is_none());
        assert_eq!(exhausted(call!(host, clock, bare, service)).2, 50, "{host:?}");

        let pipeline = Pipeline::builder("api").idempotent().add(many()).build().unwrap();
        let (_, stop, attempts) = exhausted(call!(host, clock, pipeline, service));
        assert_eq!((stop, attempts), (StopReason::Budget, 11), "{host:?}");
    }
}

#[test]
fn a_pipeline_keeps_the_budget_a_retry_was_given() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let many = retry(&clock).max_attempts(50).initial_delay(MS);
        let retry = many.budget(RetryBudget::unlimited()).build().unwrap();
        let service = Service::new(&clock, [fails("down")]);
        let pipeline = Pipeline::builder("api").idempotent().add(retry).build().unwrap();
        let (_, stop, attempts) = exhausted(call!(host, clock, pipeline, service));
        assert_eq!((stop, attempts), (StopReason::Attempts, 50), "{host:?}");
    }
}

/// "Clones are handles to the same one": what the pipeline does is seen by who kept a handle.
#[test]
fn a_handle_kept_outside_a_pipeline_counts_what_the_pipeline_retries() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let kept = retry(&clock).build().unwrap();
        let log = Log::of(kept.events());
        let pipeline = Pipeline::builder("api").idempotent().add(kept.clone()).build().unwrap();
        let service = Service::new(&clock, [fails("down"), gives(200)]);
        assert_eq!(call!(host, clock, pipeline, service), Ok(200));
        assert_eq!(log.events().len(), 1, "{host:?}");
        assert_eq!(kept.retries(), 1, "{host:?}");
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

/// policies.md §4 rule 68; §5 trap 1.
#[test]
fn a_retry_over_a_breaker_stops_at_the_first_rejection() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [fails("down")]);
        let breaker = breaker(&clock).failure_threshold(3).timeout(120 * SEC).build().unwrap();
        let pipeline = Pipeline::builder("api")
            .idempotent()
            .add(retry(&clock).max_attempts(7).build().unwrap())
            .add(breaker.clone())
            .add(timeout(&clock, "attempt", 5 * SEC))
            .build()
            .unwrap();
        let answer = call!(host, clock, pipeline, service);
        let Err(error) = &answer else { panic!("{host:?}: {answer:?}") };
        assert_eq!(error.retry_after(), Some(119 * SEC), "{host:?}: and says when to come back");
        assert!(error.rejection().is_some(), "{host:?}");
        let (last, stop, attempts) = exhausted(answer);
        assert_eq!(last, Error::Operation("down"), "{host:?}: what the service said is kept");
        assert_eq!((stop, attempts), (StopReason::Rejected, 4), "{host:?}");
        assert_eq!(service.calls(), 3, "{host:?}");
        let totals = breaker.status().totals;
        assert_eq!((totals.rejected, totals.failures), (1, 3), "{host:?}");
    }
}

/// policies.md §4 rules 68 and 71: unless its `retry_after` fits.
#[test]
fn a_retry_waits_for_an_open_breaker_if_the_wait_fits() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [fails("down"), fails("down"), gives(200)]);
        let breaker = breaker(&clock).failure_threshold(2).timeout(10 * SEC).build().unwrap();
        let pipeline = Pipeline::builder("api")
            .idempotent()
            .add(retry(&clock).max_attempts(7).build().unwrap())
            .add(breaker.clone())
            .add(timeout(&clock, "attempt", 5 * SEC))
            .build()
            .unwrap();
        assert_eq!(call!(host, clock, pipeline, service), Ok(200), "{host:?}");
        // Tripped at 1 s, rejected at 2 s, admitted as a trial call exactly at 11 s.
        assert_eq!(service.started(), [ZERO, SEC, 11 * SEC], "{host:?}");
        assert_eq!(breaker.status().totals.rejected, 1, "{host:?}");
        assert_eq!(breaker.state(), CircuitState::HalfOpen, "{host:?}");
    }
}

/// What the service said is kept through refusals, also where a deadline ends the wait after one;
/// once the service has spoken again, the refusals are history.
#[test]
fn refusals_between_attempts_do_not_hide_what_the_service_said() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [fails("first"), fails("second")]);
    let breaker = breaker(&clock).failure_threshold(1).timeout(10 * SEC).build().unwrap();
    let patient = retry(&clock).max_attempts(3).min_attempt_time(SEC).build().unwrap();
    let pipeline = |limit| {
        Pipeline::builder("api")
            .idempotent()
            .add(timeout(&clock, "total", limit))
            .add(patient.clone())
            .add(breaker.clone())
            .allow(OrderRule::NoTimeoutInsideBreaker)
            .build()
            .unwrap()
    };
    // Failed at 0 s, refused at 1 s, to be tried again at 10 s, which is too late for this caller.
    let error = run(&clock, pipeline(10 * SEC).call(|| service.answer())).unwrap_err();
    assert_eq!(error.operation(), Some(&"first"));
    let Error::Exhausted { refusal: Some(refusal), stop, retry_after, .. } = error else {
        panic!("{error:?}")
    };
    assert!(refusal.rejection().is_some(), "{refusal:?}");
    assert_eq!((stop, retry_after), (StopReason::Time, Some(9 * SEC)));
    breaker.reset();
    // The same, and the trial call at 11 s fails; nothing has been refused since.
    let service = Service::new(&clock, [fails("first"), fails("second")]);
    let error = run(&clock, pipeline(60 * SEC).call(|| service.answer())).unwrap_err();
    assert_eq!(error.operation(), Some(&"second"));
    assert!(matches!(error, Error::Exhausted { refusal: None, attempts: 3, .. }), "{error:?}");
}

/// policies.md §4 rule 71; §3, permanent errors: own rejections are never recorded.
#[test]
fn a_breaker_never_counts_the_rejections_of_a_policy_inside() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let inner = breaker(&clock).build().unwrap();
        inner.force_open();
        let outer = breaker(&clock).failure_threshold(1).build().unwrap();
        let pipeline = Pipeline::builder("api")
            .add(outer.clone())
            .add(inner.clone())
            .add(timeout(&clock, "attempt", 5 * SEC))
            .build()
            .unwrap();
        let answer = call!(host, clock, pipeline, service);
        assert!(matches!(answer, Err(Error::Rejected(_))), "{host:?}: {answer:?}");
        let totals = outer.status().totals;
        assert_eq!((totals.ignored, totals.failures), (1, 0), "{host:?}");
        assert_eq!(outer.state(), CircuitState::Closed, "{host:?}");
        assert_eq!(inner.status().totals.failures, 0, "{host:?}");
    }
}

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

/// DESIGN §3: before anything was dispatched, a rejection is a rejection.
#[test]
fn before_any_attempt_was_dispatched_a_rejection_comes_back_bare() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let breaker = breaker(&clock).build().unwrap();
        breaker.force_open();
        let pipeline = Pipeline::builder("api")
            .idempotent()
            .add(retry(&clock).build().unwrap())
            .add(breaker)
            .add(timeout(&clock, "attempt", 5 * SEC))
            .build()
            .unwrap();
        let answer = call!(host, clock, pipeline, service);
        let rejection = Rejection::CircuitOpen {
            policy: "api".into(),
            reason: OpenReason::Forced,
            retry_after: None,
        };
        assert_eq!(answer, Err(Error::Rejected(rejection)), "{host:?}");
    }
}

/// DESIGN §3: the same after several rejections, for still nothing was dispatched.
#[test]
fn several_rejections_in_a_row_are_still_a_bare_rejection() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let breaker = about_to_try(&clock, breaker(&clock).half_open_max_calls(1));
        let _hung = breaker.admit().unwrap();
        let operator = breaker.clone();
        let retry = retry(&clock).on_retry(move |_, _| operator.force_open()).build().unwrap();
        let pipeline = Pipeline::builder("api")
            .idempotent()
            .add(retry.clone())
            .add(breaker.clone())
            .add(timeout(&clock, "attempt", 500 * MS))
            .build()
            .unwrap();
        let answer = call!(host, clock, pipeline, service);
        let rejection = Rejection::CircuitOpen {
            policy: "api".into(),
            reason: OpenReason::Forced,
            retry_after: None,
        };
        assert_eq!(answer, Err(Error::Rejected(rejection)), "{host:?}");
        assert_eq!(breaker.status().totals.rejected, 2, "{host:?}");
        assert_eq!(service.calls(), 0, "{host:?}");
    }
}

/// DESIGN §3: once any attempt was dispatched, retry never answers with a bare `Rejected`.
#[test]
fn once_an_attempt_was_dispatched_a_rejection_comes_back_inside_exhausted() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [fails("down")]);
        let breaker = breaker(&clock).failure_threshold(1).timeout(3600 * SEC).build().unwrap();
        let pipeline = Pipeline::builder("api")
            .idempotent()
            .add(retry(&clock).build().unwrap())
            .add(breaker)
            .add(timeout(&clock, "attempt", 5 * SEC))
            .build()
            .unwrap();
        let answer = call!(host, clock, pipeline, service);
        let Err(error) = &answer else { panic!("{host:?}: {answer:?}") };
        assert!(!error.is_undispatched(), "{host:?}");
        let Error::Exhausted { refusal: Some(refusal), .. } = error else { panic!("{error:?}") };
        assert!(matches!(**refusal, Error::Rejected(_)), "{host:?}: {refusal:?}");
        let (last, stop, attempts) = exhausted(answer);
        assert_eq!(last, Error::Operation("down"), "{host:?}");
        assert_eq!((stop, attempts), (StopReason::Rejected, 2), "{host:?}");
    }
}

// ---- retries in retries ------------------------------------------------------------------------

/// policies.md §3, retry amplification; §5 trap 9.
#[test]
fn a_retry_inside_a_retry_is_reported_once_and_by_the_inner_one() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [fails("down")]);
        let outer = retry(&clock).name("outer").max_attempts(3).build().unwrap();
        let inner = retry(&clock).name("inner").max_attempts(3).build().unwrap();
        let (outer_log, inner_log) = (Log::of(outer.events()), Log::of(inner.events()));
        for _ in 0..2 {
            let answer = match host {
                Host::Async => {
                    let call = || async { inner.call(|| service.answer()).await };
                    run(&clock, outer.call(call)).map_err(drop)
                }
                Host::Blocking => block(&clock, || {
                    let call = |_: &surefoot::Attempt| {
                        inner.call_blocking(|attempt| service.answer_blocking(attempt))
                    };
                    outer.call_blocking(call).map_err(drop)
                }),
            };
            assert_eq!(answer, Err(()), "{host:?}");
        }
        assert_eq!(service.calls(), 2 * 9, "{host:?}: they do multiply");
        let nested = |event: &Event| matches!(event, Event::NestedRetry { .. });
        assert_eq!(inner_log.count(nested), 1, "{host:?}: once, not once per call");
        assert_eq!(outer_log.count(nested), 0, "{host:?}");
        let told = inner_log.events().into_iter().find(nested).unwrap();
        assert_eq!(told, Event::NestedRetry { policy: "inner".into() });
    }
}

/// The same across two pipelines, whose own order checks cannot see it.
#[test]
fn nesting_across_pipelines_is_noticed() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let inner_retry = retry(&clock).build().unwrap();
        let log = Log::of(inner_retry.events());
        let pipeline = |retry: Retry| {
            Pipeline::builder("p")
                .idempotent()
                .add(timeout(&clock, "total", 60 * SEC))
                .add(retry)
                .build()
                .unwrap()
        };
        let inner = pipeline(inner_retry);
        let outer = pipeline(retry(&clock).build().unwrap());
        let answer = match host {
            Host::Async => {
                let call = || async { inner.call(|| service.answer()).await };
                run(&clock, outer.call(call)).map_err(drop)
            }
            Host::Blocking => block(&clock, || {
                let call = |_: &surefoot::Attempt| {
                    inner.call_blocking(|attempt| service.answer_blocking(attempt))
                };
                outer.call_blocking(call).map_err(drop)
            }),
        };
        assert_eq!(answer, Ok(200));
        assert_eq!(log.events(), [Event::NestedRetry { policy: "retry".into() }], "{host:?}");
    }
}

/// A call that reaches the inner retry only later is noticed too, once attempts multiply: when the
/// outer one tries again. Each retry counts its own attempts.
#[test]
fn nesting_that_comes_up_later_is_noticed_when_attempts_multiply() {
    let clock = ManualClock::new();
    let outer = retry(&clock).name("outer").max_attempts(2).build().unwrap();
    let inner = retry(&clock).name("inner").max_attempts(2).build().unwrap();
    let log = Log::of(inner.events());
    let nested = |event: &Event| matches!(event, Event::NestedRetry { .. });
    let numbers = Mutex::new(Vec::new());
    let attempt = |answer: Result<u16, &'static str>| {
        numbers.lock().unwrap().push(surefoot::Attempt::current().number());
        answer
    };

    assert_eq!(run(&clock, outer.call(|| async { attempt(Ok(200)) })), Ok(200));
    assert_eq!(run(&clock, inner.call(|| async { attempt(Ok(200)) })), Ok(200));
    let call = |answer| {
        let (inner, attempt) = (&inner, &attempt);
        run(&clock, outer.call(|| async move { inner.call(|| async { attempt(answer) }).await }))
    };
    assert!(call(Ok(200)).is_ok());
    assert_eq!(log.count(nested), 0, "nothing was tried again");
    assert!(call(Err("down")).is_err());
    assert_eq!(log.count(nested), 1);
    assert_eq!(*numbers.lock().unwrap(), [1, 1, 1, 1, 2, 1, 2]);
}

/// policies.md §4 rule 43: what the inner retry knows to be beyond mending, the outer one does not
/// try again.
#[test]
fn a_permanent_error_stops_both_of_two_nested_retries() {
    for host in Host::BOTH {
        for (retryable, calls) in [(false, 1), (true, 9)] {
            let clock = ManualClock::new();
            let service = Service::new(&clock, [fails("down")]);
            let pipeline = Pipeline::builder("p")
                .allow(OrderRule::RetryInsideRetry)
                .idempotent()
                .classify(move |result: Result<&u16, &&'static str>| match result {
                    Ok(_) => Classification::SUCCESS,
                    Err(_) if retryable => Classification::TRANSIENT,
                    Err(_) => Classification::PERMANENT,
                })
                .add(retry(&clock).name("outer").max_attempts(3).build().unwrap())
                .add(retry(&clock).name("inner").max_attempts(3).build().unwrap())
                .build()
                .unwrap();
            assert!(call!(host, clock, pipeline, service).is_err());
            assert_eq!(service.calls(), calls, "{host:?}, retryable: {retryable}");
        }
    }
}

#[test]
fn retries_one_after_the_other_are_not_nested() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let retry = retry(&clock).build().unwrap();
        let log = Log::of(retry.events());
        for _ in 0..3 {
            assert_eq!(call!(host, clock, retry, service), Ok(200));
        }
        assert_eq!(log.events(), [], "{host:?}");
    }
}
