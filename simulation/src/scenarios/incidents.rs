//! Incidents that outlast their cause, if nothing is done: a cache that is cold, errors that are
//! dear.
//!
//! Callers try three times, a second each. The policies are a queue of the server's own that is
//! bounded in length and time, and a budget for retries.

use std::time::Duration;

use surefoot::throttler::ThrottlerBuilder;
use surefoot::{Jitter, Pipeline, Policy, Retry, RetryBudget, Throttler, Timeout};

use super::{Bound, Figure, Scenario};
use crate::server::{Options, Target};
use crate::{Server, Service, Tally, World, crowd};

/// Nothing is cached after a restart.
pub const COLD_CACHE: Scenario = Scenario {
    number: 15,
    name: "cold cache",
    title: "a restart at 80 % load; the next 1000 calls take four times as long",
    run: cold_cache,
};

/// A failure is more work than a success.
pub const SLOW_ERRORS: Scenario = Scenario {
    number: 16,
    name: "slow errors",
    title: "one call in five fails and takes three times as long, at 70 % load",
    run: slow_errors,
};

const WORKERS: u32 = 20;
const INCIDENT: u64 = 30;
const END: u64 = INCIDENT + 300;

fn cold_cache(seed: u32) -> Vec<Figure> {
    let recovery = |tally: &Tally| tally.recovered_after(INCIDENT, END - 5, 0.95);
    let incident = |server: &Server| server.restart(1000);
    let guarded = protected(seed, 0.8, incident);
    let bare = bare(seed, 0.8, incident);
    vec![
        Figure::recovery("95 % of calls done again after", recovery(&guarded), Bound::AtMost(60.0)),
        Figure::recovery(
            "control, neither: done again after",
            recovery(&bare),
            Bound::AtLeast(f64::INFINITY),
        ),
    ]
}

fn slow_errors(seed: u32) -> Vec<Figure> {
    let incident = |server: &Server| server.break_down(0.2, 3.0);
    let done = |tally: &Tally| tally.between(INCIDENT + 60, END - 5).share_done();
    vec![
        Figure::share("calls done", done(&protected(seed, 0.7, incident)), Bound::AtLeast(75.0)),
        Figure::share(
            "control, neither: done",
            done(&bare(seed, 0.7, incident)),
            Bound::AtMost(5.0),
        ),
    ]
}

fn protected(seed: u32, load: f64, incident: impl FnOnce(&Server)) -> Tally {
    let queue = |throttler: ThrottlerBuilder| {
        throttler.max_concurrent(WORKERS).queue_size(100).timeout(Duration::from_millis(500))
    };
    run(seed, load, incident, |world, server| {
        let throttler = Throttler::builder("queue").clock(world.clock());
        let guarded = server.guarded(queue(throttler).build().expect("valid"));
        (guarded, RetryBudget::on_clock(world.clock()))
    })
}

fn bare(seed: u32, load: f64, incident: impl FnOnce(&Server)) -> Tally {
    run(seed, load, incident, |_, server| (server.clone(), RetryBudget::unlimited()))
}

fn run<T: Target>(
    seed: u32,
    load: f64,
    incident: impl FnOnce(&Server),
    protect: impl FnOnce(&World, &Server) -> (T, RetryBudget),
) -> Tally {
    let mut world = World::new(seed);
    let options = Options::new(WORKERS as usize, Service::Exponential, Duration::from_millis(100));
    let server = Server::new(world.handle(), options);
    let (target, budget) = protect(&world, &server);
    let tally = Tally::default();
    let rate = load * options.capacity();
    crowd::calls(&world.handle(), &tally, move |_| rate, caller(&world, budget), target);
    world.run_for(Duration::from_secs(INCIDENT));
    incident(&server);
    world.run_for(Duration::from_secs(END - INCIDENT));
    tally
}

fn caller(world: &World, budget: RetryBudget) -> impl Policy + use<> {
    let retry = Retry::builder()
        .max_attempts(3)
        .initial_delay(Duration::from_millis(100))
        .jitter(Jitter::Full)
        .seed(world.handle().seed())
        .clock(world.clock())
        .build()
        .expect("valid")
        .drawing_on(budget, true);
    let attempt = Timeout::new(Duration::from_secs(1)).expect("a second").on_clock(world.clock());
    Pipeline::builder("call").idempotent().add(retry).add(attempt).build().expect("valid")
}
