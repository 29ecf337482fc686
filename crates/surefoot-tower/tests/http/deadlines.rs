//! The time left, on its way from a client to a handler.

use std::convert::Infallible;
use std::time::Duration;

use http::{Request, Response};
use surefoot::http::deadline::DeadlineHeader;
use surefoot::prelude::*;
use surefoot::{Attempt, ManualClock};
use surefoot_tower::TimeoutLayer;
use surefoot_tower::http::{DeadlineClientLayer, DeadlineServerLayer};
use tower::{Layer as _, ServiceBuilder, ServiceExt as _, service_fn};

use super::server::{Answer, Protocol, client, get, serve};

const SEC: Duration = Duration::from_secs(1);
const HEADER: &str = "x-envoy-expected-rq-timeout-ms";

#[tokio::test]
async fn a_client_tells_what_is_left_of_the_time_limit_around() {
    for protocol in Protocol::BOTH {
        let clock = ManualClock::new();
        let server = serve([(); 3].map(|()| Answer::ok([]))).await;
        let limit = Timeout::new(2 * SEC).unwrap().on_clock(clock.clone());
        let service = ServiceBuilder::new()
            .layer(TimeoutLayer::new(limit))
            .layer(DeadlineClientLayer::new())
            .service(client(protocol));
        service.oneshot(get(&server)).await.unwrap();
        assert_eq!(server.seen.headers.lock().unwrap()[HEADER], "2000");

        // A caller's own limit that is shorter still holds.
        let limit = Timeout::new(2 * SEC).unwrap().on_clock(clock.clone());
        let service = ServiceBuilder::new()
            .layer(TimeoutLayer::new(limit))
            .layer(DeadlineClientLayer::new())
            .service(client(protocol));
        let mut request = get(&server);
        request.headers_mut().insert(HEADER, "500".parse().unwrap());
        service.oneshot(request).await.unwrap();
        assert_eq!(server.seen.headers.lock().unwrap()[HEADER], "500");

        let unlimited = DeadlineClientLayer::new().layer(client(protocol));
        unlimited.oneshot(get(&server)).await.unwrap();
        assert!(!server.seen.headers.lock().unwrap().contains_key(HEADER), "{protocol:?}");
    }
}

/// What a handler behind the layer sees of the time left, or why it was not called.
async fn time_left(
    layer: DeadlineServerLayer,
    header: Option<&str>,
) -> Result<Option<Duration>, bool> {
    let handler = service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(Response::new(Attempt::current().remaining()))
    });
    let mut request = Request::new(());
    if let Some(value) = header {
        request.headers_mut().insert(HEADER, value.parse().unwrap());
    }
    match layer.layer(handler).oneshot(request).await {
        Ok(response) => Ok(response.into_body()),
        Err(Error::Timeout { dispatched, .. }) => Err(dispatched),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_server_obeys_the_deadline_it_is_told() {
    let layer = || DeadlineServerLayer::new().on_clock(ManualClock::new());
    assert_eq!(time_left(layer(), Some("1500")).await, Ok(Some(Duration::from_millis(1500))));
    assert_eq!(time_left(layer(), None).await, Ok(None));
    assert_eq!(time_left(layer(), Some("0")).await, Err(false), "over before it was dispatched");
    for malformed in ["-1", "soon", "1.5", "", "99999999999999999999999999999999999999999"] {
        assert_eq!(time_left(layer(), Some(malformed)).await, Ok(None), "{malformed}");
    }
    // Half a million years are no limit that a clock could tell.
    assert_eq!(time_left(layer(), Some("18446744073709551615")).await, Ok(None));
    // No caller gets more than that, nor one that does not say.
    for header in [None, Some("60000")] {
        assert_eq!(time_left(layer().at_most(5 * SEC).unwrap(), header).await, Ok(Some(5 * SEC)));
    }
    for impossible in [Duration::ZERO, Duration::MAX] {
        assert_eq!(layer().at_most(impossible).unwrap_err().field(), "at_most");
    }
}

#[tokio::test]
async fn a_handler_that_takes_longer_than_its_caller_waits_is_dropped() {
    let clock = ManualClock::new();
    let handler =
        service_fn(|_: Request<()>| std::future::pending::<Result<Response<()>, Infallible>>());
    let service = DeadlineServerLayer::new().on_clock(clock.clone()).layer(handler);
    let mut request = Request::new(());
    DeadlineHeader::default().set(request.headers_mut(), SEC);
    let call = tokio::spawn(service.oneshot(request));
    while clock.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    clock.advance(SEC);
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "timeout `the caller's deadline`: no answer within 1s");
}
