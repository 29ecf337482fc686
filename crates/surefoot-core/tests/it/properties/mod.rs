//! Every machine against a model that is too simple to be wrong.
//!
//! `SUREFOOT_CASES` sets how many cases all properties try together (default 100 000), and
//! `SUREFOOT_SEED` repeats a run that failed: a failure prints both the seed and the smallest case
//! that fails.

mod adaptive;
mod breaker;
mod breaker_model;
mod budget;
mod budget_model;
mod limiter;
mod limiter_learning;
mod limiter_model;
mod retry;
mod retry_model;
mod shedder;
mod throttler;
mod throttler_model;

use std::hash::{BuildHasher, RandomState};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseResult, TestRunner};

/// Tries `percent` of `SUREFOOT_CASES` against `rule`; the percents of a policy's properties make 100, or
/// those of several policies do.
fn check<S: Strategy>(percent: u32, cases: &S, rule: impl Fn(S::Value) -> TestCaseResult) {
    let total: u32 = number("SUREFOOT_CASES").unwrap_or(100_000);
    let seed = number("SUREFOOT_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    let config = Config {
        cases: total.div_ceil(100) * percent,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    };
    if let Err(failure) = TestRunner::new(config).run(cases, rule) {
        panic!("with SUREFOOT_SEED={seed}: {failure}");
    }
}

fn number<T: std::str::FromStr>(variable: &str) -> Option<T> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Raw material for a case, drawn from left to right: cheap to generate, and it shrinks towards
/// the first and smallest of every choice.
struct Draw<'a>(std::slice::Iter<'a, u8>);

impl<'a> Draw<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self(bytes.iter())
    }

    /// A number from `low` to `high`.
    fn from(&mut self, low: u32, high: u32) -> u32 {
        low + u32::from(*self.0.next().expect("enough bytes")) % (high - low + 1)
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.from(0, u32::try_from(choices.len()).expect("few choices") - 1) as usize]
    }

    /// `None` in half of all cases.
    fn maybe(&mut self, low: u32, high: u32) -> Option<u32> {
        let number = self.from(low, high);
        (self.from(0, 1) == 1).then_some(number)
    }
}
