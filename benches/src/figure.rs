//! Figures that are not times: bytes, counts, and how they stand against what is promised.

use serde::Serialize;

/// One line of the second table, and one element of the JSON document's `figures`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Figure {
    /// What was counted.
    pub(crate) work: String,
    /// Of whom.
    pub(crate) subject: String,
    /// How much.
    pub(crate) value: f64,
    /// Of what.
    pub(crate) unit: &'static str,
    /// The most that is promised.
    pub(crate) at_most: Option<f64>,
    /// Whether that is kept.
    pub(crate) held: Option<bool>,
}

impl Figure {
    /// A figure for information.
    pub(crate) fn plain(work: &str, subject: &str, value: f64, unit: &'static str) -> Self {
        let (work, subject) = (work.to_owned(), subject.to_owned());
        Self { work, subject, value, unit, at_most: None, held: None }
    }

    /// The same with a promise.
    pub(crate) fn at_most(self, most: f64) -> Self {
        Self { at_most: Some(most), held: Some(self.value <= most), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_kept_up_to_and_with_its_own_value() {
        let figure = Figure::plain("w", "s", 3.0, "bytes");
        assert_eq!(figure.held, None);
        assert_eq!(figure.clone().at_most(3.0).held, Some(true));
        assert_eq!(figure.at_most(2.9).held, Some(false));
    }
}
