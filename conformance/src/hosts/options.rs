//! A case's options as a config file would hand them over, the impossible ones too.
//!
//! A serde format of its own, since neither TOML (counts above an `i64`) nor JSON (NaN) can say all of them.

use serde::Deserializer;
use serde::de::value::{Error, MapDeserializer};
use serde::de::{IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use crate::format::{Decimal, Setting, Settings};

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// One option's value.
#[derive(Clone, Copy)]
struct Given<'a>(&'a Setting);

/// A policy's options, or a group of them.
#[derive(Clone, Copy)]
pub(super) struct Options<'a>(pub(super) &'a Settings);

impl<'de> Deserializer<'de> for Options<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Settings(settings) = self.0;
        let given = settings.iter().map(|(name, setting)| (*name, Given(setting)));
        MapDeserializer::new(given).deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> Deserializer<'de> for Given<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Setting::Time(seconds) => visitor.visit_string(humantime(seconds)),
            Setting::Count(count) => match count.integer() {
                Some(whole) => match (u64::try_from(whole), i64::try_from(whole)) {
                    (Ok(count), _) => visitor.visit_u64(count),
                    (_, Ok(negative)) => visitor.visit_i64(negative),
                    _ => visitor.visit_f64(count.float()),
                },
                None => visitor.visit_f64(count.float()),
            },
            Setting::Ratio(ratio) => visitor.visit_f64(ratio.float()),
            Setting::Amount(amount) => visitor.visit_string(amount.plain()),
            Setting::NotANumber => visitor.visit_f64(f64::NAN),
            Setting::Flag(flag) => visitor.visit_bool(*flag),
            Setting::Word(word) => visitor.visit_borrowed_str(word),
            Setting::Group(settings) => Options(settings).deserialize_any(visitor),
            Setting::Named(groups) => {
                let groups = groups.iter().map(|(name, group)| (name.as_str(), Options(group)));
                MapDeserializer::new(groups).deserialize_any(visitor)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Setting::Word(word) => {
                word.as_str().into_deserializer().deserialize_enum(name, variants, visitor)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de> for Options<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> IntoDeserializer<'de> for Given<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// A length of time as config files write it. One that cannot be is written all the same: to
/// refuse it is the policy's part.
fn humantime(seconds: &Decimal) -> String {
    let sign = if seconds.is_negative() { "-" } else { "" };
    match seconds.nanos() {
        Ok(nanos) if u64::try_from(nanos).is_ok() => format!("{sign}{nanos}ns"),
        Ok(nanos) => format!("{sign}{}s {}ns", nanos / NANOS_PER_SECOND, nanos % NANOS_PER_SECOND),
        Err(_) => format!("{}s", seconds.text()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_exactly_and_impossible_ones_too() {
        let table = [
            ("1.5", "1500000000ns"),
            ("0", "0ns"),
            ("-5", "-5000000000ns"),
            ("100000000000", "100000000000s 0ns"),
            ("1e30", "1e30s"),
        ];
        for (seconds, text) in table {
            assert_eq!(humantime(&Decimal::parse(seconds).unwrap()), text);
        }
    }
}
