//! What limiters learn from answers: pauses for all, what is left, and what is final.

use surefoot::rate_limiter::{ServerBudget, ServerLimits};
use surefoot::{CircuitState, limits_from};
use surefoot::{Classification, DefaultClassifier, Limiter, ManualClock, Pipeline, Rejection};

use super::limiter;
use crate::support::*;

/// A 429 with `Retry-After: 30`, one without, and an account that is spent.
fn judge(result: Result<&u16, &&'static str>) -> Classification {
    match result {
        Ok(_) => Classification::SUCCESS,
        Err(&"busy") => Classification::throttled(Some(30 * SEC)),
        Err(&"busier") => Classification::throttled(None),
        Err(&"spent") => Classification::PERMANENT,
        Err(_) => Classification::TRANSIENT,
    }
}

/// Polls every task that is woken, and moves time when none is; the answers, in order.
fn answers<F: Future>(clock: &ManualClock, tasks: Vec<F>) -> Vec<(u128, F::Output)> {
    let mut tasks: Vec<_> = tasks.into_iter().map(|task| Some(Task::new(task))).collect();
    let mut answers: Vec<Option<_>> = tasks.iter().map(|_| None).collect();
    while tasks.iter().any(Option::is_some) {
        for (task, answer) in tasks.iter_mut().zip(&mut answers) {
            let Some(waits) = task else { continue };
            if waits.is_woken()
                && let std::task::Poll::Ready(output) = waits.poll()
            {
                *answer = Some((clock.now_ms(), output));
                *task = None;
            }
        }
        let woken = tasks.iter().flatten().any(Task::is_woken);
        assert!(woken || tasks.iter().all(Option::is_none) || clock.advance_to_next_waiter());
    }
    answers.into_iter().flatten().collect()
}

use std::future::Future;

#[test]
fn a_429_holds_up_everybody_in_line_so_that_only_one_collects_it() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [gives(200), fails("busy").after(SEC), gives(200)]);
    let limiter = limiter(&clock, 2, 10 * SEC).max_wait(100 * SEC).build().unwrap();
    let learning = limiter.learning().classify(judge);
    let calls = (0..6).map(|_| learning.call(|| service.answer())).collect();
    let answers = answers(&clock, calls);
    let refused = answers.iter().filter(|(_, answer)| answer.is_err()).count();
    assert_eq!(refused, 1);
    // The pause ends 30 s after the answer that asked for it; then as the limit admits them.
    assert_eq!(service.started(), [0, 0, 31, 31, 41, 41].map(|seconds| SEC * seconds));
}

#[test]
fn without_learning_each_of_them_collects_its_own() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [gives(200), fails("busy")]);
    let limiter = limiter(&clock, 2, 10 * SEC).max_wait(100 * SEC).build().unwrap();
    let plain = limiter.classify(judge);
    let calls = (0..6).map(|_| plain.call(|| service.answer())).collect();
    let answers = answers(&clock, calls);
    assert_eq!(answers.iter().filter(|(_, answer)| answer.is_err()).count(), 5);
}

#[test]
fn who_cannot_wait_until_the_pause_is_over_is_refused_when_it_begins() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [fails("busy").after(SEC), gives(200)]);
    let limiter = limiter(&clock, 1, 10 * SEC).max_wait(10 * SEC).build().unwrap();
    let learning = limiter.learning().classify(judge);
    let calls = (0..2).map(|_| learning.call(|| service.answer())).collect();
    let answers = answers(&clock, calls);
    let expected = Rejection::Throttled { policy: "search".into(), retry_after: 30 * SEC };
    assert_eq!(answers[1], (1_000, Err(Error::Rejected(expected))));
    assert_eq!((service.calls(), limiter.totals().rejected), (1, 1));
}

#[test]
fn a_pause_is_kept_in_either_host_and_by_each_key_alone() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [fails("busy"), gives(200)]);
        let builder = limiter(&clock, 100, 10 * SEC).max_wait(100 * SEC);
        let keyed = builder.build_keyed::<u8>().unwrap();
        let (one, other) = (keyed.key(1).learning(), keyed.key(2).learning());
        let (one, other) = (one.classify(judge), other.classify(judge));
        assert_eq!(call!(host, clock, one, service), Err(Error::Operation("busy")));
        assert_eq!(call!(host, clock, other, service), Ok(200));
        assert_eq!(call!(host, clock, one, service), Ok(200));
        assert_eq!(service.started(), [0, 0, 30].map(|seconds| SEC * seconds), "{host:?}");
    }
}

#[test]
fn a_refusal_that_states_no_time_holds_calls_up_for_a_second_or_as_chosen() {
    for (pause, second) in [(None, 1), (Some(ZERO), 0), (Some(7 * SEC), 7)] {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [fails("busier"), gives(200)]);
        let learning = limiter(&clock, 9, 10 * SEC).build().unwrap().learning();
        let learning = match pause {
            Some(pause) => learning.unstated_pause(pause),
            None => learning,
        };
        let learning = learning.classify(judge);
        assert!(call!(Host::Async, clock, learning, service).is_err());
        assert_eq!(call!(Host::Async, clock, learning, service), Ok(200));
        assert_eq!(service.started(), [ZERO, SEC * second]);
    }
}

