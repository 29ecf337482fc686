//! Reporting: what a call's verdict does.

use std::time::Duration;

use super::super::CircuitState;
use super::super::status::CircuitTotals;
use super::super::successes::Counted;
use super::super::window::{Call, Window};
use super::super::word::{Flag, Word};
use super::{Inner, Machine, State, Ticket, load_time};
use crate::sync::atomic::Ordering;
use crate::sync::lock;
use crate::{Event, Timestamp, Verdict};

impl Machine {
    /// The whole of a success on the hot path: one atomic step. `false` if there is more to it.
    ///
    /// A failure publishes `WATCHED`, and a change of state its new word, *before* it reads the
    /// counter with a read-modify-write. So either it reads our step, or our step came after its
    /// reading and we see its word here.
    #[inline(always)]
    pub(in crate::circuit_breaker) fn count_success(&self, ticket: &Ticket) -> bool {
        let word = self.word();
        // What is out of line takes numbers: a ticket that nothing points to needs no memory.
        let (generation, started) = (ticket.generation, ticket.started);
        if word.counts_plainly(generation) {
            self.count_success_under(word, generation, started);
            return true;
        }
        self.count_success_by_time(word, generation, started)
    }

    /// The same where time matters: one atomic step and one look at the clock.
    #[inline(never)]
    pub(super) fn count_success_by_time(
        &self,
        word: Word,
        generation: u64,
        started: Timestamp,
    ) -> bool {
        let plain_but_for_time = word.with(Flag::TIMED, false).with(Flag::BUCKETED, false);
        if !plain_but_for_time.counts_plainly(generation) {
            return false;
        }
        let now = self.time.now();
        let plain = if word.has(Flag::BUCKETED) {
            now < load_time(&self.bucket_ends)
        } else {
            let took = now.as_nanos().saturating_sub(started.as_nanos());
            took < self.slow_after.load(Ordering::Relaxed)
        };
        if plain {
            self.count_success_under(word, generation, started);
        }
        plain
    }

    #[inline]
    pub(super) fn count_success_under(&self, word: Word, generation: u64, started: Timestamp) {
        let counted = self.successes.count(word.bank());
        if self.word() != word {
            self.judge_counted_success(generation, started, counted);
        }
    }

    /// A success was counted while the word changed: judge it, or take it out again.
    #[cold]
    #[inline(never)]
    pub(super) fn judge_counted_success(
        &self,
        generation: u64,
        started: Timestamp,
        counted: Counted,
    ) {
        let mut guard = lock(&self.inner);
        let inner = &mut *guard;
        let word = self.word();
        if word.generation() == generation {
            if !inner.closed_at.precedes(counted) {
                return; // the counters were emptied since: it came before that
            }
            let now = self.time.now();
            let took = now - started;
            self.judge(inner, Call { at: now, failed: false, took, successes: 0 });
        } else {
            // It arrived in a later generation, and after that one began to count.
            inner.closed_at.pass_over(counted);
        }
        self.deliver(guard);
    }

    /// Everything but a success on the hot path.
    #[cold]
    #[inline(never)]
    pub(in crate::circuit_breaker) fn settle(&self, ticket: Ticket, verdict: Verdict) {
        let mut guard = lock(&self.inner);
        let inner = &mut *guard;
        let now = self.time.now();
        inner.totals.count(verdict);
        let counted =
            (verdict == Verdict::Success).then(|| self.successes.count(self.word().bank()));
        let current = self.word().generation() == ticket.generation;
        match &mut inner.state {
            State::Closed if current => self.settle_closed(inner, ticket, verdict, now),
            State::HalfOpen(half_open) if current => {
                // A place that was given to another makes this result a stale one too.
                if ticket.probe.is_some_and(|probe| half_open.give_back(probe)) {
                    self.settle_probe(inner, ticket, verdict, now);
                }
            }
            // A later generation: counted in the totals, and nothing else.
            State::Closed | State::Open | State::HalfOpen(_) => {
                if let Some(counted) = counted {
                    inner.closed_at.pass_over(counted);
                }
            }
        }
        self.deliver(guard);
    }

    pub(super) fn settle_closed(
        &self,
        inner: &mut Inner,
        ticket: Ticket,
        verdict: Verdict,
        now: Timestamp,
    ) {
        let took = now - ticket.started;
        match verdict {
            Verdict::Success => {
                self.judge(inner, Call { at: now, failed: false, took, successes: 0 });
            }
            Verdict::Failure => {
                self.judge(inner, Call { at: now, failed: true, took, successes: 0 });
            }
            Verdict::Throttled { retry_after } => self.shut_gate(inner, retry_after, now),
            Verdict::Ignored | Verdict::Cancelled => {}
        }
    }

    pub(super) fn settle_probe(
        &self,
        inner: &mut Inner,
        ticket: Ticket,
        verdict: Verdict,
        now: Timestamp,
    ) {
        let slow =
            inner.window.slow_after().is_some_and(|slow_after| now - ticket.started >= slow_after);
        match verdict {
            Verdict::Success if !slow => {
                if let State::HalfOpen(half_open) = &mut inner.state {
                    half_open.successes += 1;
                    if half_open.successes >= u64::from(inner.config.success_threshold) {
                        self.enter(inner, CircuitState::Closed, now);
                    }
                }
            }
            Verdict::Success | Verdict::Failure => {
                inner.last_failure = Some(self.time.time_of_day());
                if let Window::Failures(times) = &mut inner.window {
                    times.record(now);
                }
                inner.reopened = inner.reopened.saturating_add(1);
                self.enter(inner, CircuitState::Open, now);
            }
            Verdict::Throttled { retry_after } => self.shut_gate(inner, retry_after, now),
            Verdict::Ignored | Verdict::Cancelled => {}
        }
    }

