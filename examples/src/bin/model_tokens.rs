//! Calls that weigh more than one: tokens of a model. An estimate is taken before each call and
//! corrected when the answer says what it used.

use std::io;
use std::time::Duration;

use surefoot::prelude::*;
use surefoot::rate_limiter::multi::{Limit, RateLimits};
use surefoot::{Clock, ManualClock, Timestamp};
use surefoot_examples::in_virtual_time;

struct Answer {
    tokens_used: u64,
}

async fn ask_the_model(tokens_used: u64) -> io::Result<Answer> {
    tokio::task::yield_now().await;
    Ok(Answer { tokens_used })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock = ManualClock::new(); // leave the clock out to use the system's
    let minute = Duration::from_secs(60);
    let tokens = RateLimiter::builder("tokens")
        .max_requests(10_000) // units, that is tokens, in a minute
        .time_window(minute)
        .clock(&clock)
        .build()?;

    // Each call may use up to 4 000 tokens, and says afterwards how many it did.
    let model = tokens.weighing(4_000).settling(|answer: Result<&Answer, &io::Error>| {
        answer.ok().map(|answer| answer.tokens_used) // what a failure used nobody knows
    });
    for _ in 0..5 {
        model.call(|| ask_the_model(1_500)).await?;
    }
    assert_eq!(tokens.remaining(), 2_500);
    assert_eq!(clock.now(), Timestamp::ZERO, "none had to wait: the estimates were corrected");

    // The next would not fit, if it used all it may. It waits until it would.
    in_virtual_time(&clock, model.call(|| ask_the_model(500))).await?;
    assert_eq!(clock.now() - Timestamp::ZERO, minute);
    assert_eq!(tokens.remaining(), 9_500);

    // A call that never runs costs nothing: here because the circuit is open.
    let circuit = CircuitBreaker::builder("model").clock(&clock).build()?;
    circuit.force_open();
    let careful = Pipeline::builder("model")
        .add(tokens.weighing(4_000))
        .add(circuit)
        .add(Timeout::new(Duration::from_secs(10))?.on_clock(&clock))
        .build()?;
    assert!(careful.call(|| ask_the_model(1_500)).await.is_err());
    assert_eq!(tokens.remaining(), 9_500);

    // One that could never fit is told so, and not made to wait.
    let refused = tokens.acquire_n(10_001).await.expect_err("more than the limit");
    println!("{refused}");
    assert_eq!(refused.retry_after(), None);

    // Requests and tokens, for each user and for all: all of them, or none.
    let limits: RateLimits<String> = RateLimits::builder("model")
        .limit(Limit::overall("requests", 50, minute))
        .limit(Limit::overall("tokens", 30_000, minute))
        .limit(Limit::per_key("tokens", 10_000, minute))
        .clock(&clock)
        .build()?;
    let charge = limits.try_reserve("ann", &[("tokens", 8_000)])?;
    let refused = limits.check("ann", &[("tokens", 8_000)]).expect_err("her own limit");
    println!("{refused}");
    charge.settle(&[("tokens", 1_500)])?;
    limits.check("ann", &[("tokens", 8_000)])?;
    assert_eq!(limits.remaining("ann", "tokens"), Some(500));
    assert_eq!(limits.remaining("bob", "tokens"), Some(10_000));
    Ok(())
}
