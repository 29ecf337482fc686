//! Who comes when: phases as multiples of what the service can work off.

use std::time::Duration;

/// How much a call matters: 1 the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Priority {
    Background = 1,
    Normal = 2,
    Critical = 3,
}

impl Priority {
    /// The most important first, as tables list them.
    pub(crate) const ALL: [Self; 3] = [Self::Critical, Self::Normal, Self::Background];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Background => "background",
            Self::Normal => "normal",
            Self::Critical => "critical",
        }
    }

    /// As it travels in the request's header, if it is one.
    pub(crate) fn from_level(level: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.level() == level)
    }

    pub(crate) fn level(self) -> u32 {
        self as u32
    }
}

/// A call that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) at: Duration,
    pub(crate) priority: Priority,
}

/// A stretch of the run with one rate: from `from`, up to and without `to`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Phase {
    /// Of the service's capacity.
    pub(crate) multiple: f64,
    pub(crate) from: Duration,
    pub(crate) to: Duration,
}

/// Multiples of the capacity, and each phase's length in hundredths of the run.
const CROWD: [(f64, u32); 5] = [(0.7, 15), (2.0, 22), (0.7, 18), (5.0, 25), (0.7, 20)];

impl Phase {
    pub(crate) fn is_overload(&self) -> bool {
        self.multiple > 1.0
    }

    pub(crate) fn name(&self) -> String {
        format!("{} ×", self.multiple)
    }

    pub(crate) fn sentence(&self) -> &'static str {
        match self.multiple {
            multiple if multiple > 2.0 => "5 ×: five times what the service can work off",
            multiple if multiple > 1.0 => "2 ×: twice what the service can work off",
            _ => "0.7 ×: within what the service can work off",
        }
    }
}

/// Phases that follow each other without a gap, from the start of the run to its end.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    phases: Vec<Phase>,
    total: Duration,
}

impl Load {
    /// A crowd of twice, then of five times the capacity, with calm before, between and after.
    pub(crate) fn crowd(total: Duration) -> Self {
        let mut hundredths = 0;
        let phases = CROWD.map(|(multiple, share)| {
            let from = total * hundredths / 100;
            hundredths += share;
            Phase { multiple, from, to: total * hundredths / 100 }
        });
        Self { phases: phases.to_vec(), total }
    }

    pub(crate) fn phases(&self) -> &[Phase] {
        &self.phases
    }

    pub(crate) fn total(&self) -> Duration {
        self.total
    }

    /// The phase at `at`; the last one for ever after.
    pub(crate) fn phase_at(&self, at: Duration) -> Phase {
        let found = self.phases.iter().rfind(|phase| phase.from <= at);
        found.copied().unwrap_or(Phase { multiple: 0.0, from: Duration::ZERO, to: self.total })
    }

    /// When the last overload ends: recovery is counted from here.
    pub(crate) fn calm_again(&self) -> Duration {
        self.phases.iter().rfind(|phase| phase.is_overload()).map_or(Duration::ZERO, |last| last.to)
    }

    /// The arrivals of a Poisson process with these rates, each of a random priority, in order.
    pub(crate) fn schedule(&self, seed: u64, capacity: f64) -> Vec<Arrival> {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut arrivals = Vec::new();
        for phase in &self.phases {
            let mut at = phase.from;
            loop {
                // 1 − f64() is in (0, 1], so the logarithm is finite.
                let gap = -(1.0 - random.f64()).ln() / (phase.multiple * capacity);
                at += Duration::from_secs_f64(gap);
                if at >= phase.to {
                    break;
                }
                let priority = Priority::ALL[random.usize(..Priority::ALL.len())];
                arrivals.push(Arrival { at, priority });
            }
        }
        arrivals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn phases_fill_the_run_without_gaps() {
        for seconds in [3, 6, 17, 600] {
            let load = Load::crowd(SECOND * seconds);
            let mut end = Duration::ZERO;
            for phase in load.phases() {
                assert_eq!(phase.from, end);
                assert!(phase.to > phase.from);
                end = phase.to;
            }
            assert_eq!(end, SECOND * seconds);
        }
    }

    #[test]
    fn each_phase_keeps_the_rate_it_promises() {
        let load = Load::crowd(SECOND * 1000);
        let schedule = load.schedule(1, 100.0);
        assert!(schedule.is_sorted_by_key(|arrival| arrival.at));
        for phase in load.phases() {
            let of_phase = |arrival: &&Arrival| (phase.from..phase.to).contains(&arrival.at);
            let arrivals = u32::try_from(schedule.iter().filter(of_phase).count()).unwrap();
            let rate = f64::from(arrivals) / (phase.to.saturating_sub(phase.from)).as_secs_f64();
            assert!((rate / (phase.multiple * 100.0) - 1.0).abs() < 0.05, "{phase:?}: {rate}");
        }
        assert_eq!(schedule, load.schedule(1, 100.0));
    }

    #[test]
    fn every_phase_has_a_sentence_that_begins_with_its_name() {
        for phase in Load::crowd(SECOND * 10).phases() {
            assert!(phase.sentence().starts_with(&phase.name()), "{}", phase.name());
        }
    }
}
