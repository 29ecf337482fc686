//! A limit that finds itself, before a server that changes.
//!
//! The limit stands with the callers, who give up after a second, which the server does not notice.
//! Nobody waits: what is too much is refused at once.

use std::time::Duration;

use surefoot::throttler::{AdaptiveConfig, ThrottlerBuilder};
use surefoot::{Identity, Pipeline, Policy, Throttler, Timeout};

use super::{Bound, Figure, Scenario};
use crate::published::{Aimd, Gate, Gradient2, Windowed};
use crate::server::Options;
use crate::tally::Summary;
use crate::{Server, Service, Tally, World, crowd};

/// Every load, every kind of service.
pub const LOADS: Scenario = Scenario {
    number: 4,
    name: "adaptive limit",
    title: "the adaptive limit at 0.8, 1.2 and 5 × capacity, for four kinds of service",
    run: loads,
};

/// Overload that does not end.
pub const DRIFT: Scenario = Scenario {
    number: 5,
    name: "an hour of overload",
    title: "the adaptive limit at 1.5 × capacity for an hour",
    run: drift,
};

/// The server gets slower for good, and then fast again.
pub const SLOWDOWN: Scenario = Scenario {
    number: 6,
    name: "slowdown",
    title: "everything takes four times as long for 15 min, then as before",
    run: slowdown,
};

/// Nothing to do for a while.
pub const IDLE: Scenario = Scenario {
    number: 7,
    name: "idle, then busy",
    title: "ten quiet minutes, then 3 × capacity",
    run: idle,
};

/// Some calls time out, though there is no overload.
pub const TIMEOUTS: Scenario = Scenario {
    number: 8,
    name: "a few timeouts",
    title: "one call in a hundred times out, at 30 % load",
    run: timeouts,
};

/// Now all, now nothing.
pub const BURSTS: Scenario = Scenario {
    number: 9,
    name: "bursts",
    title: "one second 2 × capacity, one second nothing",
    run: bursts,
};

const WORKERS: u32 = 20;
const MEAN: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(1);
const WARM_UP: u64 = 60;

const CHANCE: &str = "with one seed in ten; the work of 100 s is 1.3 % more or less than its mean";
const A_TRY: &str = "a try is at 0.8 of a limit that may be right, for four seconds; a smaller step \
    could not be told from chance";

const BURST: &str =
    "of 400 calls 200 are done in their second and 160 can wait: 90 % is about all there is";

/// A server, callers before it, and what limits them.
struct Run {
    world: World,
    server: Server,
    tally: Tally,
    throttler: Throttler,
    /// The limit at the end of each second.
    limits: Vec<u32>,
}

impl Run {
    fn new(
        seed: u32,
        service: Service,
        patience: Duration,
        rate: impl Fn(Duration) -> f64 + Send + 'static,
        limit: impl FnOnce(ThrottlerBuilder) -> ThrottlerBuilder,
    ) -> Self {
        let world = World::new(seed);
        let server = Server::new(world.handle(), options(service));
        let tally = Tally::default();
        let throttler = Throttler::builder("limit").queue_size(0).clock(world.clock());
        let throttler = limit(throttler).build().expect("valid");
        let policy = patiently(&world, patience, throttler.clone());
        crowd::calls(&world.handle(), &tally, rate, policy, server.clone());
        Self { world, server, tally, throttler, limits: vec![] }
    }

    fn adaptive(
        seed: u32,
        service: Service,
        rate: impl Fn(Duration) -> f64 + Send + 'static,
    ) -> Self {
        Self::new(seed, service, PATIENCE, rate, |limit| limit.adaptive(AdaptiveConfig::default()))
    }

    fn run_for(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.world.run_for(Duration::from_secs(1));
            self.limits.push(self.throttler.max_concurrent());
        }
    }

    fn highest(&self, from: u64) -> f64 {
        self.limits_from(from).fold(0.0, f64::max)
    }

    fn lowest(&self, from: u64) -> f64 {
        self.limits_from(from).fold(f64::INFINITY, f64::min)
    }

    fn limits_from(&self, second: u64) -> impl Iterator<Item = f64> {
        (0..).zip(&self.limits).filter(move |(at, _)| *at >= second).map(|(_, &limit)| limit.into())
    }
}

fn options(service: Service) -> Options {
    Options::new(WORKERS as usize, service, MEAN)
}

fn capacity() -> f64 {
    options(Service::Constant).capacity()
}

fn patiently<P: Policy>(world: &World, patience: Duration, limit: P) -> impl Policy + use<P> {
    let timeout = Timeout::new(patience).expect("positive").on_clock(world.clock());
    Pipeline::builder("call").add(timeout).add(limit).build().expect("valid")
}

