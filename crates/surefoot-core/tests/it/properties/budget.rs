//! A tree of budgets against its model.

use std::sync::{Arc, Mutex};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use surefoot_core::budget::{BudgetBuilder, BudgetConfig, Charge, Cost, Limits, Money, SliceError};
use surefoot_core::{Budget, Event, Rejection};

use super::budget_model::{Model, News, Refusal};
use super::{Draw, check};

#[test]
fn a_tree_of_budgets_decides_as_the_model_does() {
    check(10, &vec(any::<u8>(), 400), |bytes| compare(&bytes));
}

/// The budgets and charges of one case, by the model's numbers; `None` once they are dropped.
#[derive(Default)]
struct Tree {
    budgets: Vec<Option<Budget>>,
    charges: Vec<Option<Charge>>,
    heard: Arc<Mutex<News>>,
}

impl Tree {
    fn builder(&self, limits: Limits) -> BudgetBuilder {
        let name = self.budgets.len().to_string();
        let config = BudgetConfig {
            name: name.into(),
            attempts: limits.attempts,
            tokens: limits.tokens,
            money: limits.money,
        };
        let heard = Arc::clone(&self.heard);
        let own = self.budgets.len();
        BudgetBuilder::from(config).on_event(move |event| {
            let (dimension, over) = match event {
                Event::BudgetLow { dimension, .. } => (*dimension, false),
                Event::BudgetExhausted { dimension, .. } => (*dimension, true),
                other => panic!("{other:?}"),
            };
            let about: usize = event.policy().parse().unwrap();
            if about == own {
                heard.lock().unwrap().push((about, dimension, over)); // not what those below say
            }
        })
    }
}

fn some_limits(draw: &mut Draw<'_>) -> Limits {
    let mut amount = |odds| (draw.from(0, 3) < odds).then(|| u64::from(draw.from(0, 12)));
    Limits { attempts: amount(3), tokens: amount(2), money: amount(2).map(Money::from_micros) }
}

fn some_cost(draw: &mut Draw<'_>) -> Cost {
    let mut amount = |most| u64::from(draw.from(0, most));
    Cost { attempts: amount(3), tokens: amount(5), money: Money::from_micros(amount(4)) }
}

fn refusal(rejection: &Rejection) -> Refusal {
    match rejection {
        Rejection::BudgetExhausted { policy, dimension, limit, remaining } => Refusal {
            budget: policy.parse().unwrap(),
            dimension: *dimension,
            limit: *limit,
            remaining: *remaining,
        },
        other => panic!("{other}"),
    }
}

fn compare(bytes: &[u8]) -> TestCaseResult {
    let mut draw = Draw::new(bytes);
    let mut tree = Tree::default();
    let mut model = Model::default();
    let root = Limits { attempts: Some(u64::from(draw.from(0, 20))), ..some_limits(&mut draw) };
    tree.budgets.push(Some(tree.builder(root).build().unwrap()));
    model.open(None, false, root);
    for _ in 0..draw.from(1, 24) {
        step(&mut draw, &mut tree, &mut model)?;
        for (number, budget) in tree.budgets.iter().enumerate() {
            let Some(budget) = budget else { continue };
            let status = budget.status();
            for dimension in surefoot_core::budget::Dimension::ALL {
                let shown = (
                    status.spent.of(dimension),
                    status.reserved.of(dimension),
                    status.remaining.of(dimension),
                );
                let expected = (
                    model.spent(number, dimension),
                    model.held(number, dimension),
                    model.remaining(number, dimension),
                );
                prop_assert_eq!(shown, expected, "budget {} {}", number, dimension);
            }
        }
    }
    Ok(())
}

/// What was asked for, and why it was refused if it was.
type Asked = (Cost, Option<Refusal>);

