//! Waiting: with the clock's own timers, tokio's, or our timer thread.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use pin_project_lite::pin_project;
use surefoot_core::{Clock, ManualSleep, SystemClock, TimeSource, Timestamp};

mod timer_thread;

use timer_thread::ThreadSleep;
pub(crate) use timer_thread::keep_watch;

pin_project! {
    /// Completes once a clock has reached a time: by the clock's own timers, by tokio's inside its
    /// runtime, or else by a timer thread.
    pub struct Sleep {
        #[pin]
        timer: SomeTimer,
    }
}

pin_project! {
    #[project = SomeTimerProjection]
    enum SomeTimer {
        Manual { #[pin] sleep: ManualSleep },
        // The mutex is never locked: it makes the sleep `Sync`, which bodies of HTTP have to be.
        Custom { sleep: Mutex<Pin<Box<dyn Future<Output = ()> + Send>>> },
        Tokio { #[pin] sleep: TokioSleep },
        Thread { sleep: ThreadSleep },
    }
}

#[cfg(feature = "tokio")]
type TokioSleep = tokio::time::Sleep;
#[cfg(not(feature = "tokio"))]
type TokioSleep = std::future::Pending<()>;

impl Sleep {
    /// Sleeps until `at` on `time`; at once if that has passed.
    pub fn until(time: &TimeSource, at: Timestamp) -> Self {
        let timer = match time {
            TimeSource::System => SomeTimer::on_system_clock(at),
            TimeSource::Manual(clock) => SomeTimer::Manual { sleep: clock.sleep_until(at) },
            TimeSource::Custom(clock) => {
                SomeTimer::Custom { sleep: Mutex::new(clock.sleep_until(at)) }
            }
        };
        Self { timer }
    }
}

impl SomeTimer {
    /// Inside a tokio runtime its timers serve; anywhere else our own thread does.
    fn on_system_clock(at: Timestamp) -> Self {
        #[cfg(feature = "tokio")]
        if tokio::runtime::Handle::try_current().is_ok() {
            // Relative, by tokio's own clock: its tests may have paused it.
            let left = at - SystemClock.now();
            return Self::Tokio { sleep: tokio::time::sleep(left) };
        }
        Self::Thread { sleep: ThreadSleep::until(at) }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.project().timer.project() {
            SomeTimerProjection::Manual { sleep } => sleep.poll(cx),
            SomeTimerProjection::Custom { sleep } => {
                sleep.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut().poll(cx)
            }
            SomeTimerProjection::Tokio { sleep } => sleep.poll(cx),
            SomeTimerProjection::Thread { sleep } => Pin::new(sleep).poll(cx),
        }
    }
}

/// Blocks the thread until the clock has reached `at`.
pub(crate) fn block_until(time: &TimeSource, at: Timestamp) {
    match time {
        TimeSource::System => loop {
            let left = at - SystemClock.now();
            if left.is_zero() {
                return;
            }
            thread::sleep(left);
        },
        TimeSource::Manual(clock) => clock.block_until(at),
        TimeSource::Custom(clock) => clock.block_until(at),
    }
}

/// How a thread waits for a time that may move up.
pub(crate) struct Nap {
    bell: Arc<Bell>,
    waker: Waker,
}

/// Set before the thread is unparked: whoever else has it park meanwhile takes no wake-up away.
struct Bell {
    rung: AtomicBool,
    sleeper: Thread,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.sleeper.unpark();
    }
}

impl Nap {
    /// Of the calling thread.
    pub(crate) fn new() -> Self {
        let bell = Arc::new(Bell { rung: AtomicBool::new(false), sleeper: thread::current() });
        Self { waker: Waker::from(Arc::clone(&bell)), bell }
    }

    /// Ends the nap, or the next one.
    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Blocks the thread until the clock has reached `at` or somebody rings; now and then it wakes
    /// for nothing.
    pub(crate) fn until(&self, time: &TimeSource, at: Timestamp) {
        let is_rung = || self.bell.rung.swap(false, Ordering::Acquire);
        if let TimeSource::System = time {
            // Not by tokio's timers: this thread may be the one that drives them.
            while !is_rung() {
                let left = at - SystemClock.now();
                if left.is_zero() {
                    return;
                }
                thread::park_timeout(left);
            }
        } else {
            let mut sleep = pin!(Sleep::until(time, at));
            if sleep.as_mut().poll(&mut Context::from_waker(&self.waker)).is_pending() {
                while !is_rung() {
                    thread::park();
                }
            }
        }
    }
}
