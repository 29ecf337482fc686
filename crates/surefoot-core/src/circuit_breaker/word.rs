//! The one atomic word of a breaker: state, flags and generation.
//!
//! Written only under the machine's lock, read by everybody. A call that finds it plain (closed,
//! nothing special) needs nothing else to be admitted.

use super::CircuitState;
use super::successes::Bank;

/// A value of the atomic word.
///
/// ```text
/// 63                                               9  8 7      2 1   0
/// ┌──────────────────────────────────────────────────┬──┬───────┬─────┐
/// │ generation                                       │bank│flags│state│
/// └──────────────────────────────────────────────────┴──┴───────┴─────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

/// What a reader of the word has to mind besides the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flag(u64);

impl Flag {
    /// Held open by an operator.
    pub(super) const FORCED: Self = Self(1 << 2);
    /// Admits everybody and only watches.
    pub(super) const DISABLED: Self = Self(1 << 3);
    /// The callee asked for a pause that may not be over.
    pub(super) const GATED: Self = Self(1 << 4);
    /// Successes must be judged under the lock: one of them may trip, or must clear a streak.
    pub(super) const WATCHED: Self = Self(1 << 5);
    /// A call's duration matters: the clock is read when it starts and when it ends.
    pub(super) const TIMED: Self = Self(1 << 6);
    /// The time of a success matters: the clock is read when it ends.
    pub(super) const BUCKETED: Self = Self(1 << 7);
}

const STATE: u64 = 0b11;
const FLAGS: u64 = 0xfc;
const BANK_SHIFT: u32 = 8;
const BANK: u64 = 1 << BANK_SHIFT;
const GENERATION_SHIFT: u32 = 9;

impl Word {
    pub(super) const fn new(state: CircuitState, generation: u64) -> Self {
        Self(generation << GENERATION_SHIFT | state as u64)
    }

    pub(super) const fn state(self) -> CircuitState {
        match self.0 & STATE {
            0 => CircuitState::Closed,
            1 => CircuitState::Open,
            _ => CircuitState::HalfOpen,
        }
    }

    pub(super) const fn generation(self) -> u64 {
        self.0 >> GENERATION_SHIFT
    }

    /// Which of the two banks of the success counter counts: it changes each time the breaker
    /// closes, so that late successes of one closed phase are not taken for those of the next.
    pub(super) const fn bank(self) -> Bank {
        if self.0 & BANK == 0 { Bank::Even } else { Bank::Odd }
    }

    pub(super) const fn has(self, flag: Flag) -> bool {
        self.0 & flag.0 != 0
    }

    pub(super) const fn with(self, flag: Flag, on: bool) -> Self {
        Self(if on { self.0 | flag.0 } else { self.0 & !flag.0 })
    }

    /// Closed with nothing that a caller who asks to be admitted has to mind.
    pub(super) const fn admits_plainly(self) -> bool {
        self.0 & (STATE | Flag::FORCED.0 | Flag::GATED.0 | Flag::TIMED.0) == 0
    }

    /// Closed in `generation`, and a success only has to be counted.
    pub(super) const fn counts_plainly(self, generation: u64) -> bool {
        let minded = !(Flag::DISABLED.0 | Flag::GATED.0 | Flag::FORCED.0 | BANK);
        self.0 & minded == generation << GENERATION_SHIFT
    }

    /// The next state's word: the generation grows with the state, and only then.
    pub(super) const fn enter(self, state: CircuitState) -> Self {
        let next = Self::new(state, self.generation() + 1);
        let bank = match state {
            CircuitState::Closed => self.0 & BANK ^ BANK,
            CircuitState::Open | CircuitState::HalfOpen => self.0 & BANK,
        };
        Self(next.0 | self.0 & FLAGS | bank)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_flags_and_generation_do_not_disturb_each_other() {
        let word = Word::new(CircuitState::Closed, 41).with(Flag::GATED, true);
        let next = word.enter(CircuitState::HalfOpen);
        assert_eq!(next.state(), CircuitState::HalfOpen);
        assert_eq!(next.generation(), 42);
        assert!(next.has(Flag::GATED));
        assert!(!next.with(Flag::GATED, false).has(Flag::GATED));
        assert_eq!(next.with(Flag::GATED, false).generation(), 42);
        assert_eq!(next.bank(), word.bank());
        assert_ne!(next.enter(CircuitState::Closed).bank(), word.bank());
    }

    #[test]
    fn only_a_closed_word_of_the_same_generation_counts_plainly() {
        let closed = Word::new(CircuitState::Closed, 7);
        assert!(closed.counts_plainly(7));
        assert!(closed.with(Flag::GATED, true).counts_plainly(7));
        assert!(!closed.counts_plainly(8));
        assert!(!closed.with(Flag::WATCHED, true).counts_plainly(7));
        assert!(!closed.with(Flag::BUCKETED, true).counts_plainly(7));
        assert!(!Word::new(CircuitState::HalfOpen, 7).counts_plainly(7));
    }

    #[test]
    fn successes_change_the_bank_each_time_the_breaker_closes_and_count_plainly_in_either() {
        let mut word = Word::new(CircuitState::Closed, 0);
        for generation in [2, 4, 6] {
            let next = word.enter(CircuitState::Open).enter(CircuitState::Closed);
            assert_ne!(next.bank(), word.bank());
            assert!(next.with(Flag::DISABLED, true).counts_plainly(generation));
            word = next;
        }
    }
}
