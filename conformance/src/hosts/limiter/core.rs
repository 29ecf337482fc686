//! Reservations in two steps.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

use surefoot_core::rate_limiter::{Reservation, Slots};
use surefoot_core::{Clock, ManualSleep, Timestamp};

use super::{Answer, Ask, Asked, Calls, Charges, Correct, Limiters, with};

pub(in super::super) struct Reservations {
    limiters: Limiters,
    /// Each with something that time stops at when it is due.
    waiting: Vec<(String, Box<dyn Slot>, ManualSleep)>,
    charges: Charges,
}

/// A reservation with either kind of limiter.
trait Slot {
    fn due(&self) -> Timestamp;

    fn begin(self: Box<Self>) -> Result<Correct, Box<dyn Slot>>;
}

impl<S: Slots + Send + 'static> Slot for Reservation<S> {
    fn due(&self) -> Timestamp {
        self.due()
    }

    fn begin(self: Box<Self>) -> Result<Correct, Box<dyn Slot>> {
        match Reservation::begin(*self) {
            Ok(charge) => Ok(Box::new(move |used| charge.settle(used))),
            Err(early) => Err(Box::new(early)),
        }
    }
}

impl Reservations {
    pub(in super::super) fn new(limiters: Limiters) -> Self {
        Self { limiters, waiting: Vec::new(), charges: Charges::default() }
    }

    fn wait(&mut self, call: String, slot: Box<dyn Slot>) {
        let mut sleep = self.limiters.clock.sleep_until(slot.due());
        let _ = Pin::new(&mut sleep).poll(&mut Context::from_waker(Waker::noop()));
        self.waiting.push((call, slot, sleep));
    }
}

impl Calls for Reservations {
    fn check(&mut self, key: Option<&str>, n: u64) -> Result<Answer, String> {
        self.limiters.check(key, n)
    }

    fn acquire(&mut self, ask: Ask<'_>) -> Result<Asked, String> {
        let now = self.limiters.clock.now();
        // A call that begins at its deadline has no time.
        let before = |limit| (now + limit).saturating_sub(std::time::Duration::from_nanos(1));
        let latest = ask.deadline.map_or(Timestamp::MAX, before);
        let reserved = with!(self.limiters.of(ask.key)?, limiter => {
            limiter.reserve(ask.n, latest).map(|slot| Box::new(slot) as Box<dyn Slot>)
        });
        Ok(match reserved.map(Slot::begin) {
            Ok(Ok(correct)) => {
                self.charges.begin(ask.call, Some(correct));
                Asked::Began
            }
            Ok(Err(slot)) => {
                self.wait(ask.call.to_owned(), slot);
                Asked::Waits
            }
            Err(rejection) => Asked::Refused { retry_after: rejection.retry_after() },
        })
    }

    fn begun(&mut self) -> Result<Vec<String>, String> {
        let mut begun = Vec::new();
        for (call, slot, _) in std::mem::take(&mut self.waiting) {
            match slot.begin() {
                Ok(correct) => {
                    self.charges.begin(&call, Some(correct));
                    begun.push(call);
                }
                Err(early) => self.wait(call, early),
            }
        }
        Ok(begun)
    }

    fn cancel(&mut self, call: &str) -> Result<(), String> {
        self.waiting.retain(|(known, ..)| known != call);
        Ok(())
    }

    fn settle(&mut self, call: &str, used: u64) -> Result<(), String> {
        self.charges.settle(call, used)
    }
}
