//! The account of one budget, and what moves through the accounts above it.
//!
//! Every question locks the accounts from the one that is asked upward, keeping the lower locks
//! until the highest has answered. All go in that order, so nobody waits in a circle, and each sees
//! the others' draws whole or not at all.
//!
//! Of each limit, `spent + held <= limit` holds, but for usage beyond what was reserved. A slice is held
//! by its parent as long as it is unspent; what the slice spends moves from the parent's `held` to its
//! `spent`.

use super::{Budget, BudgetStatus, Cost, Dimension, Limits, Money};
use crate::sync::{Mutex, lock};
use crate::{Event, Events, Name, Rejection};

/// One budget's account.
pub(super) struct Account {
    name: Name,
    limits: Limits,
    above: Option<Above>,
    depth: u8,
    events: Events,
    lines: Mutex<[Line; 3]>,
}

/// The account above, and whether this one's limits were taken out of it.
pub(super) struct Above {
    pub(super) budget: Budget,
    pub(super) sliced: bool,
}

/// One dimension of an account.
#[derive(Clone, Copy, Default)]
struct Line {
    spent: u64,
    held: u64,
    told: Told,
}

/// The last thing that listeners were told about a dimension.
#[derive(Clone, Copy, Default, PartialEq, PartialOrd)]
enum Told {
    #[default]
    Nothing,
    Low,
    Exhausted,
}

/// What is asked of an account in each dimension.
#[derive(Clone, Copy)]
pub(super) struct Ask {
    take: Cost,
    /// What has to be left, although it need not be taken.
    need: Cost,
}

impl Ask {
    pub(super) fn reserving(cost: Cost) -> Self {
        Self { take: cost, need: cost }
    }

    pub(super) fn drawing() -> Self {
        let one = Cost { attempts: 1, tokens: 1, money: Money::from_micros(1) };
        Self { take: Cost::attempts(1), need: one }
    }

    fn is_empty(self) -> bool {
        self.need == Cost::ZERO
    }
}

/// What changes at one level and those above.
#[derive(Clone, Copy, Default)]
pub(super) struct Moved {
    /// No longer held for a call.
    pub(super) reserved: Cost,
    /// No longer held for a slice.
    pub(super) sliced: Cost,
    /// Spent.
    pub(super) used: Cost,
}

impl Moved {
    fn is_nothing(self) -> bool {
        [self.reserved, self.sliced, self.used].iter().all(|cost| *cost == Cost::ZERO)
    }
}

impl Line {
    fn room(self, limit: Option<u64>) -> u64 {
        limit.unwrap_or(u64::MAX).saturating_sub(self.spent.saturating_add(self.held))
    }
}

impl Account {
    pub(super) fn new(name: Name, limits: Limits, above: Option<Above>, events: Events) -> Self {
        let depth = above.as_ref().map_or(1, |above| above.budget.depth() + 1);
        Self { name, limits, above, depth, events, lines: Mutex::default() }
    }

    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn events(&self) -> &Events {
        &self.events
    }

    pub(super) fn parent(&self) -> Option<&Budget> {
        self.above.as_ref().map(|above| &above.budget)
    }

    pub(super) fn status(&self, remaining: Limits) -> BudgetStatus {
        let lines = *lock(&self.lines);
        BudgetStatus {
            name: self.name.clone(),
            limits: self.limits,
            spent: Cost::each(|dimension| lines[dimension.index()].spent),
            reserved: Cost::each(|dimension| lines[dimension.index()].held),
            remaining,
        }
    }

    /// Whether what is spent here in this dimension was taken out of the account above in advance.
    fn is_sliced(&self, dimension: Dimension) -> bool {
        self.above.as_ref().is_some_and(|above| above.sliced) && self.limits.of(dimension).is_some()
    }

    /// The part of `cost` that the account above has to answer for.
    fn passed_on(&self, cost: Cost) -> Cost {
        Cost::each(|dimension| if self.is_sliced(dimension) { 0 } else { cost.of(dimension) })
    }

    /// What of a slice is unspent.
    fn unspent(&self, line: Line, dimension: Dimension) -> u64 {
        self.limits.of(dimension).map_or(0, |limit| limit.saturating_sub(line.spent))
    }

    /// The first dimension that has less left than is needed.
    fn lacking(&self, lines: &[Line; 3], need: Cost) -> Option<Dimension> {
        Dimension::ALL.into_iter().find(|&dimension| {
            lines[dimension.index()].room(self.limits.of(dimension)) < need.of(dimension)
        })
    }

    fn refusal(&self, lines: &[Line; 3], dimension: Dimension) -> Rejection {
        let limit = self.limits.of(dimension);
        Rejection::BudgetExhausted {
            policy: self.name.clone(),
            dimension,
            limit: limit.unwrap_or(u64::MAX),
            remaining: lines[dimension.index()].room(limit),
        }
    }
}

impl Budget {
    pub(super) fn depth(&self) -> u8 {
        self.account.depth
    }

