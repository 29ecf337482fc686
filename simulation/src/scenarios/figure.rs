//! A figure, what it has to be, and what it is.

use std::fmt;

/// One number that a scenario came to.
#[derive(Clone, Debug)]
pub struct Figure {
    what: String,
    reached: f64,
    unit: &'static str,
    target: Bound,
    /// What is asserted where the target is out of reach, and why it is.
    instead: Option<(Bound, &'static str)>,
}

/// What a number has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// No less.
    AtLeast(f64),
    /// No more.
    AtMost(f64),
    /// No less than the first and no more than the second.
    Within(f64, f64),
}

impl Figure {
    /// The policy's figure.
    pub fn new(what: impl Into<String>, reached: f64, unit: &'static str, target: Bound) -> Self {
        Self { what: what.into(), reached, unit, target, instead: None }
    }

    /// A share of something, in percent.
    pub fn share(what: impl Into<String>, reached: f64, target: Bound) -> Self {
        Self::new(what, 100.0 * reached, "%", target)
    }

    /// A time in seconds.
    pub fn seconds(what: impl Into<String>, reached: f64, target: Bound) -> Self {
        Self::new(what, reached, "s", target)
    }

    /// A plain number.
    pub fn count(what: impl Into<String>, reached: f64, target: Bound) -> Self {
        Self::new(what, reached, "", target)
    }

    /// The seconds until recovery; `None` is never.
    pub fn recovery(what: impl Into<String>, reached: Option<u64>, target: Bound) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "seconds of a simulation are few")]
        let seconds = reached.map_or(f64::INFINITY, |seconds| seconds as f64);
        Self::seconds(what, seconds, target)
    }

    /// The target is out of reach, for this reason: `bound` is what is held.
    pub fn but_only(self, bound: Bound, why: &'static str) -> Self {
        Self { instead: Some((bound, why)), ..self }
    }

    /// Whether it is what it has to be; where the target is out of reach, what is held instead.
    pub fn holds(&self) -> bool {
        self.instead.map_or(self.target, |(bound, _)| bound).contains(self.reached)
    }

    /// Whether it is what it was meant to be.
    pub fn is_on_target(&self) -> bool {
        self.target.contains(self.reached)
    }
}

impl Bound {
    fn contains(self, number: f64) -> bool {
        match self {
            Self::AtLeast(least) => number >= least,
            Self::AtMost(most) => number <= most,
            Self::Within(least, most) => (least..=most).contains(&number),
        }
    }

    fn shown(self, unit: &str) -> String {
        match self {
            Self::AtLeast(least) if least.is_infinite() => "never".to_owned(),
            Self::AtLeast(least) => format!("≥ {}", number(least, unit)),
            Self::AtMost(most) => format!("≤ {}", number(most, unit)),
            Self::Within(least, most) => {
                format!("{} to {}", number(least, ""), number(most, unit))
            }
        }
    }
}

fn number(number: f64, unit: &str) -> String {
    let digits = match number.abs() {
        0.0 => 0,
        size if size < 1.0 => 3,
        size if size < 10.0 => 2,
        size if size < 100.0 => 1,
        _ => 0,
    };
    let whole = number.fract().abs() < 1e-9;
    let digits = if whole { 0 } else { digits };
    match number {
        f64::INFINITY => "never".to_owned(),
        _ if unit.is_empty() => format!("{number:.digits$}"),
        _ => format!("{number:.digits$} {unit}"),
    }
}

/// A line of the table.
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, reached, unit, target, instead } = self;
        let mark = match (self.is_on_target(), self.holds()) {
            (true, _) => "",
            (false, true) => "  missed",
            (false, false) => "  FAILS",
        };
        let (target, reached) = (target.shown(unit), number(*reached, unit));
        write!(f, "{what:<72} {target:>16} {reached:>12}{mark}")?;
        match instead {
            Some((bound, why)) => write!(f, "\n    held at {}: {why}", bound.shown(unit)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_out_of_reach_is_shown_beside_what_is_held_instead() {
        let figure = Figure::share("done", 0.93, Bound::AtLeast(95.0))
            .but_only(Bound::AtLeast(92.0), "noise");
        assert!(figure.holds());
        assert!(!figure.is_on_target());
        let line = figure.to_string();
        assert!(line.ends_with("missed\n    held at ≥ 92 %: noise"), "{line}");
    }

    #[test]
    fn a_figure_outside_its_bound_fails() {
        let fails = |reached| !Figure::seconds("x", reached, Bound::Within(1.0, 2.0)).holds();
        assert!(fails(0.9) && !fails(1.0) && !fails(2.0) && fails(2.1));
        assert!(!Figure::recovery("x", None, Bound::AtMost(60.0)).holds());
        assert!(Figure::recovery("x", None, Bound::AtLeast(f64::INFINITY)).holds());
    }
}
