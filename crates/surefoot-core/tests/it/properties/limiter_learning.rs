//! Pauses and what a server has left, against a model that places everybody anew each time.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use surefoot_core::rate_limiter::{
    KeyedRateLimiter, LimiterKey, RateLimiterStatus, Reservation, ServerBudget, Slots, Unready,
};
use surefoot_core::{Clock, ManualClock, RateLimiter, Rejection, Timestamp};

use super::check;
use super::limiter::{ALL, Case, builder, cases, nanos, wait};
use super::limiter_model::{Limit, Model, Taken};

#[test]
fn pauses_and_what_is_left_move_everybody_as_in_the_model() {
    check(2, &cases(&ALL), |case| {
        let clock = ManualClock::new();
        compare(&case, &clock, &builder(case.limit, &clock).build().unwrap())
    });
}

#[test]
fn a_key_hears_what_a_limiter_of_its_own_would() {
    check(1, &cases(&ALL), |case| {
        let clock = ManualClock::new();
        compare(&case, &clock, &builder(case.limit, &clock).build_keyed::<u8>().unwrap())
    });
}

/// What is asked of a limiter, or of one key of it.
trait Limiter {
    type Slots: Slots;
    fn check_n(&self, n: u64) -> Result<(), Rejection>;
    fn reserve(&self, n: u64, latest: u64) -> Result<Reservation<Self::Slots>, Rejection>;
    fn pause_for(&self, wait: u64);
    fn observe(&self, remaining: u64, reset_after: Option<u64>);
    fn status(&self) -> RateLimiterStatus;
}

fn budget(remaining: u64, reset_after: Option<u64>) -> ServerBudget {
    ServerBudget {
        remaining: Some(remaining),
        reset_after: reset_after.map(Duration::from_nanos),
        ..ServerBudget::of("requests")
    }
}

impl Limiter for RateLimiter {
    type Slots = Self;

    fn check_n(&self, n: u64) -> Result<(), Rejection> {
        self.check_n(n)
    }

    fn reserve(&self, n: u64, latest: u64) -> Result<Reservation, Rejection> {
        self.reserve(n, Timestamp::from_nanos(latest))
    }

    fn pause_for(&self, wait: u64) {
        self.pause_for(Duration::from_nanos(wait));
    }

    fn observe(&self, remaining: u64, reset_after: Option<u64>) {
        self.observe(&budget(remaining, reset_after));
    }

    fn status(&self) -> RateLimiterStatus {
        self.status()
    }
}

impl Limiter for KeyedRateLimiter<u8> {
    type Slots = LimiterKey<u8>;

    fn check_n(&self, n: u64) -> Result<(), Rejection> {
        self.check_n(&1, n)
    }

    fn reserve(&self, n: u64, latest: u64) -> Result<Reservation<LimiterKey<u8>>, Rejection> {
        self.reserve(&1, n, Timestamp::from_nanos(latest))
    }

    fn pause_for(&self, wait: u64) {
        self.pause_for(&1, Duration::from_nanos(wait)).unwrap();
    }

    fn observe(&self, remaining: u64, reset_after: Option<u64>) {
        self.observe(&1, &budget(remaining, reset_after)).unwrap();
    }

    fn status(&self) -> RateLimiterStatus {
        self.evict_idle(); // at any time: nothing that matters is forgotten
        self.status(&1)
    }
}

/// Everything that was ever taken, and who waits.
struct History {
    limit: Limit,
    taken: Vec<Taken>,
    waiting: Vec<Waiting>,
    paused_until: u64,
}

#[derive(Clone, Copy)]
struct Waiting {
    id: usize,
    n: u64,
    due: u64,
    latest: u64,
}

impl History {
    /// A model of those that have begun, and of all or none of those who wait.
    fn model(&self, waiting: &[Waiting]) -> Model {
        let mut model = Model::new(self.limit);
        let waiting = waiting.iter().map(|one| Taken::of(one.n, one.due));
        model.taken = self.taken.iter().copied().chain(waiting).collect();
        model.taken.sort_by_key(|one| one.at);
        model
    }

    fn earliest(&self, n: u64, now: u64) -> Option<u64> {
        let model = self.model(&self.waiting);
        model.earliest_behind(&model.taken, n, now.max(self.paused_until))
    }

    /// Places everybody from `first` on anew. The answer is who was refused.
    fn place(&mut self, first: usize, now: u64) -> Vec<Waiting> {
        let mut refused = vec![];
        for one in self.waiting.split_off(first) {
            let due = self.earliest(one.n, now).expect("it fitted before");
            if due > one.latest {
                refused.push(one);
            } else {
                self.waiting.push(Waiting { due, ..one });
            }
        }
        refused
    }

