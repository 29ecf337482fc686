//! One closed breaker around an operation that succeeds, used by two threads at once. Figures are wall time per
//! operation, both threads' operations counted: with perfect scaling half of what one thread alone takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use failsafe::CircuitBreaker as _;
use layered::Service as _;
use surefoot::BlockingPolicy as _;

use super::Work;
use crate::harness::Subject;
use crate::operation::{SUCCEEDING, call_service, operation, until_ready};
use crate::ours;
use crate::peers::{self, FAILSAFE, RECLOSER, SEATBELT, TOWER_RESILIENCE};

/// Two threads add to one number: the least a call that is counted can cost when it is shared.
const TWO_THREADS_ATOMIC: &str = "bare atomic (two threads)";
/// Our breaker in its default mode.
const SUREFOOT: &str = ours::DEFAULT.name;

/// Two threads, one breaker.
pub(super) fn two_threads() -> Work {
    let count = Arc::new(AtomicU64::new(0));
    let recloser = Arc::new(peers::recloser());
    let failsafe = peers::failsafe_consecutive();
    let seatbelt = Arc::new(peers::seatbelt_breaker());
    let tower_resilience = peers::tower_resilience();
    let work = Work::new("breaker shared")
        .atomic()
        .subject(Subject::two_threads(
            TWO_THREADS_ATOMIC,
            move || {
                let count = Arc::clone(&count);
                move || count.fetch_add(1, Ordering::Relaxed)
            },
            |_| true,
        ))
        .subject(Subject::two_threads(
            RECLOSER,
            move || {
                let recloser = Arc::clone(&recloser);
                move || recloser.call(|| operation(SUCCEEDING))
            },
            Result::is_ok,
        ))
        .subject(Subject::two_threads(
            FAILSAFE,
            move || {
                let failsafe = failsafe.clone();
                move || failsafe.call(|| operation(SUCCEEDING))
            },
            Result::is_ok,
        ))
        .subject(Subject::two_threads(
            SEATBELT,
            move || {
                let seatbelt = Arc::clone(&seatbelt);
                move || until_ready(seatbelt.execute(SUCCEEDING))
            },
            Result::is_ok,
        ))
        .subject(Subject::two_threads(
            TOWER_RESILIENCE,
            move || {
                let mut tower_resilience = tower_resilience.clone();
                move || until_ready(call_service(&mut tower_resilience, SUCCEEDING))
            },
            Result::is_ok,
        ));
    surefoot(work).goal(SUREFOOT, 2.0, TWO_THREADS_ATOMIC)
}

fn surefoot(work: Work) -> Work {
    let breaker = ours::breaker(ours::DEFAULT);
    work.subject(Subject::two_threads(
        SUREFOOT,
        move || {
            let breaker = breaker.clone();
            move || breaker.call_blocking(|_| operation(SUCCEEDING))
        },
        Result::is_ok,
    ))
}
