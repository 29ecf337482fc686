//! What policies tell whoever listens.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::budget::Dimension;
use crate::circuit_breaker::TripLimit;
use crate::load_shedder::Signal;
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
    /// A rate limiter refused a call.
    RateLimited {
        /// The limiter.
        policy: Name,
        /// When, on its clock.
        at: Timestamp,
        /// How long until the same call fits; `None` if it never does.
        retry_after: Option<Duration>,
    },
    /// A call has to wait for its slot of a rate limiter.
    RateDelayed {
        /// The limiter.
        policy: Name,
        /// When, on its clock.
        at: Timestamp,
        /// How long it will have to wait, unless somebody ahead of it gives up.
        delay: Duration,
    },
    /// The callee asked for a pause, so a rate limiter (or one key of it) admits nobody until a time; those who
    /// wait in line come after it. Sent again if it gets longer. It ends by itself, without another event.
    RatePaused {
        /// The limiter.
        policy: Name,
        /// When, on its clock.
        at: Timestamp,
        /// When calls are admitted again, on its clock.
        until: Timestamp,
    },
    /// A keyed rate limiter has no room for a new key. Sent once.
    KeysFull {
        /// The limiter.
        policy: Name,
        /// How many keys it remembers at most.
        max_keys: u32,
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
    /// A load shedder refused a call, or would have but for a dry run.
    Shed {
        /// The shedder.
        policy: Name,
        /// When, on its clock.
        at: Timestamp,
        /// The call's priority; 1 is the lowest.
        priority: u32,
        /// What told the load.
        signal: Signal,
        /// The load it told.
        load: f32,
        /// The load from which this priority is shed, or to which a sampled signal is steered.
        limit: f32,
        /// Whether the call was admitted all the same.
        dry_run: bool,
    },
    /// A client throttle held a call back.
    ClientThrottled {
        /// The throttle.
        policy: Name,
        /// When, on its clock.
        at: Timestamp,
        /// The share of calls that is held back.
        rejection_rate: f32,
    },
    /// A retry runs inside another retry, so that their attempts multiply. Sent once per policy.
    NestedRetry {
        /// The inner retry.
        policy: Name,
    },
    /// A budget has spent 80 % of a limit. Sent once for each dimension.
    BudgetLow {
        /// The budget.
        policy: Name,
        /// What is getting scarce.
        dimension: Dimension,
        /// What was spent; money in millionths.
        spent: u64,
        /// Of how much.
        limit: u64,
    },
    /// A budget has nothing left to spend in a dimension, or has refused a call that would have fitted at
    /// the start. Sent once for each dimension.
    BudgetExhausted {
        /// The budget.
        policy: Name,
        /// What has run out.
        dimension: Dimension,
        /// What was spent; money in millionths. The rest is reserved, or less than was asked for.
        spent: u64,
        /// Of how much.
        limit: u64,
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
            | Self::RateLimited { policy, .. }
            | Self::RateDelayed { policy, .. }
            | Self::RatePaused { policy, .. }
            | Self::KeysFull { policy, .. }
            | Self::FellBack { policy, .. }
            | Self::RegistryFull { policy, .. }
            | Self::Shed { policy, .. }
            | Self::ClientThrottled { policy, .. }
            | Self::NestedRetry { policy }
            | Self::BudgetLow { policy, .. }
            | Self::BudgetExhausted { policy, .. }
            | Self::LimitChanged { policy, .. }
            | Self::QueueFilled { policy, .. }
            | Self::QueueStanding { policy, .. } => policy,
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
    shared: Arc<Listeners>,
}

#[derive(Default)]
struct Listeners {
    /// How many there are, for those who only want to know whether to tell anything at all.
    count: AtomicUsize,
    list: RwLock<Vec<(u64, Listener)>>,
}

impl Events {
    /// Calls `listener` for every event from now on, until the subscription is dropped.
    pub fn subscribe(&self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Subscription {
        let mut listeners = self.shared.list.write().unwrap_or_else(PoisonError::into_inner);
        let id = listeners.last().map_or(0, |(last, _)| last + 1);
        listeners.push((id, Arc::new(listener)));
        self.shared.count.store(listeners.len(), Ordering::Relaxed);
        Subscription { id, events: Some(self.clone()) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.shared.count.load(Ordering::Relaxed) == 0
    }

    /// Tells every listener. Not to be called with a lock held that a listener may want.
    pub fn send(&self, event: &Event) {
        let listeners = self.shared.list.read().unwrap_or_else(PoisonError::into_inner).clone();
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
        let listeners = self.shared.count.load(Ordering::Relaxed);
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
            let mut listeners = events.shared.list.write().unwrap_or_else(PoisonError::into_inner);
            let place = listeners.iter().position(|(id, _)| *id == self.id);
            let ended = place.map(|place| listeners.remove(place));
            events.shared.count.store(listeners.len(), Ordering::Relaxed);
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
        assert_eq!(*event.policy(), "inner");
        events.send(&event);
        drop(subscription);
        assert!(events.is_empty());
        events.send(&event);
        assert_eq!(heard.load(Ordering::Relaxed), 1);
    }
}
