//! Retries against their model: schedules, jitter, when to stop, and the budget.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use surefoot_core::retry::{AttemptResult, Attempts, NextStep, RetryBuilder, RetryConfig};
use surefoot_core::{
    Classification, Clock, Deadline, Jitter, ManualClock, Retry, RetryBudget, Timestamp,
};

use super::retry_model::{Bucket, Call, jittered, nanos, schedule};
use super::{Draw, check};

const JITTERS: [Jitter; 4] = [Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Decorrelated];
/// Up to here floating point keeps every nanosecond: 104 days.
const EXACT: u64 = 1 << 53;

#[test]
fn schedules_are_exact_to_the_nanosecond() {
    let length = prop_oneof![0..20u64, 0..5_000_000_000u64, 0..=EXACT];
    let lengths = (length.clone(), length.clone(), length);
    let growth = (1..=10u32, any::<bool>());
    check(5, &(lengths, growth), |((initial, increment, max), (base, adds))| {
        let config = RetryConfig {
            initial_delay: Duration::from_nanos(initial.min(max)),
            max_delay: Duration::from_nanos(max),
            exponential_base: if adds { 1.0 } else { base.into() },
            linear_increment: adds.then_some(Duration::from_nanos(increment)),
            ..RetryConfig::default()
        };
        let backoff = config.backoff();
        for (retry, delay) in (0..40).zip(backoff.delays()) {
            prop_assert_eq!(delay.as_nanos(), schedule(&config, retry), "retry {}", retry);
            prop_assert_eq!(delay, backoff.delay(retry));
        }
        for retry in [1000, 5000, u32::MAX - 1, u32::MAX] {
            prop_assert!(backoff.delay(retry) <= config.max_delay);
            prop_assert!(backoff.delay(retry) >= backoff.delay(39));
        }
        Ok(())
    });
}

#[test]
fn any_numbers_at_all_give_waits_that_grow_and_never_pass_the_cap() {
    let longest = u64::MAX - 1;
    let cases = (0..=longest, 0..=longest, 1.0..1e300f64, 0..=u32::MAX);
    check(3, &cases, |(initial, max, base, retry)| {
        let config = RetryConfig {
            initial_delay: Duration::from_nanos(initial.min(max)),
            max_delay: Duration::from_nanos(max),
            exponential_base: base,
            ..RetryConfig::default()
        };
        prop_assert_eq!(config.validate(), Ok(()));
        let backoff = config.backoff();
        let (wait, next) = (backoff.delay(retry), backoff.delay(retry.saturating_add(1)));
        prop_assert!(wait <= next && next <= config.max_delay, "{:?} {:?}", wait, next);
        prop_assert!(retry > 0 || wait.abs_diff(config.initial_delay) <= Duration::from_micros(1));
        Ok(())
    });
}

#[test]
fn jitter_stays_within_its_bounds_and_the_same_seed_repeats_it() {
    let length = prop_oneof![0..20u64, 0..5_000_000_000u64];
    let cases = (length.clone(), length, 1..=4u32, any::<u32>(), 0..JITTERS.len());
    check(5, &cases, |(initial, max, base, seed, jitter)| {
        let config = RetryConfig {
            max_attempts: u32::MAX,
            initial_delay: Duration::from_nanos(initial.min(max)),
            max_delay: Duration::from_nanos(max),
            exponential_base: base.into(),
            jitter: JITTERS[jitter],
            seed: Some(seed),
            ..RetryConfig::default()
        };
        let waits = waits(&config, 12);
        let mut previous = None;
        for (retry, wait) in (0..).zip(&waits) {
            let bounds = jittered(&config, retry, previous);
            prop_assert!(bounds.contains(wait), "retry {}: {} not in {:?}", retry, wait, bounds);
            previous = Some(*wait);
        }
        prop_assert_eq!(self::waits(&config, 12), waits);
        Ok(())
    });
}

#[test]
fn every_wait_within_the_bounds_of_full_jitter_comes_up() {
    let config = RetryConfig {
        max_attempts: u32::MAX,
        initial_delay: Duration::from_nanos(9),
        exponential_base: 1.0,
        jitter: Jitter::Full,
        seed: Some(1),
        ..RetryConfig::default()
    };
    let mut waits = waits(&config, 1000);
    waits.sort_unstable();
    waits.dedup();
    assert_eq!(waits, (0..=9).collect::<Vec<_>>());
}

