//! Configuration: one error for every bad option, and the rules that options share.
//!
//! Each policy has a config struct that is data (serde, TOML) and a builder with the same options
//! under the same names. Both end in the same validation, so a bad value gets the same
//! [`ConfigError`] from either.

use std::fmt;
use std::time::Duration;

use crate::time::nanos;

#[cfg(feature = "serde")]
pub(crate) mod duration_text;
mod methods;
#[cfg(feature = "serde")]
mod parse;
#[cfg(feature = "serde")]
pub(crate) mod table;
#[cfg(feature = "serde")]
pub(crate) mod word;

pub(crate) use methods::{reads_toml, takes_clock, takes_events, takes_listeners};
#[cfg(feature = "serde")]
pub use parse::from_deserializer;
#[cfg(feature = "toml")]
pub(crate) use parse::from_toml;

/// An option that cannot be: which one, what it was, and the rule it breaks.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigError {
    policy: &'static str,
    field: String,
    value: String,
    rule: String,
    position: Option<Position>,
}

/// Line and column of a text, counted from 1.
type Position = (u32, u32);

impl ConfigError {
    /// An error about `field` of a `policy` (`"retry"`, `"circuit_breaker"`, …).
    pub fn new(
        policy: &'static str,
        field: impl Into<String>,
        value: impl fmt::Display,
        rule: impl Into<String>,
    ) -> Self {
        Self {
            policy,
            field: field.into(),
            value: value.to_string(),
            rule: rule.into(),
            position: None,
        }
    }

    /// The same error where `policy` has the options as a part called `of`.
    pub(crate) fn in_part(self, policy: &'static str, of: &str) -> Self {
        Self { policy, field: format!("{of}.{}", self.field), ..self }
    }

    #[cfg(feature = "toml")]
    fn at(self, position: Option<Position>) -> Self {
        Self { position, ..self }
    }

    /// The kind of policy: `circuit_breaker`, `retry`, `pipeline`, ….
    pub fn policy(&self) -> &'static str {
        self.policy
    }

    /// The option's name; nested options with dots (`trip.rate`).
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The value that was given.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// What the value has to satisfy.
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// The line of the TOML text it is in, counted from 1; `None` if it was not read from TOML.
    pub fn line(&self) -> Option<u32> {
        self.position.map(|(line, _)| line)
    }

    /// The place in its [`line`](Self::line), in characters counted from 1.
    pub fn column(&self) -> Option<u32> {
        self.position.map(|(_, column)| column)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, field, value, rule, position } = self;
        write!(f, "{policy}:")?;
        if !field.is_empty() {
            write!(f, " `{field}`")?;
        }
        if !value.is_empty() {
            write!(f, " = {value}")?;
        }
        write!(f, " {rule}")?;
        match position {
            Some((line, column)) => write!(f, " (line {line}, column {column})"),
            None => Ok(()),
        }
    }
}

/// As the sentence it is: `main` and `unwrap` show errors so.
impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ConfigError {}

/// Checks the options of one policy; every method names the field it looks at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Check(pub(crate) &'static str);

impl Check {
    pub(crate) fn name(self, field: &str, name: &str) -> Result<(), ConfigError> {
        self.rule(!name.trim().is_empty(), field, format!("{name:?}"), "must not be empty")
    }

    pub(crate) fn count(self, field: &str, count: u32, most: u32) -> Result<(), ConfigError> {
        let rule = match most {
            u32::MAX => "must be at least 1".to_owned(),
            most => format!("must be from 1 to {most}"),
        };
        self.rule((1..=most).contains(&count), field, count, &rule)
    }

    /// A share of calls: more than nothing, at most all.
    pub(crate) fn rate(self, field: &str, rate: f64) -> Result<(), ConfigError> {
        self.rule(rate > 0.0 && rate <= 1.0, field, rate, "must be above 0.0 and at most 1.0")
    }

    pub(crate) fn factor(self, field: &str, factor: f64) -> Result<(), ConfigError> {
        self.rule(
            factor.is_finite() && factor >= 1.0,
            field,
            factor,
            "must be a number from 1.0 up",
        )
    }

    /// A length of time that has to be longer than none.
    pub(crate) fn period(self, field: &str, period: Duration) -> Result<(), ConfigError> {
        self.rule(!period.is_zero(), field, Shown(period), "must be longer than zero")?;
        self.wait(field, period)
    }

    /// A length of time that may be zero.
    pub(crate) fn wait(self, field: &str, wait: Duration) -> Result<(), ConfigError> {
        let fits = nanos(wait) < u64::MAX;
        self.rule(fits, field, Shown(wait), "must be shorter than 584 years")
    }

    pub(crate) fn rule(
        self,
        holds: bool,
        field: &str,
        value: impl fmt::Display,
        rule: &str,
    ) -> Result<(), ConfigError> {
        if holds { Ok(()) } else { Err(ConfigError::new(self.0, field, value, rule)) }
    }
}

/// A duration as people want to read it: a few digits, rounded up, so that waiting that long is
/// always enough.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounded(pub(crate) Duration);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit: u64 = match nanos(self.0) {
            0..1_000 => 1,
            1_000..1_000_000 => 1_000,
            1_000_000..10_000_000_000 => 1_000_000,
            _ => 100_000_000,
        };
        let rounded = nanos(self.0).div_ceil(unit).saturating_mul(unit);
        Shown(Duration::from_nanos(rounded)).fmt(f)
    }
}

/// A duration as the config files write it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown(pub(crate) Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_shown_in_a_few_digits_and_never_too_short() {
        for (nanos, shown) in [
            (0, "0s"),
            (999, "999ns"),
            (1_000, "1us"),
            (1_001, "2us"),
            (999_999, "1ms"),
            (1_000_001, "2ms"),
            (9_999_000_001, "10s"),
            (10_000_000_000, "10s"),
            (10_000_000_001, "10s 100ms"),
        ] {
            assert_eq!(Rounded(Duration::from_nanos(nanos)).to_string(), shown, "{nanos}");
        }
    }

    #[test]
    fn an_error_names_the_policy_the_field_the_value_and_the_rule() {
        let error = ConfigError::new("retry", "max_attempts", 0, "must be at least 1");
        let parts = (error.policy(), error.field(), error.value(), error.rule());
        assert_eq!(parts, ("retry", "max_attempts", "0", "must be at least 1"));
    }

    #[test]
    fn a_factor_is_a_finite_number_from_one_up() {
        let check = Check("retry");
        for factor in [1.0, 1.5, f64::MAX] {
            assert_eq!(check.factor("base", factor), Ok(()), "{factor}");
        }
        for factor in [0.999, -2.0, f64::NAN, f64::INFINITY] {
            assert!(check.factor("base", factor).is_err(), "{factor}");
        }
    }

    #[test]
    fn an_error_is_its_sentence_wherever_it_is_printed() {
        let error = ConfigError::new("retry", "max_attempts", 0, "must be at least 1");
        assert_eq!(error.to_string(), "retry: `max_attempts` = 0 must be at least 1");
        assert_eq!(format!("{error:?}"), error.to_string());
    }
}
