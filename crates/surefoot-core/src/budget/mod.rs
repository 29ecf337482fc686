//! What a run may spend, as one value that nests: attempts, tokens and money.
//!
//! **Use it** for everything that one task, agent run or user may cost, however many calls, retries
//! and hedges that takes: all of them draw on one account, so retries within retries cannot
//! multiply and a loop ends at its limit. **Not** for how much per minute (a
//! [rate limiter](crate::rate_limiter)) and not for how many retries a callee can stand
//! (a [`RetryBudget`](crate::RetryBudget)): a budget is spent once and does not refill.
//!
//! ```text
//!  run: 20 attempts, 100 000 tokens, 2.50 of money
//!   ├── search: a slice of 5 attempts, taken out of the run's; the rest comes back when it is dropped
//!   └── write: shares what the run has, but at most 50 000 tokens of it
//! ```
//!
//! | option | default | |
//! |---|---|---|
//! | `name` | `budget` | whose budget it was, as a refusal says |
//! | `attempts` | no limit | calls of operations, first ones, retries and hedges alike |
//! | `tokens` | no limit | whatever calls use up, as the program reports it |
//! | `money` | no limit | in millionths of one currency ([`Money`]) |
//!
//! A limit of zero refuses every call. At least one limit is required, except of a child that
//! shares.
//!
//! **Reserve, then settle.** [`reserve`](Budget::reserve) takes what a call may cost before it is
//! made, in every dimension or in none, here and in every budget above. [`Charge::settle`] corrects
//! it to what the call did cost: a failed call costs too. [`Charge::give_back`] is for the call that
//! never ran. Usage beyond the reservation is recorded all the same: a budget may end in debt, and
//! refuses then. What cannot be known before is [recorded](Budget::record) after.
//!
//! **Children.** A *slice* ([`BudgetBuilder::slice_of`]) is taken out of its parent at once, and is
//! certain; what it did not spend goes back when its last handle and charge are dropped. A child that
//! *shares* ([`BudgetBuilder::share_of`]) takes nothing in advance: each of its calls is paid by the
//! parent, within limits of its own if it has any. What is not limited in a slice is shared. What
//! a child spends shows in all budgets above it.
//!
//! **Events.** [`Event::BudgetLow`](crate::Event) once 80 % of a limit are spent, and
//! [`Event::BudgetExhausted`](crate::Event) once nothing is left to spend or a call was refused
//! that would have fitted at the start; each at most once for each account and dimension, and told
//! to the listeners of all budgets above as well. Reserved is not spent.
//!
//! **Cancellation.** A [`Charge`] that is dropped, by whatever ends the call, keeps what it took:
//! the call may have run, and nobody knows better.
//!
//! **Cost.** A short lock for each budget from the child up, held together from the lowest up, which
//! is what makes a draw take place at all levels or at none, as some order of the same draws would;
//! no allocation, but for events that somebody hears. A budget precedes a call to a model or a tool, so these
//! 20 ns or so per level are not on any path that counts them. At most [`MAX_DEPTH`] levels.

mod account;
mod charge;
mod config;
mod cost;
mod money;
mod status;
#[cfg(all(test, not(surefoot_loom)))]
mod tests;

use std::fmt;

pub use charge::Charge;
pub use config::{BudgetBuilder, BudgetConfig, SliceError};
pub use cost::{Cost, Dimension, Limits};
pub use money::{Money, NotMoney};
pub use status::BudgetStatus;

use crate::sync::Arc;
use crate::{Events, Name, Rejection};
use account::{Account, Ask, Moved, News};

/// The most levels of budgets, the root included.
pub const MAX_DEPTH: u8 = 64;

/// What may be spent, and what has been. Clones are handles to the same account.
///
/// ```
/// use surefoot_core::budget::{Cost, Money};
/// use surefoot_core::Budget;
///
/// let run = Budget::builder("run").tokens(10_000).money("0.05".parse()?).build()?;
/// let price = |tokens| Money::for_tokens(tokens, Money::from_units(3));
///
/// // At most 4,000 tokens of an answer; it turns out to be 1,500.
/// let charge = run.reserve(Cost::tokens(4_000).and_money(price(4_000)))?;
/// charge.settle(Cost::tokens(1_500).and_money(price(1_500)));
///
/// assert_eq!(run.remaining().tokens, Some(8_500));
/// assert_eq!(run.spent().money.to_string(), "0.0045");
/// let refusal = run.reserve(Cost::tokens(9_000)).unwrap_err();
/// assert_eq!(
///     refusal.to_string(),
///     "budget `run` has 8500 of its 10000 tokens left, which is too few: end here, ask for less \
///      or give it more"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Budget {
    account: Arc<Account>,
}

