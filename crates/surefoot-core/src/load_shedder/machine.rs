//! The decision: every signal is asked, and the first that says so sheds the call.

use std::fmt;
use std::time::Duration;

use super::config::{LoadShedderConfig, Signals};
use super::in_flight::InFlight;
use super::level::{LevelThreshold, Place};
use super::memory::Memory;
use super::signal::Signal;
use super::status::{LoadShedderStatus, PriorityStatus, SignalStatus};
use super::steps::Steps;
use crate::counter::Counter;
use crate::draw::Draw;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::{Event, Events, Rejection, TimeSource, Timestamp};

/// A function that tells the load now; NaN where it does not know.
pub(super) type LoadFn = Box<dyn Fn() -> f64 + Send + Sync>;

pub(super) struct Machine {
    pub(super) config: LoadShedderConfig,
    pub(super) time: TimeSource,
    pub(super) events: Events,
    signals: Signals,
    steps: Steps,
    functions: Vec<(Signal, LoadFn)>,
    memory: Option<Memory>,
    sampled: Option<LevelThreshold>,
    in_flight: Option<InFlight>,
    draw: Draw,
    counts: Box<[Counts]>,
}

/// What became of one level's calls.
#[derive(Debug, Default)]
struct Counts {
    admitted: Counter,
    shed: AtomicU64,
    would_shed: AtomicU64,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// The priority, counted from 0.
    pub(super) level: usize,
    /// A hash of the user it is for.
    pub(super) user: Option<u64>,
}

impl Arrival {
    pub(super) fn priority(self) -> u32 {
        u32::try_from(self.level).map_or(u32::MAX, |level| level.saturating_add(1))
    }
}

/// Why a call is shed.
#[derive(Clone, Copy, Debug)]
struct Reason {
    signal: Signal,
    load: f32,
    limit: f32,
}

const HOUR: u64 = 3_600_000_000_000;

impl Machine {
    pub(super) fn new(
        config: LoadShedderConfig,
        signals: Signals,
        functions: Vec<(Signal, LoadFn)>,
        time: TimeSource,
        events: Events,
    ) -> Self {
        let LoadShedderConfig { max_load, priority_levels, sample_interval, .. } = config;
        let steps = Steps::new(max_load, priority_levels);
        let sampled = (signals.cpu || config.max_queue_delay.is_some())
            .then(|| LevelThreshold::new(max_load, priority_levels, sample_interval, time.now()));
        Self {
            memory: signals.memory.then(|| Memory::new(config.hysteresis(), sample_interval)),
            sampled,
            in_flight: config.capacity.map(|capacity| InFlight::new(capacity, &steps)),
            draw: Draw::new(config.seed),
            counts: (0..priority_levels).map(|_| Counts::default()).collect(),
            config,
            time,
            events,
            signals,
            steps,
            functions,
        }
    }

    /// Decides about a call that is to be counted while it is under way; tells whether it is.
    #[inline]
    pub(super) fn admit(&self, arrival: Arrival) -> Result<bool, Rejection> {
        let mut reason = self.reason(arrival);
        if reason.is_none()
            && let Some(in_flight) = &self.in_flight
        {
            match in_flight.enter(arrival.level) {
                Ok(()) => {
                    self.count_admitted(arrival);
                    return Ok(true);
                }
                Err(load) => reason = Some(self.by_steps(Signal::InFlight, arrival, load)),
            }
        }
        self.conclude(arrival, reason)?;
        if let Some(in_flight) = &self.in_flight {
            in_flight.enter_anyway(); // a dry run
        }
        Ok(self.in_flight.is_some())
    }

    /// Decides about a call that is not to be counted.
    pub(super) fn check(&self, arrival: Arrival) -> Result<(), Rejection> {
        let reason = self.reason(arrival).or_else(|| {
            let load = self.in_flight.as_ref()?.look(arrival.level).err()?;
            Some(self.by_steps(Signal::InFlight, arrival, load))
        });
        self.conclude(arrival, reason)
    }

    /// A call that was counted has ended.
    #[inline]
    pub(super) fn leave(&self) {
        if let Some(in_flight) = &self.in_flight {
            in_flight.leave();
        }
    }

    /// Asks every signal but the calls under way, which are looked at and counted in one step.
    fn reason(&self, arrival: Arrival) -> Option<Reason> {
        // First of all, because every arrival has to be seen there.
        let by_level = self.sampled.as_ref().and_then(|sampled| {
            let (signal, load) = sampled.arrive(self.place(arrival), &self.time)?;
            Some(Reason { signal, load, limit: to_f32(self.config.max_load) })
        });
        by_level
            .or_else(|| {
                let load = self.memory.as_ref()?.sheds(arrival.level, &self.time)?;
                Some(self.by_steps(Signal::Memory, arrival, load))
            })
            .or_else(|| {
                self.functions.iter().find_map(|(signal, function)| {
                    let load = function();
                    let sheds = self.steps.sheds(arrival.level, load);
                    sheds.then(|| self.by_steps(*signal, arrival, to_f32(load)))
                })
            })
    }

