//! The options of a timeout.

use std::time::Duration;

use super::Timeout;
#[cfg(feature = "serde")]
use crate::config::duration_text;
use crate::config::{Check, reads_toml};
use crate::{ConfigError, Name, TimeSource};

/// The options of a timeout as data.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct TimeoutConfig {
    /// What the error calls it. Default `timeout`.
    #[cfg_attr(feature = "serde", serde(default = "default_name"))]
    pub name: Name,
    /// How long a call may take. Required.
    #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
    pub limit: Duration,
}

impl Default for TimeoutConfig {
    fn default() -> Self {
        Self { name: default_name(), limit: Duration::ZERO }
    }
}

fn default_name() -> Name {
    Name::from("timeout")
}

impl TimeoutConfig {
    /// The kind of policy, as [`ConfigError::policy`] names it.
    pub const POLICY: &'static str = "timeout";

    reads_toml!();

    /// Checks every option.
    ///
    /// # Errors
    /// Names the first option that breaks its rule.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = Check(Self::POLICY);
        check.name("name", &self.name)?;
        check.period("limit", self.limit)
    }

    /// A timeout with these options, on the system's clock.
    ///
    /// # Errors
    /// See [`validate`](Self::validate).
    pub fn build(self) -> Result<Timeout, ConfigError> {
        self.validate()?;
        Ok(Timeout { name: self.name, limit: self.limit, time: TimeSource::System })
    }
}

#[cfg(all(test, not(surefoot_loom), feature = "toml"))]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_read_in_words_and_has_to_be_some_time() {
        let read = |text| TimeoutConfig::from_toml(text).and_then(TimeoutConfig::build);
        let timeout = read("limit = \"1m 30s\"").unwrap();
        assert_eq!(
            (timeout.name().as_str(), timeout.limit()),
            ("timeout", Duration::from_secs(90))
        );
        for (text, field) in [
            ("limit = \"0s\"", "limit"),
            ("limit = \"soon\"", "limit"),
            ("limit = 3", "limit"),
            ("limit = \"1s\"\nname = \"\"", "name"),
        ] {
            assert_eq!(read(text).unwrap_err().field(), field, "{text}");
        }
        let number = read("limit = 3").unwrap_err();
        assert!(number.to_string().contains("\"250ms\""), "{number} shows how to write it");
    }
}
