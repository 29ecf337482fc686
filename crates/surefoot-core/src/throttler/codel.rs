//! Telling a queue that stands from one that only evens out bursts.

use std::time::Duration;

use crate::Timestamp;
#[cfg(feature = "serde")]
use crate::config::duration_text;

/// Options of the controlled delay: what is unset follows the service time.
///
/// In every interval the shortest wait is noted. If it is above `target` at the end, the queue
/// *stands*: it is not a burst that passes. While it stands, whoever has waited longer than twice
/// the target is sent away.
///
/// The rule is that of folly's `Codel`, after *Controlling Queue Delay* (Nichols and Jacobson, 2012;
/// RFC 8289). Its packet-sized constants, 5 ms and 100 ms, turn calls of 100 ms away without any
/// overload; so here the target follows how long calls take, and the interval the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
pub struct CodelConfig {
    /// The wait that is fine. Default: as long as a call takes (the median), at least 5 ms.
    #[cfg_attr(
        feature = "serde",
        serde(with = "duration_text::option", skip_serializing_if = "Option::is_none")
    )]
    pub target: Option<Duration>,
    /// How long the wait has to stay above it. Default: ten times the target, at least 100 ms.
    #[cfg_attr(
        feature = "serde",
        serde(with = "duration_text::option", skip_serializing_if = "Option::is_none")
    )]
    pub interval: Option<Duration>,
}

const TARGET_LEAST: Duration = Duration::from_millis(5);
const INTERVAL_LEAST: Duration = Duration::from_millis(100);
const INTERVAL_TARGETS: u32 = 10;
/// While the queue stands, so many targets are the longest wait.
const LONGEST_TARGETS: u32 = 2;

#[derive(Debug)]
pub(super) struct Codel {
    config: CodelConfig,
    interval_ends: Timestamp,
    /// The shortest wait in this interval.
    shortest: Option<Duration>,
    stands: bool,
    target: Duration,
}

impl Codel {
    pub(super) fn new(config: CodelConfig) -> Self {
        let target = config.target.unwrap_or(TARGET_LEAST);
        let interval_ends = Timestamp::ZERO;
        Self { config, interval_ends, shortest: None, stands: false, target }
    }

    /// Notes how long somebody had waited when their turn came.
    pub(super) fn saw(&mut self, wait: Duration) {
        self.shortest = Some(self.shortest.map_or(wait, |shortest| shortest.min(wait)));
    }

    /// Brings it up to `now`: at the end of an interval it is decided whether the queue stands.
    /// `oldest` has waited longest and still waits; a call takes `service`, if that is known.
    /// Tells whether it has begun or ceased to stand.
    pub(super) fn look(
        &mut self,
        now: Timestamp,
        oldest: Option<Timestamp>,
        service: Option<Duration>,
    ) -> Option<bool> {
        if now < self.interval_ends {
            return None;
        }
        let known = self.config.target.or(service.map(|service| service.max(TARGET_LEAST)));
        // If nobody's turn came, the one who waits longest has waited this long at least.
        let waiting = oldest.map(|since| now - since);
        let shortest = self.shortest.take().or(waiting).unwrap_or_default();
        let stood = self.stands;
        // The first look of all only begins an interval.
        let has_seen_an_interval = self.interval_ends > Timestamp::ZERO;
        self.target = known.unwrap_or(TARGET_LEAST);
        self.stands = has_seen_an_interval && known.is_some_and(|target| shortest > target);
        self.interval_ends = now + self.interval();
        (self.stands != stood).then_some(self.stands)
    }

    /// The longest wait, while the queue stands.
    pub(super) fn longest_wait(&self) -> Option<Duration> {
        self.stands.then(|| self.target.saturating_mul(LONGEST_TARGETS))
    }

    /// When to look again while somebody waits.
    pub(super) fn next_look(&self) -> Timestamp {
        self.interval_ends
    }

