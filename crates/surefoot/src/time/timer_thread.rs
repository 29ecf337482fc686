//! One thread that wakes sleepers where no runtime does. Started by the first sleep, and idle
//! while nobody sleeps.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use surefoot_core::throttler::Watch;
use surefoot_core::{Clock, SystemClock, Timestamp};

/// Completes once the system's clock has reached a time, woken by the timer thread.
pub(crate) struct ThreadSleep {
    at: Timestamp,
    id: Option<u64>,
}

impl ThreadSleep {
    pub(crate) fn until(at: Timestamp) -> Self {
        Self { at, id: None }
    }
}

impl Future for ThreadSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if SystemClock.now() >= self.at {
            return Poll::Ready(());
        }
        let at = self.at;
        let id = timer().register(at, self.id, cx.waker());
        self.id = Some(id);
        Poll::Pending
    }
}

impl Drop for ThreadSleep {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let waker = timer().lock().sleepers.remove(&(self.at, id));
            drop(waker); // outside the lock: dropping it may drop another sleep
        }
    }
}

/// Has the timer thread look after those who wait at a throttler, if `claim` says that this has to be
/// arranged; `false` if there is no thread to be had.
pub(crate) fn keep_watch(claim: impl FnOnce() -> Option<Watch>) -> bool {
    if !timer().is_running() {
        return false;
    }
    claim().into_iter().for_each(Look::set);
    true
}

/// A watch as something to wake.
struct Look(Mutex<Option<Watch>>);

impl Look {
    fn set(watch: Watch) {
        let at = watch.at();
        let look = Waker::from(Arc::new(Self(Mutex::new(Some(watch)))));
        timer().register(at, None, &look);
    }
}

impl Wake for Look {
    fn wake(self: Arc<Self>) {
        let watch = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        watch.and_then(Watch::look).into_iter().for_each(Self::set);
    }
}

struct TimerThread {
    state: Mutex<State>,
    /// Signalled when somebody earlier than everybody else begins to sleep.
    earlier: Condvar,
    /// As `running`, without the lock.
    has_started: AtomicBool,
}

#[derive(Default)]
struct State {
    next_id: u64,
    sleepers: BTreeMap<(Timestamp, u64), Waker>,
    running: bool,
}

fn timer() -> &'static TimerThread {
    static TIMER: OnceLock<TimerThread> = OnceLock::new();
    TIMER.get_or_init(|| TimerThread {
        state: Mutex::default(),
        earlier: Condvar::new(),
        has_started: AtomicBool::new(false),
    })
}

impl TimerThread {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_running(&'static self) -> bool {
        self.has_started.load(Ordering::Relaxed) || self.start(&mut self.lock())
    }

    fn start(&'static self, state: &mut State) -> bool {
        if !state.running {
            let thread = thread::Builder::new().name("surefoot-timer".into());
            state.running = thread.spawn(move || self.run()).is_ok();
            self.has_started.store(state.running, Ordering::Relaxed);
        }
        state.running
    }

    fn register(&'static self, at: Timestamp, id: Option<u64>, waker: &Waker) -> u64 {
        let mut state = self.lock();
        let id = id.unwrap_or_else(|| {
            state.next_id += 1;
            state.next_id
        });
        let earlier = state.sleepers.insert((at, id), waker.clone());
        let is_first = state.sleepers.keys().next() == Some(&(at, id));
        let is_running = self.start(&mut state);
        drop(state);
        if !is_running {
            // No thread to be had: have the sleeper look again and again rather than hang.
            waker.wake_by_ref();
        }
        drop(earlier);
        if is_first {
            self.earlier.notify_one();
        }
        id
    }

    fn run(&self) {
        let mut state = self.lock();
        loop {
            let now = SystemClock.now();
            let mut due = Vec::new();
            while let Some(first) = state.sleepers.first_entry() {
                if first.key().0 > now {
                    break;
                }
                due.push(first.remove());
            }
            if !due.is_empty() {
                drop(state);
                for waker in due {
                    // An executor that panics must not keep the others from being woken.
                    let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
                }
                state = self.lock();
                continue;
            }
            let next = state.sleepers.keys().next().map(|(at, _)| *at);
            state = match next {
                Some(at) => {
                    let waited = self.earlier.wait_timeout(state, at - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.earlier.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}
