//! Section 8.1: counters and gauges for a metrics system, and a log of what policies do.
//!
//! ```python
//! # Track circuit breaker
//! metrics.gauge("circuit_breaker.state", state_value, tags={"circuit": name})
//! metrics.increment("circuit_breaker.failures", tags={"circuit": name})
//!
//! # Track retries
//! metrics.increment("retry.attempts", tags={"operation": op_name})
//! metrics.timing("retry.delay", delay_ms)
//!
//! # Track backpressure
//! metrics.gauge("backpressure.queue_depth", depth)
//! metrics.increment("backpressure.shed_requests")
//! ```
//!
//! Policies count by themselves. Here Prometheus is the recorder, which writes dots as
//! underscores; any recorder of the `metrics` crate will do.

use std::io;

use metrics_exporter_prometheus::PrometheusBuilder;
use surefoot::ManualClock;
use surefoot::metrics::{publish, record_delays};
use surefoot::prelude::*;
use surefoot_examples::in_virtual_time;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_target(false).without_time().with_ansi(false).init();
    let prometheus = PrometheusBuilder::new().install_recorder()?;

    let clock = ManualClock::new();
    let breaker = CircuitBreaker::builder("billing").failure_threshold(3).clock(&clock).build()?;
    let retry = Retry::builder()
        .name("invoice")
        .budget(RetryBudget::on_clock(&clock)) // shared by all that call the same service
        .clock(&clock)
        .build()?;
    surefoot::tracing::log(breaker.events()).forever();
    surefoot::tracing::log(retry.events()).forever();
    record_delays(&retry).forever();

    let billing = Pipeline::builder("billing")
        .idempotent()
        .add(retry.clone())
        .add(breaker.clone())
        .add(Timeout::new(std::time::Duration::from_secs(10))?.on_clock(&clock))
        .build()?;
    let invoice = async || Err::<(), _>(io::Error::from(io::ErrorKind::ConnectionRefused));
    assert!(in_virtual_time(&clock, billing.call(invoice)).await.is_err());

    let throttler = Throttler::builder("reports").max_concurrent(1).clock(&clock).build()?;
    let shedder = LoadShedder::builder("api").capacity(1).clock(&clock).build()?;
    let registry: Registry = Registry::builder("host").build()?;
    registry.register(&breaker);
    registry.register(&throttler);
    registry.register(&shedder);
    let at_work = throttler.acquire().await?;
    let mut waits = std::pin::pin!(throttler.acquire());
    assert!(futures_lite::future::poll_once(&mut waits).await.is_none());
    let inside = shedder.admit(3)?;
    assert!(shedder.should_shed(1));

    publish(&registry); // before each scrape, or every few seconds
    publish(&retry);
    drop((at_work, inside));
    let scraped = prometheus.render();
    println!("{scraped}");
    for line in [
        r#"circuit_breaker_state{circuit="billing"} 1"#,
        r#"circuit_breaker_failures{circuit="billing"} 3"#,
        r#"circuit_breaker_opened{circuit="billing"} 1"#,
        r#"retry_attempts{operation="invoice"} 2"#,
        r#"retry_delay_sum{operation="invoice"} 3000"#,
        r#"retry_delay_count{operation="invoice"} 2"#,
        r#"backpressure_queue_depth{throttler="reports"} 1"#,
        r#"backpressure_shed_requests{shedder="api",priority="1"} 1"#,
    ] {
        assert!(scraped.lines().any(|scraped| scraped == line), "{line}");
    }
    Ok(())
}
