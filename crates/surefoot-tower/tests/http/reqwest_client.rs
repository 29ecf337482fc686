//! reqwest under the layers, and its bodies as streams of events under a pipeline.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use reqwest::{Client, Method, Request, Response, Url};
use surefoot::http::sse::SseEvent;
use surefoot::prelude::*;
use surefoot::{ManualClock, StopReason};
use surefoot_tower::http::{
    DeadlineClientLayer, ErrorBodyLayer, EventError, Events, FirstFrameLayer, Idempotent,
    ResponseClassifier, reqwest::into_http,
};
use surefoot_tower::{CircuitBreakerLayer, RetryLayer, TimeoutLayer};
use tower::{Layer as _, Service, ServiceBuilder, ServiceExt as _};

use super::server::{Answer, Protocol, Server, Step, serve};

const SEC: Duration = Duration::from_secs(1);

fn client(protocol: Protocol) -> Client {
    let builder = Client::builder().no_proxy();
    let builder = match protocol {
        Protocol::Http1 => builder.http1_only(),
        Protocol::Http2 => builder.http2_prior_knowledge(),
    };
    builder.redirect(reqwest::redirect::Policy::limited(1)).build().unwrap()
}

fn retry() -> RetryLayer<ResponseClassifier, Idempotent> {
    retry_judging(ResponseClassifier::new())
}

fn retry_judging(classifier: ResponseClassifier) -> RetryLayer<ResponseClassifier, Idempotent> {
    let retry = Retry::builder().initial_delay(Duration::ZERO).build().unwrap();
    RetryLayer::new(retry, Idempotent).classify(classifier)
}

fn request(method: Method, url: &str) -> Request {
    Request::new(method, Url::parse(url).unwrap())
}

/// The stack of the documentation: reqwest's requests in, reqwest's responses out.
fn layered(
    protocol: Protocol,
    breaker: &CircuitBreaker,
) -> impl Service<Request, Response = Response, Error = surefoot_tower::Error, Future: Send> + Clone
{
    let breaker = CircuitBreakerLayer::new(breaker.clone()).classify(ResponseClassifier::new());
    ServiceBuilder::new()
        .map_response(Response::from)
        .layer(retry())
        .layer(breaker.until_body_end())
        .layer(FirstFrameLayer)
        .layer(ErrorBodyLayer::default())
        .map_response(into_http)
        .service(client(protocol))
}

fn breaker() -> CircuitBreaker {
    CircuitBreaker::builder("model").build().unwrap()
}

/// Successes, failures.
fn counts(breaker: &CircuitBreaker) -> (u64, u64) {
    let totals = breaker.status().totals;
    (totals.successes, totals.failures)
}

#[tokio::test]
async fn reqwest_goes_through_every_layer() {
    for protocol in Protocol::BOTH {
        let breaker = breaker();
        let busy = Answer { status: 503, ..Answer::ok([]) };
        let broken = Answer::ok([Step::Flush, Step::Break]);
        let server =
            serve([busy, broken, Answer::ok([Step::Send("one "), Step::Send("two")])]).await;
        let response =
            layered(protocol, &breaker).oneshot(request(Method::GET, &server.url)).await.unwrap();
        assert_eq!(response.url().as_str(), server.url);
        assert_eq!(counts(&breaker), (0, 2), "the third is not over");
        assert_eq!(response.text().await.unwrap(), "one two");
        assert_eq!((server.seen.requests(), counts(&breaker)), (3, (1, 2)), "{protocol:?}");

        // Its error bodies are judged, and can still be read.
        let quota = r#"{"error": {"code": "insufficient_quota"}}"#;
        let spent = Answer { status: 429, ..Answer::ok([Step::Send(quota)]) };
        let server = serve([spent]).await;
        let response =
            layered(protocol, &breaker).oneshot(request(Method::GET, &server.url)).await.unwrap();
        assert_eq!((response.status().as_u16(), server.seen.requests()), (429, 1));
        assert_eq!(response.text().await.unwrap(), quota);

        // A response that is given up closes the stream below.
        let server = serve([Answer::ok([Step::Send("one "), Step::Hang])]).await;
        let response =
            layered(protocol, &breaker).oneshot(request(Method::GET, &server.url)).await.unwrap();
        drop(response);
        server.seen.abandoned(1).await;
        assert_eq!(counts(&breaker), (1, 2), "{protocol:?}");
    }
}

#[tokio::test]
async fn reqwest_tells_the_time_left() {
    let server = serve([Answer::ok([])]).await;
    let limit = Timeout::new(2 * SEC).unwrap().on_clock(ManualClock::new());
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(limit))
        .layer(DeadlineClientLayer::new())
        .service(client(Protocol::Http1));
    service.oneshot(request(Method::GET, &server.url)).await.unwrap();
    let headers = server.seen.headers.lock().unwrap();
    assert_eq!(headers["x-envoy-expected-rq-timeout-ms"], "2000");
}

