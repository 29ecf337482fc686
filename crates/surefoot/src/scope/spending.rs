//! Who pays for a call: the budgets in scope, and the attempts that are paid for already.
//!
//! Scopes are frames, each with a link to the one around it. Some hold a budget, others a [`Cover`]: one
//! attempt, taken from the budgets outside before it is known whether anything will be dispatched. The
//! first call begun inside a cover is paid by it, all others draw for themselves. So a call through
//! any number of policies and pipelines costs one attempt, as does each further call any of them makes.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;

use surefoot_core::budget::Charge;
use surefoot_core::{Budget, Rejection};

use crate::sync::{Mutex, lock};

thread_local! {
    static FRAME: RefCell<Option<Arc<Frame>>> = const { RefCell::new(None) };
}

/// What is in scope, the innermost first.
#[derive(Debug)]
pub(crate) struct Frame {
    holds: Holds,
    outer: Option<Arc<Frame>>,
}

#[derive(Debug)]
enum Holds {
    Budget(Budget),
    Cover(Mutex<Unit>),
}

/// One attempt of a cover.
#[derive(Debug)]
struct Unit {
    /// What was drawn for it, until that is settled.
    charges: Vec<Charge>,
    /// The cover further out that pays the rest.
    lender: Option<Arc<Frame>>,
    /// Something was dispatched with it.
    spent: bool,
    /// A call inside has it.
    claimed: bool,
    /// Whoever opened the cover still holds it.
    open: bool,
}

/// One attempt that is paid for. Unless something was dispatched with it, dropping it gives it back.
#[derive(Debug)]
pub struct Cover {
    frame: Arc<Frame>,
}

/// Takes one attempt from the budgets in scope, at all of them or none; `None` if there are none.
#[cold]
#[inline(never)]
#[expect(clippy::missing_errors_doc, reason = "a budget's refusal")]
pub fn draw() -> Result<Option<Cover>, Rejection> {
    let frame = current();
    let Bill { unpaid, lender } = bill(frame.as_ref(), claim);
    if unpaid.is_empty() && lender.is_none() {
        return Ok(None);
    }
    let lender = lender.cloned();
    let unit = Unit { charges: Vec::new(), lender, spent: false, claimed: false, open: true };
    let holds = Holds::Cover(Mutex::new(unit));
    let cover = Cover { frame: Arc::new(Frame { holds, outer: frame.clone() }) };
    for Unpaid { budget, below } in unpaid {
        let charge = budget.draw_below(below)?; // dropped, the cover gives back what it has
        if let Holds::Cover(unit) = &cover.frame.holds {
            lock(unit).charges.push(charge);
        }
    }
    Ok(Some(cover))
}

/// [`draw`], where somebody has to pay at all.
#[inline]
pub(crate) fn draw_if_budgeted() -> Result<Option<Cover>, Rejection> {
    if super::is_budgeted() { draw() } else { Ok(None) }
}

/// Notes that the operation itself is being started, paid by `cover` if it has to be.
#[inline]
pub(crate) fn dispatch(cover: Option<&Cover>) {
    if let Some(cover) = cover {
        cover.spend();
    }
    super::note_dispatch();
}

/// Whether [`draw`] would be refused now.
#[cold]
#[inline(never)]
pub(crate) fn is_spent() -> bool {
    let frame = current();
    let Bill { unpaid, .. } = bill(frame.as_ref(), |unit| is_free(&lock(unit)));
    unpaid.into_iter().any(|Unpaid { budget, below }| budget.is_exhausted_below(below))
}

/// Who has to pay for a call.
struct Bill<'a> {
    unpaid: Vec<Unpaid<'a>>,
    /// The cover that pays for all that is outside of it.
    lender: Option<&'a Arc<Frame>>,
}

/// A budget that has to pay, up to the one above it that need not.
struct Unpaid<'a> {
    budget: &'a Budget,
    below: Option<&'a Budget>,
}

/// Goes outward up to the first cover that will do, which has paid for everything outside of it.
fn bill(frame: Option<&Arc<Frame>>, will_do: impl Fn(&Mutex<Unit>) -> bool) -> Bill<'_> {
    let mut unpaid: Vec<&Budget> = Vec::new();
    let mut lender = None;
    let mut paid = Vec::new();
    for (frame, holds) in outward(frame) {
        match holds {
            Holds::Budget(budget) if lender.is_some() => paid.push(budget),
            Holds::Budget(budget) if unpaid.iter().any(|known| known.draws_on(budget)) => {}
            Holds::Budget(budget) => {
                unpaid.retain(|known| !budget.draws_on(known));
                unpaid.push(budget);
            }
            Holds::Cover(unit) if lender.is_none() && will_do(unit) => lender = Some(frame),
            Holds::Cover(_) => {}
        }
    }
    let is_paid = |budget: &Budget| paid.iter().any(|paid| paid.draws_on(budget));
    let unpaid = unpaid
        .into_iter()
        .filter(|budget| !is_paid(budget))
        .map(|budget| Unpaid { budget, below: budget.chain().find(|above| is_paid(above)) })
        .collect();
    Bill { unpaid, lender }
}

