//! An axum server whose handlers are protected, called over the network.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::error_handling::HandleErrorLayer;
use axum::http::StatusCode;
use axum::routing::get;
use http::HeaderValue;
use surefoot::prelude::*;
use surefoot::{Attempt, ManualClock};
use surefoot_tower::http::{DeadlineClientLayer, DeadlineServerLayer, ResponseClassifier};
use surefoot_tower::{CircuitBreakerLayer, TimeoutLayer};
use tower::{ServiceBuilder, ServiceExt as _};

use super::server::{Protocol, client, request, text};

const SEC: Duration = Duration::from_secs(1);
const HEADER: &str = "x-envoy-expected-rq-timeout-ms";

async fn refuse(error: surefoot_tower::Error) -> (StatusCode, String) {
    let status = match error {
        Error::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, error.to_string())
}

/// Calls of the handlers, those that were dropped among them.
#[derive(Default)]
struct Calls {
    begun: AtomicUsize,
    dropped: AtomicUsize,
}

struct Call(Arc<Calls>);

impl Drop for Call {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

struct Server {
    url: String,
    calls: Arc<Calls>,
    clock: ManualClock,
    breaker: CircuitBreaker,
}

async fn serve() -> Server {
    let (calls, clock) = (Arc::<Calls>::default(), ManualClock::new());
    let breaker =
        CircuitBreaker::builder("database").clock(clock.clone()).failure_threshold(2).build();
    let breaker = breaker.unwrap();
    let limit = Timeout::new(3 * SEC).unwrap().named("database").on_clock(clock.clone());
    let left = || async { format!("{:?}", Attempt::current().remaining()) };
    let hang = {
        let calls = calls.clone();
        move || {
            calls.begun.fetch_add(1, Ordering::SeqCst);
            let call = Call(calls.clone());
            async move {
                let _call = call;
                std::future::pending::<Infallible>().await;
            }
        }
    };
    let guarded = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(refuse))
        .layer(CircuitBreakerLayer::new(breaker.clone()).classify(ResponseClassifier::new()))
        .layer(TimeoutLayer::new(limit));
    let everything = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(refuse))
        .layer(DeadlineServerLayer::new().on_clock(clock.clone()).at_most(10 * SEC).unwrap());
    let app = Router::new()
        .route("/left", get(left))
        .route("/hang", get(hang).layer(guarded))
        .layer(everything);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, app).into_future());
    Server { url, calls, clock, breaker }
}

impl Server {
    /// What the handler sees of the time left, or the refusal.
    async fn left(&self, protocol: Protocol, values: &[&[u8]]) -> (u16, String) {
        let mut request = request(&format!("{}/left", self.url));
        for value in values {
            request.headers_mut().append(HEADER, HeaderValue::from_bytes(value).unwrap());
        }
        let response = client(protocol).oneshot(request).await.unwrap();
        (response.status().as_u16(), text(response.into_body()).await.unwrap())
    }

    /// A call of the handler that hangs, with the clock moved once it is under way.
    async fn hang(&self, by: Duration, client_limit: Duration) -> (u16, String) {
        let begun = self.calls.begun.load(Ordering::SeqCst);
        // The client's own clock stands still: it is the server that ends the call.
        let limit = Timeout::new(client_limit).unwrap().on_clock(ManualClock::new());
        let client = ServiceBuilder::new()
            .layer(TimeoutLayer::new(limit))
            .layer(DeadlineClientLayer::new())
            .service(client(Protocol::Http1));
        let call = client.oneshot(request(&format!("{}/hang", self.url)));
        let advance = async {
            while self.calls.begun.load(Ordering::SeqCst) == begun || self.clock.waiting() == 0 {
                tokio::task::yield_now().await;
            }
            self.clock.advance(by);
        };
        let response = tokio::join!(call, advance).0.unwrap();
        (response.status().as_u16(), text(response.into_body()).await.unwrap())
    }
}

#[tokio::test]
async fn a_handler_sees_the_time_its_caller_gives_it_whatever_the_header_says() {
    let server = serve().await;
    let most = "Some(10s)".to_owned();
    for protocol in Protocol::BOTH {
        for values in [
            &[&b"-1"[..]][..],
            &[b"soon"],
            &[b"1.5"],
            &[b"0x10"],
            &[b"1e3"],
            &[b""],
            &[b"\xff\xfe"],
            &["\u{ff15}".as_bytes()],
            &[b"99999999999999999999999999999999999999999"],
            &[b"18446744073709551615"],
            &[&[b'9'; 4096]],
            &[],
        ] {
            assert_eq!(server.left(protocol, values).await, (200, most.clone()), "{values:?}");
        }
        // Of several the shortest counts, and what cannot be read among them does not.
        let several: &[&[u8]] = &[b"5000", b"2500", b"soon", b"4000"];
        assert_eq!(server.left(protocol, several).await, (200, "Some(2.5s)".to_owned()));
        let over =
            "timeout `the caller's deadline`: no answer within 0s (the call was never started)";
        for zero in [&b"0"[..], b"000"] {
            assert_eq!(server.left(protocol, &[zero]).await, (504, over.to_owned()));
        }
    }
}

#[tokio::test]
async fn a_handler_is_dropped_at_its_callers_deadline_and_at_its_own_limit() {
    let server = serve().await;
    // The caller's two seconds are over first.
    let (status, said) = server.hang(2 * SEC, 2 * SEC).await;
    assert_eq!(
        (status, said.as_str()),
        (504, "timeout `the caller's deadline`: no answer within 2s")
    );
    assert_eq!(server.calls.dropped.load(Ordering::SeqCst), 1);
    assert_eq!(server.breaker.status().failure_count, 1);
    // Now the database's three.
    let (status, said) = server.hang(3 * SEC, 60 * SEC).await;
    assert_eq!((status, said.as_str()), (504, "timeout `database`: no answer within 3s"));
    assert_eq!(server.calls.dropped.load(Ordering::SeqCst), 2);
    // Two failures open the circuit, and no handler is called any more.
    let response =
        client(Protocol::Http1).oneshot(request(&format!("{}/hang", server.url))).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(server.calls.begun.load(Ordering::SeqCst), 2);
}
