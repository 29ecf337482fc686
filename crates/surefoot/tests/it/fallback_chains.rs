//! Another answer when the first choice has none: which link gives it, and what is told of the rest.

mod last_good;
mod streams;

use std::panic::{AssertUnwindSafe, catch_unwind};

use surefoot::fallback::{Answer, FallbackError};
use surefoot::{
    CircuitBreaker, Classification, Event, Fallback, LastGood, ManualClock, Name, Pipeline,
    StopReason,
};

use crate::support::*;

type Given = Answer<u16, &'static str>;
type Outcome = Result<Given, FallbackError<&'static str>>;

fn answers() -> Fallback {
    Fallback::new("answers").unwrap()
}

fn given(value: u16, link: &'static str, failures: &[(&'static str, &'static str)]) -> Given {
    let failures = named(failures);
    Answer { value, link: link.into(), age: None, failures }
}

fn named(failures: &[(&'static str, &'static str)]) -> Vec<(Name, Error)> {
    failures.iter().map(|(link, error)| (Name::from(*link), Error::Operation(*error))).collect()
}

fn links_that_failed(log: &Log) -> Vec<Name> {
    let failed = |event| match event {
        Event::FellBack { policy, link } if policy == *"answers" => link,
        event => panic!("{event:?}"),
    };
    log.events().into_iter().map(failed).collect()
}

fn kept(clock: &ManualClock) -> LastGood<&'static str, u16> {
    LastGood::new(60 * SEC).unwrap().on_clock(clock)
}

/// The providers of a chain, each behind a breaker of its own.
struct Providers {
    clock: ManualClock,
    services: [Service; 3],
    breakers: [CircuitBreaker; 3],
}

impl Providers {
    fn new(steps: [Step; 3]) -> Self {
        let clock = ManualClock::new();
        let services = steps.map(|step| Service::new(&clock, [step]));
        let breakers = [(); 3].map(|()| breaker(&clock).build().unwrap());
        Self { clock, services, breakers }
    }

    fn ask(&self, host: Host, fallback: &Fallback) -> Outcome {
        let [a, b, c] = [0, 1, 2].map(|link| (&self.breakers[link], &self.services[link]));
        match host {
            Host::Async => {
                let chain = fallback
                    .first("a", || a.0.call(|| a.1.answer()))
                    .then("b", || b.0.call(|| b.1.answer()))
                    .then("c", || c.0.call(|| c.1.answer()));
                run(&self.clock, chain.call())
            }
            Host::Blocking => block(&self.clock, || {
                fallback
                    .first("a", || a.0.call_blocking(|attempt| a.1.answer_blocking(attempt)))
                    .then("b", || b.0.call_blocking(|attempt| b.1.answer_blocking(attempt)))
                    .then("c", || c.0.call_blocking(|attempt| c.1.answer_blocking(attempt)))
                    .call_blocking()
            }),
        }
    }

    fn calls(&self) -> [usize; 3] {
        [0, 1, 2].map(|link| self.services[link].calls())
    }
}

// ---- which link --------------------------------------------------------------------------------

#[test]
fn the_first_link_that_answers_gives_the_answer_and_says_so() {
    let expected: [(_, _, &[_]); 3] = [
        ([gives(1), gives(2), gives(3)], given(1, "a", &[]), &[]),
        ([fails("down"), gives(2), gives(3)], given(2, "b", &[("a", "down")]), &["a"]),
        (
            [fails("down"), fails("busy"), gives(3)],
            given(3, "c", &[("a", "down"), ("b", "busy")]),
            &["a", "b"],
        ),
    ];
    for host in Host::BOTH {
        for (steps, answer, failed) in &expected {
            let providers = Providers::new(*steps);
            let fallback = answers();
            let log = Log::of(fallback.events());
            assert_eq!(providers.ask(host, &fallback).as_ref(), Ok(answer), "{host:?}");
            assert_eq!(links_that_failed(&log), *failed, "{host:?}");
            let asked = [0, 1, 2].map(|link| usize::from(link <= failed.len()));
            assert_eq!(providers.calls(), asked, "{host:?}: nobody is asked needlessly");
        }
    }
}

