//! What is made of the records. Everything here is a pure function of what callers and services wrote down.
//!
//! The measures, exactly:
//! - *calls*: what the workload asked for; *answers*: calls that ended in 200 with the whole body before the
//!   deadline; *failures*: all others.
//! - *service calls*: requests the arm's service counted, refused, hung and reset ones included.
//! - *wasted calls*: service calls that gave no caller an answer. An answer takes exactly one request, the last one
//!   of its call, so this is service calls − answers.
//! - *p50, p99*: how long callers waited until they knew, answered or not, by nearest rank.
//! - *recovery*: from the moment the service answers again after its outage until answers are back for good: the
//!   arrival of the first call from which on every [`WINDOW`] calls in a row have at least [`ENOUGH`] answers.

use std::time::Duration;

use super::arms::{Failure, Verdict};
use super::workload::Record;

/// Calls looked at together to say whether answers are back.
pub(crate) const WINDOW: usize = 20;
/// How many of them must be answered: 95 %.
pub(crate) const ENOUGH: usize = 19;

/// One arm's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measures {
    pub(crate) calls: usize,
    pub(crate) answers: usize,
    pub(crate) failures: usize,
    pub(crate) service_calls: usize,
    pub(crate) wasted_calls: usize,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// None if answers were not back for good before the end of the run.
    pub(crate) recovery: Option<Duration>,
    pub(crate) causes: Causes,
}

/// The failures by what the caller was left with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Causes {
    pub(crate) throttled: usize,
    pub(crate) unavailable: usize,
    pub(crate) other_status: usize,
    pub(crate) connection: usize,
    pub(crate) timeout: usize,
    pub(crate) rejected: usize,
}

impl Measures {
    /// Measures one arm: what its callers saw (`records`, in any order), and how many requests its service counted.
    pub(crate) fn of(records: &[Record], service_calls: usize, answering_again: Duration) -> Self {
        let mut records = records.to_vec();
        records.sort_by_key(|record| record.due);
        let mut latencies: Vec<_> = records.iter().map(|record| record.latency).collect();
        latencies.sort_unstable();
        let answers = records.iter().filter(|record| record.verdict == Verdict::Answered).count();
        Self {
            calls: records.len(),
            answers,
            failures: records.len() - answers,
            service_calls,
            wasted_calls: service_calls.saturating_sub(answers),
            p50: percentile(&latencies, 50),
            p99: percentile(&latencies, 99),
            recovery: recovery(&records, answering_again),
            causes: Causes::of(&records),
        }
    }
}

impl Causes {
    fn of(records: &[Record]) -> Self {
        let mut causes = Self::default();
        for record in records {
            match record.verdict {
                Verdict::Answered => {}
                Verdict::Rejected => causes.rejected += 1,
                Verdict::Failed(Failure::Connection) => causes.connection += 1,
                Verdict::Failed(Failure::Timeout) => causes.timeout += 1,
                Verdict::Failed(Failure::Status(429)) => causes.throttled += 1,
                Verdict::Failed(Failure::Status(503)) => causes.unavailable += 1,
                Verdict::Failed(Failure::Status(_)) => causes.other_status += 1,
            }
        }
        causes
    }
}

/// The smallest of `sorted` that at least `percent` % of them do not exceed; zero if there are none.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// See the module's text. `records` are in order of arrival.
fn recovery(records: &[Record], answering_again: Duration) -> Option<Duration> {
    let after = &records[records.partition_point(|record| record.due < answering_again)..];
    let good = |window: &[Record]| {
        window.iter().filter(|record| record.verdict == Verdict::Answered).count() >= ENOUGH
    };
    // Backwards from the last window, as far as they are all good.
    let back = after.windows(WINDOW).rev().take_while(|window| good(window)).last()?;
    // A good window may start with its one failure; answers are back from the first answer.
    let first = back.iter().find(|record| record.verdict == Verdict::Answered)?;
    Some(first.due.saturating_sub(answering_again))
}

/// What happened in one slice of the run: calls by their arrival, requests by when they reached the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Slice {
    pub(crate) answered: usize,
    pub(crate) failed: usize,
    pub(crate) received: usize,
}

