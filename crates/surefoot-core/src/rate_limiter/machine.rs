//! What every algorithm answers. One machine is a limit; a cell is what it remembers of one key.

use std::fmt;

/// Units taken, in the machine's own terms.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Taken {
    /// Where they stand, for [`give_back`](Machine::give_back).
    pub(super) mark: u64,
    /// How much they moved the cell on, for [`untake`](Machine::untake).
    pub(super) span: u64,
}

/// The arithmetic of one limit, without time, locks or keys of its own.
///
/// All times are nanoseconds on the limiter's clock. A cell knows everything that was taken,
/// including what is taken for a later time by those who wait; so whatever comes next stands
/// behind it.
pub(super) trait Machine: fmt::Debug + Send + Sync + 'static {
    /// What is remembered of one key. A new one has nothing taken.
    type Cell: Default + fmt::Debug + Send + 'static;

    /// The earliest time, from `now` and from `behind` on, at which `n` units fit behind all that
    /// is taken. `None`: never.
    fn earliest(&self, cell: &mut Self::Cell, n: u64, now: u64, behind: u64) -> Option<u64>;

    /// Takes `n` units if they fit at `now`, with nobody waiting: the shortest way to that answer.
    fn try_take(&self, cell: &mut Self::Cell, n: u64, now: u64) -> bool {
        let fits = self.earliest(cell, n, now, 0).is_some_and(|at| at <= now);
        if fits {
            self.take(cell, n, now);
        }
        fits
    }

    /// Takes `n` units at `at`, whether they fit or not.
    fn take(&self, cell: &mut Self::Cell, n: u64, at: u64) -> Taken;

    /// Takes `n` units at `now` that belong to somebody else, and will be free again at `until`,
    /// if they are not before.
    fn take_until(&self, cell: &mut Self::Cell, n: u64, now: u64, until: u64) {
        let _ = until; // a word knows no other way to free units than one after the other
        self.take(cell, n, now);
    }

    /// Undoes the last ones taken, all of them for a later time than the present, whose spans
    /// together are `span`.
    fn untake(&self, cell: &mut Self::Cell, span: u64);

    /// Returns what is not free again by itself of the `n` units that stand at `mark`. The answer
    /// is by how much everything that stands behind them moves up.
    fn give_back(&self, cell: &mut Self::Cell, mark: u64, n: u64, now: u64) -> u64;

    /// Units taken that are not free again at `now`.
    fn used(&self, cell: &mut Self::Cell, now: u64) -> u64;

    /// Units that could be taken at `now`.
    fn remaining(&self, cell: &mut Self::Cell, now: u64) -> u64;

    /// When all that is taken will be free again; up to `now` if nothing is taken.
    fn idle_at(&self, cell: &Self::Cell) -> u64;
}
