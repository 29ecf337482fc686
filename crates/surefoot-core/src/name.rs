//! Names of policies: cheap to copy when they are literals, shared when they are not.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// The name of a policy, as rejections, events and metrics show it.
///
/// A literal is kept as it is, so that handing it out with a rejection costs nothing; a `String`
/// is shared behind an `Arc`.
///
/// ```
/// use surefoot_core::Name;
///
/// assert_eq!(Name::from("payments"), Name::from(String::from("payments")));
/// ```
#[derive(Clone)]
pub struct Name(Repr);

#[derive(Clone)]
enum Repr {
    Static(&'static str),
    /// A thin pointer: with it a name is two words, and rejections and errors stay small.
    Shared(Arc<String>),
}

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Static(text) => text,
            Repr::Shared(text) => text,
        }
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<&'static str> for Name {
    fn from(text: &'static str) -> Self {
        Self(Repr::Static(text))
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Self(Repr::Shared(Arc::new(text)))
    }
}

impl From<Arc<str>> for Name {
    fn from(text: Arc<str>) -> Self {
        Self(Repr::Shared(Arc::new(text.as_ref().to_owned())))
    }
}

impl Default for Name {
    fn default() -> Self {
        Self(Repr::Static(""))
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Name {}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl std::hash::Hash for Name {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::hash::BuildHasher;

    use super::*;

    fn made_in_every_way(text: &'static str) -> [Name; 3] {
        [Name::from(text), Name::from(text.to_owned()), Name::from(Arc::from(text))]
    }

    #[test]
    fn a_name_is_its_text_however_it_was_made() {
        for name in made_in_every_way("payments") {
            assert_eq!(name, "payments");
            assert_eq!(name, *"payments");
            assert_ne!(name, "search");
            assert_ne!(name, *"search");
            assert_ne!(name, Name::from("search"));
            assert_eq!(name.to_string(), "payments");
        }
    }

    #[test]
    fn names_that_read_alike_find_each_other_in_a_map() {
        for made in made_in_every_way("payments") {
            let map = HashMap::from([(made, 1)]);
            for sought in made_in_every_way("payments") {
                assert_eq!(map.get(&sought), Some(&1));
            }
        }
    }

    #[test]
    fn a_name_hashes_as_its_text_does() {
        let state = std::hash::RandomState::new();
        for name in made_in_every_way("payments") {
            assert_eq!(state.hash_one(name), state.hash_one("payments"));
        }
    }

    #[cfg(feature = "serde")]
    #[test]
    fn a_name_is_read_from_text_and_written_as_text() {
        let name: Name = serde_json::from_str("\"payments\"").unwrap();
        assert_eq!(name, "payments");
        assert_eq!(serde_json::to_string(&name).unwrap(), "\"payments\"");
    }
}
