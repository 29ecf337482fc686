//! Three priorities, a third of the calls each, and not enough for all.
//!
//! What is admitted begins at once, so the load is the calls under way, of the 50 there should be.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use surefoot::LoadShedder;
use surefoot::load_shedder::{LoadShedderBuilder, Recorded};

use super::{Bound, Figure, Scenario};
use crate::crowd::{self, Caller};
use crate::server::Options;
use crate::tally::as_f64;
use crate::world::lock;
use crate::{Server, Service, Tally, World};

/// The least important first.
pub const PRIORITIES: Scenario = Scenario {
    number: 11,
    name: "load shedder",
    title: "1.5 × capacity by three priorities: steps on calls under way, and a level on CPU samples",
    run,
};

const CAPACITY: u32 = 50;
const MEAN: Duration = Duration::from_millis(100);
const PRIORITIES_ALL: [u8; 3] = [1, 2, 3];
const WARM_UP: u64 = 20;
const MEASURED: u64 = 100;
/// How often the load is sampled, and how often that is averaged and told.
const LOOK: Duration = Duration::from_millis(5);
const LOOKS: u32 = 50;

/// What came of it.
struct Run {
    /// By priority, the share of calls that was admitted.
    admitted: [f64; 3],
    /// Of the capacity.
    utilisation: f64,
    most_in_flight: usize,
}

fn run(seed: u32) -> Vec<Figure> {
    let steps = shed(seed, 1.5, |shedder, _| shedder.capacity(CAPACITY));
    let stale = shed(seed, 1.5, |shedder, load| {
        let load = load.clone();
        shedder.signal(move || *lock(&load))
    });
    let level = |load| {
        shed(seed, load, |shedder, _| {
            shedder.cpu(true).load_source(Arc::new(Recorded)).max_load(0.9)
        })
    };
    let (over, below) = (level(1.5), level(0.7));
    let least = below.admitted.into_iter().fold(1.0, f64::min);
    let [_, _, highest] = stale.admitted;
    vec![
        Figure::share("steps: highest admitted", steps.admitted[2], Bound::AtLeast(98.0)),
        Figure::share("steps: lowest admitted", steps.admitted[0], Bound::AtMost(15.0)),
        Figure::count(
            "steps: most under way",
            as_f64(steps.most_in_flight),
            Bound::AtMost(CAPACITY.into()),
        ),
        Figure::share("level: highest admitted", over.admitted[2], Bound::AtLeast(85.0)),
        Figure::share("level: middle admitted", over.admitted[1], Bound::AtLeast(75.0)),
        Figure::share("level: lowest admitted", over.admitted[0], Bound::AtMost(15.0)),
        Figure::share("level: utilisation", over.utilisation, Bound::Within(85.0, 95.0)),
        Figure::share("level: least of any priority at 0.7 ×", least, Bound::AtLeast(99.0)),
        Figure::share(
            "control, steps on the load a quarter of a second ago: highest admitted",
            highest,
            Bound::AtMost(75.0),
        ),
    ]
}

fn shed(
    seed: u32,
    load: f64,
    signal: impl FnOnce(LoadShedderBuilder, &Arc<Mutex<f64>>) -> LoadShedderBuilder,
) -> Run {
    let mut world = World::new(seed);
    let sampled = Arc::new(Mutex::new(0.0));
    let shedder = LoadShedder::builder("door").seed(world.handle().seed()).clock(world.clock());
    let shedder = signal(shedder, &sampled).build().expect("valid");
    // Whatever is admitted is worked on.
    let server = Server::new(world.handle(), Options::new(100_000, Service::Exponential, MEAN));
    let tally = Tally::default();
    let rate = load * f64::from(CAPACITY) / MEAN.as_secs_f64() / 3.0;
    for group in PRIORITIES_ALL {
        let policy = Arc::new(shedder.priority(group.into()).expect("one of three"));
        let caller = Caller { group, policy, target: server.clone() };
        crowd::calls_of(&world.handle(), &tally, move |_| rate, caller);
    }
    let mut utilisation = 0.0;
    let mut most_in_flight = 0;
    let looks = (WARM_UP + MEASURED) * 1000 / 5;
    let mut sum = 0;
    for look in 1..=looks {
        world.run_for(LOOK);
        let in_flight = server.in_flight();
        sum += in_flight;
        most_in_flight = most_in_flight.max(in_flight);
        if look.is_multiple_of(LOOKS.into()) {
            let load = as_f64(sum) / f64::from(LOOKS * CAPACITY);
            sum = 0;
            *lock(&sampled) = load;
            shedder.record_cpu(load);
            if look * 5 > WARM_UP * 1000 {
                utilisation += load;
            }
        }
    }
    let windows = as_f64((MEASURED * 1000 / 250) as usize);
    Run {
        admitted: PRIORITIES_ALL
            .map(|group| tally.of_group(group, WARM_UP, WARM_UP + MEASURED - 1).share_admitted()),
        utilisation: utilisation / windows,
        most_in_flight,
    }
}
