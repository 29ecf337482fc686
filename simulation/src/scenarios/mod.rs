//! What overload does, with the policies and without them.
//!
//! Each scenario comes to figures: what the policy has to reach, and what its *control* shows, the
//! same without the policy. A figure that cannot be reached is kept beside what is reached, with
//! the reason.

pub mod adaptive;
pub mod cancellation;
pub mod client_throttle;
pub mod figure;
pub mod incidents;
pub mod limiters;
pub mod priorities;
pub mod providers;
pub mod queues;
pub mod report;
pub mod retries;
pub mod tenants;

use std::thread;

pub use figure::{Bound, Figure, Verdict};

/// One kind of overload.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// As the project's notes number it.
    pub number: u8,
    /// In two or three words.
    pub name: &'static str,
    /// What happens.
    pub title: &'static str,
    /// Makes it happen. What chance decides, the seed does. The first figure is the one that the
    /// scenario is there for.
    pub run: fn(u32) -> Vec<Figure>,
}

impl Scenario {
    /// Makes it happen once with each of the seeds from 1 to `seeds`, on as many threads as there
    /// are processors.
    pub fn run_with(&self, seeds: u32) -> Vec<Figure> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let seeds: Vec<u32> = (1..=seeds).collect();
        let mut all: Vec<Figure> = vec![];
        for at_once in seeds.chunks(threads) {
            let runs = thread::scope(|scope| {
                let threads: Vec<_> =
                    at_once.iter().map(|&seed| scope.spawn(move || (self.run)(seed))).collect();
                let runs = threads.into_iter().map(|thread| thread.join().expect("it runs"));
                runs.collect::<Vec<_>>()
            });
            for figures in runs {
                if all.is_empty() {
                    all = figures;
                    continue;
                }
                for (figure, other) in all.iter_mut().zip(&figures) {
                    figure.also(other);
                }
            }
        }
        all
    }
}

/// Seeds that a scenario is run with unless others are asked for.
pub const SEEDS: u32 = 5;

/// All scenarios.
pub const ALL: &[Scenario] = &[
    queues::BOUND,
    queues::CODEL,
    queues::NEWEST_FIRST,
    adaptive::LOADS,
    adaptive::DRIFT,
    adaptive::SLOWDOWN,
    adaptive::IDLE,
    adaptive::TIMEOUTS,
    adaptive::BURSTS,
    tenants::BULKHEAD,
    priorities::PRIORITIES,
    retries::BUDGET,
    retries::BREAKER,
    client_throttle::CLIENT_THROTTLE,
    incidents::COLD_CACHE,
    incidents::SLOW_ERRORS,
    limiters::ADVERSARY,
    limiters::WEIGHTS,
    providers::PROVIDER,
    cancellation::CANCELLATION,
];
