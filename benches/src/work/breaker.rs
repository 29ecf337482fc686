//! A closed breaker around an operation that succeeds, on one thread.

use layered::{Execute, Service as _};
use recloser::AsyncRecloser;
use surefoot::{BlockingPolicy as _, Policy as _};
use tower::service_fn;

use super::{BARE_CALL, ONE_READ_AND_12, TWO_READS_AND_12, Work};
use crate::harness::Subject;
use crate::operation::{SUCCEEDING, call_service, operation, operation_async, ready};
use crate::ours::{self, CONSECUTIVE, COUNT_RATE, DEFAULT, MODES, SLOW, TIME_RATE};
use crate::peers::{self, RECLOSER, SEATBELT, TOWER_RESILIENCE};

/// Breakers that guard a future.
pub(super) fn asynchronous() -> Work {
    use failsafe::futures::CircuitBreaker as _;

    let recloser = AsyncRecloser::from(peers::recloser());
    let failsafe = peers::failsafe_consecutive();
    let failsafe_default = peers::failsafe_default();
    let layered = Execute::new(operation_async);
    let seatbelt = peers::seatbelt_breaker();
    let mut tower = service_fn(operation_async);
    let mut tower_resilience = peers::tower_resilience();
    let mut tower_resilience_consecutive = peers::tower_resilience_consecutive();
    let work = Work::new("breaker async")
        .subject(Subject::succeeding(BARE_CALL, || ready(operation_async(SUCCEEDING))))
        .atomic()
        .clocks()
        .subject(Subject::succeeding(RECLOSER, move || {
            ready(recloser.call(operation_async(SUCCEEDING)))
        }))
        .subject(Subject::succeeding("failsafe (consecutive)", move || {
            ready(failsafe.call(operation_async(SUCCEEDING)))
        }))
        .subject(Subject::succeeding("failsafe (default policy)", move || {
            ready(failsafe_default.call(operation_async(SUCCEEDING)))
        }))
        .subject(Subject::succeeding("layered Execute (no breaker)", move || {
            ready(layered.execute(SUCCEEDING))
        }))
        .subject(Subject::succeeding(SEATBELT, move || ready(seatbelt.execute(SUCCEEDING))))
        .subject(Subject::succeeding("tower service_fn (no breaker)", move || {
            ready(call_service(&mut tower, SUCCEEDING))
        }))
        .subject(Subject::succeeding(TOWER_RESILIENCE, move || {
            ready(call_service(&mut tower_resilience, SUCCEEDING))
        }))
        .subject(Subject::succeeding("tower-resilience (consecutive)", move || {
            ready(call_service(&mut tower_resilience_consecutive, SUCCEEDING))
        }))
        .clock_sums();
    let work = surefoot_asynchronous(work);
    MODES.into_iter().fold(own_goals(work), |work, mode| {
        work.goal(mode.name, 0.5, SEATBELT).goal(mode.name, 0.15, TOWER_RESILIENCE)
    })
}

/// Breakers that guard a function.
pub(super) fn blocking() -> Work {
    use failsafe::CircuitBreaker as _;

    let recloser = peers::recloser();
    let failsafe = peers::failsafe_consecutive();
    let failsafe_default = peers::failsafe_default();
    let work = Work::new("breaker blocking")
        .subject(Subject::succeeding(BARE_CALL, || operation(SUCCEEDING)))
        .atomic()
        .clocks()
        .subject(Subject::succeeding(RECLOSER, move || recloser.call(|| operation(SUCCEEDING))))
        .subject(Subject::succeeding("failsafe (consecutive)", move || {
            failsafe.call(|| operation(SUCCEEDING))
        }))
        .subject(Subject::succeeding("failsafe (default policy)", move || {
            failsafe_default.call(|| operation(SUCCEEDING))
        }))
        .clock_sums();
    own_goals(surefoot_blocking(work))
}

fn surefoot_asynchronous(work: Work) -> Work {
    MODES.into_iter().fold(work, |work, mode| {
        let breaker = ours::breaker(mode);
        work.subject(Subject::succeeding(mode.name, move || {
            ready(breaker.call(|| operation_async(SUCCEEDING)))
        }))
    })
}

fn surefoot_blocking(work: Work) -> Work {
    MODES.into_iter().fold(work, |work, mode| {
        let breaker = ours::breaker(mode);
        work.subject(Subject::succeeding(mode.name, move || {
            breaker.call_blocking(|_| operation(SUCCEEDING))
        }))
    })
}

/// What our modes are held to whichever way they are called.
fn own_goals(work: Work) -> Work {
    work.goal(DEFAULT.name, 0.6, RECLOSER)
        .goal(CONSECUTIVE.name, 0.6, RECLOSER)
        .goal(COUNT_RATE.name, 1.0, RECLOSER)
        .goal(TIME_RATE.name, 1.0, ONE_READ_AND_12)
        .goal(SLOW.name, 1.0, TWO_READS_AND_12)
}
