//! Surefoot's pipeline around a stream: the attempt timeout bounds the first token, an idle timeout the gap to the next
//! one, and the breaker hears how the answer ended. If one breaks off all the same, the caller asks once more.

use std::time::Duration;

use surefoot::http::sse::SseEvent;
use surefoot::prelude::{Classification, ConfigError, Error, Pipeline, Timeout};
use tokio::time::timeout;

use super::surefoot::{Policies, judge_reply, policies};
use super::tokens::{Fault, is_done};
use super::{Endpoint, Failure, Limits, Verdict};

/// The longest gap between two tokens: far above the usual one.
pub(crate) const IDLE: Duration = Duration::from_millis(300);

type Judge = fn(Result<&SseEvent, &Fault>) -> Classification;

#[derive(Debug)]
pub(crate) struct SurefootStream {
    endpoint: Endpoint,
    limits: Limits,
    pipeline: Pipeline<Policies, Judge>,
    idle: Timeout,
}

impl SurefootStream {
    pub(crate) fn new(endpoint: Endpoint, limits: Limits, seed: u64) -> Self {
        let (pipeline, idle) = settings(limits, seed).expect("the demo's settings obey the rules");
        Self { endpoint, limits, pipeline, idle }
    }

    pub(crate) async fn call(&self) -> Verdict {
        let listen = async {
            match self.ask().await {
                Err(Error::Interrupted { items: 1.., .. }) => self.ask().await,
                heard => heard,
            }
        };
        match timeout(self.limits.deadline, listen).await {
            Ok(Ok(())) => Verdict::Answered,
            Ok(Err(error)) => left_with(&error),
            Err(_) => Verdict::Failed(Failure::Timeout),
        }
    }

    async fn ask(&self) -> Result<(), Error<Fault>> {
        let streaming = self.pipeline.streaming().idle_timeout(self.idle.clone()).until(is_done);
        let mut tokens = streaming.call(|| self.endpoint.open()).await?;
        while let Some(token) = tokens.next().await {
            token?;
        }
        Ok(())
    }
}

fn settings(
    limits: Limits,
    seed: u64,
) -> Result<(Pipeline<Policies, Judge>, Timeout), ConfigError> {
    let judge: Judge = judge;
    let pipeline = policies(limits, seed)?.classify(judge).build()?;
    Ok((pipeline, Timeout::new(IDLE)?.named("idle")))
}

fn judge(result: Result<&SseEvent, &Fault>) -> Classification {
    match result {
        Ok(_) => Classification::SUCCESS,
        Err(Fault::Refused(reply)) => judge_reply(reply),
        Err(Fault::Broken) => Classification::TRANSIENT,
    }
}

fn left_with(error: &Error<Fault>) -> Verdict {
    match error {
        Error::Operation(fault) => fault.verdict(),
        Error::Rejected(_) => Verdict::Rejected,
        Error::Exhausted { last, .. } | Error::Interrupted { cause: Some(last), .. } => {
            left_with(last)
        }
        Error::Interrupted { cause: None, .. } => Verdict::Failed(Failure::Connection),
        // A timeout: the total one, that of the last attempt, or that of a gap.
        _ => Verdict::Failed(Failure::Timeout),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::scene::LIMITS;
    use super::*;

    #[test]
    fn the_settings_obey_the_rules() {
        assert!(settings(LIMITS, 1).is_ok());
    }
}
