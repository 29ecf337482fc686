//! What is made of the records.
//!
//! - *goodput*: answers that came in time, per second, as a share of what the workers can do; each counts when it came.
//! - *admitted*: calls that were not turned away at the door, whether they were answered in time or not.
//! - all else as in the other scenes.

use std::time::Duration;

use super::super::measure::{Measures, percentile};
use super::super::workload::Record;
use super::CrowdArm;
use super::callers::CrowdRecord;
use super::load::{Load, Phase, Priority};
use super::service::CAPACITY;

/// One arm's numbers.
#[derive(Debug, Clone)]
pub(crate) struct CrowdMeasures {
    pub(crate) all: Measures,
    /// How long the callers of admitted calls waited, by nearest rank.
    pub(crate) admitted_p99: Duration,
    /// How long those waited who were turned away, if anybody was.
    pub(crate) refused_p99: Option<Duration>,
    pub(crate) phases: Vec<PhaseMeasures>,
    /// In the phases of overload, the most important priority first.
    pub(crate) priorities: Vec<PriorityMeasures>,
}

/// One phase of the run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PhaseMeasures {
    pub(crate) multiple: f64,
    /// Of the capacity.
    pub(crate) goodput: f64,
}

/// The calls of one priority.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PriorityMeasures {
    pub(crate) priority: Priority,
    pub(crate) calls: usize,
    pub(crate) answers: usize,
    /// Turned away at the door.
    pub(crate) refused: usize,
}

impl CrowdMeasures {
    pub(super) fn of(arm: &CrowdArm, load: &Load) -> Self {
        let records: Vec<Record> = arm.records.iter().map(|call| call.record).collect();
        let p99 = |refused: bool| {
            let calls = arm.records.iter().filter(|call| call.was_refused() == refused);
            let mut waits: Vec<_> = calls.map(|call| call.record.latency).collect();
            waits.sort_unstable();
            (!waits.is_empty()).then(|| percentile(&waits, 99))
        };
        Self {
            all: Measures::of(&records, arm.received, load.calm_again()),
            admitted_p99: p99(false).unwrap_or_default(),
            refused_p99: p99(true),
            phases: load.phases().iter().map(|phase| goodput(&arm.records, phase)).collect(),
            priorities: Priority::ALL.map(|priority| of(priority, arm, load)).to_vec(),
        }
    }
}

fn during<'a>(records: &'a [CrowdRecord], phase: &Phase) -> impl Iterator<Item = &'a CrowdRecord> {
    let span = phase.from..phase.to;
    records.iter().filter(move |call| span.contains(&call.record.due))
}

fn goodput(records: &[CrowdRecord], phase: &Phase) -> PhaseMeasures {
    let span = phase.from..phase.to;
    let came = |call: &&CrowdRecord| call.was_answered() && span.contains(&call.ended());
    let answers = records.iter().filter(came).count();
    #[expect(clippy::cast_precision_loss, reason = "counts of a run of minutes")]
    let answers = answers as f64;
    let seconds = phase.to.saturating_sub(phase.from).as_secs_f64();
    PhaseMeasures { multiple: phase.multiple, goodput: answers / (seconds * CAPACITY) }
}

fn of(priority: Priority, arm: &CrowdArm, load: &Load) -> PriorityMeasures {
    let mut measures = PriorityMeasures { priority, calls: 0, answers: 0, refused: 0 };
    let overloads = load.phases().iter().filter(|phase| phase.is_overload());
    for call in overloads.flat_map(|phase| during(&arm.records, phase)) {
        if call.priority == priority {
            measures.calls += 1;
            measures.answers += usize::from(call.was_answered());
            measures.refused += usize::from(call.was_refused());
        }
    }
    measures
}

#[cfg(test)]
mod tests {
    use super::super::super::arms::{Failure, Kind, Verdict};
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// One call a millisecond for 100 ms, in turn of each priority; the critical ones are answered, the
    /// others refused and too late.
    fn arm() -> CrowdArm {
        let call = |at: u32| {
            let priority = Priority::ALL[at as usize % 3];
            let (latency, verdict) = match priority {
                Priority::Critical => (MS * at, Verdict::Answered),
                Priority::Normal => (MS, Verdict::Failed(Failure::Status(503))),
                Priority::Background => (MS * 1000, Verdict::Failed(Failure::Timeout)),
            };
            CrowdRecord { priority, record: Record { due: MS * at, latency, verdict } }
        };
        CrowdArm { kind: Kind::Bare, records: (0..100).map(call).collect(), received: 100 }
    }

    #[test]
    fn goodput_is_what_was_answered_of_what_could_be() {
        let measures = CrowdMeasures::of(&arm(), &Load::crowd(MS * 100));
        // 22 ms of the second phase, from 15 to 37: the critical call that is due at `at` has its answer at 2 `at`, which is 18, 24,
        // 30, 36.
        let goodput = measures.phases[1].goodput;
        assert!((goodput - 4.0 / (0.022 * CAPACITY)).abs() < 1e-9, "{goodput}");
    }

    #[test]
    fn a_refused_call_did_not_wait_as_an_admitted_one() {
        let measures = CrowdMeasures::of(&arm(), &Load::crowd(MS * 100));
        assert_eq!(measures.admitted_p99, MS * 1000);
        assert_eq!(measures.all.p50, MS * 48);
    }

    #[test]
    fn priorities_are_counted_under_overload_only() {
        let measures = CrowdMeasures::of(&arm(), &Load::crowd(MS * 100));
        let calls: usize = measures.priorities.iter().map(|priority| priority.calls).sum();
        assert_eq!(calls, 22 + 25, "the calls of the second and the fourth phase");
        let [critical, normal, background] = measures.priorities[..] else { panic!() };
        assert_eq!((critical.answers, critical.refused), (critical.calls, 0));
        assert_eq!((normal.answers, normal.refused), (0, normal.calls));
        assert_eq!((background.answers, background.refused), (0, 0));
    }
}
