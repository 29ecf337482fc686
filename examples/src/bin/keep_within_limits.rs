//! Start here for limits: so many a minute, so many at once, who goes first, what a run may spend.

use std::time::Duration;

use surefoot::prelude::*;
use surefoot::rate_limiter::multi::{Limit, RateLimits};

async fn run_the_agent() -> Result<(), Box<dyn std::error::Error>> {
    let model = Timeout::new(Duration::from_secs(10))?;
    model.call(async || Ok::<_, std::io::Error>(())).await?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // README: begin
    let minute = Duration::from_secs(60);
    let limiter = RateLimiter::builder("search").max_requests(100).time_window(minute).build()?;
    limiter.acquire().await?; // waits for its slot; `is_allowed()` and `check()` do not wait

    let throttler = Throttler::builder("reports").max_concurrent(10).queue_size(100).build()?;
    let permit = throttler.acquire().await?; // dropping it lets the next one in

    let tools =
        Bulkhead::builder("tools").compartment("critical", 10, 20).compartment("rest", 2, 5);
    let tools = tools.build()?;
    let critical = tools.acquire("critical").await?;

    let shedder = LoadShedder::builder("api").capacity(200).build()?; // or CPU and memory: `SystemLoad`
    let place = shedder.admit(3)?; // 3 is the highest of three priorities; under load 1 goes first

    let run = Budget::builder("agent run").attempts(50).tokens(200_000).build()?;
    run.scope(run_the_agent()).await?; // all calls, retries and hedges in there draw on it
    // README: end
    assert_eq!((limiter.current_rate(), throttler.in_flight()), (1, 1));
    drop((permit, critical, place));
    assert_eq!(run.remaining().attempts, Some(49));

    // README, several limits: begin
    let limits: RateLimits<String> = RateLimits::builder("model")
        .limit(Limit::per_key("requests", 60, minute))
        .limit(Limit::overall("tokens", 30_000, minute))
        .build()?;
    let api =
        Pipeline::builder("model").add(limits.call_of("alice", &[("tokens", 1_000)])?).build()?;
    // README: end
    api.call(async || Ok::<_, std::io::Error>(())).await?;

    // README, health: begin
    let registry: Registry = Registry::builder("host").build()?; // a breaker for each key: `registry.get("api.example.com")`
    registry.register(&limiter);
    registry.register(&limits); // `register_pipeline(&api)` takes retries, breakers … of a pipeline
    let report = registry.health(); // `healthy`, and each policy's own; as JSON with feature `serde`
    // README: end
    assert!(report.healthy);
    assert_eq!(limits.remaining("alice", "tokens"), Some(29_000));
    println!("one attempt is spent: {:?}", run.spent());
    Ok(())
}
