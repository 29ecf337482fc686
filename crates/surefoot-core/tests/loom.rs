//! Every interleaving of a few calls on the production breaker, budget and limiter, under loom.
//!
//! The rule is the design's: under concurrency, exact means as some order of the same calls would
//! give. Each scenario says what a few threads do; it is first run in every order by one thread,
//! which gives the outcomes that are allowed, and then by loom in every interleaving.
//!
//! ```text
//! RUSTFLAGS="--cfg surefoot_loom" cargo test --release -p surefoot-core --test loom
//! ```
#![cfg(surefoot_loom)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use loom::model::Builder;
use surefoot_core::budget::{Charge, Cost};
use surefoot_core::circuit_breaker::{CircuitBreakerBuilder, CircuitBreakerConfig, CircuitStatus};
use surefoot_core::circuit_breaker::{TimeoutGrowth, Trip, use_stripe};
use surefoot_core::rate_limiter::ServerBudget;
use surefoot_core::{
    Budget, CircuitBreaker, CircuitState, Event, Hedge, LoadShedder, ManualClock, Name, Permit,
    RateLimiter, RetryBudget, Timestamp, Verdict,
};

use Do::{Admit, Advance, Automatic, Call, Cancel, Disable, Fail, ForceOpen, Pause, Reconfigure};
use Do::{Reset, Succeed};

/// One step of a thread. Numbers name permits, in the order in which `before` admitted them.
#[derive(Clone, Copy, Debug)]
enum Do {
    /// Asks for a permit; one admitted by a thread is kept to the end.
    Admit,
    Succeed(usize),
    Fail(usize),
    Cancel(usize),
    /// The callee asks for a pause of so many nanoseconds.
    Pause(usize, u32),
    /// Admits and settles at once.
    Call(Verdict),
    Advance(u32),
    Reset,
    ForceOpen,
    Disable,
    Automatic,
    /// To the config of this number among `Scenario::configs`.
    Reconfigure(usize),
}

#[derive(Clone)]
struct Scenario {
    configs: Vec<CircuitBreakerConfig>,
    /// What one thread does before the others start.
    before: Vec<Do>,
    threads: Vec<Vec<Do>>,
    /// What one thread does when all are done, so that what is hidden comes out.
    after: Vec<Do>,
    /// How often a thread may be interrupted, where all interleavings are too many.
    preemptions: Option<usize>,
    /// Each thread counts its successes on a stripe of its own, and not all on the first.
    apart: bool,
}

/// What can be seen of a run: who was admitted, and what the breaker says at the end of the
/// threads and after what came later.
#[derive(Clone, Debug, PartialEq)]
struct Outcome {
    admitted: Vec<Vec<Option<Duration>>>,
    joined: CircuitStatus,
    admitted_after: Vec<Option<Duration>>,
    finally: CircuitStatus,
    heard: Vec<Heard>,
}

/// What a listener is told, in the order in which it is told.
#[derive(Clone, Debug, PartialEq)]
enum Heard {
    Change { from: CircuitState, to: CircuitState, generation: u64 },
    WouldHaveTripped,
    Throttled(Duration),
    Other,
}

impl From<&Event> for Heard {
    fn from(event: &Event) -> Self {
        match *event {
            Event::StateChanged { from, to, generation, .. } => {
                Self::Change { from, to, generation }
            }
            Event::WouldHaveTripped { .. } => Self::WouldHaveTripped,
            Event::Throttled { retry_after, .. } => Self::Throttled(retry_after),
            _ => Self::Other,
        }
    }
}

/// The breaker of one run, and the permits a thread holds.
struct Hands {
    breaker: CircuitBreaker,
    clock: ManualClock,
    heard: Arc<Mutex<Vec<Heard>>>,
    configs: Arc<[CircuitBreakerConfig]>,
    permits: Vec<Option<Permit>>,
    kept: Vec<Permit>,
    /// For each question, the wait it was answered with; `None` if admitted.
    answers: Vec<Option<Duration>>,
}

impl Hands {
    fn new(scenario: &Scenario) -> Self {
        let clock = ManualClock::new();
        let heard = Arc::new(Mutex::new(vec![]));
        let ear = Arc::clone(&heard);
        let breaker = CircuitBreakerBuilder::from(scenario.configs[0].clone())
            .clock(&clock)
            .on_event(move |event| ear.lock().unwrap().push(event.into()))
            .build()
            .unwrap();
        let configs = scenario.configs.clone().into();
        let (permits, kept, answers) = (vec![], vec![], vec![]);
        let mut hands = Self { breaker, clock, heard, configs, permits, kept, answers };
        for step in &scenario.before {
            hands.take(*step);
        }
        hands.permits = std::mem::take(&mut hands.kept).into_iter().map(Some).collect();
        hands.answers.clear();
        hands
    }

    /// Another thread's hands, with the permits that its steps name.
    fn for_thread(&mut self, steps: &[Do]) -> Self {
        let mut permits: Vec<_> = self.permits.iter().map(|_| None).collect();
        for step in steps {
            if let Succeed(which) | Fail(which) | Cancel(which) | Pause(which, _) = *step {
                permits[which] = self.permits[which].take();
            }
        }
        Self {
            breaker: self.breaker.clone(),
            clock: self.clock.clone(),
            heard: Arc::clone(&self.heard),
            configs: Arc::clone(&self.configs),
            permits,
            kept: vec![],
            answers: vec![],
        }
    }

