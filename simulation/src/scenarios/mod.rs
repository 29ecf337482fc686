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
pub mod retries;
pub mod tenants;

use std::fmt::Write as _;

pub use figure::{Bound, Figure};

/// One kind of overload.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// As the project's notes number it.
    pub number: u8,
    /// What happens.
    pub title: &'static str,
    /// Makes it happen.
    pub run: fn() -> Vec<Figure>,
}

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

/// The figures of one scenario, as text.
pub fn table(scenario: &Scenario, figures: &[Figure]) -> String {
    let Scenario { number, title, .. } = scenario;
    let mut text = format!("{number}. {title}\n");
    for figure in figures {
        let _ = writeln!(text, "  {figure}");
    }
    text
}
