//! The tables: one row per arm, numbers aligned to the right.

use super::super::arms::Kind;
use super::super::measure::Measures;
use super::super::terminal::{BOLD, PLAIN, paint};
use super::text;

/// The measures, and the failures by their cause.
pub(crate) fn lines(measures: &[(Kind, Measures)]) -> Vec<String> {
    let mut lines = grid(
        &[
            "",
            "calls",
            "answers",
            "",
            "failures",
            "at service",
            "wasted",
            "p50",
            "p99",
            "back after",
        ],
        measures.iter().map(|(kind, arm)| {
            vec![
                kind.name().to_owned(),
                text::count(arm.calls),
                text::count(arm.answers),
                text::percent(arm.answers, arm.calls),
                text::count(arm.failures),
                text::count(arm.service_calls),
                text::count(arm.wasted_calls),
                text::time(arm.p50),
                text::time(arm.p99),
                arm.recovery.map_or_else(|| "never".to_owned(), text::time),
            ]
        }),
    );
    lines.push(String::new());
    lines.extend(grid(
        &["failed with", "429", "503", "other status", "reset", "too late", "held back"],
        measures.iter().map(|(kind, arm)| {
            let causes = arm.causes;
            let counts = [
                causes.throttled,
                causes.unavailable,
                causes.other_status,
                causes.connection,
                causes.timeout,
                causes.rejected,
            ];
            std::iter::once(kind.name().to_owned()).chain(counts.map(text::count)).collect()
        }),
    ));
    lines
}

/// Columns as wide as their widest cell, two apart; the first one to the left.
pub(crate) fn grid(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Vec<String> {
    let head = head.iter().map(|&cell| cell.to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |(index, row): (usize, &Vec<String>)| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        let text = cells.collect::<Vec<_>>().join("  ");
        paint(if index == 0 { BOLD } else { PLAIN }, text.trim_end())
    };
    rows.iter().enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_aligned_to_the_right_and_names_to_the_left() {
        let rows = [
            vec!["bare".to_owned(), "7".to_owned()],
            vec!["retry × 3".to_owned(), "1,000".to_owned()],
        ];
        let lines = grid(&["", "n"], rows.into_iter());
        assert_eq!(lines[1..], ["bare           7", "retry × 3  1,000"]);
    }
}
