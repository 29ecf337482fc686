//! The adaptive limit beside the published algorithms, under the same overload.
//!
//! 40 workers that do 400 calls a second; callers give up after a second, which the server does not
//! notice. The limit stands before the server and refuses at once what is too much.

use std::fmt::Write as _;
use std::time::Duration;

use surefoot::throttler::AdaptiveConfig;
use surefoot::{Pipeline, Policy, Throttler, Timeout};

use crate::published::{Aimd, Gate, Gradient2, Limit, Vegas, Windowed};
use crate::server::Options;
use crate::{Server, Service, Tally, World, crowd};

const WORKERS: usize = 40;
const MEAN: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(1);
const WARM_UP: u64 = 60;
const MEASURED: u64 = 100;
const SEED: u32 = 1;
const LOADS: [f64; 2] = [1.2, 5.0];

type MakeLimit = fn() -> Box<dyn Limit>;

const PUBLISHED: [(&str, MakeLimit); 5] = [
    ("Vegas", || Box::new(Vegas::new(1))),
    ("Vegas in 1 s windows", || Box::new(Windowed::new(Vegas::new(1)))),
    ("Gradient2 in 1 s windows", || Box::new(Windowed::new(Gradient2::default()))),
    ("AIMD", || Box::new(Aimd::new(PATIENCE))),
    ("AIMD in 1 s windows", || Box::new(Windowed::new(Aimd::new(PATIENCE)))),
];

/// What a limit did for one kind of service.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    /// Calls done in time, of those the server could do, at each of the loads.
    goodput: [f64; LOADS.len()],
    /// The median latency at the first, in seconds.
    median: f64,
}

/// The table, as text.
pub fn table() -> String {
    let mut text = String::from(
        "Calls done in time, % of what the server can do, at 1.2 × / 5 × that (median latency at \
         1.2 ×)\n\n",
    );
    let _ = write!(text, "{:<28}", "");
    for service in Service::ALL {
        let _ = write!(text, "{:<24}", service.name());
    }
    text.push('\n');
    for (name, make) in PUBLISHED {
        row(&mut text, name, |world| Gate::new(world.handle(), make()));
    }
    row(&mut text, "adaptive (Surefoot)", |world| {
        let throttler = Throttler::builder("limit").queue_size(0).clock(world.clock());
        throttler.adaptive(AdaptiveConfig::default()).build().expect("valid")
    });
    text
}

fn row<P: Policy + 'static>(text: &mut String, name: &str, limit: impl Fn(&World) -> P) {
    let _ = write!(text, "{name:<28}");
    for service in Service::ALL {
        let Cell { goodput: [low, high], median } = cell(service, &limit);
        let shown = format!("{:.0} / {:.0}  ({median:.2} s)", 100.0 * low, 100.0 * high);
        let _ = write!(text, "{shown:<24}");
    }
    text.push('\n');
}

fn cell<P: Policy + 'static>(service: Service, limit: impl Fn(&World) -> P) -> Cell {
    let options = Options::new(WORKERS, service, MEAN);
    let mut cell = Cell::default();
    for (load, goodput) in LOADS.into_iter().zip(&mut cell.goodput) {
        let mut world = World::new(SEED);
        let server = Server::new(world.handle(), options);
        let tally = Tally::default();
        let timeout = Timeout::new(PATIENCE).expect("a second").on_clock(world.clock());
        let pipeline = Pipeline::builder("call").add(timeout).add(limit(&world)).build();
        let rate = load * options.capacity();
        crowd::calls(&world.handle(), &tally, move |_| rate, pipeline.expect("valid"), server);
        world.run_for(Duration::from_secs(WARM_UP + MEASURED));
        let measured = tally.between(WARM_UP, WARM_UP + MEASURED);
        *goodput = measured.rate() / options.capacity();
        if load == LOADS[0] {
            cell.median = measured.latency(0.5);
        }
    }
    cell
}