    fn interval(&self) -> Duration {
        let scaled = || self.target.saturating_mul(INTERVAL_TARGETS).max(INTERVAL_LEAST);
        self.config.interval.unwrap_or_else(scaled)
    }
}

#[cfg(all(test, not(surefoot_loom)))]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(millis)
    }

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// One that has begun its first interval at 1 s, where calls take 50 ms.
    fn begun() -> Codel {
        let mut codel = Codel::new(CodelConfig::default());
        assert_eq!(codel.look(at(1000), None, Some(millis(50))), None);
        assert_eq!(codel.next_look(), at(1500));
        codel
    }

    #[test]
    fn a_queue_stands_when_its_shortest_wait_was_above_the_service_time() {
        let mut codel = begun();
        codel.saw(millis(90));
        codel.saw(millis(51));
        codel.saw(millis(70));
        assert_eq!(codel.look(at(1499), None, Some(millis(50))), None);
        assert_eq!(codel.look(at(1500), None, Some(millis(50))), Some(true));
        assert_eq!(codel.longest_wait(), Some(millis(100)));
    }

    #[test]
    fn one_short_wait_shows_that_it_does_not_stand() {
        let mut codel = begun();
        codel.saw(millis(500));
        codel.saw(millis(50));
        assert_eq!(codel.look(at(1500), Some(at(1000)), Some(millis(50))), None);
        assert_eq!(codel.longest_wait(), None);
    }

    #[test]
    fn a_queue_stands_too_if_nobodys_turn_comes() {
        let mut codel = begun();
        assert_eq!(codel.look(at(1500), Some(at(1449)), Some(millis(50))), Some(true));
        assert_eq!(codel.look(at(2000), Some(at(1950)), Some(millis(50))), Some(false));
    }

    #[test]
    fn nothing_is_decided_before_it_is_known_how_long_a_call_takes() {
        let mut codel = Codel::new(CodelConfig::default());
        assert_eq!(codel.look(at(1000), None, None), None);
        assert_eq!(codel.look(at(9000), Some(at(1)), None), None);
        assert_eq!(codel.longest_wait(), None);
    }

    #[test]
    fn target_and_interval_can_be_told() {
        let config = CodelConfig { target: Some(millis(20)), interval: Some(millis(40)) };
        let mut codel = Codel::new(config);
        assert_eq!(codel.look(at(1000), None, None), None);
        assert_eq!(codel.look(at(1040), Some(at(1010)), None), Some(true));
        assert_eq!(codel.longest_wait(), Some(millis(40)));
    }

    #[test]
    fn short_calls_have_a_target_of_five_milliseconds() {
        let mut codel = Codel::new(CodelConfig::default());
        let service = Some(Duration::from_micros(10));
        assert_eq!(codel.look(at(1000), None, service), None);
        assert_eq!(codel.next_look(), at(1100));
        codel.saw(millis(6));
        assert_eq!(codel.look(at(1100), None, service), Some(true));
        assert_eq!(codel.longest_wait(), Some(millis(10)));
    }

    #[test]
    fn a_wait_of_the_target_itself_is_not_too_long() {
        for (wait, stands) in [(5, None), (6, Some(true))] {
            let target = Some(Duration::from_millis(5));
            let interval = Some(Duration::from_millis(100));
            let mut codel = Codel::new(CodelConfig { target, interval });
            codel.look(at(100), None, None);
            codel.saw(Duration::from_millis(wait));
            assert_eq!(codel.look(at(200), None, None), stands, "{wait} ms");
        }
    }

    #[test]
    fn the_first_look_of_all_decides_nothing() {
        let target = Some(Duration::from_millis(5));
        let mut codel = Codel::new(CodelConfig { target, interval: None });
        codel.saw(Duration::from_secs(1));
        assert_eq!(codel.look(at(100), None, None), None);
        assert_eq!(codel.longest_wait(), None);
    }
}