    fn take(&mut self, step: Do) {
        let retry_after = |wait: u32| Some(Duration::from_nanos(wait.into()));
        match step {
            Admit => match self.breaker.admit() {
                Ok(permit) => {
                    self.kept.push(permit);
                    self.answers.push(None);
                }
                Err(rejection) => {
                    self.answers.push(Some(rejection.retry_after().unwrap_or(Duration::MAX)));
                }
            },
            Call(verdict) => match self.breaker.admit_borrowed() {
                Ok(permit) => {
                    permit.settle(verdict);
                    self.answers.push(None);
                }
                Err(rejection) => {
                    self.answers.push(Some(rejection.retry_after().unwrap_or(Duration::MAX)));
                }
            },
            Succeed(which) => self.permit(which).success(),
            Fail(which) => self.permit(which).failure(),
            Cancel(which) => drop(self.permit(which)),
            Pause(which, wait) => {
                self.permit(which).settle(Verdict::Throttled { retry_after: retry_after(wait) });
            }
            Advance(by) => self.clock.advance(Duration::from_nanos(by.into())),
            Reset => self.breaker.reset(),
            ForceOpen => self.breaker.force_open(),
            Disable => self.breaker.disable(),
            Automatic => self.breaker.automatic(),
            Reconfigure(which) => {
                self.breaker.reconfigure(self.configs[which].clone()).unwrap();
            }
        }
    }

    fn permit(&mut self, which: usize) -> Permit {
        self.permits[which].take().expect("each permit is settled once")
    }
}

impl Scenario {
    fn new(config: CircuitBreakerConfig) -> Self {
        Self {
            configs: vec![config],
            before: vec![],
            threads: vec![],
            after: vec![],
            preemptions: None,
            apart: false,
        }
    }

    fn or(mut self, config: CircuitBreakerConfig) -> Self {
        self.configs.push(config);
        self
    }

    fn before(mut self, steps: impl Into<Vec<Do>>) -> Self {
        self.before = steps.into();
        self
    }

    fn thread(mut self, steps: impl Into<Vec<Do>>) -> Self {
        self.threads.push(steps.into());
        self
    }

    fn after(mut self, steps: impl Into<Vec<Do>>) -> Self {
        self.after = steps.into();
        self
    }

    fn preemptions(mut self, bound: usize) -> Self {
        self.preemptions = Some(bound);
        self
    }

    fn apart(mut self) -> Self {
        self.apart = true;
        self
    }

    /// Every outcome under loom is one that some order of the same steps gives. Returns those.
    fn check(self) -> Vec<Outcome> {
        let allowed = self.in_every_order();
        let expected = allowed.clone();
        let mut model = Builder::new();
        model.preemption_bound = self.preemptions;
        model.max_branches = 20_000;
        model.check(move || {
            let outcome = self.concurrently();
            assert!(
                allowed.contains(&outcome),
                "no order gives {outcome:#?}\nwhich is none of {allowed:#?}"
            );
        });
        expected
    }

    fn in_every_order(&self) -> Vec<Outcome> {
        let outcomes = Arc::new(Mutex::new(Vec::new()));
        let (scenario, found) = (self.clone(), Arc::clone(&outcomes));
        let mut model = Builder::new();
        model.max_branches = 1_000_000;
        model.check(move || {
            let mut found = found.lock().unwrap();
            found.clear();
            for order in orders(&scenario.threads.iter().map(Vec::len).collect::<Vec<_>>()) {
                let outcome = scenario.in_order(&order);
                if !found.contains(&outcome) {
                    found.push(outcome);
                }
            }
        });
        let outcomes = std::mem::take(&mut *outcomes.lock().unwrap());
        assert!(!outcomes.is_empty());
        outcomes
    }

    fn in_order(&self, order: &[usize]) -> Outcome {
        let mut hands = Hands::new(self);
        let mut threads: Vec<_> =
            self.threads.iter().map(|steps| (hands.for_thread(steps), steps.iter())).collect();
        for thread in order {
            let (hands, steps) = &mut threads[*thread];
            hands.take(*steps.next().expect("an order of these steps"));
        }
        let threads: Vec<_> = threads.into_iter().map(|(hands, _)| hands).collect();
        self.outcome(hands, &threads)
    }

    fn concurrently(&self) -> Outcome {
        let mut hands = Hands::new(self);
        let run = |mut hands: Hands, steps: &[Do]| {
            for step in steps {
                hands.take(*step);
            }
            hands
        };
        let (first, others) = self.threads.split_first().expect("threads");
        let others: Vec<_> = others
            .iter()
            .zip(1..)
            .map(|(steps, number)| {
                let (hands, steps) = (hands.for_thread(steps), steps.clone());
                let stripe = if self.apart { number } else { 0 };
                loom::thread::spawn(move || {
                    use_stripe(stripe);
                    run(hands, &steps)
                })
            })
            .collect();
        let mut threads = vec![run(hands.for_thread(first), first)];
        threads.extend(others.into_iter().map(|thread| thread.join().unwrap()));
        self.outcome(hands, &threads)
    }