impl Budget {
    /// Starts building a budget that will be called `name`.
    pub fn builder(name: impl Into<Name>) -> BudgetBuilder {
        BudgetBuilder::default().name(name)
    }

    /// Takes what a call may cost, here and in every budget above, or nothing at all.
    ///
    /// # Errors
    /// [`Rejection::BudgetExhausted`] with the name of the budget that has too little left.
    pub fn reserve(&self, cost: Cost) -> Result<Charge, Rejection> {
        self.take(Ask::reserving(cost), None)?;
        Ok(Charge::new(self.clone(), cost, None))
    }

    /// Takes one attempt for a call that is about to be made, if nothing that is limited is used
    /// up: with no tokens left, no attempt is made either. Meant for hosts.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve).
    pub fn draw(&self) -> Result<Charge, Rejection> {
        self.draw_below(None)
    }

    /// The same where `paid`, a budget above, has paid for the same call already, as have those
    /// above it: only what is below takes part.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve).
    pub fn draw_below(&self, paid: Option<&Self>) -> Result<Charge, Rejection> {
        self.take(Ask::drawing(), paid)?;
        Ok(Charge::new(self.clone(), Cost::attempts(1), paid.cloned()))
    }

    /// Whether [`draw`](Self::draw) would be refused at this moment.
    pub fn is_exhausted(&self) -> bool {
        self.is_exhausted_below(None)
    }

    /// Whether [`draw_below`](Self::draw_below) would be refused at this moment.
    pub fn is_exhausted_below(&self, paid: Option<&Self>) -> bool {
        self.check_up(Ask::drawing(), paid).is_err()
    }

    /// Notes what was spent without having been reserved. It is never refused, since it has
    /// happened; the budget may be in debt afterwards.
    pub fn record(&self, cost: Cost) {
        self.move_up(Moved { used: cost, ..Moved::default() }, None);
    }

    /// What was spent so far, by the children too. What is only reserved is not spent.
    pub fn spent(&self) -> Cost {
        self.status().spent
    }

    /// What [`reserve`](Self::reserve) would grant now, one dimension at a time: the least that is left
    /// here and above. `None` where nothing is limited.
    pub fn remaining(&self) -> Limits {
        self.rooms()
    }

    /// Everything about it at one moment.
    pub fn status(&self) -> BudgetStatus {
        self.account.status(self.rooms())
    }

    /// The name it was built with.
    pub fn name(&self) -> &Name {
        self.account.name()
    }

    /// Its own limits; those above hold as well.
    pub fn limits(&self) -> Limits {
        self.account.limits()
    }

    /// The budget above, if it has one.
    pub fn parent(&self) -> Option<&Self> {
        self.account.parent()
    }

    /// Where to listen for events, of all budgets below too.
    pub fn events(&self) -> &Events {
        self.account.events()
    }

    /// Whether both are handles to the same account.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.account, &other.account)
    }

    /// Whether what is spent here is spent there as well: it is the same budget or one above.
    pub fn draws_on(&self, other: &Self) -> bool {
        self.chain().any(|budget| budget.is_same(other))
    }

    /// Whether the number of attempts is limited, here or above.
    pub fn limits_attempts(&self) -> bool {
        self.chain().any(|budget| budget.limits().attempts.is_some())
    }

    /// This budget and those above, the nearest first.
    pub fn chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |budget| budget.parent())
    }

    fn take(&self, ask: Ask, paid: Option<&Self>) -> Result<(), Rejection> {
        let mut news = News::default();
        let taken = self.take_up(ask, paid, &mut news);
        news.tell();
        taken
    }

    fn move_up(&self, moved: Moved, paid: Option<&Self>) {
        let mut news = News::default();
        self.settle_up(moved, paid, &mut news);
        news.tell();
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("name", self.name()).finish_non_exhaustive()
    }
}
