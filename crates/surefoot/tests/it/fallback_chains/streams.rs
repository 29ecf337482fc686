//! Links whose answers are streams.

use futures_lite::{Stream, stream};
use surefoot::ManualClock;

use super::answers;
use crate::support::*;

/// policies.md §4 rule 76: tried again, and then elsewhere.
#[test]
fn a_stream_that_does_not_begin_is_tried_again_and_then_elsewhere() {
    let clock = ManualClock::new();
    let first = StreamService::new(&clock, [streams([]), streams([fails("overloaded")])]);
    let second = StreamService::new(&clock, [streams([gives(1), gives(2)])]);
    let retry = retry(&clock).max_attempts(2).build().unwrap();
    let fallback = answers();
    let chain = fallback
        .first("a", || retry.call_stream(|| first.open()))
        .then("b", || retry.call_stream(|| second.open()));
    let mut answer = run(&clock, chain.call()).unwrap();
    assert_eq!(answer.link, *"b");
    assert_eq!((first.calls(), first.alive(), second.calls()), (2, 0, 1));
    let [(link, error)] = &answer.failures[..] else { panic!("{:?}", answer.failures) };
    assert_eq!((link.as_str(), error.operation()), ("a", Some(&"overloaded")));
    assert_eq!(rest(&clock, &mut answer.value), [Ok(1), Ok(2)]);
}

/// policies.md §4 rule 75: the answer is partly out.
#[test]
fn a_stream_that_breaks_off_runs_no_fallback() {
    let clock = ManualClock::new();
    let first = StreamService::new(&clock, [streams([gives(1), fails("reset")])]);
    let second = StreamService::new(&clock, [streams([gives(1)])]);
    let (breaker, fallback) = (breaker(&clock).build().unwrap(), answers());
    let chain = fallback
        .first("a", || breaker.call_stream(|| first.open()))
        .then("b", || breaker.call_stream(|| second.open()));
    let mut answer = run(&clock, chain.call()).unwrap();
    assert_eq!((answer.link.as_str(), answer.failures.len()), ("a", 0));
    let broke_off = Err(interrupted(1, Some(Error::Operation("reset"))));
    assert_eq!(rest(&clock, &mut answer.value), [Ok(1), broke_off]);
    assert_eq!(second.calls(), 0);
}

/// Streams of different types share one by being boxed, as ever.
#[test]
fn providers_whose_streams_differ_can_stand_in_for_each_other() {
    type Boxed = std::pin::Pin<Box<dyn Stream<Item = Result<u16, &'static str>> + Send>>;
    let clock = ManualClock::new();
    let first = StreamService::new(&clock, [refuses(fails("connect"))]);
    let (breaker, fallback) = (breaker(&clock).build().unwrap(), answers());
    let chain = fallback
        .first("a", || {
            breaker
                .call_stream(|| async { first.open().await.map(|items| Box::pin(items) as Boxed) })
        })
        .then("canned", || {
            breaker
                .call_stream(|| async { Ok(Box::pin(stream::iter([Ok(7_u16), Ok(8)])) as Boxed) })
        });
    let mut answer = run(&clock, chain.call()).unwrap();
    assert_eq!(answer.link, *"canned");
    assert_eq!(rest(&clock, &mut answer.value), [Ok(7), Ok(8)]);
}
