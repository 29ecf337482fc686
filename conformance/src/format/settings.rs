//! A policy's options as a case gives them, right or wrong: refusing them is the policy's part.

use super::decimal::Decimal;
use super::fields::{Fields, Problem, Value};
use super::json::Json;

/// Options in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Settings(pub(crate) Vec<(&'static str, Setting)>);

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Setting {
    /// A length of time in seconds.
    Time(Decimal),
    /// How many of something.
    Count(Decimal),
    /// A rate or a factor.
    Ratio(Decimal),
    /// Money, exactly.
    Amount(Decimal),
    /// `"NaN"` in place of any number.
    NotANumber,
    /// One of several words, or a length of time as config files write it.
    Word(String),
    Flag(bool),
    Group(Settings),
    /// Groups by names that the case chooses.
    Named(Vec<(String, Settings)>),
}

/// What an option of some name has to look like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Time,
    Count,
    Ratio,
    Amount,
    Word,
    Flag,
    Group(&'static [(&'static str, Kind)]),
    Named(&'static [(&'static str, Kind)]),
}

impl Settings {
    /// Takes those of the options in `known` that are given.
    pub(crate) fn take(
        fields: &mut Fields<'_>,
        known: &'static [(&'static str, Kind)],
    ) -> Result<Self, Problem> {
        let mut settings = Vec::new();
        for (name, kind) in known {
            if let Some(value) = fields.take(name) {
                settings.push((*name, Setting::read(&value, *kind)?));
            }
        }
        Ok(Self(settings))
    }

    /// Reads a whole object of options.
    pub(crate) fn read(
        value: &Value<'_>,
        known: &'static [(&'static str, Kind)],
    ) -> Result<Self, Problem> {
        let mut fields = value.fields()?;
        let settings = Self::take(&mut fields, known)?;
        fields.finish()?;
        Ok(settings)
    }
}

impl Setting {
    fn read(value: &Value<'_>, kind: Kind) -> Result<Self, Problem> {
        if let (Json::Text(text), Kind::Time | Kind::Count | Kind::Ratio) = (value.json(), kind) {
            return match text.as_str() {
                "NaN" => Ok(Self::NotANumber),
                _ if matches!(kind, Kind::Time) => Ok(Self::Word(text.clone())),
                _ => Err(value.problem(r#"must be a number or "NaN""#)),
            };
        }
        match kind {
            Kind::Time => {
                let number = value.number()?;
                match number.nanos() {
                    Err(super::decimal::NotNanos::TooFine) => {
                        Err(value
                            .problem(format_args!("{} is finer than a nanosecond", number.text())))
                    }
                    _ => Ok(Self::Time(number)),
                }
            }
            Kind::Count => value.number().map(Self::Count),
            Kind::Ratio => value.number().map(Self::Ratio),
            Kind::Amount => value.number().map(Self::Amount),
            Kind::Word => value.text().map(|word| Self::Word(word.to_owned())),
            Kind::Flag => value.flag().map(Self::Flag),
            Kind::Group(known) => Settings::read(value, known).map(Self::Group),
            Kind::Named(known) => {
                let group = |(name, value): (&str, Value<'_>)| {
                    Ok((name.to_owned(), Settings::read(&value, known)?))
                };
                value.fields()?.rest().map(group).collect::<Result<_, _>>().map(Self::Named)
            }
        }
    }
}
