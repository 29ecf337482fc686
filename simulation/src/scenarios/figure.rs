//! A figure, what it has to be, and what it is.

use std::fmt;

/// One number that a scenario came to, once for each seed.
///
/// It is the control's if its name says so, and then what it has to be is bad enough: a control that
/// does well would show that the scenario needs no policy.
#[derive(Clone, Debug)]
pub struct Figure {
    what: String,
    reached: Vec<f64>,
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

/// What is to be said of figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// On target with every seed.
    Held,
    /// Not on target, which is known and explained.
    Missed,
    /// Not what is asserted.
    Fails,
}

impl Figure {
    /// The policy's figure.
    pub fn new(what: impl Into<String>, reached: f64, unit: &'static str, target: Bound) -> Self {
        Self { what: what.into(), reached: vec![reached], unit, target, instead: None }
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

    /// The same figure with another seed.
    pub(super) fn also(&mut self, other: &Self) {
        debug_assert_eq!(self.what, other.what, "a scenario gives its figures in the same order");
        self.reached.extend(&other.reached);
        self.instead = self.instead.or(other.instead);
    }

    /// What is to be said of it.
    pub fn verdict(&self) -> Verdict {
        let all = |bound: Bound| self.reached.iter().all(|&reached| bound.contains(reached));
        match self.instead {
            _ if all(self.target) => Verdict::Held,
            Some((bound, _)) if all(bound) => Verdict::Missed,
            _ => Verdict::Fails,
        }
    }

    /// Whether it is what it has to be; where the target is out of reach, what is held instead.
    pub fn holds(&self) -> bool {
        self.verdict() < Verdict::Fails
    }

    /// Whether it shows what happens without the policy.
    pub fn is_of_control(&self) -> bool {
        self.what.starts_with("control")
    }

    /// Its name.
    pub(super) fn what(&self) -> &str {
        &self.what
    }

    /// What is worst of all seeds.
    pub(super) fn worst(&self) -> String {
        number(self.target.worst(&self.reached), self.unit)
    }

    /// What it has to be.
    pub(super) fn target(&self) -> String {
        self.target.shown(self.unit)
    }

    /// Why the target is out of reach, if it is.
    pub(super) fn reason(&self) -> Option<String> {
        let (bound, why) = self.instead.filter(|_| self.verdict() != Verdict::Held)?;
        Some(format!("held at {}: {why}", bound.shown(self.unit)))
    }

    /// The seeds that reach the target, of all.
    fn seeds_on_target(&self) -> String {
        let on_target = self.reached.iter().filter(|&&reached| self.target.contains(reached));
        format!("{} of {}", on_target.count(), self.reached.len())
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

    fn worst(self, numbers: &[f64]) -> f64 {
        // How bad it is; beside infinity only the order counts.
        let bad = |number: f64| match self {
            Self::AtLeast(_) => -number,
            Self::AtMost(_) => number,
            Self::Within(least, most) => (number - f64::midpoint(least, most)).abs(),
        };
        let worst = numbers.iter().copied().max_by(|a, b| bad(*a).total_cmp(&bad(*b)));
        worst.unwrap_or(f64::NAN)
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

impl Verdict {
    /// As tables have it. What is missed is to be seen from afar.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Missed => "MISSED",
            Self::Fails => "FAILS",
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

/// A line of the scenario's own table.
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, target, worst) = (&self.what, self.target(), self.worst());
        let mut spread = self.reached.clone();
        spread.sort_by(f64::total_cmp);
        let (low, high) = (spread.first(), spread.last());
        let [low, high] = [low, high].map(|end| number(end.copied().unwrap_or(f64::NAN), ""));
        let spread = if low == high { String::new() } else { format!("{low} – {high}") };
        let mark = match self.verdict() {
            Verdict::Held => String::new(),
            verdict => {
                format!("  {}, on target {} seeds", verdict.as_str(), self.seeds_on_target())
            }
        };
        write!(f, "{what:<72} {target:>12} {worst:>10} {spread:>16}{mark}")?;
        match self.reason() {
            Some(reason) => write!(f, "\n    {reason}"),
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
        assert_eq!(figure.verdict(), Verdict::Missed);
        let line = figure.to_string();
        assert!(
            line.ends_with("MISSED, on target 0 of 1 seeds\n    held at ≥ 92 %: noise"),
            "{line}"
        );
    }

    #[test]
    fn a_figure_outside_its_bound_fails() {
        let fails = |reached| !Figure::seconds("x", reached, Bound::Within(1.0, 2.0)).holds();
        assert!(fails(0.9) && !fails(1.0) && !fails(2.0) && fails(2.1));
        assert!(!Figure::recovery("x", None, Bound::AtMost(60.0)).holds());
        assert!(Figure::recovery("x", None, Bound::AtLeast(f64::INFINITY)).holds());
    }

    #[test]
    fn the_worst_seed_decides() {
        let at = |reached, bound| Figure::count("x", reached, bound);
        for (bound, worst) in
            [(Bound::AtLeast(2.0), "1"), (Bound::AtMost(2.0), "3"), (Bound::Within(1.0, 2.0), "3")]
        {
            let mut figure = at(2.0, bound);
            assert_eq!(figure.verdict(), Verdict::Held);
            figure.also(&at(1.0, bound));
            figure.also(&at(3.0, bound));
            assert_eq!((figure.verdict(), figure.worst().as_str()), (Verdict::Fails, worst));
        }
    }
}
