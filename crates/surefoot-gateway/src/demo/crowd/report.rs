//! The scene for a reader: the chart over time, the tables, what the words mean, what the numbers say.

use std::time::Duration;

use super::super::arms::{Kind, Verdict};
use super::super::measure::{Slice, column};
use super::super::report::chart::{Row, axis, band, columns, eighths, line, share};
use super::super::report::{table, text};
use super::super::terminal::{BOLD, DIM, LOAD, paint};
use super::callers::CrowdRecord;
use super::load::Priority;
use super::measure::{CrowdMeasures, PriorityMeasures};
use super::service::{WORK, WORKERS};
use super::{Crowd, CrowdOutcome, DEADLINE, door};

pub(super) fn lines(outcome: &CrowdOutcome, width: usize) -> Vec<String> {
    let measures = outcome.measures();
    let headline = format!("surefoot demo: {}, seed {}", Crowd::NAME, outcome.seed);
    let calls = outcome.arms.first().map_or(0, |arm| arm.records.len());
    let mut lines = vec![paint(BOLD, &headline)];
    lines.extend(text::wrap(&setup(calls), width));
    lines.push(String::new());
    lines.extend(chart(outcome, outcome.load.total(), width));
    lines.push(String::new());
    lines.extend(tables(&measures));
    lines.push(String::new());
    for entry in LEGEND {
        lines.extend(text::wrap(entry, width).iter().map(|line| paint(DIM, line)));
    }
    lines.push(String::new());
    lines.extend(findings(&measures).iter().flat_map(|sentence| text::wrap(sentence, width)));
    lines
}

fn setup(calls: usize) -> String {
    format!(
        "The same {calls} calls, a third of each priority, went to two instances of the same service on 127.0.0.1 at the same \
         time. It has {WORKERS} workers, {work} a call, and works off what it took on even if the caller has left, after \
         {deadline}. Only its door differs: bare, everybody joins the line; with surefoot, a load shedder and a \
         throttler say who does: {concurrent} at work, {waiting} waiting, the important first and none longer than {wait}.",
        work = text::time(WORK),
        deadline = text::time(DEADLINE),
        concurrent = WORKERS,
        waiting = door::WAITING,
        wait = text::time(door::LONGEST_WAIT),
    )
}

const LEGEND: [&str; 4] = [
    "█ answered in time, ░ not (height: the share of the calls that began then); the first row: answers in time that \
     came then, of what the workers can do.",
    "goodput: the same for a whole phase, whose load stands above it as a multiple of the capacity.",
    "p99 admitted: how long callers waited who were not refused, answered or not; refused: how long those waited who were.",
    "by priority: calls answered in time, and refused, while the load was above the capacity.",
];

/// The chart of the first `until` of the run, in lines of at most `width` columns.
pub(super) fn chart(outcome: &CrowdOutcome, until: Duration, width: usize) -> Vec<String> {
    let columns = columns(width);
    let total = outcome.load.total();
    let shown = column(until, total, columns);
    let phases = outcome.load.phases().iter().map(|phase| (phase.from, phase.to, phase.name()));
    let mut lines = vec![band(phases, total, columns)];
    for (index, arm) in outcome.arms.iter().enumerate() {
        if index > 0 {
            lines.push(String::new());
        }
        let cut = |priority: Priority| {
            let mut slices = slices(&arm.records, priority, total, columns);
            slices.truncate(shown);
            slices
        };
        let answered = arm.records.iter().filter(|call| call.was_answered()).count();
        let goodput = goodput(&arm.records, total, columns);
        let full = super::service::CAPACITY * total.as_secs_f64() / columns_f64(columns);
        let goodput: Row =
            goodput[..shown].iter().map(|&answers| (LOAD, part_of(answers, full))).collect();
        lines.push(line((BOLD, arm.kind.name()), &goodput, columns, (answered, "answered")));
        for priority in Priority::ALL {
            let slices = cut(priority);
            let row: Row = slices.iter().map(|slice| share(slice, 0, 1)).collect();
            let refused = arm.records.iter();
            let refused = refused.filter(|call| call.priority == priority && call.was_refused());
            let label = format!(" {}", short(priority));
            lines.push(line((DIM, &label), &row, columns, (refused.count(), "refused")));
        }
    }
    lines.push(axis(total, columns));
    lines
}

/// What fits to the left of the chart.
fn short(priority: Priority) -> &'static str {
    match priority {
        Priority::Critical => "critical",
        Priority::Normal => "normal",
        Priority::Background => "backgr.",
    }
}

#[expect(clippy::cast_precision_loss, reason = "columns of a terminal")]
fn columns_f64(columns: usize) -> f64 {
    columns as f64
}

/// `part` of `full` as a cell; more than full is full.
fn part_of(part: usize, full: f64) -> char {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small and positive"
    )]
    let thousandths = (full * 1000.0) as usize;
    eighths((part * 1000).min(thousandths), thousandths)
}