fn waits(config: &RetryConfig, count: usize) -> Vec<u128> {
    let retry = config.clone().build().unwrap();
    let mut attempts = retry.attempts();
    let failed = AttemptResult::Ran(Classification::TRANSIENT);
    let wait = |_| {
        attempts.begin();
        match attempts.next(failed, Timestamp::ZERO, None) {
            NextStep::Wait(wait) => wait.as_nanos(),
            step => panic!("{step:?}"),
        }
    };
    (0..count).map(wait).collect()
}

#[test]
fn the_steps_after_every_attempt_are_those_of_the_model() {
    let cases = (vec(any::<u8>(), 64), vec((any::<u8>(), any::<u8>(), any::<u8>()), 1..30));
    let cases = cases.prop_map(|(options, steps)| {
        let mut draw = Draw::new(&options);
        let config = config(&mut draw);
        let budget = draw.maybe(1, 3).map(|_| BudgetOptions::draw(&mut draw));
        Case { config, budget, steps: steps.into_iter().map(step).collect() }
    });
    check(9, &cases, |case| compare(&case));
}

#[derive(Clone, Debug)]
struct Case {
    config: RetryConfig,
    budget: Option<BudgetOptions>,
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Advance(u64),
    /// Ends an attempt (beginning one first if need be) under a deadline so far away.
    End(AttemptResult, Option<u64>),
    /// The caller walks away, and another call begins.
    Cancel,
}

fn config(draw: &mut Draw<'_>) -> RetryConfig {
    let initial = draw.from(0, 4);
    let max = draw.from(initial, 20);
    let linear = draw.maybe(0, 3).map(ticks);
    let base = draw.from(1, 3);
    RetryConfig {
        max_attempts: draw.from(1, 6),
        initial_delay: ticks(initial),
        max_delay: ticks(max),
        exponential_base: if linear.is_some() { 1.0 } else { base.into() },
        linear_increment: linear,
        jitter: draw.one_of(&JITTERS),
        max_elapsed: draw.maybe(8, 40).map(ticks),
        min_attempt_time: draw.maybe(0, 8).map_or(Duration::ZERO, ticks),
        max_retry_after: draw.maybe(0, 30).map(ticks),
        seed: Some(draw.from(0, 255)),
        ..RetryConfig::default()
    }
}

fn step((what, which, how): (u8, u8, u8)) -> Step {
    let asked = (how % 3 == 0).then(|| ticks(u32::from(which) % 24));
    let result = match which {
        _ if what < 70 => return Step::Advance(u64::from(which % 12)),
        _ if what < 85 => return Step::Cancel,
        0..180 => AttemptResult::Ran(Classification::TRANSIENT.with_retry_after(asked)),
        180..200 => AttemptResult::Ran(Classification::throttled(asked)),
        200..215 => AttemptResult::Ran(Classification::PERMANENT),
        215..245 => AttemptResult::Rejected { retry_after: asked },
        245.. => AttemptResult::Ran(Classification::SUCCESS),
    };
    Step::End(result, (how % 4 == 1).then_some(u64::from(how / 4)))
}

