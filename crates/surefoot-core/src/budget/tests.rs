//! The rules of budgets, one at a time.

use std::sync::{Arc, Mutex};

use super::*;
use crate::{ConfigError, Event};

type Heard = Arc<Mutex<Vec<(String, &'static str, Dimension, u64)>>>;

fn run(attempts: u64) -> Budget {
    Budget::builder("run").attempts(attempts).build().unwrap()
}

fn slice(parent: &Budget, attempts: u64) -> Budget {
    Budget::builder("slice").attempts(attempts).slice_of(parent).unwrap()
}

fn spend(budget: &Budget, attempts: u64) {
    drop(budget.reserve(Cost::attempts(attempts)).unwrap());
}

fn attempts_left(budget: &Budget) -> u64 {
    budget.remaining().attempts.unwrap()
}

/// Who refuses, in which dimension, with how much left.
fn refused_by(answer: Result<Charge, Rejection>) -> (String, Dimension, u64) {
    match answer.map(Charge::give_back).unwrap_err() {
        Rejection::BudgetExhausted { policy, dimension, remaining, .. } => {
            (policy.to_string(), dimension, remaining)
        }
        other => panic!("{other}"),
    }
}

fn listening(builder: BudgetBuilder) -> (BudgetBuilder, Heard) {
    let heard = Heard::default();
    let ear = Arc::clone(&heard);
    let builder = builder.on_event(move |event| {
        let (kind, dimension, spent) = match event {
            Event::BudgetLow { dimension, spent, .. } => ("low", *dimension, *spent),
            Event::BudgetExhausted { dimension, spent, .. } => ("exhausted", *dimension, *spent),
            other => panic!("{other:?}"),
        };
        ear.lock().unwrap().push((event.policy().to_string(), kind, dimension, spent));
    });
    (builder, heard)
}

fn kinds(heard: &Heard) -> Vec<&'static str> {
    heard.lock().unwrap().iter().map(|(_, kind, ..)| *kind).collect()
}

#[test]
fn what_is_reserved_is_left_to_nobody_else() {
    let run = run(5);
    let charge = run.reserve(Cost::attempts(3)).unwrap();
    assert_eq!(attempts_left(&run), 2);
    assert_eq!(run.spent(), Cost::ZERO);
    assert_eq!(refused_by(run.reserve(Cost::attempts(3))), ("run".into(), Dimension::Attempts, 2));
    charge.give_back();
    assert_eq!(attempts_left(&run), 5);
}

#[test]
fn settling_corrects_the_estimate_both_ways() {
    let run = Budget::builder("run").tokens(1_000).build().unwrap();
    run.reserve(Cost::tokens(600)).unwrap().settle(Cost::tokens(100));
    assert_eq!(run.remaining().tokens, Some(900));
    run.reserve(Cost::tokens(600)).unwrap().settle(Cost::tokens(1_200));
    assert_eq!(run.spent().tokens, 1_300);
    assert_eq!(run.remaining().tokens, Some(0));
    assert_eq!(refused_by(run.reserve(Cost::tokens(1))), ("run".into(), Dimension::Tokens, 0));
}

#[test]
fn a_charge_that_is_dropped_keeps_what_it_took() {
    let run = run(5);
    drop(run.reserve(Cost::attempts(2)).unwrap());
    assert_eq!(run.spent().attempts, 2);
    let panicking = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _charge = run.reserve(Cost::attempts(2)).unwrap();
        std::panic::resume_unwind(Box::new("the call panics"));
    }));
    assert!(panicking.is_err());
    assert_eq!((run.spent().attempts, attempts_left(&run)), (4, 1));
}

#[test]
fn a_call_takes_all_its_dimensions_or_none() {
    let run = Budget::builder("run").tokens(100).money(Money::from_micros(10)).build().unwrap();
    let cost = Cost::tokens(50).and_money(Money::from_micros(11));
    assert_eq!(refused_by(run.reserve(cost)), ("run".into(), Dimension::Money, 10));
    assert_eq!(run.remaining().tokens, Some(100));
    assert_eq!(run.remaining().attempts, None);
}

#[test]
fn a_draw_asks_that_something_is_left_in_every_limited_dimension() {
    let run = Budget::builder("run").attempts(5).tokens(100).build().unwrap();
    let tokens = run.reserve(Cost::tokens(100)).unwrap();
    assert!(run.is_exhausted());
    assert_eq!(refused_by(run.draw()), ("run".into(), Dimension::Tokens, 0));
    tokens.settle(Cost::tokens(99));
    assert!(!run.is_exhausted());
    run.draw().unwrap().settle(Cost::attempts(1));
    assert_eq!(attempts_left(&run), 4);
}

