//! Callers of a server that can refuse, which costs it something too.

use std::time::Duration;

use surefoot::{ClientThrottle, Identity, Policy, Throttler};

use super::{Bound, Figure, Scenario};
use crate::server::Options;
use crate::tally::as_f64;
use crate::{Server, Service, Tally, World, crowd};

/// What it would only refuse stays away.
pub const CLIENT_THROTTLE: Scenario = Scenario {
    number: 14,
    title: "a client throttle with its defaults at 5 and 20 × capacity, and after outages",
    run,
};

const WORKERS: u32 = 20;
const MEAN: Duration = Duration::from_millis(100);
const WARM_UP: u64 = 60;

fn run() -> Vec<Figure> {
    let mut figures = vec![];
    for load in [5.0, 20.0] {
        let throttled = overload(load, throttle);
        let what = format!("{load} ×: requests that reach the server, of its capacity");
        figures.push(Figure::new(what, throttled.received, "×", Bound::AtMost(2.1)));
        let what = format!("{load} ×: done, of capacity");
        figures.push(Figure::share(what, throttled.goodput, Bound::AtLeast(98.0)));
    }
    let bare = overload(20.0, |_| Identity);
    let what = "control, 20 ×: requests that reach the server";
    figures.push(Figure::new(what, bare.received, "×", Bound::AtLeast(19.0)));

    for seconds in [60, 300] {
        let outage = outage(seconds, throttle);
        let what = format!("after {seconds} s of outage, 95 % of calls done again after");
        figures.push(Figure::recovery(what, outage.recovery, Bound::AtMost(75.0)));
        let what = format!("in the last half of the {seconds} s, calls that find out");
        figures.push(Figure::share(what, outage.probes, Bound::AtLeast(9.5)));
    }
    let bare = outage(300, |_| Identity);
    let what = "control, in the outage: calls that reach the server";
    figures.push(Figure::share(what, bare.probes, Bound::AtLeast(99.0)));
    figures
}

fn throttle(world: &World) -> ClientThrottle {
    ClientThrottle::builder("server").seed(1).clock(world.clock()).build().expect("valid")
}

struct Overload {
    received: f64,
    goodput: f64,
}

fn overload<P: Policy + 'static>(load: f64, policy: impl FnOnce(&World) -> P) -> Overload {
    let mut scene = Scene::new(load, policy);
    scene.world.run_for(Duration::from_secs(WARM_UP));
    let before = scene.received();
    scene.world.run_for(Duration::from_secs(100));
    let received = (scene.received() - before) / 100.0 / capacity();
    let goodput = scene.tally.between(WARM_UP, WARM_UP + 99).rate() / capacity();
    Overload { received, goodput }
}

struct Outage {
    recovery: Option<u64>,
    probes: f64,
}

/// At 0.9 of its capacity, everything fails for so long.
fn outage<P: Policy + 'static>(seconds: u64, policy: impl FnOnce(&World) -> P) -> Outage {
    let mut scene = Scene::new(0.9, policy);
    let (half, end) = (seconds / 2, WARM_UP + seconds);
    scene.world.run_for(Duration::from_secs(WARM_UP));
    scene.server.break_down(1.0, 1.0);
    scene.world.run_for(Duration::from_secs(half));
    let before = scene.received();
    scene.world.run_for(Duration::from_secs(seconds - half));
    let probes = scene.received() - before;
    scene.server.break_down(0.0, 1.0);
    scene.world.run_for(Duration::from_secs(300));
    Outage {
        recovery: scene.tally.recovered_after(end, end + 290, 0.95),
        probes: probes / as_f64(scene.tally.between(end - half, end).offered),
    }
}

struct Scene {
    world: World,
    server: Server,
    tally: Tally,
    /// The server's own bound.
    queue: Throttler,
}

impl Scene {
    fn new<P: Policy + 'static>(load: f64, policy: impl FnOnce(&World) -> P) -> Self {
        let world = World::new();
        let options = Options::new(WORKERS as usize, Service::Exponential, MEAN);
        let server = Server::new(world.handle(), options);
        let queue = Throttler::builder("queue").max_concurrent(WORKERS).queue_size(100);
        let queue = queue.clock(world.clock()).build().expect("valid");
        let tally = Tally::default();
        let (rate, policy) = (load * capacity(), policy(&world));
        let target = server.guarded(queue.clone());
        crowd::calls(&world.handle(), &tally, move |_| rate, policy, target);
        Self { world, server, tally, queue }
    }

    /// Requests that have reached the server, those it refused too.
    fn received(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "counts of a simulation are small")]
        let refused = self.queue.status().totals.rejected() as f64;
        as_f64(self.server.counts().received) + refused
    }
}

fn capacity() -> f64 {
    Options::new(WORKERS as usize, Service::Exponential, MEAN).capacity()
}
