//! How many retries a destination can stand.

use std::fmt;
use std::time::Duration;

use crate::clock::TimeSource;
#[cfg(feature = "serde")]
use crate::config::duration_text;
use crate::config::{Check, reads_toml, takes_clock};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, lock};
use crate::time::nanos;
use crate::{ConfigError, Timestamp};

/// A token bucket that retries and hedges to one destination draw on.
///
/// Every call puts in `ratio` of a token, time puts in one token each `refill_every`, and every
/// retry takes one out *before* it waits. While the callee is healthy the bucket is full and the
/// budget is not noticed; when everything fails, retries stop at `ratio` of the calls instead of
/// multiplying the load. Share one budget (clones are handles) among all that call the same
/// destination.
///
/// | option | default |
/// |---|---|
/// | `ratio` | 0.2: retries for 20 % of calls |
/// | `refill_every` | 10 s |
/// | `initial` | 10 tokens at the start |
/// | `max` | 100 tokens |
///
/// Source: Finagle's `RetryBudget` and gRFC A6, with a reserve that suits callers with little
/// traffic. Cost: one atomic step for each call.
#[derive(Clone)]
pub struct RetryBudget {
    shared: Arc<Shared>,
}

struct Shared {
    /// Calls since the budget was made. Only withdrawals turn them into tokens: a deposit is
    /// one atomic step, and a cap commutes with deposits as long as nothing is taken between.
    calls: AtomicU64,
    per_call: u64,
    refill_every: u64,
    max: u64,
    unlimited: bool,
    time: TimeSource,
    account: Mutex<Account>,
}

/// Amounts are in millionths of a token.
struct Account {
    balance: u64,
    calls_seen: u64,
    refilled_at: Timestamp,
}

const TOKEN: u64 = 1_000_000;

impl RetryBudget {
    /// Starts building a budget.
    pub fn builder() -> RetryBudgetBuilder {
        RetryBudgetBuilder::default()
    }

    /// The default budget on another clock.
    pub fn on_clock(clock: impl Into<TimeSource>) -> Self {
        Self::builder().clock(clock).finish()
    }

    /// A budget that never refuses: retries do exactly what their numbers say.
    pub fn unlimited() -> Self {
        RetryBudgetBuilder { unlimited: true, ..Self::builder() }.finish()
    }

    /// Notes a call, which puts its share of a token in.
    #[inline]
    pub fn record_call(&self) {
        self.shared.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one token for a retry, if there is one.
    pub fn try_withdraw(&self) -> bool {
        if self.shared.unlimited {
            return true;
        }
        let mut account = self.settled_account();
        let enough = account.balance >= TOKEN;
        if enough {
            account.balance -= TOKEN;
        }
        enough
    }

    /// Puts a token back whose retry was never made.
    pub fn give_back(&self) {
        let mut account = self.settled_account();
        account.balance = (account.balance + TOKEN).min(self.shared.max);
    }

    /// Whether both are handles to the same budget.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Whether it never refuses.
    pub fn is_unlimited(&self) -> bool {
        self.shared.unlimited
    }

    /// Whole tokens left.
    pub fn balance(&self) -> u64 {
        self.settled_account().balance / TOKEN
    }

    fn settled_account(&self) -> crate::sync::MutexGuard<'_, Account> {
        let shared = &self.shared;
        let now = shared.time.now();
        let mut account = lock(&shared.account);
        let calls = shared.calls.load(Ordering::Relaxed);
        let deposits = calls.saturating_sub(account.calls_seen).saturating_mul(shared.per_call);
        account.calls_seen = calls;
        let refills = nanos(now - account.refilled_at) / shared.refill_every;
        account.refilled_at =
            account.refilled_at + Duration::from_nanos(refills.saturating_mul(shared.refill_every));
        let income = deposits.saturating_add(refills.saturating_mul(TOKEN));
        account.balance = account.balance.saturating_add(income).min(shared.max);
        account
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        RetryBudgetBuilder::default().finish()
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryBudget").field("balance", &self.balance()).finish_non_exhaustive()
    }
}

/// The options of a retry budget as data; [`RetryBudgetBuilder`] sets the same ones.
///
/// ```
/// # #[cfg(feature = "toml")] {
/// use surefoot_core::retry::RetryBudgetConfig;
///
/// let config = RetryBudgetConfig::from_toml(r#"
///     ratio = 0.1
///     refill_every = "1s"
/// "#)?;
/// assert_eq!(config.build()?.balance(), 10);
/// # }
/// # Ok::<(), surefoot_core::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
pub struct RetryBudgetConfig {
    /// Tokens for each call, from 0.0 to 1.0. Default 0.2.
    pub ratio: f64,
    /// The time that brings one more token. Default 10 s.
    #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
    pub refill_every: Duration,
    /// Tokens at the start. Default 10.
    pub initial: u32,
    /// The most tokens it holds. Default 100.
    pub max: u32,
}

impl Default for RetryBudgetConfig {
    fn default() -> Self {
        Self { ratio: 0.2, refill_every: Duration::from_secs(10), initial: 10, max: 100 }
    }
}

impl RetryBudgetConfig {
    /// The kind of policy, as [`ConfigError::policy`] names it.
    pub const POLICY: &'static str = "retry_budget";

    reads_toml!();

