//! A retry whose first try succeeds: what it costs to be ready for failures that do not come.
//!
//! Every retry is allowed 3 calls in total with exponential delays from 1 s, doubling, at most 60 s, no jitter.

use std::hint::black_box;
use std::time::Duration;

use backon::{BlockingRetryable as _, ExponentialBuilder, Retryable as _};
use layered::{Execute, Service as _};
use seatbelt::retry::{Backoff, Retry};
use surefoot::{BlockingPolicy as _, Policy as _};
use tower::{Layer as _, service_fn};
use tower_resilience_retry::{ExponentialBackoff, RetryLayer};

use super::{BARE_CALL, Work};
use crate::harness::Subject;
use crate::operation::{Failure, SUCCEEDING, call_service, operation, operation_async, ready};
use crate::ours;
use crate::peers::{self, SEATBELT, SeatbeltService, TOWER_RESILIENCE};

/// backon's rows.
const BACKON: &str = "backon";
/// What our retry may take.
const CALL_AND_2: &str = "bare call + 2 ns";
/// Our retry.
const SUREFOOT: &str = "surefoot";

/// Calls in total.
const ATTEMPTS: u8 = 3;
/// The first delay.
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// The longest delay.
const LONGEST_DELAY: Duration = Duration::from_mins(1);

/// Retries of a future.
pub(super) fn asynchronous() -> Work {
    let backon = backon();
    let seatbelt = seatbelt_retry_around(Execute::new(operation_async));
    let mut tower_resilience = tower_resilience();
    let work = Work::new("retry async")
        .subject(Subject::succeeding(BARE_CALL, || ready(operation_async(SUCCEEDING))))
        .subject(Subject::succeeding(BACKON, move || {
            ready((|| operation_async(SUCCEEDING)).retry(backon))
        }))
        .subject(Subject::succeeding(SEATBELT, move || ready(seatbelt.execute(SUCCEEDING))))
        .subject(Subject::succeeding(TOWER_RESILIENCE, move || {
            ready(call_service(&mut tower_resilience, SUCCEEDING))
        }))
        .sum(CALL_AND_2, &[(1.0, BARE_CALL)], 2.0);
    surefoot_asynchronous(work).goal(SUREFOOT, 1.0, CALL_AND_2)
}

/// Retries of a function. backon is the only peer that has them.
pub(super) fn blocking() -> Work {
    let backon = backon();
    let work = Work::new("retry blocking")
        .subject(Subject::succeeding(BARE_CALL, || operation(SUCCEEDING)))
        .subject(Subject::succeeding(BACKON, move || {
            (|| operation(SUCCEEDING)).retry(backon).call()
        }));
    surefoot_blocking(work)
}

fn surefoot_asynchronous(work: Work) -> Work {
    let retry = ours::retry();
    work.subject(Subject::succeeding(SUREFOOT, move || {
        ready(retry.call(|| operation_async(SUCCEEDING)))
    }))
}

/// For information: no goal is stated for the blocking retry.
fn surefoot_blocking(work: Work) -> Work {
    let retry = ours::retry();
    work.subject(Subject::succeeding(SUREFOOT, move || {
        retry.call_blocking(|_| operation(SUCCEEDING))
    }))
}

/// tower-resilience's retry around the operation.
pub(super) fn tower_resilience()
-> impl tower::Service<u64, Response = u64, Error: 'static> + 'static {
    RetryLayer::<u64, u64, Failure>::builder()
        .max_attempts(ATTEMPTS.into())
        .backoff(ExponentialBackoff::new(FIRST_DELAY).max_interval(LONGEST_DELAY))
        .build()
        .layer(service_fn(operation_async))
}

/// seatbelt's retry, which counts the retries, not the calls.
pub(super) fn seatbelt_retry_around(inner: impl SeatbeltService) -> impl SeatbeltService {
    use layered::Layer as _;

    Retry::layer("retry", &peers::seatbelt_context())
        .clone_input()
        .recovery_with(|outcome, _| peers::seatbelt_recovery(outcome))
        .max_retry_attempts(u32::from(ATTEMPTS) - 1)
        .backoff(Backoff::Exponential)
        .base_delay(FIRST_DELAY)
        .max_delay(LONGEST_DELAY)
        .use_jitter(false)
        .layer(inner)
}

/// backon counts the retries, not the calls. Its options are read from memory, as those of the others are.
fn backon() -> ExponentialBuilder {
    black_box(
        ExponentialBuilder::new()
            .with_min_delay(FIRST_DELAY)
            .with_max_delay(LONGEST_DELAY)
            .with_factor(2.0)
            .with_max_times(usize::from(ATTEMPTS) - 1),
    )
}
