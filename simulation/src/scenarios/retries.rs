//! Retries after a stall: the load they add can outlive its cause.
//!
//! A server at 70 % of its capacity stands still for ten seconds. Callers give an attempt up after a
//! second, which the server does not notice, and try again: three attempts each make 210 % of what
//! it can do, for as long as attempts time out, which is for ever.

use std::time::Duration;

use surefoot::{CircuitBreaker, Jitter, Pipeline, Policy, Retry, RetryBudget, Timeout};

use super::{Bound, Figure, Scenario};
use crate::server::Options;
use crate::tally::as_f64;
use crate::{Server, Service, Tally, World, crowd};

/// A budget ends the storm.
pub const BUDGET: Scenario = Scenario {
    number: 12,
    name: "retry budget",
    title: "10 s stall at 70 % load, three attempts, with a retry budget",
    run: with_budget,
};

/// So does a breaker, sooner.
pub const BREAKER: Scenario = Scenario {
    number: 13,
    name: "circuit breaker",
    title: "the same with a circuit breaker that opens for 5 s",
    run: with_breaker,
};

const STALL: Duration = Duration::from_secs(10);
const STALL_AT: u32 = 30;
const STALL_ENDS: u32 = 40;
const SHOULD_BE_OVER: u32 = 100;
const END: u32 = 340;
const OPEN: Duration = Duration::from_secs(5);

struct Run {
    tally: Tally,
    /// Requests that the server has received, second by second.
    received: Vec<f64>,
}

fn with_budget(seed: u32) -> Vec<Figure> {
    let budgeted = run(seed, |world, attempt| {
        let pipeline = Pipeline::builder("call").idempotent().add(retry(world));
        pipeline.add(attempt).build().expect("valid")
    });
    let bare = run(seed, unbudgeted);
    let never = Bound::AtLeast(f64::INFINITY);
    vec![
        Figure::recovery(
            "95 % of calls done again after",
            budgeted.recovery(),
            Bound::AtMost(60.0),
        ),
        Figure::new("requests for each call", budgeted.amplification(), "×", Bound::AtMost(1.25)),
        Figure::recovery("control, no budget: done again after", bare.recovery(), never),
        Figure::new(
            "control: requests for each call",
            bare.amplification(),
            "×",
            Bound::AtLeast(2.5),
        ),
    ]
}

fn with_breaker(seed: u32) -> Vec<Figure> {
    let guarded = run(seed, |world, attempt| {
        let breaker = CircuitBreaker::builder("server").timeout(OPEN).clock(world.clock());
        let pipeline = Pipeline::builder("call").idempotent().add(retry(world));
        pipeline.add(breaker.build().expect("valid")).add(attempt).build().expect("valid")
    });
    let bare = run(seed, unbudgeted);
    let latest = OPEN.as_secs_f64() + 10.0;
    let never = Bound::AtLeast(f64::INFINITY);
    vec![
        Figure::recovery(
            "95 % of calls done again after",
            guarded.recovery(),
            Bound::AtMost(latest),
        ),
        Figure::count(
            "requests in a second while it stands still, at most",
            guarded.most_while_stalled(),
            Bound::AtMost(10.0),
        ),
        Figure::recovery(
            "control, no breaker, no budget: done again after",
            bare.recovery(),
            never,
        ),
        Figure::count(
            "control: requests in a second, at most",
            bare.most_while_stalled(),
            Bound::AtLeast(100.0),
        ),
    ]
}

/// The control. (A pipeline's retry has a budget unless it is given another.)
fn unbudgeted(world: &World, attempt: Timeout) -> impl Policy + use<> {
    let retry = retry(world).drawing_on(RetryBudget::unlimited(), true);
    Pipeline::builder("call").idempotent().add(retry).add(attempt).build().expect("valid")
}

fn retry(world: &World) -> Retry {
    Retry::builder()
        .max_attempts(3)
        .initial_delay(Duration::from_millis(100))
        .jitter(Jitter::Full)
        .seed(world.handle().seed())
        .clock(world.clock())
        .build()
        .expect("valid")
}

fn run<P: Policy + 'static>(seed: u32, policy: impl Fn(&World, Timeout) -> P) -> Run {
    let mut world = World::new(seed);
    let options = Options::new(20, Service::Exponential, Duration::from_millis(100));
    let server = Server::new(world.handle(), options);
    let tally = Tally::default();
    let attempt = Timeout::new(Duration::from_secs(1)).expect("a second").on_clock(world.clock());
    let rate = 0.7 * options.capacity();
    crowd::calls(&world.handle(), &tally, move |_| rate, policy(&world, attempt), server.clone());
    let mut received = vec![];
    for second in 0..END {
        if second == STALL_AT {
            server.stall(STALL);
        }
        let before = server.counts().received;
        world.run_for(Duration::from_secs(1));
        received.push(as_f64(server.counts().received - before));
    }
    Run { tally, received }
}

impl Run {
    fn recovery(&self) -> Option<u64> {
        self.tally.recovered_after(STALL_ENDS.into(), u64::from(END) - 10, 0.95)
    }

    /// From the stall until it should be over.
    fn amplification(&self) -> f64 {
        let received: f64 = self.received(STALL_AT, SHOULD_BE_OVER).sum();
        received / as_f64(self.tally.between(STALL_AT.into(), SHOULD_BE_OVER.into()).offered)
    }

    /// Attempts under way when it stalls need a second to time out, and the breaker another to
    /// learn of it.
    fn most_while_stalled(&self) -> f64 {
        self.received(STALL_AT + 2, STALL_ENDS).fold(0.0, f64::max)
    }

    fn received(&self, from: u32, to: u32) -> impl Iterator<Item = f64> {
        self.received[from as usize..to as usize].iter().copied()
    }
}
