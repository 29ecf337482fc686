//! The options of a budget: their names, defaults and rules.

use std::fmt;

use super::account::{Above, Account, Ask};
use super::{Budget, Cost, Limits, MAX_DEPTH, Money};
use crate::config::{Check, reads_toml, takes_listeners};
use crate::sync::Arc;
use crate::{ConfigError, Events, Name, Rejection};

/// The options of a budget as data; [`BudgetBuilder`] sets the same ones.
///
/// ```
/// # #[cfg(feature = "toml")] {
/// use surefoot_core::budget::BudgetConfig;
///
/// let config = BudgetConfig::from_toml(r#"
///     name = "run"
///     attempts = 20
///     tokens = 100_000
///     money = "2.50"
/// "#)?;
/// assert_eq!(config.build()?.remaining().attempts, Some(20));
/// # }
/// # Ok::<(), surefoot_core::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
pub struct BudgetConfig {
    /// What refusals, events and metrics call it. Default `budget`.
    pub name: Name,
    /// The most calls. Default: no limit.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub attempts: Option<u64>,
    /// The most tokens. Default: no limit.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub tokens: Option<u64>,
    /// The most money. Default: no limit.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub money: Option<Money>,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self { name: Name::from("budget"), attempts: None, tokens: None, money: None }
    }
}

impl BudgetConfig {
    /// The kind of policy, as [`ConfigError::policy`] names it.
    pub const POLICY: &'static str = "budget";

    reads_toml!();

    /// Checks every option, alone and against the others.
    ///
    /// # Errors
    /// Names the first option that breaks its rule.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = Check(Self::POLICY);
        check.name("name", &self.name)?;
        let rule = "must be given, or `tokens` or `money`: a budget without a limit limits nothing";
        check.rule(!self.limits().is_empty(), "attempts", "", rule)
    }

    /// A budget of its own with these limits.
    ///
    /// # Errors
    /// See [`validate`](Self::validate).
    pub fn build(self) -> Result<Budget, ConfigError> {
        BudgetBuilder::from(self).build()
    }

    fn limits(&self) -> Limits {
        Limits { attempts: self.attempts, tokens: self.tokens, money: self.money }
    }
}

/// Builds a [`Budget`]; made by [`Budget::builder`].
///
/// ```
/// use surefoot_core::Budget;
///
/// let run = Budget::builder("run").attempts(10).build()?;
/// let search = Budget::builder("search").attempts(4).slice_of(&run)?;
/// let write = Budget::builder("write").tokens(50_000).share_of(&run)?;
/// assert_eq!(run.remaining().attempts, Some(6));
/// assert_eq!(write.remaining().attempts, Some(6));
/// drop(search);
/// assert_eq!(write.remaining().attempts, Some(10));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until `build`, `slice_of` or `share_of` is called"]
pub struct BudgetBuilder {
    config: BudgetConfig,
    events: Events,
}

impl From<BudgetConfig> for BudgetBuilder {
    fn from(config: BudgetConfig) -> Self {
        Self { config, ..Self::default() }
    }
}

impl BudgetBuilder {
    /// What refusals, events and metrics call it. Default `budget`.
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.config.name = name.into();
        self
    }

    /// The most calls of operations: first ones, retries and hedges. Default: no limit.
    pub fn attempts(mut self, attempts: u64) -> Self {
        self.config.attempts = Some(attempts);
        self
    }

    /// The most tokens. Default: no limit.
    pub fn tokens(mut self, tokens: u64) -> Self {
        self.config.tokens = Some(tokens);
        self
    }

    /// The most money. Default: no limit.
    pub fn money(mut self, money: Money) -> Self {
        self.config.money = Some(money);
        self
    }

    takes_listeners!();

    /// A budget of its own.
    ///
    /// # Errors
    /// Names the first option that breaks its rule.
    pub fn build(self) -> Result<Budget, ConfigError> {
        self.config.validate()?;
        Ok(self.open(None))
    }

    /// A child with a slice of `parent`: its limits are taken out of the parent now, all or none,
    /// and what is unspent goes back when the last handle and charge of the child are dropped. What is not
    /// limited is shared.
    ///
    /// # Errors
    /// [`SliceError::Config`] for a bad option or too many levels; [`SliceError::Refused`] if the
    /// parent, or one above, has too little left.
    pub fn slice_of(self, parent: &Budget) -> Result<Budget, SliceError> {
        self.config.validate()?;
        check_depth(parent)?;
        let Limits { attempts, tokens, money } = self.config.limits();
        let slice = Cost {
            attempts: attempts.unwrap_or(0),
            tokens: tokens.unwrap_or(0),
            money: money.unwrap_or_default(),
        };
        parent.take(Ask::reserving(slice), None)?;
        Ok(self.open(Some(Above { budget: parent.clone(), sliced: true })))
    }

    /// A child that spends what `parent` has, within its own limits if it has any.
    ///
    /// # Errors
    /// Names the first option that breaks its rule, or `parent` if there are too many levels.
    pub fn share_of(self, parent: &Budget) -> Result<Budget, ConfigError> {
        Check(BudgetConfig::POLICY).name("name", &self.config.name)?;
        check_depth(parent)?;
        Ok(self.open(Some(Above { budget: parent.clone(), sliced: false })))
    }

    fn open(self, above: Option<Above>) -> Budget {
        let limits = self.config.limits();
        let account = Account::new(self.config.name, limits, above, self.events);
        Budget { account: Arc::new(account) }
    }
}

fn check_depth(parent: &Budget) -> Result<(), ConfigError> {
    let rule =
        format!("is {MAX_DEPTH} levels deep, the most there may be: share a budget further up");
    let name = format!("`{}`", parent.name());
    Check(BudgetConfig::POLICY).rule(parent.depth() < MAX_DEPTH, "parent", name, &rule)
}

/// Why there is no slice.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SliceError {
    /// An option breaks its rule.
    Config(ConfigError),
    /// The budget it was to be taken from has too little left.
    Refused(Rejection),
}

impl From<ConfigError> for SliceError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<Rejection> for SliceError {
    fn from(rejection: Rejection) -> Self {
        Self::Refused(rejection)
    }
}

impl fmt::Display for SliceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Refused(rejection) => rejection.fmt(f),
        }
    }
}

impl std::error::Error for SliceError {}