    fn first_waiting(&self, now: u64) -> usize {
        self.waiting.iter().filter(|one| one.due <= now).count()
    }
}

fn compare<L: Limiter>(case: &Case, clock: &ManualClock, limiter: &L) -> TestCaseResult {
    let limit = case.limit;
    let (taken, waiting) = (vec![], vec![]);
    let mut model = History { limit, taken, waiting, paused_until: 0 };
    // For each reservation what is held of it.
    let mut slots: Vec<Option<Reservation<L::Slots>>> = vec![];
    for (number, step) in case.steps.iter().enumerate() {
        clock.advance(Duration::from_nanos(step.advance));
        let now = clock.now().as_nanos();
        // Late begins are for what counts in windows: a bucket that gets units back which were
        // taken long ago is stricter than its history.
        if limit.is_bucket() || step.kind == 0 {
            for one in model.waiting.drain(..model.first_waiting(now)).collect::<Vec<_>>() {
                let slot = slots[one.id].take().expect("it waits");
                drop(slot.begin().expect("its turn has come"));
                model.taken.push(Taken::of(one.n, one.due));
            }
        }
        let mut refused = vec![];
        match step.kind {
            0 | 1 => {
                let expected = model.earliest(step.n, now).map(|at| at - now);
                let answer = limiter.check_n(step.n);
                if let Err(rejection) = &answer {
                    let paused = matches!(rejection, Rejection::Throttled { .. });
                    let expected = now < model.paused_until && expected.is_some();
                    prop_assert_eq!(paused, expected, "step {}", number);
                }
                prop_assert_eq!(wait(answer), expected, "step {}", number);
                if expected == Some(0) {
                    model.taken.push(Taken::of(step.n, now));
                }
            }
            2 | 3 => {
                let latest = now + limit.time_window * (step.which as u64);
                let due = model.earliest(step.n, now);
                let slot = limiter.reserve(step.n, latest);
                let expected = due.is_some_and(|due| due <= latest);
                prop_assert_eq!(slot.is_ok(), expected, "step {}", number);
                if let (Ok(slot), Some(due)) = (slot, due) {
                    let id = slots.len();
                    slots.push(Some(slot));
                    model.waiting.push(Waiting { id, n: step.n, due, latest });
                }
            }
            // Somebody gives up.
            4 if !model.waiting.is_empty() => {
                let at = step.which % model.waiting.len();
                // Those whose turn has come stay where they are.
                let gone = model.waiting.remove(at);
                drop(slots[gone.id].take());
                let first = model.first_waiting(now);
                refused = model.place(first, now);
                prop_assert!(refused.is_empty(), "step {}", number);
            }
            5 | 6 => {
                let pause = step.advance + step.n * limit.time_window / 8;
                limiter.pause_for(pause);
                if now + pause > model.paused_until.max(now) {
                    model.paused_until = now + pause;
                    refused = model.place(0, now);
                }
            }
            _ => {
                let remaining = step.n - 1;
                let reset = (step.which > 3).then(|| step.which as u64 * limit.time_window / 6);
                limiter.observe(remaining, reset);
                let until = reset.map_or(u64::MAX, |reset| now + reset);
                if until > now {
                    let first = model.first_waiting(now);
                    let before = model.model(&model.waiting[..first]);
                    let others = before.remaining(now).saturating_sub(remaining);
                    model.taken.push(Taken { until, ..Taken::of(others, now) });
                    refused = model.place(first, now);
                }
            }
        }
        for one in refused {
            let slot = slots[one.id].take().expect("it waits");
            let Err(Unready::Refused(rejection)) = slot.begin() else {
                return Err(TestCaseError::fail(format!("step {number}: not refused")));
            };
            let told = rejection.retry_after().map(nanos);
            prop_assert_eq!(told, model.earliest(one.n, now).map(|at| at - now), "step {}", number);
        }
        for one in &model.waiting {
            let slot = slots[one.id].as_ref().expect("it waits");
            prop_assert_eq!(slot.due().as_nanos(), one.due, "step {}", number);
            prop_assert!(one.due <= one.latest, "step {}", number);
        }
        let status = limiter.status();
        let left = model.model(&model.waiting).remaining(now);
        let expected = if now < model.paused_until { 0 } else { left };
        prop_assert_eq!(status.remaining, expected, "step {}", number);
        prop_assert_eq!(nanos(status.paused_for), model.paused_until.saturating_sub(now));
    }
    Ok(())
}
