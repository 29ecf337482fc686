//! Limits as published, for comparison. The library has none of them.
//!
//! Netflix's concurrency-limits (its `VegasLimit`, `Gradient2Limit`, `AIMDLimit` and
//! `WindowedLimit`), with its constants and its defaults except where said.

mod aimd;
mod gradient2;
mod vegas;
mod windowed;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use surefoot::{Error, Operation, Part, Policy, Rejection, Timestamp};

pub use aimd::Aimd;
pub use gradient2::Gradient2;
pub use vegas::Vegas;
pub use windowed::Windowed;

use crate::world::{Handle, lock};

/// A limit, and what moves it.
pub trait Limit: Send {
    /// Calls that may be under way at once.
    fn current(&self) -> u32;

    /// Learns from a call that has ended.
    fn learn(&mut self, sample: Sample);
}

/// A call that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it ended.
    pub now: Timestamp,
    /// How long it took.
    pub latency: Duration,
    /// Calls under way when it began, itself included.
    pub in_flight: u32,
    /// Whether it failed because of load.
    pub dropped: bool,
}

/// Lets calls through up to a limit, and refuses the others at once.
#[derive(Clone)]
pub struct Gate {
    world: Handle,
    state: Arc<Mutex<State>>,
}

struct State {
    limit: Box<dyn Limit>,
    in_flight: u32,
}

/// A call under way.
struct Pass {
    gate: Gate,
    began: Timestamp,
    in_flight: u32,
    done: bool,
}

impl Gate {
    /// A gate with this limit.
    pub fn new(world: Handle, limit: Box<dyn Limit>) -> Self {
        let state = State { limit, in_flight: 0 };
        Self { world, state: Arc::new(Mutex::new(state)) }
    }

    /// Unless it [is done](Pass::done), a call counts as dropped in the end.
    fn pass(&self) -> Option<Pass> {
        let mut state = lock(&self.state);
        if state.in_flight >= state.limit.current() {
            return None;
        }
        state.in_flight += 1;
        let in_flight = state.in_flight;
        Some(Pass { gate: self.clone(), began: self.world.now(), in_flight, done: false })
    }

    /// The present limit.
    pub fn limit(&self) -> u32 {
        lock(&self.state).limit.current()
    }
}

impl Pass {
    fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let now = self.gate.world.now();
        let mut state = lock(&self.gate.state);
        state.in_flight -= 1;
        state.limit.learn(Sample {
            now,
            latency: now - self.began,
            in_flight: self.in_flight,
            dropped: !self.done,
        });
    }
}

impl Policy for Gate {
    async fn run<O: Operation>(&self, operation: &O) -> Result<O::Value, Error<O::Error>> {
        let Some(pass) = self.pass() else {
            let policy = "gate".into();
            return Err(Rejection::Throttled { policy, retry_after: Duration::ZERO }.into());
        };
        let result = operation.attempt().await;
        if result.is_ok() {
            pass.done();
        }
        result
    }

    fn parts(&self, _: &mut Vec<Part>) {}
}

/// What Netflix's limits use of the logarithm.
fn log10(limit: f64) -> f64 {
    limit.log10().floor().max(1.0)
}

fn whole(limit: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "limits are from 1 to 1000"
    )]
    let whole = limit as u32;
    whole
}