    fn outcome(&self, mut hands: Hands, threads: &[Hands]) -> Outcome {
        let joined = status(&hands.breaker);
        for step in &self.after {
            hands.take(*step);
        }
        Outcome {
            admitted: threads.iter().map(|thread| thread.answers.clone()).collect(),
            joined,
            admitted_after: hands.answers.clone(),
            finally: status(&hands.breaker),
            heard: hands.heard.lock().unwrap().clone(),
        }
    }
}

/// The status, but for what an open breaker shows of the successes before it tripped: it includes
/// those that were under way at that moment.
fn status(breaker: &CircuitBreaker) -> CircuitStatus {
    let status = breaker.status();
    match status.state {
        CircuitState::Open => CircuitStatus { success_count: 0, failure_rate: 0.0, ..status },
        CircuitState::Closed | CircuitState::HalfOpen => status,
    }
}

/// Every order in which threads with so many steps each can take them.
fn orders(left: &[usize]) -> Vec<Vec<usize>> {
    if left.iter().all(|steps| *steps == 0) {
        return vec![vec![]];
    }
    let mut all = Vec::new();
    for thread in (0..left.len()).filter(|thread| left[*thread] > 0) {
        let mut rest = left.to_vec();
        rest[thread] -= 1;
        all.extend(orders(&rest).into_iter().map(|order| [vec![thread], order].concat()));
    }
    all
}

fn config(trip: Option<Trip>) -> CircuitBreakerConfig {
    CircuitBreakerConfig {
        name: Name::from("loom"),
        failure_threshold: 2,
        success_threshold: 1,
        timeout: Duration::from_nanos(10),
        failure_window: Duration::from_nanos(100),
        trip,
        ..CircuitBreakerConfig::default()
    }
}

fn failures(threshold: u32) -> CircuitBreakerConfig {
    CircuitBreakerConfig { failure_threshold: threshold, ..config(None) }
}

fn in_a_row(failures: u32) -> CircuitBreakerConfig {
    config(Some(Trip::Consecutive { failures }))
}

fn rate(rate: f64, window_calls: u32, min_calls: u32) -> CircuitBreakerConfig {
    config(Some(Trip::RateCountWindow { rate, window_calls, min_calls }))
}

fn rate_in_time(rate: f64, min_calls: u32) -> CircuitBreakerConfig {
    let window = Duration::from_nanos(100);
    config(Some(Trip::RateTimeWindow { rate, window, min_calls, buckets: 2 }))
}

fn slow(rate: f64, window_calls: u32, min_calls: u32) -> CircuitBreakerConfig {
    let slow_after = Duration::from_nanos(5);
    config(Some(Trip::Slow { rate, slow_after, window_calls, min_calls }))
}

const SUCCESS: Do = Call(Verdict::Success);
const FAILURE: Do = Call(Verdict::Failure);

// ---- successes against failures ------------------------------------------------------------

#[test]
fn two_successes_and_the_failure_that_trips_are_counted_in_some_order() {
    Scenario::new(failures(1))
        .before([Admit, Admit, Admit])
        .thread([Succeed(0)])
        .thread([Succeed(1)])
        .thread([Fail(2)])
        .preemptions(4)
        .check();
}

#[test]
fn two_failures_reach_a_threshold_of_two_whatever_comes_between() {
    let outcomes = Scenario::new(failures(2))
        .before([Admit, Admit, Admit])
        .thread([Fail(0)])
        .thread([Fail(1)])
        .thread([Succeed(2)])
        .preemptions(4)
        .check();
    assert!(outcomes.iter().all(|outcome| outcome.joined.state == CircuitState::Open));
}

#[test]
fn a_success_admitted_during_a_trip_is_refused_or_counted() {
    Scenario::new(failures(1)).before([Admit]).thread([Fail(0)]).thread([SUCCESS, SUCCESS]).check();
}

#[test]
fn a_success_between_two_failures_in_a_row_breaks_the_row_in_some_order() {
    Scenario::new(in_a_row(2))
        .before([Admit, Admit, Admit])
        .thread([Fail(0), Fail(1)])
        .thread([Succeed(2)])
        .after([FAILURE])
        .check();
}

#[test]
fn successes_and_failures_in_a_row_from_two_threads_leave_a_row_that_some_order_leaves() {
    Scenario::new(in_a_row(3))
        .before([Admit, Admit, Admit, Admit])
        .thread([Fail(0), Succeed(1)])
        .thread([Fail(2), Succeed(3)])
        .after([FAILURE, FAILURE])
        .preemptions(4)
        .check();
}

#[test]
fn a_success_that_completes_the_minimum_trips_whoever_comes_last() {
    let outcomes = Scenario::new(rate(0.5, 4, 2))
        .before([Admit, Admit])
        .thread([Fail(0)])
        .thread([Succeed(1)])
        .check();
    assert!(outcomes.iter().all(|outcome| outcome.joined.state == CircuitState::Open));
}

#[test]
fn two_successes_around_a_failure_complete_the_minimum_in_some_order() {
    Scenario::new(rate(0.5, 4, 2))
        .before([Admit, Admit, Admit])
        .thread([Fail(0)])
        .thread([Succeed(1)])
        .thread([Succeed(2)])
        .after([SUCCESS, FAILURE])
        .preemptions(4)
        .check();
}

#[test]
fn a_rate_of_two_thirds_is_reached_or_not_as_in_some_order() {
    Scenario::new(rate(2.0 / 3.0, 3, 3))
        .before([Admit, Admit, Admit, Admit])
        .thread([Fail(0), Fail(1)])
        .thread([Succeed(2), Succeed(3)])
        .after([FAILURE])
        .preemptions(4)
        .check();
}

