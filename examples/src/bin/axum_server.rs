//! An axum server whose handlers are protected: a caller's deadline is obeyed, and a flaky database behind one route
//! has a circuit breaker and a time limit. What a policy refuses becomes a 503 with `Retry-After`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::error_handling::HandleErrorLayer;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use surefoot::prelude::*;
use surefoot::{Attempt, http::deadline::DeadlineHeader};
use surefoot_tower::http::{DeadlineServerLayer, ResponseClassifier};
use surefoot_tower::{CircuitBreakerLayer, TimeoutLayer};
use tower::ServiceBuilder;

#[derive(Default)]
struct Database {
    queries: AtomicUsize,
}

async fn report(State(database): State<Arc<Database>>) -> impl IntoResponse {
    database.queries.fetch_add(1, Ordering::Relaxed);
    (StatusCode::INTERNAL_SERVER_ERROR, "the database is down")
}

async fn time_left() -> String {
    format!("{:?}", Attempt::current().remaining().map(|left| left > Duration::from_secs(1)))
}

/// What a policy's error is to the caller.
async fn refuse(error: surefoot_tower::Error) -> impl IntoResponse {
    let mut headers = HeaderMap::new();
    if let Some(wait) = error.retry_after() {
        // In whole seconds, rounded up.
        headers.insert(
            header::RETRY_AFTER,
            wait.as_secs_f64().ceil().to_string().parse().expect("digits"),
        );
    }
    let status = match error {
        Error::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, headers, error.to_string())
}

fn app(database: Arc<Database>) -> Result<Router, ConfigError> {
    let breaker = CircuitBreaker::builder("database").failure_threshold(3).build()?;
    let reports = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(refuse))
        .layer(CircuitBreakerLayer::new(breaker).classify(ResponseClassifier::new()))
        .layer(TimeoutLayer::new(Timeout::new(Duration::from_secs(1))?.named("database")));
    let everything = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(refuse))
        .layer(DeadlineServerLayer::new().at_most(Duration::from_secs(30))?);
    Ok(Router::new()
        .route("/report", get(report).layer(reports))
        .route("/time-left", get(time_left))
        .layer(everything)
        .with_state(database))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let database = Arc::new(Database::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let server = axum::serve(listener, app(database.clone())?);
    tokio::spawn(server.into_future());
    let client = reqwest::Client::builder().no_proxy().build()?;

    // Three failures reach the database; then nothing does, and the caller is told when to come back.
    for _ in 0..3 {
        let response = client.get(format!("{url}/report")).send().await?;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
    let refused = client.get(format!("{url}/report")).send().await?;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()[header::RETRY_AFTER], "60");
    println!("{}", refused.text().await?);
    assert_eq!(database.queries.load(Ordering::Relaxed), 3);

    // A handler knows how much time its caller gives it; one that gives none is not served.
    let mut headers = HeaderMap::new();
    DeadlineHeader::default().set(&mut headers, Duration::from_secs(5));
    let told = client.get(format!("{url}/time-left")).headers(headers).send().await?;
    assert_eq!(told.text().await?, "Some(true)");
    let over = client
        .get(format!("{url}/time-left"))
        .header(DeadlineHeader::default().name().clone(), "0")
        .send()
        .await?;
    assert_eq!(over.status(), StatusCode::GATEWAY_TIMEOUT);
    println!("{}", over.text().await?);
    Ok(())
}
