//! Figures as text, for those who look.

use std::fmt::Write as _;

use super::{Figure, Scenario, Verdict};

/// What stands above the lines of [`line`].
pub fn heading(seeds: u32) -> String {
    format!(
        "Each scenario is run with {seeds} seed{s}. Of its main figure (or the first that was missed) \
         the worst run is shown,\nand of its control, the same without the policy, the best: that one \
         has to go wrong.\n\n{}",
        row(["", "scenario", "figure", "reached", "target", "control", "needs", ""]),
        s = if seeds == 1 { "" } else { "s" },
    )
}

/// One scenario in one line: a figure, its target, its control, the verdict.
pub fn line(scenario: &Scenario, figures: &[Figure]) -> String {
    let (controls, own): (Vec<&Figure>, _) =
        figures.iter().partition(|figure| figure.is_of_control());
    let (own, control) = (shown(&own), shown(&controls));
    let (what, reached, target) =
        own.map_or_else(Default::default, |own| (own.what().to_owned(), own.worst(), own.target()));
    let (without, needs) =
        control.map_or_else(Default::default, |control| (control.worst(), control.target()));
    let verdict = verdict(figures);
    let number = scenario.number.to_string();
    row([&number, scenario.name, &what, &reached, &target, &without, &needs, verdict.as_str()])
}

/// The first of the worst.
fn shown<'a>(figures: &[&'a Figure]) -> Option<&'a Figure> {
    let worst = figures.iter().map(|figure| figure.verdict()).max()?;
    figures.iter().copied().find(|figure| figure.verdict() == worst)
}

/// What there is to say in the end: what was missed, and why.
pub fn summary(all: &[(&Scenario, Vec<Figure>)], seeds: u32) -> String {
    let mut text = String::new();
    let count = |wanted| all.iter().filter(|(_, figures)| verdict(figures) == wanted).count();
    let (missed, fails) = (count(Verdict::Missed), count(Verdict::Fails));
    let _ = writeln!(
        text,
        "\n{} scenarios with {seeds} seeds each: {} held, {missed} missed for a known reason, {fails} failed.",
        all.len(),
        count(Verdict::Held),
    );
    for (scenario, figures) in all {
        for figure in figures.iter().filter(|figure| figure.verdict() != Verdict::Held) {
            let _ = writeln!(text, "\n{}. {}\n  {figure}", scenario.number, scenario.title);
        }
    }
    text
}

/// All figures of one scenario.
pub fn table(scenario: &Scenario, figures: &[Figure]) -> String {
    let Scenario { number, title, .. } = scenario;
    let mut text = format!(
        "{number}. {title}: {}\n  {:<72} {:>12} {:>10} {:>16}\n",
        verdict(figures).as_str(),
        "",
        "target",
        "worst",
        "all seeds",
    );
    for figure in figures {
        let _ = writeln!(text, "  {figure}");
    }
    text
}

/// The worst of all.
fn verdict(figures: &[Figure]) -> Verdict {
    figures.iter().map(Figure::verdict).max().unwrap_or(Verdict::Held)
}

fn row(cells: [&str; 8]) -> String {
    let [number, scenario, figure, reached, target, control, needs, verdict] = cells;
    format!(
        "{number:>2}  {scenario:<19} {figure:<52} {reached:>9} {target:>12}   {control:>8} {needs:>9}   {verdict}"
    )
}
