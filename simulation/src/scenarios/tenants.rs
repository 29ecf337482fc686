//! Two tenants of one server, one of whom comes with ten times its share.
//!
//! The server has 20 workers. Callers give up after a second.

use std::sync::Arc;
use std::time::Duration;

use surefoot::{Bulkhead, Throttler, Timeout};

use super::{Bound, Figure, Scenario};
use crate::crowd::{self, Caller};
use crate::server::Options;
use crate::tally::{Summary, fairness};
use crate::{Server, Service, Tally, World};

/// Each has a compartment.
pub const BULKHEAD: Scenario = Scenario {
    number: 10,
    name: "bulkhead",
    title: "a tenant with 10 × its share beside one with 0.7 ×, in compartments of 10 workers each",
    run,
};

const WORKERS: u32 = 20;
const MEAN: Duration = Duration::from_millis(100);
const WARM_UP: u64 = 20;
const MEASURED: u64 = 200;
const MODEST: u8 = 0;
const GREEDY: u8 = 1;
/// Of half the server.
const LOADS: [f64; 2] = [0.7, 10.0];

fn run(seed: u32) -> Vec<Figure> {
    let compartments = |world: &World| {
        let bulkhead = Bulkhead::builder("server")
            .compartment("modest", WORKERS / 2, 50)
            .compartment("greedy", WORKERS / 2, 50)
            .clock(world.clock())
            .build()
            .expect("valid");
        ["modest", "greedy"].map(|name| bulkhead.compartment(name).expect("it is there"))
    };
    let shared = |world: &World| {
        let throttler = Throttler::builder("server").max_concurrent(WORKERS).queue_size(100);
        let throttler = throttler.clock(world.clock()).build().expect("valid");
        [throttler.clone(), throttler]
    };
    let [alone, _] = tenants(seed, [LOADS[0], 0.0], compartments);
    let [modest, greedy] = tenants(seed, LOADS, compartments);
    let [crowded, crowding] = tenants(seed, LOADS, shared);
    let lost = |modest: &Summary| 1.0 - modest.share_done() / alone.share_done();
    let added = |modest: &Summary| modest.latency(0.99) - alone.latency(0.99);
    vec![
        Figure::share("the modest one's calls lost", lost(&modest), Bound::AtMost(2.0)),
        Figure::seconds(
            "added to the modest one's 99th percentile",
            added(&modest),
            Bound::AtMost(0.0),
        ),
        Figure::share("the greedy one gets, of its half", of_half(&greedy), Bound::AtLeast(98.0)),
        Figure::count(
            "fairness of what each gets of its need",
            fair(&modest, &greedy),
            Bound::AtLeast(0.95),
        ),
        Figure::share("control, one queue for both: lost", lost(&crowded), Bound::AtLeast(50.0)),
        Figure::seconds("control: added", added(&crowded), Bound::AtLeast(0.1)),
        Figure::count("control: fairness", fair(&crowded, &crowding), Bound::AtMost(0.8)),
    ]
}

/// Jain's index over what each gets of what it may claim: what it asks for, or half of the server.
fn fair(modest: &Summary, greedy: &Summary) -> f64 {
    fairness(&[of_half(modest) / LOADS[0], of_half(greedy)])
}

fn of_half(summary: &Summary) -> f64 {
    summary.rate() / half()
}

fn half() -> f64 {
    options().capacity() / 2.0
}

fn options() -> Options {
    Options::new(WORKERS as usize, Service::Exponential, MEAN)
}

/// What the modest one and the greedy one come to, with these shares of half the server.
fn tenants(
    seed: u32,
    loads: [f64; 2],
    policies: impl FnOnce(&World) -> [Throttler; 2],
) -> [Summary; 2] {
    let mut world = World::new(seed);
    let server = Server::new(world.handle(), options());
    let tally = Tally::default();
    for ((group, load), policy) in [MODEST, GREEDY].into_iter().zip(loads).zip(policies(&world)) {
        let timeout = Timeout::new(Duration::from_secs(1)).expect("a second");
        let caller = Caller {
            group,
            policy: Arc::new(timeout.on_clock(world.clock())),
            target: server.for_group(group).guarded(policy),
        };
        crowd::calls_of(&world.handle(), &tally, move |_| load * half(), caller);
    }
    world.run_for(Duration::from_secs(WARM_UP + MEASURED + 2));
    [MODEST, GREEDY].map(|group| tally.of_group(group, WARM_UP, WARM_UP + MEASURED))
}
