//! Streamed bodies: when they are retried, what they count as, and who is told that they are given up.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use http_body::Body as _;
use http_body_util::BodyExt as _;
use surefoot::http::sse::SseEvent;
use surefoot::prelude::*;
use surefoot::{ManualClock, StopReason};
use surefoot_tower::http::{
    ErrorBodyLayer, EventError, Events, FirstFrameLayer, Idempotent, ResponseClassifier,
};
use surefoot_tower::{CircuitBreakerLayer, RetryLayer, TimeoutLayer};
use tower::{Layer as _, ServiceBuilder, ServiceExt as _};

use super::server::{Answer, Protocol, Step, client, get, request, serve, text};

const SEC: Duration = Duration::from_secs(1);

fn breaker() -> CircuitBreaker {
    CircuitBreaker::builder("model").build().unwrap()
}

fn counts(breaker: &CircuitBreaker) -> (u64, u64) {
    let totals = breaker.status().totals;
    (totals.successes, totals.failures)
}

fn retry() -> RetryLayer<ResponseClassifier, Idempotent> {
    let retry = Retry::builder().initial_delay(Duration::ZERO).build().unwrap();
    RetryLayer::new(retry, Idempotent).classify(ResponseClassifier::new())
}

fn is_done(event: &SseEvent) -> bool {
    event.data() == "[DONE]"
}

/// policies.md §4 rules 75 and 76.
#[tokio::test]
async fn what_goes_wrong_before_the_first_frame_is_tried_again_and_after_it_is_not() {
    for protocol in Protocol::BOTH {
        let breaker = breaker();
        let layers = || {
            ServiceBuilder::new()
                .layer(retry())
                .layer(
                    CircuitBreakerLayer::new(breaker.clone())
                        .classify(ResponseClassifier::new())
                        .until_body_end(),
                )
                .layer(FirstFrameLayer)
                .service(client(protocol))
        };
        let whole = Answer::ok([Step::Send("one "), Step::Send("two")]);
        let server = serve([Answer::ok([Step::Flush, Step::Break]), whole.clone()]).await;
        let response = layers().oneshot(get(&server)).await.unwrap();
        assert_eq!(text(response.into_body()).await.unwrap(), "one two");
        assert_eq!((server.seen.requests(), counts(&breaker)), (2, (1, 1)), "{protocol:?}");

        let cut_off = Answer::ok([Step::Send("one "), Step::Flush, Step::Break]);
        let server = serve([cut_off, whole]).await;
        let response = layers().oneshot(get(&server)).await.unwrap();
        assert!(text(response.into_body()).await.is_err());
        assert_eq!((server.seen.requests(), counts(&breaker)), (1, (1, 2)), "{protocol:?}");
    }
}

/// policies.md §4 rule 77.
#[tokio::test]
async fn a_consumer_that_walks_away_closes_the_answer_and_counts_as_nothing() {
    for protocol in Protocol::BOTH {
        let breaker = breaker();
        let server = serve([Answer::ok([Step::Send("one "), Step::Hang])]).await;
        let layer = CircuitBreakerLayer::new(breaker.clone()).until_body_end();
        let response = layer.layer(client(protocol)).oneshot(get(&server)).await.unwrap();
        let mut body = response.into_body();
        assert!(body.frame().await.unwrap().is_ok());
        assert_eq!(counts(&breaker), (0, 0));
        drop(body);
        server.seen.abandoned(1).await;
        assert_eq!(counts(&breaker), (0, 0), "{protocol:?}");
    }
}

