//! Reservations in two steps.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

use surefoot_core::rate_limiter::{Reservation, Slots};
use surefoot_core::{Clock, ManualSleep, Timestamp};

use super::{Answer, Ask, Asked, Calls, Charges, Correct, Limiters, with};

pub(in super::super) struct Reservations {
    limiters: Limiters,
    waiting: Vec<Waiting>,
    charges: Charges,
}

struct Waiting {
    call: String,
    corrected: bool,
    slot: Box<dyn Slot>,
    /// Something that time stops at when the slot is due.
    _due: ManualSleep,
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
            Err(unready) => Err(Box::new(unready.into_reservation().expect("no case has a pause"))),
        }
    }
}

impl Reservations {
    pub(in super::super) fn new(limiters: Limiters) -> Self {
        Self { limiters, waiting: Vec::new(), charges: Charges::default() }
    }

    fn wait(&mut self, call: String, corrected: bool, slot: Box<dyn Slot>) {
        let mut due = self.limiters.clock.sleep_until(slot.due());
        let _ = Pin::new(&mut due).poll(&mut Context::from_waker(Waker::noop()));
        self.waiting.push(Waiting { call, corrected, slot, _due: due });
    }

    /// What nobody will correct stays taken from the beginning.
    fn begin(&mut self, call: &str, corrected: bool, correct: Correct) {
        self.charges.begin(call, corrected.then_some(correct));
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
                self.begin(ask.call, ask.corrected, correct);
                Asked::Began
            }
            Ok(Err(slot)) => {
                self.wait(ask.call.to_owned(), ask.corrected, slot);
                Asked::Waits
            }
            Err(rejection) => Asked::Refused { retry_after: rejection.retry_after() },
        })
    }

    fn begun(&mut self) -> Result<Vec<String>, String> {
        let mut begun = Vec::new();
        for Waiting { call, corrected, slot, .. } in std::mem::take(&mut self.waiting) {
            match slot.begin() {
                Ok(correct) => {
                    self.begin(&call, corrected, correct);
                    begun.push(call);
                }
                Err(early) => self.wait(call, corrected, early),
            }
        }
        Ok(begun)
    }

    fn cancel(&mut self, call: &str) -> Result<(), String> {
        self.waiting.retain(|waiting| waiting.call != call);
        Ok(())
    }

    fn settle(&mut self, call: &str, used: u64) -> Result<(), String> {
        self.charges.settle(call, used)
    }
}
