//! What is overloaded: workers, and a queue before them that nobody manages, unless a policy does.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use surefoot::{Policy, Timestamp};

use crate::tally::as_f64;
use crate::world::{Handle, lock};
use crate::{Chance, Service};

/// What can be called.
pub trait Target: Clone + Send + Sync + 'static {
    /// Sends a request.
    fn request(&self) -> impl Future<Output = Result<(), ServerError>> + Send;
}

/// A server with so many workers. Clones are handles to the same one.
///
/// It knows nothing of its clients: what has been sent is worked on, also when nobody waits for the
/// answer any more. Its queue has no bound.
#[derive(Clone, Debug)]
pub struct Server {
    world: Handle,
    state: Arc<Mutex<State>>,
    /// What work its clients bring.
    chance: Arc<Mutex<Chance>>,
}

/// The part of chance that decides how long work takes.
const WORK: u64 = 2000;

/// The server did not do the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerError {
    /// It tried, and something went wrong.
    Broken,
    /// It has restarted, and what it had is lost.
    Restarted,
    /// It refused, because it has too much to do.
    Overloaded,
}

/// What a server is like. [`Options::new`] is one that is well.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Pieces of work at once.
    pub workers: usize,
    /// How the time for one is distributed,
    pub service: Service,
    /// and its mean.
    pub mean: Duration,
}

#[derive(Debug)]
struct State {
    options: Options,
    queue: VecDeque<Work>,
    busy: usize,
    /// Everything takes so many times as long.
    slowdown: f64,
    /// Work left that takes four times as long, because nothing is cached.
    cold: u32,
    /// Share of work that fails, and how much longer a failure takes than a success.
    broken: f64,
    failure_cost: f64,
    stalled_until: Timestamp,
    counts: Counts,
}

/// What a server has done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Requests that reached it.
    pub received: usize,
    /// Those it has answered.
    pub answered: usize,
    /// Answers that nobody waited for.
    pub wasted: usize,
}

/// What was sent. How much work it is does not depend on when it is done, nor on what others send.
#[derive(Debug)]
struct Work {
    reply: Arc<Mutex<Reply>>,
    time: Duration,
    /// It fails if the server breaks down over more than this share.
    luck: f64,
}

#[derive(Debug, Default)]
struct Reply {
    answer: Option<Result<(), ServerError>>,
    waiting: Option<Waker>,
    abandoned: bool,
}

/// An answer under way.
struct Answer {
    reply: Arc<Mutex<Reply>>,
}

impl Options {
    /// A server of `workers` for work that takes `mean`, as `service` has it.
    pub fn new(workers: usize, service: Service, mean: Duration) -> Self {
        Self { workers, service, mean }
    }

    /// Requests a second that it can do.
    pub fn capacity(&self) -> f64 {
        as_f64(self.workers) / self.mean.as_secs_f64()
    }
}

impl Server {
    /// A server in a world.
    pub fn new(world: Handle, options: Options) -> Self {
        let state = State {
            options,
            queue: VecDeque::new(),
            busy: 0,
            slowdown: 1.0,
            cold: 0,
            broken: 0.0,
            failure_cost: 1.0,
            stalled_until: Timestamp::ZERO,
            counts: Counts::default(),
        };
        let chance = Arc::new(Mutex::new(world.chance(WORK)));
        Self { world, state: Arc::new(Mutex::new(state)), chance }
    }

    /// The same server, for a group of clients whose work chance decides apart from that of others.
    #[must_use]
    pub fn for_group(&self, group: u8) -> Self {
        let chance = self.world.chance(WORK + 1 + u64::from(group));
        Self { chance: Arc::new(Mutex::new(chance)), ..self.clone() }
    }

    /// The same server, which lets a policy of its own decide what it takes on.
    pub fn guarded<P>(&self, policy: P) -> Guarded<P> {
        Guarded { server: self.clone(), policy: Arc::new(policy) }
    }

    /// Everything takes `factor` times as long from now on.
    pub fn slow_down(&self, factor: f64) {
        lock(&self.state).slowdown = factor;
    }

    /// So many workers from now on; those too many finish what they have.
    pub fn resize(&self, workers: usize) {
        let mut state = lock(&self.state);
        state.options.workers = workers;
        self.start_work(&mut state);
    }

    /// Nothing gets done for so long, as when memory is swept.
    pub fn stall(&self, time: Duration) {
        lock(&self.state).stalled_until = self.world.now() + time;
        let server = self.clone();
        self.world.clone().spawn(async move {
            server.world.sleep(time).await;
            server.start_work(&mut lock(&server.state));
        });
    }

