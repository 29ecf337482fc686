//! Tokens beside calls and withdrawals.

use surefoot_core::{ManualClock, RetryBudget};

use super::beside;

#[test]
fn two_threads_cannot_spend_one_token_twice() {
    loom::model(|| {
        let budget = budget(1, 0.0);
        let thread = beside(&budget, |other| other.try_withdraw());
        let granted = usize::from(budget.try_withdraw()) + usize::from(thread.join().unwrap());
        assert_eq!(granted, 1);
        assert_eq!(budget.balance(), 0);
    });
}

#[test]
fn a_call_noted_beside_a_withdrawal_is_never_lost() {
    loom::model(|| {
        let budget = budget(1, 1.0);
        let thread = beside(&budget, |other| {
            other.record_call();
            other.try_withdraw()
        });
        let granted = u64::from(budget.try_withdraw());
        let granted = granted + u64::from(thread.join().unwrap());
        // Both tokens are there by the time of one withdrawal at the latest.
        assert_eq!((granted, budget.balance()), (2, 0));
    });
}

#[test]
fn a_token_given_back_beside_a_withdrawal_is_never_lost() {
    loom::model(|| {
        let budget = budget(1, 0.0);
        assert!(budget.try_withdraw());
        let thread = beside(&budget, |other| other.give_back());
        let granted = u64::from(budget.try_withdraw());
        thread.join().unwrap();
        assert_eq!(granted + budget.balance(), 1);
    });
}

fn budget(initial: u32, ratio: f64) -> RetryBudget {
    RetryBudget::builder().initial(initial).ratio(ratio).clock(ManualClock::new()).build().unwrap()
}
