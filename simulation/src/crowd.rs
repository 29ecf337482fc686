//! Who overloads it: calls that come whether or not the ones before have been answered.

use std::sync::Arc;
use std::time::Duration;

use surefoot::{Policy, Timestamp};

use crate::world::Handle;
use crate::{Chance, Tally, Target};

/// The part of chance that the times of the first group's arrivals are drawn from.
const ARRIVALS: u64 = 1000;

/// How long a crowd that is away waits before it looks whether it is time to come.
const AWAY: Duration = Duration::from_millis(10);

/// An open crowd: calls come independently of one another, `rate` of them in a second, which may
/// change with the time since the world began.
pub async fn open(
    world: Handle,
    mut chance: Chance,
    rate: impl Fn(Duration) -> f64,
    mut arrive: impl FnMut(&mut Chance),
) {
    loop {
        let rate = rate(world.now() - Timestamp::ZERO);
        if rate <= 0.0 {
            world.sleep(AWAY).await;
            continue;
        }
        let gap = chance.exponential(Duration::from_secs_f64(1.0 / rate));
        world.sleep(gap).await;
        arrive(&mut chance);
    }
}

/// An open crowd whose members each make one call of `target` under `policy`.
pub fn calls(
    world: &Handle,
    tally: &Tally,
    rate: impl Fn(Duration) -> f64 + Send + 'static,
    policy: impl Policy + 'static,
    target: impl Target,
) {
    let caller = Caller { group: 0, policy: Arc::new(policy), target };
    calls_of(world, tally, rate, caller);
}

/// One who calls a target under a policy. Clones share it.
#[derive(Debug)]
pub struct Caller<P, T> {
    /// The group it counts with.
    pub group: u8,
    /// What it calls under.
    pub policy: Arc<P>,
    /// What it calls.
    pub target: T,
}

/// An open crowd of such callers.
pub fn calls_of<P: Policy + 'static, T: Target>(
    world: &Handle,
    tally: &Tally,
    rate: impl Fn(Duration) -> f64 + Send + 'static,
    caller: Caller<P, T>,
) {
    let (handle, tally) = (world.clone(), tally.clone());
    let Caller { group, policy, target } = caller;
    let chance = world.chance(ARRIVALS + u64::from(group));
    world.spawn(open(world.clone(), chance, rate, move |_| {
        let (policy, target) = (policy.clone(), target.clone());
        let (world, tally) = (handle.clone(), tally.clone());
        handle.spawn(async move {
            tally.note(&world, group, policy.call(|| target.request())).await;
        });
    }));
}