#[test]
fn a_failure_keeps_its_place_in_a_window_of_two_calls() {
    Scenario::new(rate(1.0, 2, 2))
        .before([Admit, Admit, Admit])
        .thread([Fail(0)])
        .thread([Succeed(1), Succeed(2)])
        .after([FAILURE])
        .check();
}

#[test]
fn a_rate_over_time_is_completed_by_a_success_whoever_comes_last() {
    let outcomes = Scenario::new(rate_in_time(0.5, 2))
        .before([Admit, Admit])
        .thread([Fail(0)])
        .thread([Succeed(1)])
        .check();
    assert!(outcomes.iter().all(|outcome| outcome.joined.state == CircuitState::Open));
}

#[test]
fn successes_in_a_new_bucket_race_to_begin_it() {
    Scenario::new(rate_in_time(0.5, 3))
        .before([Admit, Admit, Admit, FAILURE, SUCCESS, Advance(50)])
        .thread([Succeed(0)])
        .thread([Succeed(1), Fail(2)])
        .after([Advance(50), FAILURE])
        .preemptions(4)
        .check();
}

#[test]
fn slow_and_fast_successes_complete_the_minimum_in_some_order() {
    Scenario::new(slow(0.5, 2, 2))
        .before([Admit, Advance(5), Admit, Admit])
        .thread([Succeed(0)])
        .thread([Succeed(1), Succeed(2)])
        .after([SUCCESS])
        .check();
}

// ---- successes on stripes of their own -----------------------------------------------------

#[test]
fn successes_on_two_stripes_and_the_failure_that_trips_are_counted_in_some_order() {
    Scenario::new(failures(1))
        .before([Admit, Admit, Admit])
        .thread([Succeed(0), Fail(2)])
        .thread([Succeed(1), SUCCESS])
        .apart()
        .check();
}

#[test]
fn successes_on_two_stripes_around_a_failure_complete_the_minimum_in_some_order() {
    Scenario::new(rate(0.3, 4, 3))
        .before([Admit, Admit, Admit])
        .thread([Succeed(1)])
        .thread([Succeed(2), Fail(0)])
        .after([SUCCESS, FAILURE])
        .apart()
        .check();
}

#[test]
fn successes_on_two_stripes_break_a_row_of_failures_in_some_order() {
    Scenario::new(in_a_row(2))
        .before([Admit, Admit, Admit, Admit])
        .thread([Fail(0), Succeed(1)])
        .thread([Succeed(2), Fail(3)])
        .after([FAILURE])
        .preemptions(4)
        .apart()
        .check();
}

#[test]
fn a_success_on_a_stripe_of_its_own_beside_trip_and_closing_is_not_counted_with_the_next_phase() {
    Scenario::new(failures(1))
        .before([Admit, Admit])
        .thread([Fail(0), Advance(10), SUCCESS, SUCCESS])
        .thread([Succeed(1)])
        .after([SUCCESS])
        .apart()
        .check();
}

// ---- generations ---------------------------------------------------------------------------

#[test]
fn a_success_that_meets_trip_probe_and_close_counts_before_or_not_at_all() {
    Scenario::new(failures(1))
        .before([Admit, Admit])
        .thread([Fail(0), Advance(10), SUCCESS, SUCCESS])
        .thread([Succeed(1)])
        .after([SUCCESS])
        .check();
}

#[test]
fn a_late_success_beside_the_probe_that_closes_changes_only_the_totals() {
    Scenario::new(in_a_row(1))
        .before([Admit, FAILURE, Advance(10), Admit])
        .thread([Succeed(1), FAILURE])
        .thread([Succeed(0)])
        .after([Advance(10), SUCCESS])
        .check();
}

#[test]
fn a_late_failure_beside_the_probe_that_closes_changes_only_the_totals() {
    let outcomes = Scenario::new(failures(1))
        .before([Admit, FAILURE, Advance(10), Admit])
        .thread([Succeed(1)])
        .thread([Fail(0)])
        .check();
    assert!(outcomes.iter().all(|outcome| outcome.joined.state == CircuitState::Closed));
}

#[test]
fn successes_of_two_generations_are_told_apart_by_a_rate() {
    Scenario::new(rate(0.6, 4, 1))
        .before([Admit, Admit])
        .thread([Fail(0), Advance(10), SUCCESS, FAILURE])
        .thread([Succeed(1)])
        .check();
}

#[test]
fn a_success_that_is_late_by_two_closings_is_not_counted_with_the_third_phase() {
    let outcomes = Scenario::new(in_a_row(1))
        .before([Admit, Admit])
        .thread([Fail(0), Advance(10), SUCCESS, FAILURE, Advance(10), SUCCESS])
        .thread([Succeed(1)])
        .check();
    let closed = |outcome: &&Outcome| outcome.joined.generation == 6;
    assert!(outcomes.iter().filter(closed).all(|outcome| outcome.joined.success_count == 0));
}

// ---- half-open -----------------------------------------------------------------------------

#[test]
fn one_place_at_the_half_open_boundary_goes_to_one_of_three() {
    let outcomes = Scenario::new(failures(1))
        .before([FAILURE, Advance(10)])
        .thread([Admit])
        .thread([Admit])
        .thread([Admit])
        .preemptions(4)
        .check();
    assert!(outcomes.iter().all(|outcome| admissions(outcome) == 1));
}

