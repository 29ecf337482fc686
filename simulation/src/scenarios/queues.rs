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
use crate::tally::{Summary, as_f64};
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
    let newest = run_to_its_end(seed, 5.0, 100, with(Order::Lifo, bound));
    let unbounded = run_to_its_end(seed, 5.0, 100, with(Order::Lifo, LONG));
    let oldest = run(seed, 5.0, 100, with(Order::Fifo, bound));
    vec![
        Figure::share("done in time, of capacity", goodput(&newest.measured), Bound::AtLeast(97.0)),
        Figure::seconds("median", newest.measured.latency(0.5), Bound::AtMost(0.2)),
        Figure::seconds(
            "a refusal takes at most",
            newest.all.longest_refusal(),
            Bound::AtMost(0.9),
        ),
        Figure::share("left in the queue, of all calls", newest.forgotten, Bound::AtMost(0.0)),
        Figure::seconds("control, oldest first: median", oldest.latency(0.5), Bound::AtLeast(0.8)),
        Figure::share(
            "control, no bound on waits: left in the queue",
            unbounded.forgotten,
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

/// What a queue has come to.
struct Run {
    /// The calls that count,
    measured: Summary,
    /// and those of the warm-up too.
    all: Summary,
    /// The share of all whose callers had given up before they were let in or refused.
    forgotten: f64,
}

fn run(
    seed: u32,
    load: f64,
    seconds: u64,
    queue: impl FnOnce(ThrottlerBuilder) -> ThrottlerBuilder,
) -> Summary {
    run_to_its_end(seed, load, seconds, queue).measured
}

/// The queue is the server's own. Nobody comes any more when the time is over, and when the last
/// caller has lost patience it is seen what became of all.
fn run_to_its_end(
    seed: u32,
    load: f64,
    seconds: u64,
    queue: impl FnOnce(ThrottlerBuilder) -> ThrottlerBuilder,
) -> Run {
    let mut world = World::new(seed);
    let throttler = Throttler::builder("queue").max_concurrent(WORKERS).clock(world.clock());
    let throttler = queue(throttler).build().expect("valid");
    let server = Server::new(world.handle(), options());
    let tally = Tally::default();
    let timeout = Timeout::new(PATIENCE).expect("a second").on_clock(world.clock());
    let end = WARM_UP + seconds;
    let rate = load * options().capacity();
    let rate = move |time| if time < Duration::from_secs(end) { rate } else { 0.0 };
    crowd::calls(&world.handle(), &tally, rate, timeout, server.guarded(throttler));
    world.run_for(Duration::from_secs(end) + PATIENCE + MEAN);
    let all = tally.between(0, end + 1);
    let forgotten = all.offered - all.refused - server.counts().received;
    Run {
        measured: tally.between(WARM_UP, end),
        forgotten: as_f64(forgotten) / as_f64(all.offered),
        all,
    }
}