/// policies.md §4 rule 67.
#[test]
fn when_no_link_answers_every_error_is_told_in_order() {
    for host in Host::BOTH {
        let providers = Providers::new([fails("down"), fails("busy"), fails("lost")]);
        let error = providers.ask(host, &answers()).unwrap_err();
        assert_eq!(error.link, *"c", "{host:?}");
        assert_eq!(error.last, Error::Operation("lost"), "{host:?}");
        assert_eq!(error.earlier, named(&[("a", "down"), ("b", "busy")]), "{host:?}");
        assert_eq!(
            error.to_string(),
            "`c` failed: lost; before that `b` failed: busy; before that `a` failed: down"
        );
        let all = named(&[("a", "down"), ("b", "busy"), ("c", "lost")]);
        assert_eq!(error.into_failures(), all, "{host:?}");
    }
}

#[test]
fn a_link_that_refuses_is_passed_over() {
    for host in Host::BOTH {
        let providers = Providers::new([gives(1), gives(2), gives(3)]);
        providers.breakers[0].force_open();
        let answer = providers.ask(host, &answers()).unwrap();
        assert_eq!((answer.value, answer.link.as_str()), (2, "b"), "{host:?}");
        assert!(matches!(&answer.failures[..], [(_, Error::Rejected(_))]), "{host:?}");
        assert_eq!(providers.calls(), [0, 1, 0], "{host:?}");
    }
}

fn bad_request_is_permanent(result: Result<&u16, &&'static str>) -> Classification {
    match result {
        Ok(_) => Classification::SUCCESS,
        Err(&"bad request") => Classification::PERMANENT,
        Err(_) => Classification::TRANSIENT,
    }
}

/// Another provider would refuse a bad request too.
#[test]
fn what_trying_again_cannot_mend_ends_the_chain() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let (first, second) =
            (Service::new(&clock, [fails("bad request")]), Service::new(&clock, [gives(2)]));
        let retry = retry(&clock).build().unwrap().classify(bad_request_is_permanent);
        let fallback = answers();
        let log = Log::of(fallback.events());
        let outcome = match host {
            Host::Async => {
                let chain = fallback
                    .first("a", || retry.call(|| first.answer()))
                    .then("b", || retry.call(|| second.answer()));
                run(&clock, chain.call())
            }
            Host::Blocking => fallback
                .first("a", || retry.call_blocking(|attempt| first.answer_blocking(attempt)))
                .then("b", || retry.call_blocking(|attempt| second.answer_blocking(attempt)))
                .call_blocking(),
        };
        let error = outcome.unwrap_err();
        assert_eq!((error.link.as_str(), error.earlier.len()), ("a", 0), "{host:?}");
        assert!(
            matches!(error.last, Error::Exhausted { stop: StopReason::Permanent, .. }),
            "{host:?}"
        );
        assert_eq!(
            error.to_string(),
            "`a` failed: bad request (not tried again: trying again cannot mend this error)"
        );
        assert_eq!((second.calls(), log.events().len()), (0, 0), "{host:?}");
    }
}

#[test]
fn whether_to_fall_back_can_be_said_by_rule() {
    let only_when_busy = |error: &Error| error.operation() == Some(&"busy");
    for (error, value) in [("busy", Some(2)), ("down", None)] {
        let clock = ManualClock::new();
        let (first, second) =
            (Service::new(&clock, [fails(error)]), Service::new(&clock, [gives(2)]));
        let breaker = breaker(&clock).build().unwrap();
        let fallback = answers();
        // The rule is the chain's, wherever it is given.
        let before = fallback
            .first("a", || breaker.call(|| first.answer()))
            .when(only_when_busy)
            .then("b", || breaker.call(|| second.answer()));
        assert_eq!(run(&clock, before.call()).ok().map(|answer| answer.value), value);
        let after = fallback
            .first("a", || breaker.call(|| first.answer()))
            .then("b", || breaker.call(|| second.answer()))
            .when(only_when_busy);
        assert_eq!(run(&clock, after.call()).ok().map(|answer| answer.value), value);
        assert_eq!(second.calls(), if value.is_some() { 2 } else { 0 });
    }
}

/// A rule of one's own also decides about what trying again cannot mend: a bigger model may take
/// what a small one refused.
#[test]
fn a_rule_may_fall_back_on_permanent_errors_too() {
    let clock = ManualClock::new();
    let small = Service::new(&clock, [fails("bad request")]);
    let big = Service::new(&clock, [gives(2)]);
    let retry = retry(&clock).build().unwrap().classify(bad_request_is_permanent);
    let fallback = answers();
    let chain = fallback
        .first("small", || retry.call(|| small.answer()))
        .then("big", || retry.call(|| big.answer()))
        .when(|_: &Error| true);
    assert_eq!(run(&clock, chain.call()).map(|answer| answer.value), Ok(2));
}