#[test]
fn two_places_at_the_half_open_boundary_go_to_two_of_three() {
    let outcomes =
        Scenario::new(CircuitBreakerConfig { half_open_max_calls: Some(2), ..failures(1) })
            .before([FAILURE, Advance(10)])
            .thread([Admit])
            .thread([Admit])
            .thread([Admit])
            .preemptions(4)
            .check();
    assert!(outcomes.iter().all(|outcome| admissions(outcome) == 2));
}

fn admissions(outcome: &Outcome) -> usize {
    outcome.admitted.iter().flatten().filter(|refused| refused.is_none()).count()
}

#[test]
fn places_given_back_while_others_ask_are_given_out_once() {
    let two =
        CircuitBreakerConfig { half_open_max_calls: Some(2), success_threshold: 2, ..failures(1) };
    Scenario::new(two)
        .before([FAILURE, Advance(10), Admit, Admit])
        .thread([Cancel(0), Admit])
        .thread([Cancel(1)])
        .thread([Admit])
        .after([Admit, Admit])
        .preemptions(4)
        .check();
}

#[test]
fn an_expired_place_is_given_away_once_while_its_trial_call_reports() {
    let config = CircuitBreakerConfig {
        half_open_max_calls: Some(1),
        success_threshold: 2,
        half_open_timeout: Some(Duration::from_nanos(3)),
        ..failures(1)
    };
    Scenario::new(config)
        .before([FAILURE, Advance(10), Admit, Advance(3)])
        .thread([Succeed(0)])
        .thread([Admit])
        .thread([Admit])
        .after([SUCCESS])
        .preemptions(4)
        .check();
}

#[test]
fn of_a_success_that_closes_and_a_failure_that_reopens_the_first_decides() {
    let config = CircuitBreakerConfig {
        half_open_max_calls: Some(2),
        timeout_growth: Some(TimeoutGrowth { factor: 2.0, max: Duration::from_nanos(40) }),
        ..failures(1)
    };
    Scenario::new(config)
        .before([FAILURE, Advance(10), Admit, Admit])
        .thread([Succeed(0)])
        .thread([Fail(1)])
        .after([Admit, Advance(20), SUCCESS])
        .check();
}

// ---- pauses --------------------------------------------------------------------------------

#[test]
fn the_longest_of_two_pauses_wins_in_any_order() {
    let outcomes = Scenario::new(failures(2))
        .before([Admit, Admit])
        .thread([Pause(0, 5)])
        .thread([Pause(1, 7)])
        .after([Admit, Advance(7), Admit])
        .check();
    let wait = Some(Duration::from_nanos(7));
    assert!(outcomes.iter().all(|outcome| outcome.admitted_after == [wait, None]));
}

#[test]
fn a_pause_that_begins_as_another_ends_is_kept_or_seen() {
    Scenario::new(failures(2))
        .before([Admit, Admit, Pause(0, 5)].map(in_setup))
        .thread([Pause(1, 7)])
        .thread([Admit])
        .thread([SUCCESS])
        .after([Admit])
        .preemptions(4)
        .check();
}

/// A pause asked for by a call made for it, since `before` holds its permits to the end.
fn in_setup(step: Do) -> Do {
    match step {
        Pause(_, wait) => {
            let retry_after = Some(Duration::from_nanos(wait.into()));
            Call(Verdict::Throttled { retry_after })
        }
        step => step,
    }
}

#[test]
fn a_pause_and_a_trip_at_once_promise_the_later_end() {
    Scenario::new(failures(1))
        .before([Admit, Admit])
        .thread([Pause(0, 15)])
        .thread([Fail(1)])
        .thread([Admit])
        .after([Admit])
        .preemptions(4)
        .check();
}

// ---- operators -----------------------------------------------------------------------------

#[test]
fn forcing_open_beside_calls_lets_them_count_before_or_not_at_all() {
    Scenario::new(failures(1))
        .before([Admit, Admit])
        .thread([ForceOpen])
        .thread([Succeed(0), Admit])
        .thread([Fail(1)])
        .after([Admit, Automatic, Admit])
        .preemptions(4)
        .check();
}

#[test]
fn forcing_open_at_the_half_open_boundary_admits_before_or_not_at_all() {
    Scenario::new(failures(1))
        .before([FAILURE, Advance(10)])
        .thread([ForceOpen, Automatic])
        .thread([Admit, Admit])
        .after([Admit])
        .check();
}

#[test]
fn a_caller_who_meets_half_open_and_forced_open_is_told_of_one_of_them() {
    let half_open_timeout = Some(Duration::from_nanos(3));
    Scenario::new(CircuitBreakerConfig { half_open_timeout, ..failures(1) })
        .before([FAILURE, Advance(10)])
        .thread([Admit, ForceOpen])
        .thread([Admit])
        .check();
}

#[test]
fn disabling_beside_the_failure_that_trips_leaves_it_closed() {
    let outcomes = Scenario::new(failures(1))
        .before([Admit, Admit])
        .thread([Disable])
        .thread([Fail(0)])
        .thread([Succeed(1)])
        .after([SUCCESS, Automatic])
        .preemptions(4)
        .check();
    assert!(outcomes.iter().all(|outcome| outcome.joined.state == CircuitState::Closed));
}