#[test]
fn a_child_that_shares_is_paid_by_its_parent_within_its_own_limits() {
    let run = run(5);
    let tool = Budget::builder("tool").attempts(3).share_of(&run).unwrap();
    assert_eq!(attempts_left(&run), 5);
    spend(&tool, 2);
    assert_eq!((attempts_left(&tool), attempts_left(&run)), (1, 3));
    assert_eq!(
        refused_by(tool.reserve(Cost::attempts(2))),
        ("tool".into(), Dimension::Attempts, 1)
    );
    spend(&run, 3);
    assert_eq!(attempts_left(&tool), 0);
    assert_eq!(refused_by(tool.reserve(Cost::attempts(1))), ("run".into(), Dimension::Attempts, 0));
    assert_eq!(tool.status().reserved, Cost::ZERO);
}

#[test]
fn a_slice_is_taken_at_once_and_its_rest_comes_back() {
    let run = run(5);
    let step = slice(&run, 3);
    assert_eq!((attempts_left(&run), run.status().reserved.attempts), (2, 3));
    spend(&run, 2);
    spend(&step, 1);
    assert_eq!((run.spent().attempts, step.spent().attempts), (3, 1));
    drop(step);
    assert_eq!(attempts_left(&run), 2);
    assert_eq!(run.status().reserved, Cost::ZERO);
}

#[test]
fn a_slice_lives_as_long_as_a_charge_on_it() {
    let run = run(5);
    let step = slice(&run, 3);
    let charge = step.reserve(Cost::attempts(2)).unwrap();
    drop(step);
    assert_eq!(attempts_left(&run), 2);
    charge.settle(Cost::attempts(1));
    assert_eq!((attempts_left(&run), run.spent().attempts), (4, 1));
}

#[test]
fn a_slice_that_is_overspent_is_paid_by_its_parent() {
    let run = run(5);
    let step = slice(&run, 2);
    step.reserve(Cost::attempts(2)).unwrap().settle(Cost::attempts(4));
    assert_eq!((attempts_left(&run), run.spent().attempts), (1, 4));
    drop(step);
    assert_eq!((attempts_left(&run), run.status().reserved), (1, Cost::ZERO));
}

#[test]
fn a_slice_that_cannot_be_taken_takes_nothing() {
    let run = Budget::builder("run").attempts(5).tokens(10).build().unwrap();
    let refused = Budget::builder("step").attempts(5).tokens(11).slice_of(&run).unwrap_err();
    assert!(matches!(
        refused,
        SliceError::Refused(Rejection::BudgetExhausted {
            dimension: Dimension::Tokens,
            remaining: 10,
            ..
        })
    ));
    assert_eq!((run.remaining().attempts, run.remaining().tokens), (Some(5), Some(10)));
}

#[test]
fn what_a_slice_does_not_limit_it_shares() {
    let run = Budget::builder("run").attempts(5).tokens(100).build().unwrap();
    let step = slice(&run, 2);
    assert_eq!(step.remaining().tokens, Some(100));
    drop(step.reserve(Cost::tokens(60)).unwrap());
    assert_eq!(run.remaining().tokens, Some(40));
    assert_eq!(refused_by(step.reserve(Cost::tokens(41))), ("run".into(), Dimension::Tokens, 40));
}

#[test]
fn a_slice_is_certain_whatever_its_parent_has_left() {
    let run = run(5);
    let step = slice(&run, 5);
    assert!(run.is_exhausted());
    assert!(!step.is_exhausted());
    drop(step.draw().unwrap());
    assert_eq!(refused_by(run.draw()), ("run".into(), Dimension::Attempts, 0));
}

#[test]
fn a_refusal_high_up_takes_nothing_below() {
    let run = run(1);
    let (child, _) = listening(Budget::builder("child").attempts(10));
    let child = child.share_of(&run).unwrap();
    let grandchild = Budget::builder("grandchild").share_of(&child).unwrap();
    assert_eq!(refused_by(grandchild.reserve(Cost::attempts(2))).0, "run");
    assert_eq!(child.status().reserved, Cost::ZERO);
    assert_eq!(grandchild.status().reserved, Cost::ZERO);
    drop(grandchild.draw().unwrap());
    assert_eq!((run.spent().attempts, child.spent().attempts), (1, 1));
}

