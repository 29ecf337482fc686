//! A gigabyte through the layers: memory stays flat, and a slow consumer slows the server.
//!
//! Events are parsed byte by byte, so less of them is sent, unless `SUREFOOT_STREAM_MIB` says how much.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use surefoot::http::sse::SseEvent;
use surefoot::prelude::*;
use surefoot_tower::CircuitBreakerLayer;
use surefoot_tower::http::{EventError, Events, FirstFrameLayer};
use tower::{Layer as _, ServiceBuilder, ServiceExt as _};

use super::server::{Answer, Protocol, Server, Step, client, get, serve};

const PIECE: usize = 64 * 1024;
const GIGABYTE: usize = 1 << 30;

/// Bytes of memory this process holds.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn flood(bytes: usize) -> Answer {
    let piece = Bytes::from(vec![b'x'; PIECE]);
    Answer::ok([Step::Flood { piece, times: bytes / PIECE }])
}

#[tokio::test]
async fn a_gigabyte_flows_through_flat_memory() {
    for protocol in Protocol::BOTH {
        let server = serve([flood(GIGABYTE)]).await;
        let breaker = CircuitBreaker::builder("model").build().unwrap();
        let idle = Timeout::new(Duration::from_secs(60)).unwrap();
        let layer = CircuitBreakerLayer::new(breaker.clone()).until_body_end().idle_timeout(idle);
        let service = ServiceBuilder::new().layer(layer).layer(FirstFrameLayer);
        let response = service.service(client(protocol)).oneshot(get(&server)).await.unwrap();
        let mut body = response.into_body();
        let (mut received, mut least, mut most) = (0, usize::MAX, 0);
        while let Some(frame) = body.frame().await {
            received += frame.unwrap().data_ref().map_or(0, Bytes::len);
            if (received / PIECE).is_multiple_of(256) {
                let resident = resident();
                least = least.min(resident);
                most = most.max(resident);
            }
        }
        assert_eq!(received, GIGABYTE);
        assert_eq!(breaker.status().totals.successes, 1);
        let grown = most.saturating_sub(least) / (1 << 20);
        assert!(grown < 64, "{protocol:?}: {grown} MiB more at one time than at another");
    }
}

/// Mebibytes that the server has sent once nothing moves any more: what the sockets and the connection's own window
/// hold.
async fn sent_at_rest(server: &Server) -> usize {
    let mut sent = usize::MAX;
    while sent != server.seen.pieces() {
        sent = server.seen.pieces();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    sent * PIECE / (1 << 20)
}

/// Events of a kibibyte each.
fn flood_of_events(bytes: usize) -> Answer {
    let event = format!("data: {}\n\n", "x".repeat(1024 - 8));
    let piece = Bytes::from(event.repeat(PIECE / event.len()));
    assert_eq!(piece.len(), PIECE);
    Answer::ok([Step::Flood { piece, times: bytes / PIECE }, Step::Send("data: [DONE]\n\n")])
}

#[tokio::test]
async fn a_long_stream_of_events_flows_through_flat_memory() {
    let mebibytes = std::env::var("SUREFOOT_STREAM_MIB").map_or(64, |told| told.parse().unwrap());
    for protocol in Protocol::BOTH {
        let server = serve([flood_of_events(mebibytes << 20)]).await;
        let breaker = CircuitBreaker::builder("model").build().unwrap();
        let client = client(protocol);
        let open = || async {
            let response = client.clone().oneshot(get(&server)).await;
            Ok::<_, EventError>(Events::new(response.unwrap().into_body()))
        };
        let streaming = breaker.streaming().until(|event: &SseEvent| event.data() == "[DONE]");
        let mut answer = streaming.call(open).await.unwrap();
        let (mut least, mut most) = (usize::MAX, 0);
        while let Some(event) = answer.next().await {
            event.unwrap();
            if answer.items().is_multiple_of(4096) {
                let resident = resident();
                least = least.min(resident);
                most = most.max(resident);
            }
        }
        assert_eq!(answer.items(), 1024 * mebibytes as u64 + 1);
        assert_eq!(breaker.status().totals.successes, 1);
        let grown = most.saturating_sub(least) / (1 << 20);
        assert!(grown < 64, "{protocol:?}: {grown} MiB more at one time than at another");
    }
}

#[tokio::test]
async fn whoever_takes_one_event_slows_the_server_too() {
    for protocol in Protocol::BOTH {
        let server = serve([flood_of_events(GIGABYTE)]).await;
        let breaker = CircuitBreaker::builder("model").build().unwrap();
        let client = client(protocol);
        let open = || async {
            let response = client.clone().oneshot(get(&server)).await;
            Ok::<_, EventError>(Events::new(response.unwrap().into_body()))
        };
        let mut answer = breaker.call_stream(open).await.unwrap();
        assert!(answer.next().await.unwrap().is_ok());
        assert!(sent_at_rest(&server).await < 32, "{protocol:?}");
    }
}

#[tokio::test]
async fn a_slow_consumer_slows_the_server() {
    for protocol in Protocol::BOTH {
        let server = serve([flood(GIGABYTE)]).await;
        let breaker = CircuitBreaker::builder("model").build().unwrap();
        let layer = CircuitBreakerLayer::new(breaker).until_body_end();
        let response = layer.layer(client(protocol)).oneshot(get(&server)).await.unwrap();
        let mut body = response.into_body();
        assert!(body.frame().await.unwrap().is_ok());
        let megabytes = sent_at_rest(&server).await;
        assert!(
            megabytes < 32,
            "{protocol:?}: {megabytes} MiB sent to a consumer that took one frame"
        );
    }
}
