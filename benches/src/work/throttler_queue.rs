//! A queue of a thousand tasks for one permit, on a runtime of one thread: what it costs to wait.
//!
//! *Hand-over* is the time from a permit's return until the next one in the queue runs with it, while nobody queues up:
//! a queue of a thousand is drained. *Throughput* has everything in it: whoever returns the permit queues up again at
//! the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use surefoot::Throttler;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, Semaphore};
use tokio::task::yield_now;

use super::Work;
use crate::harness::Subject;
use crate::ours;
use crate::peers::SEMAPHORE;

const SUREFOOT: &str = "surefoot";
/// Tasks that wait at once.
const WAITING: u64 = 1_000;
/// tokio's semaphore with what our wait is bounded by unless one says otherwise.
const BOUNDED: &str = "tokio Semaphore, in a timeout of 30 s";
const BOUND: Duration = Duration::from_secs(30);

/// A queue that is drained.
pub(super) fn hand_over() -> Work {
    Work::new("throttler hand-over, 1 000 wait")
        .subject(drained(SEMAPHORE, Semaphore::new(1)))
        .subject(drained(BOUNDED, Bounded(Semaphore::new(1))))
        .subject(drained(SUREFOOT, ours::throttler(1)))
        .goal(SUREFOOT, 1.0, SEMAPHORE)
}

/// A queue that stays as long as it is.
pub(super) fn throughput() -> Work {
    Work::new("throttler throughput, 1 000 wait")
        .subject(standing(SEMAPHORE, Semaphore::new(1)))
        .subject(standing(BOUNDED, Bounded(Semaphore::new(1))))
        .subject(standing(SUREFOOT, ours::throttler(1)))
        .goal(SUREFOOT, 1.0, SEMAPHORE)
}

/// What tasks wait for.
trait Permits: Send + Sync + 'static {
    type Permit<'a>: Send;

    fn acquire(&self) -> impl Future<Output = Self::Permit<'_>> + Send;
}

impl Permits for Semaphore {
    type Permit<'a> = tokio::sync::SemaphorePermit<'a>;

    async fn acquire(&self) -> Self::Permit<'_> {
        self.acquire().await.expect("nobody closes it")
    }
}

struct Bounded(Semaphore);

impl Permits for Bounded {
    type Permit<'a> = tokio::sync::SemaphorePermit<'a>;

    async fn acquire(&self) -> Self::Permit<'_> {
        let permit = tokio::time::timeout(BOUND, self.0.acquire()).await;
        permit.expect("nobody waits that long").expect("nobody closes it")
    }
}

impl Permits for Throttler {
    type Permit<'a> = surefoot::throttler::Permit<&'a Self>;

    async fn acquire(&self) -> Self::Permit<'_> {
        surefoot::Acquire::acquire(self).await.expect("nobody waits too long, or closes it")
    }
}

/// What the tasks of a queue share. They all run on one thread, so a count is a load and a store.
struct Queue<P> {
    permits: P,
    /// Permits to be had still before the round is over.
    left: AtomicU64,
    /// Tasks that have asked for theirs.
    asked: AtomicU64,
    begin: Notify,
    done: Notify,
}

impl<P: Permits> Queue<P> {
    fn new(permits: P) -> Arc<Self> {
        Arc::new(Self {
            permits,
            left: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            begin: Notify::new(),
            done: Notify::new(),
        })
    }

    /// Counts a permit; whether it was the round's last.
    fn is_last(&self) -> bool {
        let left = self.left.load(Ordering::Relaxed) - 1;
        self.left.store(left, Ordering::Relaxed);
        left == 0
    }

    /// Lets every other task run as far as it can until so many have asked.
    async fn until_asked(&self, tasks: u64) {
        while self.asked.load(Ordering::Relaxed) < tasks {
            yield_now().await;
        }
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without sockets always builds")
}

fn drained(name: &'static str, permits: impl Permits) -> Subject {
    let (runtime, queue) = (runtime(), Queue::new(permits));
    for _ in 0..WAITING {
        let queue = Arc::clone(&queue);
        runtime.spawn(async move {
            loop {
                queue.begin.notified().await;
                queue.asked.fetch_add(1, Ordering::Relaxed);
                let permit = queue.permits.acquire().await;
                if queue.is_last() {
                    queue.done.notify_one();
                }
                drop(permit);
            }
        });
    }
    Subject::many(name, move |operations| {
        let rounds = operations.div_ceil(WAITING);
        let times = (0..rounds).map(|_| runtime.block_on(drain(&queue)));
        (times.sum(), rounds * WAITING)
    })
}

/// Has all tasks queue up behind a permit, and lets it go.
async fn drain(queue: &Queue<impl Permits>) -> Duration {
    // Whoever had the last round's last permit returns it now.
    let permit = queue.permits.acquire().await;
    queue.asked.store(0, Ordering::Relaxed);
    queue.left.store(WAITING, Ordering::Relaxed);
    for _ in 0..WAITING {
        queue.begin.notify_one();
        // One that has not come to listen yet would have it kept, and only once.
        yield_now().await;
    }
    queue.until_asked(WAITING).await;
    let begin = Instant::now();
    drop(permit);
    queue.done.notified().await;
    begin.elapsed()
}

fn standing(name: &'static str, permits: impl Permits) -> Subject {
    let (runtime, queue) = (runtime(), Queue::new(permits));
    // One of them has the permit.
    for _ in 0..=WAITING {
        let queue = Arc::clone(&queue);
        runtime.spawn(async move {
            loop {
                let permit = queue.permits.acquire().await;
                if queue.is_last() {
                    queue.done.notify_one();
                    // It holds the queue up until the next round.
                    queue.begin.notified().await;
                }
                drop(permit);
            }
        });
    }
    // The first permit is had before the first round.
    queue.left.store(1, Ordering::Relaxed);
    runtime.block_on(queue.done.notified());
    Subject::many(name, move |operations| {
        queue.left.store(operations, Ordering::Relaxed);
        let begin = Instant::now();
        queue.begin.notify_one();
        runtime.block_on(queue.done.notified());
        (begin.elapsed(), operations)
    })
}
