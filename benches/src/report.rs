//! The rows as a table for people and as one JSON document for programs.

use std::io;

use serde::Serialize;

use crate::figure::Figure;
use crate::row::Row;

/// The table's headings; text stands left, numbers right.
const HEADINGS: [&str; 8] =
    ["work", "subject", "median ns", "allocations", "peer", "ratio", "goal", ""];

/// Which columns are numbers.
const RIGHT: [bool; 8] = [false, false, true, true, false, true, true, false];

/// The headings of the figures.
const FIGURE_HEADINGS: [&str; 6] = ["work", "subject", "figure", "unit", "at most", ""];

/// Which columns are numbers.
const FIGURE_RIGHT: [bool; 6] = [false, false, true, false, true, false];

/// Writes the aligned tables and one closing line that counts the goals; coloured only if asked to.
pub(crate) fn table(
    out: &mut impl io::Write,
    rows: &[Row],
    figures: &[Figure],
    coloured: bool,
) -> io::Result<()> {
    if !rows.is_empty() {
        let lines = rows.iter().map(|row| (cells(row), row.held));
        aligned(out, HEADINGS, RIGHT, &lines.collect::<Vec<_>>(), coloured)?;
    }
    if !figures.is_empty() {
        if !rows.is_empty() {
            writeln!(out)?;
        }
        let lines = figures.iter().map(|figure| (figure_cells(figure), figure.held));
        aligned(out, FIGURE_HEADINGS, FIGURE_RIGHT, &lines.collect::<Vec<_>>(), coloured)?;
    }
    let judged = rows.iter().map(|row| row.held).chain(figures.iter().map(|figure| figure.held));
    let judged: Vec<bool> = judged.flatten().collect();
    if !judged.is_empty() {
        let held = judged.iter().filter(|held| **held).count();
        writeln!(out, "\ngoals: {held} held, {} missed", judged.len() - held)?;
    }
    Ok(())
}

fn aligned<const N: usize>(
    out: &mut impl io::Write,
    headings: [&str; N],
    right: [bool; N],
    lines: &[([String; N], Option<bool>)],
    coloured: bool,
) -> io::Result<()> {
    let mut widths = headings.map(str::len);
    for (cells, _) in lines {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = (*width).max(cell.len());
        }
    }
    line(out, &headings.map(str::to_owned), &widths, right, style(coloured, "1"))?;
    for (cells, held) in lines {
        let code = match held {
            Some(true) => "32",
            Some(false) => "31",
            None => "",
        };
        line(out, cells, &widths, right, style(coloured, code))?;
    }
    Ok(())
}

/// The document `{"rows": [...], "figures": [...]}`, with null for what there is not.
pub(crate) fn json(out: &mut impl io::Write, rows: &[Row], figures: &[Figure]) -> io::Result<()> {
    #[derive(Serialize)]
    struct Document<'a> {
        rows: &'a [Row],
        figures: &'a [Figure],
    }
    serde_json::to_writer_pretty(&mut *out, &Document { rows, figures })?;
    writeln!(out)
}

/// The escapes around the last column, or nothing.
fn style(coloured: bool, code: &str) -> Option<(String, &'static str)> {
    (coloured && !code.is_empty()).then(|| (format!("\x1b[{code}m"), "\x1b[0m"))
}

/// One line: padded outside the colour, so that escapes do not count as width, and without trailing spaces.
fn line<const N: usize>(
    out: &mut impl io::Write,
    cells: &[String; N],
    widths: &[usize; N],
    right: [bool; N],
    style: Option<(String, &'static str)>,
) -> io::Result<()> {
    let mut text = String::new();
    for ((cell, &width), right) in cells.iter().zip(widths).zip(right) {
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

fn figure_cells(figure: &Figure) -> [String; 6] {
    let number = |value: f64| {
        if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
    };
    [
        figure.work.clone(),
        figure.subject.clone(),
        number(figure.value),
        figure.unit.to_owned(),
        figure.at_most.map_or_else(String::new, number),
        match figure.held {
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

    fn figures() -> [Figure; 2] {
        [
            Figure::plain("memory", "a key", 25.5, "bytes"),
            Figure::plain("allocations", "a check", 1.0, "allocations").at_most(0.0),
        ]
    }

    #[test]
    fn the_document_has_every_key_in_every_row_and_null_where_there_is_nothing() {
        let mut out = Vec::new();
        json(&mut out, &rows(), &figures()).expect("memory takes everything");
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
            ], "figures": [
                {"work": "memory", "subject": "a key", "value": 25.5, "unit": "bytes", "at_most": null, "held": null},
                {"work": "allocations", "subject": "a check", "value": 1.0, "unit": "allocations", "at_most": 0.0,
                 "held": false},
            ]})
        );
    }

    #[test]
    fn the_table_is_aligned_and_counts_the_goals() {
        let mut out = Vec::new();
        table(&mut out, &rows(), &figures(), false).expect("memory takes everything");
        let text = String::from_utf8(out).expect("the table is text");
        assert_eq!(
            text,
            "\
work     subject              median ns  allocations  peer              ratio  goal
breaker  tower-resilience        226.90            3
breaker  surefoot                 22.69            0  tower-resilience  0.100  0.15  held
breaker  slow              not measured               bare clock               1.00  MISSED

work         subject  figure  unit         at most
memory       a key     25.50  bytes
allocations  a check       1  allocations        0  MISSED

goals: 1 held, 2 missed
"
        );
    }

    #[test]
    fn colour_adds_escapes_and_nothing_else() {
        let (mut plain, mut coloured) = (Vec::new(), Vec::new());
        table(&mut plain, &rows(), &figures(), false).expect("memory takes everything");
        table(&mut coloured, &rows(), &figures(), true).expect("memory takes everything");
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
