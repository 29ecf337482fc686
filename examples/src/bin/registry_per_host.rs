//! One circuit breaker for each host, made when the host is first called.
//!
//! The specification's section 9.1 asks to "use different circuits for different dependencies": a
//! host that is down must not close the way to the others. Memory stays bounded whatever the keys
//! are: beyond `max_breakers`, new keys share one breaker.

use std::collections::BTreeMap;
use std::io;

use surefoot::circuit_breaker::CircuitBreakerConfig;
use surefoot::prelude::*;

async fn fetch(registry: &Registry, host: &str) -> Result<String, Error<io::Error>> {
    let get = async || match host {
        "down.example.com" => Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
        host => Ok(format!("hello from {host}")),
    };
    registry.get(host).call(get).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let hosts: Registry = Registry::builder("host")
        .template(CircuitBreakerConfig { failure_threshold: 3, ..CircuitBreakerConfig::default() })
        .max_breakers(2)
        .on_event(|event| println!("{event:?}"))
        .build()?;

    for _ in 0..3 {
        assert!(fetch(&hosts, "down.example.com").await.is_err());
    }
    let refused = fetch(&hosts, "down.example.com").await.expect_err("its circuit is open");
    println!("{refused}");
    assert!(matches!(refused, Error::Rejected(_)));

    // The others do not notice.
    assert_eq!(fetch(&hosts, "up.example.com").await?, "hello from up.example.com");
    let states: BTreeMap<_, _> =
        hosts.statuses().iter().map(|status| (status.name.to_string(), status.state)).collect();
    assert_eq!(states["host/down.example.com"], CircuitState::Open);
    assert_eq!(states["host/up.example.com"], CircuitState::Closed);

    // A third key makes room: a healthy breaker that nobody holds remembers nothing worth keeping.
    assert_eq!(hosts.get("third.example.com").name().as_str(), "host/third.example.com");
    assert!(hosts.peek("up.example.com").is_none());
    assert!(hosts.peek("down.example.com").is_some());

    // One that is held stays, and then there is no room left: new keys share a breaker.
    let held = hosts.get("third.example.com");
    let shared = hosts.get("fourth.example.com");
    assert_eq!(shared.name().as_str(), "host/overflow");
    assert_eq!((hosts.len(), hosts.overflowed()), (2, 1));
    drop(held);
    Ok(())
}