/// Whether a budget in scope limits attempts.
pub(crate) fn limits_attempts() -> bool {
    let frame = current();
    outward(frame.as_ref())
        .any(|(_, holds)| matches!(holds, Holds::Budget(budget) if budget.limits_attempts()))
}

/// What is in scope here.
pub(crate) fn current() -> Option<Arc<Frame>> {
    FRAME.try_with(|frame| frame.borrow().clone()).ok().flatten()
}

/// Runs `inside` with this in scope and nothing else.
pub(crate) fn enter<R>(frame: Option<Arc<Frame>>, inside: impl FnOnce() -> R) -> R {
    struct Exit {
        outer: Option<Arc<Frame>>,
    }
    impl Drop for Exit {
        fn drop(&mut self) {
            super::set_budgeted(self.outer.is_some());
            let inner = swap(self.outer.take());
            drop(inner); // not while the place is borrowed: its charges may call listeners
        }
    }
    super::set_budgeted(frame.is_some());
    let _exit = Exit { outer: swap(frame) };
    inside()
}

fn swap(frame: Option<Arc<Frame>>) -> Option<Arc<Frame>> {
    FRAME.try_with(|place| place.replace(frame)).ok().flatten()
}

fn outward(frame: Option<&Arc<Frame>>) -> impl Iterator<Item = (&Arc<Frame>, &Holds)> {
    std::iter::successors(frame, |frame| frame.outer.as_ref()).map(|frame| (frame, &frame.holds))
}

impl Frame {
    /// `budget`, within what is in scope here.
    pub(crate) fn of(budget: Budget) -> Arc<Self> {
        Arc::new(Self { holds: Holds::Budget(budget), outer: current() })
    }

    /// The innermost budget.
    pub(crate) fn budget(self: &Arc<Self>) -> Option<&Budget> {
        outward(Some(self)).find_map(|(_, holds)| match holds {
            Holds::Budget(budget) => Some(budget),
            Holds::Cover(_) => None,
        })
    }
}

impl Cover {
    /// Notes that something is dispatched with it: it is not given back any more.
    pub fn spend(&self) {
        spend(&self.frame);
    }

    /// Runs `inside` in its scope.
    pub fn enter<R>(&self, inside: impl FnOnce() -> R) -> R {
        enter(Some(Arc::clone(&self.frame)), inside)
    }
}

impl Drop for Cover {
    fn drop(&mut self) {
        if let Holds::Cover(unit) = &self.frame.holds {
            let mut unit = lock(unit);
            unit.open = false;
            settle(unit);
        }
    }
}

/// Runs `inside` in the scope of a cover, if there is one.
#[inline]
pub fn covered<R>(cover: Option<&Cover>, inside: impl FnOnce() -> R) -> R {
    match cover {
        None => inside(),
        Some(cover) => cover.enter(inside),
    }
}

/// The same for a future.
pub(crate) async fn in_cover<F: Future>(cover: Option<Cover>, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| covered(cover.as_ref(), || future.as_mut().poll(cx))).await
}

fn is_free(unit: &Unit) -> bool {
    unit.open && !unit.claimed
}

fn claim(unit: &Mutex<Unit>) -> bool {
    let mut unit = lock(unit);
    let free = is_free(&unit);
    unit.claimed |= free;
    free
}

/// Spends a cover's unit, and so those it came from.
fn spend(frame: &Arc<Frame>) {
    let Holds::Cover(unit) = &frame.holds else { return };
    let mut unit = lock(unit);
    unit.spent = true;
    let (charges, lender) = (std::mem::take(&mut unit.charges), unit.lender.take());
    drop(unit); // listeners may ask
    drop(charges);
    if let Some(lender) = lender {
        spend(&lender);
    }
}

/// Gives back what nobody can spend any more.
fn settle(mut unit: crate::sync::MutexGuard<'_, Unit>) {
    if unit.open || unit.claimed {
        return;
    }
    // If it was spent, there is nothing left here.
    let (charges, lender) = (std::mem::take(&mut unit.charges), unit.lender.take());
    drop(unit); // listeners may ask
    charges.into_iter().for_each(Charge::give_back);
    if let Some(lender) = lender
        && let Holds::Cover(unit) = &lender.holds
    {
        let mut unit = lock(unit);
        unit.claimed = false;
        settle(unit);
    }
}
