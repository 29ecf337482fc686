//! What policies tell whoever listens.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::circuit_breaker::TripLimit;
use crate::{CircuitState, DropReason, Name, StopReason, Timestamp, with_drop_reason};

/// Something a policy did that is worth knowing.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A circuit breaker changed its state.
    StateChanged {
        /// The breaker.
        policy: Name,
        /// When, on its clock.
        at: Timestamp,
        /// The state it left.
        from: CircuitState,
        /// The state it is in now.
        to: CircuitState,
        /// The generation that began.
        generation: u64,
        /// Failures counted in the state it left.
        failure_count: u64,
        /// Successes counted in the state it left.
        success_count: u64,
    },
    /// A disabled circuit breaker has seen what would have opened it.
    WouldHaveTripped {
        /// The breaker.
        policy: Name,
        /// When, on its clock.
        at: Timestamp,
        /// The limit that was reached.
        limit: TripLimit,
    },
    /// The callee asked for a pause, and the breaker's gate is shut for that long.
    Throttled {
        /// The breaker.
        policy: Name,
        /// When, on its clock.
        at: Timestamp,
        /// How long the gate stays shut.
        retry_after: Duration,
    },
    /// A retry is about to wait before the next attempt.
    RetryScheduled {
        /// The retry.
        policy: Name,
        /// When, on its clock.
        at: Timestamp,
        /// The attempt that just failed, from 1.
        attempt: u32,
        /// How long it waits.
        delay: Duration,
    },
    /// A retry gave up.
    RetryStopped {
        /// The retry.
        policy: Name,
        /// When, on its clock.
        at: Timestamp,
        /// Attempts made.
        attempts: u32,
        /// Why it stopped.
        stop: StopReason,
    },
    /// A hedge begins another attempt beside those under way.
    Hedged {
        /// The hedge.
        policy: Name,
        /// When, on its clock.
        at: Timestamp,
        /// The attempt that begins, from 2.
        attempt: u32,
    },
    /// A hedge would begin another attempt, but its budget is spent.
    HedgeRefused {
        /// The hedge.
        policy: Name,
        /// When, on its clock.
        at: Timestamp,
    },
    /// A fallback moves on from a link that failed.
    FellBack {
        /// The fallback.
        policy: Name,
        /// The link that failed.
        link: Name,
    },
    /// A registry has no room for another breaker, and new keys share the overflow breaker. Sent
    /// once.
    RegistryFull {
        /// The registry.
        policy: Name,
        /// How many breakers it holds at most.
        max_breakers: usize,
    },
    /// The number of calls that may run at once has changed: it was resized, or is adaptive.
    LimitChanged {
        /// The throttler.
        policy: Name,
        /// When, on its clock.
        at: Timestamp,
        /// The limit before.
        from: u32,
        /// The limit now.
        to: u32,
    },
    /// A throttler's queue is full, and calls are refused. Sent again once there was room meanwhile.
    QueueFilled {
        /// The throttler.
        policy: Name,
        /// When, on its clock.
        at: Timestamp,
        /// How many wait.
        queue_size: u32,
    },
    /// A throttler's queue has begun to stand, so that waits are cut short, or no longer does.
    QueueStanding {
        /// The throttler.
        policy: Name,
        /// When, on its clock.
        at: Timestamp,
        /// Whether it stands.
        stands: bool,
    },
    /// A retry runs inside another retry, so that their attempts multiply. Sent once per policy.
    NestedRetry {
        /// The inner retry.
        policy: Name,
    },
}

impl Event {
    /// The policy it is about.
    pub fn policy(&self) -> &Name {
        match self {
            Self::StateChanged { policy, .. }
            | Self::WouldHaveTripped { policy, .. }
            | Self::Throttled { policy, .. }
            | Self::RetryScheduled { policy, .. }
            | Self::RetryStopped { policy, .. }
            | Self::Hedged { policy, .. }
            | Self::HedgeRefused { policy, .. }
            | Self::FellBack { policy, .. }
            | Self::RegistryFull { policy, .. }
            | Self::LimitChanged { policy, .. }
            | Self::QueueFilled { policy, .. }
            | Self::QueueStanding { policy, .. }
            | Self::NestedRetry { policy } => policy,
        }
    }
}

type Listener = Arc<dyn Fn(&Event) + Send + Sync>;

/// Where a policy's events go: a list of listeners.
///
/// Listeners run in the thread whose call caused the event, after every lock is released, so
/// they may call any method of the policy; long work belongs elsewhere. A listener that panics
/// is passed over.
#[derive(Clone, Default)]
pub struct Events {
    listeners: Arc<RwLock<Vec<(u64, Listener)>>>,
}

impl Events {
    /// Calls `listener` for every event from now on, until the subscription is dropped.
    pub fn subscribe(&self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Subscription {
        let mut listeners = self.listeners.write().unwrap_or_else(PoisonError::into_inner);
        let id = listeners.last().map_or(0, |(last, _)| last + 1);
        listeners.push((id, Arc::new(listener)));
        Subscription { id, events: Some(self.clone()) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.listeners.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Tells every listener. Not to be called with a lock held that a listener may want.
    pub fn send(&self, event: &Event) {
        let listeners = self.listeners.read().unwrap_or_else(PoisonError::into_inner).clone();
        for (_, listener) in listeners {
            // An event may be sent from a permit's destructor during unwinding, where a second
            // panic would abort the process.
            // Nor does why the permit was dropped concern what a listener drops.
            let tell = || with_drop_reason(DropReason::Cancelled, || listener(event));
            let _ = catch_unwind(AssertUnwindSafe(tell));
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listeners = self.listeners.read().unwrap_or_else(PoisonError::into_inner).len();
        f.debug_struct("Events").field("listeners", &listeners).finish()
    }
}

/// A listener's place in the list: dropping it ends the listening.
#[derive(Debug)]
#[must_use = "dropping it ends the listening at once; `forever` keeps it"]
pub struct Subscription {
    id: u64,
    events: Option<Events>,
}

impl Subscription {
    /// Listens for as long as the policy lives.
    pub fn forever(mut self) {
        self.events = None;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(events) = self.events.take() {
            let mut listeners = events.listeners.write().unwrap_or_else(PoisonError::into_inner);
            let place = listeners.iter().position(|(id, _)| *id == self.id);
            let ended = place.map(|place| listeners.remove(place));
            drop(listeners);
            drop(ended); // outside the lock: what the listener owned may call us
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_listener_listens_as_long_as_its_subscription_lives() {
        let events = Events::default();
        assert!(events.is_empty());
        let heard = Arc::new(AtomicUsize::new(0));
        let ear = Arc::clone(&heard);
        let subscription = events.subscribe(move |_| {
            ear.fetch_add(1, Ordering::Relaxed);
        });
        assert!(!events.is_empty());
        let event = Event::NestedRetry { policy: Name::from("inner") };
        events.send(&event);
        drop(subscription);
        assert!(events.is_empty());
        events.send(&event);
        assert_eq!(heard.load(Ordering::Relaxed), 1);
    }
}
