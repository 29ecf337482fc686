//! Who calls, and when: agents whose turns come at random, each turn a few calls at once.
//!
//! Arrivals are *open-loop*: they come at their time whether or not earlier calls have ended, as users do. A closed
//! loop would politely slow down with the service and hide most of what an outage costs (Schroeder et al., "Open
//! versus closed", NSDI 2006). The schedule is made before the run, from the seed, and is the same for every arm.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::arms::{Failure, Verdict};

/// Mean rate of the calls. The service manages twice that on a good day.
pub(crate) const CALLS_PER_SECOND: u32 = 50;
/// A turn makes from one to this many calls at once (a model and a tool or two).
const FAN_OUT: u32 = 3;

/// One call, from its scheduled arrival to its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record {
    /// When the call was due, counted from the start. Lateness in starting it is the caller's wait, too.
    pub(crate) due: Duration,
    /// From then until the caller knew.
    pub(crate) latency: Duration,
    pub(crate) verdict: Verdict,
}

/// The arrivals of `total`, in order.
pub(crate) fn schedule(seed: u64, total: Duration) -> Vec<Duration> {
    let mut random = fastrand::Rng::with_seed(seed);
    let turns_per_second = f64::from(CALLS_PER_SECOND) / (f64::from(1 + FAN_OUT) / 2.0);
    let mut arrivals = Vec::new();
    let mut at = Duration::ZERO;
    loop {
        // The gaps of a Poisson process. 1 − f64() is in (0, 1], so the logarithm is finite.
        at += Duration::from_secs_f64(-(1.0 - random.f64()).ln() / turns_per_second);
        if at >= total {
            return arrivals;
        }
        for _ in 0..random.u32(1..=FAN_OUT) {
            arrivals.push(at);
        }
    }
}

/// The records of one arm, growing while it runs.
#[derive(Debug)]
pub(crate) struct Records<R = Record>(Arc<Mutex<Vec<R>>>);

impl<R: Clone> Records<R> {
    /// Those of the calls that have ended.
    pub(crate) fn snapshot(&self) -> Vec<R> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn push(&self, record: R) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(record);
    }
}

impl<R> Clone for Records<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R> Default for Records<R> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// A call that is due at a time.
pub(crate) trait Due: Copy + Send + Sync + 'static {
    /// Counted from the start.
    fn due(&self) -> Duration;
}

impl Due for Duration {
    fn due(&self) -> Duration {
        *self
    }
}

/// Makes every call of `schedule` when it is due and waits for all of them; `record` is given each call, how it ended and how long its
/// caller waited.
pub(crate) async fn run<T: Due, R: Clone + Send + 'static, F>(
    schedule: Arc<[T]>,
    start: Instant,
    deadline: Duration,
    records: Records<R>,
    call: impl Fn(T) -> F,
    record: fn(T, Record) -> R,
) -> Result<(), JoinError>
where
    F: Future<Output = Verdict> + Send + 'static,
{
    let mut calls = JoinSet::new();
    for &arrival in schedule.iter() {
        let due = arrival.due();
        sleep_until(start + due).await;
        let (call, records) = (call(arrival), records.clone());
        calls.spawn(async move {
            let verdict = call.await;
            let latency = (start + due).elapsed();
            let verdict = within(deadline, latency, verdict);
            records.push(record(arrival, Record { due, latency, verdict }));
        });
        // Ended calls are let go of as we pass, so that a long run does not collect them.
        while let Some(ended) = calls.try_join_next() {
            ended?;
        }
    }
    while let Some(ended) = calls.join_next().await {
        ended?;
    }
    Ok(())
}

/// What comes after the deadline is no answer any more, whatever the arm makes of it.
fn within(deadline: Duration, latency: Duration, verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Answered if latency > deadline => Verdict::Failed(Failure::Timeout),
        verdict => verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOTAL: Duration = Duration::from_secs(60);

    #[test]
    fn the_same_seed_gives_the_same_arrivals_and_another_gives_others() {
        assert_eq!(schedule(7, TOTAL), schedule(7, TOTAL));
        assert_ne!(schedule(7, TOTAL), schedule(8, TOTAL));
    }

    #[test]
    fn arrivals_are_in_order_and_within_the_run() {
        for seed in 0..50 {
            let arrivals = schedule(seed, TOTAL);
            assert!(arrivals.is_sorted(), "seed {seed}");
            assert!(arrivals.last().is_none_or(|&last| last < TOTAL), "seed {seed}");
        }
    }

    #[test]
    fn arrivals_keep_the_rate_they_promise() {
        for seed in 0..50 {
            let per_second = schedule(seed, TOTAL).len() / 60;
            assert!((40..=60).contains(&per_second), "seed {seed}: {per_second} per second");
        }
    }

    #[test]
    fn an_answer_after_the_deadline_is_none() {
        let deadline = Duration::from_secs(2);
        let late = deadline + Duration::from_nanos(1);
        assert_eq!(within(deadline, deadline, Verdict::Answered), Verdict::Answered);
        assert_eq!(within(deadline, late, Verdict::Answered), Verdict::Failed(Failure::Timeout));
    }
}
