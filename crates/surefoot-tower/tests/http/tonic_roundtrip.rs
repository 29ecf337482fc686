//! A tonic client and a tonic server, each behind the layers, over the network.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use surefoot::http::deadline::DeadlineHeader;
use surefoot::prelude::*;
use surefoot::{Attempt, ManualClock, StopReason, Verdict};
use surefoot_tower::http::{
    DeadlineClientLayer, DeadlineServerLayer, ResponseClassifier, tonic::classify, tonic::status,
};
use surefoot_tower::{CircuitBreakerLayer, ServiceError, TimeoutLayer};
use tokio::sync::Notify;
use tonic::body::Body;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower::{Service, ServiceBuilder};

const SEC: Duration = Duration::from_secs(1);

/// A service that does what its requests say.
#[derive(Clone, Default)]
struct Told(Arc<Seen>);

#[derive(Default)]
struct Seen {
    left: Mutex<Option<Duration>>,
    begun: Notify,
    dropped: Notify,
}

#[tonic::async_trait]
impl Health for Told {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        *self.0.left.lock().unwrap() = Attempt::current().remaining();
        match request.get_ref().service.as_str() {
            "hang" => {
                let _dropped = NotifiesOnDrop(self.0.clone());
                self.0.begun.notify_one();
                std::future::pending().await
            }
            "limited" => {
                let details = bytes::Bytes::from_static(RETRY_IN_A_SECOND);
                Err(Status::with_details(Code::ResourceExhausted, "slow", details))
            }
            "down" => Err(Status::unavailable("down")),
            "absent" => Err(Status::not_found("absent")),
            _ => Ok(Response::new(HealthCheckResponse { status: 1 })),
        }
    }

    type WatchStream = Watch;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Watch>, Status> {
        let end = match request.get_ref().service.as_str() {
            "hang" => None,
            "down" => Some(Err(Status::unavailable("down"))),
            _ => Some(Ok(())),
        };
        Ok(Response::new(Watch { begun: false, end, _dropped: NotifiesOnDrop(self.0.clone()) }))
    }
}

/// `Status { details: [Any { RetryInfo { 1 s } }] }`.
const RETRY_IN_A_SECOND: &[u8] =
    b"\x1a\x30\x0a\x28type.googleapis.com/google.rpc.RetryInfo\x12\x04\x0a\x02\x08\x01";

struct NotifiesOnDrop(Arc<Seen>);

impl Drop for NotifiesOnDrop {
    fn drop(&mut self) {
        self.0.dropped.notify_one();
    }
}

/// One message, and then an end, or none.
struct Watch {
    begun: bool,
    end: Option<Result<(), Status>>,
    _dropped: NotifiesOnDrop,
}

impl Stream for Watch {
    type Item = Result<HealthCheckResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !std::mem::replace(&mut self.begun, true) {
            return Poll::Ready(Some(Ok(HealthCheckResponse { status: 1 })));
        }
        match self.end.take() {
            None => Poll::Pending,
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(status)) => Poll::Ready(Some(Err(status))),
        }
    }
}

struct Server {
    address: String,
    seen: Arc<Seen>,
    clock: ManualClock,
}

