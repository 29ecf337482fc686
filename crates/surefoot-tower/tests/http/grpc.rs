//! gRPC: the verdict is in the trailers; a tonic client and server behind the layers.

use std::time::Duration;

use surefoot::http::deadline::DeadlineHeader;
use surefoot::prelude::*;
use surefoot_tower::http::{DeadlineClientLayer, ResponseClassifier};
use surefoot_tower::{CircuitBreakerLayer, TimeoutLayer};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::{Layer as _, ServiceBuilder, ServiceExt as _};

use super::server::{Answer, Protocol, Step, client, get, serve, text};

/// What a response with these steps counts as: successes, failures.
async fn counted(answer: Answer) -> (u64, u64) {
    let breaker = CircuitBreaker::builder("grpc").build().unwrap();
    let server = serve([answer.with("content-type", "application/grpc")]).await;
    let layer = CircuitBreakerLayer::new(breaker.clone())
        .classify(ResponseClassifier::new())
        .until_body_end();
    let response = layer.layer(client(Protocol::Http2)).oneshot(get(&server)).await.unwrap();
    let _ = text(response.into_body()).await;
    let totals = breaker.status().totals;
    (totals.successes, totals.failures)
}

#[tokio::test]
async fn the_verdict_is_that_of_the_trailers() {
    let message = Step::Send("message");
    for (status, expected) in [("0", (1, 0)), ("14", (0, 1)), ("5", (0, 0)), ("no number", (0, 1))]
    {
        let steps = [message.clone(), Step::Trailers("grpc-status", status)];
        assert_eq!(counted(Answer::ok(steps)).await, expected, "grpc-status {status}");
    }
    assert_eq!(counted(Answer::ok([message.clone()])).await, (0, 1), "an end without trailers");
    assert_eq!(
        counted(Answer::ok([message, Step::Flush, Step::Break])).await,
        (0, 1),
        "broken off"
    );
    // Without a body the status is in the headers.
    let trailers_only = Answer::ok([]).with("grpc-status", "14");
    assert_eq!(counted(trailers_only).await, (0, 1));
    let trailers_only = Answer::ok([]).with("grpc-status", "0");
    assert_eq!(counted(trailers_only).await, (1, 0));
}

#[tokio::test]
async fn a_tonic_client_goes_through_the_layers() {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("model", tonic_health::ServingStatus::Serving).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let server = tonic::transport::Server::builder().add_service(health);
    tokio::spawn(server.serve_with_incoming(incoming));

    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    let breaker = CircuitBreaker::builder("health").failure_threshold(1).build().unwrap();
    let layers = ServiceBuilder::new()
        .layer(
            CircuitBreakerLayer::new(breaker.clone())
                .classify(ResponseClassifier::new())
                .until_body_end(),
        )
        .layer(TimeoutLayer::new(Timeout::new(Duration::from_secs(30)).unwrap()))
        .layer(DeadlineClientLayer::with_header(DeadlineHeader::grpc()))
        .service(endpoint.connect_lazy());
    let mut client = HealthClient::new(layers);

    let check = |service: &str| HealthCheckRequest { service: service.to_owned() };
    let response = client.check(check("model")).await.unwrap();
    assert_eq!(response.into_inner().status, 1);
    assert_eq!(breaker.status().totals.successes, 1);

    // NOT_FOUND is the caller's mistake, and says nothing about the service.
    let status = client.check(check("nobody")).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound);
    assert_eq!(breaker.state(), CircuitState::Closed);

    // A refusal of ours reaches the caller with its own words.
    breaker.force_open();
    let status = client.check(check("model")).await.unwrap_err();
    assert!(status.message().contains("held open by an operator"), "{status}");
}