#[tokio::test]
async fn a_half_open_trial_call_is_the_whole_answer() {
    let clock = ManualClock::new();
    let breaker = CircuitBreaker::builder("model")
        .failure_threshold(1)
        .success_threshold(1)
        .clock(clock.clone())
        .build()
        .unwrap();
    breaker.admit().unwrap().failure();
    clock.advance(60 * SEC);
    let server = serve([Answer::ok([Step::Send("one "), Step::Send("two")])]).await;
    let layer = CircuitBreakerLayer::new(breaker.clone()).until_body_end();
    let service = layer.layer(client(Protocol::Http1));
    let response = service.clone().oneshot(get(&server)).await.unwrap();
    assert_eq!(breaker.state(), CircuitState::HalfOpen);
    let refused = service.oneshot(get(&server)).await.map(drop);
    assert!(matches!(refused, Err(Error::Rejected(_))), "the only place is taken");
    assert_eq!(text(response.into_body()).await.unwrap(), "one two");
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[tokio::test]
async fn the_attempt_timeout_bounds_the_first_frame_and_counts_as_a_failure() {
    for protocol in Protocol::BOTH {
        let (clock, breaker) = (ManualClock::new(), breaker());
        let server = serve([Answer::ok([Step::Hang])]).await;
        let service = ServiceBuilder::new()
            .layer(CircuitBreakerLayer::new(breaker.clone()).until_body_end())
            .layer(TimeoutLayer::new(Timeout::new(SEC).unwrap().on_clock(clock.clone())))
            .layer(FirstFrameLayer)
            .service(client(protocol));
        let call = tokio::spawn(service.oneshot(get(&server)));
        server.seen.request(1).await;
        while clock.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        clock.advance(SEC);
        let error = call.await.unwrap().map(drop).unwrap_err();
        assert!(matches!(error, Error::Timeout { dispatched: true, .. }), "{error}");
        server.seen.abandoned(1).await;
        assert_eq!(counts(&breaker), (0, 1), "{protocol:?}");
    }
}

#[tokio::test]
async fn the_idle_timeout_bounds_the_gaps_and_closes_the_answer() {
    for protocol in Protocol::BOTH {
        let (clock, breaker) = (ManualClock::new(), breaker());
        let server = serve([Answer::ok([Step::Send("one "), Step::Hang])]).await;
        let layer = CircuitBreakerLayer::new(breaker.clone())
            .until_body_end()
            .idle_timeout(Timeout::new(SEC).unwrap().named("gap").on_clock(clock.clone()));
        let response = layer.layer(client(protocol)).oneshot(get(&server)).await.unwrap();
        let mut body = response.into_body();
        assert!(body.frame().await.unwrap().is_ok());
        clock.advance(10 * SEC); // a slow consumer does not run into it
        let rest = tokio::spawn(async move { body.frame().await });
        while clock.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        clock.advance(SEC);
        let error = rest.await.unwrap().unwrap().unwrap_err();
        let told = "the answer broke off after 1 item: timeout `gap`: no answer within 1s";
        assert_eq!(error.to_string(), told);
        server.seen.abandoned(1).await;
        assert_eq!(counts(&breaker), (0, 1), "{protocol:?}");
    }
}

#[tokio::test]
async fn an_event_stream_that_ends_before_its_terminal_event_is_a_failure() {
    for protocol in Protocol::BOTH {
        let breaker = breaker();
        let client = client(protocol);
        let ask = async |steps: Vec<Step>| {
            let server = serve([Answer::ok(steps)]).await;
            let open = || async {
                let response = client.clone().oneshot(get(&server)).await;
                Ok::<_, EventError>(Events::new(response.unwrap().into_body()))
            };
            let streaming = breaker.streaming().until(is_done);
            let mut answer = streaming.call(open).await?;
            let mut events = Vec::new();
            while let Some(event) = answer.next().await {
                events.push(event?.data().to_owned());
            }
            Ok::<_, Error<EventError>>(events)
        };
        // Events do not care how the body was cut.
        let whole = vec![Step::Send("data: o"), Step::Send("ne\n\ndata: [DONE]\n\n")];
        assert_eq!(ask(whole).await.unwrap(), ["one", "[DONE]"]);
        assert_eq!(counts(&breaker), (1, 0));

        let error = ask(vec![Step::Send("data: one\n\n")]).await.unwrap_err();
        assert!(matches!(error, Error::Interrupted { items: 1, cause: None }), "{error}");
        let error =
            ask(vec![Step::Send("data: one\n\n"), Step::Flush, Step::Break]).await.unwrap_err();
        assert!(matches!(error, Error::Interrupted { items: 1, cause: Some(_) }), "{error}");
        let error = ask(vec![]).await.unwrap_err();
        assert!(matches!(error, Error::Interrupted { items: 0, cause: None }), "{error}");
        assert_eq!(counts(&breaker), (1, 3), "{protocol:?}");
    }
}

const QUOTA_SPENT: &str = r#"{"error": {"code": "insufficient_quota"}}"#;

#[tokio::test]
async fn an_error_body_says_whether_trying_again_can_help_and_can_still_be_read() {
    let spent = Answer { status: 429, ..Answer::ok([Step::Send(QUOTA_SPENT)]) };
    let server = serve([spent]).await;
    let service = ServiceBuilder::new()
        .layer(retry())
        .layer(ErrorBodyLayer::default())
        .service(client(Protocol::Http1));
    let response = service.oneshot(get(&server)).await.unwrap();
    assert_eq!((response.status().as_u16(), server.seen.requests()), (429, 1));
    assert_eq!(text(response.into_body()).await.unwrap(), QUOTA_SPENT);

    // Longer than is read: not judged by its body, and still whole.
    let spent = Answer { status: 500, ..Answer::ok([Step::Send("0123"), Step::Send("4567")]) };
    let server = serve([spent]).await;
    let service = ErrorBodyLayer::with_limit(6).layer(client(Protocol::Http1));
    let response = service.oneshot(get(&server)).await.unwrap();
    assert_eq!(text(response.into_body()).await.unwrap(), "01234567");
}

#[tokio::test]
async fn an_error_body_that_does_not_come_is_bounded_and_closed_by_the_time_limit_around() {
    for protocol in Protocol::BOTH {
        let clock = ManualClock::new();
        let stalls = [Step::Send("{\"error\": "), Step::Hang];
        let server = serve([Answer { status: 500, ..Answer::ok(stalls) }]).await;
        let service = ServiceBuilder::new()
            .layer(TimeoutLayer::new(Timeout::new(SEC).unwrap().on_clock(clock.clone())))
            .layer(ErrorBodyLayer::default())
            .service(client(protocol));
        let call = tokio::spawn(service.oneshot(get(&server)));
        server.seen.request(1).await;
        while clock.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        clock.advance(SEC);
        let error = call.await.unwrap().map(drop).unwrap_err();
        assert!(matches!(error, Error::Timeout { dispatched: true, .. }), "{error}");
        server.seen.abandoned(1).await;
    }
}

#[tokio::test]
async fn a_body_that_is_shorter_than_it_promised_is_a_failure() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        assert!(stream.read(&mut request).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").unwrap();
    });
    let breaker = breaker();
    let layer = CircuitBreakerLayer::new(breaker.clone()).until_body_end();
    let response = layer.layer(client(Protocol::Http1)).oneshot(request(&url)).await.unwrap();
    assert_eq!(response.body().size_hint().exact(), Some(10));
    assert!(text(response.into_body()).await.is_err());
    assert_eq!(counts(&breaker), (0, 1));
}

