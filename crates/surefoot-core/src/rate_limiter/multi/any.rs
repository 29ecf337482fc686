//! Limits of different algorithms side by side.

use super::super::config::Built;
use super::super::ledger::Ledger;
use super::super::machine::{Machine, Taken};

/// The cell of either kind of machine.
#[derive(Debug, Default)]
pub(in super::super) struct AnyCell {
    word: u64,
    ledger: Ledger,
}

/// Asks the machine about its part of the cell.
macro_rules! ask {
    ($built:expr, $any:expr, $machine:ident, $cell:ident => $answer:expr) => {
        match $built {
            Built::Gcra($machine) => {
                let $cell = &mut $any.word;
                $answer
            }
            Built::Windowed($machine) => {
                let $cell = &mut $any.ledger;
                $answer
            }
        }
    };
}

impl Machine for Built {
    type Cell = AnyCell;

    fn earliest(&self, any: &mut AnyCell, n: u64, now: u64, behind: u64) -> Option<u64> {
        ask!(self, any, machine, cell => machine.earliest(cell, n, now, behind))
    }

    fn try_take(&self, any: &mut AnyCell, n: u64, now: u64) -> bool {
        ask!(self, any, machine, cell => machine.try_take(cell, n, now))
    }

    fn take(&self, any: &mut AnyCell, n: u64, at: u64) -> Taken {
        ask!(self, any, machine, cell => machine.take(cell, n, at))
    }

    fn take_until(&self, any: &mut AnyCell, n: u64, now: u64, until: u64) {
        ask!(self, any, machine, cell => machine.take_until(cell, n, now, until));
    }

    fn untake(&self, any: &mut AnyCell, span: u64) {
        ask!(self, any, machine, cell => machine.untake(cell, span));
    }

    fn give_back(&self, any: &mut AnyCell, mark: u64, n: u64, now: u64) -> u64 {
        ask!(self, any, machine, cell => machine.give_back(cell, mark, n, now))
    }

    fn used(&self, any: &mut AnyCell, now: u64) -> u64 {
        ask!(self, any, machine, cell => machine.used(cell, now))
    }

    fn remaining(&self, any: &mut AnyCell, now: u64) -> u64 {
        ask!(self, any, machine, cell => machine.remaining(cell, now))
    }

    fn idle_at(&self, any: &AnyCell) -> u64 {
        match self {
            Self::Gcra(machine) => machine.idle_at(&any.word),
            Self::Windowed(machine) => machine.idle_at(&any.ledger),
        }
    }
}