#[tokio::test]
async fn a_request_whose_body_is_a_stream_is_sent_once() {
    let server = serve([Answer { status: 503, ..Answer::ok([]) }]).await;
    let mut request = request(Method::PUT, &server.url);
    *request.body_mut() = Some(reqwest::Body::wrap(http_body_util::Full::new(bytes::Bytes::new())));
    let response = retry().layer(client(Protocol::Http1)).oneshot(request).await.unwrap();
    assert_eq!((response.status().as_u16(), server.seen.requests()), (503, 1));
}

/// Attempts and failures that a request to `url` makes, and why it was given up.
async fn attempts(url: &str) -> (u32, u64, Option<StopReason>) {
    let breaker = breaker();
    let service = ServiceBuilder::new()
        .layer(retry())
        .layer(CircuitBreakerLayer::new(breaker.clone()).classify(ResponseClassifier::new()))
        .service(client(Protocol::Http1));
    let error = service.oneshot(request(Method::GET, url)).await.unwrap_err();
    let failures = breaker.status().totals.failures;
    match error {
        Error::Exhausted { attempts, stop, .. } => (attempts, failures, Some(stop)),
        _ => (1, failures, None),
    }
}

#[tokio::test]
async fn transport_errors_are_tried_again_but_for_those_that_the_request_is_to_blame_for() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = attempts(&format!("http://{nobody}/")).await;
    assert_eq!(gone, (3, 3, Some(StopReason::Attempts)));

    let (tried, failures, _) = attempts("ftp://127.0.0.1/").await;
    assert_eq!((tried, failures), (1, 0), "reqwest cannot build it");

    let moved = || Answer { status: 302, ..Answer::ok([]) }.with("location", "/");
    let server = serve([moved(), moved(), moved()]).await;
    let (tried, failures, _) = attempts(&server.url).await;
    assert_eq!((tried, failures), (1, 0), "redirected for ever");
    assert_eq!(server.seen.requests(), 2);
}

/// A POST without a key: once it may have arrived, it is not sent again.
#[tokio::test]
async fn a_post_is_sent_again_if_its_connection_was_refused_and_not_if_it_broke() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let client = client.build().unwrap();
    let post = async |url: String| {
        let layer = retry_judging(ResponseClassifier::new().sends_once(true));
        let service = layer.layer(client.clone());
        match service.oneshot(request(Method::POST, &url)).await {
            Err(Error::Exhausted { attempts, stop, .. }) => (attempts, stop),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(post(format!("http://{nobody}/")).await, (3, StopReason::Attempts));

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hangs_up = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let _ = std::io::Read::read(&mut connection.unwrap(), &mut [0; 1024]);
        }
    });
    assert_eq!(post(hangs_up).await, (1, StopReason::Unrepeatable));
}

/// It may have taken effect: the connection that was refused is the one it was redirected to.
#[tokio::test]
async fn a_post_that_was_redirected_is_not_sent_again_if_the_next_connection_is_refused() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let next: &'static str = format!("http://{nobody}/done").leak();
    for status in [302, 303, 307] {
        let moved = || Answer { status, ..Answer::ok([]) }.with("location", next);
        let server = serve([moved(), moved(), moved()]).await;
        let service = retry().layer(client(Protocol::Http1));
        let error = service.oneshot(request(Method::POST, &server.url)).await.unwrap_err();
        assert_eq!(server.seen.requests(), 1, "{status}: {error:?}");
    }
}

#[tokio::test]
async fn a_peer_that_does_not_speak_http_is_a_failure_that_is_not_tried_again() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 1024];
            assert!(stream.read(&mut request).unwrap() > 0);
            stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n\r\n").unwrap();
            // Until the client has had enough: a reset would be another error.
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    let (tried, failures, _) = attempts(&url).await;
    assert_eq!((tried, failures), (1, 1));
}

// ---- events ------------------------------------------------------------------------------------

type Opened = Result<Events<reqwest::Body>, EventError>;

async fn open(client: &Client, server: &Server) -> Opened {
    let response = client.get(&server.url).send().await;
    let response = response.map_err(|error| EventError::Body(error.into()))?;
    Ok(Events::new(response.into()))
}

fn is_done(event: &SseEvent) -> bool {
    event.data() == "[DONE]"
}

/// A model behind retry, breaker and two time limits: for the first event, and for the gaps.
struct Model {
    clock: ManualClock,
    breaker: CircuitBreaker,
    client: Client,
}

impl Model {
    fn new(protocol: Protocol) -> Self {
        Self { clock: ManualClock::new(), breaker: breaker(), client: client(protocol) }
    }

    fn limit(&self, limit: Duration, name: &'static str) -> Timeout {
        Timeout::new(limit).unwrap().named(name).on_clock(self.clock.clone())
    }

    fn pipeline(&self) -> Pipeline<impl Policy + use<>> {
        Pipeline::builder("model")
            .idempotent()
            .add(self.limit(60 * SEC, "total"))
            .add(Retry::builder().initial_delay(Duration::ZERO).build().unwrap())
            .add(self.breaker.clone())
            .add(self.limit(2 * SEC, "first event"))
            .build()
            .unwrap()
    }

