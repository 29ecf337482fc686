//! Rows: a subject's figures, and how they stand against a peer of the same work.

use serde::Serialize;

use crate::harness::Measurement;

/// "`subject` takes at most `at_most` times what `peer` takes."
///
/// A goal whose subject or peer is not measured is a missed goal: it gets a row that says so.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Goal {
    /// Whose goal it is.
    pub(crate) subject: String,
    /// The largest ratio of the medians that holds the goal.
    pub(crate) at_most: f64,
    /// The subject or sum of the same work it is compared with.
    pub(crate) peer: String,
}

/// A peer nobody can run but everybody can add up: "one clock read + 12 ns", "the sum of its policies".
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sum {
    /// The name its row goes by.
    pub(crate) subject: String,
    /// What is added: how often, and which measured subject of the same work.
    pub(crate) terms: Vec<(f64, String)>,
    /// Nanoseconds on top.
    pub(crate) plus_ns: f64,
}

impl Sum {
    /// The sum's own figures, or none if one of its terms was not measured.
    fn measurement(&self, measurements: &[Measurement]) -> Option<Measurement> {
        let mut sum = Measurement {
            subject: self.subject.clone(),
            median_ns: self.plus_ns,
            allocations: 0.0,
        };
        for (times, name) in &self.terms {
            let term = find(measurements, name)?;
            sum.median_ns += times * term.median_ns;
            sum.allocations += times * term.allocations;
        }
        Some(sum)
    }
}

/// One line of the table, and one element of the JSON document's `rows`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    /// What was done.
    pub(crate) work: String,
    /// By whom.
    pub(crate) subject: String,
    /// Nanoseconds per operation; none if the subject was not measured.
    pub(crate) median_ns: Option<f64>,
    /// Allocations per operation; none if the subject was not measured.
    pub(crate) allocations: Option<f64>,
    /// The subject of another row of this work.
    pub(crate) peer: Option<String>,
    /// This row's median divided by the peer's.
    pub(crate) ratio: Option<f64>,
    /// The largest ratio allowed.
    pub(crate) goal: Option<f64>,
    /// Whether the ratio is within the goal.
    pub(crate) held: Option<bool>,
}

impl Row {
    /// A row that is compared with nobody.
    fn plain(work: &str, measurement: &Measurement) -> Self {
        Self {
            work: work.to_owned(),
            subject: measurement.subject.clone(),
            median_ns: Some(measurement.median_ns),
            allocations: Some(measurement.allocations),
            peer: None,
            ratio: None,
            goal: None,
            held: None,
        }
    }

    /// A row that is held to `goal`.
    fn judged(work: &str, goal: &Goal, measurements: &[Measurement]) -> Self {
        let subject = find(measurements, &goal.subject);
        let peer = find(measurements, &goal.peer);
        let ratio = subject.zip(peer).map(|(subject, peer)| subject.median_ns / peer.median_ns);
        Self {
            work: work.to_owned(),
            subject: goal.subject.clone(),
            median_ns: subject.map(|subject| subject.median_ns),
            allocations: subject.map(|subject| subject.allocations),
            peer: Some(goal.peer.clone()),
            ratio,
            goal: Some(goal.at_most),
            held: Some(ratio.is_some_and(|ratio| ratio <= goal.at_most)),
        }
    }
}

/// The rows of one work: first what was measured and is judged by nothing, then the sums, then one row per goal.
pub(crate) fn rows(
    work: &str,
    measurements: &[Measurement],
    sums: &[Sum],
    goals: &[Goal],
) -> Vec<Row> {
    let mut known = measurements.to_vec();
    known.extend(sums.iter().filter_map(|sum| sum.measurement(measurements)));
    let judged = |name: &str| goals.iter().any(|goal| goal.subject == name);
    known
        .iter()
        .filter(|measurement| !judged(&measurement.subject))
        .map(|measurement| Row::plain(work, measurement))
        .chain(goals.iter().map(|goal| Row::judged(work, goal, &known)))
        .collect()
}

