//! Surefoot at the door of the service: load shedder → throttler, the recommended order.
//!
//! Who comes in is decided at once, by how many are inside and how important the call is; who has to wait waits with the
//! most important first, and not for longer than its caller has any use for.

use std::time::Duration;

use surefoot::throttler::Order;
use surefoot::{Acquire, ConfigError, LoadShedder, Rejection, Throttler, load_shedder, throttler};

use super::load::Priority;
use super::service::WORKERS;

/// Calls that may wait: what the workers do in 200 ms.
pub(crate) const WAITING: u32 = 20;
/// With the work itself, half of what a caller waits.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_millis(400);
/// What a refused caller is told, where nobody can know when there will be room.
const COME_BACK: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Door {
    shedder: LoadShedder,
    /// A handle for each priority, the lowest first.
    throttlers: [Throttler; Priority::ALL.len()],
}

/// A call's place inside; dropping it lets the next one in.
pub(crate) type Place = (load_shedder::Permit, throttler::Permit);

impl Door {
    pub(crate) fn new() -> Self {
        Self::build().expect("the demo's settings obey the rules")
    }

    fn build() -> Result<Self, ConfigError> {
        let workers = u32::from(WORKERS);
        let shedder = LoadShedder::builder("service").capacity(workers + WAITING).build()?;
        let throttler = Throttler::builder("workers")
            .max_concurrent(workers)
            .queue_size(WAITING)
            .timeout(LONGEST_WAIT)
            .order(Order::Priority)
            .build()?;
        let of = |priority: Priority| throttler.priority(priority.level());
        let throttlers =
            [of(Priority::Background)?, of(Priority::Normal)?, of(Priority::Critical)?];
        Ok(Self { shedder, throttlers })
    }

    /// Waits for a place; refused is whoever is told when to come back.
    pub(crate) async fn admit(&self, priority: Priority) -> Result<Place, Duration> {
        let wait = |refusal: Rejection| refusal.retry_after().unwrap_or(COME_BACK);
        let inside = self.shedder.admit(priority.level()).map_err(wait)?;
        let throttler = &self.throttlers[priority as usize - 1];
        let at_work = throttler.acquire_owned().await.map_err(wait)?;
        Ok((inside, at_work))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_least_important_is_refused_first() {
        let door = Door::new();
        let mut inside = Vec::new();
        for _ in 0..WORKERS {
            inside.push(door.admit(Priority::Critical).await.expect("a free worker"));
        }
        let mut waiting = Vec::new();
        for _ in 0..14 {
            let mut waiter = Box::pin(door.admit(Priority::Critical));
            let polled =
                std::future::poll_fn(|cx| std::task::Poll::Ready(waiter.as_mut().poll(cx)));
            assert!(polled.await.is_pending());
            waiting.push(waiter);
        }
        assert_eq!(door.admit(Priority::Background).await.err(), Some(COME_BACK));
        drop((inside, waiting));
        assert!(door.admit(Priority::Background).await.is_ok());
    }
}
