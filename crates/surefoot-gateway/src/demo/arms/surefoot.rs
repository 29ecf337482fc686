//! TUNING VERSION

use std::time::Duration;

use surefoot::prelude::*;
use surefoot::{BoxPipeline};
use super::{Endpoint, Failure, Limits, Verdict as Ending};
use super::endpoint::Reply;

fn env(n: &str, d: f64) -> f64 {
    std::env::var(n).ok().and_then(|v| v.parse().ok()).unwrap_or(d)
}

#[derive(Debug)]
pub(crate) struct Surefoot {
    endpoint: Endpoint,
    pipeline: BoxPipeline<Reply, reqwest::Error>,
}

impl Surefoot {
    pub(crate) fn new(endpoint: Endpoint, limits: Limits, seed: u64) -> Self {
        Self { endpoint, pipeline: pipeline(limits, seed).expect("valid") }
    }

    pub(crate) async fn call(&self) -> Ending {
        match self.pipeline.call(|| self.endpoint.send()).await {
            Ok(reply) => Ending::of(&Ok(reply)),
            Err(error) => ending(error),
        }
    }
}

fn ending(error: Error<reqwest::Error>) -> Ending {
    match error {
        Error::Operation(error) => Ending::of(&Err(error)),
        Error::Rejected(_) => Ending::Rejected,
        Error::Exhausted { last, .. } => ending(*last),
        _ => Ending::Failed(Failure::Timeout),
    }
}

fn pipeline(limits: Limits, seed: u64) -> Result<BoxPipeline<Reply, reqwest::Error>, ConfigError> {
    let start = std::time::Instant::now();
    let log = move |e: &surefoot::Event| if std::env::var("LOG").is_ok() { eprintln!("{:7.3} {e:?}", start.elapsed().as_secs_f64()) };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let n = |k: &str, d: f64| env(k, d) as u32;
    let budget = RetryBudget::builder().ratio(env("BUDGET", 0.3)).initial(n("BINIT", 20.0)).max(n("BMAX", 100.)).build()?;
    let mut retry = Retry::builder()
        .max_attempts(n("TRIES", 3.0))
        .initial_delay(Duration::from_millis(100))
        .jitter(Jitter::Full)
        .min_attempt_time(Duration::from_secs_f64(env("MIN", 0.0)))
        .seed(seed)
        .on_event(log);
    if env("NOBUDGET", 0.0) == 0.0 { retry = retry.budget(budget); } else { retry = retry.budget(RetryBudget::unlimited()); }
    let mut breaker = CircuitBreaker::builder("service")
        .timeout(Duration::from_secs_f64(env("OPEN", 0.3)))
        .success_threshold(n("PROBES", 2.0))
        .half_open_max_calls(n("HMAX", 2.0))
        .half_open_timeout(Duration::from_secs_f64(env("HOT", env("OPEN", 0.3))))
        .on_event(log)
        .seed(seed);
    breaker = match env("TRIP", 0.0) {
        0.0 => breaker.trip(Trip::RateCountWindow { rate: env("RATE", 0.7), window_calls: n("WIN", 40.0), min_calls: n("MINC", 20.0) }),
        1.0 => breaker.trip(Trip::Consecutive { failures: n("CONS", 5.0) }),
        _ => breaker.trip(Trip::RateTimeWindow { rate: env("RATE", 0.7), window: Duration::from_secs_f64(env("TW", 1.0)), min_calls: n("MINC", 20.0), buckets: 10 }),
    };
    Ok(Pipeline::builder("service")
        .idempotent()
        .classify(judge)
        .add(Timeout::new(limits.deadline)?.named("total"))
        .add(retry.build()?)
        .add(breaker.build()?)
        .add(Timeout::new(Duration::from_secs_f64(env("ATT", limits.attempt.as_secs_f64())))?.named("attempt"))
        .build()?
        .boxed())
}

fn judge(result: Result<&Reply, &reqwest::Error>) -> Classification {
    match result {
        Ok(reply) if reply.status.is_success() => Classification::SUCCESS,
        Ok(reply) if reply.status == reqwest::StatusCode::TOO_MANY_REQUESTS => Classification::throttled(reply.retry_after),
        Ok(reply) if reply.status.is_server_error() => Classification::TRANSIENT.with_retry_after(reply.retry_after),
        Ok(_) => Classification::PERMANENT,
        Err(_) => Classification::TRANSIENT,
    }
}
