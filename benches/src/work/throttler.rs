//! Throttlers with a permit free for everybody: taking it and giving it back.

use std::sync::Arc;

use surefoot::Acquire as _;
use surefoot::Policy as _;
use surefoot_tower::ThrottlerLayer;
use tokio::sync::Semaphore;
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer as _, service_fn};

use super::{BARE_ATOMIC, BARE_CALL, Work};
use crate::harness::Subject;
use crate::operation::{SUCCEEDING, call_service, operation_async, ready, until_ready};
use crate::ours::{self, PERMITS};
use crate::peers::SEMAPHORE;

const SUREFOOT: &str = "surefoot";
const TRY: &str = "tokio Semaphore, try_acquire";
const OWNED: &str = "tokio Semaphore, owned";
/// The least that taking and giving back can cost, if both are counted at once.
const TWO_ATOMICS: &str = "two bare atomics";

fn semaphore() -> Semaphore {
    Semaphore::new(PERMITS as usize)
}

/// One thread. The goal is the asynchronous way, which is what both are made for, awaited as users do: in a block of
/// theirs, which uses the permit and drops it.
pub(super) fn alone() -> Work {
    let (first, second, third) = (semaphore(), semaphore(), Arc::new(semaphore()));
    let [awaited, tried, owned, blocking, called] = [(); 5].map(|()| ours::throttler(PERMITS));
    Work::new("throttler alone")
        .atomic()
        .subject(Subject::succeeding(BARE_CALL, || ready(operation_async(SUCCEEDING))))
        .subject(Subject::succeeding(TRY, move || first.try_acquire().map(drop)))
        .subject(Subject::succeeding(SEMAPHORE, move || {
            ready(async { second.acquire().await.map(drop) })
        }))
        .subject(Subject::succeeding(OWNED, move || {
            ready(async { Arc::clone(&third).acquire_owned().await.map(drop) })
        }))
        .subject(Subject::succeeding("surefoot, try_acquire", move || {
            tried.try_acquire().map(drop)
        }))
        .subject(Subject::succeeding("surefoot, owned", move || {
            ready(async { owned.acquire_owned().await.map(drop) })
        }))
        .subject(Subject::succeeding("surefoot, blocking", move || {
            blocking.acquire_blocking().map(drop)
        }))
        .subject(Subject::succeeding("surefoot, around a call", move || {
            ready(called.call(|| operation_async(SUCCEEDING)))
        }))
        .subject(Subject::succeeding(SUREFOOT, move || {
            ready(async { awaited.acquire().await.map(drop) })
        }))
        .sum(TWO_ATOMICS, &[(2.0, BARE_ATOMIC)], 0.0)
        .goal(SUREFOOT, 0.45, SEMAPHORE)
}

/// One throttler, two threads.
pub(super) fn two_threads() -> Work {
    let semaphore = Arc::new(semaphore());
    let throttler = ours::throttler(PERMITS);
    Work::new("throttler shared")
        .subject(Subject::two_threads(
            SEMAPHORE,
            move || {
                let semaphore = Arc::clone(&semaphore);
                move || until_ready(semaphore.acquire()).map(drop)
            },
            Result::is_ok,
        ))
        .subject(Subject::two_threads(
            SUREFOOT,
            move || {
                let throttler = throttler.clone();
                move || until_ready(throttler.acquire()).map(drop)
            },
            Result::is_ok,
        ))
}

/// Tower layers around a service that succeeds.
pub(super) fn layers() -> Work {
    const TOWER: &str = "tower ConcurrencyLimit";
    let mut bare = service_fn(operation_async);
    let mut tower = ConcurrencyLimitLayer::new(PERMITS as usize).layer(service_fn(operation_async));
    let layer = ThrottlerLayer::new(ours::throttler(PERMITS));
    let mut surefoot = layer.layer(service_fn(operation_async));
    Work::new("throttler layer")
        .subject(Subject::succeeding("bare service", move || {
            ready(call_service(&mut bare, SUCCEEDING))
        }))
        .subject(Subject::succeeding(TOWER, move || ready(call_service(&mut tower, SUCCEEDING))))
        .subject(Subject::succeeding(SUREFOOT, move || {
            ready(call_service(&mut surefoot, SUCCEEDING))
        }))
        .goal(SUREFOOT, 0.7, TOWER)
}
