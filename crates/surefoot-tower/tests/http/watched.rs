//! Watched bodies without a network: when the verdict is in, and who is to blame.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::Body as _;
use http_body_util::Full;
use surefoot::prelude::*;
use surefoot::{DropReason, ManualClock, with_drop_reason};
use surefoot_tower::CircuitBreakerLayer;
use surefoot_tower::http::WatchedBody;
use tower::{Layer as _, Service as _, service_fn};

use super::pieces::{
    CASES, Data, Panics, Pieces, Trailers, Waits, WaitsOnce, both, frame, now, pieces, read,
    response, through,
};

fn breaker() -> CircuitBreaker {
    CircuitBreaker::builder("model").build().unwrap()
}

/// Successes, failures, ignored, cancelled.
fn counts(breaker: &CircuitBreaker) -> [u64; 4] {
    let totals = breaker.status().totals;
    [totals.successes, totals.failures, totals.ignored, totals.cancelled]
}

const SUCCESS: [u64; 4] = [1, 0, 0, 0];
const FAILURE: [u64; 4] = [0, 1, 0, 0];
const IGNORED: [u64; 4] = [0, 0, 1, 0];
const CANCELLED: [u64; 4] = [0, 0, 0, 1];

fn watched(breaker: &CircuitBreaker, response: Response<Pieces>) -> WatchedBody<Pieces> {
    let layer = CircuitBreakerLayer::new(breaker.clone()).until_body_end();
    let response: Response<WatchedBody<_>> = through(layer, response).unwrap();
    response.into_body()
}

#[test]
fn a_watched_body_is_the_same_body() {
    for (body, text) in
        CASES.into_iter().flat_map(|(body, text)| both(body).map(|body| (body, text)))
    {
        let breaker = breaker();
        let response = response(200, "text/plain", body);
        assert_eq!(read(watched(&breaker, response)), text);
        let expected = if text.ends_with('?') { FAILURE } else { SUCCESS };
        assert_eq!(counts(&breaker), expected, "{text}");
    }
}

#[test]
fn where_grpc_has_trailers_they_are_the_verdict_and_their_absence_is_a_failure() {
    let ok = &[Data("m"), Trailers("grpc-status", "0")][..];
    let unavailable = &[Data("m"), Trailers("grpc-status", "14")][..];
    let none = &[Data("m")][..];
    for (content_type, body, expected) in [
        ("application/grpc", ok, SUCCESS),
        ("application/grpc+proto", unavailable, FAILURE),
        ("Application/GRPC; v=1", unavailable, FAILURE),
        ("application/grpc", none, FAILURE),
        ("application/grpc", &[Data("m"), Trailers("x", "y")], FAILURE),
        // Its trailers are a part of its body.
        ("application/grpc-web+proto", none, SUCCESS),
        ("application/grpc-web-text", none, SUCCESS),
        ("application/grpcx", none, SUCCESS),
        ("application/json", unavailable, SUCCESS),
    ] {
        let breaker = breaker();
        read(watched(&breaker, response(200, content_type, pieces(body.to_vec()))));
        assert_eq!(counts(&breaker), expected, "{content_type} {body:?}");
    }
}

#[test]
fn a_grpc_status_in_the_headers_is_the_verdict_at_once() {
    for (status, expected) in [("0", SUCCESS), ("14", FAILURE), ("5", IGNORED), ("1", CANCELLED)] {
        let breaker = breaker();
        let mut response = response(200, "application/grpc", pieces([]));
        response.headers_mut().insert("grpc-status", status.parse().unwrap());
        let body = watched(&breaker, response);
        assert_eq!(counts(&breaker), expected, "{status}");
        assert_eq!(read(body), "");
        assert_eq!(counts(&breaker), expected, "{status}");
    }
}

#[test]
fn a_body_that_is_empty_from_the_start_need_not_be_asked() {
    let breaker = breaker();
    let layer = CircuitBreakerLayer::new(breaker.clone()).until_body_end();
    let empty =
        service_fn(|()| async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) });
    drop(now(layer.layer(empty).call(())).unwrap());
    assert_eq!(counts(&breaker), SUCCESS);
}

