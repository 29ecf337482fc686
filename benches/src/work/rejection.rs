//! An open breaker that refuses a call.

use failsafe::CircuitBreaker as _;
use layered::Service as _;
use surefoot::BlockingPolicy as _;

use super::{BARE_CLOCK, Work};
use crate::harness::Subject;
use crate::operation::{FAILING, SUCCEEDING, call_service, operation, ready};
use crate::ours;
use crate::peers::{self, FAILSAFE, RECLOSER, SEATBELT, TOWER_RESILIENCE};

/// Failures that open every peer's circuit, whether it counts them or fills a window first.
const ENOUGH: usize = 200;
/// What our rejection may take: it has to read the clock once, to know whether it is still time to refuse.
const ONE_READ_AND_15: &str = "one clock read + 15 ns";
/// Our breaker in its default mode; all modes share their open state.
const SUREFOOT: &str = ours::DEFAULT.name;

/// Rejections by an open circuit.
pub(super) fn open() -> Work {
    let recloser = peers::recloser();
    let failsafe = peers::failsafe_consecutive();
    let seatbelt = peers::seatbelt_breaker();
    let mut tower_resilience = peers::tower_resilience();
    for _ in 0..ENOUGH {
        // Each of these fails or is rejected; the subjects' own check says whether the circuit has opened.
        let _ = recloser.call(|| operation(FAILING));
        let _ = failsafe.call(|| operation(FAILING));
        let _ = ready(seatbelt.execute(FAILING));
        let _ = ready(call_service(&mut tower_resilience, FAILING));
    }
    let work = Work::new("open rejection")
        .clocks()
        .subject(Subject::rejected(RECLOSER, move || recloser.call(|| operation(SUCCEEDING))))
        .subject(Subject::rejected(FAILSAFE, move || failsafe.call(|| operation(SUCCEEDING))))
        .subject(Subject::rejected(SEATBELT, move || ready(seatbelt.execute(SUCCEEDING))))
        .subject(Subject::rejected(TOWER_RESILIENCE, move || {
            ready(call_service(&mut tower_resilience, SUCCEEDING))
        }))
        .sum(ONE_READ_AND_15, &[(1.0, BARE_CLOCK)], 15.0);
    surefoot(work).goal(SUREFOOT, 1.0, ONE_READ_AND_15)
}

fn surefoot(work: Work) -> Work {
    let breaker = ours::open_breaker();
    work.subject(Subject::rejected(SUREFOOT, move || {
        breaker.call_blocking(|_| operation(SUCCEEDING))
    }))
}
