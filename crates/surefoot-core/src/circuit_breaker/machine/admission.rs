//! Asking: may a call start?

use std::time::Duration;

use super::super::trip::TripLimit;
use super::super::word::{Flag, Word};
use super::super::{CircuitState, OpenReason};
use super::{Machine, State, Ticket, load_time};
use crate::sync::atomic::Ordering;
use crate::sync::lock;
use crate::{Rejection, Timestamp};

/// Why a call is refused, small enough for registers; times are in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(in crate::circuit_breaker) enum Refusal {
    Open { left: u64 },
    ProbesOut { left: u64, limit: u32 },
    Gate { left: u64 },
    Forced,
}

impl Machine {
    #[inline(always)]
    pub(in crate::circuit_breaker) fn admit(&self) -> Result<Ticket, Refusal> {
        let word = self.word();
        if word.admits_plainly() {
            return Ok(Ticket {
                generation: word.generation(),
                probe: None,
                started: Timestamp::MAX,
            });
        }
        if word.with(Flag::TIMED, false).admits_plainly() {
            return Ok(Ticket::plain(word, self.now()));
        }
        self.admit_carefully(word)
    }

    /// Out of line: a call without a clock should not carry the code of reading it.
    #[inline(never)]
    pub(super) fn now(&self) -> Timestamp {
        self.time.now()
    }

    #[inline(never)]
    pub(super) fn admit_carefully(&self, mut word: Word) -> Result<Ticket, Refusal> {
        loop {
            if word.has(Flag::FORCED) {
                return self.refuse(Refusal::Forced);
            }
            let now = self.time.now();
            if word.has(Flag::DISABLED) {
                return Ok(Ticket::plain(word, now));
            }
            let gate = if word.has(Flag::GATED) { load_time(&self.gate_until) } else { now };
            let open =
                if word.state() == CircuitState::Open { load_time(&self.open_until) } else { now };
            // The three were read one after the other: they belong together only if the word
            // still is what it was.
            let again = self.word();
            if again != word {
                word = again;
                continue;
            }
            if let left @ 1.. = nanos_left(open, now) {
                return self.refuse(Refusal::Open { left: left.max(nanos_left(gate, now)) });
            }
            if let left @ 1.. = nanos_left(gate, now) {
                return self.refuse(Refusal::Gate { left });
            }
            return self.admit_locked();
        }
    }

    /// Half-open, about to be, or a gate whose time is over.
    pub(super) fn admit_locked(&self) -> Result<Ticket, Refusal> {
        let mut guard = lock(&self.inner);
        let inner = &mut *guard;
        let now = self.time.now();
        let word = self.word();
        if word.has(Flag::FORCED) {
            return self.refuse(Refusal::Forced);
        }
        if word.has(Flag::DISABLED) {
            return Ok(Ticket::plain(word, now));
        }
        let gate = if word.has(Flag::GATED) { load_time(&self.gate_until) } else { now };
        if let State::Open = inner.state
            && let left @ 1.. = nanos_left(load_time(&self.open_until), now)
        {
            return self.refuse(Refusal::Open { left: left.max(nanos_left(gate, now)) });
        }
        if let left @ 1.. = nanos_left(gate, now) {
            return self.refuse(Refusal::Gate { left });
        }
        self.set_flag(Flag::GATED, false);
        if let State::Open = inner.state {
            self.enter(inner, CircuitState::HalfOpen, now);
        }
        let word = self.word();
        let ticket = match &mut inner.state {
            State::HalfOpen(half_open) => match half_open.take_place(now) {
                Ok(probe) => Ok(Ticket { probe: Some(probe), ..Ticket::plain(word, now) }),
                Err(expires) => {
                    let limit = inner.config.probes();
                    self.refuse(Refusal::ProbesOut { left: nanos_left(expires, now), limit })
                }
            },
            State::Closed | State::Open => Ok(Ticket::plain(word, now)),
        };
        self.deliver(guard);
        ticket
    }

    pub(super) fn refuse(&self, refusal: Refusal) -> Result<Ticket, Refusal> {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        Err(refusal)
    }

    /// A refusal in full.
    #[inline]
    pub(in crate::circuit_breaker) fn rejection(&self, refusal: Refusal) -> Rejection {
        let policy = self.name.clone();
        let (reason, retry_after) = match refusal {
            Refusal::Gate { left } => {
                return Rejection::Throttled { policy, retry_after: Duration::from_nanos(left) };
            }
            Refusal::Open { left } => {
                let limit = TripLimit::from_bits(self.limit.load(Ordering::Relaxed));
                (OpenReason::Tripped(limit), Some(Duration::from_nanos(left)))
            }
            Refusal::ProbesOut { left, limit } => {
                (OpenReason::ProbesOut { limit }, Some(Duration::from_nanos(left)))
            }
            Refusal::Forced => (OpenReason::Forced, None),
        };
        Rejection::CircuitOpen { policy, reason, retry_after }
    }
}

fn nanos_left(at: Timestamp, now: Timestamp) -> u64 {
    at.as_nanos().saturating_sub(now.as_nanos())
}

#[cfg(all(test, not(surefoot_loom)))]
mod tests {
    use super::super::super::config::CircuitBreakerConfig;
    use super::*;
    use crate::{Events, ManualClock, Name, Verdict};

    /// Until then every call has to look at the clock.
    #[test]
    fn the_first_call_after_a_pause_opens_the_gate_for_all() {
        let clock = ManualClock::new();
        let config = CircuitBreakerConfig { name: Name::from("api"), ..Default::default() };
        let machine = Machine::new(config, (&clock).into(), Events::default());
        let pause = Some(Duration::from_secs(1));
        let ticket = machine.admit().unwrap();
        machine.settle(ticket, Verdict::Throttled { retry_after: pause });
        clock.advance(Duration::from_secs(1));
        assert!(!machine.word().admits_plainly());
        machine.admit().unwrap();
        assert!(machine.word().admits_plainly());
    }
}
