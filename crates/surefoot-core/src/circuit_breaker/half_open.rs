//! The places of trial calls while half-open.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::Timestamp;

/// At most `limit` trial calls at a time, each holding a place that expires.
///
/// A place whose trial call never reports is given to another after the timeout, so that one hung
/// call cannot wedge the breaker. Until it is given away, a late report still counts.
#[derive(Debug)]
pub(super) struct HalfOpen {
    limit: usize,
    timeout: Duration,
    places: Vec<Place>,
    next_id: NonZeroU64,
    pub(super) successes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    probe: ProbeId,
    expires: Timestamp,
}

/// Which trial call a permit stands for; unique within one half-open phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProbeId(NonZeroU64);

impl HalfOpen {
    pub(super) fn new(limit: u32, timeout: Duration) -> Self {
        Self {
            limit: limit as usize,
            timeout,
            places: Vec::new(),
            next_id: NonZeroU64::MIN,
            successes: 0,
        }
    }

    /// Takes a place, those that have expired included; or says when the next one can be had.
    pub(super) fn take_place(&mut self, now: Timestamp) -> Result<ProbeId, Timestamp> {
        if let Some(free) = self.next_free_place(now) {
            return Err(free);
        }
        while self.places.len() >= self.limit {
            // Of those taken at one moment the first goes first.
            let age = |(_, place): &(usize, &Place)| (place.expires, place.probe.0);
            let oldest = self.places.iter().enumerate().min_by_key(age);
            let Some((oldest, _)) = oldest else { break };
            self.places.swap_remove(oldest); // expired, or there would be no free place
        }
        let probe = ProbeId(self.next_id);
        self.next_id = self.next_id.saturating_add(1);
        self.places.push(Place { probe, expires: now + self.timeout });
        Ok(probe)
    }

    /// When a place can be had; `None` if one is free now. A limit that was lowered below the
    /// number of trial calls out takes several expiries.
    pub(super) fn next_free_place(&self, now: Timestamp) -> Option<Timestamp> {
        if self.places.len() < self.limit {
            return None;
        }
        let mut expiries: Vec<_> = self.places.iter().map(|place| place.expires).collect();
        expiries.sort_unstable();
        let free = expiries.get(expiries.len() - self.limit)?;
        (now < *free).then_some(*free)
    }

    /// Gives a place back; `false` if it had been given to another meanwhile.
    pub(super) fn give_back(&mut self, probe: ProbeId) -> bool {
        let held = self.places.iter().position(|place| place.probe == probe);
        held.map(|index| self.places.swap_remove(index)).is_some()
    }

    /// New options; trial calls that are out keep their places, even beyond a lower limit.
    pub(super) fn reconfigure(&mut self, limit: u32, timeout: Duration) {
        self.limit = limit as usize;
        self.timeout = timeout;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_full_house_says_when_the_nearest_place_expires() {
        let mut half_open = HalfOpen::new(2, TIMEOUT);
        half_open.take_place(at(0)).unwrap();
        half_open.take_place(at(3)).unwrap();
        assert_eq!(half_open.take_place(at(4)), Err(at(10)));
    }

    #[test]
    fn an_expired_place_is_given_away_once() {
        let mut half_open = HalfOpen::new(1, TIMEOUT);
        let hung = half_open.take_place(at(0)).unwrap();
        let next = half_open.take_place(at(10)).unwrap();
        assert_eq!(half_open.take_place(at(10)), Err(at(20)));
        assert!(!half_open.give_back(hung));
        assert!(half_open.give_back(next));
    }

    #[test]
    fn a_late_report_counts_while_its_place_is_its_own() {
        let mut half_open = HalfOpen::new(1, TIMEOUT);
        let hung = half_open.take_place(at(0)).unwrap();
        assert!(half_open.give_back(hung));
        assert!(!half_open.give_back(hung));
    }

    #[test]
    fn of_places_taken_at_one_moment_the_first_is_given_away_first() {
        let mut half_open = HalfOpen::new(3, TIMEOUT);
        let [first, second, third] = [0; 3].map(|second| half_open.take_place(at(second)).unwrap());
        assert!(half_open.give_back(first));
        let fourth = half_open.take_place(at(0)).unwrap();
        half_open.take_place(at(10)).unwrap();
        assert_eq!(
            [second, third, fourth].map(|probe| half_open.give_back(probe)),
            [false, true, true]
        );
    }

    #[test]
    fn a_lowered_limit_holds_however_many_places_have_expired() {
        let mut half_open = HalfOpen::new(3, TIMEOUT);
        for second in 0..3 {
            half_open.take_place(at(second)).unwrap();
        }
        half_open.reconfigure(1, TIMEOUT);
        assert_eq!(half_open.take_place(at(11)), Err(at(12)), "one is still out");
        half_open.take_place(at(12)).unwrap();
        assert_eq!(half_open.take_place(at(12)), Err(at(22)));
    }
}
