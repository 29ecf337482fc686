//! Items that say how the call went, and streams as trial calls.

use surefoot::{CircuitState, Classification, ManualClock, Rejection};

use super::by_status;
use crate::support::*;

#[test]
fn a_half_open_breakers_trial_call_is_the_whole_stream() {
    let clock = ManualClock::new();
    let breaker = about_to_try(&clock, breaker(&clock).half_open_max_calls(1).success_threshold(1));
    let service = StreamService::new(&clock, [streams([gives(1), gives(2)])]);
    let mut answer = run(&clock, breaker.call_stream(|| service.open())).unwrap();
    for item in 1..=2 {
        assert_eq!(next(&clock, &mut answer), Some(Ok(item)));
        assert_eq!(breaker.state(), CircuitState::HalfOpen, "after item {item}");
        let other = run(&clock, breaker.call_stream(|| service.open()));
        assert!(matches!(other, Err(Error::Rejected(Rejection::CircuitOpen { .. }))));
    }
    assert_eq!(next(&clock, &mut answer), None);
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[test]
fn a_trial_stream_that_breaks_off_opens_the_circuit_again() {
    let clock = ManualClock::new();
    let breaker = about_to_try(&clock, breaker(&clock).half_open_max_calls(1));
    let service = StreamService::new(&clock, [streams([gives(1), fails("reset")])]);
    let mut answer = run(&clock, breaker.call_stream(|| service.open())).unwrap();
    assert_eq!(rest(&clock, &mut answer).len(), 2);
    assert_eq!(breaker.state(), CircuitState::Open);
}

/// policies.md §4 rule 23.
#[test]
fn a_trial_stream_that_outlasts_its_place_counts_no_more_once_the_place_is_taken() {
    let clock = ManualClock::new();
    let builder = breaker(&clock).half_open_max_calls(1).half_open_timeout(30 * SEC);
    let breaker = about_to_try(&clock, builder);
    let service = StreamService::new(&clock, [streams([gives(1), fails("reset")])]);
    let mut answer = run(&clock, breaker.call_stream(|| service.open())).unwrap();
    assert_eq!(next(&clock, &mut answer), Some(Ok(1)));
    clock.advance(30 * SEC);
    let other = breaker.admit().expect("the place is offered again");
    assert!(next(&clock, &mut answer).is_some_and(|item| item.is_err()));
    assert_eq!(breaker.state(), CircuitState::HalfOpen, "the late failure changes nothing");
    other.success();
    assert_eq!(breaker.status().success_count, 1);
}

#[test]
fn an_item_that_says_the_callee_failed_is_the_calls_verdict() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).failure_threshold(1).build().unwrap();
    let service = StreamService::new(&clock, [streams([gives(1), gives(503), gives(2)])]);
    let judged = breaker.clone().classify(by_status);
    let mut answer = run(&clock, judged.call_stream(|| service.open())).unwrap();
    assert_eq!(next(&clock, &mut answer), Some(Ok(1)));
    assert_eq!(breaker.state(), CircuitState::Closed);
    assert_eq!(next(&clock, &mut answer), Some(Ok(503)));
    assert_eq!(breaker.state(), CircuitState::Open, "at once");
    assert_eq!(rest(&clock, &mut answer), [Ok(2)]);
    drop(answer);
    assert_eq!((verdicts(&breaker), settled(breaker.status().totals)), ((0, 1, 0), 1));
}

/// Whether an item was judged a failure does not decide what the consumer gets after it, nor does
/// how fast that comes.
#[test]
fn after_an_item_that_failed_the_answer_goes_on_as_before() {
    for takes in [ZERO, MS] {
        let clock = ManualClock::new();
        let breaker = breaker(&clock).build().unwrap();
        let steps = [gives(503), gives(2).after(takes), fails("reset").after(takes)];
        let service = StreamService::new(&clock, [streams(steps), streams([gives(503), hangs()])]);
        let judged = breaker.clone().classify(by_status);
        let mut answer = run(&clock, judged.call_stream(|| service.open())).unwrap();
        let broke_off = Err(interrupted(2, Some(Error::Operation("reset"))));
        assert_eq!(rest(&clock, &mut answer), [Ok(503), Ok(2), broke_off]);
        assert_eq!(verdicts(&breaker), (0, 1, 0), "one call, one failure");

        let idle = timeout(&clock, "idle", SEC);
        let opening = judged.streaming().idle_timeout(idle).call(|| service.open());
        let mut answer = run(&clock, opening).unwrap();
        let cut = Err(interrupted(1, Some(timed_out("idle", SEC, None))));
        assert_eq!(rest(&clock, &mut answer), [Ok(503), cut]);
        assert_eq!(verdicts(&breaker), (0, 2, 0));
    }
}

#[test]
fn an_item_can_be_both_a_failure_and_the_last_one() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let service = StreamService::new(&clock, [streams([gives(1), gives(503), hangs()])]);
    let judged = breaker.clone().classify(by_status);
    let opening = judged.streaming().until(|item| matches!(item, 0 | 503)).call(|| service.open());
    let mut answer = run(&clock, opening).unwrap();
    assert_eq!(rest(&clock, &mut answer), [Ok(1), Ok(503)]);
    assert_eq!(verdicts(&breaker), (0, 1, 0));
}

#[test]
fn an_item_that_asks_for_a_pause_shuts_the_gate() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let service = StreamService::new(&clock, [streams([gives(1), gives(429), gives(2)])]);
    let judged = breaker.clone().classify(by_status);
    let mut answer = run(&clock, judged.call_stream(|| service.open())).unwrap();
    assert_eq!(rest(&clock, &mut answer), [Ok(1), Ok(429), Ok(2)]);
    let rejection = breaker.admit().unwrap_err();
    assert_eq!(rejection, Rejection::Throttled { policy: "api".into(), retry_after: 20 * SEC });
    let totals = breaker.status().totals;
    assert_eq!((totals.throttled, settled(totals)), (1, 1));
}

#[test]
fn a_late_error_is_judged_like_one_before_the_first_item() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock).build().unwrap();
    let service = StreamService::new(&clock, [streams([gives(1), fails("bad request")])]);
    let judged = breaker.clone().classify(|result: Result<&u16, &&'static str>| match result {
        Ok(_) => Classification::SUCCESS,
        Err(_) => Classification::PERMANENT,
    });
    let mut answer = run(&clock, judged.call_stream(|| service.open())).unwrap();
    assert_eq!(rest(&clock, &mut answer).len(), 2);
    let totals = breaker.status().totals;
    assert_eq!((totals.ignored, settled(totals)), (1, 1));
}
