//! Plays a limiter's case on the machines of `surefoot-core`.

use surefoot_core::{Clock, KeyedRateLimiter, ManualClock, RateLimiter};

use super::{Limited, Trouble, build};
use crate::format::RateLimiterCase;

/// Plays all steps, each on the limiter without keys or on the keyed one.
pub(super) fn play(case: &RateLimiterCase) -> Result<Vec<Limited>, Trouble> {
    let clock = ManualClock::new();
    let config = build::rate_limiter(&case.config)?;
    let single: RateLimiter = config.clone().clock(&clock).build()?;
    let keyed: KeyedRateLimiter<String> = config.clock(&clock).build_keyed()?;
    let mut seen = Vec::new();
    for (index, step) in case.steps.iter().enumerate() {
        clock.set(step.at);
        // What is told beforehand has to be what happens.
        let (foretold, answer) = match &step.key {
            Some(key) => (keyed.retry_after(key, step.n), keyed.check_n(key, step.n)),
            None => (single.retry_after(step.n), single.check_n(step.n)),
        };
        let (admitted, retry_after) = match answer {
            Ok(()) => (true, None),
            Err(rejection) => (false, rejection.retry_after()),
        };
        let expected = if admitted { Some(std::time::Duration::ZERO) } else { retry_after };
        if foretold != expected && step.n > 0 {
            return Err(Trouble::Broken(format!(
                "step {index} ({}): `retry_after` said {foretold:?}, the call {expected:?}",
                step.title
            )));
        }
        let status = match &step.key {
            Some(key) => keyed.status(key),
            None => single.status(),
        };
        if clock.now() != step.at {
            return Err(Trouble::Broken(format!("step {index}: somebody else moved the clock")));
        }
        seen.push(Limited {
            step: index,
            admitted,
            retry_after,
            remaining: status.remaining,
            current_rate: status.current_rate,
        });
    }
    Ok(seen)
}