fn compare(case: &Case) -> TestCaseResult {
    let clock = ManualClock::new();
    let mut bucket = case.budget.map(BudgetOptions::bucket);
    let mut builder = RetryBuilder::from(case.config.clone()).clock(&clock);
    if let Some(budget) = case.budget {
        builder = builder.budget(budget.budget(&clock));
    }
    let retry = builder.build().unwrap();
    let now = || u128::from(clock.now().as_nanos());
    let advance = |by: u64, bucket: &mut Option<Bucket>| {
        clock.advance(Duration::from_nanos(by));
        if let Some(bucket) = bucket {
            bucket.advance(by);
        }
    };
    let (mut ours, mut theirs) = start(&retry, &mut bucket, &clock);
    let mut retries = 0;
    for (number, step) in case.steps.iter().enumerate() {
        match *step {
            Step::Advance(by) => advance(by, &mut bucket),
            Step::Cancel => {
                if let (true, Some(bucket)) = (theirs.holds_token, &mut bucket) {
                    bucket.give_back();
                }
                drop(ours);
                (ours, theirs) = start(&retry, &mut bucket, &clock);
            }
            Step::End(result, deadline) => {
                let begun = ours.begin();
                prop_assert_eq!(begun, theirs.begin());
                retries += u64::from(begun > 1);
                let deadline = deadline.map(|left| now() + u128::from(left));
                let due = deadline.map(|at| Deadline::at(timestamp(at)));
                let next = ours.next(result, clock.now(), due);
                let model = bucket.as_mut();
                let allowed = theirs.follow(&case.config, model, result, now(), deadline, next);
                prop_assert!(allowed, "step {} {:?} at {}: {:?}", number, step, now(), next);
                match next {
                    NextStep::Wait(wait) => advance(nanos(wait), &mut bucket),
                    NextStep::Return | NextStep::Stop(_) => {
                        drop(ours);
                        (ours, theirs) = start(&retry, &mut bucket, &clock);
                    }
                }
            }
        }
        let balance = retry.budget().map(RetryBudget::balance);
        let expected = bucket.as_ref().map(Bucket::whole_tokens);
        prop_assert_eq!(balance, expected, "step {} {:?}", number, step);
        prop_assert_eq!(retry.retries(), retries);
    }
    Ok(())
}

fn start<'a>(
    retry: &'a Retry,
    bucket: &mut Option<Bucket>,
    clock: &ManualClock,
) -> (Attempts<&'a Retry>, Call) {
    bucket.iter_mut().for_each(Bucket::record_call);
    let mut attempts = retry.attempts();
    attempts.note_start(clock.now());
    (attempts, Call::new(clock.now().as_nanos().into()))
}

#[test]
fn the_budget_is_that_of_the_model_and_is_never_overspent() {
    let cases = (vec(any::<u8>(), 8), vec((any::<u8>(), any::<u8>()), 1..60));
    check(2, &cases, |(options, steps)| {
        let options = BudgetOptions::draw(&mut Draw::new(&options));
        let clock = ManualClock::new();
        let (budget, mut bucket) = (options.budget(&clock), options.bucket());
        let mut spent = 0;
        let mut income = u64::from(options.initial) * 1_000_000;
        for (what, how) in steps {
            match what {
                0..60 => {
                    let by = u64::from(how % 10);
                    clock.advance(Duration::from_nanos(by));
                    bucket.advance(by);
                }
                60..130 => {
                    budget.record_call();
                    bucket.record_call();
                    income += u64::from(options.per_call);
                }
                130..230 => {
                    let granted = budget.try_withdraw();
                    prop_assert_eq!(granted, bucket.withdraw(), "{:?}", options);
                    spent += u64::from(granted) * 1_000_000;
                }
                230.. => {
                    budget.give_back();
                    bucket.give_back();
                    income += 1_000_000;
                }
            }
            prop_assert_eq!(budget.balance(), bucket.whole_tokens(), "{:?}", options);
            let refills = clock.now().as_nanos() / u64::from(options.refill_every);
            prop_assert!(spent <= income + refills * 1_000_000, "{:?}", options);
        }
        Ok(())
    });
}

#[derive(Clone, Copy, Debug)]
struct BudgetOptions {
    initial: u32,
    max: u32,
    /// In millionths of a token.
    per_call: u32,
    refill_every: u32,
}

impl BudgetOptions {
    fn draw(draw: &mut Draw<'_>) -> Self {
        let max = draw.from(1, 5);
        let per_call = draw.one_of(&[0, 200_000, 333_333, 500_000, 1_000_000]);
        Self { initial: draw.from(0, max), max, per_call, refill_every: draw.from(1, 20) }
    }

    fn budget(self, clock: &ManualClock) -> RetryBudget {
        RetryBudget::builder()
            .ratio(f64::from(self.per_call) / 1_000_000.0)
            .refill_every(ticks(self.refill_every))
            .initial(self.initial)
            .max(self.max)
            .clock(clock)
            .build()
            .unwrap()
    }

    fn bucket(self) -> Bucket {
        let Self { initial, max, per_call, refill_every } = self;
        Bucket::new(initial.into(), max.into(), per_call.into(), refill_every.into())
    }
}

fn timestamp(at: u128) -> Timestamp {
    Timestamp::from_nanos(u64::try_from(at).unwrap())
}

fn ticks(count: u32) -> Duration {
    Duration::from_nanos(count.into())
}
