//! Reading values where each problem names the field it is about.

use std::fmt;
use std::time::Duration;

use surefoot_core::Timestamp;

use super::decimal::{Decimal, NotNanos};
use super::json::Json;

/// What is wrong with a case, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem(pub(crate) String);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A value and the way to it from the case.
#[derive(Clone, Debug)]
pub(crate) struct Value<'a> {
    json: &'a Json,
    path: String,
}

impl<'a> Value<'a> {
    pub(crate) fn root(json: &'a Json) -> Self {
        Self { json, path: String::new() }
    }

    pub(crate) fn json(&self) -> &'a Json {
        self.json
    }

    pub(crate) fn problem(&self, what: impl fmt::Display) -> Problem {
        let path = &self.path;
        Problem(if path.is_empty() { what.to_string() } else { format!("{path}: {what}") })
    }

    fn wrong_kind(&self, wanted: &str) -> Problem {
        self.problem(format_args!("must be {wanted}, not {}", self.json.kind()))
    }

    pub(crate) fn is_null(&self) -> bool {
        *self.json == Json::Null
    }

    pub(crate) fn fields(&self) -> Result<Fields<'a>, Problem> {
        let Json::Object(entries) = self.json else { return Err(self.wrong_kind("an object")) };
        for (index, (name, _)) in entries.iter().enumerate() {
            if entries[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(self.problem(format_args!("field `{name}` is given twice")));
            }
        }
        let left = entries.iter().map(|(name, json)| (name.as_str(), json)).collect();
        Ok(Fields { path: self.path.clone(), left })
    }

    pub(crate) fn list(&self) -> Result<Vec<Self>, Problem> {
        let Json::List(items) = self.json else { return Err(self.wrong_kind("a list")) };
        let path = &self.path;
        let item = |(index, json)| Self { json, path: format!("{path}[{index}]") };
        Ok(items.iter().enumerate().map(item).collect())
    }

    pub(crate) fn text(&self) -> Result<&'a str, Problem> {
        let Json::Text(text) = self.json else { return Err(self.wrong_kind("text")) };
        Ok(text)
    }

    pub(crate) fn texts(&self) -> Result<Vec<String>, Problem> {
        self.list()?.iter().map(|item| item.text().map(str::to_owned)).collect()
    }

    /// One text, or a list of them.
    pub(crate) fn text_or_texts(&self) -> Result<Vec<String>, Problem> {
        match self.json {
            Json::Text(text) => Ok(vec![text.clone()]),
            Json::List(_) => self.texts(),
            _ => Err(self.wrong_kind("text or a list of texts")),
        }
    }

    /// One of several words.
    pub(crate) fn word<T: Copy>(&self, what: &str, words: &[(&str, T)]) -> Result<T, Problem> {
        let text = self.text()?;
        words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning).ok_or_else(|| {
            let known: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
            self.problem(format_args!("unknown {what} `{text}`; known are {}", known.join(", ")))
        })
    }

    pub(crate) fn flag(&self) -> Result<bool, Problem> {
        let Json::Flag(flag) = self.json else { return Err(self.wrong_kind("true or false")) };
        Ok(*flag)
    }

    pub(crate) fn number(&self) -> Result<Decimal, Problem> {
        let Json::Number(text) = self.json else { return Err(self.wrong_kind("a number")) };
        Decimal::parse(text).ok_or_else(|| self.problem(format_args!("{text} is no number")))
    }

    /// A whole number from 0 up.
    pub(crate) fn count(&self) -> Result<u64, Problem> {
        let number = self.number()?;
        number.integer().and_then(|count| u64::try_from(count).ok()).ok_or_else(|| {
            self.problem(format_args!("must be a whole number from 0 up, not {}", number.text()))
        })
    }

    /// Any number as a binary float: rates and factors.
    pub(crate) fn float(&self) -> Result<f64, Problem> {
        self.number().map(|number| number.float())
    }

    /// Seconds that the clock can tell, exact to the nanosecond.
    pub(crate) fn seconds(&self) -> Result<Duration, Problem> {
        let number = self.number()?;
        let text = number.text();
        if number.is_negative() {
            return Err(self.problem(format_args!("must not be negative, as {text} is")));
        }
        match number.nanos() {
            Err(NotNanos::TooFine) => {
                Err(self.problem(format_args!("{text} is finer than a nanosecond")))
            }
            Ok(nanos) if u64::try_from(nanos).is_ok() => {
                Ok(Duration::from_nanos(nanos.try_into().unwrap_or(u64::MAX)))
            }
            Ok(_) | Err(NotNanos::TooLarge) => {
                Err(self.problem(format_args!("{text} is more than a clock can tell")))
            }
        }
    }

    pub(crate) fn timestamp(&self) -> Result<Timestamp, Problem> {
        self.seconds().map(|since| Timestamp::ZERO + since)
    }

    /// An expected time in nanoseconds, of any length.
    pub(crate) fn expected_nanos(&self) -> Result<u128, Problem> {
        let number = self.number()?;
        let nanos = if number.is_negative() { None } else { number.nearest_nanos() };
        nanos.ok_or_else(|| {
            self.problem(format_args!("{} is no time that can be expected", number.text()))
        })
    }
}

/// The fields of one object that have not been read yet.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    path: String,
    left: Vec<(&'a str, &'a Json)>,
}

impl<'a> Fields<'a> {
    pub(crate) fn take(&mut self, name: &str) -> Option<Value<'a>> {
        let at = self.left.iter().position(|(field, _)| *field == name)?;
        let (name, json) = self.left.remove(at);
        Some(Value { json, path: self.path_of(name) })
    }

    pub(crate) fn require(&mut self, name: &str) -> Result<Value<'a>, Problem> {
        self.take(name).ok_or_else(|| self.missing(name))
    }

    pub(crate) fn missing(&self, name: &str) -> Problem {
        Problem(format!("{}: is missing", self.path_of(name)))
    }

    /// Reads a field if it is there.
    pub(crate) fn read<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&Value<'a>) -> Result<T, Problem>,
    ) -> Result<Option<T>, Problem> {
        self.take(name).map(|value| read(&value)).transpose()
    }

    /// The first field of several that is there, with its place among the names.
    pub(crate) fn take_one_of(&mut self, names: &[&str]) -> Option<(usize, Value<'a>)> {
        names.iter().enumerate().find_map(|(at, name)| Some((at, self.take(name)?)))
    }

    /// All that were not read, whatever their names are.
    pub(crate) fn rest(self) -> impl Iterator<Item = (&'a str, Value<'a>)> {
        let Self { path, left } = self;
        left.into_iter().map(move |(name, json)| {
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            (name, Value { json, path })
        })
    }

    /// Whatever was not read is not part of the format.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        match self.left.first() {
            None => Ok(()),
            Some((name, _)) => Err(Problem(format!("{}: unknown field", self.path_of(name)))),
        }
    }

    fn path_of(&self, name: &str) -> String {
        let path = &self.path;
        if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
    }
}