/// The service behind a [`DeadlineServerLayer`].
async fn serve() -> Server {
    let (told, clock) = (Told::default(), ManualClock::new());
    let deadline = DeadlineServerLayer::with_header(DeadlineHeader::grpc());
    let layers = ServiceBuilder::new().map_err(status).layer(deadline.on_clock(clock.clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let server = tonic::transport::Server::builder()
        .layer(layers)
        .add_service(HealthServer::new(told.clone()));
    tokio::spawn(server.serve_with_incoming(incoming));
    Server { address, seen: told.0, clock }
}

/// A client behind a breaker and a time limit whose clock stands still.
fn client(
    server: &Server,
    breaker: &CircuitBreaker,
) -> HealthClient<
    impl Service<
        http::Request<Body>,
        Response = http::Response<surefoot_tower::http::WatchedBody<Body>>,
        Error = Status,
        Future: Send,
    > + Clone,
> {
    let endpoint = Endpoint::from_shared(server.address.clone()).unwrap();
    let breaker = CircuitBreakerLayer::new(breaker.clone()).classify(ResponseClassifier::new());
    let limit = Timeout::new(30 * SEC).unwrap().on_clock(ManualClock::new());
    let layers = ServiceBuilder::new()
        .map_err(status)
        .layer(breaker.until_body_end())
        .layer(TimeoutLayer::new(limit))
        .layer(DeadlineClientLayer::with_header(DeadlineHeader::grpc()));
    HealthClient::new(layers.service(endpoint.connect_lazy()))
}

fn ask(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

fn breaker() -> CircuitBreaker {
    CircuitBreaker::builder("health").build().unwrap()
}

/// Successes, failures, ignored, cancelled.
fn counts(breaker: &CircuitBreaker) -> [u64; 4] {
    let totals = breaker.status().totals;
    [totals.successes, totals.failures, totals.ignored, totals.cancelled]
}

#[tokio::test]
async fn a_deadline_goes_from_a_tonic_client_to_a_tonic_handler() {
    let (server, breaker) = (serve().await, breaker());
    let mut client = client(&server, &breaker);
    let left = || *server.seen.left.lock().unwrap();
    client.check(ask("")).await.unwrap();
    assert_eq!(left(), Some(30 * SEC));
    // What a request asks for itself is kept where it is shorter, and only there.
    for (asked, told) in [(2, 2), (60, 30)] {
        let mut request = Request::new(ask(""));
        request.set_timeout(asked * SEC);
        client.check(request).await.unwrap();
        assert_eq!(left(), Some(told * SEC));
    }
    assert_eq!(counts(&breaker), [3, 0, 0, 0]);
}

#[tokio::test]
async fn a_handler_past_its_deadline_is_dropped_and_answered_for() {
    let (server, breaker) = (serve().await, breaker());
    let mut client = client(&server, &breaker);
    let advance = async {
        server.seen.begun.notified().await;
        while server.clock.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        server.clock.advance(30 * SEC);
    };
    let status = tokio::join!(client.check(ask("hang")), advance).0.unwrap_err();
    server.seen.dropped.notified().await;
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(status.message(), "timeout `the caller's deadline`: no answer within 30s");
    assert_eq!(counts(&breaker), [0, 1, 0, 0]);
}

#[tokio::test]
async fn hostile_deadlines_are_none() {
    let server = serve().await;
    let plain = Endpoint::from_shared(server.address.clone()).unwrap().connect_lazy();
    let mut client = HealthClient::new(plain);
    for value in ["-1S", "1", "S", "1s", "1.5S", "123456789S", "1 S", "99999999999999999999H"] {
        *server.seen.left.lock().unwrap() = Some(SEC);
        let mut request = Request::new(ask(""));
        request.metadata_mut().insert("grpc-timeout", value.parse().unwrap());
        // tonic itself leaves out what it cannot read.
        client.check(request).await.unwrap();
        assert_eq!(*server.seen.left.lock().unwrap(), None, "{value}");
    }
    let mut request = Request::new(ask(""));
    request.metadata_mut().insert("grpc-timeout", "0n".parse().unwrap());
    let status = client.check(request).await.unwrap_err();
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status}");
}

#[tokio::test]
async fn the_end_of_a_tonic_stream_is_the_verdict() {
    let server = serve().await;
    for (service, expected) in [("", [1, 0, 0, 0]), ("down", [0, 1, 0, 0])] {
        let breaker = breaker();
        let mut stream = client(&server, &breaker).watch(ask(service)).await.unwrap().into_inner();
        assert!(stream.message().await.unwrap().is_some());
        assert_eq!(counts(&breaker), [0; 4], "not over");
        let end = stream.message().await;
        assert_eq!(end.is_err(), service == "down");
        assert_eq!(counts(&breaker), expected, "{service}");
        server.seen.dropped.notified().await;
    }
    let breaker = breaker();
    let mut stream = client(&server, &breaker).watch(ask("hang")).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());
    drop(stream);
    server.seen.dropped.notified().await;
    assert_eq!(counts(&breaker), [0, 0, 0, 1]);
}

#[tokio::test]
async fn a_refusal_is_a_status() {
    let (server, breaker) = (serve().await, breaker());
    let mut client = client(&server, &breaker);
    for _ in 0..5 {
        assert_eq!(client.check(ask("down")).await.unwrap_err().code(), Code::Unavailable);
    }
    let refused = client.check(ask("")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().starts_with("circuit breaker `health`"), "{refused}");
    let pushback = refused.metadata().get("grpc-retry-pushback-ms").unwrap();
    let millis: u64 = pushback.to_str().unwrap().parse().unwrap();
    assert!((1..=60_000).contains(&millis), "{millis}");
}

#[test]
fn each_error_has_the_code_of_its_kind() {
    let own = |status: Status| surefoot_tower::Error::Operation(ServiceError::new(status));
    let exhausted = |last| Error::Exhausted {
        last: Box::new(last),
        refusal: None,
        stop: StopReason::Attempts,
        attempts: 3,
        elapsed: SEC,
        retry_after: Some(Duration::from_micros(1_000_001)),
    };
    let reset = || Error::Operation(ServiceError::new(std::io::Error::other("reset")));
    let interrupted = |cause: Option<surefoot_tower::Error>| Error::Interrupted {
        items: 1,
        cause: cause.map(Box::new),
    };
    for (error, code) in [
        (own(Status::not_found("nobody")), Code::NotFound),
        (reset(), Code::Unknown), // as tonic has it
        (exhausted(own(Status::aborted("lost"))), Code::Aborted),
        (exhausted(reset()), Code::Unavailable),
        (interrupted(None), Code::Unavailable),
        (interrupted(Some(own(Status::data_loss("lost")))), Code::DataLoss),
    ] {
        let text = error.to_string();
        assert_eq!(status(error).code(), code, "{text}");
    }
    // Rounded up: whoever obeys comes late enough.
    let told = status(exhausted(reset()));
    assert_eq!(told.metadata().get("grpc-retry-pushback-ms").unwrap(), "1001");
}

/// What a tonic call means to a policy.
async fn judged(service: &'static str) -> CircuitBreaker {
    let server = serve().await;
    let channel = Endpoint::from_shared(server.address.clone()).unwrap().connect_lazy();
    let client = HealthClient::new(channel);
    let breaker = breaker();
    let health = breaker.clone().classify(classify);
    let call = || {
        let mut client = client.clone();
        async move { client.check(ask(service)).await }
    };
    let _ = health.call(call).await;
    breaker
}

#[tokio::test]
async fn a_policy_around_a_tonic_client_knows_what_a_status_means() {
    assert_eq!(counts(&judged("").await), [1, 0, 0, 0]);
    assert_eq!(counts(&judged("down").await), [0, 1, 0, 0]);
    assert_eq!(counts(&judged("absent").await), [0, 0, 1, 0]);
    // With `RetryInfo` it is a rate limit: everybody waits.
    let limited = judged("limited").await;
    assert_eq!(counts(&limited)[1], 0);
    let Err(rejection) = limited.admit() else { panic!("the gate is open") };
    assert!(rejection.retry_after().is_some_and(|wait| wait <= SEC), "{rejection}");
}

#[test]
fn a_status_made_of_our_own_refusal_is_no_failure_of_the_service() {
    let breaker = breaker();
    breaker.force_open();
    let Err(rejection) = breaker.admit() else { panic!("it admits") };
    let refused = status(Error::Rejected(rejection));
    let judged = classify(Err::<&(), _>(&refused));
    assert_eq!((judged.verdict, judged.retryable), (Verdict::Ignored, true));
    let late = Error::Timeout { policy: "gap".into(), limit: SEC, dispatched: true, last: None };
    assert_eq!(classify(Err::<&(), _>(&status(late))), Classification::TRANSIENT);
    // Over the network only the code is left, and the wait that goes along.
    let mut remote = Status::new(refused.code(), refused.message());
    for (pushback, expected) in [
        (None, Classification::TRANSIENT),
        (Some("1500"), Classification::TRANSIENT.with_retry_after(Some(SEC * 3 / 2))),
        (Some("-1"), Classification::TRANSIENT.without_retry()),
        (Some("soon"), Classification::TRANSIENT.without_retry()),
    ] {
        if let Some(pushback) = pushback {
            remote.metadata_mut().insert("grpc-retry-pushback-ms", pushback.parse().unwrap());
        }
        assert_eq!(classify(Err::<&(), _>(&remote)), expected, "{pushback:?}");
    }
}
