//! Every scenario comes to the figures it has to.

use surefoot_simulation::scenarios::{self, Figure, Scenario};

fn holds(scenario: Scenario) {
    let figures = (scenario.run)();
    let table = scenarios::table(&scenario, &figures);
    println!("{table}");
    assert!(figures.iter().all(Figure::holds), "\n{table}");
}

#[test]
fn a_retry_budget_ends_a_storm() {
    holds(scenarios::retries::BUDGET);
}

#[test]
fn a_breaker_keeps_retries_from_a_server_that_stands_still() {
    holds(scenarios::retries::BREAKER);
}

#[test]
fn no_limiter_admits_more_than_it_promises() {
    holds(scenarios::limiters::ADVERSARY);
}

#[test]
fn a_limiter_that_refuses_takes_nothing_and_says_when_to_come_back() {
    holds(scenarios::limiters::WEIGHTS);
}
