//! Lists of strings with parameters: the part of Structured Fields (RFC 9651) that `RateLimit` and
//! `RateLimit-Policy` are written in.

/// A string of a list, with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) name: String,
    parameters: Vec<(String, Value)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Integer(i64),
    Text(String),
    /// A type that no parameter of ours has: read, because the field is well-formed with it.
    Other,
}

impl Item {
    fn value(&self, key: &str) -> Option<&Value> {
        // Of parameters with the same key the last counts.
        self.parameters.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// An integer that is not negative.
    pub(super) fn count(&self, key: &str) -> Option<u64> {
        match self.value(key)? {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::Text(_) | Value::Other => None,
        }
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.value(key)? {
            Value::Text(text) => Some(text),
            Value::Integer(_) | Value::Other => None,
        }
    }
}

/// Reads a list whose members are strings. `None`: not such a list, and the RFC wants a field that
/// is malformed anywhere to be ignored as a whole.
pub(super) fn list(field: &str) -> Option<Vec<Item>> {
    let mut text = Text(field.trim_matches(' '));
    let mut items = vec![];
    if text.0.is_empty() {
        return Some(items);
    }
    loop {
        let name = text.string()?;
        items.push(Item { name, parameters: text.parameters()? });
        text.skip(&[' ', '\t']);
        if text.0.is_empty() {
            return Some(items);
        }
        text.expect(',')?;
        text.skip(&[' ', '\t']);
    }
}

/// What is left to read.
struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    fn skip(&mut self, what: &[char]) {
        self.0 = self.0.trim_start_matches(what);
    }

    fn expect(&mut self, what: char) -> Option<()> {
        self.0 = self.0.strip_prefix(what)?;
        Some(())
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let end = self.0.find(|c| !belongs(c)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    fn string(&mut self) -> Option<String> {
        self.expect('"')?;
        let mut string = String::new();
        let mut characters = self.0.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.0 = &self.0[at + 1..];
                    return Some(string);
                }
                '\\' => match characters.next() {
                    Some((_, escaped @ ('"' | '\\'))) => string.push(escaped),
                    _ => return None,
                },
                ' '..='~' => string.push(character),
                _ => return None,
            }
        }
        None
    }

    fn parameters(&mut self) -> Option<Vec<(String, Value)>> {
        let mut parameters = vec![];
        while self.0.starts_with(';') {
            self.expect(';')?;
            self.skip(&[' ']);
            let key = self.take_while(|c| {
                c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.' | '*')
            });
            key.starts_with(|c: char| c.is_ascii_lowercase() || c == '*').then_some(())?;
            let value = match self.expect('=') {
                Some(()) => self.value()?,
                None => Value::Other, // `;key` is true
            };
            parameters.push((key.to_owned(), value));
        }
        Some(parameters)
    }

    fn value(&mut self) -> Option<Value> {
        match self.0.chars().next()? {
            '"' => self.string().map(Value::Text),
            '-' | '0'..='9' => self.number(),
            ':' => {
                self.expect(':')?;
                self.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '='));
                self.expect(':').map(|()| Value::Other)
            }
            '?' => {
                self.expect('?')?;
                matches!(self.0.chars().next()?, '0' | '1').then_some(())?;
                self.0 = &self.0[1..];
                Some(Value::Other)
            }
            '@' => {
                self.expect('@')?;
                self.number().filter(|number| *number != Value::Other)?;
                Some(Value::Other)
            }
            '*' | 'a'..='z' | 'A'..='Z' => {
                self.take_while(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:/".contains(c));
                Some(Value::Other)
            }
            _ => None,
        }
    }

    /// At most fifteen digits, or twelve and a point and one to three.
    fn number(&mut self) -> Option<Value> {
        let minus = self.expect('-').is_some();
        let whole = self.take_while(|c| c.is_ascii_digit());
        if self.expect('.').is_some() {
            let fraction = self.take_while(|c| c.is_ascii_digit());
            let fits = (1..=12).contains(&whole.len()) && (1..=3).contains(&fraction.len());
            return fits.then_some(Value::Other);
        }
        let number = whole.parse::<i64>().ok().filter(|_| whole.len() <= 15)?;
        Some(Value::Integer(if minus { -number } else { number }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_strings_with_parameters_of_every_type() {
        let field = r#" "burst";r=50;t=30 ,	"day \"x\\y\"";pk=:cHNhOg==:;a;b=?1;c=1.5;d=tok/en;e=@9;r=1;r=2 "#;
        let items = list(field).expect("a list");
        assert_eq!(items.len(), 2);
        assert_eq!((items[0].name.as_str(), items[0].count("r")), ("burst", Some(50)));
        assert_eq!(items[0].count("t"), Some(30));
        assert_eq!(items[1].name, "day \"x\\y\"");
        assert_eq!(items[1].count("r"), Some(2), "the last of several");
        assert_eq!(
            (items[1].count("c"), items[1].count("a"), items[1].text("d")),
            (None, None, None)
        );
        assert_eq!(list(""), Some(vec![]));
    }

    #[test]
    fn a_field_that_is_malformed_anywhere_is_none() {
        for field in [
            "burst;r=1",
            "\"a\";r=1,",
            "\"a\";r=1 \"b\"",
            "\"a",
            "\"a\\n\"",
            "\"a\u{e9}\"",
            "\"a\";R=1",
            "\"a\";=1",
            "\"a\";r=",
            "\"a\";r=1.",
            "\"a\";r=1.2345",
            "\"a\";r=--1",
            "\"a\";r=1234567890123456",
            "\"a\";pk=:AA",
            "\"a\";b=?2",
            "\"a\";b=@1.5",
            "(\"a\");r=1",
            "limit=100, remaining=50, reset=5",
            "0",
        ] {
            assert_eq!(list(field), None, "{field}");
        }
    }

    #[test]
    fn a_count_is_an_integer_that_is_not_negative() {
        let items = list(r#""a";r=-1;t=999999999999999;q="5""#).expect("a list");
        assert_eq!(items[0].count("r"), None);
        assert_eq!(items[0].count("t"), Some(999_999_999_999_999));
        assert_eq!((items[0].count("q"), items[0].text("q")), (None, Some("5")));
    }
}
