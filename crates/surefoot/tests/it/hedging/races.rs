//! Races against a model that is too simple to be wrong.
//!
//! `SUREFOOT_CASES` sets how many cases all properties of the project try together (default
//! 100 000; a twentieth of them here), `SUREFOOT_SEED` repeats a run that failed.

use std::hash::{BuildHasher, RandomState};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use surefoot::{Classification, Hedge, ManualClock, RetryBudget, Timeout};

use super::super::support::*;

/// One call: what each attempt does, and the options. Times are in milliseconds.
#[derive(Clone, Debug)]
struct Case {
    attempts: Vec<(u64, Outcome)>,
    delay: u64,
    max_hedges: u32,
    tokens: u32,
    total: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Answers,
    Fails,
    FailsForGood,
    AsksForAPause,
}

use Outcome::{Answers, AsksForAPause, Fails, FailsForGood};

const OUTCOMES: [Outcome; 4] = [Fails, Answers, FailsForGood, AsksForAPause];

/// What can be seen of a call: when its attempts began, when it ended, and how.
#[derive(Debug, PartialEq, Eq)]
struct Course {
    began: Vec<u64>,
    ended: u64,
    end: End,
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The result of this attempt.
    Of(usize),
    /// The time was up; the last attempt that had failed by then.
    TimeIsUp(Option<usize>),
}

/// A race as its rules tell it, event by event.
struct Model<'a> {
    case: &'a Case,
    now: u64,
    began: Vec<u64>,
    /// Attempts without an answer, in the order they began.
    running: Vec<usize>,
    last: Option<usize>,
    /// Attempts that failed now, each of which begins another.
    failed: usize,
    due: Option<u64>,
    tokens: u32,
    closed: bool,
}

impl Model<'_> {
    fn course(case: &Case) -> Course {
        let mut model = Model {
            case,
            now: 0,
            began: vec![0],
            running: vec![0],
            last: None,
            failed: 0,
            due: Some(case.delay),
            tokens: case.tokens,
            closed: false,
        };
        let end = loop {
            if let Some(end) = model.step() {
                break end;
            }
        };
        Course { began: model.began, ended: model.now, end }
    }

    fn step(&mut self) -> Option<End> {
        let answered = |attempt: &usize| self.answers_at(*attempt) <= self.now;
        if let Some(place) = self.running.iter().position(answered) {
            let attempt = self.running.remove(place);
            match self.case.attempts[attempt].1 {
                Answers => return Some(End::Of(attempt)),
                FailsForGood => return Some(self.failed(attempt)),
                AsksForAPause => self.closed = true,
                Fails => self.failed += 1,
            }
            self.last = Some(attempt);
            return None;
        }
        if self.failed > 0 {
            self.failed -= 1;
            self.begin();
            return None;
        }
        if self.running.is_empty() {
            return self.last.map(|last| self.failed(last));
        }
        if self.is_late() {
            return Some(End::TimeIsUp(self.last));
        }
        if self.due.is_some_and(|due| due <= self.now) {
            self.begin();
            return None;
        }
        let answers = self.running.iter().map(|attempt| self.answers_at(*attempt));
        self.now = answers.chain(self.due).chain(self.case.total).min().expect("something runs");
        None
    }

    fn begin(&mut self) {
        self.due = None;
        if self.closed || self.began.len() > self.case.max_hedges as usize || self.is_late() {
            return;
        }
        if self.tokens == 0 {
            self.closed = true;
            return;
        }
        self.tokens -= 1;
        self.running.push(self.began.len());
        self.began.push(self.now);
        self.due = Some(self.now + self.case.delay);
    }

    fn answers_at(&self, attempt: usize) -> u64 {
        self.began[attempt] + self.case.attempts[attempt].0
    }

    fn is_late(&self) -> bool {
        self.case.total.is_some_and(|total| self.now >= total)
    }

    fn failed(&self, attempt: usize) -> End {
        if self.is_late() { End::TimeIsUp(Some(attempt)) } else { End::Of(attempt) }
    }
}

