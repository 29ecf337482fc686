//! The clock that tests move by hand.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use super::{Clock, time_left};
use crate::Timestamp;

/// A clock that stands still until it is moved, and then wakes whoever waited for that time.
///
/// Clones are handles to the same clock. Tests wait for *quiescence* (everyone who can wait is
/// waiting: [`waiting`](Self::waiting), [`wait_for_waiters`](Self::wait_for_waiters)), then move
/// time; nothing sleeps.
///
/// ```
/// use std::time::Duration;
/// use surefoot_core::{Clock, ManualClock, Timestamp};
///
/// let clock = ManualClock::new();
/// clock.advance(Duration::from_millis(1500));
/// assert_eq!(clock.now(), Timestamp::from_nanos(1_500_000_000));
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Written only under `timers`' lock; read anywhere.
    now: AtomicU64,
    timers: Mutex<Timers>,
    /// Signalled when time moves and when somebody starts or stops waiting.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Timers {
    next_id: u64,
    /// Sleeping futures hold a waker, blocked threads wait on `changed`.
    waiting: BTreeMap<(Timestamp, u64), Option<Waker>>,
}

impl ManualClock {
    /// A clock that shows zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves time forward and wakes all that waited for a time up to the new one, earliest first.
    pub fn advance(&self, by: Duration) {
        let timers = self.lock();
        let to = self.now() + by;
        self.move_to(timers, to);
    }

    /// Sets the time, backwards too: a clock that misbehaves. Wakes whoever is due.
    pub fn set(&self, to: Timestamp) {
        self.move_to(self.lock(), to);
    }

    /// Moves time to the earliest moment somebody waits for, and wakes them; `false` if nobody
    /// waits.
    pub fn advance_to_next_waiter(&self) -> bool {
        let timers = self.lock();
        let Some(&(at, _)) = timers.waiting.keys().next() else { return false };
        let to = at.max(self.now());
        self.move_to(timers, to);
        true
    }

    /// How many futures and threads wait for a later time.
    pub fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Blocks until at least `count` futures and threads wait on this clock.
    pub fn wait_for_waiters(&self, count: usize) {
        let mut timers = self.lock();
        while timers.waiting.len() < count {
            timers = self.wait(timers);
        }
    }

    /// A future that completes once the clock has reached `at`.
    pub fn sleep_until(&self, at: Timestamp) -> ManualSleep {
        ManualSleep { clock: self.clone(), at, id: None }
    }

    /// Blocks the thread until the clock has reached `at`.
    pub fn block_until(&self, at: Timestamp) {
        let mut timers = self.lock();
        if time_left(at, self.now()).is_none() {
            return;
        }
        let key = (at, timers.new_id());
        timers.waiting.insert(key, None);
        self.shared.changed.notify_all();
        while timers.waiting.contains_key(&key) {
            timers = self.wait(timers);
        }
    }

    pub(crate) fn id(&self) -> usize {
        Arc::as_ptr(&self.shared) as usize
    }

    fn move_to(&self, mut timers: MutexGuard<'_, Timers>, to: Timestamp) {
        self.shared.now.store(to.as_nanos(), Ordering::SeqCst);
        let mut due = Vec::new();
        while let Some(entry) = timers.waiting.first_entry() {
            if time_left(entry.key().0, to).is_some() {
                break;
            }
            due.extend(entry.remove());
        }
        drop(timers);
        self.shared.changed.notify_all();
        due.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Timers> {
        self.shared.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, timers: MutexGuard<'a, Timers>) -> MutexGuard<'a, Timers> {
        self.shared.changed.wait(timers).unwrap_or_else(PoisonError::into_inner)
    }
}

impl Timers {
    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

impl Clock for ManualClock {
    #[inline]
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.shared.now.load(Ordering::SeqCst))
    }

    /// The Unix epoch plus the time shown, so that dates in tests are exact.
    fn time_of_day(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + (self.now() - Timestamp::ZERO)
    }
}

/// Sleeps on a [`ManualClock`]; made by [`ManualClock::sleep_until`].
#[derive(Debug)]
#[must_use = "a sleep does nothing until it is awaited"]
pub struct ManualSleep {
    clock: ManualClock,
    at: Timestamp,
    id: Option<u64>,
}

impl Future for ManualSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut timers = this.clock.lock();
        if time_left(this.at, this.clock.now()).is_none() {
            if let Some(id) = this.id.take() {
                timers.waiting.remove(&(this.at, id));
            }
            return Poll::Ready(());
        }
        let id = *this.id.get_or_insert_with(|| timers.new_id());
        timers.waiting.insert((this.at, id), Some(cx.waker().clone()));
        drop(timers);
        this.clock.shared.changed.notify_all();
        Poll::Pending
    }
}

impl Drop for ManualSleep {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.clock.lock().waiting.remove(&(self.at, id));
            self.clock.shared.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    fn is_ready(sleep: &mut ManualSleep) -> bool {
        Pin::new(sleep).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn a_sleep_ends_exactly_at_its_time() {
        let clock = ManualClock::new();
        let mut sleep = clock.sleep_until(at(1));
        assert!(!is_ready(&mut sleep));
        assert_eq!(clock.waiting(), 1);
        clock.advance(Duration::from_nanos(999_999_999));
        assert!(!is_ready(&mut sleep));
        clock.advance(Duration::from_nanos(1));
        assert!(is_ready(&mut sleep));
        assert_eq!(clock.waiting(), 0);
    }

    #[test]
    fn sleeps_to_the_same_time_are_apart() {
        let clock = ManualClock::new();
        let mut sleeps = [clock.sleep_until(at(1)), clock.sleep_until(at(1))];
        assert!(sleeps.iter_mut().all(|sleep| !is_ready(sleep)));
        assert_eq!(clock.waiting(), 2);
        let [gone, mut left] = sleeps;
        drop(gone);
        assert_eq!(clock.waiting(), 1);
        clock.advance(Duration::from_secs(1));
        assert!(is_ready(&mut left));
    }

    #[test]
    fn a_dropped_sleep_waits_no_more() {
        let clock = ManualClock::new();
        let mut sleep = clock.sleep_until(at(1));
        assert!(!is_ready(&mut sleep));
        drop(sleep);
        assert_eq!(clock.waiting(), 0);
        assert!(!clock.advance_to_next_waiter());
    }

    #[test]
    fn a_blocked_thread_is_released_when_its_time_comes() {
        let clock = ManualClock::new();
        std::thread::scope(|scope| {
            let blocked = scope.spawn(|| clock.block_until(at(5)));
            clock.wait_for_waiters(1);
            assert!(!blocked.is_finished());
            assert!(clock.advance_to_next_waiter());
        });
        assert_eq!(clock.now(), at(5));
    }

    #[test]
    fn time_set_backwards_wakes_nobody_early() {
        let clock = ManualClock::new();
        clock.advance(Duration::from_secs(10));
        let mut sleep = clock.sleep_until(at(12));
        assert!(!is_ready(&mut sleep));
        clock.set(at(3));
        assert!(!is_ready(&mut sleep));
        clock.set(at(12));
        assert!(is_ready(&mut sleep));
    }
}
