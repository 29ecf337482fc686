//! A rate limiter that keeps its whole history and counts it anew for every question.

use surefoot_core::rate_limiter::Algorithm;

/// What a limiter is made with; times in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) algorithm: Algorithm,
    pub(super) max_requests: u64,
    pub(super) time_window: u64,
    pub(super) burst: u64,
    pub(super) buckets: u64,
}

/// Units taken at some time, which is in the future for those who wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    pub(super) at: u64,
    pub(super) n: u64,
    /// A correction upward: it goes wherever there is a place, and need not fit.
    pub(super) debt: bool,
    /// Free again at this time at the latest, for what counts in windows.
    pub(super) until: u64,
}

impl Taken {
    pub(super) fn of(n: u64, at: u64) -> Self {
        Self { at, n, debt: false, until: u64::MAX }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) limit: Limit,
    /// In the order of their times.
    pub(super) taken: Vec<Taken>,
}

impl Limit {
    pub(super) fn is_bucket(self) -> bool {
        matches!(self.algorithm, Algorithm::Gcra | Algorithm::TokenBucket | Algorithm::GcraExact)
    }

    /// Tokens that a bucket gains in each window.
    fn gain(self) -> u64 {
        match self.algorithm {
            Algorithm::GcraExact => self.max_requests - self.burst + 1,
            _ => self.max_requests,
        }
    }

    pub(super) fn capacity(self) -> u64 {
        if self.is_bucket() { self.burst } else { self.max_requests }
    }

    /// The most that is documented to be admitted in any window.
    pub(super) fn bound(self) -> u64 {
        match self.algorithm {
            Algorithm::Gcra | Algorithm::TokenBucket => self.burst + self.max_requests - 1,
            Algorithm::FixedWindow => 2 * self.max_requests,
            _ => self.max_requests,
        }
    }

    /// When units that were taken at `at` no longer count, for what counts in windows.
    pub(super) fn leaves_at(self, at: u64) -> u64 {
        let window = self.time_window;
        match self.algorithm {
            Algorithm::FixedWindow => (at / window + 1) * window,
            Algorithm::BucketRing => {
                let width = window.div_ceil(self.buckets);
                (at / width + 1) * width + window
            }
            _ => at + window,
        }
    }
}

impl Model {
    pub(super) fn new(limit: Limit) -> Self {
        Self { limit, taken: vec![] }
    }

    /// What is left in the bucket at `at`, times the window: below zero in debt.
    fn level(&self, taken: &[Taken], at: u64) -> i128 {
        let limit = self.limit;
        let token = i128::from(limit.time_window);
        let full = i128::from(limit.burst) * token;
        let later = |level: i128, nanos: u64| {
            (level + i128::from(nanos) * i128::from(limit.gain())).min(full)
        };
        let (mut level, mut last) = (full, 0);
        for one in taken {
            level = later(level, one.at - last) - i128::from(one.n) * token;
            last = one.at;
        }
        // Those who wait have taken already: before their time comes, that is what it will be.
        if at >= last {
            later(level, at - last)
        } else {
            level - i128::from(last - at) * i128::from(limit.gain())
        }
    }

    fn leaves_at(&self, one: &Taken) -> u64 {
        self.limit.leaves_at(one.at).min(one.until)
    }

    fn live(&self, taken: &[Taken], at: u64) -> u64 {
        taken.iter().filter(|one| self.leaves_at(one) > at).map(|one| one.n).sum()
    }

    /// The earliest time from `from` on at which `n` units fit behind all of `taken`.
    pub(super) fn earliest_behind(&self, taken: &[Taken], n: u64, from: u64) -> Option<u64> {
        if n > self.limit.capacity() {
            return None;
        }
        let from = taken.iter().map(|one| one.at).max().unwrap_or(0).max(from);
        if self.limit.is_bucket() {
            let missing =
                i128::from(n) * i128::from(self.limit.time_window) - self.level(taken, from);
            let gain = i128::from(self.limit.gain());
            let wait = (missing.max(0) + gain - 1) / gain;
            return Some(from + u64::try_from(wait).expect("a short wait"));
        }
        let mut times: Vec<u64> = taken.iter().map(|one| self.leaves_at(one)).collect();
        times.push(from);
        times.retain(|time| *time >= from);
        times.sort_unstable();
        times.into_iter().find(|time| self.live(taken, *time) + n <= self.limit.max_requests)
    }

    pub(super) fn earliest(&self, n: u64, now: u64) -> Option<u64> {
        self.earliest_behind(&self.taken, n, now)
    }

    pub(super) fn take(&mut self, n: u64, at: u64) {
        self.taken.push(Taken::of(n, at));
    }

    pub(super) fn owe(&mut self, n: u64, now: u64) {
        let at = self.taken.last().map_or(now, |last| last.at.max(now));
        self.taken.push(Taken { debt: true, ..Taken::of(n, at) });
    }

    /// Gives `n` units of one place back, and lets those behind who wait move up.
    pub(super) fn give_back(&mut self, place: usize, n: u64, now: u64) {
        let first = self.taken.partition_point(|one| one.at <= now);
        self.taken[place].n -= n;
        for waiting in first..self.taken.len() {
            let one = self.taken[waiting];
            let before = &self.taken[..waiting];
            self.taken[waiting].at = if one.debt || one.n == 0 {
                before.last().map_or(now, |last| last.at.max(now))
            } else {
                self.earliest_behind(before, one.n, now).expect("it fitted before")
            };
        }
    }

    pub(super) fn waiting(&self, now: u64) -> u64 {
        self.taken.iter().filter(|one| one.at > now).map(|one| one.n).sum()
    }

    pub(super) fn used(&self, now: u64) -> u64 {
        let used = if self.limit.is_bucket() {
            let window = i128::from(self.limit.time_window);
            let out = i128::from(self.limit.burst) * window - self.level(&self.taken, now);
            u64::try_from((out + window - 1) / window).expect("not negative")
        } else {
            self.live(&self.taken, now)
        };
        used.saturating_sub(self.waiting(now))
    }

    pub(super) fn remaining(&self, now: u64) -> u64 {
        if self.waiting(now) > 0 {
            0
        } else if self.limit.is_bucket() {
            let level = self.level(&self.taken, now).max(0);
            u64::try_from(level / i128::from(self.limit.time_window)).expect("not negative")
        } else {
            self.limit.max_requests.saturating_sub(self.live(&self.taken, now))
        }
    }

    pub(super) fn reset_at(&self, now: u64) -> u64 {
        if self.limit.is_bucket() {
            let full = i128::from(self.limit.burst) * i128::from(self.limit.time_window);
            let gain = i128::from(self.limit.gain());
            let wait = (full - self.level(&self.taken, now) + gain - 1) / gain;
            return now + u64::try_from(wait).expect("a short wait");
        }
        let live = self.taken.iter().filter(|one| one.n > 0);
        live.map(|one| self.leaves_at(one)).max().unwrap_or(now).max(now)
    }

    /// The most units in any window (t − W, t].
    pub(super) fn most_in_a_window(&self) -> u64 {
        let window = self.limit.time_window;
        let within = |end: u64| {
            let inside = |one: &&Taken| one.at <= end && one.at + window > end;
            self.taken.iter().filter(inside).map(|one| one.n).sum()
        };
        self.taken.iter().map(|one| within(one.at)).max().unwrap_or(0)
    }
}
