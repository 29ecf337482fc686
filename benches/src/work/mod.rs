//! The works: what is measured, subject beside subject.

mod backpressure;
mod backpressure_figures;
mod breaker;
mod composition;
mod layers;
mod limiter;
mod limiter_figures;
mod limiter_keyed;
mod pipeline;
mod rejection;
mod retry;
mod shared;
mod throttler;
mod throttler_queue;

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::figure::Figure;
use crate::filter::Filter;
use crate::harness::{self, Subject};
use crate::row::{self, Goal, Row, Sum};

/// All works in the order of the table. Each is set up only when its turn comes: what opens a circuit for a minute
/// should not do so before the first work.
pub(crate) const ALL: [fn() -> Work; 30] = [
    breaker::asynchronous,
    breaker::blocking,
    shared::two_threads,
    rejection::open,
    retry::asynchronous,
    retry::blocking,
    pipeline::three_policies,
    layers::breaker,
    layers::retry,
    layers::timeout,
    layers::hedge,
    composition::hedge,
    composition::fallback,
    composition::stream_item,
    limiter::gcra,
    limiter::two_threads,
    limiter::windows,
    limiter::refusing,
    limiter::layers,
    limiter_keyed::ten_thousand,
    limiter_keyed::million,
    limiter_keyed::two_threads,
    throttler::alone,
    throttler::two_threads,
    throttler::layers,
    throttler_queue::hand_over,
    throttler_queue::throughput,
    backpressure::bulkhead,
    backpressure::load_shedder,
    backpressure::budget,
];

/// What is counted and not timed.
pub(crate) fn figures(filter: &Filter) -> Vec<Figure> {
    let works = [
        limiter_figures::ALLOCATIONS,
        backpressure_figures::ALLOCATIONS,
        limiter_figures::MEMORY,
        limiter_figures::BOUNDS,
    ];
    let asked = works.into_iter().filter(|(work, _)| filter.asks_for(work, ""));
    asked.flat_map(|(_, count)| count()).collect()
}

/// The operation unprotected.
pub(crate) const BARE_CALL: &str = "bare call";
/// One atomic addition: the least a call that is counted can cost.
pub(crate) const BARE_ATOMIC: &str = "bare atomic";
/// One reading of `std::time::Instant`: the clock of every peer.
pub(crate) const BARE_CLOCK: &str = "bare clock";
/// What a breaker that reads the clock once may take.
const ONE_READ_AND_12: &str = "one clock read + 12 ns";
/// What a breaker that reads the clock twice may take.
const TWO_READS_AND_12: &str = "two clock reads + 12 ns";

/// Subjects that do the same, and what is demanded of ours.
pub(crate) struct Work {
    name: &'static str,
    subjects: Vec<Subject>,
    sums: Vec<Sum>,
    goals: Vec<Goal>,
}

impl Work {
    /// A work that measures nothing yet.
    fn new(name: &'static str) -> Self {
        Self { name, subjects: Vec::new(), sums: Vec::new(), goals: Vec::new() }
    }

    /// Adds a subject.
    fn subject(mut self, subject: Subject) -> Self {
        self.subjects.push(subject);
        self
    }

    /// Adds a row that is added up: `times` a subject's median for each of `terms`, and `plus_ns`.
    fn sum(mut self, subject: &str, terms: &[(f64, &str)], plus_ns: f64) -> Self {
        self.sums.push(Sum {
            subject: subject.to_owned(),
            terms: terms.iter().map(|&(times, term)| (times, term.to_owned())).collect(),
            plus_ns,
        });
        self
    }

    /// Demands that `subject` takes at most `at_most` times what `peer` takes, a subject or a sum.
    fn goal(mut self, subject: &str, at_most: f64, peer: &str) -> Self {
        self.goals.push(Goal { subject: subject.to_owned(), at_most, peer: peer.to_owned() });
        self
    }

    /// Adds the clocks: the one that goals are stated in, and quanta's for information.
    fn clocks(self) -> Self {
        let quanta = quanta::Clock::new();
        self.subject(Subject::bare(BARE_CLOCK, Instant::now))
            .subject(Subject::bare("bare clock (quanta)", move || quanta.now()))
    }

    /// Adds an atomic addition on one thread.
    fn atomic(self) -> Self {
        let count = AtomicU64::new(black_box(0));
        self.subject(Subject::bare(BARE_ATOMIC, move || count.fetch_add(1, Ordering::Relaxed)))
    }

    /// Adds the sums that the breaker's timed modes are held against.
    fn clock_sums(self) -> Self {
        self.sum(ONE_READ_AND_12, &[(1.0, BARE_CLOCK)], 12.0).sum(
            TWO_READS_AND_12,
            &[(2.0, BARE_CLOCK)],
            12.0,
        )
    }

    /// Measures what the filter asks for and whatever that is compared with.
    pub(crate) fn measure(mut self, filter: &Filter) -> Vec<Row> {
        let selected = filter.select(
            self.name,
            self.subjects.iter().map(Subject::name),
            &self.sums,
            &self.goals,
        );
        self.subjects.retain(|subject| selected.contains(subject.name()));
        self.sums.retain(|sum| selected.contains(&sum.subject));
        self.goals.retain(|goal| selected.contains(&goal.subject));
        if self.subjects.is_empty() {
            // Nothing to time; a goal that was asked for is still a row, and a missed one.
            return row::rows(self.name, &[], &self.sums, &self.goals);
        }
        let measurements = harness::measure(self.name, &mut self.subjects);
        row::rows(self.name, &measurements, &self.sums, &self.goals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_work_has_a_name_of_its_own() {
        let names: BTreeSet<_> = ALL.iter().map(|begin| begin().name).collect();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn no_two_rows_of_a_work_share_a_name() {
        for begin in ALL {
            let work = begin();
            let subjects = work.subjects.iter().map(Subject::name);
            let names: Vec<_> =
                subjects.chain(work.sums.iter().map(|sum| sum.subject.as_str())).collect();
            let distinct: BTreeSet<_> = names.iter().collect();
            assert_eq!(distinct.len(), names.len(), "{}: {names:?}", work.name);
        }
    }

    #[test]
    fn a_goals_peer_is_a_subject_or_a_sum_of_the_same_work() {
        for begin in ALL {
            let work = begin();
            let measured: BTreeSet<_> = work.subjects.iter().map(Subject::name).collect();
            for goal in &work.goals {
                assert!(
                    measured.contains(goal.peer.as_str())
                        || work.sums.iter().any(|sum| sum.subject == goal.peer),
                    "{}: {goal:?}",
                    work.name
                );
            }
        }
    }
}
