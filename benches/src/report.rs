//! The rows as a table for people and as one JSON document for programs.

use std::io;

use serde::Serialize;

use crate::row::Row;

/// The table's headings; text stands left, numbers right.
const HEADINGS: [&str; 8] =
    ["work", "subject", "median ns", "allocations", "peer", "ratio", "goal", ""];

/// Which columns are numbers.
const RIGHT: [bool; 8] = [false, false, true, true, false, true, true, false];

/// Writes the aligned table and one closing line that counts the goals; coloured only if asked to.
pub(crate) fn table(out: &mut impl io::Write, rows: &[Row], coloured: bool) -> io::Result<()> {
    let cells: Vec<[String; 8]> = rows.iter().map(cells).collect();
    let mut widths = HEADINGS.map(str::len);
    for line in &cells {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.len());
        }
    }
    line(out, &HEADINGS.map(str::to_owned), &widths, style(coloured, "1"))?;
    for (row, cells) in rows.iter().zip(&cells) {
        let code = match row.held {
            Some(true) => "32",
            Some(false) => "31",
            None => "",
        };
        line(out, cells, &widths, style(coloured, code))?;
    }
    let held = rows.iter().filter(|row| row.held == Some(true)).count();
    let missed = rows.iter().filter(|row| row.held == Some(false)).count();
    if held + missed > 0 {
        writeln!(out, "\ngoals: {held} held, {missed} missed")?;
    }
    Ok(())
}

/// The document `{"rows": [...]}`, with null for what a row does not have.
pub(crate) fn json(out: &mut impl io::Write, rows: &[Row]) -> io::Result<()> {
    #[derive(Serialize)]
    struct Document<'a> {
        rows: &'a [Row],
    }
    serde_json::to_writer_pretty(&mut *out, &Document { rows })?;
    writeln!(out)
}

/// The escapes around the last column, or nothing.
fn style(coloured: bool, code: &str) -> Option<(String, &'static str)> {
    (coloured && !code.is_empty()).then(|| (format!("\x1b[{code}m"), "\x1b[0m"))
}

/// One line: padded outside the colour, so that escapes do not count as width, and without trailing spaces.
fn line(
    out: &mut impl io::Write,
    cells: &[String; 8],
    widths: &[usize; 8],
    style: Option<(String, &'static str)>,
) -> io::Result<()> {
    let mut text = String::new();
    for ((cell, &width), right) in cells.iter().zip(widths).zip(RIGHT) {
        let padding = " ".repeat(width - cell.len());
        if right {
            text.push_str(&padding);
        }
        text.push_str(cell);
        if !right {
            text.push_str(&padding);
        }
        text.push_str("  ");
    }
    let text = text.trim_end();
    match style {
        Some((begin, end)) => writeln!(out, "{begin}{text}{end}"),
        None => writeln!(out, "{text}"),
    }
}

fn cells(row: &Row) -> [String; 8] {
    let number = |value: Option<f64>, digits: usize| {
        value.map_or_else(String::new, |value| format!("{value:.digits$}"))
    };
    [
        row.work.clone(),
        row.subject.clone(),
        row.median_ns.map_or_else(|| "not measured".to_owned(), |ns| format!("{ns:.2}")),
        row.allocations.map_or_else(String::new, allocations),
        row.peer.clone().unwrap_or_default(),
        number(row.ratio, 3),
        number(row.goal, 2),
        match row.held {
            Some(true) => "held".to_owned(),
            Some(false) => "MISSED".to_owned(),
            None => String::new(),
        },
    ]
}

/// Whole numbers as such; a share below what two digits show is not rounded to none.
fn allocations(per_operation: f64) -> String {
    if per_operation.fract() == 0.0 {
        format!("{per_operation:.0}")
    } else if per_operation < 0.01 {
        "<0.01".to_owned()
    } else {
        format!("{per_operation:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rows() -> [Row; 3] {
        [
            Row {
                work: "breaker".to_owned(),
                subject: "tower-resilience".to_owned(),
                median_ns: Some(226.9),
                allocations: Some(3.0),
                peer: None,
                ratio: None,
                goal: None,
                held: None,
            },
            Row {
                work: "breaker".to_owned(),
                subject: "surefoot".to_owned(),
                median_ns: Some(22.69),
                allocations: Some(0.0),
                peer: Some("tower-resilience".to_owned()),
                ratio: Some(0.1),
                goal: Some(0.15),
                held: Some(true),
            },
            Row {
                work: "breaker".to_owned(),
                subject: "slow".to_owned(),
                median_ns: None,
                allocations: None,
                peer: Some("bare clock".to_owned()),
                ratio: None,
                goal: Some(1.0),
                held: Some(false),
            },
        ]
    }

    #[test]
    fn the_document_has_every_key_in_every_row_and_null_where_there_is_nothing() {
        let mut out = Vec::new();
        json(&mut out, &rows()).expect("memory takes everything");
        let document: serde_json::Value = serde_json::from_slice(&out).expect("it is JSON");
        assert_eq!(
            document,
            json!({"rows": [
                {"work": "breaker", "subject": "tower-resilience", "median_ns": 226.9, "allocations": 3.0,
                 "peer": null, "ratio": null, "goal": null, "held": null},
                {"work": "breaker", "subject": "surefoot", "median_ns": 22.69, "allocations": 0.0,
                 "peer": "tower-resilience", "ratio": 0.1, "goal": 0.15, "held": true},
                {"work": "breaker", "subject": "slow", "median_ns": null, "allocations": null,
                 "peer": "bare clock", "ratio": null, "goal": 1.0, "held": false},
            ]})
        );
    }

    #[test]
    fn the_table_is_aligned_and_counts_the_goals() {
        let mut out = Vec::new();
        table(&mut out, &rows(), false).expect("memory takes everything");
        let text = String::from_utf8(out).expect("the table is text");
        assert_eq!(
            text,
            "\
work     subject              median ns  allocations  peer              ratio  goal
breaker  tower-resilience        226.90            3
breaker  surefoot                 22.69            0  tower-resilience  0.100  0.15  held
breaker  slow              not measured               bare clock               1.00  MISSED

goals: 1 held, 1 missed
"
        );
    }

    #[test]
    fn colour_adds_escapes_and_nothing_else() {
        let (mut plain, mut coloured) = (Vec::new(), Vec::new());
        table(&mut plain, &rows(), false).expect("memory takes everything");
        table(&mut coloured, &rows(), true).expect("memory takes everything");
        let mut text = String::from_utf8(coloured).expect("the table is text");
        for escape in ["\x1b[0m", "\x1b[1m", "\x1b[31m", "\x1b[32m"] {
            assert!(text.contains(escape));
            text = text.replace(escape, "");
        }
        assert_eq!(text.into_bytes(), plain);
    }

    #[test]
    fn allocations_are_whole_or_visibly_not() {
        assert_eq!(allocations(0.0), "0");
        assert_eq!(allocations(3.0), "3");
        assert_eq!(allocations(2.5), "2.50");
        assert_eq!(allocations(0.0004), "<0.01");
    }
}
