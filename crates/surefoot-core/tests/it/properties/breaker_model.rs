//! A circuit breaker in the words of the design, with nothing clever: it keeps every call in a
//! list and reads the list anew whenever it is asked.

use std::time::{Duration, SystemTime};

use surefoot_core::circuit_breaker::{
    CircuitBreakerConfig, CircuitMode, CircuitStatus, CircuitTotals, Trip, TripLimit,
};
use surefoot_core::{CircuitState, Event, OpenReason, Rejection, Timestamp, Verdict};

/// Whole nanoseconds: time in the model is plain numbers.
pub(super) type Nanos = u64;

pub(super) struct Model {
    config: CircuitBreakerConfig,
    now: Nanos,
    state: CircuitState,
    mode: CircuitMode,
    forced_while_closed: bool,
    generation: u64,
    /// Calls recorded since the counters were last emptied, oldest first.
    calls: Vec<Call>,
    /// What the default rule judges by: "the times of the last `failure_threshold` failures".
    failures: Vec<Nanos>,
    open_until: Nanos,
    gate_until: Nanos,
    /// Trial calls that hold a place.
    places: Vec<Place>,
    /// Trial calls of which the design leaves open whether another has taken their place.
    doubtful: Vec<u64>,
    trial_successes: u64,
    trials: u64,
    reopened: u32,
    told: bool,
    last_failure: Option<Nanos>,
    totals: CircuitTotals,
    pub(super) events: Vec<Event>,
}

#[derive(Clone, Copy)]
struct Call {
    at: Nanos,
    failed: bool,
    slow: bool,
}

#[derive(Clone, Copy)]
struct Place {
    trial: u64,
    expires: Nanos,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ticket {
    generation: u64,
    trial: Option<u64>,
    /// Known only where durations are judged.
    started: Option<Nanos>,
}

impl Model {
    pub(super) fn new(config: CircuitBreakerConfig) -> Self {
        Self {
            config,
            now: 0,
            state: CircuitState::Closed,
            mode: CircuitMode::Automatic,
            forced_while_closed: false,
            generation: 0,
            calls: Vec::new(),
            failures: Vec::new(),
            open_until: 0,
            gate_until: 0,
            places: Vec::new(),
            doubtful: Vec::new(),
            trial_successes: 0,
            trials: 0,
            reopened: 0,
            told: false,
            last_failure: None,
            totals: CircuitTotals::default(),
            events: Vec::new(),
        }
    }

    pub(super) fn advance(&mut self, by: Nanos) {
        self.now += by;
    }

    // ---- calls -----------------------------------------------------------------------------

    pub(super) fn admit(&mut self) -> Result<Ticket, Rejection> {
        if let Some(rejection) = self.refusal() {
            self.totals.rejected += 1;
            return Err(rejection);
        }
        let mut ticket = Ticket { generation: self.generation, trial: None, started: None };
        if let Some(Trip::Slow { .. }) = self.config.trip {
            ticket.started = Some(self.now);
        }
        if self.state == CircuitState::Closed {
            return Ok(ticket);
        }
        if self.state == CircuitState::Open {
            self.enter(CircuitState::HalfOpen);
            ticket.generation = self.generation;
        }
        if self.places.len() >= self.limit() {
            self.give_away_the_oldest_place();
        }
        self.trials += 1;
        let timeout = self.config.half_open_timeout.unwrap_or(self.config.timeout);
        self.places.push(Place { trial: self.trials, expires: self.now + nanos(timeout) });
        ticket.trial = Some(self.trials);
        Ok(ticket)
    }

    fn give_away_the_oldest_place(&mut self) {
        let oldest = self.places.iter().map(|place| place.expires).min();
        let oldest = oldest.expect("a full house has places");
        let candidates: Vec<_> =
            self.places.iter().filter(|place| place.expires == oldest).map(|p| p.trial).collect();
        self.places.retain(|place| place.trial != candidates[0]);
        if candidates.len() > 1 {
            self.doubtful.extend(candidates);
        }
    }