/// policies.md §4 rule 65.
#[test]
fn an_answer_that_is_a_failure_to_a_breaker_outside_counts_there() {
    let clock = ManualClock::new();
    let outer = breaker(&clock).build().unwrap();
    let judged =
        outer.clone().classify(
            |result: Result<&Given, &FallbackError<&'static str>>| match result {
                Ok(answer) if answer.link == *"a" => Classification::SUCCESS,
                _ => Classification::TRANSIENT,
            },
        );
    let (first, second) =
        (Service::new(&clock, [gives(1), fails("down")]), Service::new(&clock, [gives(2)]));
    let (inner, fallback) = (breaker(&clock).build().unwrap(), answers());
    let call = || {
        fallback
            .first("a", || inner.call(|| first.answer()))
            .then("b", || inner.call(|| second.answer()))
            .call()
    };
    assert_eq!(run(&clock, judged.call(call)).map(|answer| answer.value), Ok(1));
    assert_eq!(run(&clock, judged.call(call)).map(|answer| answer.value), Ok(2));
    let totals = outer.status().totals;
    assert_eq!((totals.successes, totals.failures), (1, 1));
}

/// policies.md §4 rule 54.
#[test]
fn a_time_limit_of_one_link_does_not_bind_the_next() {
    let clock = ManualClock::new();
    let (first, second) =
        (Service::new(&clock, [hangs()]), Service::new(&clock, [gives(2).after(60 * SEC)]));
    let limit = timeout(&clock, "attempt", SEC);
    let breaker = breaker(&clock).build().unwrap();
    let fallback = answers();
    let chain = fallback
        .first("a", || limit.call(|| first.answer()))
        .then("b", || breaker.call(|| second.answer()));
    let answer = run(&clock, chain.call()).unwrap();
    assert_eq!(answer.failures, [("a".into(), timed_out("attempt", SEC, None))]);
    assert_eq!((answer.value, clock.now_ms()), (2, 61_000));
}

// ---- cancellation and panics -------------------------------------------------------------------

/// policies.md §4 rule 66.
#[test]
fn a_caller_who_walks_away_gets_no_fallback() {
    for polls in 0.. {
        let clock = ManualClock::new();
        let first = Service::new(&clock, [fails("down").after(MS)]).yielding(1);
        let second = Service::new(&clock, [gives(2).after(MS)]).yielding(1);
        let (breaker, fallback) = (breaker(&clock).build().unwrap(), answers());
        let kept = kept(&clock);
        let log = Log::of(fallback.events());
        let chain = fallback
            .first("a", || breaker.call(|| first.answer()))
            .then("b", || breaker.call(|| second.answer()))
            .last_good(&kept, "why?");
        let answer = drop_after(&clock, polls, chain.call());
        assert_eq!((first.running(), second.running(), clock.waiting()), (0, 0, 0));
        let calls = (first.calls() + second.calls()) as u64;
        assert_eq!(settled(breaker.status().totals), calls, "after {polls} polls");
        if let Some(answer) = answer {
            assert_eq!(answer.map(|answer| answer.value), Ok(2));
            assert_eq!((polls, kept.len()), (5, 1), "every await was visited");
            return;
        }
        // During the first link nothing else has begun, and nothing begins later.
        let fell_back = usize::from(first.answered() > 0);
        assert_eq!((second.calls(), log.events().len()), (fell_back, fell_back));
        assert!(kept.is_empty());
    }
}

#[test]
fn a_chain_that_is_not_called_asks_nobody() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [gives(1)]);
    let (breaker, fallback) = (breaker(&clock).build().unwrap(), answers());
    let chain = fallback.first("a", || breaker.call(|| service.answer()));
    drop(chain.call());
    assert_eq!(service.calls(), 0);
}

#[test]
fn a_panic_runs_no_fallback() {
    for host in Host::BOTH {
        let providers = Providers::new([panics(), gives(2), gives(3)]);
        let caught = catch_unwind(AssertUnwindSafe(|| providers.ask(host, &answers())));
        assert_eq!(caught.expect_err("it goes on").downcast_ref(), Some(&"boom"), "{host:?}");
        assert_eq!(providers.calls(), [1, 0, 0], "{host:?}");
    }
}