    /// Shows a call to the window, and opens the breaker if it trips.
    pub(super) fn judge(&self, inner: &mut Inner, call: Call) {
        let watched = self.word().has(Flag::WATCHED);
        if inner.window.minds(&call) {
            // Before the counter is read: see `count_success`.
            self.set_flag(Flag::WATCHED, true);
        }
        let successes = self.successes_since_closing(inner);
        // Successes that were only counted may have completed the minimum of calls meanwhile. If
        // that opens the breaker, a failure came after it.
        let mut trips = watched && inner.window.trips_by_count(call.at, successes);
        if !trips || self.word().has(Flag::DISABLED) {
            if call.failed {
                inner.failures += 1;
                inner.last_failure = Some(self.time.time_of_day());
            }
            trips |= inner.window.record(Call { successes, ..call });
        }
        self.publish_window(inner, successes);
        if !trips {
            return;
        }
        if !self.word().has(Flag::DISABLED) {
            self.enter(inner, CircuitState::Open, call.at);
        } else if !inner.would_have_tripped {
            inner.would_have_tripped = true;
            let limit = inner.config.limit();
            self.post(inner, || Event::WouldHaveTripped {
                policy: self.name.clone(),
                at: call.at,
                limit,
            });
        }
    }

    /// The longest stated pause wins; a pause without a length says nothing.
    pub(super) fn shut_gate(
        &self,
        inner: &mut Inner,
        retry_after: Option<Duration>,
        now: Timestamp,
    ) {
        let Some(pause) = retry_after else { return };
        let until = now + pause.min(inner.config.max_throttle);
        if until <= now || until <= self.gate() {
            return;
        }
        self.gate_until.store(until.as_nanos(), Ordering::Release);
        self.set_flag(Flag::GATED, true);
        self.post(inner, || Event::Throttled {
            policy: self.name.clone(),
            at: now,
            retry_after: until - now,
        });
    }
}

impl CircuitTotals {
    fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Success => {} // the atomic counter has it
            Verdict::Failure => self.failures += 1,
            Verdict::Ignored => self.ignored += 1,
            Verdict::Throttled { .. } => self.throttled += 1,
            Verdict::Cancelled => self.cancelled += 1,
        }
    }
}

#[cfg(all(test, not(surefoot_loom)))]
mod tests {
    use super::super::super::config::CircuitBreakerConfig;
    use super::super::super::trip::Trip;
    use super::*;
    use crate::{Events, ManualClock, Name};

    const SECOND: Duration = Duration::from_secs(1);

    struct Calls {
        clock: ManualClock,
        machine: Machine,
    }

    impl Calls {
        fn under(trip: Option<Trip>) -> Self {
            let clock = ManualClock::new();
            let config =
                CircuitBreakerConfig { name: Name::from("api"), trip, ..Default::default() };
            Self { machine: Machine::new(config, (&clock).into(), Events::default()), clock }
        }

        fn fail(&self) {
            let ticket = self.machine.admit().unwrap();
            self.machine.settle(ticket, Verdict::Failure);
        }

        /// A success after `took`; `true` if counting it was all there was to do.
        fn is_only_counted(&self, took: Duration) -> bool {
            let ticket = self.machine.admit().unwrap();
            self.clock.advance(took);
            let counted = self.machine.count_success(&ticket);
            if !counted {
                self.machine.settle(ticket, Verdict::Success);
            }
            counted
        }
    }

    #[test]
    fn a_success_is_only_counted_where_failures_alone_matter() {
        let calls = Calls::under(None);
        assert!(calls.is_only_counted(SECOND));
        calls.fail();
        assert!(calls.is_only_counted(SECOND));
    }

    #[test]
    fn a_success_that_ends_a_streak_is_shown_to_the_window_and_the_next_only_counted() {
        let calls = Calls::under(Some(Trip::Consecutive { failures: 3 }));
        calls.fail();
        assert!(!calls.is_only_counted(SECOND));
        assert!(calls.is_only_counted(SECOND));
    }

    #[test]
    fn successes_are_shown_to_a_rate_until_it_is_known_to_be_below_its_limit() {
        let trip = Trip::RateCountWindow { rate: 0.5, window_calls: 4, min_calls: 4 };
        let calls = Calls::under(Some(trip));
        calls.fail();
        let counted: Vec<_> = (0..4).map(|_| calls.is_only_counted(SECOND)).collect();
        assert_eq!(counted, [false, false, false, true]);
    }

    #[test]
    fn a_success_is_only_counted_until_its_part_of_a_time_window_is_over() {
        let trip =
            Trip::RateTimeWindow { rate: 0.5, window: 10 * SECOND, min_calls: 4, buckets: 10 };
        let calls = Calls::under(Some(trip));
        assert!(calls.is_only_counted(Duration::from_nanos(999_999_999)));
        assert!(!calls.is_only_counted(Duration::from_nanos(1)));
        assert!(calls.is_only_counted(Duration::ZERO));
    }

    #[test]
    fn a_success_is_only_counted_while_it_is_not_slow() {
        let trip = Trip::Slow { rate: 1.0, slow_after: SECOND, window_calls: 4, min_calls: 4 };
        let calls = Calls::under(Some(trip));
        assert!(calls.is_only_counted(Duration::from_nanos(999_999_999)));
        assert!(!calls.is_only_counted(SECOND));
    }
}
