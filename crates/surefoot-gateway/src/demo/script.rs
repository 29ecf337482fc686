//! What the service does when: phases as shares of the run, so that a short run and a long one tell the same story.
//!
//! The story is a bad day of a hosted model: it gets flaky, then slow, then enforces a quota, then refuses everyone while it is
//! redeployed, then hangs, then crashes, then comes back with cold caches. Nothing here knows about sockets.

use std::time::Duration;

/// How the service treats the requests of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Every request is worked on.
    Healthy,
    /// One request in three fails at once, by bad luck: what retries are for.
    Flaky,
    /// Work takes longer.
    Slow,
    /// A quota per second; what exceeds it gets 429 with `Retry-After`.
    Throttling,
    /// Everyone gets 503, with a truthful `Retry-After`.
    Refusing,
    /// Requests are accepted, and every other one is never answered, as with one replica of two gone silent.
    Hung,
    /// Connections are reset, those in flight too.
    Down,
    /// Answering again, but slower the colder its caches are.
    Recovering,
    /// Every other streamed answer hangs after its first token.
    HangingMidway,
    /// Every other streamed answer is cut off half-way by a reset.
    CuttingOff,
}

impl Behaviour {
    /// The word for the chart's header band.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Healthy => "ok",
            Self::Flaky => "flaky",
            Self::Slow => "slow",
            Self::Throttling => "429",
            Self::Refusing => "503",
            Self::Hung => "hung",
            Self::Down => "down",
            Self::Recovering => "cold",
            Self::HangingMidway => "hangs midway",
            Self::CuttingOff => "cut off",
        }
    }

    /// The same as a line of a log.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::Healthy => "ok: answers every request",
            Self::Flaky => "flaky: one request in three fails with 500",
            Self::Slow => "slow: work takes longer",
            Self::Throttling => "429: a quota, above it 429 with Retry-After",
            Self::Refusing => "503: refuses everyone, with Retry-After",
            Self::Hung => "hung: never answers every other request",
            Self::Down => "down: resets every connection",
            Self::Recovering => "cold: answers again, slowly at first",
            Self::HangingMidway => "hangs midway: every other answer, after one token",
            Self::CuttingOff => "cut off: every other answer is reset half-way",
        }
    }
}

/// A stretch of the run with one behaviour: from `from`, up to and without `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Phase {
    pub(crate) behaviour: Behaviour,
    pub(crate) from: Duration,
    pub(crate) to: Duration,
}

/// Phases that follow each other without a gap, from the start of the run to its end.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    first: Phase,
    rest: Vec<Phase>,
}

/// Each phase's behaviour and length as a share of the run, in hundredths.
///
/// Healthy stretches in between let each trouble be seen for itself. 503 lasts just under a second at the default
/// length, so that the whole seconds of a `Retry-After` can say it.
const OUTAGE: [(Behaviour, u32); 9] = [
    (Behaviour::Flaky, 12),
    (Behaviour::Slow, 10),
    (Behaviour::Throttling, 12),
    (Behaviour::Refusing, 6),
    (Behaviour::Healthy, 8),
    (Behaviour::Hung, 12),
    (Behaviour::Down, 10),
    (Behaviour::Recovering, 12),
    (Behaviour::Healthy, 12),
];
const OUTAGE_FIRST: (Behaviour, u32) = (Behaviour::Healthy, 6);

/// What streams add to that: answers that stop after they have begun.
const STREAMING: [(Behaviour, u32); 4] = [
    (Behaviour::HangingMidway, 30),
    (Behaviour::CuttingOff, 20),
    (Behaviour::Throttling, 25),
    (Behaviour::Healthy, 15),
];
const STREAMING_FIRST: (Behaviour, u32) = (Behaviour::Healthy, 10);

impl Script {
    /// The bad day, spread over `total`.
    pub(crate) fn outage(total: Duration) -> Self {
        Self::new(total, OUTAGE_FIRST, &OUTAGE)
    }

