//! Surefoot's pipeline, in its recommended order: total timeout → retry → circuit breaker → attempt timeout.
//!
//! The settings are those of someone who knows the service's nature and not its script: it answers within a few
//! hundred milliseconds, fails now and then by bad luck, says how long to stay away, and has cold caches when it
//! comes back from an outage.

use std::time::Duration;

use reqwest::StatusCode;
use surefoot::prelude::{
    CircuitBreaker, Classification, ConfigError, Error, Jitter, Pipeline, Retry, RetryBudget,
    Timeout, Trip,
};
use surefoot::{BoxPipeline, Identity, PipelineBuilder, Stack};

use super::endpoint::Reply;
use super::{Endpoint, Failure, Limits, Verdict};

/// As many as plain retries make, with the same backoff.
const ATTEMPTS: u32 = 3;
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// Retries for this share of the calls: what it takes to see calls through a spell in which one in three fails
/// (1/3 + 1/9 + …). Waits for the breaker draw on it, too, so that no crowd gathers in front of it.
pub(crate) const BUDGET: f64 = 0.5;
/// No attempt starts with less time left: it would end at the deadline, and look like a failure of the service.
pub(crate) const USUAL_ANSWER: Duration = Duration::from_millis(200);
/// The breaker opens at this share of failures: well above what a flaky spell has, where retries serve better …
pub(crate) const TRIP: f64 = 0.7;
/// … among so many of the last calls, …
pub(crate) const TRIP_CALLS: u32 = 40;
/// … judged from so many on. As many have to succeed before it closes again.
pub(crate) const EVIDENCE: u32 = 20;
/// How long it stays open.
pub(crate) const OPEN: Duration = Duration::from_millis(300);
/// Trial calls at a time: twice what is under way on a good day (50 calls a second of 100 ms), and all that a
/// service with cold caches gets until it has proved itself.
pub(crate) const TRIALS: u32 = 10;

#[derive(Debug)]
pub(crate) struct Surefoot {
    endpoint: Endpoint,
    pipeline: BoxPipeline<Reply, reqwest::Error>,
}

impl Surefoot {
    pub(crate) fn new(endpoint: Endpoint, limits: Limits, seed: u64) -> Self {
        let pipeline = pipeline(limits, seed).expect("the demo's settings obey the rules");
        Self { endpoint, pipeline }
    }

    pub(crate) async fn call(&self) -> Verdict {
        match self.pipeline.call(|| self.endpoint.send()).await {
            Ok(reply) => Verdict::of(&Ok(reply)),
            Err(error) => left_with(error),
        }
    }
}

fn pipeline(limits: Limits, seed: u64) -> Result<BoxPipeline<Reply, reqwest::Error>, ConfigError> {
    Ok(policies(limits, seed)?.classify(judge).build()?.boxed())
}

/// The policies around every kind of call.
pub(super) type Policies =
    Stack<Stack<Stack<Stack<Identity, Timeout>, Retry>, CircuitBreaker>, Timeout>;

pub(super) fn policies(
    limits: Limits,
    seed: u64,
) -> Result<PipelineBuilder<Policies>, ConfigError> {
    let retry = Retry::builder()
        .max_attempts(ATTEMPTS)
        .initial_delay(FIRST_DELAY)
        .jitter(Jitter::Full)
        .min_attempt_time(USUAL_ANSWER)
        .budget(RetryBudget::builder().ratio(BUDGET).build()?)
        .seed(fastrand::Rng::with_seed(seed).u32(..));
    let breaker = CircuitBreaker::builder("service")
        .trip(Trip::RateCountWindow { rate: TRIP, window_calls: TRIP_CALLS, min_calls: EVIDENCE })
        .timeout(OPEN)
        .half_open_max_calls(TRIALS)
        .success_threshold(EVIDENCE)
        // A trial call keeps its place for as long as it may take.
        .half_open_timeout(limits.attempt);
    Ok(Pipeline::builder("service")
        .idempotent() // asking twice does no harm
        .add(Timeout::new(limits.deadline)?.named("total"))
        .add(retry.build()?)
        .add(breaker.build()?)
        .add(Timeout::new(limits.attempt)?.named("attempt")))
}

/// What a reply says about the service, and whether asking again can help.
fn judge(result: Result<&Reply, &reqwest::Error>) -> Classification {
    result.map_or(Classification::TRANSIENT, judge_reply)
}

pub(super) fn judge_reply(reply: &Reply) -> Classification {
    match reply.status {
        StatusCode::OK => Classification::SUCCESS,
        StatusCode::TOO_MANY_REQUESTS => Classification::throttled(reply.retry_after),
        status if status.is_server_error() => {
            Classification::TRANSIENT.with_retry_after(reply.retry_after)
        }
        _ => Classification::PERMANENT,
    }
}

fn left_with(error: Error<reqwest::Error>) -> Verdict {
    match error {
        Error::Operation(error) => Verdict::of(&Err(error)),
        Error::Rejected(_) => Verdict::Rejected,
        Error::Exhausted { last, .. } => left_with(*last),
        // A timeout: the total one, or that of the last attempt.
        _ => Verdict::Failed(Failure::Timeout),
    }
}

#[cfg(test)]
mod tests {
    use surefoot::Verdict as Counted;

    use super::super::super::scene::LIMITS;
    use super::*;

    const WAIT: Option<Duration> = Some(Duration::from_secs(1));

    fn judged(status: StatusCode) -> Classification {
        judge(Ok(&Reply { status, retry_after: WAIT }))
    }

    #[test]
    fn the_settings_obey_the_rules() {
        assert!(pipeline(LIMITS, 1).is_ok());
    }

    #[test]
    fn only_what_may_pass_is_tried_again_and_not_before_the_stated_time() {
        for status in [StatusCode::SERVICE_UNAVAILABLE, StatusCode::INTERNAL_SERVER_ERROR] {
            let expected = Classification { retry_after: WAIT, ..Classification::TRANSIENT };
            assert_eq!(judged(status), expected, "{status}");
        }
        assert_eq!(judged(StatusCode::NOT_FOUND), Classification::PERMANENT);
        assert_eq!(judged(StatusCode::OK), Classification::SUCCESS);
    }

    #[test]
    fn a_429_asks_everyone_to_wait_and_is_no_failure() {
        let judged = judged(StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(judged.verdict, Counted::Throttled { retry_after: WAIT });
        assert!(judged.retryable);
    }
}