    /// Why it would refuse a call now.
    fn refusal(&self) -> Option<Rejection> {
        let policy = self.config.name.clone();
        let open = |reason, retry_after| {
            Some(Rejection::CircuitOpen { policy: policy.clone(), reason, retry_after })
        };
        let pause = self.gate_until.saturating_sub(self.now);
        match self.mode {
            CircuitMode::ForcedOpen => return open(OpenReason::Forced, None),
            CircuitMode::Disabled => return None,
            CircuitMode::Automatic => {}
        }
        if self.state == CircuitState::Open && self.now < self.open_until {
            let left = (self.open_until - self.now).max(pause);
            return open(OpenReason::Tripped(self.trip_limit()), Some(Duration::from_nanos(left)));
        }
        if pause > 0 {
            return Some(Rejection::Throttled { policy, retry_after: Duration::from_nanos(pause) });
        }
        let held: Vec<_> =
            self.places.iter().map(|place| place.expires).filter(|at| self.now < *at).collect();
        if self.state == CircuitState::HalfOpen && held.len() >= self.limit() {
            let nearest = held.iter().min().map(|at| Duration::from_nanos(at - self.now));
            let limit = u32::try_from(self.limit()).expect("a small limit");
            return open(OpenReason::ProbesOut { limit }, nearest);
        }
        None
    }

    /// Whether the design says what this ticket still counts for.
    pub(super) fn is_doubtful(&self, ticket: Ticket) -> bool {
        ticket.generation == self.generation
            && ticket.trial.is_some_and(|trial| self.doubtful.contains(&trial))
    }

    pub(super) fn settle(&mut self, ticket: Ticket, verdict: Verdict) {
        match verdict {
            Verdict::Success => self.totals.successes += 1,
            Verdict::Failure => self.totals.failures += 1,
            Verdict::Ignored => self.totals.ignored += 1,
            Verdict::Throttled { .. } => self.totals.throttled += 1,
            Verdict::Cancelled => self.totals.cancelled += 1,
        }
        if ticket.generation != self.generation {
            return;
        }
        if let Some(trial) = ticket.trial {
            let held = self.places.len();
            self.places.retain(|place| place.trial != trial);
            if self.places.len() == held {
                return; // the place was given to another
            }
        }
        match (verdict, ticket.trial) {
            (Verdict::Ignored | Verdict::Cancelled, _) => {}
            (Verdict::Throttled { retry_after }, _) => self.throttle(retry_after),
            (Verdict::Success | Verdict::Failure, None) => {
                self.record(verdict == Verdict::Failure, self.is_slow(ticket));
            }
            (Verdict::Success, Some(_)) if !self.is_slow(ticket) => {
                self.trial_successes += 1;
                if self.trial_successes >= u64::from(self.config.success_threshold) {
                    self.enter(CircuitState::Closed);
                }
            }
            (Verdict::Success | Verdict::Failure, Some(_)) => {
                self.last_failure = Some(self.now);
                self.remember_failure();
                self.reopened += 1;
                self.enter(CircuitState::Open);
            }
        }
    }

    fn record(&mut self, failed: bool, slow: bool) {
        self.calls.push(Call { at: self.now, failed, slow });
        if failed {
            self.last_failure = Some(self.now);
            self.remember_failure();
        }
        if !self.trips(failed) {
            return;
        }
        if self.mode != CircuitMode::Disabled {
            self.enter(CircuitState::Open);
        } else if !self.told {
            self.told = true;
            self.events.push(Event::WouldHaveTripped {
                policy: self.config.name.clone(),
                at: Timestamp::from_nanos(self.now),
                limit: self.trip_limit(),
            });
        }
    }

    fn throttle(&mut self, pause: Option<Duration>) {
        let Some(pause) = pause else { return };
        let until = self.now + nanos(pause.min(self.config.max_throttle));
        if until > self.now && until > self.gate_until {
            self.gate_until = until;
            self.events.push(Event::Throttled {
                policy: self.config.name.clone(),
                at: Timestamp::from_nanos(self.now),
                retry_after: Duration::from_nanos(until - self.now),
            });
        }
    }

    // ---- windows ---------------------------------------------------------------------------