#[test]
fn a_reset_beside_successes_forgets_those_before_it() {
    Scenario::new(failures(2))
        .before([Admit, Admit, Admit])
        .thread([Reset])
        .thread([Succeed(0), Succeed(1)])
        .thread([Fail(2)])
        .after([SUCCESS])
        .preemptions(4)
        .check();
}

#[test]
fn a_reset_of_a_closed_breaker_forgets_a_success_or_lets_it_break_the_row() {
    Scenario::new(in_a_row(2))
        .before([Admit, Admit, Admit])
        .thread([Fail(0), Reset, Fail(1)])
        .thread([Succeed(2)])
        .after([FAILURE])
        .check();
}

#[test]
fn a_reset_of_a_closed_breaker_keeps_a_rate_exact() {
    Scenario::new(rate(0.5, 4, 2))
        .before([Admit, Admit, Admit, FAILURE])
        .thread([Reset, Fail(0)])
        .thread([Succeed(1)])
        .after([SUCCESS])
        .check();
}

#[test]
fn a_disabled_breaker_counts_every_failure_and_tells_once_that_it_would_have_tripped() {
    Scenario::new(rate(0.5, 4, 2))
        .before([Disable, Admit, Admit, Admit])
        .thread([Fail(0), Fail(1)])
        .thread([Succeed(2)])
        .after([SUCCESS, Automatic, SUCCESS])
        .check();
}

#[test]
fn reconfiguring_beside_calls_is_before_or_after_each() {
    Scenario::new(failures(2))
        .or(in_a_row(1))
        .before([Admit, Admit])
        .thread([Reconfigure(1)])
        .thread([Succeed(0)])
        .thread([Fail(1)])
        .after([FAILURE])
        .preemptions(4)
        .check();
}

#[test]
fn reconfiguring_a_rate_beside_a_success_is_before_or_after_it() {
    Scenario::new(rate(0.5, 4, 4))
        .or(rate(0.5, 4, 2))
        .before([Admit, Admit, FAILURE])
        .thread([Reconfigure(1)])
        .thread([Succeed(0)])
        .after([SUCCESS])
        .check();
}

// ---- the retry budget ----------------------------------------------------------------------

#[test]
fn two_threads_cannot_spend_one_token_twice() {
    loom::model(|| {
        let budget = budget(1, 0.0);
        let other = budget.clone();
        let thread = loom::thread::spawn(move || other.try_withdraw());
        let granted = usize::from(budget.try_withdraw()) + usize::from(thread.join().unwrap());
        assert_eq!(granted, 1);
        assert_eq!(budget.balance(), 0);
    });
}

