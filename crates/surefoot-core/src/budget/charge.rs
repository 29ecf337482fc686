//! What was taken before a call.

use std::fmt;

use super::account::Moved;
use super::{Budget, Cost};

/// What a call has taken; closed with what it did cost.
///
/// The words are those of a rate limiter's [`Charge`](crate::rate_limiter::Charge), and so are the
/// rules: dropping it keeps what was taken, since the call may have run.
///
/// ```
/// use surefoot_core::Budget;
/// use surefoot_core::budget::Cost;
///
/// let run = Budget::builder("run").tokens(1_000).build()?;
/// run.reserve(Cost::tokens(600))?.give_back(); // the call was never made
/// run.reserve(Cost::tokens(600))?.settle(Cost::tokens(700)); // more than was thought
/// assert_eq!(run.remaining().tokens, Some(300));
/// drop(run.reserve(Cost::tokens(300))?); // nobody knows: all of it
/// assert_eq!(run.spent().tokens, 1_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a charge that is dropped keeps all it took"]
pub struct Charge {
    budget: Budget,
    taken: Cost,
    /// The budget above from which on the same call was paid by another charge.
    paid: Option<Budget>,
}

impl Charge {
    pub(super) fn new(budget: Budget, taken: Cost, paid: Option<Budget>) -> Self {
        Self { budget, taken, paid }
    }

    /// What was taken.
    pub fn taken(&self) -> Cost {
        self.taken
    }

    /// The budget it was taken from.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Corrects what was taken to what the call did cost, more or less.
    pub fn settle(mut self, used: Cost) {
        let reserved = std::mem::take(&mut self.taken);
        self.close(reserved, used);
    }

    /// The call never ran.
    pub fn give_back(self) {
        self.settle(Cost::ZERO);
    }

    fn close(&self, reserved: Cost, used: Cost) {
        let moved = Moved { reserved, used, ..Moved::default() };
        self.budget.move_up(moved, self.paid.as_ref());
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.taken != Cost::ZERO {
            self.close(self.taken, self.taken);
        }
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charge")
            .field("budget", self.budget.name())
            .field("taken", &self.taken)
            .finish()
    }
}
