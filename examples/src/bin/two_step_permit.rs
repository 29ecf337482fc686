//! Ask, work, report: a circuit breaker around work that is not one function call.
//!
//! Here one thread asks and puts the work into a queue, and another does it and reports. The
//! permit travels with the work; whatever becomes of it, the breaker gets to know.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use surefoot::prelude::*;
use surefoot::{Permit, Rejection};

/// A piece of work that was admitted.
struct Job {
    url: &'static str,
    permit: Permit,
}

/// Admits a job before it is queued, so that none waits in vain.
fn enqueue(
    breaker: &CircuitBreaker,
    queue: &mpsc::Sender<Job>,
    url: &'static str,
) -> Result<(), Rejection> {
    let permit = breaker.admit()?;
    // If the worker is gone, the job is dropped here, and the permit with it: nothing is counted.
    let _ = queue.send(Job { url, permit });
    Ok(())
}

/// Does the work and says how it went.
fn work(Job { url, permit }: Job) {
    match url {
        "/ok" => permit.success(),
        "/not-found" => permit.ignore(), // the caller's mistake
        "/busy" => permit.throttled(Duration::from_secs(20)),
        "/nobody-wants-it-any-more" => drop(permit), // cancelled
        _ => permit.failure(),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let breaker = CircuitBreaker::builder("crawler").failure_threshold(2).build()?;

    let (queue, jobs) = mpsc::channel();
    let worker = thread::spawn(move || jobs.into_iter().for_each(work));
    for url in ["/ok", "/ok", "/not-found", "/nobody-wants-it-any-more", "/broken"] {
        enqueue(&breaker, &queue, url)?;
    }
    drop(queue);
    worker.join().expect("the worker does not panic");

    let totals = breaker.status().totals;
    println!("{totals:?}");
    assert_eq!((totals.successes, totals.failures), (2, 1));
    assert_eq!((totals.ignored, totals.cancelled), (1, 1));

    // A callee that asks for a pause gets it, and stays closed: it is busy, not broken.
    let (queue, jobs) = mpsc::channel();
    enqueue(&breaker, &queue, "/busy")?;
    drop(queue);
    jobs.into_iter().for_each(work);
    let rejection = breaker.admit().expect_err("the callee wants to be left alone");
    println!("{rejection}");
    assert!(matches!(rejection, Rejection::Throttled { .. }));
    assert_eq!(breaker.state(), CircuitState::Closed);

    // A worker that panics with a permit in its hands has failed.
    breaker.reset();
    let permit = breaker.admit()?;
    let panicked = thread::Builder::new().spawn(move || {
        let _permit = permit;
        std::panic::resume_unwind(Box::new("a panic without the message on the screen"));
    })?;
    assert!(panicked.join().is_err());
    assert_eq!(breaker.status().failure_count, 1);
    Ok(())
}
