//! From serde's errors to ours: which field, and what was wrong with it.

use serde::{Deserialize, Deserializer};

use super::ConfigError;

/// Reads a config struct from any serde format, and names the offending field if it cannot.
///
/// # Errors
/// A [`ConfigError`] for the first field that is unknown, missing or of the wrong kind. The
/// rules between fields are checked later, by `build`.
///
/// ```
/// use surefoot_core::circuit_breaker::CircuitBreakerConfig;
/// use surefoot_core::config::from_deserializer;
///
/// let json = &mut serde_json::Deserializer::from_str(r#"{"name": "x", "timeout": "-5s"}"#);
/// let error = from_deserializer::<CircuitBreakerConfig, _>("circuit_breaker", json).unwrap_err();
/// assert_eq!(error.field(), "timeout");
/// ```
pub fn from_deserializer<'de, T, D>(policy: &'static str, deserializer: D) -> Result<T, ConfigError>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    serde_path_to_error::deserialize(deserializer)
        .map_err(|error| located(policy, &error.path().to_string(), &error.inner().to_string()))
}

/// The same from TOML text.
#[cfg(feature = "toml")]
pub(crate) fn from_toml<T>(policy: &'static str, text: &str) -> Result<T, ConfigError>
where
    T: for<'de> Deserialize<'de>,
{
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        ConfigError::new(policy, "toml", "", format!("cannot be read: {}", error.message()))
    })?;
    from_deserializer(policy, table)
}

fn located(policy: &'static str, path: &str, message: &str) -> ConfigError {
    let message = message.lines().next().unwrap_or_default();
    // serde names an unknown or missing field in the message, not in the path.
    let named = ["unknown field `", "missing field `"]
        .iter()
        .find_map(|start| message.strip_prefix(start)?.split_once('`'));
    let parent = match path {
        "." | "?" => "",
        path => path,
    };
    if let Some((value, known)) =
        message.strip_prefix("unknown variant `").and_then(|rest| rest.split_once('`'))
    {
        let known = known.strip_prefix(", expected ").unwrap_or(known);
        return ConfigError::new(policy, parent, format!("{value:?}"), format!("must be {known}"));
    }
    match named {
        Some((name, rest)) => {
            let parent = parent.strip_suffix(name).unwrap_or(parent);
            let dot = if parent.is_empty() || parent.ends_with('.') { "" } else { "." };
            let rule = if message.starts_with("unknown") {
                format!("is not an option{rest}")
            } else {
                format!("is missing{rest}")
            };
            ConfigError::new(policy, format!("{parent}{dot}{name}"), "", rule)
        }
        // `invalid value: string "-5s", expected a length of time …`
        None => match message.strip_prefix("invalid ").and_then(|rest| rest.split_once(": ")) {
            Some((_, rest)) => {
                let (value, rule) = rest.rsplit_once(", expected ").unwrap_or((rest, "another"));
                // serde names the kind before the value: `floating point `1e30``, `string "x"`.
                let value = value.find(['`', '"']).map_or(value, |at| &value[at..]);
                let value = value.trim_matches('`');
                let rule = match rule {
                    "u32" => "a whole number from 0 to 4294967295",
                    "u64" => "a whole number from 0 up",
                    "f64" => "a number",
                    rule => rule,
                };
                ConfigError::new(policy, parent, value, format!("must be {rule}"))
            }
            None => ConfigError::new(policy, parent, "", message),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_field_value_and_rule() {
        for (path, message, shown) in [
            (
                "failure_threshold",
                "invalid value: integer `-1`, expected u32",
                "retry: `failure_threshold` = -1 must be a whole number from 0 to 4294967295",
            ),
            (
                "max_attempts",
                "invalid type: floating point `1e30`, expected u32",
                "retry: `max_attempts` = 1e30 must be a whole number from 0 to 4294967295",
            ),
            (
                "timeout",
                "invalid value: string \"-5s\", expected a length of time",
                "retry: `timeout` = \"-5s\" must be a length of time",
            ),
            (
                "jitter",
                "unknown variant `half`, expected one of `none`, `full`",
                "retry: `jitter` = \"half\" must be one of `none`, `full`",
            ),
            (
                "trip",
                "missing field `rate` for this kind of trip",
                "retry: `trip.rate` is missing for this kind of trip",
            ),
            (
                "trip.colour",
                "unknown field `colour`, expected `kind` or `rate`",
                "retry: `trip.colour` is not an option, expected `kind` or `rate`",
            ),
        ] {
            assert_eq!(located("retry", path, message).to_string(), shown);
        }
    }
}
