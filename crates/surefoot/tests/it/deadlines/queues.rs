//! Time that runs out before the operation begins.

use std::time::Duration;

use surefoot::{BlockingOperation, ManualClock, Operation, Part, PartKind, Pipeline};

use super::timed_out;
use crate::support::*;

/// A policy of a user's own: waits for its turn before it starts anything.
struct Queue {
    clock: ManualClock,
    wait: Duration,
}

impl Policy for Queue {
    async fn run<O: Operation>(
        &self,
        operation: &O,
    ) -> Result<O::Value, surefoot::Error<O::Error>> {
        self.clock.sleep_until(surefoot::Clock::now(&self.clock) + self.wait).await;
        operation.attempt().await
    }

    fn parts(&self, parts: &mut Vec<Part>) {
        parts.push(Part::new(PartKind::Other, "queue".into()));
    }
}

impl BlockingPolicy for Queue {
    fn run_blocking<O: BlockingOperation>(
        &self,
        operation: &O,
    ) -> Result<O::Value, surefoot::Error<O::Error>> {
        self.clock.advance(self.wait);
        operation.attempt_blocking()
    }
}

/// DESIGN §3: `dispatched: false` when the time ran out in a queue.
#[test]
fn a_deadline_that_passes_before_the_operation_starts_says_so_and_blames_nobody() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [gives(200)]);
    let breaker = breaker(&clock).failure_threshold(1).build().unwrap();
    let pipeline = Pipeline::builder("api")
        .add(breaker.clone())
        .add(timeout(&clock, "limit", SEC))
        .add(Queue { clock: clock.clone(), wait: 2 * SEC })
        .build()
        .unwrap();
    let answer = run(&clock, pipeline.call(|| service.answer()));
    let Err(error) = answer else { panic!("{answer:?}") };
    assert!(matches!(error, Error::Timeout { dispatched: false, last: None, .. }));
    assert!(error.is_undispatched());
    let totals = breaker.status().totals;
    assert_eq!((totals.ignored, totals.failures), (1, 0));
    assert_eq!((service.calls(), clock.waiting()), (0, 0));
}

/// The same where an inner limit finds the time already over.
#[test]
fn no_operation_is_started_after_the_deadline() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let service = Service::new(&clock, [gives(200)]);
        let pipeline = Pipeline::builder("api")
            .add(timeout(&clock, "total", 3 * SEC))
            .add(Queue { clock: clock.clone(), wait: 3 * SEC })
            .add(timeout(&clock, "attempt", 2 * SEC))
            .build()
            .unwrap();
        let answer = call!(host, clock, pipeline, service);
        let Err(error) = answer else { panic!("{host:?}: {answer:?}") };
        assert!(
            matches!(&error, Error::Timeout { policy, dispatched: false, .. } if *policy == "total"),
            "{host:?}: {error:?}"
        );
        assert_eq!(service.calls(), 0, "{host:?}");
    }
}

/// The deadline is fixed on entry: what queues and waits use up is gone.
#[test]
fn every_wait_inside_uses_up_the_total() {
    let clock = ManualClock::new();
    let service = Service::new(&clock, [hangs()]);
    let pipeline = Pipeline::builder("api")
        .add(timeout(&clock, "total", 10 * SEC))
        .add(Queue { clock: clock.clone(), wait: 7 * SEC })
        .add(timeout(&clock, "attempt", 5 * SEC))
        .build()
        .unwrap();
    let answer = run(&clock, pipeline.call(|| service.answer()));
    assert_eq!(answer, Err(timed_out("total", 10 * SEC, None)));
    assert_eq!(clock.now_ms(), 10_000);
}
