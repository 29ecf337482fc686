//! Allocations of calls that are admitted at once.

use std::time::Duration;

use surefoot::budget::Cost;
use surefoot::rate_limiter::Algorithm;
use surefoot::{Acquire as _, AcquireIn as _, Limiter as _, Policy as _};
use surefoot_tower::{LoadShedderLayer, RateLimiterLayer, ThrottlerLayer};
use tower::{Layer as _, service_fn};

use super::limiter_figures::{CHECKS, Counted, allocations_of};
use crate::figure::Figure;
use crate::operation::{SUCCEEDING, call_service, operation_async, ready};
use crate::ours::{self, COMPARTMENT, PERMITS};

/// Allocations of everything else than checks that admits: those are the limiter's own figures.
pub(super) const ALLOCATIONS: Counted = ("admission allocations", || {
    [limiter(), throttler(), bulkhead(), load_shedder(), budget()].into_iter().flatten().collect()
});

/// The first calls may allocate, for what is kept.
fn figure(path: &str, mut call: impl FnMut()) -> Figure {
    (0..1_000).for_each(|_| call());
    let allocations = allocations_of(|| (0..CHECKS).for_each(|_| call()));
    Figure::plain(ALLOCATIONS.0, path, allocations, "in 100 000 calls").at_most(0.0)
}

fn limiter() -> Vec<Figure> {
    let limiter = ours::limiter(Algorithm::Gcra, Duration::from_hours(1));
    let layer = RateLimiterLayer::new(limiter.clone());
    let mut layered = layer.layer(service_fn(operation_async));
    vec![
        figure("limiter, acquire", || {
            drop(ready(limiter.acquire()).expect("admitted"));
        }),
        figure("limiter, around a call", || {
            ready(limiter.call(|| operation_async(SUCCEEDING))).map(drop).expect("admitted");
        }),
        figure("limiter, layer", || {
            ready(call_service(&mut layered, SUCCEEDING)).map(drop).expect("admitted");
        }),
    ]
}

fn throttler() -> Vec<Figure> {
    let throttler = ours::throttler(PERMITS);
    let layer = ThrottlerLayer::new(throttler.clone());
    let mut layered = layer.layer(service_fn(operation_async));
    vec![
        figure("throttler, acquire", || drop(ready(throttler.acquire()).expect("admitted"))),
        figure("throttler, acquire_owned", || {
            drop(ready(throttler.acquire_owned()).expect("admitted"));
        }),
        figure("throttler, acquire_blocking", || {
            drop(throttler.acquire_blocking().expect("admitted"));
        }),
        figure("throttler, around a call", || {
            ready(throttler.call(|| operation_async(SUCCEEDING))).map(drop).expect("admitted");
        }),
        figure("throttler, layer", || {
            ready(call_service(&mut layered, SUCCEEDING)).map(drop).expect("admitted");
        }),
    ]
}

fn bulkhead() -> Vec<Figure> {
    let bulkhead = ours::bulkhead();
    vec![figure("bulkhead, acquire by name", || {
        drop(ready(bulkhead.acquire(COMPARTMENT)).expect("admitted"));
    })]
}

fn load_shedder() -> Vec<Figure> {
    let (shedder, sampled) = (ours::load_shedder(), ours::sampled_load_shedder());
    let lowest = shedder.lowest_priority();
    let layer = LoadShedderLayer::new(lowest.clone());
    let mut layered = layer.layer(service_fn(operation_async));
    vec![
        figure("load shedder, admit", || drop(shedder.admit(1).expect("admitted"))),
        figure("load shedder, admit by samples", || drop(sampled.admit(1).expect("admitted"))),
        figure("load shedder, around a call", || {
            ready(lowest.call(|| operation_async(SUCCEEDING))).map(drop).expect("admitted");
        }),
        figure("load shedder, layer", || {
            ready(call_service(&mut layered, SUCCEEDING)).map(drop).expect("admitted");
        }),
    ]
}

fn budget() -> Vec<Figure> {
    let (budget, nested) = (ours::budget(), ours::nested_budget());
    vec![
        figure("budget, draw", || drop(budget.draw().expect("admitted"))),
        figure("budget, draw on two levels", || drop(nested.draw().expect("admitted"))),
        figure("budget, reserve and settle", || {
            budget.reserve(Cost::tokens(10)).expect("admitted").settle(Cost::tokens(4));
        }),
    ]
}