/// The answers in each of `count` equal slices of the run, by when they came.
fn goodput(records: &[CrowdRecord], total: Duration, count: usize) -> Vec<usize> {
    let mut slices = vec![0; count];
    for call in records.iter().filter(|call| call.was_answered()) {
        if let Some(answers) = slices.get_mut(column(call.ended(), total, count)) {
            *answers += 1;
        }
    }
    slices
}

/// The calls of one priority cut into `count` equal slices of the run by their arrival.
fn slices(
    records: &[CrowdRecord],
    priority: Priority,
    total: Duration,
    count: usize,
) -> Vec<Slice> {
    let mut slices = vec![Slice::default(); count];
    for call in records.iter().filter(|call| call.priority == priority) {
        let Some(slice) = slices.get_mut(column(call.record.due, total, count)) else { continue };
        match call.record.verdict {
            Verdict::Answered => slice.answered += 1,
            Verdict::Failed(_) | Verdict::Rejected => slice.failed += 1,
        }
    }
    slices
}

fn tables(measures: &[(Kind, CrowdMeasures)]) -> Vec<String> {
    let phases = measures.first().map_or(&[][..], |(_, measures)| &measures.phases);
    let loads: Vec<String> = phases.iter().map(|phase| format!("{} ×", phase.multiple)).collect();
    let mut head = vec!["goodput at"];
    head.extend(loads.iter().map(String::as_str));
    head.extend(["p99 admitted", "refused", "back after"]);
    let mut lines = table::grid(
        &head,
        measures.iter().map(|(kind, arm)| {
            let mut row = vec![kind.name().to_owned()];
            row.extend(arm.phases.iter().map(|phase| percent(phase.goodput)));
            row.extend([
                text::time(arm.admitted_p99),
                arm.refused_p99.map_or_else(|| "–".to_owned(), text::time),
                arm.all.recovery.map_or_else(|| "never".to_owned(), text::time),
            ]);
            row
        }),
    );
    lines.push(String::new());
    let mut head = vec!["by priority"];
    for priority in Priority::ALL {
        head.extend([priority.name(), "refused"]);
    }
    lines.extend(table::grid(
        &head,
        measures.iter().map(|(kind, arm)| {
            let mut row = vec![kind.name().to_owned()];
            for &PriorityMeasures { calls, answers, refused, .. } in &arm.priorities {
                row.extend([text::percent(answers, calls), text::percent(refused, calls)]);
            }
            row
        }),
    ));
    lines
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn findings(measures: &[(Kind, CrowdMeasures)]) -> Vec<String> {
    let of = |kind| measures.iter().find(|(other, _)| *other == kind).map(|(_, arm)| arm);
    let (Some(bare), Some(surefoot)) = (of(Kind::Bare), of(Kind::Surefoot)) else {
        return Vec::new();
    };
    let worst = |arm: &CrowdMeasures| {
        let overloads = arm.phases.iter().filter(|phase| phase.multiple > 1.0);
        overloads.map(|phase| phase.goodput).fold(f64::INFINITY, f64::min)
    };
    let first = |arm: &CrowdMeasures| {
        arm.priorities
            .first()
            .map_or_else(String::new, |critical| text::percent(critical.answers, critical.calls))
    };
    vec![
        format!(
            "At its worst load the service did {} of what it can do with Surefoot at its door, and {} bare.",
            percent(worst(surefoot)),
            percent(worst(bare)),
        ),
        format!(
            "Of the critical calls under overload {} were answered in time with Surefoot, {} bare. Whoever was admitted waited at most \
             {} (all but one in a hundred), bare {}.",
            first(surefoot),
            first(bare),
            text::time(surefoot.admitted_p99),
            text::time(bare.admitted_p99),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::super::workload::Record;
    use super::super::CrowdArm;
    use super::super::load::{Arrival, Load};
    use super::*;

    fn outcome() -> CrowdOutcome {
        let load = Load::crowd(Duration::from_secs(10));
        let call = |arrival: Arrival| CrowdRecord {
            priority: arrival.priority,
            record: Record {
                due: arrival.at,
                latency: Duration::from_millis(100),
                verdict: Verdict::Answered,
            },
        };
        let arm = |kind| CrowdArm {
            kind,
            records: load.schedule(1, 100.0).into_iter().map(call).collect(),
            received: 1000,
        };
        let arms = [Kind::Bare, Kind::Surefoot].map(arm).into_iter().collect();
        CrowdOutcome { seed: 1, load, arms }
    }

    #[test]
    fn every_line_keeps_to_the_width() {
        for width in [80, 100, 120] {
            for line in lines(&outcome(), width) {
                let line = anstream::adapter::strip_str(&line).to_string();
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn a_share_above_all_is_all() {
        assert_eq!(part_of(0, 2.0), ' ');
        assert_eq!(part_of(1, 2.0), '▄');
        assert_eq!(part_of(9, 2.0), '█');
    }
}