    /// Takes what is asked for at all levels below `paid`, or nothing at any.
    pub(super) fn take_up(
        &self,
        ask: Ask,
        paid: Option<&Self>,
        news: &mut News,
    ) -> Result<(), Rejection> {
        if ask.is_empty() {
            return Ok(());
        }
        let account = &*self.account;
        let mut lines = lock(&account.lines);
        if let Some(dimension) = account.lacking(&lines, ask.need) {
            let would_have_fitted = account
                .limits
                .of(dimension)
                .is_some_and(|limit| ask.need.of(dimension) <= limit.max(1));
            if would_have_fitted {
                self.note(&mut lines, dimension, Told::Exhausted, news);
            }
            return Err(account.refusal(&lines, dimension));
        }
        if let Some(above) = self.unpaid_above(paid) {
            let [take, need] = [ask.take, ask.need].map(|cost| account.passed_on(cost));
            above.take_up(Ask { take, need }, paid, news)?;
        }
        for dimension in Dimension::ALL {
            // There is room for it, so it cannot overflow.
            lines[dimension.index()].held += ask.take.of(dimension);
        }
        Ok(())
    }

    /// Answers as [`take_up`](Self::take_up) would, and takes nothing.
    pub(super) fn check_up(&self, ask: Ask, paid: Option<&Self>) -> Result<(), Dimension> {
        let account = &*self.account;
        let lines = lock(&account.lines);
        if let Some(dimension) = account.lacking(&lines, ask.need) {
            return Err(dimension);
        }
        let need = account.passed_on(ask.need);
        let ask = Ask { take: Cost::ZERO, need };
        self.unpaid_above(paid).map_or(Ok(()), |above| above.check_up(ask, paid))
    }

    /// The budget above, unless it is the one that has paid.
    fn unpaid_above(&self, paid: Option<&Self>) -> Option<&Self> {
        self.parent().filter(|above| paid.is_none_or(|paid| !above.is_same(paid)))
    }

    /// Moves what was taken at all levels below `paid`, and what slices have used up at all.
    pub(super) fn settle_up(&self, moved: Moved, paid: Option<&Self>, news: &mut News) {
        if moved.is_nothing() {
            return;
        }
        let account = &*self.account;
        let mut lines = lock(&account.lines);
        let before = *lines;
        let unheld = moved.reserved + moved.sliced;
        for dimension in Dimension::ALL {
            let line = &mut lines[dimension.index()];
            line.held = line.held.saturating_sub(unheld.of(dimension));
            line.spent = line.spent.saturating_add(moved.used.of(dimension));
            self.judge(&mut lines, dimension, news);
        }
        let Some(above) = account.parent() else { return };
        let used_up = Cost::each(|dimension| {
            if !account.is_sliced(dimension) {
                return 0;
            }
            let [before, after] = [&before, &*lines]
                .map(|lines| account.unspent(lines[dimension.index()], dimension));
            before - after
        });
        let sliced = account.passed_on(moved.sliced) + used_up;
        let moved = match self.unpaid_above(paid) {
            Some(_) => Moved { reserved: account.passed_on(moved.reserved), sliced, ..moved },
            // It has paid for this call from elsewhere.
            None => Moved { sliced, ..Moved::default() },
        };
        above.settle_up(moved, paid, news);
    }

    /// The least that is left here and above.
    pub(super) fn rooms(&self) -> Limits {
        let account = &*self.account;
        let lines = lock(&account.lines);
        let above = account.parent().map(Self::rooms).unwrap_or_default();
        Limits::each(|dimension| {
            let own = account.limits.of(dimension);
            let room = own.map(|_| lines[dimension.index()].room(own));
            match (room, above.of(dimension)) {
                (Some(room), Some(above)) if !account.is_sliced(dimension) => Some(room.min(above)),
                (Some(room), _) => Some(room),
                (None, above) => above,
            }
        })
    }

    /// Notes what there is to tell about a dimension of which more was spent.
    fn judge(&self, lines: &mut [Line; 3], dimension: Dimension, news: &mut News) {
        let Some(limit) = self.account.limits.of(dimension) else { return };
        let spent = lines[dimension.index()].spent;
        if spent == 0 {
            return;
        }
        if u128::from(spent) * 5 >= u128::from(limit) * 4 {
            self.note(lines, dimension, Told::Low, news);
        }
        if spent >= limit {
            self.note(lines, dimension, Told::Exhausted, news);
        }
    }

    /// Notes something that listeners are to be told, unless they know that or worse.
    fn note(&self, lines: &mut [Line; 3], dimension: Dimension, what: Told, news: &mut News) {
        let line = &mut lines[dimension.index()];
        if line.told >= what {
            return;
        }
        line.told = what;
        if self.chain().all(|budget| budget.events().is_empty()) {
            return;
        }
        let policy = self.name().clone();
        let (spent, limit) = (line.spent, self.limits().of(dimension).unwrap_or(u64::MAX));
        let event = match what {
            Told::Exhausted => Event::BudgetExhausted { policy, dimension, spent, limit },
            Told::Low | Told::Nothing => Event::BudgetLow { policy, dimension, spent, limit },
        };
        news.0.push((self.clone(), event));
    }
}

/// What has to be told when all locks are released.
#[derive(Default)]
#[must_use = "listeners are waiting for it"]
pub(super) struct News(Vec<(Budget, Event)>);

impl News {
    pub(super) fn tell(self) {
        for (budget, event) in self.0 {
            budget.chain().for_each(|above| above.events().send(&event));
        }
    }
}

/// A slice gives back what it has not spent. No charge is out any more: each keeps its budget alive.
impl Drop for Account {
    fn drop(&mut self) {
        let lines = *lock(&self.lines);
        let Some(Above { budget, sliced: true }) = &self.above else { return };
        let unspent = Cost::each(|dimension| self.unspent(lines[dimension.index()], dimension));
        budget.move_up(Moved { sliced: unspent, ..Moved::default() }, None);
    }
}
