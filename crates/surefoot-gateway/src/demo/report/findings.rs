//! What the numbers say, in sentences made from the numbers: whichever way they come out.

use std::cmp::Ordering;
use std::time::Duration;

use super::super::arms::Kind;
use super::super::measure::Measures;
use super::text;

/// Not to be broken at the end of a line.
const RETRY: &str = "retry\u{a0}×\u{a0}3";

/// A few sentences about Surefoot against the other arms of the scene.
pub(crate) fn sentences(measures: &[(Kind, Measures)]) -> Vec<String> {
    let of = |kind| measures.iter().find(|(other, _)| *other == kind).map(|(_, measures)| measures);
    match (of(Kind::Bare), of(Kind::Retry), of(Kind::Surefoot)) {
        (Some(bare), Some(retry), Some(surefoot)) => against_both(bare, retry, surefoot),
        (Some(bare), None, Some(surefoot)) => against_bare(bare, surefoot),
        _ => Vec::new(),
    }
}

fn against_bare(bare: &Measures, surefoot: &Measures) -> Vec<String> {
    vec![
        format!(
            "Surefoot had {} of {} answers complete: {} bare. A caller waited {} for the slowest hundredth, and {} bare.",
            text::count(surefoot.answers),
            text::count(surefoot.calls),
            than(surefoot.answers, bare.answers),
            text::time(surefoot.p99),
            text::time(bare.p99),
        ),
        standing(surefoot, &[("bare calls", bare)]),
    ]
}

fn against_both(bare: &Measures, retry: &Measures, surefoot: &Measures) -> Vec<String> {
    vec![
        format!(
            "Surefoot answered {} of {} calls: {} bare, {} {RETRY}.",
            text::count(surefoot.answers),
            text::count(surefoot.calls),
            than(surefoot.answers, bare.answers),
            than(surefoot.answers, retry.answers),
        ),
        format!(
            "For 100 answers the service had to take {} calls from Surefoot, {} from bare and {} from {RETRY}.",
            per_hundred_answers(surefoot),
            per_hundred_answers(bare),
            per_hundred_answers(retry),
        ),
        format!(
            "After the outage, answers were back for good: with Surefoot {}, bare {}, with {RETRY} {}.",
            back(surefoot),
            back(bare),
            back(retry),
        ),
        standing(surefoot, &[("bare calls", bare), (RETRY, retry)]),
    ]
}

/// How `ours` compares with `theirs`, up to the name of who that is.
fn than(ours: usize, theirs: usize) -> String {
    match ours.cmp(&theirs) {
        Ordering::Greater => format!("{} more than", text::count(ours - theirs)),
        Ordering::Equal => "as many as".to_owned(),
        Ordering::Less => format!("{} fewer than", text::count(theirs - ours)),
    }
}

fn per_hundred_answers(arm: &Measures) -> String {
    match arm.answers {
        0 => format!("{} (and gave none)", text::count(arm.service_calls)),
        answers => text::count((arm.service_calls * 100 + answers / 2) / answers),
    }
}

/// Too short to be told from the gap between two calls.
const AT_ONCE: Duration = Duration::from_millis(100);

fn back(arm: &Measures) -> String {
    match arm.recovery {
        None => "never within the run".to_owned(),
        Some(time) if time < AT_ONCE => "at once".to_owned(),
        Some(time) => format!("in {}", text::time(time)),
    }
}

/// A measure of the table: its name, how to take it so that less is better, how to show it.
struct Column {
    name: &'static str,
    take: fn(&Measures) -> u128,
    show: fn(&Measures) -> String,
}

const COLUMNS: [Column; 5] = [
    Column {
        name: "failures",
        take: |arm| arm.failures as u128,
        show: |arm| text::count(arm.failures),
    },
    Column {
        name: "wasted calls",
        take: |arm| arm.wasted_calls as u128,
        show: |arm| text::count(arm.wasted_calls),
    },
    Column { name: "p50", take: |arm| arm.p50.as_millis(), show: |arm| text::time(arm.p50) },
    Column { name: "p99", take: |arm| arm.p99.as_millis(), show: |arm| text::time(arm.p99) },
    Column {
        name: "time to recover",
        take: |arm| arm.recovery.unwrap_or(Duration::MAX).as_millis(),
        show: |arm| arm.recovery.map_or_else(|| "never".to_owned(), text::time),
    },
];

/// Where Surefoot was beaten, by whom and by how much: the sentence that keeps the others honest.
fn standing(surefoot: &Measures, others: &[(&str, &Measures)]) -> String {
    let beaten: Vec<_> = COLUMNS
        .iter()
        .filter_map(|Column { name, take, show }| {
            let (best, theirs) = others.iter().min_by_key(|(_, arm)| take(arm))?;
            let beaten = take(theirs) < take(surefoot);
            beaten.then(|| {
                format!("{name} ({} against {} with {best})", show(surefoot), show(theirs))
            })
        })
        .collect();
    match beaten.as_slice() {
        [] => "In no column of the table did another arm do better than Surefoot.".to_owned(),
        beaten => format!("Surefoot was beaten on {}.", beaten.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::measure::Causes;
    use super::*;

    fn arm(answers: usize, service_calls: usize, p99: u64, recovery: Option<u64>) -> Measures {
        Measures {
            calls: 1000,
            answers,
            failures: 1000 - answers,
            service_calls,
            wasted_calls: service_calls - answers,
            p50: Duration::from_millis(100),
            p99: Duration::from_millis(p99),
            recovery: recovery.map(Duration::from_millis),
            causes: Causes::default(),
        }
    }

    fn said(bare: Measures, retry: Measures, surefoot: Measures) -> String {
        sentences(&[(Kind::Bare, bare), (Kind::Retry, retry), (Kind::Surefoot, surefoot)])
            .join("\n")
            .replace('\u{a0}', " ")
    }

    #[test]
    fn a_win_is_told_with_its_numbers() {
        let said = said(
            arm(500, 1000, 2000, Some(900)),
            arm(600, 2400, 2000, None),
            arm(700, 910, 1500, Some(80)),
        );
        for part in [
            "answered 700 of 1,000 calls: 200 more than bare, 100 more than retry × 3",
            "take 130 calls from Surefoot, 200 from bare and 400 from retry × 3",
            "back for good: with Surefoot at once, bare in 900 ms, with retry × 3 never within the run",
            "In no column of the table did another arm do better",
        ] {
            assert!(said.contains(part), "{part:?} is not in:\n{said}");
        }
    }

    #[test]
    fn a_defeat_is_told_just_as_plainly() {
        let said = said(
            arm(700, 1000, 2000, Some(300)),
            arm(800, 900, 1900, Some(200)),
            arm(600, 900, 2100, None),
        );
        assert!(said.contains("100 fewer than bare, 200 fewer than retry × 3"), "{said}");
        assert!(
            said.contains(
                "Surefoot was beaten on failures (400 against 200 with retry × 3), wasted calls (300 against 100 with \
                 retry × 3), p99 (2.1 s against 1.9 s with retry × 3), time to recover (never against 200 ms \
                 with retry × 3)."
            ),
            "{said}"
        );
    }

    #[test]
    fn a_tie_is_neither() {
        let same = arm(700, 1000, 2000, Some(300));
        let said = said(same, same, same);
        assert!(said.contains("as many as bare, as many as retry × 3"), "{said}");
        assert!(said.contains("In no column"), "{said}");
    }
}