/// The run cut into `count` equal slices. Requests that reach the service after `total` (late retries) are in none.
pub(crate) fn slices(
    records: &[Record],
    arrivals: &[Duration],
    total: Duration,
    count: usize,
) -> Vec<Slice> {
    let mut slices = vec![Slice::default(); count];
    for record in records {
        let Some(slice) = slices.get_mut(column(record.due, total, count)) else { continue };
        match record.verdict {
            Verdict::Answered => slice.answered += 1,
            Verdict::Failed(_) | Verdict::Rejected => slice.failed += 1,
        }
    }
    for &arrival in arrivals {
        if let Some(slice) = slices.get_mut(column(arrival, total, count)) {
            slice.received += 1;
        }
    }
    slices
}

/// Which of `count` equal parts of `total` holds `at`; `count` itself for the end and what is after it.
pub(crate) fn column(at: Duration, total: Duration, count: usize) -> usize {
    let parts = at.as_nanos() * count as u128 / total.as_nanos().max(1);
    usize::try_from(parts).unwrap_or(count).min(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const FAILED: Verdict = Verdict::Failed(Failure::Timeout);

    fn record(due: u32, verdict: Verdict) -> Record {
        Record { due: MS * due, latency: MS * 10, verdict }
    }

    /// One call per millisecond from 0 on; those in `failed` fail.
    fn calls(count: u32, failed: impl Fn(u32) -> bool) -> Vec<Record> {
        (0..count)
            .map(|due| record(due, if failed(due) { FAILED } else { Verdict::Answered }))
            .collect()
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let sorted: Vec<_> = (1..=200).map(|n| MS * n).collect();
        for (percent, expected) in [(50, 100), (99, 198), (100, 200)] {
            assert_eq!(percentile(&sorted, percent), MS * expected);
        }
        assert_eq!(percentile(&[MS], 50), MS);
        assert_eq!(percentile(&[], 99), Duration::ZERO);
    }

    #[test]
    fn what_the_service_counted_beyond_the_answers_is_wasted() {
        let measures = Measures::of(&calls(10, |due| due < 4), 25, Duration::ZERO);
        assert_eq!((measures.calls, measures.answers, measures.failures), (10, 6, 4));
        assert_eq!((measures.service_calls, measures.wasted_calls), (25, 19));
    }

    #[test]
    fn failures_add_up_by_cause() {
        let verdicts = [
            Verdict::Answered,
            Verdict::Rejected,
            FAILED,
            Verdict::Failed(Failure::Connection),
            Verdict::Failed(Failure::Status(429)),
            Verdict::Failed(Failure::Status(503)),
            Verdict::Failed(Failure::Status(404)),
        ];
        let records = verdicts.map(|verdict| record(0, verdict));
        let expected = Causes {
            throttled: 1,
            unavailable: 1,
            other_status: 1,
            connection: 1,
            timeout: 1,
            rejected: 1,
        };
        assert_eq!(Causes::of(&records), expected);
    }

    #[test]
    fn recovery_is_the_first_call_from_which_answers_are_back_for_good() {
        // Failing until 100, answered from then on, but for a relapse at 150 to 160.
        let records = calls(300, |due| due < 100 || (150..160).contains(&due));
        assert_eq!(recovery(&records, MS * 80), Some(MS * 80));
    }

    #[test]
    fn one_failure_in_twenty_is_still_recovered() {
        assert_eq!(recovery(&calls(300, |due| due % 20 == 5), MS * 100), Some(Duration::ZERO));
        assert_eq!(recovery(&calls(300, |due| due % 10 == 5), MS * 100), None);
    }

    #[test]
    fn an_arm_that_still_fails_at_the_end_has_not_recovered() {
        assert_eq!(recovery(&calls(300, |due| due >= 290), MS * 100), None);
        assert_eq!(recovery(&calls(10, |_| false), Duration::ZERO), None, "too few calls to say");
    }

    #[test]
    fn slices_hold_every_call_and_every_request_of_the_run_once() {
        let records = calls(100, |due| due >= 50);
        let arrivals: Vec<_> = (0..150).map(|n| MS * n).collect();
        let slices = slices(&records, &arrivals, MS * 100, 4);
        assert_eq!(slices[0], Slice { answered: 25, failed: 0, received: 25 });
        assert_eq!(slices[3], Slice { answered: 0, failed: 25, received: 25 });
        assert!(super::slices(&records, &arrivals, MS * 100, 0).is_empty());
    }
}