    /// The events of a whole answer, or those that came and the error.
    async fn ask(&self, server: &Server) -> (Vec<String>, Option<Error<EventError>>) {
        let pipeline = self.pipeline();
        let streaming = pipeline.streaming().idle_timeout(self.limit(SEC, "gap")).until(is_done);
        let mut answer = match streaming.call(|| open(&self.client, server)).await {
            Ok(answer) => answer,
            Err(error) => return (Vec::new(), Some(error)),
        };
        let mut events = Vec::new();
        while let Some(event) = answer.next().await {
            match event {
                Ok(event) => events.push(event.data().to_owned()),
                Err(error) => return (events, Some(error)),
            }
        }
        (events, None)
    }

    /// The same for an answer that makes us wait: moves the clock by `by` once the server has been asked.
    async fn ask_and_wait(
        &self,
        server: &Server,
        by: Duration,
    ) -> (Vec<String>, Option<Error<EventError>>) {
        let advance = async {
            server.seen.request(1).await;
            while self.clock.waiting() < 2 {
                tokio::task::yield_now().await;
            }
            self.clock.advance(by);
        };
        tokio::join!(self.ask(server), advance).0
    }
}

const ONE: Step = Step::Send("data: one\n\n");
const DONE: Step = Step::Send("data: [DONE]\n\n");

/// policies.md §4 rules 75 and 76, for events.
#[tokio::test]
async fn a_stream_of_events_is_opened_again_until_its_first_event_and_never_after_it() {
    for protocol in Protocol::BOTH {
        let model = Model::new(protocol);
        let broken = Answer::ok([Step::Send(": keep-alive\n\n"), Step::Flush, Step::Break]);
        let empty = Answer::ok([]);
        let server = serve([broken, empty, Answer::ok([ONE, DONE])]).await;
        let (events, error) = model.ask(&server).await;
        assert!(error.is_none(), "{error:?}");
        assert_eq!(events, ["one", "[DONE]"]);
        assert_eq!((server.seen.requests(), counts(&model.breaker)), (3, (1, 2)), "{protocol:?}");

        let server = serve([Answer::ok([ONE, Step::Flush, Step::Break]), Answer::ok([DONE])]).await;
        let (events, error) = model.ask(&server).await;
        assert_eq!(events, ["one"]);
        assert!(
            matches!(error, Some(Error::Interrupted { items: 1, cause: Some(_) })),
            "{error:?}"
        );
        assert_eq!((server.seen.requests(), counts(&model.breaker)), (1, (1, 3)), "{protocol:?}");

        // Complete at its transport, but not by its own word.
        let server = serve([Answer::ok([ONE]), Answer::ok([DONE])]).await;
        let (_, error) = model.ask(&server).await;
        assert!(matches!(error, Some(Error::Interrupted { items: 1, cause: None })), "{error:?}");
        assert_eq!((server.seen.requests(), counts(&model.breaker)), (1, (1, 4)), "{protocol:?}");
    }
}

#[tokio::test]
async fn limits_for_the_first_event_and_for_the_gaps_close_the_stream() {
    for protocol in Protocol::BOTH {
        let model = Model::new(protocol);
        let server = serve([Answer::ok([Step::Hang]), Answer::ok([ONE, DONE])]).await;
        let (events, error) = model.ask_and_wait(&server, 2 * SEC).await;
        assert!(error.is_none(), "{error:?}");
        assert_eq!(events, ["one", "[DONE]"], "the second try answers");
        server.seen.abandoned(1).await;
        assert_eq!(counts(&model.breaker), (1, 1), "{protocol:?}");

        let server = serve([Answer::ok([ONE, Step::Hang])]).await;
        let pipeline = model.pipeline();
        let streaming = pipeline.streaming().idle_timeout(model.limit(SEC, "gap")).until(is_done);
        let mut answer = streaming.call(|| open(&model.client, &server)).await.unwrap();
        assert_eq!(answer.next().await.unwrap().unwrap().data(), "one");
        let waiting = model.clock.waiting();
        let advance = async {
            while model.clock.waiting() == waiting {
                tokio::task::yield_now().await;
            }
            model.clock.advance(SEC);
        };
        let error = tokio::join!(answer.next(), advance).0.unwrap().unwrap_err();
        let told = "the answer broke off after 1 item: timeout `gap`: no answer within 1s";
        assert_eq!(error.to_string(), told);
        server.seen.abandoned(1).await;
        assert_eq!(counts(&model.breaker), (1, 2), "{protocol:?}");
    }
}

#[tokio::test]
async fn a_consumer_that_drops_the_events_closes_the_stream_and_counts_as_nothing() {
    for protocol in Protocol::BOTH {
        let model = Model::new(protocol);
        let server = serve([Answer::ok([ONE, Step::Hang])]).await;
        let pipeline = model.pipeline();
        let mut answer = pipeline
            .streaming()
            .until(is_done)
            .call(|| open(&model.client, &server))
            .await
            .unwrap();
        assert_eq!(answer.next().await.unwrap().unwrap().data(), "one");
        drop(answer);
        server.seen.abandoned(1).await;
        let totals = model.breaker.status().totals;
        assert_eq!((totals.successes, totals.failures, totals.cancelled), (0, 0, 1));
    }
}