    /// Checks every option, alone and against the others.
    ///
    /// # Errors
    /// Names the first option that breaks its rule.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_as(Self::POLICY, "")
    }

    /// The same for options that are a part of those of `policy`, where they begin with `prefix`.
    pub(crate) fn validate_as(
        &self,
        policy: &'static str,
        prefix: &str,
    ) -> Result<(), ConfigError> {
        let (check, named) = (Check(policy), |field: &str| format!("{prefix}{field}"));
        let in_range = (0.0..=1.0).contains(&self.ratio);
        check.rule(in_range, &named("ratio"), self.ratio, "must be from 0.0 to 1.0")?;
        check.period(&named("refill_every"), self.refill_every)?;
        check.count(&named("max"), self.max, u32::MAX)?;
        let rule = format!("must be at most `max`, which is {}", self.max);
        check.rule(self.initial <= self.max, &named("initial"), self.initial, &rule)
    }

    /// A budget with these options on the system's clock.
    ///
    /// # Errors
    /// See [`validate`](Self::validate).
    pub fn build(self) -> Result<RetryBudget, ConfigError> {
        RetryBudgetBuilder::from(self).build()
    }

    /// One whose options were validated already.
    pub(crate) fn of_valid(self, clock: TimeSource) -> RetryBudget {
        RetryBudgetBuilder { clock, ..RetryBudgetBuilder::from(self) }.finish()
    }
}

/// Builds a [`RetryBudget`].
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct RetryBudgetBuilder {
    config: RetryBudgetConfig,
    unlimited: bool,
    clock: TimeSource,
}

impl From<RetryBudgetConfig> for RetryBudgetBuilder {
    fn from(config: RetryBudgetConfig) -> Self {
        Self { config, ..Self::default() }
    }
}

impl RetryBudgetBuilder {
    /// Tokens for each call, from 0.0 to 1.0. Default 0.2.
    pub fn ratio(mut self, ratio: f64) -> Self {
        self.config.ratio = ratio;
        self
    }

    /// The time that brings one more token. Default 10 s.
    pub fn refill_every(mut self, period: Duration) -> Self {
        self.config.refill_every = period;
        self
    }

    /// Tokens at the start. Default 10.
    pub fn initial(mut self, tokens: u32) -> Self {
        self.config.initial = tokens;
        self
    }

    /// The most tokens it holds. Default 100.
    pub fn max(mut self, tokens: u32) -> Self {
        self.config.max = tokens;
        self
    }

    takes_clock!();

    /// The budget.
    ///
    /// # Errors
    /// Names the first option that breaks its rule.
    pub fn build(self) -> Result<RetryBudget, ConfigError> {
        self.config.validate()?;
        Ok(self.finish())
    }

    fn finish(self) -> RetryBudget {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a ratio from 0.0 to 1.0 gives at most one token"
        )]
        let per_call = (self.config.ratio * TOKEN as f64).round() as u64;
        let account = Account {
            balance: u64::from(self.config.initial) * TOKEN,
            calls_seen: 0,
            refilled_at: self.clock.now(),
        };
        RetryBudget {
            shared: Arc::new(Shared {
                calls: AtomicU64::new(0),
                per_call,
                refill_every: nanos(self.config.refill_every),
                max: u64::from(self.config.max) * TOKEN,
                unlimited: self.unlimited,
                time: self.clock,
                account: Mutex::new(account),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ManualClock;

    fn budget(clock: &ManualClock, initial: u32) -> RetryBudget {
        RetryBudget::builder().initial(initial).clock(clock).build().unwrap()
    }

    fn withdrawals(budget: &RetryBudget) -> usize {
        std::iter::repeat_with(|| budget.try_withdraw()).take_while(|granted| *granted).count()
    }

    /// policies.md §4 rule 47.
    #[test]
    fn a_fifth_of_the_calls_may_be_retried() {
        let budget = budget(&ManualClock::new(), 3);
        assert_eq!(withdrawals(&budget), 3);
        (0..25).for_each(|_| budget.record_call());
        assert_eq!(withdrawals(&budget), 5);
    }

    #[test]
    fn time_brings_one_token_each_period() {
        let clock = ManualClock::new();
        let budget = budget(&clock, 0);
        clock.advance(Duration::from_secs(9));
        assert!(!budget.try_withdraw());
        clock.advance(Duration::from_secs(1));
        assert!(budget.try_withdraw());
        clock.advance(Duration::from_secs(25));
        assert_eq!(withdrawals(&budget), 2);
        clock.advance(Duration::from_secs(5));
        assert_eq!(withdrawals(&budget), 1);
    }

    #[test]
    fn it_never_holds_more_than_its_maximum() {
        let budget = budget(&ManualClock::new(), 10);
        (0..10_000).for_each(|_| budget.record_call());
        assert_eq!(budget.balance(), 100);
        budget.give_back();
        assert_eq!(budget.balance(), 100);
    }

    #[test]
    fn the_default_budget_can_tell_time_by_another_clock() {
        let clock = ManualClock::new();
        let budget = RetryBudget::on_clock(&clock);
        assert_eq!(withdrawals(&budget), 10);
        clock.advance(Duration::from_secs(20));
        assert_eq!(withdrawals(&budget), 2);
    }

    #[test]
    fn an_unlimited_budget_never_refuses() {
        let budget = RetryBudget::unlimited();
        assert!((0..1000).all(|_| budget.try_withdraw()));
    }

    #[test]
    fn only_handles_to_one_budget_are_the_same() {
        let budget = RetryBudget::default();
        assert!(budget.is_same(&budget.clone()));
        assert!(!budget.is_same(&RetryBudget::default()));
    }
}
