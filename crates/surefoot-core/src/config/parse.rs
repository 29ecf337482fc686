//! From serde's errors to ours: which field, and what was wrong with it.

#[cfg(feature = "toml")]
mod document;

use serde::{Deserialize, Deserializer};

use super::ConfigError;
#[cfg(feature = "toml")]
pub(crate) use document::from_toml;

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

fn located(policy: &'static str, path: &str, message: &str) -> ConfigError {
    let message = message.lines().next().unwrap_or_default();
    let field = match path {
        "." | "?" => "",
        path => path,
    };
    // serde names an unknown or missing field in the message, and only sometimes in the path.
    let inner = |name: &str| {
        let parent = field.strip_suffix(name).unwrap_or(field);
        let dot = if parent.is_empty() || parent.ends_with('.') { "" } else { "." };
        format!("{parent}{dot}{name}")
    };
    let quoted = |start: &str| message.strip_prefix(start)?.split_once('`');
    if let Some((variant, known)) = quoted("unknown variant `") {
        return ConfigError::new(policy, field, format!("{variant:?}"), must_be(known));
    }
    if let Some((name, known)) = quoted("unknown field `") {
        let rule = match known.strip_prefix(", expected ") {
            Some(known) => {
                let known = known.strip_prefix("one of ").unwrap_or(known);
                format!("is not an option; the options are {}", known.replace(" or ", " and "))
            }
            None => format!("is not an option{known}"),
        };
        return ConfigError::new(policy, inner(name), "", rule);
    }
    if let Some((name, why)) = quoted("missing field `") {
        return ConfigError::new(policy, inner(name), "", format!("is missing{why}"));
    }
    // `invalid value: string "-5s", expected a length of time …`
    let unfit = message.strip_prefix("invalid ").and_then(|rest| rest.split_once(": "));
    match unfit.and_then(|(_, rest)| rest.rsplit_once(", expected ")) {
        Some((value, expected)) => {
            ConfigError::new(policy, field, in_words_of_files(value), must_be(expected))
        }
        None => ConfigError::new(policy, field, "", message),
    }
}

/// serde names the kind before the value: ``floating point `1e30` ``, `string "x"`; and values with
/// parts by their kind alone.
fn in_words_of_files(value: &str) -> &str {
    match value {
        "map" => "a table",
        "sequence" => "a list",
        value => value.find(['`', '"']).map_or(value, |at| &value[at..]).trim_matches('`'),
    }
}

/// What serde expects, in its words for types or in ours.
fn must_be(expected: &str) -> String {
    let expected = expected.strip_prefix(", expected ").unwrap_or(expected);
    let expected = match expected {
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number from 0 up",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a string" => "text in quotes",
        "a map" => "a table of options",
        "a sequence" => "a list",
        expected if expected.starts_with("struct ") => "a table of options",
        expected => expected,
    };
    format!("must be {expected}")
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
                "trip.rate",
                "unknown field `rate` for this kind of trip",
                "retry: `trip.rate` is not an option for this kind of trip",
            ),
            (
                "limits",
                "invalid type: map, expected a sequence",
                "retry: `limits` = a table must be a list",
            ),
            (
                "codel",
                "invalid type: sequence, expected struct CodelConfig",
                "retry: `codel` = a list must be a table of options",
            ),
            (
                "trip.colour",
                "unknown field `colour`, expected `kind` or `rate`",
                "retry: `trip.colour` is not an option; the options are `kind` and `rate`",
            ),
        ] {
            assert_eq!(located("retry", path, message).to_string(), shown);
        }
    }
}
