//! What came of it.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use surefoot::{Error, Timestamp};

use crate::ServerError;
use crate::world::{Handle, lock};

/// What became of a call, as its caller sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, within its time.
    Done,
    /// Refused before anything was sent.
    Refused,
    /// Its time ran out.
    TimedOut,
    /// It failed.
    Failed,
}

/// Every call of a crowd. Clones are handles to the same one.
#[derive(Clone, Default)]
pub struct Tally {
    calls: Arc<Mutex<Vec<Call>>>,
}

#[derive(Clone, Copy, Debug)]
struct Call {
    group: u8,
    arrived: Timestamp,
    ended: Timestamp,
    outcome: Outcome,
}

/// The calls that arrived within some span.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// All of them, other than those that have not ended.
    pub offered: usize,
    /// How many were done,
    pub done: usize,
    /// refused,
    pub refused: usize,
    /// timed out,
    pub timed_out: usize,
    /// failed.
    pub failed: usize,
    /// How long those that were done took, in order.
    latencies: Vec<Duration>,
    /// How long the longest of those that were refused had to wait for that.
    longest_refusal: Duration,
    span: Duration,
}

impl Tally {
    /// Makes a call and notes what becomes of it.
    pub async fn note(
        &self,
        world: &Handle,
        group: u8,
        call: impl Future<Output = Result<(), Error<ServerError>>>,
    ) {
        let arrived = world.now();
        let outcome = Outcome::of(&call.await);
        let ended = world.now();
        lock(&self.calls).push(Call { group, arrived, ended, outcome });
    }

    /// The calls that arrived from second `from` on and before second `to`.
    pub fn between(&self, from: u64, to: u64) -> Summary {
        self.select(from, to, |_| true)
    }

    /// The same of one group of callers.
    pub fn of_group(&self, group: u8, from: u64, to: u64) -> Summary {
        self.select(from, to, |call| call.group == group)
    }

    /// How many seconds after second `from` at least such a share of the calls that come in a second
    /// is done, from then on until second `to`; `None` if never.
    pub fn recovered_after(&self, from: u64, to: u64, share: f64) -> Option<u64> {
        let is_bad = |second: &u64| self.between(*second, second + 1).share_done() < share;
        match (from..to).rev().find(is_bad) {
            None => Some(0),
            Some(second) if second + 1 == to => None,
            Some(second) => Some(second + 1 - from),
        }
    }

    fn select(&self, from: u64, to: u64, is_meant: impl Fn(&Call) -> bool) -> Summary {
        let at = |seconds| Timestamp::ZERO + Duration::from_secs(seconds);
        let span = at(from)..at(to);
        let mut summary = Summary { span: at(to) - at(from), ..Summary::default() };
        let calls = lock(&self.calls);
        for call in calls.iter().filter(|call| span.contains(&call.arrived) && is_meant(call)) {
            summary.offered += 1;
            match call.outcome {
                Outcome::Done => {
                    summary.done += 1;
                    summary.latencies.push(call.ended - call.arrived);
                }
                Outcome::Refused => {
                    summary.refused += 1;
                    let waited = call.ended - call.arrived;
                    summary.longest_refusal = summary.longest_refusal.max(waited);
                }
                Outcome::TimedOut => summary.timed_out += 1,
                Outcome::Failed => summary.failed += 1,
            }
        }
        summary.latencies.sort_unstable();
        summary
    }
}

impl Outcome {
    fn of(result: &Result<(), Error<ServerError>>) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(error) => Self::of_error(error),
        }
    }

    fn of_error(error: &Error<ServerError>) -> Self {
        match error {
            Error::Rejected(_) | Error::Operation(ServerError::Overloaded) => Self::Refused,
            Error::Exhausted { last, .. } => Self::of_error(last),
            Error::Timeout { .. } => Self::TimedOut,
            _ => Self::Failed,
        }
    }
}

impl Summary {
    /// Calls done in a second.
    pub fn rate(&self) -> f64 {
        as_f64(self.done) / self.span.as_secs_f64()
    }

    /// Calls done of those offered; all of none.
    pub fn share_done(&self) -> f64 {
        share(self.done, self.offered)
    }

    /// Calls that were not refused.
    pub fn share_admitted(&self) -> f64 {
        share(self.offered - self.refused, self.offered)
    }

    /// Calls that were done, or told that they would not be.
    pub fn share_answered(&self) -> f64 {
        share(self.done + self.refused, self.offered)
    }

    /// The latency that such a share of the calls done did not exceed, in seconds; 0 if none was.
    pub fn latency(&self, quantile: f64) -> f64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a count"
        )]
        let place = (quantile * as_f64(self.latencies.len())) as usize;
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get(place.min(last)).map_or(0.0, Duration::as_secs_f64)
    }

    /// How long a refusal took at most, in seconds.
    pub fn longest_refusal(&self) -> f64 {
        self.longest_refusal.as_secs_f64()
    }
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 1.0 } else { as_f64(part) / as_f64(whole) }
}

pub(crate) fn as_f64(count: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of a simulation are small")]
    let count = count as f64;
    count
}

/// Jain's index: 1 if all have the same, 1/n if one of n has all.
pub fn fairness(amounts: &[f64]) -> f64 {
    let sum: f64 = amounts.iter().sum();
    let squares: f64 = amounts.iter().map(|amount| amount * amount).sum();
    sum * sum / (as_f64(amounts.len()) * squares)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(done: impl Fn(u64) -> bool) -> Tally {
        let tally = Tally::default();
        for second in 0..100 {
            let arrived = Timestamp::ZERO + Duration::from_secs(second);
            let outcome = if done(second) { Outcome::Done } else { Outcome::TimedOut };
            let ended = arrived + Duration::from_millis(second);
            lock(&tally.calls).push(Call { group: 0, arrived, ended, outcome });
        }
        tally
    }

    #[test]
    fn recovery_is_when_the_last_bad_second_is_over() {
        assert_eq!(tally(|_| true).recovered_after(10, 100, 0.95), Some(0));
        assert_eq!(tally(|second| second > 20).recovered_after(10, 100, 0.95), Some(11));
        assert_eq!(tally(|second| second < 50).recovered_after(10, 100, 0.95), None);
    }

    #[test]
    fn quantiles_are_those_of_the_calls_done() {
        let summary = tally(|second| second != 50).between(0, 100);
        assert!((summary.latency(0.5) - 0.049).abs() < 0.0015);
        assert!((summary.latency(1.0) - 0.099).abs() < 1e-9);
        assert!((summary.share_done() - 0.99).abs() < 1e-9);
    }

    #[test]
    fn fairness_is_jains_index() {
        assert!((fairness(&[3.0, 3.0, 3.0]) - 1.0).abs() < 1e-9);
        assert!((fairness(&[1.0, 0.0, 0.0, 0.0]) - 0.25).abs() < 1e-9);
    }
}