/// Also as part of another future, and with errors and questions that are borrowed.
#[test]
fn the_future_of_a_chain_is_send() {
    fn assert_send<T: Send>(value: T) -> T {
        value
    }
    let clock = ManualClock::new();
    let service = Service::new(&clock, [fails("down"), gives(2)]);
    let (breaker, fallback, kept) = (breaker(&clock).build().unwrap(), answers(), kept(&clock));
    let ask = async {
        fallback
            .first("a", || breaker.call(|| service.answer()))
            .then("b", || breaker.call(|| service.answer()))
            .last_good(&kept, "why?")
            .when(|_: &Error| true)
            .call()
            .await
    };
    assert_eq!(run(&clock, assert_send(ask)), Ok(given(2, "b", &[("a", "down")])));
}

// ---- texts and options -------------------------------------------------------------------------

#[test]
fn a_text_tells_what_each_link_met_with_from_the_last_to_the_first() {
    let clock = ManualClock::new();
    let services = ["connection reset", "503", "unused"].map(|e| Service::new(&clock, [fails(e)]));
    let limit = timeout(&clock, "attempt", SEC);
    let hanging = Service::new(&clock, [hangs()]);
    let retry = retry(&clock).max_attempts(3).build().unwrap();
    let open = breaker(&clock).failure_threshold(1).timeout(30 * SEC).build().unwrap();
    let fallback = answers();
    let chain = fallback
        .first("openai", || retry.call(|| services[0].answer()))
        .then("anthropic", || limit.call(|| hanging.answer()))
        .then("local", || {
            open.admit().unwrap().failure();
            open.call(|| services[2].answer())
        });
    assert_eq!(
        run(&clock, chain.call()).unwrap_err().to_string(),
        "`local` failed: circuit breaker `api` is open after 1 failure: try again in 30s; before \
         that `anthropic` failed: timeout `attempt`: no answer within 1s; before that `openai` \
         failed: gave up after 3 attempts in 2s (max_attempts reached): connection reset"
    );
}

/// A program that prints the whole chain of sources says nothing twice.
#[test]
fn the_source_of_a_fallbacks_error_goes_on_below_its_text() {
    type IoError = surefoot::Error<std::io::Error>;
    let io = |kind: &'static str| IoError::Operation(std::io::Error::other(kind));
    let last = IoError::Operation(std::io::Error::other(std::fmt::Error));
    let below = std::error::Error::source(&last).map(ToString::to_string);
    let error = FallbackError { link: "b".into(), last, earlier: vec![("a".into(), io("down"))] };
    assert_eq!(std::error::Error::source(&error).map(ToString::to_string), below);
}

#[test]
fn a_fallback_without_a_name_is_refused() {
    for name in ["", " "] {
        let error = Fallback::new(name).unwrap_err();
        assert_eq!(error.to_string(), "fallback: `name` = \"\" must not be empty");
    }
}

/// policies.md §5 traps 7 and 8: a fallback goes around whole pipelines.
#[test]
fn a_chain_goes_around_whole_pipelines() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [fails("down").after(MS)]);
    let other = Service::new(&clock, [gives(2)]);
    let breaker = breaker(&clock).failure_threshold(2).build().unwrap();
    let pipeline = Pipeline::builder("api")
        .idempotent()
        .add(timeout(&clock, "total", 60 * SEC))
        .add(retry(&clock).build().unwrap())
        .add(breaker.clone())
        .add(timeout(&clock, "attempt", 5 * SEC))
        .build()
        .unwrap();
    let fallback = answers();
    let ask = || {
        fallback
            .first("a", || pipeline.call(|| service.answer()))
            .then("b", || breaker_less(&other))
            .call()
    };
    assert_eq!(run(&clock, ask()).map(|answer| answer.value), Ok(2));
    assert_eq!(breaker.status().totals.failures, 2, "each attempt counted");
    assert_eq!(run(&clock, ask()).map(|answer| answer.value), Ok(2));
    assert_eq!(service.calls(), 2, "and the open circuit was passed over");
}

async fn breaker_less(service: &Service) -> Result<u16, Error> {
    service.answer().await.map_err(Error::Operation)
}
