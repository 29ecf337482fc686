//! The last good answer, for when no link has one.

use surefoot::{LastGood, ManualClock};

use super::{Outcome, answers, bad_request_is_permanent, kept};
use crate::support::*;

/// One question to two providers with a kept answer behind them.
fn ask_or_recall(
    host: Host,
    clock: &ManualClock,
    (first, second): (&Service, &Service),
    kept: &LastGood<&'static str, u16>,
    question: &'static str,
) -> Outcome {
    let breaker = breaker(clock).build().unwrap();
    let fallback = answers();
    match host {
        Host::Async => {
            let chain = fallback
                .first("a", || breaker.call(|| first.answer()))
                .then("b", || breaker.call(|| second.answer()))
                .last_good(kept, question);
            run(clock, chain.call())
        }
        Host::Blocking => fallback
            .first("a", || breaker.call_blocking(|attempt| first.answer_blocking(attempt)))
            .then("b", || breaker.call_blocking(|attempt| second.answer_blocking(attempt)))
            .last_good(kept, question)
            .call_blocking(),
    }
}

#[test]
fn an_answer_from_any_link_is_kept_and_given_for_as_long_as_it_is_good() {
    for host in Host::BOTH {
        for good in [0, 1] {
            let clock = ManualClock::new();
            let steps = |link| if link == good { vec![gives(7), fails("down")] } else { vec![] };
            let first = Service::new(&clock, steps(0).into_iter().chain([fails("down")]));
            let second = Service::new(&clock, steps(1).into_iter().chain([fails("busy")]));
            let kept = kept(&clock);
            let ask = |question| ask_or_recall(host, &clock, (&first, &second), &kept, question);

            let fresh = ask("why?").unwrap();
            assert_eq!((fresh.value, fresh.age), (7, None), "{host:?}");
            clock.advance(59 * SEC);
            let stale = ask("why?").unwrap();
            assert_eq!((stale.value, stale.link.as_str()), (7, "last good"), "{host:?}");
            assert_eq!(stale.age, Some(59 * SEC), "{host:?}");
            let links: Vec<_> = stale.failures.iter().map(|(link, _)| link.as_str()).collect();
            assert_eq!(links, ["a", "b"], "{host:?}: what failed is told");
            clock.advance(SEC);
            let error = ask("why?").unwrap_err();
            assert_eq!((error.link.as_str(), error.earlier.len()), ("b", 1), "{host:?}");
            assert!(ask("why not?").is_err(), "{host:?}: each question has its own");
        }
    }
}

#[test]
fn a_failure_leaves_the_kept_answer_as_it_was() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let down = Service::new(&clock, [fails("down")]);
        let kept = kept(&clock);
        let ask = || ask_or_recall(host, &clock, (&down, &down), &kept, "why?");
        assert!(ask().is_err());
        assert!(kept.is_empty(), "{host:?}");
        kept.put("why?", 7);
        for age in [ZERO, SEC, 2 * SEC] {
            assert_eq!(ask().unwrap().age, Some(age), "{host:?}: it grows old by being used");
            clock.advance(SEC);
        }
    }
}

#[test]
fn a_newer_answer_takes_the_place_of_the_kept_one() {
    let clock = ManualClock::new();
    let first = Service::new(&clock, [gives(1), gives(2), fails("down")]);
    let down = Service::new(&clock, [fails("down")]);
    let kept = kept(&clock);
    let ask = || ask_or_recall(Host::Async, &clock, (&first, &down), &kept, "why?").unwrap();
    assert_eq!((ask().value, ask().value, ask().value, kept.len()), (1, 2, 2, 1));
}

/// An answer that one cache gave is not new to another.
#[test]
fn a_kept_answer_does_not_become_young_by_being_kept_again() {
    let clock = ManualClock::new();
    let (near, far) = (kept(&clock), kept(&clock));
    near.put("why?", 7);
    clock.advance(50 * SEC);
    let down = Service::new(&clock, [fails("down")]);
    let (breaker, fallback) = (breaker(&clock).build().unwrap(), answers());
    let ask = || {
        fallback
            .first("a", || breaker.call(|| down.answer()))
            .last_good(&near, "why?")
            .last_good(&far, "why?")
            .call()
    };
    assert_eq!(run(&clock, ask()).unwrap().age, Some(50 * SEC));
    clock.advance(10 * SEC);
    assert!(run(&clock, ask()).is_err());
    assert!(far.is_empty());
}

/// What comes after a kept answer is for when there is none, and is not kept.
#[test]
fn a_link_after_the_kept_answer_is_the_last_resort() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [fails("down"), gives(7), fails("down")]);
    let resort = Service::new(&clock, [gives(0)]);
    let (breaker, fallback, kept) = (breaker(&clock).build().unwrap(), answers(), kept(&clock));
    let ask = || {
        let chain = fallback
            .first("a", || breaker.call(|| service.answer()))
            .last_good(&kept, "why?")
            .then("apology", || breaker.call(|| resort.answer()))
            .call();
        run(&clock, chain).unwrap()
    };
    let answers = [ask(), ask(), ask()].map(|answer| (answer.value, answer.link.to_string()));
    assert_eq!(answers, [(0, "apology"), (7, "a"), (7, "last good")].map(|(v, l)| (v, l.into())));
    assert_eq!(resort.calls(), 1);
}

#[test]
fn an_error_that_ends_the_chain_recalls_nothing() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [fails("bad request")]);
    let retry = retry(&clock).build().unwrap().classify(bad_request_is_permanent);
    let (fallback, kept) = (answers(), kept(&clock));
    kept.put("why?", 7);
    let chain = fallback.first("a", || retry.call(|| service.answer())).last_good(&kept, "why?");
    assert!(run(&clock, chain.call()).is_err());
}
