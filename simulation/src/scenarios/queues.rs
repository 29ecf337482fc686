//! A queue before a server that has more to do than it can.
//!
//! Callers give up after a second, which neither the queue nor the server notices. What is served to
//! them after that is wasted, so a queue that makes everybody wait longer makes the server work for
//! nobody.

use std::time::Duration;

use surefoot::throttler::{CodelConfig, Order, ThrottlerBuilder};
use surefoot::{Throttler, Timeout};

use super::{Bound, Figure, Scenario};
use crate::server::Options;
use crate::tally::Summary;
use crate::{Server, Service, Tally, World, crowd};

/// A queue that is short enough.
pub const BOUND: Scenario = Scenario {
    number: 1,
    name: "bounded queue",
    title: "5 × capacity, callers wait 1 s; at most 100 wait, 20 run",
    run: bounded,
};

/// A long queue that does not stand.
pub const CODEL: Scenario = Scenario {
    number: 2,
    name: "CoDel",
    title: "1.2 × capacity for 10 min; CoDel scaled to the service",
    run: codel,
};

/// A long queue, from its other end.
pub const NEWEST_FIRST: Scenario = Scenario {
    number: 3,
    name: "newest first",
    title: "5 × capacity; of 1000 who wait at most 0.9 s, the newest first",
    run: newest_first,
};

const WORKERS: u32 = 20;
const MEAN: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(1);
const WARM_UP: u64 = 20;
const LONG: Duration = Duration::from_secs(1000);

fn bounded(seed: u32) -> Vec<Figure> {
    let bounded = run(seed, 5.0, 100, |throttler| throttler.queue_size(100));
    let unbounded = run(seed, 5.0, 100, |throttler| throttler.queue_size(1_000_000).timeout(LONG));
    vec![
        Figure::share("done in time, of capacity", goodput(&bounded), Bound::AtLeast(95.0)),
        Figure::seconds("99th percentile", bounded.latency(0.99), Bound::AtMost(1.0)),
        Figure::share("control, no bound: done in time", goodput(&unbounded), Bound::AtMost(1.0)),
    ]
}

fn codel(seed: u32) -> Vec<Figure> {
    let with = |config| move |throttler: ThrottlerBuilder| throttler.queue_size(1000).codel(config);
    let scaled = CodelConfig::default();
    let over = run(seed, 1.2, 600, with(scaled));
    let below = run(seed, 0.9, 600, with(scaled));
    let packets = CodelConfig {
        target: Some(Duration::from_millis(5)),
        interval: Some(Duration::from_millis(100)),
    };
    let as_for_packets = run(seed, 0.9, 600, with(packets));
    let plain = run(seed, 1.2, 600, |throttler| throttler.queue_size(1000));
    vec![
        Figure::share("done in time, of capacity", goodput(&over), Bound::AtLeast(97.0)),
        Figure::seconds("median", over.latency(0.5), Bound::AtMost(0.35)),
        Figure::share("lost at 0.9 × capacity", 1.0 - below.share_done(), Bound::AtMost(1.0)),
        Figure::share("control, no CoDel: done in time", goodput(&plain), Bound::AtMost(1.0)),
        Figure::share(
            "control, the 5 ms and 100 ms of packets: lost at 0.9 × capacity",
            1.0 - as_for_packets.share_done(),
            Bound::AtLeast(2.0),
        ),
    ]
}

fn newest_first(seed: u32) -> Vec<Figure> {
    let bound = Duration::from_millis(900);
    let with = |order, timeout| {
        move |throttler: ThrottlerBuilder| throttler.queue_size(1000).order(order).timeout(timeout)
    };
    let (newest, all) = run_from_start(seed, 5.0, 100, with(Order::Lifo, bound));
    let (_, all_unbounded) = run_from_start(seed, 5.0, 100, with(Order::Lifo, LONG));
    let oldest = run(seed, 5.0, 100, with(Order::Fifo, bound));
    let unanswered = |all: &Summary| 1.0 - all.share_answered();
    vec![
        Figure::share("done in time, of capacity", goodput(&newest), Bound::AtLeast(97.0)),
        Figure::seconds("median", newest.latency(0.5), Bound::AtMost(0.2)),
        Figure::seconds("a refusal takes at most", all.longest_refusal(), Bound::AtMost(0.9)),
        Figure::share("neither done nor refused", unanswered(&all), Bound::AtMost(0.0)),
        Figure::seconds("control, oldest first: median", oldest.latency(0.5), Bound::AtLeast(0.8)),
        Figure::share(
            "control, no bound on waits: neither done nor refused",
            unanswered(&all_unbounded),
            Bound::AtLeast(0.5),
        ),
    ]
}

fn goodput(summary: &Summary) -> f64 {
    summary.rate() / options().capacity()
}

fn options() -> Options {
    Options::new(WORKERS as usize, Service::Exponential, MEAN)
}

/// The queue is the server's own.
fn run(
    seed: u32,
    load: f64,
    seconds: u64,
    queue: impl FnOnce(ThrottlerBuilder) -> ThrottlerBuilder,
) -> Summary {
    run_from_start(seed, load, seconds, queue).0
}

/// The calls that count, and all of them, those of the warm-up too.
fn run_from_start(
    seed: u32,
    load: f64,
    seconds: u64,
    queue: impl FnOnce(ThrottlerBuilder) -> ThrottlerBuilder,
) -> (Summary, Summary) {
    let mut world = World::new(seed);
    let throttler = Throttler::builder("queue").max_concurrent(WORKERS).clock(world.clock());
    let throttler = queue(throttler).build().expect("valid");
    let server = Server::new(world.handle(), options()).guarded(throttler);
    let tally = Tally::default();
    let timeout = Timeout::new(PATIENCE).expect("a second").on_clock(world.clock());
    let rate = load * options().capacity();
    crowd::calls(&world.handle(), &tally, move |_| rate, timeout, server);
    // Those who come last still get their answer.
    world.run_for(Duration::from_secs(WARM_UP + seconds + 2));
    let end = WARM_UP + seconds;
    (tally.between(WARM_UP, end), tally.between(0, end))
}
