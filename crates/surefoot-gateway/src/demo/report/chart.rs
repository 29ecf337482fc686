//! The chart over time. Per arm: which share of the calls was answered (full blocks; what was not is shaded, so that
//! it reads without colour), and how many requests reached the service. Above them the script, below them the time.

use std::fmt::Write as _;
use std::time::Duration;

use anstyle::Style;

use super::super::arms::Verdict;
use super::super::measure::{self, Slice};
use super::super::scene::{ArmOutcome, Outcome};
use super::super::terminal::{BAD, BOLD, DIM, GOOD, LOAD, PHASE, PLAIN, paint};
use super::text;

/// A cell filled from below, in eighths.
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const FAILED: char = '░';
/// Rows of the answered share.
const ROWS: usize = 2;
/// The arm's name or what the row shows, to the left of it.
const LABEL: usize = 10;
/// A count and what it counts, to the right.
const TOTALS: usize = 16;
const COLUMNS_LEAST: usize = 20;

/// A row is a run of styled characters, one per column.
pub(crate) type Row = Vec<(Style, char)>;

/// The chart of the first `until` of the run, in lines of at most `width` columns.
pub(crate) fn lines(outcome: &Outcome, until: Duration, width: usize) -> Vec<String> {
    let columns = columns(width);
    let total = outcome.script.total();
    let shown = measure::column(until, total, columns);
    let cut = |arm: &ArmOutcome| measure::slices(&arm.records, &arm.arrivals, total, columns);
    let slices: Vec<_> = outcome.arms.iter().map(cut).collect();
    // One scale for all arms, or a storm would look like a calm.
    let busiest = slices.iter().flatten().map(|slice| slice.received).max().unwrap_or(0);

    let phases = outcome.script.phases();
    let phases = phases.map(|phase| (phase.from, phase.to, phase.behaviour.name().to_owned()));
    let mut lines = vec![band(phases, total, columns)];
    for (index, (arm, slices)) in outcome.arms.iter().zip(&slices).enumerate() {
        if index > 0 {
            lines.push(String::new());
        }
        let slices = slices.get(..shown).unwrap_or(slices);
        let answered =
            arm.records.iter().filter(|record| record.verdict == Verdict::Answered).count();
        let [upper, lower] =
            [1, 0].map(|row| slices.iter().map(|slice| share(slice, row, ROWS)).collect::<Row>());
        let load =
            slices.iter().map(|slice| (LOAD, eighths(slice.received, busiest))).collect::<Row>();
        lines.push(line((BOLD, arm.kind.name()), &upper, columns, (answered, "answered")));
        lines.push(line(
            (DIM, " answered"),
            &lower,
            columns,
            (arm.records.len() - answered, "failed"),
        ));
        lines.push(line((DIM, " load"), &load, columns, (arm.arrivals.len(), "received")));
    }
    lines.push(axis(total, columns));
    lines
}

/// Columns for the run itself, in a picture of `width`.
pub(crate) fn columns(width: usize) -> usize {
    width.saturating_sub(LABEL + TOTALS).max(COLUMNS_LEAST)
}

/// Row `row` (0 is the lowest) of a slice's answered share, drawn over so many rows.
pub(crate) fn share(slice: &Slice, row: usize, rows: usize) -> (Style, char) {
    let settled = slice.answered + slice.failed;
    if settled == 0 {
        return (PLAIN, ' ');
    }
    let levels = 8 * rows;
    let filled = (slice.answered * levels + settled / 2) / settled;
    match filled.saturating_sub(8 * row).min(8) {
        0 => (BAD, FAILED),
        level => (GOOD, EIGHTHS[level]),
    }
}

/// `part` of `most`, as a cell; anything above nothing shows.
pub(crate) fn eighths(part: usize, most: usize) -> char {
    EIGHTHS[(part * 8).div_ceil(most.max(1)).min(8)]
}

/// A row with what it shows to its left, and a count to its right.
pub(crate) fn line(
    label: (Style, &str),
    row: &Row,
    columns: usize,
    (total, unit): (usize, &str),
) -> String {
    let mut line = paint(label.0, label.1);
    line.push_str(&" ".repeat(LABEL.saturating_sub(label.1.chars().count())));
    for run in row.chunk_by(|left, right| left.0 == right.0) {
        let text: String = run.iter().map(|(_, cell)| cell).collect();
        line.push_str(&paint(run[0].0, &text));
    }
    line.push_str(&" ".repeat(columns.saturating_sub(row.len())));
    let _ = write!(line, "{:>7} {unit}", text::count(total));
    line
}

