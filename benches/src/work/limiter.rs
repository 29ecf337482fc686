//! Rate limiters that admit, without keys.
//!
//! All have the same quota, so large that nothing is ever refused. governor decides by quanta's clock, its default,
//! and ours by `surefoot-clock`: both read the CPU's counter.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::Quota;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use surefoot::rate_limiter::Algorithm;
use surefoot_tower::RateLimiterLayer;
use tower::limit::RateLimitLayer;
use tower::{Layer as _, service_fn};
use tower_resilience_ratelimiter::WindowType;

use super::Work;
use crate::harness::Subject;
use crate::operation::{SUCCEEDING, call_service, operation_async, ready};
use crate::ours;
use crate::peers::{GOVERNOR, RUNTIME, TOWER_RESILIENCE};

/// Units in [`HOUR`], more than any run takes. They return one in 3.6 µs, so that after the first call the limiter
/// is never as good as new.
pub(super) const UNITS: u32 = 1_000_000_000;
pub(super) const HOUR: Duration = Duration::from_hours(1);

const SUREFOOT_GCRA: &str = "surefoot gcra";
const SUREFOOT_LOG: &str = "surefoot sliding_log";
/// What a window may take whatever its history.
const FORTY: &str = "40 ns";

/// governor's counterpart of [`UNITS`] in [`HOUR`].
pub(super) fn quota() -> Quota {
    NonZeroU32::new(UNITS).map(Quota::per_hour).expect("not zero")
}

fn governor() -> governor::RateLimiter<
    NotKeyed,
    InMemoryState,
    governor::clock::DefaultClock,
    NoOpMiddleware<governor::clock::QuantaInstant>,
> {
    governor::RateLimiter::direct(quota())
}

/// One word, on one thread.
pub(super) fn gcra() -> Work {
    let governor = governor();
    let surefoot = ours::limiter(Algorithm::Gcra, HOUR);
    let token_bucket = ours::limiter(Algorithm::TokenBucket, HOUR);
    Work::new("limiter alone")
        .atomic()
        .clocks()
        .subject(Subject::succeeding(GOVERNOR, move || governor.check()))
        .subject(Subject::succeeding("surefoot token_bucket", move || token_bucket.check()))
        .subject(Subject::succeeding(SUREFOOT_GCRA, move || surefoot.check()))
        .goal(SUREFOOT_GCRA, 1.05, GOVERNOR)
}

/// One limiter, two threads.
pub(super) fn two_threads() -> Work {
    let governor = Arc::new(governor());
    Work::new("limiter shared")
        .subject(Subject::two_threads(
            GOVERNOR,
            move || {
                let governor = Arc::clone(&governor);
                move || governor.check()
            },
            Result::is_ok,
        ))
        .subject(shared(SUREFOOT_GCRA, Algorithm::Gcra))
        .subject(shared(SUREFOOT_LOG, Algorithm::SlidingLog))
        .goal(SUREFOOT_GCRA, 0.8, GOVERNOR)
}

fn shared(name: &'static str, algorithm: Algorithm) -> Subject {
    let limiter = ours::limiter(algorithm, Duration::from_micros(40));
    Subject::two_threads(
        name,
        move || {
            let limiter = limiter.clone();
            move || limiter.check()
        },
        Result::is_ok,
    )
}

/// What counts in windows. A call in the time that the log may take fills windows of these lengths with ten, a
/// thousand and a million calls.
pub(super) fn windows() -> Work {
    let histories = [
        ("surefoot sliding_log, 10 calls in the window", Duration::from_nanos(400)),
        ("surefoot sliding_log, 1 000 calls in the window", Duration::from_micros(40)),
        ("surefoot sliding_log, 1 000 000 calls in the window", Duration::from_millis(40)),
    ];
    let mut tower_resilience = tower_resilience(WindowType::SlidingLog, Duration::from_micros(40));
    let work = Work::new("limiter windows")
        .clocks()
        .subject(Subject::succeeding(
            "tower-resilience sliding_log, about 1 000 calls in the window",
            move || ready(call_service(&mut tower_resilience, SUCCEEDING)),
        ))
        .sum(FORTY, &[], 40.0);
    let others = [
        ("surefoot bucket_ring", Algorithm::BucketRing),
        ("surefoot fixed_window", Algorithm::FixedWindow),
    ];
    let work = others.into_iter().fold(work, |work, (name, algorithm)| {
        let limiter = ours::limiter(algorithm, Duration::from_micros(40));
        work.subject(Subject::succeeding(name, move || limiter.check()))
    });
    histories.into_iter().fold(work, |work, (name, window)| {
        let limiter = ours::limiter(Algorithm::SlidingLog, window);
        work.subject(Subject::succeeding(name, move || limiter.check())).goal(name, 1.0, FORTY)
    })
}

/// Refusals: a limiter that guards a service in trouble makes mostly these.
pub(super) fn refusing() -> Work {
    let once = NonZeroU32::new(1).map(Quota::per_hour).expect("not zero");
    let governor = governor::RateLimiter::direct(once);
    let _ = governor.check();
    let work = Work::new("limiter refusing")
        .subject(Subject::rejected(GOVERNOR, move || governor.check().map_err(|_| ())));
    let algorithms = [(SUREFOOT_GCRA, Algorithm::Gcra), (SUREFOOT_LOG, Algorithm::SlidingLog)];
    algorithms.into_iter().fold(work, |work, (name, algorithm)| {
        let limiter = ours::limiter_of(1, HOUR, algorithm);
        let _ = limiter.check();
        work.subject(Subject::rejected(name, move || limiter.check()))
    })
}

/// Tower layers around a service that succeeds. tower's own belongs to one service and cannot be shared.
pub(super) fn layers() -> Work {
    let mut tower = {
        // It makes its timer beforehand.
        let _inside = RUNTIME.enter();
        RateLimitLayer::new(UNITS.into(), HOUR).layer(service_fn(operation_async))
    };
    let mut tower_resilience = tower_resilience(WindowType::Fixed, HOUR);
    let layer = RateLimiterLayer::new(ours::limiter(Algorithm::Gcra, HOUR));
    let mut gcra = layer.layer(service_fn(operation_async));
    let layer = RateLimiterLayer::new(ours::limiter_that_never_waits(Algorithm::Gcra, HOUR));
    let mut at_once = layer.layer(service_fn(operation_async));
    Work::new("limiter layer")
        .clocks()
        .subject(Subject::succeeding("tower", move || ready(call_service(&mut tower, SUCCEEDING))))
        .subject(Subject::succeeding(TOWER_RESILIENCE, move || {
            ready(call_service(&mut tower_resilience, SUCCEEDING))
        }))
        .subject(Subject::succeeding(SUREFOOT_GCRA, move || {
            ready(call_service(&mut gcra, SUCCEEDING))
        }))
        .subject(Subject::succeeding("surefoot gcra, without waiting", move || {
            ready(call_service(&mut at_once, SUCCEEDING))
        }))
}

fn tower_resilience(
    window: WindowType,
    length: Duration,
) -> impl tower::Service<u64, Response = u64, Error: 'static> + 'static {
    tower_resilience_ratelimiter::RateLimiterLayer::builder()
        .limit_for_period(UNITS as usize)
        .refresh_period(length)
        .window_type(window)
        .build()
        .expect("the options are valid")
        .layer(service_fn(operation_async))
}
