//! A simulated callee that refuses what is too much for it, behind a client throttle, in virtual time.

use std::time::Duration;

use surefoot_core::{ClientThrottle, Clock, ManualClock, Timestamp};

/// What the callee accepts in a second; it answers at once.
const CAPACITY: u32 = 100;

struct Outcome {
    /// Calls sent and accepted in each second, as shares of the capacity.
    sent: Vec<f64>,
    accepted: Vec<f64>,
}

/// Offers `demand` times the capacity for `seconds`, evenly spread; the callee accepts nothing in
/// `outage`.
fn simulate(demand: f64, seconds: u32, outage: std::ops::Range<u32>) -> Outcome {
    let clock = ManualClock::new();
    let throttle = ClientThrottle::builder("callee").clock(&clock).seed(1).build().unwrap();
    let between = Duration::from_secs_f64(1.0 / f64::from(CAPACITY) / demand);
    let (mut sent, mut accepted) = (Vec::new(), Vec::new());
    for second in 0..seconds {
        let (mut calls, mut successes) = (0, 0);
        while clock.now() < Timestamp::ZERO + Duration::from_secs((second + 1).into()) {
            if let Ok(permit) = throttle.admit() {
                calls += 1;
                if successes < CAPACITY && !outage.contains(&second) {
                    successes += 1;
                    permit.success();
                } else {
                    permit.failure();
                }
            }
            clock.advance(between);
        }
        sent.push(f64::from(calls) / f64::from(CAPACITY));
        accepted.push(f64::from(successes) / f64::from(CAPACITY));
    }
    Outcome { sent, accepted }
}

fn mean(shares: &[f64]) -> f64 {
    shares.iter().sum::<f64>() / f64::from(u32::try_from(shares.len()).unwrap())
}

#[test]
fn the_callee_gets_about_k_times_what_it_accepts_whatever_the_demand_and_loses_nothing_by_it() {
    for demand in [5.0, 18.0] {
        let Outcome { sent, accepted } = simulate(demand, 120, 0..0);
        let (sent, accepted) = (mean(&sent[40..]), mean(&accepted[40..]));
        assert!(sent <= 2.1, "{demand}: {sent}");
        assert!(accepted >= 0.98, "{demand}: {accepted}");
    }
    // Without it all of them come.
    assert!((mean(&simulate(0.9, 60, 0..0).sent) - 0.9).abs() < 0.01);
}

/// What the cap costs: a tenth of the demand is always sent.
#[test]
fn beyond_twenty_times_the_capacity_a_tenth_of_the_demand_is_sent() {
    let Outcome { sent, .. } = simulate(40.0, 90, 0..0);
    assert!((mean(&sent[40..]) - 4.0).abs() < 0.2, "{}", mean(&sent[40..]));
}

#[test]
fn it_recovers_from_an_outage_within_75_seconds_and_a_tenth_of_the_calls_finds_out() {
    for outage in [60, 300] {
        let end = 60 + outage;
        let Outcome { sent, accepted } = simulate(0.9, end + 120, 60..end);
        let during = &sent[60..end as usize];
        assert!(during.iter().all(|share| *share > 0.0), "{during:?}");
        assert!((mean(&during[30..]) - 0.09).abs() < 0.02, "{}", mean(&during[30..]));
        let recovered = accepted[end as usize..].iter().position(|share| *share >= 0.88).unwrap();
        assert!(recovered <= 75, "{recovered} s after {outage} s");
    }
}