fn find<'a>(measurements: &'a [Measurement], name: &str) -> Option<&'a Measurement> {
    measurements.iter().find(|measurement| measurement.subject == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(subject: &str, median_ns: f64, allocations: f64) -> Measurement {
        Measurement { subject: subject.to_owned(), median_ns, allocations }
    }

    fn goal(subject: &str, at_most: f64, peer: &str) -> Goal {
        Goal { subject: subject.to_owned(), at_most, peer: peer.to_owned() }
    }

    #[test]
    fn a_ratio_equal_to_the_goal_holds_it() {
        let measurements = [measured("ours", 6.0, 0.0), measured("theirs", 10.0, 3.0)];
        let rows = rows("w", &measurements, &[], &[goal("ours", 0.6, "theirs")]);
        let [theirs, ours] = rows.as_slice() else { panic!("one row each: {rows:?}") };
        assert_eq!((theirs.peer.as_deref(), theirs.held), (None, None));
        assert_eq!(ours.peer.as_deref(), Some("theirs"));
        assert_eq!((ours.ratio, ours.held), (Some(0.6), Some(true)));
    }

    #[test]
    fn a_ratio_above_the_goal_misses_it() {
        let measurements = [measured("ours", 6.1, 0.0), measured("theirs", 10.0, 0.0)];
        let rows = rows("w", &measurements, &[], &[goal("ours", 0.6, "theirs")]);
        assert_eq!(rows[1].held, Some(false));
    }

    #[test]
    fn a_subject_with_two_goals_gets_a_row_for_each() {
        let measurements =
            [measured("ours", 6.0, 0.0), measured("a", 10.0, 0.0), measured("b", 5.0, 0.0)];
        let goals = [goal("ours", 1.0, "a"), goal("ours", 1.0, "b")];
        let rows = rows("w", &measurements, &[], &goals);
        let ours: Vec<_> = rows
            .iter()
            .filter(|row| row.subject == "ours")
            .map(|row| (row.median_ns, row.peer.as_deref(), row.held))
            .collect();
        assert_eq!(ours, [(Some(6.0), Some("a"), Some(true)), (Some(6.0), Some("b"), Some(false))]);
    }

    #[test]
    fn a_sum_is_a_row_and_can_be_a_peer() {
        let measurements = [measured("clock", 20.0, 0.0), measured("ours", 50.0, 0.0)];
        let sums = [Sum {
            subject: "two clock reads + 12 ns".to_owned(),
            terms: vec![(2.0, "clock".to_owned())],
            plus_ns: 12.0,
        }];
        let goals = [goal("ours", 1.0, "two clock reads + 12 ns")];
        let rows = rows("w", &measurements, &sums, &goals);
        assert_eq!(rows[1].subject, "two clock reads + 12 ns");
        assert_eq!(rows[1].median_ns, Some(52.0));
        assert_eq!((rows[2].ratio, rows[2].held), (Some(50.0 / 52.0), Some(true)));
    }

    #[test]
    fn a_sum_adds_allocations_too() {
        let measurements = [measured("a", 1.0, 1.0), measured("b", 2.0, 2.0)];
        let sums = [Sum {
            subject: "both".to_owned(),
            terms: vec![(1.0, "a".to_owned()), (1.0, "b".to_owned())],
            plus_ns: 0.0,
        }];
        let rows = rows("w", &measurements, &sums, &[]);
        assert_eq!((rows[2].median_ns, rows[2].allocations), (Some(3.0), Some(3.0)));
    }

    #[test]
    fn a_goal_nobody_was_measured_for_is_a_missed_row() {
        let measurements = [measured("theirs", 10.0, 0.0)];
        let rows = rows("w", &measurements, &[], &[goal("ours", 0.6, "theirs")]);
        assert_eq!(rows[1].subject, "ours");
        assert_eq!((rows[1].median_ns, rows[1].ratio), (None, None));
        assert_eq!((rows[1].goal, rows[1].held), (Some(0.6), Some(false)));
    }

    #[test]
    fn a_goal_against_a_sum_that_cannot_be_added_up_is_missed() {
        let measurements = [measured("ours", 1.0, 0.0)];
        let sums = [Sum {
            subject: "sum".to_owned(),
            terms: vec![(1.0, "absent".to_owned())],
            plus_ns: 0.0,
        }];
        let rows = rows("w", &measurements, &sums, &[goal("ours", 1.0, "sum")]);
        assert_eq!(rows.len(), 1, "no row for a sum without its terms");
        assert_eq!((rows[0].median_ns, rows[0].held), (Some(1.0), Some(false)));
    }
}
