//! Where time passes: a single thread that runs tasks, and a clock that it moves.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use surefoot::{Clock, ManualClock, ManualSleep, Timestamp};

use crate::Chance;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// All tasks, and the time they live in.
///
/// ```
/// use std::time::Duration;
/// use surefoot_simulation::World;
///
/// let mut world = World::new(1);
/// let handle = world.handle();
/// world.spawn(async move { handle.sleep(Duration::from_secs(3600)).await });
/// world.run_for(Duration::from_secs(7200)); // at once
/// ```
pub struct World {
    handle: Handle,
    tasks: Vec<Option<Task>>,
    wakers: Vec<Waker>,
    free: Vec<usize>,
}

/// What tasks hold of their world: its clock, its seed, and the way to start other tasks.
#[derive(Clone)]
pub struct Handle {
    clock: ManualClock,
    seed: u32,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    spawned: Mutex<Vec<Task>>,
    ready: Mutex<VecDeque<usize>>,
}

struct TaskWaker {
    id: usize,
    shared: Arc<Shared>,
}

impl World {
    /// A world at time zero, in which nothing happens yet. What chance decides in it, the seed does.
    pub fn new(seed: u32) -> Self {
        let handle = Handle { clock: ManualClock::new(), seed, shared: Arc::default() };
        Self { handle, tasks: vec![], wakers: vec![], free: vec![] }
    }

    /// For tasks to hold.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The time in it, for policies to decide by.
    pub fn clock(&self) -> &ManualClock {
        &self.handle.clock
    }

    /// Starts a task. It is dropped with the world if it has not ended by then.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(task);
    }

    /// Lets so much time pass.
    pub fn run_for(&mut self, time: Duration) {
        let ended = Arc::new(AtomicBool::new(false));
        let (sleep, sign) = (self.handle.sleep(time), ended.clone());
        self.spawn(async move {
            sleep.await;
            sign.store(true, Ordering::Relaxed);
        });
        loop {
            self.run_ready();
            if ended.load(Ordering::Relaxed) {
                return;
            }
            self.handle.clock.advance_to_next_waiter();
        }
    }

    /// Runs every task that can go on without time passing.
    fn run_ready(&mut self) {
        loop {
            let spawned = mem::take(&mut *lock(&self.handle.shared.spawned));
            for task in spawned {
                self.adopt(task);
            }
            let Some(id) = lock(&self.handle.shared.ready).pop_front() else { return };
            // Whoever wakes a task that has ended may find another in its place: that one is
            // polled in vain.
            if let Some(task) = &mut self.tasks[id] {
                let mut context = Context::from_waker(&self.wakers[id]);
                if task.as_mut().poll(&mut context).is_ready() {
                    self.tasks[id] = None;
                    self.free.push(id);
                }
            }
        }
    }

    fn adopt(&mut self, task: Task) {
        let id = self.free.pop().unwrap_or_else(|| {
            let id = self.tasks.len();
            self.tasks.push(None);
            let shared = self.handle.shared.clone();
            self.wakers.push(Arc::new(TaskWaker { id, shared }).into());
            id
        });
        self.tasks[id] = Some(task);
        lock(&self.handle.shared.ready).push_back(id);
    }
}

impl Handle {
    /// Starts a task.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        lock(&self.shared.spawned).push(Box::pin(task));
    }

    /// The time since the world began.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The clock to decide by.
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// The random numbers of one part of this world, the same whatever the others draw.
    pub fn chance(&self, part: u64) -> Chance {
        Chance::new(self.seed.into()).part(part)
    }

    /// A seed for a policy in this world.
    pub fn seed(&self) -> u32 {
        self.seed
    }

    /// Lets so much time pass in the task that awaits it.
    pub fn sleep(&self, time: Duration) -> ManualSleep {
        self.sleep_until(self.now() + time)
    }

    /// Lets the task that awaits it go on at that time.
    pub fn sleep_until(&self, at: Timestamp) -> ManualSleep {
        self.clock.sleep_until(at)
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        lock(&self.shared.ready).push_back(self.id);
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("now", &self.now()).finish_non_exhaustive()
    }
}

/// One thread runs the world, so nothing ever waits for a lock and nothing poisons one that a
/// test has not failed on already.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_see_the_time_they_waited_for_in_its_order() {
        let mut world = World::new(1);
        let seen = Arc::new(Mutex::new(vec![]));
        for seconds in [3, 1, 2] {
            let (handle, seen) = (world.handle(), seen.clone());
            world.spawn(async move {
                handle.sleep(Duration::from_secs(seconds)).await;
                lock(&seen).push((seconds, handle.now()));
            });
        }
        world.run_for(Duration::from_secs(2));
        let at = |seconds: u64| (seconds, Timestamp::ZERO + Duration::from_secs(seconds));
        assert_eq!(*lock(&seen), [at(1), at(2)]);
        world.run_for(Duration::from_secs(10));
        assert_eq!(*lock(&seen), [at(1), at(2), at(3)]);
        assert_eq!(world.clock().now(), Timestamp::ZERO + Duration::from_secs(12));
    }
}
