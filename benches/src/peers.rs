//! The peers, configured as close to Surefoot's breaker as their options allow.
//!
//! Surefoot's breaker, by default: open after 5 failures within 60 s, open for 60 s, closed again after 2
//! successes; in its rate modes a window of 100 calls or 60 s, half of which may fail, judged from 10 calls on.
//! Where a peer cannot say that, the comment beside it says what it says instead. None of these numbers is on
//! the success path of any of them: they decide when a circuit opens, not what a call costs.

use std::sync::LazyLock;
use std::time::Duration;

use failsafe::StateMachine;
use failsafe::backoff::{Constant, EqualJittered};
use failsafe::failure_policy::{ConsecutiveFailures, OrElse, SuccessRateOverTimeWindow};
use layered::{Execute, Layer as _};
use recloser::Recloser;
use seatbelt::breaker::Breaker;
use seatbelt::{RecoveryInfo, ResilienceContext};
use tick::Clock;
use tokio::runtime::Runtime;
use tower::service_fn;
use tower_resilience_circuitbreaker::{
    CircuitBreakerConfigBuilder, CircuitBreakerError, CircuitBreakerLayer,
};

use crate::operation::{Failure, operation_async};

/// How peers' rows are called; a variant follows in parentheses.
pub(crate) const RECLOSER: &str = "recloser";
/// See [`RECLOSER`].
pub(crate) const FAILSAFE: &str = "failsafe";
/// See [`RECLOSER`].
pub(crate) const SEATBELT: &str = "seatbelt";
/// See [`RECLOSER`].
pub(crate) const TOWER_RESILIENCE: &str = "tower-resilience";

/// See [`RECLOSER`].
pub(crate) const GOVERNOR: &str = "governor";
/// See [`RECLOSER`].
pub(crate) const SEMAPHORE: &str = "tokio Semaphore";

/// How long an open circuit stays open.
const OPEN: Duration = Duration::from_mins(1);
/// Calls in a window of calls.
const WINDOW_CALLS: usize = 100;
/// A window of time.
const WINDOW_TIME: Duration = Duration::from_mins(1);
/// The share of failures that opens.
const RATE: f32 = 0.5;
/// Calls from which on a rate is judged.
const MINIMUM_CALLS: u32 = 10;
/// Failures in a row that open.
const CONSECUTIVE: u32 = 5;
/// Successes, or calls, a half-open circuit asks for.
const PROBES: usize = 2;

/// What the operation answers.
pub(crate) type Outcome = Result<u64, Failure>;

/// recloser: a rate over a window of calls and nothing else; judged only once the window is full, which it is
/// after warming up.
pub(crate) fn recloser() -> Recloser {
    Recloser::custom()
        .error_rate(RATE)
        .closed_len(WINDOW_CALLS)
        .half_open_len(PROBES)
        .open_wait(OPEN)
        .build()
}

/// failsafe with its counterpart of our consecutive mode; its half-open state closes after one success.
pub(crate) fn failsafe_consecutive() -> StateMachine<ConsecutiveFailures<Constant>, ()> {
    let policy = failsafe::failure_policy::consecutive_failures(
        CONSECUTIVE,
        failsafe::backoff::constant(OPEN),
    );
    failsafe::Config::new().failure_policy(policy).build()
}

/// failsafe as it comes: a moving success rate over 30 s, or 5 failures in a row.
pub(crate) fn failsafe_default() -> StateMachine<
    OrElse<SuccessRateOverTimeWindow<EqualJittered>, ConsecutiveFailures<EqualJittered>>,
    (),
> {
    failsafe::Config::new().build()
}

/// seatbelt's clock asks for a tokio runtime to drive its timers. No measured call waits, so nothing has to run.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without sockets always builds")
});

/// What seatbelt's layers share: the system's clock, no metrics, no logs.
pub(crate) fn seatbelt_context() -> ResilienceContext<u64, Outcome> {
    let _inside = RUNTIME.enter();
    ResilienceContext::new(Clock::new_tokio())
}

/// How seatbelt is told what failed.
pub(crate) fn seatbelt_recovery(outcome: &Outcome) -> RecoveryInfo {
    match outcome {
        Ok(_) => RecoveryInfo::never(),
        Err(_) => RecoveryInfo::retry(),
    }
}

/// What seatbelt's layers are put around: the operation, or another layer.
pub(crate) trait SeatbeltService: layered::Service<u64, Out = Outcome> + 'static {}

impl<S: layered::Service<u64, Out = Outcome> + 'static> SeatbeltService for S {}

/// seatbelt's breaker around the operation.
pub(crate) fn seatbelt_breaker() -> impl SeatbeltService {
    seatbelt_breaker_around(Execute::new(operation_async))
}

/// seatbelt's breaker: a rate over a window of time and nothing else; half-open probing as it comes.
pub(crate) fn seatbelt_breaker_around(inner: impl SeatbeltService) -> impl SeatbeltService {
    Breaker::layer("breaker", &seatbelt_context())
        .recovery_with(|outcome, _| seatbelt_recovery(outcome))
        .rejected_input_error(|_, _| Failure)
        .failure_threshold(RATE)
        .min_throughput(MINIMUM_CALLS)
        .sampling_duration(WINDOW_TIME)
        .break_duration(OPEN)
        .layer(inner)
}

/// tower-resilience's breaker with its default model, the counterpart of our count-rate mode.
pub(crate) fn tower_resilience() -> impl TowerBreaker {
    tower_resilience_of(|options| options)
}

/// tower-resilience's breaker with its counterpart of our consecutive mode. Its windows of time are left out:
/// they keep a record per call, 60 s of which would not fit into memory here.
pub(crate) fn tower_resilience_consecutive() -> impl TowerBreaker {
    tower_resilience_of(|options| options.consecutive_failures(CONSECUTIVE as usize))
}

fn tower_resilience_of(
    mode: impl FnOnce(CircuitBreakerConfigBuilder) -> CircuitBreakerConfigBuilder,
) -> impl TowerBreaker {
    let options = CircuitBreakerLayer::builder()
        .failure_rate_threshold(RATE.into())
        .sliding_window_size(WINDOW_CALLS)
        .minimum_number_of_calls(MINIMUM_CALLS as usize)
        .permitted_calls_in_half_open(PROBES)
        .wait_duration_in_open(OPEN);
    mode(options).build().expect("the options are valid").layer(service_fn(operation_async))
}

/// A tower service behind a breaker of tower-resilience's; clones share the circuit.
pub(crate) trait TowerBreaker:
    tower::Service<u64, Response = u64, Error = CircuitBreakerError<Failure>>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> TowerBreaker for S where
    S: tower::Service<u64, Response = u64, Error = CircuitBreakerError<Failure>>
        + Clone
        + Send
        + Sync
        + 'static
{
}
