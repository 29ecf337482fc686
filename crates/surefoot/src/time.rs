//! Waiting: with the clock's own timers, tokio's, or our timer thread.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use surefoot_core::{Clock, ManualSleep, SystemClock, TimeSource, Timestamp};

mod timer_thread;

use timer_thread::ThreadSleep;

pin_project! {
    /// Completes once a clock has reached a time.
    #[project = SleepProjection]
    pub(crate) enum Sleep {
        Manual { #[pin] sleep: ManualSleep },
        Custom { sleep: Pin<Box<dyn Future<Output = ()> + Send>> },
        Tokio { #[pin] sleep: TokioSleep },
        Thread { sleep: ThreadSleep },
    }
}

#[cfg(feature = "tokio")]
type TokioSleep = tokio::time::Sleep;
#[cfg(not(feature = "tokio"))]
type TokioSleep = std::future::Pending<()>;

impl Sleep {
    pub(crate) fn until(time: &TimeSource, at: Timestamp) -> Self {
        match time {
            TimeSource::System => Self::on_system_clock(at),
            TimeSource::Manual(clock) => Self::Manual { sleep: clock.sleep_until(at) },
            TimeSource::Custom(clock) => Self::Custom { sleep: clock.sleep_until(at) },
        }
    }

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
        match self.project() {
            SleepProjection::Manual { sleep } => sleep.poll(cx),
            SleepProjection::Custom { sleep } => sleep.as_mut().poll(cx),
            SleepProjection::Tokio { sleep } => sleep.poll(cx),
            SleepProjection::Thread { sleep } => Pin::new(sleep).poll(cx),
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
            std::thread::sleep(left);
        },
        TimeSource::Manual(clock) => clock.block_until(at),
        TimeSource::Custom(clock) => clock.block_until(at),
    }
}