    /// A model that streams, and does not always finish.
    pub(crate) fn streaming(total: Duration) -> Self {
        Self::new(total, STREAMING_FIRST, &STREAMING)
    }

    /// A run of one behaviour, for the tests of what follows scripts.
    #[cfg(test)]
    pub(crate) fn only(behaviour: Behaviour, total: Duration) -> Self {
        Self::new(total, (behaviour, 100), &[])
    }

    fn new(total: Duration, first: (Behaviour, u32), rest: &[(Behaviour, u32)]) -> Self {
        let mut hundredths = 0;
        let mut phase = |(behaviour, share): (Behaviour, u32)| {
            let from = total * hundredths / 100;
            hundredths += share;
            Phase { behaviour, from, to: total * hundredths / 100 }
        };
        Self { first: phase(first), rest: rest.iter().copied().map(phase).collect() }
    }

    pub(crate) fn phases(&self) -> impl Iterator<Item = &Phase> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    /// The phase at `at`; the last one for ever after, for calls still open when arrivals have ended.
    pub(crate) fn phase_at(&self, at: Duration) -> &Phase {
        self.phases().take_while(|phase| phase.from <= at).last().unwrap_or(&self.first)
    }

    /// When the service next goes down after `at`, taking everything in flight with it.
    pub(crate) fn next_crash(&self, at: Duration) -> Option<Duration> {
        self.phases()
            .find(|phase| phase.behaviour == Behaviour::Down && phase.from > at)
            .map(|phase| phase.from)
    }

    /// When the last outage ends and requests are answered again, or else, when the last trouble ends: recovery is
    /// counted from here.
    pub(crate) fn answering_again(&self) -> Duration {
        let ends = |of: fn(Behaviour) -> bool| {
            self.phases().filter(|phase| of(phase.behaviour)).last().map(|phase| phase.to)
        };
        ends(|behaviour| behaviour == Behaviour::Down)
            .or_else(|| ends(|behaviour| behaviour != Behaviour::Healthy))
            .unwrap_or(Duration::ZERO)
    }

    pub(crate) fn total(&self) -> Duration {
        self.rest.last().unwrap_or(&self.first).to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn phases_fill_the_run_without_gaps() {
        for seconds in [3, 15, 17, 600] {
            for script in [Script::outage(SECOND * seconds), Script::streaming(SECOND * seconds)] {
                let mut end = Duration::ZERO;
                for phase in script.phases() {
                    assert_eq!(phase.from, end);
                    assert!(phase.to > phase.from);
                    end = phase.to;
                }
                assert_eq!(end, SECOND * seconds);
                assert_eq!(script.total(), end);
            }
        }
    }

    #[test]
    fn the_day_starts_and_ends_healthy() {
        let script = Script::outage(SECOND * 15);
        assert_eq!(script.phase_at(Duration::ZERO).behaviour, Behaviour::Healthy);
        assert_eq!(script.phase_at(SECOND * 1000).behaviour, Behaviour::Healthy);
    }

    #[test]
    fn a_phase_owns_its_first_instant_and_not_its_last() {
        let script = Script::outage(SECOND * 100);
        assert_eq!(script.phase_at(SECOND * 6).behaviour, Behaviour::Flaky);
        assert_eq!(script.phase_at(Duration::from_millis(17_999)).behaviour, Behaviour::Flaky);
    }

    #[test]
    fn a_crash_is_foreseen_before_it_and_not_while_it_lasts() {
        let script = Script::outage(SECOND * 100);
        assert_eq!(script.next_crash(Duration::ZERO), Some(SECOND * 66));
        assert_eq!(script.next_crash(SECOND * 66), None);
    }

    #[test]
    fn recovery_is_counted_from_the_end_of_the_outage() {
        let script = Script::outage(SECOND * 100);
        assert_eq!(script.answering_again(), SECOND * 76);
        assert_eq!(script.phase_at(script.answering_again()).behaviour, Behaviour::Recovering);
        assert_eq!(Script::streaming(SECOND * 100).answering_again(), SECOND * 85);
    }
}