    /// Loses its queue, and takes four times as long for the next `cold` requests.
    pub fn restart(&self, cold: u32) {
        let mut state = lock(&self.state);
        state.cold = cold;
        for work in std::mem::take(&mut state.queue) {
            state.answer(&work.reply, Err(ServerError::Restarted));
        }
    }

    /// Fails in such a share of cases, which takes `cost` times as long as a success.
    pub fn break_down(&self, share: f64, cost: f64) {
        let mut state = lock(&self.state);
        (state.broken, state.failure_cost) = (share, cost);
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        lock(&self.state).counts
    }

    /// Requests that wait for a worker.
    pub fn queued(&self) -> usize {
        lock(&self.state).queue.len()
    }

    /// Requests that wait or are worked on.
    pub fn in_flight(&self) -> usize {
        let state = lock(&self.state);
        state.queue.len() + state.busy
    }

    fn start_work(&self, state: &mut State) {
        if self.world.now() < state.stalled_until {
            return;
        }
        while state.busy < state.options.workers
            && let Some(work) = state.queue.pop_front()
        {
            state.busy += 1;
            let (time, answer) = state.begin(&work);
            let done = self.world.sleep(time);
            self.world.spawn(self.clone().work(done, work.reply, answer));
        }
    }

    async fn work(
        self,
        done: impl Future<Output = ()>,
        reply: Arc<Mutex<Reply>>,
        answer: Result<(), ServerError>,
    ) {
        done.await;
        let stalled_until = lock(&self.state).stalled_until;
        self.world.sleep_until(stalled_until).await;
        let mut state = lock(&self.state);
        state.busy -= 1;
        state.answer(&reply, answer);
        self.start_work(&mut state);
    }
}

impl Target for Server {
    fn request(&self) -> impl Future<Output = Result<(), ServerError>> + Send {
        let reply = Arc::new(Mutex::new(Reply::default()));
        let mut state = lock(&self.state);
        let Options { service, mean, .. } = state.options;
        let chance = &mut *lock(&self.chance);
        let (time, luck) = (service.draw(mean, chance), chance.share());
        state.counts.received += 1;
        state.queue.push_back(Work { reply: reply.clone(), time, luck });
        self.start_work(&mut state);
        Answer { reply }
    }
}

/// A server with a policy of its own. It does not notice either that a caller has given up.
#[derive(Debug)]
pub struct Guarded<P> {
    server: Server,
    policy: Arc<P>,
}

impl<P: Policy + 'static> Target for Guarded<P> {
    fn request(&self) -> impl Future<Output = Result<(), ServerError>> + Send {
        let reply = Arc::new(Mutex::new(Reply::default()));
        let (answer, Self { server, policy }) = (Answer { reply: reply.clone() }, self.clone());
        self.server.world.spawn(async move {
            let result = policy.call(|| server.request()).await;
            lock(&reply).give(result.map_err(|error| match error {
                surefoot::Error::Operation(error) => error,
                _ => ServerError::Overloaded,
            }));
        });
        answer
    }
}

impl<P> Clone for Guarded<P> {
    fn clone(&self) -> Self {
        Self { server: self.server.clone(), policy: self.policy.clone() }
    }
}

impl State {
    /// How long it takes as things are now, and what comes of it.
    fn begin(&mut self, work: &Work) -> (Duration, Result<(), ServerError>) {
        let mut time = work.time.mul_f64(self.slowdown);
        if self.cold > 0 {
            self.cold -= 1;
            time *= 4;
        }
        if work.luck < self.broken {
            return (time.mul_f64(self.failure_cost), Err(ServerError::Broken));
        }
        (time, Ok(()))
    }

    fn answer(&mut self, reply: &Mutex<Reply>, answer: Result<(), ServerError>) {
        let mut reply = lock(reply);
        self.counts.answered += 1;
        self.counts.wasted += usize::from(reply.abandoned);
        reply.give(answer);
    }
}

impl Reply {
    fn give(&mut self, answer: Result<(), ServerError>) {
        self.answer = Some(answer);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }
}

impl Future for Answer {
    type Output = Result<(), ServerError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut reply = lock(&self.reply);
        if let Some(answer) = reply.answer.take() {
            return Poll::Ready(answer);
        }
        reply.waiting = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        lock(&self.reply).abandoned = true;
    }
}

impl std::fmt::Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Broken => "the server broke down over it",
            Self::Restarted => "the server has restarted",
            Self::Overloaded => "the server has too much to do",
        })
    }
}

impl std::error::Error for ServerError {}
