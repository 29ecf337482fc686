//! Three policies around one operation that succeeds: a timeout, within it a retry, within that a breaker.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use layered::{Execute, Layer as _, Service as _};
use seatbelt::timeout::Timeout;
use surefoot::{Clock, Policy as _, SystemClock, Timer, Timestamp};

use super::retry::seatbelt_retry_around;
use super::{BARE_CALL, BARE_CLOCK, Work};
use crate::harness::Subject;
use crate::operation::{Failure, SUCCEEDING, operation_async, ready};
use crate::ours;
use crate::peers::{self, SEATBELT};

/// Each policy by itself.
const TIMEOUT: &str = "surefoot timeout";
const RETRY: &str = "surefoot retry";
const BREAKER: &str = "surefoot breaker";
/// The three of them composed.
const PIPELINE: &str = "surefoot pipeline";
/// What the pipeline may take.
const SUM: &str = "sum of its policies";
/// The clock reads counted during one call of the pipeline, at the price of a clock read.
const READS: &str = "surefoot pipeline, its clock reads";
/// The clock reads it may make.
const TWO_READS: &str = "two clock reads";

/// How long a call may take in total.
const LIMIT: Duration = Duration::from_secs(30);

/// The pipeline against its parts.
pub(super) fn three_policies() -> Work {
    let seatbelt = Timeout::layer("timeout", &peers::seatbelt_context())
        .timeout(LIMIT)
        .timeout_error(|_| Failure)
        .layer(seatbelt_retry_around(peers::seatbelt_breaker_around(Execute::new(
            operation_async,
        ))));
    let work = Work::new("pipeline")
        .subject(Subject::succeeding(BARE_CALL, || ready(operation_async(SUCCEEDING))))
        .clocks()
        .subject(Subject::succeeding(SEATBELT, move || ready(seatbelt.execute(SUCCEEDING))))
        .sum(SUM, &[(1.0, TIMEOUT), (1.0, RETRY), (1.0, BREAKER)], 0.0)
        .sum(TWO_READS, &[(2.0, BARE_CLOCK)], 0.0);
    surefoot(work).goal(PIPELINE, 1.0, SUM).goal(READS, 1.0, TWO_READS)
}

/// The timeout, the retry and the breaker alone, the pipeline of them, and as many clock reads as
/// a counting clock saw in one call of it.
fn surefoot(work: Work) -> Work {
    let timeout = ours::timeout();
    let retry = ours::retry();
    let breaker = ours::breaker(ours::DEFAULT);
    let pipeline = ours::pipeline(SystemClock);
    work.subject(Subject::succeeding(TIMEOUT, move || {
        ready(timeout.call(|| operation_async(SUCCEEDING)))
    }))
    .subject(Subject::succeeding(RETRY, move || ready(retry.call(|| operation_async(SUCCEEDING)))))
    .subject(Subject::succeeding(BREAKER, move || {
        ready(breaker.call(|| operation_async(SUCCEEDING)))
    }))
    .subject(Subject::succeeding(PIPELINE, move || {
        ready(pipeline.call(|| operation_async(SUCCEEDING)))
    }))
    .sum(READS, &[(clock_reads(), BARE_CLOCK)], 0.0)
}

/// How often one call of the pipeline reads its clock.
fn clock_reads() -> f64 {
    let clock = Arc::new(CountingClock::default());
    let pipeline = ours::pipeline(clock.clone());
    let before = clock.reads.load(Ordering::Relaxed);
    let _ = ready(pipeline.call(|| operation_async(SUCCEEDING)));
    f64::from(clock.reads.load(Ordering::Relaxed) - before)
}

/// A clock that stands still and counts who looks at it.
#[derive(Debug, Default)]
struct CountingClock {
    reads: AtomicU32,
}

impl Clock for CountingClock {
    fn now(&self) -> Timestamp {
        self.reads.fetch_add(1, Ordering::Relaxed);
        Timestamp::ZERO
    }
}

impl Timer for CountingClock {
    fn sleep_until(&self, _: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
    }
}
