//! The options of all policies from one configuration file, with errors that say what to mend.

use serde::Deserialize;
use std::io;

use surefoot::circuit_breaker::CircuitBreakerConfig;
use surefoot::config::from_deserializer;
use surefoot::prelude::*;
use surefoot::retry::RetryConfig;
use surefoot::timeout::TimeoutConfig;

const FILE: &str = r#"
    [total]
    name = "total"
    limit = "30s"

    [retry]
    max_attempts = 4
    initial_delay = "250ms"
    max_delay = "5s"
    jitter = "full"

    [circuit_breaker]
    name = "model"
    timeout = "15s"
    success_threshold = 1

    [circuit_breaker.trip]
    kind = "rate_time_window"
    rate = 0.5
    window = "10s"
    min_calls = 20
    buckets = 10

    [attempt]
    name = "attempt"
    limit = "10s"
"#;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    total: TimeoutConfig,
    retry: RetryConfig,
    circuit_breaker: CircuitBreakerConfig,
    attempt: TimeoutConfig,
}

/// Reads the file; whatever is wrong with it, the error names the option.
fn read(file: &str) -> Result<Config, Box<dyn std::error::Error>> {
    Ok(from_deserializer("config", file.parse::<toml::Table>()?)?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = read(FILE)?;
    let model = Pipeline::builder("model")
        .idempotent()
        .add(config.total.build()?)
        .add(config.retry.build()?)
        .add(config.circuit_breaker.build()?)
        .add(config.attempt.build()?)
        .build()?;

    let parts: Vec<_> = model.order().iter().map(ToString::to_string).collect();
    println!("{}", parts.join(" → "));
    assert_eq!(
        parts,
        ["timeout `total`", "retry `retry`", "circuit breaker `model`", "timeout `attempt`"],
    );
    assert_eq!(model.call(async || Ok::<_, io::Error>("an answer")).await?, "an answer");

    // One policy alone reads itself. An option that does not exist, a value that cannot be read,
    // and one that breaks a rule:
    let unknown = RetryConfig::from_toml("max_atempts = 5").unwrap_err();
    let unreadable = RetryConfig::from_toml("max_delay = 5").unwrap_err();
    let broken = RetryConfig::from_toml(r#"max_delay = "1ms""#)?.build().unwrap_err();
    for (error, field) in
        [(&unknown, "max_atempts"), (&unreadable, "max_delay"), (&broken, "initial_delay")]
    {
        println!("{error}");
        assert_eq!(error.field(), field);
    }

    // In the whole file the error names the table too.
    let error = read(&FILE.replace("max_attempts = 4", "max_attempts = \"four\"")).unwrap_err();
    println!("{error}");
    assert!(error.to_string().contains("retry.max_attempts"));
    Ok(())
}
