//! A gigabyte through the layers: memory stays flat, and a slow consumer slows the server.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use surefoot::prelude::*;
use surefoot_tower::CircuitBreakerLayer;
use surefoot_tower::http::FirstFrameLayer;
use tower::{Layer as _, ServiceBuilder, ServiceExt as _};

use super::server::{Answer, Protocol, Step, client, get, serve};

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

#[tokio::test]
async fn a_slow_consumer_slows_the_server() {
    for protocol in Protocol::BOTH {
        let server = serve([flood(GIGABYTE)]).await;
        let breaker = CircuitBreaker::builder("model").build().unwrap();
        let layer = CircuitBreakerLayer::new(breaker).until_body_end();
        let response = layer.layer(client(protocol)).oneshot(get(&server)).await.unwrap();
        let mut body = response.into_body();
        assert!(body.frame().await.unwrap().is_ok());
        // Until nothing moves any more: what the sockets and the connection's own window hold.
        let mut sent = usize::MAX;
        while sent != server.seen.pieces() {
            sent = server.seen.pieces();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let megabytes = sent * PIECE / (1 << 20);
        assert!(
            megabytes < 32,
            "{protocol:?}: {megabytes} MiB sent to a consumer that took one frame"
        );
    }
}
