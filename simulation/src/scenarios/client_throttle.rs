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
    name: "client throttle",
    title: "a client throttle with its defaults at 5 and 20 × capacity, and after outages",
    run,
};

const WORKERS: u32 = 20;
const MEAN: Duration = Duration::from_millis(100);
const WARM_UP: u64 = 60;

fn run(seed: u32) -> Vec<Figure> {
    let mut figures = vec![];
    for load in [5.0, 20.0] {
        let throttled = overload(seed, load, throttle);
        let what = format!("{load} ×: requests that reach the server, of its capacity");
        figures.push(Figure::new(what, throttled.received, "×", Bound::AtMost(2.1)));
        let what = format!("{load} ×: done, of capacity");
        figures.push(Figure::share(what, throttled.goodput, Bound::AtLeast(98.0)));
    }
    let bare = overload(seed, 20.0, |_| Identity);
    let what = "control, 20 ×: requests that reach the server";
    figures.push(Figure::new(what, bare.received, "×", Bound::AtLeast(19.0)));

    for seconds in [60, 300] {
        let outage = outage(seed, seconds, throttle, held_back);
        let what = format!("after {seconds} s of outage, 95 % of calls done again after");
        figures.push(Figure::recovery(what, outage.recovery, Bound::AtMost(75.0)));
        let what = format!("in the last half of the {seconds} s, calls held back at most");
        figures.push(Figure::share(what, outage.most_held_back, Bound::AtMost(90.0)));
        // Which calls get through is chance: the count is that of a fair coin with ten sides.
        let tenth = 0.1 * outage.offered;
        let short = (tenth - outage.probes) / (0.9 * tenth).sqrt();
        let what = format!("{seconds} s: calls that find out, standard deviations below a tenth");
        figures.push(Figure::count(what, short.max(0.0), Bound::AtMost(3.0)));
    }
    let bare = outage(seed, 300, |_| Identity, |_| 0.0);
    let what = "control, in the outage: calls that reach the server";
    figures.push(Figure::share(what, bare.probes / bare.offered, Bound::AtLeast(99.0)));
    figures
}

fn throttle(world: &World) -> ClientThrottle {
    ClientThrottle::builder("server")
        .seed(world.handle().seed())
        .clock(world.clock())
        .build()
        .expect("valid")
}

struct Overload {
    received: f64,
    goodput: f64,
}

fn overload<P: Policy + 'static>(
    seed: u32,
    load: f64,
    policy: impl FnOnce(&World) -> P,
) -> Overload {
    let mut scene = Scene::new(seed, load, policy);
    scene.world.run_for(Duration::from_secs(WARM_UP));
    let before = scene.received();
    scene.world.run_for(Duration::from_secs(100));
    let received = (scene.received() - before) / 100.0 / capacity();
    let goodput = scene.tally.between(WARM_UP, WARM_UP + 99).rate() / capacity();
    Overload { received, goodput }
}

/// The share of calls that it holds back now.
fn held_back(throttle: &ClientThrottle) -> f64 {
    throttle.status().rejection_rate
}

struct Outage {
    recovery: Option<u64>,
    /// Calls in its last half,
    offered: f64,
    /// those of them that reached the server,
    probes: f64,
    /// and the largest share that was held back then at the end of a second.
    most_held_back: f64,
}

/// At 0.9 of its capacity, everything fails for so long.
fn outage<P: Policy + Clone + 'static>(
    seed: u32,
    seconds: u64,
    policy: impl FnOnce(&World) -> P,
    held_back: impl Fn(&P) -> f64,
) -> Outage {
    let mut kept = None;
    let mut scene = Scene::new(seed, 0.9, |world| kept.insert(policy(world)).clone());
    let policy = kept.expect("the scene asked for it");
    let (half, end) = (seconds / 2, WARM_UP + seconds);
    scene.world.run_for(Duration::from_secs(WARM_UP));
    scene.server.break_down(1.0, 1.0);
    scene.world.run_for(Duration::from_secs(half));
    let before = scene.received();
    let mut most_held_back: f64 = 0.0;
    for _ in half..seconds {
        scene.world.run_for(Duration::from_secs(1));
        most_held_back = most_held_back.max(held_back(&policy));
    }
    let probes = scene.received() - before;
    scene.server.break_down(0.0, 1.0);
    scene.world.run_for(Duration::from_secs(300));
    Outage {
        recovery: scene.tally.recovered_after(end, end + 290, 0.95),
        offered: as_f64(scene.tally.between(end - half, end).offered),
        probes,
        most_held_back,
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
    fn new<P: Policy + 'static>(seed: u32, load: f64, policy: impl FnOnce(&World) -> P) -> Self {
        let world = World::new(seed);
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