    fn trips(&self, failed: bool) -> bool {
        let reaches = |bad: usize, calls: usize, rate: f64, min_calls: u32| {
            calls >= min_calls as usize && share(bad, calls) >= rate
        };
        match self.config.trip {
            None => failed && self.failure_count() >= u64::from(self.config.failure_threshold),
            Some(Trip::Consecutive { failures }) => {
                failed && self.failure_count() >= u64::from(failures)
            }
            Some(
                Trip::RateCountWindow { rate, min_calls, .. }
                | Trip::RateTimeWindow { rate, min_calls, .. },
            ) => {
                let window = self.window();
                let failures = window.iter().filter(|call| call.failed).count();
                reaches(failures, window.len(), rate, min_calls)
            }
            Some(Trip::Slow { rate, min_calls, .. }) => {
                let window = self.window();
                let slow = window.iter().filter(|call| call.slow).count();
                reaches(slow, window.len(), rate, min_calls)
            }
        }
    }

    fn rates(&self) -> bool {
        !matches!(self.config.trip, None | Some(Trip::Consecutive { .. }))
    }

    /// The calls that a rate is taken of; all of them where no rate is.
    fn window(&self) -> &[Call] {
        let first = match self.config.trip {
            None | Some(Trip::Consecutive { .. }) => 0,
            Some(Trip::RateCountWindow { window_calls, .. } | Trip::Slow { window_calls, .. }) => {
                self.calls.len().saturating_sub(window_calls as usize)
            }
            Some(Trip::RateTimeWindow { window, buckets, .. }) => {
                let bucket = |at: Nanos| at * Nanos::from(buckets) / nanos(window);
                let gone =
                    |call: &&Call| bucket(call.at) + Nanos::from(buckets) <= bucket(self.now);
                self.calls.iter().take_while(gone).count()
            }
        };
        &self.calls[first..]
    }

    fn remember_failure(&mut self) {
        if self.config.trip.is_none() {
            self.failures.push(self.now);
            self.forget_surplus_failures();
        }
    }

    fn forget_surplus_failures(&mut self) {
        let surplus = self.failures.len().saturating_sub(self.config.failure_threshold as usize);
        self.failures.drain(..surplus);
    }

    fn is_slow(&self, ticket: Ticket) -> bool {
        match (self.config.trip, ticket.started) {
            (Some(Trip::Slow { slow_after, .. }), Some(started)) => {
                self.now - started >= nanos(slow_after)
            }
            _ => false,
        }
    }

    // ---- states ----------------------------------------------------------------------------

    fn enter(&mut self, to: CircuitState) {
        self.events.push(Event::StateChanged {
            policy: self.config.name.clone(),
            at: Timestamp::from_nanos(self.now),
            from: self.state,
            to,
            generation: self.generation + 1,
            failure_count: self.failure_count(),
            success_count: self.success_count(),
        });
        self.state = to;
        self.generation += 1;
        self.places.clear();
        self.doubtful.clear();
        self.trial_successes = 0;
        match to {
            CircuitState::Closed => {
                self.reopened = 0;
                self.forget();
            }
            CircuitState::Open => {
                self.totals.opened += 1;
                self.open_until = self.now + self.open_time();
            }
            CircuitState::HalfOpen => {}
        }
    }

    fn forget(&mut self) {
        self.calls.clear();
        self.failures.clear();
        self.told = false;
    }

    fn open_time(&self) -> Nanos {
        let mut time = nanos(self.config.timeout);
        if let Some(growth) = self.config.timeout_growth {
            for _ in 0..self.reopened {
                // The cases grow by whole factors.
                time = (0..100).take_while(|n| f64::from(*n) < growth.factor).map(|_| time).sum();
                time = time.min(nanos(growth.max));
            }
        }
        time
    }

    // ---- operators -------------------------------------------------------------------------

    pub(super) fn reset(&mut self) {
        self.mode = CircuitMode::Automatic;
        self.forced_while_closed = false;
        self.gate_until = 0;
        self.last_failure = None;
        match self.state {
            CircuitState::Closed => self.forget(),
            CircuitState::Open | CircuitState::HalfOpen => self.enter(CircuitState::Closed),
        }
    }

