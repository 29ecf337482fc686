//! Bodies without a network: their ends, their hints, and what is seen of them.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream as _;
use http::Response;
use http_body::{Body, Frame};
use http_body_util::Full;
use surefoot::prelude::*;
use surefoot::{Classify, ManualClock};
use surefoot_tower::TimeoutLayer;
use surefoot_tower::http::{
    Begun, ErrorBody, ErrorBodyLayer, EventError, Events, FirstFrameLayer, MaybeRead,
    ResponseClassifier, WatchedBody,
};
use tower::{Layer, ServiceExt as _, service_fn};

use super::pieces::{CASES, Data, Fails, Trailers, Waits, both, pieces, read, response, through};

#[test]
fn an_error_body_is_read_up_to_the_limit_and_handed_on_whole() {
    for (body, text) in CASES {
        let limits = [0, 3, 4, 5, 8, 9, 10, 99];
        for (limit, body) in
            limits.into_iter().flat_map(|limit| both(body).map(|body| (limit, body)))
        {
            let response = response(500, "text/plain", body);
            let read_up_to = ErrorBodyLayer::with_limit(limit);
            let response: Response<MaybeRead<_>> = through(read_up_to, response).unwrap();
            let seen = response.extensions().get().map(|body: &ErrorBody| body.bytes().to_vec());
            let content = text.trim_end_matches('!');
            let is_whole = content.len() <= limit && !content.ends_with('?');
            assert_eq!(seen, is_whole.then(|| content.as_bytes().to_vec()), "{text} {limit}");
            assert_eq!(read(response.into_body()), text, "{limit}");
        }
    }
}

#[test]
fn a_body_that_is_too_long_from_the_start_is_not_waited_for() {
    let body = || pieces([Waits, Data("01234567")]);
    let layer = ErrorBodyLayer::with_limit(7);
    let late: Response<MaybeRead<_>> = through(layer, response(500, "text/plain", body())).unwrap();
    assert!(late.extensions().get::<ErrorBody>().is_none());
    let fine: Response<MaybeRead<_>> =
        through(ErrorBodyLayer::default(), response(200, "text/plain", body())).unwrap();
    assert!(fine.extensions().get::<ErrorBody>().is_none());
}

#[test]
fn successes_are_read_where_asked_for_unless_they_stream() {
    for (layer, content_type, is_read) in [
        (ErrorBodyLayer::default(), "application/json", false),
        (ErrorBodyLayer::default().successes_too(), "application/json", true),
        (ErrorBodyLayer::default().successes_too(), "Application/JSON; charset=utf-8", true),
        (ErrorBodyLayer::default().successes_too(), "application/problem+json", true),
        (ErrorBodyLayer::default().successes_too(), "application/x-ndjson", false),
        (ErrorBodyLayer::default().successes_too(), "text/event-stream", false),
        (ErrorBodyLayer::default().successes_too(), "application/grpc", false),
        (ErrorBodyLayer::with_limit(3).successes_too(), "application/json", false),
    ] {
        let response = response(200, content_type, pieces([Data("0123")]));
        let response = through(layer, response).unwrap();
        assert_eq!(response.extensions().get::<ErrorBody>().is_some(), is_read, "{content_type}");
        assert_eq!(read(response.into_body()), "0123");
    }
}

#[test]
fn an_error_or_nothing_in_a_success_is_judged_if_that_is_asked_for() {
    let usual = ResponseClassifier::new();
    let overloaded = r#"{"error": {"type": "overloaded_error"}}"#;
    for (classifier, body, expected) in [
        (usual, overloaded, Classification::SUCCESS),
        (usual.errors_in_success(true), overloaded, Classification::TRANSIENT),
        (usual.errors_in_success(true), "{}", Classification::SUCCESS),
        (usual.errors_in_success(true), "", Classification::SUCCESS),
        (usual, "", Classification::SUCCESS),
        (usual.body_required(true), "", Classification::TRANSIENT),
        (usual.body_required(true), "{}", Classification::SUCCESS),
    ] {
        let body = (!body.is_empty()).then_some(Data(body));
        let answer = response(200, "application/json", pieces(body.clone()));
        let answer = through(ErrorBodyLayer::default().successes_too(), answer).unwrap();
        assert_eq!(classifier.classify(Ok(&answer)), expected, "{body:?}");
    }
}

#[test]
fn a_response_with_its_first_frame_is_the_same_response() {
    for (body, text) in
        CASES.into_iter().flat_map(|(body, text)| both(body).map(|body| (body, text)))
    {
        let response = response(200, "text/plain", body);
        let response: Response<Begun<_>> = through(FirstFrameLayer, response).unwrap();
        assert_eq!(read(response.into_body()), text);
    }
    let broken = response(200, "text/plain", pieces([Fails]));
    assert_eq!(through(FirstFrameLayer, broken).map(drop), Err("broken off".to_owned()));
}

#[test]
fn a_grpc_error_without_a_message_is_judged_by_its_trailers_before_the_response_is_out() {
    for (content_type, status, expected) in [
        ("application/grpc", "14", Classification::TRANSIENT),
        ("application/grpc", "5", Classification::PERMANENT),
        ("application/grpc", "0", Classification::SUCCESS),
        ("text/plain", "14", Classification::SUCCESS),
    ] {
        let response = response(200, content_type, pieces([Trailers("grpc-status", status)]));
        let response: Response<Begun<_>> = through(FirstFrameLayer, response).unwrap();
        let judged = ResponseClassifier::new().classify(Ok(&response));
        assert_eq!(judged, expected, "{content_type} {status}");
        assert_eq!(read(response.into_body()), "!");
    }
}

/// A body that is ready for ever, and never gets anywhere.
struct Endless(&'static str);

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(self.0.into()))))
    }
}

#[tokio::test]
async fn a_flood_that_leads_nowhere_does_not_get_past_a_time_limit() {
    let clock = ManualClock::new();
    let limit = Timeout::new(Duration::from_secs(1)).unwrap().on_clock(clock.clone());
    let open = || async { Ok::<_, EventError>(Events::new(Endless(": keep-alive\n"))) };
    let advance = async { clock.advance(Duration::from_secs(1)) };
    let error = tokio::join!(limit.call_stream(open), advance).0.map(drop).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");

    let flood = service_fn(|()| async {
        let mut response = Response::new(Endless(""));
        *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        Ok::<_, Infallible>(response)
    });
    let limited = TimeoutLayer::new(limit).layer(ErrorBodyLayer::default().layer(flood));
    let advance = async { clock.advance(Duration::from_secs(1)) };
    let error = tokio::join!(limited.oneshot(()), advance).0.map(drop).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
}

#[test]
fn a_body_that_always_has_more_is_asked_again_soon() {
    struct Woken(AtomicBool);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let mut events = Events::new(Endless(": keep-alive\n"));
    let waker = Waker::from(woken.clone());
    let polled = Pin::new(&mut events).poll_next(&mut Context::from_waker(&waker));
    assert!(polled.is_pending() && woken.0.load(Ordering::SeqCst));
}

#[test]
fn bodies_go_wherever_theirs_go() {
    fn shared<B: Send + Sync>() {}
    shared::<MaybeRead<Full<Bytes>>>();
    shared::<Begun<Full<Bytes>>>();
    shared::<WatchedBody<Full<Bytes>>>();
}
