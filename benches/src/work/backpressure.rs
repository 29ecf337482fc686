//! Bulkheads, load shedders and budgets that admit, for information: no goal is stated for them.

use surefoot::AcquireIn as _;
use surefoot_tower::{LoadShedderLayer, ThrottlerLayer};
use tower::{Layer as _, service_fn};
use tower_resilience_bulkhead::{BulkheadConfigBuilder, BulkheadLayer};

use super::Work;
use crate::harness::Subject;
use crate::operation::{SUCCEEDING, call_service, operation_async, ready};
use crate::ours::{self, COMPARTMENT, PERMITS};
use crate::peers::TOWER_RESILIENCE;

/// A compartment with a permit free. tower-resilience has one bulkhead for each, and only as a layer.
pub(super) fn bulkhead() -> Work {
    let mut bare = service_fn(operation_async);
    let mut theirs = tower_resilience(|options| options);
    let mut theirs_reserving = tower_resilience(BulkheadConfigBuilder::backpressure);
    let by_name = ours::bulkhead();
    let kept = ours::bulkhead().compartment(COMPARTMENT).expect("it has one of that name");
    let mut layered = ThrottlerLayer::new(kept.clone()).layer(service_fn(operation_async));
    Work::new("bulkhead")
        .subject(Subject::succeeding("bare service", move || {
            ready(call_service(&mut bare, SUCCEEDING))
        }))
        .subject(Subject::succeeding(TOWER_RESILIENCE, move || {
            ready(call_service(&mut theirs, SUCCEEDING))
        }))
        .subject(Subject::succeeding("tower-resilience (backpressure)", move || {
            ready(call_service(&mut theirs_reserving, SUCCEEDING))
        }))
        .subject(Subject::succeeding("surefoot, compartment by name", move || {
            ready(by_name.acquire(COMPARTMENT)).map(drop)
        }))
        .subject(Subject::succeeding("surefoot, compartment kept", move || {
            kept.try_acquire().map(drop)
        }))
        .subject(Subject::succeeding("surefoot layer", move || {
            ready(call_service(&mut layered, SUCCEEDING))
        }))
}

fn tower_resilience(
    mode: impl FnOnce(BulkheadConfigBuilder) -> BulkheadConfigBuilder,
) -> impl tower::Service<u64, Response = u64, Error: 'static> + 'static {
    mode(BulkheadLayer::builder().max_concurrent_calls(PERMITS as usize))
        .build()
        .expect("the options are valid")
        .layer(service_fn(operation_async))
}

/// A shedder far below its capacity.
pub(super) fn load_shedder() -> Work {
    let mut bare = service_fn(operation_async);
    let shedder = ours::load_shedder();
    let kept = ours::load_shedder().lowest_priority();
    let sampled = ours::sampled_load_shedder().lowest_priority();
    let layer = LoadShedderLayer::new(ours::load_shedder().lowest_priority());
    let mut layered = layer.layer(service_fn(operation_async));
    Work::new("load shedder")
        .atomic()
        .subject(Subject::succeeding("bare service", move || {
            ready(call_service(&mut bare, SUCCEEDING))
        }))
        .subject(Subject::succeeding("surefoot", move || shedder.admit(1).map(drop)))
        .subject(Subject::succeeding("surefoot, priority kept", move || {
            kept.admit_borrowed().map(drop)
        }))
        .subject(Subject::succeeding("surefoot, sampled", move || {
            sampled.admit_borrowed().map(drop)
        }))
        .subject(Subject::succeeding("surefoot layer", move || {
            ready(call_service(&mut layered, SUCCEEDING))
        }))
}

/// A budget with enough left.
pub(super) fn budget() -> Work {
    let (alone, settled, nested) = (ours::budget(), ours::budget(), ours::nested_budget());
    let estimate = surefoot::budget::Cost::tokens(1_000);
    let used = surefoot::budget::Cost::tokens(400);
    Work::new("budget")
        .atomic()
        .subject(Subject::succeeding("surefoot, draw", move || alone.draw().map(drop)))
        .subject(Subject::succeeding("surefoot, draw on two levels", move || {
            nested.draw().map(drop)
        }))
        .subject(Subject::succeeding("surefoot, reserve and settle", move || {
            settled.reserve(estimate).map(|charge| charge.settle(used))
        }))
}