#[test]
fn usage_is_recorded_although_nothing_was_reserved() {
    let run = run(3);
    let step = slice(&run, 2);
    step.record(Cost::attempts(5));
    assert_eq!((step.spent().attempts, run.spent().attempts), (5, 5));
    assert!(run.is_exhausted());
}

#[test]
fn listeners_hear_of_scarcity_and_of_the_end_once() {
    let (builder, heard) = listening(Budget::builder("run").attempts(10));
    let run = builder.build().unwrap();
    spend(&run, 7);
    assert_eq!(kinds(&heard), [""; 0]);
    spend(&run, 1);
    assert_eq!(kinds(&heard), ["low"]);
    spend(&run, 2);
    let _ = run.draw();
    run.record(Cost::attempts(1));
    let run = || "run".to_owned();
    assert_eq!(
        *heard.lock().unwrap(),
        [(run(), "low", Dimension::Attempts, 8), (run(), "exhausted", Dimension::Attempts, 10),]
    );
}

#[test]
fn a_jump_to_the_end_tells_both() {
    let (builder, heard) = listening(Budget::builder("run").attempts(3));
    let run = builder.build().unwrap();
    run.record(Cost::attempts(3));
    assert_eq!(kinds(&heard), ["low", "exhausted"]);
}

#[test]
fn the_first_refusal_is_the_end_unless_the_call_could_never_fit() {
    let (builder, heard) = listening(Budget::builder("run").tokens(100));
    let run = builder.build().unwrap();
    assert!(run.reserve(Cost::tokens(101)).is_err());
    assert_eq!(kinds(&heard), [""; 0]);
    spend_tokens(&run, 50);
    assert!(run.reserve(Cost::tokens(51)).is_err());
    assert!(run.reserve(Cost::tokens(51)).is_err());
    spend_tokens(&run, 50); // after the end, scarcity is no news
    assert_eq!(kinds(&heard), ["exhausted"]);
}

fn spend_tokens(budget: &Budget, tokens: u64) {
    drop(budget.reserve(Cost::tokens(tokens)).unwrap());
}

#[test]
fn what_is_only_reserved_makes_nothing_scarce() {
    let (builder, heard) = listening(Budget::builder("run").attempts(10));
    let run = builder.build().unwrap();
    run.reserve(Cost::attempts(10)).unwrap().give_back();
    assert_eq!(kinds(&heard), [""; 0]);
}

#[test]
fn those_above_hear_of_those_below() {
    let (builder, heard) = listening(Budget::builder("run").attempts(100));
    let run = builder.build().unwrap();
    spend(&slice(&run, 5), 4);
    let heard = heard.lock().unwrap();
    assert_eq!(*heard, [("slice".into(), "low", Dimension::Attempts, 4)]);
}

#[test]
fn a_listener_may_ask_and_spend() {
    let cell: Arc<Mutex<Option<Budget>>> = Arc::default();
    let seen = Arc::clone(&cell);
    let run = Budget::builder("run")
        .attempts(10)
        .on_event(move |_| {
            if let Some(run) = seen.lock().unwrap().take() {
                run.record(Cost::attempts(1));
            }
        })
        .build()
        .unwrap();
    *cell.lock().unwrap() = Some(run.clone());
    spend(&run, 8);
    assert_eq!(run.spent().attempts, 9);
}

#[test]
fn a_limit_of_zero_refuses_every_call() {
    let (builder, heard) = listening(Budget::builder("none").tokens(0));
    let none = builder.build().unwrap();
    assert_eq!(refused_by(none.draw()), ("none".into(), Dimension::Tokens, 0));
    assert_eq!(refused_by(none.reserve(Cost::tokens(1))).2, 0);
    assert!(none.reserve(Cost::ZERO).is_ok());
    assert_eq!(kinds(&heard), ["exhausted"]);
}

#[test]
fn the_largest_amounts_neither_overflow_nor_wrap() {
    let run = Budget::builder("run").attempts(u64::MAX).build().unwrap();
    let charge = run.reserve(Cost::attempts(u64::MAX)).unwrap();
    assert_eq!(refused_by(run.draw()).2, 0);
    charge.settle(Cost {
        attempts: u64::MAX,
        tokens: u64::MAX,
        money: Money::from_micros(u64::MAX),
    });
    run.record(Cost::tokens(u64::MAX));
    assert_eq!(run.spent().tokens, u64::MAX);
    // Where nothing is limited, amounts still end where numbers do.
    assert!(run.reserve(Cost::tokens(1)).is_err());
}

