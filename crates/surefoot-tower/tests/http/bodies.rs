//! Bodies without a network: their ends, their hints, and who is to blame.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream as _;
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use surefoot::prelude::*;
use surefoot::{Classify, DropReason, ManualClock, with_drop_reason};
use surefoot_tower::http::{
    Begun, ErrorBody, ErrorBodyLayer, EventError, Events, FirstFrameLayer, MaybeRead,
    ResponseClassifier, WatchedBody,
};
use surefoot_tower::{CircuitBreakerLayer, TimeoutLayer};
use tower::{Layer, Service, ServiceExt as _, service_fn};

/// What a body does when it is asked.
#[derive(Clone, Debug)]
enum Piece {
    Data(&'static str),
    Trailers(&'static str, &'static str),
    Fails,
    Waits,
    WaitsOnce,
    Panics,
}
use Piece::{Data, Fails, Panics, Trailers, Waits, WaitsOnce};

/// A body that holds whoever asks it to the rules: not again after its end or its error.
#[derive(Debug)]
struct Pieces {
    left: VecDeque<Piece>,
    /// Whether it says that it is at its end before it is asked for more.
    foresees: bool,
    over: bool,
}

fn pieces(pieces: impl IntoIterator<Item = Piece>) -> Pieces {
    Pieces { left: pieces.into_iter().collect(), foresees: false, over: false }
}

/// The same body, foreseeing its end and not.
fn both(body: &[Piece]) -> [Pieces; 2] {
    [false, true].map(|foresees| Pieces { foresees, ..pieces(body.to_vec()) })
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        assert!(!self.over, "asked again after its end");
        Poll::Ready(match self.left.pop_front() {
            Some(Data(text)) => Some(Ok(Frame::data(text.into()))),
            Some(Trailers(name, value)) => {
                let trailers = [(name.parse().unwrap(), value.parse().unwrap())];
                Some(Ok(Frame::trailers(HeaderMap::from_iter(trailers))))
            }
            Some(Fails) => {
                self.over = true;
                Some(Err(io::Error::other("broken off")))
            }
            Some(Waits) => {
                self.left.push_front(Waits);
                return Poll::Pending;
            }
            Some(WaitsOnce) => return Poll::Pending,
            Some(Panics) => panic!("the body panics"),
            None => {
                self.over = true;
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.foresees && self.left.is_empty()
    }

    /// As a body with a content length has it.
    fn size_hint(&self) -> SizeHint {
        let lengths = self.left.iter().map(|piece| match piece {
            Data(text) => text.len() as u64,
            _ => 0,
        });
        SizeHint::with_exact(lengths.sum())
    }
}

/// What a future that needs nothing from outside gives.
fn now<F: Future>(future: F) -> F::Output {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

fn response(status: u16, content_type: &'static str, body: Pieces) -> Response<Pieces> {
    Response::builder().status(status).header("content-type", content_type).body(body).unwrap()
}

/// A response through a layer.
fn through<L, B>(layer: L, response: Response<Pieces>) -> Result<Response<B>, String>
where
    L: Layer<Answer>,
    L::Service: Service<(), Response = Response<B>, Error = surefoot_tower::Error>,
{
    now(layer.layer(Answer(Some(response))).call(())).map_err(|error| error.to_string())
}

/// A service with one answer.
struct Answer(Option<Response<Pieces>>);

impl Service<()> for Answer {
    type Response = Response<Pieces>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Pieces>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        std::future::ready(Ok(self.0.take().expect("one call")))
    }
}

fn frame<B: Body + Unpin>(body: &mut B) -> Option<Result<Frame<B::Data>, B::Error>> {
    now(poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)))
}

/// Reads a body to its end, and looks at its hint before every frame: text, or `!` for trailers and
/// `?` for an error.
fn read<B: Body<Data = Bytes> + Unpin>(mut body: B) -> String {
    let mut text = String::new();
    let mut promised = Vec::new();
    loop {
        if let Some(exact) = body.size_hint().exact() {
            promised.push(text.trim_end_matches('!').len() as u64 + exact);
        }
        let next = frame(&mut body);
        match next {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => text += std::str::from_utf8(&data).unwrap(),
                Err(_) => text.push('!'),
            },
            Some(Err(_)) => {
                text.push('?');
                return text; // the rules say nothing about what comes after it
            }
            None => break,
        }
    }
    assert!(body.is_end_stream());
    let length = text.trim_end_matches('!').len() as u64;
    assert!(promised.iter().all(|promise| length == *promise), "{text}: {promised:?}");
    text
}

const CASES: [(&[Piece], &str); 6] = [
    (&[], ""),
    (&[Data("0123")], "0123"),
    (&[Data("0123"), Data("4567"), Data("89")], "0123456789"),
    (&[Data("0123"), Trailers("a", "b")], "0123!"),
    (&[Data("01"), Fails], "01?"),
    (&[Data("0123"), Data("4567"), Fails], "01234567?"),
];

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

// ---- watched bodies ----------------------------------------------------------------------------

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

#[test]
fn bodies_go_wherever_theirs_go() {
    fn shared<B: Send + Sync>() {}
    shared::<MaybeRead<Full<Bytes>>>();
    shared::<Begun<Full<Bytes>>>();
    shared::<WatchedBody<Full<Bytes>>>();
}
