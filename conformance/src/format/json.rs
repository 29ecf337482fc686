//! JSON with its numbers left as the text they are.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// No case nests deeper than a definition's lists.
const DEPTH_MOST: usize = 32;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Flag(bool),
    /// As it was written.
    Number(String),
    Text(String),
    List(Vec<Json>),
    /// In order, and with every repetition.
    Object(Vec<(String, Json)>),
}

impl Json {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let raw = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Self::read(raw, 0)
    }

    fn read(raw: &RawValue, depth: usize) -> Result<Self, String> {
        if depth > DEPTH_MOST {
            return Err(format!("nested deeper than {DEPTH_MOST} levels"));
        }
        let text = raw.get().trim();
        let within = |raw: &RawValue| Self::read(raw, depth + 1);
        match text.as_bytes().first() {
            Some(b'{') => {
                let Pairs(pairs) = from_str(text)?;
                let read = |(name, raw): (String, &RawValue)| Ok((name, within(raw)?));
                pairs.into_iter().map(read).collect::<Result<_, String>>().map(Self::Object)
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = from_str(text)?;
                items.into_iter().map(within).collect::<Result<_, _>>().map(Self::List)
            }
            Some(b'"') => from_str(text).map(Self::Text),
            Some(b't' | b'f') => from_str(text).map(Self::Flag),
            Some(b'n') => Ok(Self::Null),
            _ => Ok(Self::Number(text.to_owned())),
        }
    }

    /// What kind of value it is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Flag(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

fn from_str<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// An object's fields in order.
struct Pairs<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_text() {
        let json = Json::parse(" [0.10, 1e30 , -5,100000000000.000000001] ").unwrap();
        let text = ["0.10", "1e30", "-5", "100000000000.000000001"];
        assert_eq!(json, Json::List(text.map(|text| Json::Number(text.into())).into()));
    }

    #[test]
    fn fields_keep_their_order_and_repetitions() {
        let json = Json::parse(r#"{"b": null, "a": true, "b": "x"}"#).unwrap();
        let Json::Object(fields) = json else { panic!("an object: {json:?}") };
        assert_eq!(
            fields,
            [
                ("b".to_owned(), Json::Null),
                ("a".to_owned(), Json::Flag(true)),
                ("b".to_owned(), Json::Text("x".into())),
            ]
        );
    }

    #[test]
    fn bad_text_is_an_error() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for text in ["", "[1,]", "{\"a\": 1", "[\"\\ud800\"]", "[1] 2", "nul", deep.as_str()] {
            let shown: String = text.chars().take(20).collect();
            assert!(Json::parse(text).is_err(), "{shown}");
        }
    }
}