const NAMES: [&str; 6] = ["0", "1", "2", "3", "4", "5"];

/// The same call in virtual time.
fn observe(case: &Case) -> Course {
    let clock = ManualClock::new();
    let ms = |ms: u64| std::time::Duration::from_millis(ms);
    let attempts = case.attempts.iter().zip(NAMES);
    let service = Service::new(
        &clock,
        attempts.map(|((takes, outcome), name)| {
            let step = if *outcome == Answers { gives(number(name)) } else { fails(name) };
            step.after(ms(*takes))
        }),
    );
    let budget = RetryBudget::builder().ratio(0.0).refill_every(3600 * SEC).max(100);
    let budget = budget.initial(case.tokens).clock(&clock).build().unwrap();
    let hedge = Hedge::builder().delay(ms(case.delay)).max_hedges(case.max_hedges);
    let hedge = hedge.budget(budget.clone()).clock(&clock).build().unwrap();
    let judge = |result: Result<&u16, &&'static str>| match result {
        Ok(_) => Classification::SUCCESS,
        Err(name) => match case.attempts[usize::from(number(name))].1 {
            FailsForGood => Classification::PERMANENT,
            AsksForAPause => Classification::throttled(None),
            Fails | Answers => Classification::TRANSIENT,
        },
    };
    let answer = match case.total {
        None => run(&clock, hedge.clone().classify(judge).call(|| service.answer())),
        Some(total) => {
            let total = Timeout::new(ms(total)).unwrap().on_clock(&clock);
            let pipeline = surefoot::Pipeline::builder("race").idempotent().add(total);
            let pipeline = pipeline.add(hedge.clone()).classify(judge).build().unwrap();
            run(&clock, pipeline.call(|| service.answer()))
        }
    };
    assert_eq!((service.running(), clock.waiting()), (0, 0), "something is left");
    assert_eq!(hedge.hedges(), service.calls() as u64 - 1);
    assert_eq!(budget.balance(), u64::from(case.tokens) - hedge.hedges());
    let failed = |name: &str| usize::from(number(name));
    let end = match answer {
        Ok(attempt) => End::Of(attempt.into()),
        Err(Error::Operation(name)) => End::Of(failed(name)),
        Err(Error::Timeout { last, .. }) => {
            End::TimeIsUp(last.map(|last| failed(last.operation().expect("an attempt's error"))))
        }
        Err(error) => panic!("{error:?}"),
    };
    let millis = |at: std::time::Duration| u64::try_from(at.as_millis()).unwrap();
    Course {
        began: service.started().into_iter().map(millis).collect(),
        ended: u64::try_from(clock.now_ms()).unwrap(),
        end,
    }
}

fn number(name: &str) -> u16 {
    name.parse().unwrap()
}

fn cases() -> impl Strategy<Value = Case> {
    let attempt = (0..40_u64, prop_oneof![3 => 0..1_usize, 2 => 1..2_usize, 1 => 2..4_usize]);
    let attempts = vec(attempt.prop_map(|(takes, which)| (takes, OUTCOMES[which])), 6);
    let total = proptest::option::of(1..80_u64);
    (attempts, 0..20_u64, 1..6_u32, 0..8_u32, total).prop_map(
        |(attempts, delay, max_hedges, tokens, total)| Case {
            attempts,
            delay,
            max_hedges,
            tokens,
            total,
        },
    )
}

#[test]
fn every_race_goes_as_its_rules_say_to_the_millisecond() {
    fn number<T: std::str::FromStr>(variable: &str) -> Option<T> {
        std::env::var(variable).ok()?.parse().ok()
    }
    let seed = number("SUREFOOT_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    let config = Config {
        cases: number("SUREFOOT_CASES").unwrap_or(100_000_u32).div_ceil(20),
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    };
    let rule = |case: Case| {
        prop_assert_eq!(observe(&case), Model::course(&case));
        Ok(())
    };
    if let Err(failure) = TestRunner::new(config).run(&cases(), rule) {
        panic!("with SUREFOOT_SEED={seed}: {failure}");
    }
}