/// Phases, each beginning at its column with its name as far as there is room.
pub(crate) fn band(
    phases: impl Iterator<Item = (Duration, Duration, String)>,
    total: Duration,
    columns: usize,
) -> String {
    let mut band = String::new();
    for (from, to, name) in phases {
        let [from, to] = [from, to].map(|at| measure::column(at, total, columns));
        let width = to.saturating_sub(from);
        // Where only one of them fits, the name says more than the line.
        let line = if name.chars().count() == width { "" } else { "│" };
        let name: String = line.chars().chain(name.chars()).take(width).collect();
        let _ = write!(band, "{name:<width$}");
    }
    format!("{:LABEL$}{}", "", paint(PHASE, &band))
}

/// Tick marks with their seconds: as many round ones as fit.
pub(crate) fn axis(total: Duration, columns: usize) -> String {
    let room = u64::try_from(columns / 10).unwrap_or(1).max(1);
    let step = [1, 2, 5, 10, 20, 30, 60, 120]
        .into_iter()
        .find(|step| total.as_secs() / step <= room)
        .unwrap_or(300);
    let mut axis: Vec<char> = vec![' '; columns];
    for second in (0..=total.as_secs()).step_by(usize::try_from(step).unwrap_or(1)) {
        let column = measure::column(Duration::from_secs(second), total, columns);
        for (offset, mark) in format!("└{second} s").chars().enumerate() {
            if let Some(cell) = axis.get_mut(column + offset) {
                *cell = mark;
            }
        }
    }
    let axis = String::from_iter(axis);
    format!("{:LABEL$}{}", "", paint(DIM, axis.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::super::super::arms::Kind;
    use super::super::super::script::Script;
    use super::super::super::service::Form;
    use super::super::super::workload::Record;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn outcome() -> Outcome {
        let record = |second| Record {
            due: SECOND * second,
            latency: SECOND,
            verdict: if second < 50 { Verdict::Answered } else { Verdict::Rejected },
        };
        let arm = |kind| ArmOutcome {
            kind,
            records: (0..100).map(record).collect(),
            arrivals: (0..50).map(|second| SECOND * second).collect(),
        };
        Outcome {
            name: "outage",
            seed: 1,
            script: Script::outage(SECOND * 100),
            form: Form::Whole,
            arms: Kind::ALL.map(arm).into_iter().collect(),
        }
    }

    fn plain(until: Duration, width: usize) -> Vec<String> {
        lines(&outcome(), until, width)
            .iter()
            .map(|line| anstream::adapter::strip_str(line).to_string())
            .collect()
    }

    #[test]
    fn answered_and_failed_can_be_told_apart_without_colour() {
        let lines = plain(SECOND * 100, 127);
        let bar: String = lines[1].chars().skip(LABEL).take(100).collect();
        assert_eq!(bar, "█".repeat(50) + &"░".repeat(50));
    }

    #[test]
    fn every_line_keeps_to_the_width() {
        for width in [60, 80, 100, 127] {
            for line in plain(SECOND * 100, width) {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn what_has_not_happened_yet_is_left_blank() {
        let lines = plain(SECOND * 10, 127);
        assert!(
            lines[1].contains(&format!("{}{}", "█".repeat(10), " ".repeat(90))),
            "{}",
            lines[1]
        );
    }

    #[test]
    fn the_band_has_a_column_for_every_phase_even_when_names_do_not_fit() {
        let band = |columns: usize| {
            let band = plain(Duration::ZERO, columns + LABEL + TOTALS).swap_remove(0);
            band.chars().skip(LABEL).collect::<String>()
        };
        assert_eq!(band(100).chars().count(), 100);
        assert_eq!(band(20).chars().count(), 20);
        assert!(band(54).contains(" 503│ok"), "{}", band(54));
        assert_eq!(band(100).matches('│').count(), 10);
    }

    #[test]
    fn any_load_shows() {
        assert_eq!(
            (eighths(0, 100), eighths(1, 100), eighths(100, 100), eighths(0, 0)),
            (' ', '▁', '█', ' ')
        );
    }
}