#[test]
fn a_spent_quota_is_final_and_holds_nobody_up() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [fails("spent")]);
        let limiter = limiter(&clock, 9, 10 * SEC).build().unwrap();
        let read = |result: Result<&u16, &&'static str>| ServerLimits {
            quota_spent: result.is_err(),
            ..ServerLimits::default()
        };
        let pipeline = Pipeline::builder("model")
            .idempotent()
            .add(retry(&clock).build().unwrap())
            .add(limiter.learning())
            .build()
            .unwrap();
        let model = pipeline.classify_with(limits_from(judge, read));
        let answer = call!(host, clock, model, service);
        assert!(matches!(answer, Err(Error::Exhausted { attempts: 1, .. })), "{answer:?}");
        assert!(call!(host, clock, model, service).is_err());
        assert_eq!((clock.now_ms(), service.calls()), (0, 2), "{host:?}");
    }
}

#[test]
fn what_a_server_has_left_is_all_there_is() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [gives(3)]);
    let limiter = limiter(&clock, 9, 10 * SEC).build().unwrap();
    // Each answer says how many calls are left; a refusal says nothing.
    let read = |result: Result<&u16, &&'static str>| {
        let remaining = result.ok().map(|left| u64::from(*left));
        let budgets = vec![ServerBudget { remaining, ..ServerBudget::of("calls") }];
        ServerLimits { budgets, ..ServerLimits::default() }
    };
    let of_others = limiter.learning().classify_with(limits_from(DefaultClassifier, read));
    assert_eq!(call!(Host::Async, clock, of_others, service), Ok(3));
    assert_eq!(limiter.remaining(), 8, "it counts requests, and was told of calls");
    let learning = limiter.learning().unit("calls");
    let learning = learning.classify_with(limits_from(DefaultClassifier, read));
    assert_eq!(call!(Host::Blocking, clock, learning, service), Ok(3));
    assert_eq!(limiter.remaining(), 3);
}

#[test]
fn a_breaker_inside_leaves_the_pause_to_the_limiter() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [fails("busy"), gives(200)]);
        let breaker = breaker(&clock).failure_threshold(1).build().unwrap();
        let limiter = limiter(&clock, 9, 10 * SEC).max_wait(100 * SEC).build().unwrap();
        let model = Pipeline::builder("model").add(limiter.learning()).add(breaker.clone());
        let model = model.add(timeout(&clock, "attempt", SEC)).build().unwrap().classify(judge);
        assert!(call!(host, clock, model, service).is_err());
        let totals = breaker.status().totals;
        assert_eq!((totals.ignored, totals.throttled), (1, 0), "{host:?}");
        assert!(breaker.admit().is_ok(), "it holds nobody back");
        assert_eq!(call!(host, clock, model, service), Ok(200));
        assert_eq!(service.started(), [ZERO, 30 * SEC]);
        assert_eq!(breaker.state(), CircuitState::Closed);
    }
}

#[test]
fn without_a_limiter_that_learns_the_breaker_keeps_the_pause() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [fails("busy")]);
        let breaker = breaker(&clock).build().unwrap();
        let limiter = limiter(&clock, 9, 10 * SEC).build().unwrap();
        let model = Pipeline::builder("model").add(limiter.clone()).add(breaker.clone());
        let model = model.add(timeout(&clock, "attempt", SEC)).build().unwrap().classify(judge);
        assert!(call!(host, clock, model, service).is_err());
        assert!(matches!(breaker.admit(), Err(Rejection::Throttled { .. })), "{host:?}");
        assert_eq!(limiter.status().paused_for, ZERO);
    }
}

#[test]
fn a_call_that_is_dropped_teaches_nothing_and_leaves_no_trace() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [fails("busy").after(SEC)]);
    let limiter = limiter(&clock, 9, 10 * SEC).build().unwrap();
    let learning = limiter.learning().classify(judge);
    assert!(drop_after(&clock, 1, learning.call(|| service.answer())).is_none());
    assert_eq!((limiter.status().paused_for, service.running()), (ZERO, 0));
    assert_eq!(limiter.status().waiting, 0);

    // One that waits behind a pause and is dropped gives its slot back.
    limiter.pause_for(5 * SEC);
    assert!(drop_after(&clock, 1, learning.call(|| service.answer())).is_none());
    assert_eq!((limiter.status().waiting, limiter.current_rate()), (0, 1));
}

#[cfg(feature = "http")]
mod over_http {
    use http::{HeaderValue, Response, StatusCode};
    use surefoot::http::HttpClassifier;

    use super::*;

    fn answer(
        status: u16,
        headers: &[(&'static str, &'static str)],
        body: &str,
    ) -> Response<Vec<u8>> {
        let mut answer = Response::new(body.as_bytes().to_vec());
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        for (name, value) in headers {
            answer.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        answer
    }

    #[test]
    fn an_answers_headers_and_body_are_what_is_learned_from() {
        let clock = ManualClock::new();
        let limiter = limiter(&clock, 50, 60 * SEC).build().unwrap();
        let model = limiter.learning().classify_with(HttpClassifier::new());
        let ask = |status, headers: &'static [_], body: &'static str| {
            let sent =
                model.call(move || async move { Ok::<_, ()>(answer(status, headers, body)) });
            assert!(run(&clock, sent).is_ok());
        };
        ask(200, &[("x-ratelimit-remaining-requests", "7")], "");
        assert_eq!(limiter.remaining(), 7);
        ask(429, &[("retry-after", "20")], r#"{"error": {"code": "insufficient_quota"}}"#);
        assert_eq!((limiter.remaining(), limiter.status().paused_for), (6, ZERO));
        ask(529, &[("retry-after", "20")], r#"{"error": {"type": "overloaded_error"}}"#);
        assert_eq!(limiter.status().paused_for, ZERO, "that is about the provider, not the key");
        ask(429, &[("retry-after", "20")], r#"{"error": {"type": "rate_limit_error"}}"#);
        assert_eq!(limiter.status().paused_for, 20 * SEC);
    }
}