    fn by_steps(&self, signal: Signal, arrival: Arrival, load: f32) -> Reason {
        Reason { signal, load, limit: to_f32(self.steps.threshold(arrival.level)) }
    }

    fn place(&self, arrival: Arrival) -> Place {
        let random = self.draw.next();
        match arrival.user {
            None => Place::drawn(arrival.level, random),
            Some(user) => {
                let hour = self.time.now().as_nanos() / HOUR;
                Place::of_user(arrival.level, self.draw.of(user.wrapping_add(hour)), random)
            }
        }
    }

    fn conclude(&self, arrival: Arrival, reason: Option<Reason>) -> Result<(), Rejection> {
        match reason {
            None => self.count_admitted(arrival),
            Some(reason) => {
                self.count_shed(arrival, reason);
                if !self.config.dry_run {
                    return Err(self.rejection(arrival, reason));
                }
                self.count_admitted(arrival);
            }
        }
        Ok(())
    }

    #[inline]
    fn count_admitted(&self, arrival: Arrival) {
        self.counts[arrival.level].admitted.add();
    }

    #[cold]
    fn count_shed(&self, arrival: Arrival, Reason { signal, load, limit }: Reason) {
        let dry_run = self.config.dry_run;
        let counts = &self.counts[arrival.level];
        let count = if dry_run { &counts.would_shed } else { &counts.shed };
        count.fetch_add(1, Ordering::Relaxed);
        if !self.events.is_empty() {
            self.events.send(&Event::Shed {
                policy: self.config.name.clone(),
                at: self.time.now(),
                priority: arrival.priority(),
                signal,
                load,
                limit,
                dry_run,
            });
        }
    }

    fn rejection(&self, arrival: Arrival, Reason { signal, load, limit }: Reason) -> Rejection {
        let policy = self.config.name.clone();
        Rejection::Shed { policy, priority: arrival.priority(), signal, load, limit }
    }

    pub(super) fn record_cpu(&self, load: f64) {
        if self.signals.cpu
            && let Some((sampled, load)) = self.sampled.as_ref().zip(valid(load))
        {
            sampled.record(Signal::Cpu, load, self.time.now());
        }
    }

    pub(super) fn record_memory(&self, load: f64) {
        if let Some((memory, load)) = self.memory.as_ref().zip(valid(load)) {
            memory.record(load, &self.steps, self.time.now());
        }
    }

    pub(super) fn record_queue_delay(&self, delay: Duration) {
        if let Some((sampled, longest)) = self.sampled.as_ref().zip(self.config.max_queue_delay) {
            let load = delay.as_secs_f64() / longest.as_secs_f64();
            sampled.record(Signal::QueueDelay, load, self.time.now());
        }
    }

    pub(super) fn status(&self) -> LoadShedderStatus {
        let now = self.time.now();
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        LoadShedderStatus {
            name: self.config.name.clone(),
            dry_run: self.config.dry_run,
            in_flight: self.in_flight.as_ref().map_or(0, InFlight::calls),
            capacity: self.config.capacity,
            signals: self.loads(now),
            admitted_share: self.sampled.as_ref().map_or(1.0, |sampled| sampled.share(now)),
            priorities: (1..)
                .zip(&self.counts)
                .map(|(priority, counts)| PriorityStatus {
                    priority,
                    admitted: counts.admitted.get(),
                    shed: count(&counts.shed),
                    would_shed: count(&counts.would_shed),
                })
                .collect(),
        }
    }

    fn loads(&self, now: Timestamp) -> Vec<SignalStatus> {
        let mut signals = Vec::new();
        let mut add = |signal, load| signals.push(SignalStatus { signal, load });
        if let Some(in_flight) = &self.in_flight {
            let (calls, capacity) = (in_flight.calls(), in_flight.capacity());
            add(Signal::InFlight, Some(f64::from(calls) / f64::from(capacity)));
        }
        if let Some(sampled) = &self.sampled {
            if self.signals.cpu {
                add(Signal::Cpu, sampled.load(Signal::Cpu, now));
            }
            if self.config.max_queue_delay.is_some() {
                add(Signal::QueueDelay, sampled.load(Signal::QueueDelay, now));
            }
        }
        if let Some(memory) = &self.memory {
            add(Signal::Memory, memory.load(now).map(f64::from));
        }
        for (signal, function) in &self.functions {
            add(*signal, Some(function()).filter(|load| !load.is_nan()));
        }
        signals
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A load that can be: anything else is as good as no sample.
fn valid(load: f64) -> Option<f64> {
    (load >= 0.0 && load.is_finite()).then_some(load)
}

#[expect(clippy::cast_possible_truncation, reason = "shown to people, not judged by")]
fn to_f32(load: f64) -> f32 {
    load as f32
}
