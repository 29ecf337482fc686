//! Plain retries, as most programs have them: up to three tries on any error, 429 or 5xx, with exponential backoff
//! and full jitter, a timeout for each try, all within the caller's deadline. It does nothing foolish; it only
//! looks at its own call and at nothing else.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Endpoint, Failure, Limits, Verdict};

const ATTEMPTS: u32 = 3;
const FIRST_DELAY: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Retry {
    endpoint: Endpoint,
    limits: Limits,
    jitter: Mutex<fastrand::Rng>,
}

impl Retry {
    pub(crate) fn new(endpoint: Endpoint, limits: Limits, seed: u64) -> Self {
        Self { endpoint, limits, jitter: Mutex::new(fastrand::Rng::with_seed(seed)) }
    }

    pub(crate) async fn call(&self) -> Verdict {
        match timeout(self.limits.deadline, self.attempts()).await {
            Ok(verdict) => verdict,
            Err(_) => Verdict::Failed(Failure::Timeout),
        }
    }

    async fn attempts(&self) -> Verdict {
        let mut attempt = 1;
        loop {
            let verdict = match timeout(self.limits.attempt, self.endpoint.send()).await {
                Ok(result) => Verdict::of(&result),
                Err(_) => Verdict::Failed(Failure::Timeout),
            };
            if attempt == ATTEMPTS || !worth_another(verdict) {
                return verdict;
            }
            sleep(self.delay_after(attempt)).await;
            attempt += 1;
        }
    }

    /// Full jitter: anything from nothing to the whole backoff.
    fn delay_after(&self, attempt: u32) -> Duration {
        let share = self.jitter.lock().unwrap_or_else(PoisonError::into_inner).f64();
        (FIRST_DELAY * 2_u32.pow(attempt - 1)).mul_f64(share)
    }
}

fn worth_another(verdict: Verdict) -> bool {
    match verdict {
        Verdict::Answered | Verdict::Rejected => false,
        Verdict::Failed(Failure::Connection | Failure::Timeout) => true,
        Verdict::Failed(Failure::Status(status)) => status == 429 || status >= 500,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_429_and_5xx_are_tried_again_and_nothing_else() {
        for failure in
            [Failure::Connection, Failure::Timeout, Failure::Status(429), Failure::Status(503)]
        {
            assert!(worth_another(Verdict::Failed(failure)), "{failure:?}");
        }
        assert!(!worth_another(Verdict::Failed(Failure::Status(404))));
        assert!(!worth_another(Verdict::Answered));
    }
}
