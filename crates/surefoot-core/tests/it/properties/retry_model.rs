//! Retries in the words of the design, in whole nanoseconds and millionths of a token.

use std::ops::RangeInclusive;
use std::time::Duration;

use surefoot_core::retry::{AttemptResult, NextStep, RetryConfig};
use surefoot_core::{Jitter, StopReason, Verdict};

const TOKEN: u64 = 1_000_000;

/// The wait before retry number `retry`, from 0, without jitter.
pub(super) fn schedule(config: &RetryConfig, retry: u32) -> u128 {
    let initial = config.initial_delay.as_nanos();
    let mut wait = initial;
    for _ in 0..retry {
        wait = match config.linear_increment {
            Some(increment) => wait + increment.as_nanos(),
            None => times(wait, config.exponential_base),
        };
        if wait >= config.max_delay.as_nanos() {
            break; // it only ever grows
        }
    }
    wait.min(config.max_delay.as_nanos())
}

/// The cases have whole bases.
fn times(wait: u128, base: f64) -> u128 {
    (0..100).take_while(|n| f64::from(*n) < base).map(|_| wait).sum()
}

/// What jitter makes of it; `previous` is the wait before.
pub(super) fn jittered(
    config: &RetryConfig,
    retry: u32,
    previous: Option<u128>,
) -> RangeInclusive<u128> {
    let wait = schedule(config, retry);
    let initial = config.initial_delay.as_nanos();
    match config.jitter {
        Jitter::None => wait..=wait,
        Jitter::Full => 0..=wait,
        Jitter::Equal => wait / 2..=wait,
        Jitter::Decorrelated => {
            let highest = 3 * previous.unwrap_or(initial);
            initial..=highest.clamp(initial, config.max_delay.as_nanos())
        }
    }
}

/// One call's attempts.
pub(super) struct Call {
    pub(super) made: u32,
    started: u128,
    previous: Option<u128>,
    pub(super) holds_token: bool,
}

impl Call {
    pub(super) fn new(started: u128) -> Self {
        Self { made: 0, started, previous: None, holds_token: false }
    }

    pub(super) fn begin(&mut self) -> u32 {
        self.holds_token = false;
        self.made += 1;
        self.made
    }

    /// Whether the design allows `step` after `result`; takes it if so.
    pub(super) fn follow(
        &mut self,
        config: &RetryConfig,
        budget: Option<&mut Bucket>,
        result: AttemptResult,
        now: u128,
        deadline: Option<u128>,
        step: NextStep,
    ) -> bool {
        let (retryable, asked, ran) = match result {
            AttemptResult::Ran(is) if is.verdict == Verdict::Success => {
                return step == NextStep::Return;
            }
            AttemptResult::Ran(is) => (is.retryable, is.retry_after, true),
            AttemptResult::Rejected { retry_after } => (true, retry_after, false),
        };
        let longest = config.max_retry_after.unwrap_or(config.max_delay).as_nanos();
        let asked = asked.map(|wait| wait.as_nanos());
        let stop = if !retryable {
            Some(StopReason::Permanent)
        } else if self.made >= config.max_attempts {
            Some(StopReason::Attempts)
        } else if !ran && asked.is_none_or(|asked| asked > longest) {
            Some(StopReason::Rejected)
        } else if asked.is_some_and(|asked| asked > longest) {
            Some(StopReason::WaitTooLong)
        } else {
            None
        };
        if let Some(reason) = stop {
            return step == NextStep::Stop(reason);
        }

        let own = jittered(config, self.made - 1, self.previous);
        let spread = own.end() - own.start();
        let asked = asked.unwrap_or(0);
        let cap = config.max_delay.as_nanos().max(longest);
        let shortest = asked.max(*own.start());
        let longest = (asked + spread).min(cap).max(*own.end());
        let has_token = budget.as_ref().is_none_or(|budget| budget.balance >= TOKEN);
        match step {
            NextStep::Stop(StopReason::Time) => !self.fits(config, now + longest, deadline),
            NextStep::Stop(StopReason::Budget) => {
                !has_token && self.fits(config, now + shortest, deadline)
            }
            NextStep::Stop(_) | NextStep::Return => false,
            NextStep::Wait(wait) => {
                let wait = wait.as_nanos();
                // Where the server's wait dominates, how much of this one is our own is hidden;
                // the range of the next decorrelated wait depends on it.
                self.previous = Some(if asked == 0 { wait } else { *own.end() });
                self.holds_token = budget.is_some();
                if let Some(budget) = budget {
                    budget.withdraw();
                }
                has_token
                    && (shortest..=longest).contains(&wait)
                    && self.fits(config, now + wait, deadline)
            }
        }
    }

    /// Whether an attempt may start at `at`.
    fn fits(&self, config: &RetryConfig, at: u128, deadline: Option<u128>) -> bool {
        let least = config.min_attempt_time.as_nanos();
        let elapsed = at - self.started + least;
        config.max_elapsed.is_none_or(|limit| elapsed <= limit.as_nanos())
            && deadline.is_none_or(|due| at < due && due - at >= least)
    }
}

/// A token bucket that is filled every nanosecond, as it were by hand.
pub(super) struct Bucket {
    balance: u64,
    max: u64,
    per_call: u64,
    refill_every: u64,
    age: u64,
}

impl Bucket {
    pub(super) fn new(initial: u64, max: u64, per_call: u64, refill_every: u64) -> Self {
        Self { balance: initial * TOKEN, max: max * TOKEN, per_call, refill_every, age: 0 }
    }

    pub(super) fn advance(&mut self, nanos: u64) {
        for _ in 0..nanos {
            self.age += 1;
            if self.age.is_multiple_of(self.refill_every) {
                self.put(TOKEN);
            }
        }
    }

    pub(super) fn record_call(&mut self) {
        self.put(self.per_call);
    }

    pub(super) fn give_back(&mut self) {
        self.put(TOKEN);
    }

    pub(super) fn whole_tokens(&self) -> u64 {
        self.balance / TOKEN
    }

    pub(super) fn withdraw(&mut self) -> bool {
        let enough = self.balance >= TOKEN;
        self.balance -= if enough { TOKEN } else { 0 };
        enough
    }

    fn put(&mut self, amount: u64) {
        self.balance = (self.balance + amount).min(self.max);
    }
}

/// A duration as the model counts it.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("the cases use short times")
}
