//! Every scenario comes to the figures it has to, with every seed: 5 of them, or as many as
//! `SUREFOOT_SEEDS` says.

use surefoot_simulation::scenarios::{self, Figure, Scenario, report};

fn holds(scenario: Scenario) {
    let seeds = std::env::var("SUREFOOT_SEEDS").ok();
    let seeds = seeds.map_or(scenarios::SEEDS, |seeds| seeds.parse().expect("a number of seeds"));
    let figures = scenario.run_with(seeds);
    let table = report::table(&scenario, &figures);
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

#[test]
fn a_queue_that_is_short_enough_keeps_answers_in_time() {
    holds(scenarios::queues::BOUND);
}

#[test]
fn a_long_queue_must_not_stand() {
    holds(scenarios::queues::CODEL);
}

#[test]
fn newest_first_answers_quickly_and_leaves_nobody_without_an_answer() {
    holds(scenarios::queues::NEWEST_FIRST);
}

#[test]
fn the_adaptive_limit_fits_every_load_and_service() {
    holds(scenarios::adaptive::LOADS);
}

#[test]
fn the_adaptive_limit_does_not_drift_in_an_hour_of_overload() {
    holds(scenarios::adaptive::DRIFT);
}

#[test]
fn the_adaptive_limit_follows_a_slowdown_and_its_end() {
    holds(scenarios::adaptive::SLOWDOWN);
}

#[test]
fn the_adaptive_limit_does_not_grow_while_there_is_nothing_to_do() {
    holds(scenarios::adaptive::IDLE);
}

#[test]
fn a_few_timeouts_are_no_overload() {
    holds(scenarios::adaptive::TIMEOUTS);
}

#[test]
fn a_queue_evens_out_bursts_before_an_adaptive_limit() {
    holds(scenarios::adaptive::BURSTS);
}

#[test]
fn a_cold_cache_is_overcome() {
    holds(scenarios::incidents::COLD_CACHE);
}

#[test]
fn errors_that_are_dear_take_no_more_than_their_share() {
    holds(scenarios::incidents::SLOW_ERRORS);
}

#[test]
fn waiters_who_leave_take_no_permit_with_them() {
    holds(scenarios::cancellation::CANCELLATION);
}

#[test]
fn the_least_important_calls_are_shed_first() {
    holds(scenarios::priorities::PRIORITIES);
}

#[test]
fn callers_keep_from_a_server_what_it_would_refuse() {
    holds(scenarios::client_throttle::CLIENT_THROTTLE);
}

#[test]
fn a_greedy_tenant_is_not_felt_in_another_compartment() {
    holds(scenarios::tenants::BULKHEAD);
}

#[test]
fn who_listens_to_a_provider_is_hardly_ever_refused() {
    holds(scenarios::providers::PROVIDER);
}
