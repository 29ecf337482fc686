//! What several policies do, as one stream of events: for a dashboard, an alarm, a log.

use std::io;
use std::time::Duration;

use surefoot::prelude::*;
use surefoot::{Event, EventStream, ManualClock, StopReason};
use surefoot_examples::in_virtual_time;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock = ManualClock::new();
    let breaker = CircuitBreaker::builder("search").failure_threshold(3).clock(&clock).build()?;
    let retry = Retry::builder().name("lookup").max_attempts(3).clock(&clock).build()?;
    let mut events = EventStream::new(100).listen_to(breaker.events()).listen_to(retry.events());

    // An alarm of the kind that a program would spawn: it waits until a circuit opens.
    let alarm = async {
        let mut seen = Vec::new();
        loop {
            let event = events.next().await;
            println!("{event:?}");
            seen.push(event.clone());
            if let Event::StateChanged { policy, to: CircuitState::Open, .. } = event {
                return (policy, seen);
            }
        }
    };
    let search = Pipeline::builder("search")
        .idempotent()
        .add(retry)
        .add(breaker)
        .add(Timeout::new(Duration::from_secs(10))?.on_clock(&clock))
        .build()?;
    let failing = async || Err::<(), _>(io::Error::from(io::ErrorKind::ConnectionReset));
    let ((alarmed, seen), result) =
        in_virtual_time(&clock, async { tokio::join!(alarm, search.call(failing)) }).await;
    assert!(result.is_err());
    assert_eq!(alarmed, "search");
    assert!(matches!(
        seen[..],
        [
            Event::RetryScheduled { attempt: 1, .. },
            Event::RetryScheduled { attempt: 2, .. },
            Event::StateChanged { failure_count: 3, .. },
        ]
    ));

    // The rest is still there, and no event was lost.
    let rest = events.try_next();
    assert!(matches!(rest, Some(Event::RetryStopped { stop: StopReason::Attempts, .. })));
    assert!(events.try_next().is_none());
    assert_eq!(events.lost(), 0);
    Ok(())
}
