//! Tower layers around a service that succeeds, beside tower's own and its peers'.

use std::future::{Ready, ready as done};
use std::time::Duration;

use layered::Service as _;
use surefoot_tower::{CircuitBreakerLayer, HedgeLayer, RetryLayer, TimeoutLayer};
use tower::retry::Policy;
use tower::{Layer as _, service_fn};

use super::{BARE_CLOCK, Work};
use crate::harness::Subject;
use crate::operation::{Failure, SUCCEEDING, call_service, operation_async, ready};
use crate::ours::{self, DEFAULT};
use crate::peers::{self, SEATBELT, TOWER_RESILIENCE};

const BARE_SERVICE: &str = "bare service";
const TOWER: &str = "tower";
const SUREFOOT: &str = "surefoot";
/// What a hedge may take when the first answer comes at once.
const SERVICE_READ_AND_20: &str = "bare service + one clock read + 20 ns";

/// Breakers.
pub(super) fn breaker() -> Work {
    let seatbelt = peers::seatbelt_breaker();
    let mut tower_resilience = peers::tower_resilience();
    let layer = CircuitBreakerLayer::new(ours::breaker(DEFAULT));
    let mut surefoot = layer.layer(service_fn(operation_async));
    bare("breaker layer")
        .subject(Subject::succeeding(SEATBELT, move || ready(seatbelt.execute(SUCCEEDING))))
        .subject(Subject::succeeding(TOWER_RESILIENCE, move || {
            ready(call_service(&mut tower_resilience, SUCCEEDING))
        }))
        .subject(Subject::succeeding(SUREFOOT, move || {
            ready(call_service(&mut surefoot, SUCCEEDING))
        }))
        .goal(SUREFOOT, 0.15, TOWER_RESILIENCE)
        .goal(SUREFOOT, 0.5, SEATBELT)
}

/// Retries whose first try succeeds.
pub(super) fn retry() -> Work {
    let mut tower = tower::retry::RetryLayer::new(UpToThree).layer(service_fn(operation_async));
    let mut tower_resilience = super::retry::tower_resilience();
    let mut surefoot = RetryLayer::idempotent(ours::retry()).layer(service_fn(operation_async));
    bare("retry layer")
        .subject(Subject::succeeding(TOWER, move || ready(call_service(&mut tower, SUCCEEDING))))
        .subject(Subject::succeeding(TOWER_RESILIENCE, move || {
            ready(call_service(&mut tower_resilience, SUCCEEDING))
        }))
        .subject(Subject::succeeding(SUREFOOT, move || {
            ready(call_service(&mut surefoot, SUCCEEDING))
        }))
}

/// Time limits that are not reached.
pub(super) fn timeout() -> Work {
    const LIMIT: Duration = Duration::from_secs(30);
    let mut tower = tower::timeout::TimeoutLayer::new(LIMIT).layer(service_fn(operation_async));
    let mut surefoot = TimeoutLayer::new(ours::timeout()).layer(service_fn(operation_async));
    bare("timeout layer")
        .subject(Subject::succeeding(TOWER, move || {
            let _inside = peers::RUNTIME.enter();
            ready(call_service(&mut tower, SUCCEEDING))
        }))
        .subject(Subject::succeeding(SUREFOOT, move || {
            ready(call_service(&mut surefoot, SUCCEEDING))
        }))
}

/// A hedge whose first answer comes at once.
pub(super) fn hedge() -> Work {
    let mut surefoot = HedgeLayer::idempotent(ours::hedge()).layer(service_fn(operation_async));
    bare("hedge layer")
        .subject(Subject::succeeding(SUREFOOT, move || {
            ready(call_service(&mut surefoot, SUCCEEDING))
        }))
        .sum(SERVICE_READ_AND_20, &[(1.0, BARE_SERVICE), (1.0, BARE_CLOCK)], 20.0)
        .goal(SUREFOOT, 1.0, SERVICE_READ_AND_20)
}

fn bare(name: &'static str) -> Work {
    let mut service = service_fn(operation_async);
    Work::new(name)
        .subject(Subject::succeeding(BARE_SERVICE, move || {
            ready(call_service(&mut service, SUCCEEDING))
        }))
        .clocks()
}

/// tower leaves the decisions to its users; these are the fewest that retry.
#[derive(Clone)]
struct UpToThree;

impl Policy<u64, u64, Failure> for UpToThree {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut u64, result: &mut Result<u64, Failure>) -> Option<Ready<()>> {
        result.is_err().then(|| done(()))
    }

    fn clone_request(&mut self, request: &u64) -> Option<u64> {
        Some(*request)
    }
}