#[test]
fn a_body_that_foresees_its_end_need_not_be_asked_for_it() {
    let breaker = breaker();
    let [_, body] = both(&[Data("0"), Data("1")]);
    let mut body = watched(&breaker, response(200, "text/plain", body));
    assert!(frame(&mut body).is_some());
    assert_eq!(counts(&breaker), [0; 4]);
    assert!(frame(&mut body).is_some());
    assert_eq!(counts(&breaker), SUCCESS);
    drop(body);
    assert_eq!(counts(&breaker), SUCCESS);
}

#[test]
fn the_idle_timeout_is_for_each_gap_and_not_for_all_of_them() {
    let (clock, breaker) = (ManualClock::new(), breaker());
    let idle = Timeout::new(Duration::from_secs(1)).unwrap().on_clock(clock.clone());
    let layer = CircuitBreakerLayer::new(breaker.clone()).until_body_end().idle_timeout(idle);
    let gaps = [WaitsOnce, Data("0"), WaitsOnce, Data("1"), WaitsOnce, Data("2")];
    let response: Response<WatchedBody<_>> =
        through(layer, response(200, "text/plain", pieces(gaps))).unwrap();
    let mut body = response.into_body();
    let mut poll = || Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
    for _ in 0..3 {
        assert!(poll().is_pending());
        clock.advance(Duration::from_millis(900));
        assert!(matches!(poll(), Poll::Ready(Some(Ok(_)))));
    }
    assert!(matches!(poll(), Poll::Ready(None)));
    assert_eq!(counts(&breaker), SUCCESS);
}

#[test]
fn a_body_that_was_idle_for_too_long_gives_one_error_and_its_end() {
    let (clock, breaker) = (ManualClock::new(), breaker());
    let idle = Timeout::new(Duration::from_secs(1)).unwrap().on_clock(clock.clone());
    let layer = CircuitBreakerLayer::new(breaker.clone()).until_body_end().idle_timeout(idle);
    let stalls = pieces([Data("0"), Waits]);
    let response: Response<WatchedBody<_>> =
        through(layer, response(200, "text/plain", stalls)).unwrap();
    let mut body = response.into_body();
    let mut poll = || Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
    assert!(poll().is_ready());
    assert!(poll().is_pending());
    clock.advance(Duration::from_millis(999));
    assert!(poll().is_pending());
    clock.advance(Duration::from_millis(1));
    assert!(matches!(poll(), Poll::Ready(Some(Err(_)))));
    assert!(matches!(poll(), Poll::Ready(None)));
    assert!(body.is_end_stream() && body.size_hint().exact() == Some(0));
    assert_eq!(counts(&breaker), FAILURE);
}

#[test]
fn a_body_that_is_dropped_before_its_end_is_nobodys_fault_but_our_own_deadlines() {
    let begun = |breaker: &CircuitBreaker| {
        let mut body = watched(breaker, response(200, "text/plain", pieces([Data("0"), Waits])));
        assert!(frame(&mut body).is_some());
        body
    };
    let left = breaker();
    drop(begun(&left));
    assert_eq!(counts(&left), CANCELLED);

    let late = breaker();
    let body = begun(&late);
    with_drop_reason(DropReason::Deadline, || drop(body));
    assert_eq!(counts(&late), FAILURE);
}

#[test]
fn a_panic_is_the_bodys_fault_only_if_it_is_the_body_that_panics() {
    let breaker = breaker();
    let mut body = watched(&breaker, response(200, "text/plain", pieces([Panics])));
    catch_unwind(AssertUnwindSafe(|| frame(&mut body))).map(drop).unwrap_err();
    drop(body);
    assert_eq!(counts(&breaker), FAILURE);

    breaker.reset();
    let before = counts(&breaker);
    let body = watched(&breaker, response(200, "text/plain", pieces([Data("0")])));
    catch_unwind(AssertUnwindSafe(move || {
        let _body = body;
        panic!("the consumer panics");
    }))
    .map(drop)
    .unwrap_err();
    let after = counts(&breaker);
    assert_eq!(after[1], before[1], "no failure");
    assert_eq!(after[3], before[3] + 1, "cancelled");
}