/// The same callers before the same server, with another policy.
fn control<P: Policy + 'static>(
    seed: u32,
    service: Service,
    load: f64,
    seconds: u64,
    limit: impl FnOnce(&World) -> P,
) -> Summary {
    let mut world = World::new(seed);
    let server = Server::new(world.handle(), options(service));
    let tally = Tally::default();
    let rate = load * capacity();
    let policy = patiently(&world, PATIENCE, limit(&world));
    crowd::calls(&world.handle(), &tally, move |_| rate, policy, server);
    world.run_for(Duration::from_secs(WARM_UP + seconds));
    tally.between(WARM_UP, WARM_UP + seconds)
}

fn loads(seed: u32) -> Vec<Figure> {
    let c = f64::from(WORKERS);
    let mut figures = vec![];
    for service in Service::ALL {
        let name = service.name();
        for load in [0.8, 1.2, 5.0] {
            let rate = load * capacity();
            let mut run = Run::adaptive(seed, service, move |_| rate);
            run.run_for(WARM_UP + 100);
            let measured = run.tally.between(WARM_UP, WARM_UP + 99);
            if load < 1.0 {
                let what = format!("{name}, {load} ×: done in time, of those offered");
                figures.push(Figure::share(what, measured.share_done(), Bound::AtLeast(98.0)));
                continue;
            }
            let what = format!("{name}, {load} ×: done in time, of capacity");
            let goodput = measured.rate() / capacity();
            let done = Figure::share(what, goodput, Bound::AtLeast(95.0));
            figures.push(done.but_only(Bound::AtLeast(93.0), CHANCE));
            let what = format!("{name}, {load} ×: lowest limit after a minute");
            let lowest = Figure::count(what, run.lowest(WARM_UP), Bound::AtLeast(0.9 * c));
            figures.push(lowest.but_only(Bound::AtLeast(0.6 * c), A_TRY));
            let what = format!("{name}, {load} ×: highest");
            figures.push(Figure::count(what, run.highest(WARM_UP), Bound::AtMost(5.0 * c)));
        }
        let unlimited = control(seed, service, 1.2, 100, |_| Identity);
        let what = format!("control, {name}, no limit, 1.2 ×: done in time");
        figures.push(Figure::share(what, unlimited.rate() / capacity(), Bound::AtMost(1.0)));
    }
    figures
}

fn drift(seed: u32) -> Vec<Figure> {
    const HOUR: u64 = 3600;
    let c = f64::from(WORKERS);
    let mut figures = vec![];
    for service in [Service::Constant, Service::LogNormal] {
        let name = service.name();
        let mut run = Run::adaptive(seed, service, |_| 1.5 * capacity());
        run.run_for(HOUR);
        let last = run.tally.between(HOUR - 600, HOUR - 1);
        let what = format!("{name}: highest limit in the last ten minutes");
        figures.push(Figure::count(what, run.highest(HOUR - 600), Bound::AtMost(6.0 * c)));
        let what = format!("{name}: median in the last ten minutes");
        figures.push(Figure::seconds(what, last.latency(0.5), Bound::AtMost(0.3)));
        let what = format!("{name}: done in time, of capacity, in the last ten minutes");
        figures.push(Figure::share(what, last.rate() / capacity(), Bound::AtLeast(95.0)));
    }
    let mut gate = None;
    let summary = control(seed, Service::Constant, 1.5, HOUR, |world| {
        let limit = Windowed::new(Gradient2::default());
        gate.insert(Gate::new(world.handle(), Box::new(limit))).clone()
    });
    let limit = gate.map_or(0.0, |gate| gate.limit().into());
    figures.push(Figure::count("control, Gradient2: limit", limit, Bound::AtLeast(6.0 * c)));
    figures.push(Figure::seconds(
        "control, Gradient2: median",
        summary.latency(0.5),
        Bound::AtLeast(0.3),
    ));
    figures
}