/// Opens a budget below budget `parent`, one that shares or a slice.
fn open_child(
    draw: &mut Draw<'_>,
    tree: &mut Tree,
    model: &mut Model,
    parent: usize,
    shares: bool,
) -> Result<Asked, TestCaseError> {
    let budget = tree.budgets[parent].clone().unwrap();
    let limits = some_limits(draw);
    if shares {
        let child = tree.builder(limits).share_of(&budget).unwrap();
        tree.budgets.push(Some(child));
        model.open(Some(parent), false, limits);
    } else if !limits.is_empty() {
        let slice = Cost {
            attempts: limits.attempts.unwrap_or(0),
            tokens: limits.tokens.unwrap_or(0),
            money: limits.money.unwrap_or_default(),
        };
        let expected = model.lacking(parent, slice, None);
        match tree.builder(limits).slice_of(&budget) {
            Ok(child) => {
                prop_assert_eq!(expected, Ok(()));
                tree.budgets.push(Some(child));
                model.open(Some(parent), true, limits);
            }
            Err(SliceError::Refused(rejection)) => {
                let refused = refusal(&rejection);
                prop_assert_eq!(expected, Err(refused.clone()));
                return Ok((slice, Some(refused)));
            }
            Err(other) => panic!("{other}"),
        }
    }
    Ok((Cost::ZERO, None))
}

fn step(draw: &mut Draw<'_>, tree: &mut Tree, model: &mut Model) -> TestCaseResult {
    let kind = draw.from(0, 11);
    let held: Vec<usize> = (0..tree.budgets.len()).filter(|n| tree.budgets[*n].is_some()).collect();
    let out: Vec<usize> = (0..tree.charges.len()).filter(|n| tree.charges[*n].is_some()).collect();
    if held.is_empty() {
        return Ok(());
    }
    let number = draw.one_of(&held);
    let budget = tree.budgets[number].clone().unwrap();
    let mut asked = (Cost::ZERO, None);
    match kind {
        0 | 1 if tree.budgets.len() < 6 => {
            asked = open_child(draw, tree, model, number, kind == 0)?;
        }
        2..=5 => {
            let above: Vec<usize> = held
                .iter()
                .copied()
                .filter(|n| *n != number)
                .filter(|n| budget.draws_on(tree.budgets[*n].as_ref().unwrap()))
                .collect();
            let paid = (kind == 5 && !above.is_empty()).then(|| draw.one_of(&above));
            let (need, taken) = if kind >= 4 {
                let one = Cost { attempts: 1, tokens: 1, money: Money::from_micros(1) };
                (one, Cost::attempts(1))
            } else {
                let cost = some_cost(draw);
                (cost, cost)
            };
            let expected = model.lacking(number, need, paid);
            let answer = match paid.and_then(|paid| tree.budgets[paid].clone()) {
                Some(paid) => {
                    prop_assert_eq!(budget.is_exhausted_below(Some(&paid)), expected.is_err());
                    budget.draw_below(Some(&paid))
                }
                None if kind >= 4 => {
                    prop_assert_eq!(budget.is_exhausted(), expected.is_err());
                    budget.draw()
                }
                None => budget.reserve(need),
            };
            match answer {
                Ok(charge) => {
                    prop_assert_eq!(expected, Ok(()));
                    tree.charges.push(Some(charge));
                    model.take(number, taken, paid);
                }
                Err(rejection) => {
                    let refused = refusal(&rejection);
                    prop_assert_eq!(expected, Err(refused.clone()));
                    asked = (need, Some(refused));
                }
            }
        }
        6..=8 if !out.is_empty() => {
            let number = draw.one_of(&out);
            let charge = tree.charges[number].take().unwrap();
            let used = match kind {
                6 => Cost::ZERO,
                7 => some_cost(draw),
                _ => model.taken(number),
            };
            match kind {
                6 => charge.give_back(),
                7 => charge.settle(used),
                _ => drop(charge),
            }
            model.settle(number, used);
        }
        9 => {
            let used = some_cost(draw);
            budget.record(used);
            // The model numbers it as a charge.
            tree.charges.push(None);
            model.record(number, used);
        }
        10 => {
            drop(budget);
            tree.budgets[number] = None;
            model.drop_handle(number);
        }
        _ => {}
    }
    let mut heard = std::mem::take(&mut *tree.heard.lock().unwrap());
    let mut expected = model.news(asked.0, asked.1.as_ref());
    heard.sort_by_key(|(budget, dimension, over)| (*budget, *dimension as usize, *over));
    expected.sort_by_key(|(budget, dimension, over)| (*budget, *dimension as usize, *over));
    prop_assert_eq!(heard, expected);
    Ok(())
}