#[test]
fn handles_know_whose_account_they_are() {
    let run = run(5);
    let step = slice(&run, 2);
    assert!(run.is_same(&run.clone()) && !run.is_same(&step));
    assert!(step.draws_on(&run) && step.draws_on(&step) && !run.draws_on(&step));
    assert!(step.parent().is_some_and(|parent| parent.is_same(&run)));
    let shared = Budget::builder("any").share_of(&run).unwrap();
    assert!(shared.limits_attempts());
    let tokens = Budget::builder("tokens").tokens(1).build().unwrap();
    assert!(!tokens.limits_attempts());
}

#[test]
fn each_bad_option_is_named() {
    let field = |error: ConfigError| error.field().to_owned();
    assert_eq!(field(Budget::builder("run").build().unwrap_err()), "attempts");
    assert_eq!(field(Budget::builder(" ").attempts(1).build().unwrap_err()), "name");
    let run = run(5);
    assert_eq!(field(Budget::builder("").share_of(&run).unwrap_err()), "name");
    let unlimited = Budget::builder("step").slice_of(&run).unwrap_err();
    assert!(matches!(unlimited, SliceError::Config(error) if error.field() == "attempts"));
}

#[test]
fn a_tree_has_a_greatest_depth() {
    let mut lowest = run(5);
    for _ in 1..MAX_DEPTH {
        lowest = Budget::builder("below").share_of(&lowest).unwrap();
    }
    let too_deep = Budget::builder("below").share_of(&lowest).unwrap_err();
    assert_eq!(too_deep.field(), "parent");
    let too_deep = Budget::builder("below").attempts(1).slice_of(&lowest).unwrap_err();
    assert!(too_deep.to_string().contains("64 levels"), "{too_deep}");
    assert!(lowest.draw().is_ok());
}

#[cfg(feature = "serde")]
#[test]
fn a_status_is_readable_data() {
    let run = Budget::builder("run").attempts(5).money("1.50".parse().unwrap()).build().unwrap();
    spend(&run, 2);
    let _charge = run.reserve(Cost::money("0.25".parse().unwrap())).unwrap();
    let json = serde_json::to_value(run.status()).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "name": "run",
            "limits": {"attempts": 5, "tokens": null, "money": "1.5"},
            "spent": {"attempts": 2, "tokens": 0, "money": "0"},
            "reserved": {"attempts": 0, "tokens": 0, "money": "0.25"},
            "remaining": {"attempts": 3, "tokens": null, "money": "1.25"},
        })
    );
}

#[cfg(feature = "toml")]
#[test]
fn options_are_read_from_toml_and_bad_ones_named() {
    let config = BudgetConfig::from_toml("tokens = 5\nmoney = \"0.5\"").unwrap();
    assert_eq!(
        config,
        BudgetConfig {
            tokens: Some(5),
            money: Some(Money::from_micros(500_000)),
            ..BudgetConfig::default()
        }
    );
    assert_eq!(BudgetConfig::from_toml("token = 5").unwrap_err().field(), "token");
    assert_eq!(BudgetConfig::from_toml("").unwrap().build().unwrap_err().field(), "attempts");
}

#[test]
fn a_charge_tells_what_it_took() {
    let budget = Budget::builder("run").tokens(10).build().unwrap();
    let charge = budget.reserve(Cost::tokens(4)).unwrap();
    assert_eq!(charge.taken(), Cost::tokens(4));
}

#[test]
fn a_dimension_is_called_as_in_config_files_wherever_it_is_printed() {
    let names = Dimension::ALL.map(Dimension::as_str);
    assert_eq!(names, ["attempts", "tokens", "money"]);
    assert_eq!(Dimension::ALL.map(|dimension| dimension.to_string()), names);
}

#[test]
fn what_is_no_money_is_told_how_to_write_it() {
    let error = "12.3456789".parse::<Money>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "an amount of money is digits with up to six decimals, such as 12.50"
    );
}

#[test]
fn a_call_that_the_parent_has_paid_elsewhere_uses_up_a_slice_without_being_paid_twice() {
    let run = run(5);
    let step = slice(&run, 3);
    let elsewhere = run.draw().unwrap();
    drop(step.draw_below(Some(&run)).unwrap());
    assert_eq!((step.spent().attempts, run.status().reserved.attempts), (1, 2 + 1));
    drop((elsewhere, step));
    assert_eq!(
        (run.spent().attempts, run.status().reserved, attempts_left(&run)),
        (1, Cost::ZERO, 4)
    );
}
