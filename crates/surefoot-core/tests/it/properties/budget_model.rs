//! A tree of budgets as a list of everything that ever happened, added up anew for each question.

use surefoot_core::budget::{Cost, Dimension, Limits};

/// Budgets and charges by number, in the order in which they were made.
#[derive(Default)]
pub(crate) struct Model {
    budgets: Vec<Node>,
    charges: Vec<Entry>,
}

struct Node {
    parent: Option<usize>,
    sliced: bool,
    limits: Limits,
    handle: bool,
    told: [Told; 3],
}

#[derive(Clone, Copy, Default, PartialEq, PartialOrd)]
enum Told {
    #[default]
    Nothing,
    Low,
    Exhausted,
}

/// Something taken, until it is known what was used.
struct Entry {
    budget: usize,
    paid: Option<usize>,
    taken: Cost,
    used: Option<Cost>,
}

/// Which budget lacks what, and how much it has left.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) budget: usize,
    pub(crate) dimension: Dimension,
    pub(crate) limit: u64,
    pub(crate) remaining: u64,
}

/// What listeners are told: of which budget and dimension, and whether it is the end.
pub(crate) type News = Vec<(usize, Dimension, bool)>;

impl Model {
    pub(crate) fn open(&mut self, parent: Option<usize>, sliced: bool, limits: Limits) {
        self.budgets.push(Node { parent, sliced, limits, handle: true, told: Default::default() });
    }

    /// The budget and those above, nearest first, as far as they are not `paid`.
    fn chain(&self, budget: usize, paid: Option<usize>) -> Vec<usize> {
        let up = std::iter::successors(Some(budget), |budget| self.budgets[*budget].parent);
        up.take_while(|budget| Some(*budget) != paid).collect()
    }

    fn is_sliced(&self, budget: usize, dimension: Dimension) -> bool {
        let node = &self.budgets[budget];
        node.sliced && node.limits.of(dimension).is_some()
    }

    /// The part of a chain that something taken at its beginning counts against.
    fn reach(&self, chain: &[usize], dimension: Dimension) -> Vec<usize> {
        let slice = chain.iter().position(|budget| self.is_sliced(*budget, dimension));
        chain[..slice.map_or(chain.len(), |at| at + 1)].to_vec()
    }

    fn is_alive(&self, budget: usize) -> bool {
        self.budgets[budget].handle
            || self.charges.iter().any(|entry| entry.budget == budget && entry.used.is_none())
            || (0..self.budgets.len())
                .any(|child| self.budgets[child].parent == Some(budget) && self.is_alive(child))
    }

    pub(crate) fn spent(&self, budget: usize, dimension: Dimension) -> u64 {
        let entries = self.charges.iter();
        entries
            .filter(|entry| self.chain(entry.budget, entry.paid).contains(&budget))
            .filter_map(|entry| entry.used)
            .map(|used| used.of(dimension))
            .sum()
    }

    pub(crate) fn held(&self, budget: usize, dimension: Dimension) -> u64 {
        let charges = self.charges.iter().filter(|entry| entry.used.is_none());
        let charges = charges.filter(|entry| {
            let chain = self.chain(entry.budget, entry.paid);
            self.reach(&chain, dimension).contains(&budget)
        });
        let slices = (0..self.budgets.len()).filter(|slice| {
            let Some(parent) = self.budgets[*slice].parent else { return false };
            self.is_sliced(*slice, dimension)
                && self.is_alive(*slice)
                && self.reach(&self.chain(parent, None), dimension).contains(&budget)
        });
        let unspent = |slice: usize| {
            let limit = self.budgets[slice].limits.of(dimension).unwrap_or(0);
            limit.saturating_sub(self.spent(slice, dimension))
        };
        charges.map(|entry| entry.taken.of(dimension)).sum::<u64>()
            + slices.map(unspent).sum::<u64>()
    }

    fn room(&self, budget: usize, dimension: Dimension) -> Option<u64> {
        let used = self.spent(budget, dimension) + self.held(budget, dimension);
        self.budgets[budget].limits.of(dimension).map(|limit| limit.saturating_sub(used))
    }

    pub(crate) fn remaining(&self, budget: usize, dimension: Dimension) -> Option<u64> {
        let reach = self.reach(&self.chain(budget, None), dimension);
        reach.into_iter().filter_map(|budget| self.room(budget, dimension)).min()
    }

    pub(crate) fn lacking(
        &self,
        budget: usize,
        need: Cost,
        paid: Option<usize>,
    ) -> Result<(), Refusal> {
        let chain = self.chain(budget, paid);
        for &budget in &chain {
            for dimension in Dimension::ALL {
                if !self.reach(&chain, dimension).contains(&budget) {
                    continue;
                }
                let Some(remaining) = self.room(budget, dimension) else { continue };
                if remaining < need.of(dimension) {
                    let limit = self.budgets[budget].limits.of(dimension).unwrap_or(0);
                    return Err(Refusal { budget, dimension, limit, remaining });
                }
            }
        }
        Ok(())
    }

    /// Takes what was found to be there.
    pub(crate) fn take(&mut self, budget: usize, taken: Cost, paid: Option<usize>) {
        self.charges.push(Entry { budget, paid, taken, used: None });
    }

    pub(crate) fn settle(&mut self, charge: usize, used: Cost) {
        self.charges[charge].used = Some(used);
    }

    pub(crate) fn taken(&self, charge: usize) -> Cost {
        self.charges[charge].taken
    }

    pub(crate) fn record(&mut self, budget: usize, used: Cost) {
        self.charges.push(Entry { budget, paid: None, taken: Cost::ZERO, used: Some(used) });
    }

    pub(crate) fn drop_handle(&mut self, budget: usize) {
        self.budgets[budget].handle = false;
    }

    /// What there is to tell since the last time, given what was refused meanwhile.
    pub(crate) fn news(&mut self, need: Cost, refusal: Option<&Refusal>) -> News {
        let mut news = Vec::new();
        for budget in 0..self.budgets.len() {
            for dimension in Dimension::ALL {
                let Some(limit) = self.budgets[budget].limits.of(dimension) else { continue };
                let spent = self.spent(budget, dimension);
                let refused = refusal.is_some_and(|refusal| {
                    (refusal.budget, refusal.dimension) == (budget, dimension)
                        && need.of(dimension) <= limit.max(1)
                });
                let low = spent > 0 && spent * 10 >= limit * 8;
                let over = refused || spent > 0 && spent >= limit;
                for (what, holds) in [(Told::Low, low), (Told::Exhausted, over)] {
                    let told = &mut self.budgets[budget].told[dimension as usize];
                    if holds && *told < what {
                        *told = what;
                        news.push((budget, dimension, what == Told::Exhausted));
                    }
                }
            }
        }
        news
    }
}
