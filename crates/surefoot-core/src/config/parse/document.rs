//! TOML text, and where in it an option stands.

use serde::Deserialize;
use toml::de::{DeTable, Deserializer};

use super::super::{ConfigError, Position};
use super::from_deserializer;

/// Reads a config struct from TOML. What is there is checked by `validate` at once, while it is
/// known where it stands; what is missing is left to `build`, which checks everything.
pub(crate) fn from_toml<T>(
    policy: &'static str,
    text: &str,
    validate: impl FnOnce(&T) -> Result<(), ConfigError>,
) -> Result<T, ConfigError>
where
    T: for<'de> Deserialize<'de>,
{
    let table = DeTable::parse(text).map_err(|error| {
        let place = error.span().map(|span| position(text, span.start));
        let message = error.message().lines().next().unwrap_or_default();
        ConfigError::new(policy, "", "", format!("cannot be read as TOML: {message}")).at(place)
    })?;
    let place = |field: &str| Some(position(text, key_of(table.get_ref(), field)?));
    let options =
        from_deserializer(policy, Deserializer::from(table.clone())).map_err(|error| {
            // What is missing is said to be where the table is that lacks it.
            let table = error.field().rsplit_once('.').map(|(table, _)| table);
            let found = place(error.field()).or_else(|| place(table?));
            error.at(found)
        })?;
    let Err(broken) = validate(&options) else { return Ok(options) };
    match place(broken.field()) {
        None => Ok(options),
        stands => Err(broken.at(stands)),
    }
}

/// Where in the text the key starts that has this path, such as `limits[0].unit`.
fn key_of(mut table: &DeTable<'_>, path: &str) -> Option<usize> {
    let mut steps = path.split('.').peekable();
    loop {
        let mut names = steps.next()?.split('[');
        let (key, mut value) = table.get_key_value(names.next()?)?;
        let mut start = key.span().start;
        for place in names {
            let place: usize = place.strip_suffix(']')?.parse().ok()?;
            value = value.get_ref().as_array()?.get(place)?;
            start = value.span().start;
        }
        if steps.peek().is_none() {
            return Some(start);
        }
        table = value.get_ref().as_table()?;
    }
}

/// Line and column of the byte at `index`.
fn position(text: &str, index: usize) -> Position {
    let before = text.get(..index).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    let counted = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).saturating_add(1);
    (counted(before.matches('\n').count()), counted(line.chars().count()))
}