#[tokio::test]
async fn hostile_headers_are_no_wait() {
    for (name, value) in [
        ("retry-after", "-1"),
        ("retry-after", "99999999999999999999999999"),
        ("retry-after", "NaN"),
        ("retry-after", "\u{ff15}"),
        ("retry-after", "Thu, 99 Jan 1970 00:00:30 GMT"),
        ("retry-after-ms", "1e9"),
        ("x-should-retry", "perhaps"),
    ] {
        let busy = Answer { status: 503, ..Answer::ok([]) }.with(name, value);
        let server = serve([busy, Answer::ok([])]).await;
        let result = retry().layer(client(Protocol::Http1)).oneshot(get(&server)).await;
        let status = result.map(|response| response.status().as_u16()).unwrap();
        // A wait for ever is one, and ends the retrying; what cannot be read is none.
        let expected = if value.starts_with("999") { (503, 1) } else { (200, 2) };
        assert_eq!((status, server.seen.requests()), expected, "{name}: {value}");
    }
}

#[tokio::test]
async fn a_request_that_is_not_idempotent_is_sent_once() {
    let server = serve([Answer { status: 503, ..Answer::ok([]) }]).await;
    let mut request = get(&server);
    *request.method_mut() = http::Method::POST;
    let response = retry().layer(client(Protocol::Http1)).oneshot(request).await.unwrap();
    assert_eq!((response.status().as_u16(), server.seen.requests()), (503, 1));

    // Where the connection was refused nothing was sent, so that it may be tried again. This client
    // follows no redirects, which only we know.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let request = http::Request::post(format!("http://{nobody}/"))
        .body(http_body_util::Full::<bytes::Bytes>::default())
        .unwrap();
    let layer = retry().classify(ResponseClassifier::new().sends_once(true));
    let error = layer.layer(client(Protocol::Http1)).oneshot(request).await.unwrap_err();
    let Error::Exhausted { attempts, stop, .. } = error else { panic!("{error}") };
    assert_eq!((attempts, stop), (3, StopReason::Attempts));
}
