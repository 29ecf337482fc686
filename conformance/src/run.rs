//! One case on one host.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::check;
use crate::format::{Body, Case};
use crate::hosts::Host;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    /// What differs.
    Failed(String),
    /// Why the host does not run it.
    Skipped(String),
}

pub(crate) fn run(case: &Case, host: &dyn Host) -> Verdict {
    if let Body::Absent { policy } = &case.body {
        return Verdict::Skipped(format!("no {policy} in this build"));
    }
    if let Some(reason) = case.needs.iter().find_map(|need| host.cannot(*need)) {
        return Verdict::Skipped(reason.to_owned());
    }
    let judged = catch_unwind(AssertUnwindSafe(|| match &case.body {
        Body::CircuitBreaker(case) => {
            Some(check::circuit_breaker(case, host.circuit_breaker(case)))
        }
        Body::Retry(case) => Some(check::retry(case, host.retry(case))),
        Body::Hedge(case) => Some(check::hedge(case, host.hedge(case))),
        Body::Fallback(case) => Some(check::fallback(case, host.fallback(case))),
        Body::RateLimiter(case) => Some(check::rate_limiter(case, host.rate_limiter(case))),
        Body::Budget(case) => Some(check::budget(case, host.budget(case))),
        Body::LoadShedder(case) => Some(check::load_shedder(case, host.load_shedder(case))),
        Body::Queue(case) => Some(check::queue(case, host.queue(case))),
        Body::ClientThrottle(case) => {
            Some(check::client_throttle(case, host.client_throttle(case)))
        }
        Body::Absent { .. } => None,
    }));
    match judged {
        Ok(Some(Ok(()))) => Verdict::Passed,
        Ok(Some(Err(difference))) => Verdict::Failed(difference),
        Ok(None) => Verdict::Skipped(format!("no {} on this host", case.body.policy())),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
            Verdict::Failed(format!("panicked: {said}"))
        }
    }
}