#[test]
fn a_call_noted_beside_a_withdrawal_is_never_lost() {
    loom::model(|| {
        let budget = budget(1, 1.0);
        let other = budget.clone();
        let thread = loom::thread::spawn(move || {
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
        let other = budget.clone();
        let thread = loom::thread::spawn(move || other.give_back());
        let granted = u64::from(budget.try_withdraw());
        thread.join().unwrap();
        assert_eq!(granted + budget.balance(), 1);
    });
}

fn budget(initial: u32, ratio: f64) -> RetryBudget {
    RetryBudget::builder().initial(initial).ratio(ratio).clock(ManualClock::new()).build().unwrap()
}

// ---- budgets ---------------------------------------------------------------------------------

fn run_of(attempts: u64) -> Budget {
    Budget::builder("run").attempts(attempts).build().unwrap()
}

fn left(budget: &Budget) -> Option<u64> {
    budget.remaining().attempts
}

#[test]
fn the_last_attempt_is_drawn_once_whichever_level_asks() {
    loom::model(|| {
        let run = run_of(1);
        let child = Budget::builder("child").attempts(1).share_of(&run).unwrap();
        let thread = loom::thread::spawn({
            let child = child.clone();
            move || child.draw().map(drop).is_ok()
        });
        let by_run = run.draw().map(drop).is_ok();
        let by_child = thread.join().unwrap();
        assert!(by_run ^ by_child, "one of them, and not both");
        assert_eq!((run.spent().attempts, child.spent().attempts), (1, u64::from(by_child)));
        assert_eq!(child.status().reserved, Cost::ZERO);
    });
}

/// Two children, of which each has enough and their parent has not: nothing is left of the refusal.
#[test]
fn a_refusal_higher_up_leaves_nothing_taken_below_beside_another_draw() {
    loom::model(|| {
        let run = run_of(1);
        let child = |name| Budget::builder(name).attempts(1).share_of(&run).unwrap();
        let (one, other) = (child("one"), child("other"));
        let thread = loom::thread::spawn({
            let one = one.clone();
            move || one.draw().map(drop).is_ok()
        });
        let granted = usize::from(other.draw().map(drop).is_ok());
        let granted = granted + usize::from(thread.join().unwrap());
        assert_eq!(granted, 1);
        let (one, other) = (one.status(), other.status());
        assert_eq!(one.spent.attempts + other.spent.attempts, 1);
        assert_eq!((one.reserved, other.reserved), (Cost::ZERO, Cost::ZERO));
    });
}

#[test]
fn a_slice_that_comes_back_beside_a_draw_is_there_before_or_after_it() {
    loom::model(|| {
        let run = run_of(2);
        let slice = Budget::builder("slice").attempts(2).slice_of(&run).unwrap();
        let charge = slice.draw().unwrap();
        let thread = loom::thread::spawn(move || {
            drop(slice);
            drop(charge); // spent
        });
        let granted = u64::from(run.draw().map(drop).is_ok());
        thread.join().unwrap();
        assert_eq!((left(&run), run.spent().attempts), (Some(1 - granted), 1 + granted));
        assert_eq!(run.status().reserved, Cost::ZERO);
    });
}

#[test]
fn a_slice_and_a_draw_do_not_take_the_same_attempt() {
    loom::model(|| {
        let run = run_of(1);
        let thread = loom::thread::spawn({
            let run = run.clone();
            move || Budget::builder("slice").attempts(1).slice_of(&run).ok()
        });
        let drawn = run.draw().ok();
        let slice = thread.join().unwrap();
        assert!(drawn.is_some() ^ slice.is_some());
        drop(slice);
        drawn.into_iter().for_each(Charge::give_back);
        assert_eq!(left(&run), Some(1));
    });
}

#[test]
fn the_end_is_told_once_to_whoever_brings_it_about() {
    loom::model(|| {
        let told = Arc::new(Mutex::new(0));
        let ear = Arc::clone(&told);
        let run = Budget::builder("run")
            .attempts(2)
            .on_event(move |event| {
                *ear.lock().unwrap() += usize::from(matches!(event, Event::BudgetExhausted { .. }));
            })
            .build()
            .unwrap();
        let thread = loom::thread::spawn({
            let run = run.clone();
            move || drop(run.draw())
        });
        drop(run.draw());
        thread.join().unwrap();
        assert!(run.draw().is_err());
        assert_eq!(*told.lock().unwrap(), 1);
    });
}

// ---- the latencies of a hedge ----------------------------------------------------------------

/// Whatever meets whatever while the banks change, a percentile is a time that was recorded, or there
/// is none.
#[test]
fn answers_recorded_while_the_window_moves_on_are_forgotten_or_told_as_they_were() {
    loom::model(|| {
        let hedge = Hedge::builder().percentile(1.0).warm_up(1).build().unwrap();
        let other = hedge.clone();
        let [short, long] = [1_100, 1_900].map(Duration::from_nanos);
        let later = Timestamp::ZERO + Duration::from_secs(30);
        let thread = loom::thread::spawn(move || other.record(short, Timestamp::ZERO));
        hedge.record(long, later);
        let told = hedge.delay(later);
        thread.join().unwrap();
        for told in [told, hedge.delay(later)] {
            // At most a sixteenth too long.
            assert!(told.is_none_or(|told| told > short && told <= long * 17 / 16), "{told:?}");
        }
        assert!(hedge.delay(later).is_some_and(|told| told > long), "the later answer is there");
    });
}

// ---- the rate limiter's word ---------------------------------------------------------------

/// GCRA: `burst` units at once, then one each 10 ns.
fn gcra(burst: u64) -> (RateLimiter, ManualClock) {
    let clock = ManualClock::new();
    let limiter = RateLimiter::builder("loom")
        .max_requests(1)
        .time_window(Duration::from_nanos(10))
        .gcra(burst)
        .max_wait(Duration::from_micros(1))
        .clock(&clock)
        .build()
        .unwrap();
    (limiter, clock)
}

#[test]
fn two_threads_cannot_take_one_unit_twice() {
    loom::model(|| {
        let (limiter, _) = gcra(1);
        let other = limiter.clone();
        let thread = loom::thread::spawn(move || other.check().is_ok());
        let admitted = [limiter.check().is_ok(), thread.join().unwrap()];
        assert_eq!(admitted.iter().filter(|ok| **ok).count(), 1);
        assert_eq!(limiter.retry_after(1), Some(Duration::from_nanos(10)));
    });
}

#[test]
fn weights_of_two_threads_fit_in_some_order_and_refusals_take_nothing() {
    loom::model(|| {
        let (limiter, _) = gcra(3);
        let other = limiter.clone();
        let thread = loom::thread::spawn(move || {
            u64::from(other.check_n(2).is_ok()) * 2 + u64::from(other.check().is_ok())
        });
        let ours = u64::from(limiter.check_n(2).is_ok()) * 2;
        let taken = ours + thread.join().unwrap();
        assert_eq!(taken, 3, "two and one fit in every order");
        assert_eq!(limiter.remaining(), 0);
    });
}

#[test]
fn a_unit_reserved_beside_a_call_is_not_taken_twice() {
    loom::model(|| {
        let (limiter, _) = gcra(1);
        let other = limiter.clone();
        let thread = loom::thread::spawn(move || other.check().is_ok());
        let slot = limiter.reserve(1, Timestamp::MAX).unwrap();
        let due = slot.due().as_nanos();
        assert_eq!(due, if thread.join().unwrap() { 10 } else { 0 });
        drop(slot);
        assert_eq!(limiter.remaining(), u64::from(due == 0));
    });
}

#[test]
fn units_given_back_beside_a_call_are_there_before_or_after_it() {
    loom::model(|| {
        let (limiter, _) = gcra(2);
        let charge = limiter.try_reserve(2).unwrap();
        let other = limiter.clone();
        let thread = loom::thread::spawn(move || other.check().is_ok());
        charge.settle(1);
        let admitted = thread.join().unwrap();
        assert_eq!(limiter.remaining(), u64::from(!admitted));
    });
}

#[test]
fn a_debt_beside_a_call_is_owed_whoever_comes_first() {
    loom::model(|| {
        let (limiter, _) = gcra(3);
        let charge = limiter.try_reserve(1).unwrap();
        let other = limiter.clone();
        let thread = loom::thread::spawn(move || other.check_n(2).is_ok());
        charge.settle(3);
        let owed = 3 + 2 * u64::from(thread.join().unwrap());
        assert_eq!(limiter.reset_at().as_nanos(), owed * 10);
    });
}

#[test]
fn a_waiter_that_gives_up_beside_another_moves_it_up() {
    loom::model(|| {
        let (limiter, _) = gcra(1);
        limiter.check().unwrap();
        let first = limiter.reserve(1, Timestamp::MAX).unwrap();
        let other = limiter.clone();
        let thread = loom::thread::spawn(move || {
            let slot = other.reserve(1, Timestamp::MAX).unwrap();
            (slot.due().as_nanos(), slot)
        });
        drop(first);
        let (told, second) = thread.join().unwrap();
        assert!([10, 20].contains(&told));
        assert_eq!(second.due().as_nanos(), 10);
    });
}

#[test]
fn a_call_beside_a_pause_is_admitted_before_it_or_not_at_all_and_counted_once() {
    loom::model(|| {
        let (limiter, clock) = gcra(2);
        let other = limiter.clone();
        let thread = loom::thread::spawn(move || other.check().is_ok());
        limiter.pause_for(Duration::from_nanos(5));
        assert!(limiter.check().is_err());
        let admitted = u64::from(thread.join().unwrap());
        clock.advance(Duration::from_nanos(5));
        assert_eq!(limiter.remaining(), 2 - admitted);
    });
}

#[test]
fn one_unit_at_the_end_of_a_pause_goes_to_one_of_two() {
    loom::model(|| {
        let (limiter, clock) = gcra(1);
        limiter.pause_for(Duration::from_nanos(5));
        clock.advance(Duration::from_nanos(5));
        let other = limiter.clone();
        let thread = loom::thread::spawn(move || other.check().is_ok());
        let admitted = [limiter.check().is_ok(), thread.join().unwrap()];
        assert_eq!(admitted.iter().filter(|ok| **ok).count(), 1);
    });
}

#[test]
fn a_call_beside_the_end_of_a_pause_never_finds_the_word_as_it_shows_meanwhile() {
    loom::model(|| {
        let (limiter, clock) = gcra(2);
        limiter.pause_for(Duration::from_nanos(5));
        let other = limiter.clone();
        let thread = loom::thread::spawn(move || match other.check() {
            Ok(()) => None,
            Err(rejection) => Some(rejection.retry_after()),
        });
        clock.advance(Duration::from_nanos(5));
        let told = thread.join().unwrap();
        assert!(told.is_none_or(|wait| wait == Some(Duration::from_nanos(5))), "{told:?}");
        assert_eq!(limiter.remaining(), 2 - u64::from(told.is_none()));
    });
}

#[test]
fn what_a_server_has_left_beside_a_call_is_less_by_it_or_not() {
    loom::model(|| {
        let (limiter, _) = gcra(3);
        let other = limiter.clone();
        let thread = loom::thread::spawn(move || other.check());
        limiter.observe(&ServerBudget { remaining: Some(1), ..ServerBudget::of("requests") });
        assert_eq!(thread.join().unwrap(), Ok(()));
        assert!(limiter.remaining() <= 1);
    });
}

#[test]
fn an_exact_window_admits_its_limit_to_any_number_of_threads() {
    loom::model(|| {
        let limiter =
            RateLimiter::builder("loom").max_requests(2).clock(ManualClock::new()).build().unwrap();
        let ask = |limiter: RateLimiter| move || usize::from(limiter.check().is_ok());
        let threads = [(); 2].map(|()| loom::thread::spawn(ask(limiter.clone())));
        let ours = usize::from(limiter.check().is_ok());
        let others: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(ours + others, 2);
    });
}

// ---- load shedder ----------------------------------------------------------------------------

fn shedder(capacity: u32) -> LoadShedder {
    let builder = LoadShedder::builder("loom").priority_levels(1).max_load(1.0).capacity(capacity);
    builder.clock(ManualClock::new()).build().unwrap()
}

#[test]
fn the_last_place_goes_to_one_of_two_calls_and_comes_back() {
    loom::model(|| {
        let shedder = shedder(1);
        let other = shedder.clone();
        let thread = loom::thread::spawn(move || other.admit(1));
        let permits = [shedder.admit(1), thread.join().unwrap()];
        assert_eq!(permits.iter().filter(|permit| permit.is_ok()).count(), 1);
        drop(permits);
        assert_eq!(shedder.status().in_flight, 0);
    });
}

#[test]
fn a_place_given_back_beside_a_call_is_given_to_it_or_free_afterwards() {
    loom::model(|| {
        let shedder = shedder(1);
        let held = shedder.admit(1).unwrap();
        let other = shedder.clone();
        let thread = loom::thread::spawn(move || other.admit(1));
        drop(held);
        let late = thread.join().unwrap();
        assert_eq!(shedder.status().in_flight, u32::from(late.is_ok()));
        drop(late);
        assert!(shedder.admit(1).is_ok());
    });
}
