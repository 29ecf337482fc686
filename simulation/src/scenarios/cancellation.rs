//! Waiters who leave, while the limit moves.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use surefoot::{Acquire, Throttler};

use super::{Bound, Figure, Scenario};
use crate::world::lock;
use crate::{Chance, Handle, World};

/// No permit is lost, and nobody waits for one that is free.
pub const CANCELLATION: Scenario = Scenario {
    number: 21,
    name: "cancelled waiters",
    title: "three in ten waiters give up, while the limit goes from 1 to 40 and back",
    run,
};

const CALLS: u64 = 20_000;
const STEPS: u64 = 2_000;
const STEP: Duration = Duration::from_millis(10);

/// What lets calls in.
trait Door: Clone + Send + Sync + 'static {
    /// Lets one in. What it gives is kept until the call ends.
    fn enter(&self) -> impl Future<Output: Send> + Send;
    fn resize(&self, limit: u32);
    fn in_flight(&self) -> u32;
    fn waiting(&self) -> u32;
}

/// What went wrong.
#[derive(Debug, Default)]
struct Wrong {
    /// Times the limit was raised and not as many were let in as could have been.
    asleep: u32,
    /// Times more ran than the limit allows.
    too_many: u32,
    /// Permits out, and waiters, when nobody calls any more.
    lost: u32,
    /// Calls that never ended.
    unanswered: u64,
}

fn run(seed: u32) -> Vec<Figure> {
    let mut world = World::new(seed);
    let throttler = Throttler::builder("door")
        .queue_size(u32::try_from(CALLS).expect("small"))
        .timeout(Duration::from_secs(3600))
        .clock(world.clock())
        .build()
        .expect("valid");
    let wrong = crowd(&mut world, &throttler);
    let mut world = World::new(seed);
    let naive = crowd(&mut world, &WakesOne::default());
    let none = Bound::AtMost(0.0);
    #[expect(clippy::cast_precision_loss, reason = "counts of a simulation are small")]
    let unanswered = wrong.unanswered as f64;
    vec![
        Figure::count("permits lost, or waiters left", wrong.lost.into(), none),
        Figure::count("calls that never ended", unanswered, none),
        Figure::count("times more ran than the limit allows", wrong.too_many.into(), none),
        Figure::count("times a raised limit left waiters asleep", wrong.asleep.into(), none),
        Figure::count(
            "control, a release wakes one waiter: times a raised limit left waiters asleep",
            naive.asleep.into(),
            Bound::AtLeast(100.0),
        ),
    ]
}

fn crowd(world: &mut World, door: &impl Door) -> Wrong {
    let mut chance = world.handle().chance(0);
    let ended = Arc::new(Mutex::new(0));
    for _ in 0..CALLS {
        let [comes, stays, gives_up] = [20_000, 30, 200].map(|most| millis(&mut chance, most));
        let gives_up = chance.happens(0.3).then_some(gives_up);
        let (handle, door, ended) = (world.handle(), door.clone(), ended.clone());
        world.spawn(async move {
            handle.sleep(comes).await;
            let call = async {
                let _permit = door.enter().await;
                handle.sleep(stays).await;
            };
            unless_given_up(&handle, gives_up, call).await;
            *lock(&ended) += 1;
        });
    }
    let mut wrong = Wrong::default();
    let mut limit = 10;
    for _ in 0..STEPS {
        world.run_for(STEP);
        let (before, in_flight, waiting) = (limit, door.in_flight(), door.waiting());
        limit = 1 + u32::try_from(chance.below(40)).expect("small");
        door.resize(limit);
        world.run_for(Duration::ZERO);
        let could_run = limit.min(in_flight + waiting).max(in_flight);
        wrong.asleep += u32::from(limit > before && door.in_flight() != could_run);
        wrong.too_many += u32::from(door.in_flight() > limit.max(in_flight));
    }
    door.resize(1000);
    world.run_for(Duration::from_secs(10));
    wrong.lost = door.in_flight() + door.waiting();
    wrong.unanswered = CALLS - *lock(&ended);
    wrong
}

fn millis(chance: &mut Chance, most: u64) -> Duration {
    Duration::from_millis(1 + chance.below(most))
}

/// Drops the call after so long.
async fn unless_given_up(world: &Handle, after: Option<Duration>, call: impl Future<Output = ()>) {
    let Some(after) = after else { return call.await };
    let (mut call, mut sleep) = (pin!(call), pin!(world.sleep(after)));
    poll_fn(|cx| match call.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => sleep.as_mut().poll(cx),
    })
    .await;
}

impl Door for Throttler {
    fn enter(&self) -> impl Future<Output: Send> + Send {
        self.acquire_owned()
    }

    fn resize(&self, limit: u32) {
        Throttler::resize(self, limit).expect("valid");
    }

    fn in_flight(&self) -> u32 {
        Throttler::in_flight(self)
    }

    fn waiting(&self) -> u32 {
        self.queue_depth()
    }
}

/// The control: as in Netflix's blocking limiters, only a release wakes a waiter, and only one.
#[derive(Clone, Default)]
struct WakesOne {
    state: Arc<Mutex<Waiters>>,
}

#[derive(Default)]
struct Waiters {
    limit: u32,
    in_flight: u32,
    waiting: Vec<Waker>,
}

struct Entered(WakesOne);

impl Door for WakesOne {
    fn enter(&self) -> impl Future<Output: Send> + Send {
        poll_fn(|cx| {
            let mut state = lock(&self.state);
            if state.in_flight < state.limit {
                state.in_flight += 1;
                return Poll::Ready(Entered(self.clone()));
            }
            state.waiting.push(cx.waker().clone());
            Poll::Pending
        })
    }

    fn resize(&self, limit: u32) {
        lock(&self.state).limit = limit;
    }

    fn in_flight(&self) -> u32 {
        lock(&self.state).in_flight
    }

    fn waiting(&self) -> u32 {
        u32::try_from(lock(&self.state).waiting.len()).expect("few")
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.in_flight -= 1;
        if let Some(waker) = state.waiting.pop() {
            waker.wake();
        }
    }
}