    pub(super) fn force_open(&mut self) {
        self.mode = CircuitMode::ForcedOpen;
        if self.state != CircuitState::Open {
            self.forced_while_closed = self.state == CircuitState::Closed;
            self.enter(CircuitState::Open);
            self.open_until = self.now;
        }
    }

    pub(super) fn disable(&mut self) {
        self.mode = CircuitMode::Disabled;
        self.forced_while_closed = false;
        self.told = false;
        if self.state != CircuitState::Closed {
            self.enter(CircuitState::Closed);
        }
    }

    pub(super) fn automatic(&mut self) {
        self.mode = CircuitMode::Automatic;
        if std::mem::take(&mut self.forced_while_closed) {
            self.enter(CircuitState::Closed);
        }
    }

    pub(super) fn reconfigure(&mut self, config: CircuitBreakerConfig) {
        let keeps_counters = match (self.config.trip, config.trip) {
            (
                Some(Trip::RateTimeWindow { window, buckets, .. }),
                Some(Trip::RateTimeWindow { window: new, buckets: parts, .. }),
            ) => window == new && buckets == parts,
            (old, new) => {
                old.map(|old| std::mem::discriminant(&old))
                    == new.map(|new| std::mem::discriminant(&new))
            }
        };
        self.config = config;
        if keeps_counters {
            self.forget_surplus_failures();
        } else {
            self.forget();
        }
    }

    // ---- looking ---------------------------------------------------------------------------

    pub(super) fn status(&self) -> CircuitStatus {
        CircuitStatus {
            name: self.config.name.clone(),
            state: self.state,
            mode: self.mode,
            failure_count: self.failure_count(),
            success_count: self.success_count(),
            failure_rate: self.failure_rate(),
            last_failure_time: self
                .last_failure
                .map(|at| SystemTime::UNIX_EPOCH + Duration::from_nanos(at)),
            retry_after: self.refusal().and_then(|refusal| refusal.retry_after()),
            generation: self.generation,
            totals: self.totals,
        }
    }

    fn failure_count(&self) -> u64 {
        let count = match self.config.trip {
            None => {
                let window = nanos(self.config.failure_window);
                self.failures.iter().filter(|at| self.now - **at < window).count()
            }
            Some(Trip::Consecutive { .. }) => {
                self.calls.iter().rev().take_while(|call| call.failed).count()
            }
            Some(_) => self.window().iter().filter(|call| call.failed).count(),
        };
        count as u64
    }

    fn success_count(&self) -> u64 {
        match (self.state, self.config.trip) {
            (CircuitState::HalfOpen, _) => self.trial_successes,
            (CircuitState::Open, None | Some(Trip::Consecutive { .. })) => 0,
            _ => self.window().iter().filter(|call| !call.failed).count() as u64,
        }
    }

    fn failure_rate(&self) -> f64 {
        if self.state != CircuitState::Closed && !self.rates() {
            return 0.0;
        }
        let window = self.window();
        share(window.iter().filter(|call| call.failed).count(), window.len())
    }

    fn limit(&self) -> usize {
        self.config.half_open_max_calls.unwrap_or(self.config.success_threshold) as usize
    }

    #[expect(clippy::cast_possible_truncation, reason = "shown, not judged by")]
    fn trip_limit(&self) -> TripLimit {
        match self.config.trip {
            None => TripLimit::Failures(self.config.failure_threshold),
            Some(Trip::Consecutive { failures }) => TripLimit::ConsecutiveFailures(failures),
            Some(Trip::RateCountWindow { rate, .. } | Trip::RateTimeWindow { rate, .. }) => {
                TripLimit::FailureRate(rate as f32)
            }
            Some(Trip::Slow { rate, .. }) => TripLimit::SlowRate(rate as f32),
        }
    }
}

/// The share as the design compares it: a quotient, and 0.0 of nothing.
#[expect(clippy::cast_precision_loss, reason = "the windows of the cases hold a few calls")]
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn nanos(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).expect("the cases use short times")
}