/// Callers who wait ten times as long as the slower service takes; 1.2 times what the fast one can
/// do, which is 4.8 times what the slow one can.
fn slowdown(seed: u32) -> Vec<Figure> {
    const SLOW: u64 = 120;
    const FAST: u64 = SLOW + 900;
    const FACTOR: f64 = 4.0;
    let patience = MEAN * 40;
    let run = |limit: fn(ThrottlerBuilder) -> ThrottlerBuilder| {
        let mut run = Run::new(seed, Service::Exponential, patience, |_| 1.2 * capacity(), limit);
        run.run_for(SLOW);
        run.server.slow_down(FACTOR);
        run.run_for(FAST - SLOW);
        run.server.slow_down(1.0);
        run.run_for(300);
        run
    };
    let adaptive = run(|limit| limit.adaptive(AdaptiveConfig::default()));
    let slow = adaptive.tally.between(SLOW + 300, FAST).rate() / (capacity() / FACTOR);
    let fast = adaptive.tally.between(FAST + 120, FAST + 290).rate() / capacity();
    let least = WORKERS.div_ceil(8);
    let below = |window: &[u32]| window.iter().all(|&limit| limit < least);
    let starved = adaptive.limits.windows(120).filter(|window| below(window)).count();
    let generous = run(|limit| limit.max_concurrent(20 * WORKERS));
    vec![
        Figure::share("done in time, of the new capacity, after 5 min", slow, Bound::AtLeast(95.0)),
        Figure::count(
            format!("times the limit was below {least} for two minutes"),
            crate::tally::as_f64(starved),
            Bound::AtMost(0.0),
        ),
        Figure::share("done in time 2 min after it is fast again", fast, Bound::AtLeast(98.0)),
        Figure::share(
            "control, a fixed limit with room for the fast one: done in time while slow",
            generous.tally.between(SLOW + 300, FAST).rate() / (capacity() / FACTOR),
            Bound::AtMost(10.0),
        ),
    ]
}

fn idle(seed: u32) -> Vec<Figure> {
    const QUIET: u64 = 600;
    let rate = |time: Duration| if time.as_secs() < QUIET { 5.0 } else { 3.0 * capacity() };
    let mut run = Run::adaptive(seed, Service::Exponential, rate);
    run.run_for(QUIET);
    let grown = run.highest(0);
    run.run_for(120);
    let after = |from, to| run.tally.between(QUIET + from, QUIET + to).rate() / capacity();
    let second_minute = after(60, 119);
    let unlimited = {
        let mut run = Run::new(seed, Service::Exponential, PATIENCE, rate, |limit| {
            limit.max_concurrent(1_000_000)
        });
        run.run_for(QUIET + 120);
        run.tally.between(QUIET + 60, QUIET + 119).rate() / capacity()
    };
    vec![
        Figure::count("highest limit while quiet (it began at 20)", grown, Bound::AtMost(20.0)),
        Figure::share(
            "done in time, of capacity, in the first minute",
            after(0, 60),
            Bound::AtLeast(90.0),
        ),
        Figure::share("in the second", second_minute, Bound::AtLeast(95.0)),
        Figure::share("control, no limit: in the second", unlimited, Bound::AtMost(1.0)),
    ]
}

fn timeouts(seed: u32) -> Vec<Figure> {
    let rate = 0.3 * capacity();
    let mut run = Run::adaptive(seed, Service::Exponential, move |_| rate);
    run.run_for(WARM_UP);
    let before = run.highest(0);
    // Two seconds for what nobody waits for longer than one.
    run.server.break_down(0.01, 20.0);
    run.run_for(600);
    let lost = 1.0 - run.lowest(WARM_UP) / before;

    let mut world = World::new(seed);
    let server = Server::new(world.handle(), options(Service::Exponential));
    let gate = Gate::new(world.handle(), Box::new(Windowed::new(Aimd::new(PATIENCE))));
    let policy = patiently(&world, PATIENCE, gate.clone());
    crowd::calls(&world.handle(), &Tally::default(), move |_| rate, policy, server.clone());
    server.break_down(0.01, 20.0);
    let lowest = (0..600).map(|_| {
        world.run_for(Duration::from_secs(1));
        gate.limit()
    });
    let lost_by_any = 1.0 - f64::from(lowest.min().unwrap_or(0)) / 20.0;
    vec![
        Figure::share("the limit lost", lost, Bound::AtMost(20.0)),
        Figure::share(
            "control, any timeout lowers the limit: lost",
            lost_by_any,
            Bound::AtLeast(40.0),
        ),
    ]
}

fn bursts(seed: u32) -> Vec<Figure> {
    let rate =
        |time: Duration| if time.as_secs().is_multiple_of(2) { 2.0 * capacity() } else { 0.0 };
    let goodput = |limit: fn(ThrottlerBuilder) -> ThrottlerBuilder| {
        let mut run = Run::new(seed, Service::Exponential, PATIENCE, rate, limit);
        run.run_for(WARM_UP + 100);
        run.tally.between(WARM_UP, WARM_UP + 98).rate() / capacity()
    };
    let queued = goodput(|limit| {
        limit.adaptive(AdaptiveConfig::default()).queue_size(160).timeout(MEAN * 8)
    });
    let unqueued = goodput(|limit| limit.adaptive(AdaptiveConfig::default()));
    vec![
        Figure::share(
            "done in time, of capacity, with a queue of 160 for 0.8 s",
            queued,
            Bound::AtLeast(90.0),
        )
        .but_only(Bound::AtLeast(88.0), BURST),
        Figure::share("control, no queue", unqueued, Bound::AtMost(80.0)),
    ]
}
