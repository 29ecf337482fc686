//! What a call took of several limits, and its correction.

use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};

use super::super::Charge;
use super::lanes::{Places, Used};
use super::{LIMITS_MOST, LimitedCall, RateLimits};
use crate::Rejection;

/// What a call took of several limits; see [`Charge`](super::super::Charge). Dropping it keeps the
/// estimate.
pub struct LimitsCharge<K: Hash + Eq, S: BuildHasher = RandomState> {
    call: LimitedCall<K, S>,
    places: Places,
}

impl<K: Hash + Eq, S: BuildHasher> LimitsCharge<K, S> {
    pub(super) fn new(call: LimitedCall<K, S>, places: Places) -> Self {
        Self { call, places }
    }

    /// Corrects the units that are named to what was used, more or less; the others stay as
    /// estimated.
    ///
    /// # Errors
    /// [`Rejection::UnknownUnit`]; then every estimate stays.
    pub fn settle(mut self, used: &[(&str, u64)]) -> Result<(), Rejection> {
        let limits = self.call.limits();
        let mut known = [None; LIMITS_MOST];
        for (unit, n) in used {
            match limits.shared.units.iter().position(|known| known == unit) {
                Some(place) => known[place] = Some(*n),
                None => return Err(limits.unknown(unit)),
            }
        }
        self.close(&known);
        Ok(())
    }

    /// The limits it was taken from.
    pub fn limits(&self) -> &RateLimits<K, S> {
        self.call.limits()
    }

    /// The call never ran: everything is given back.
    pub fn give_back(mut self) {
        self.close(&[Some(0); LIMITS_MOST]);
    }

    /// Corrects the units whose use is known and leaves the others.
    fn close(&mut self, used: &Used) {
        let places = std::mem::take(&mut self.places);
        if places.iter().any(|id| *id != 0) {
            self.call.close(&places, used);
        }
    }
}

/// That of one or more calls of a kind, to be corrected by what it used of each unit.
impl<K: Hash + Eq + Clone, S: BuildHasher> From<Charge<LimitedCall<K, S>>> for LimitsCharge<K, S> {
    fn from(charge: Charge<LimitedCall<K, S>>) -> Self {
        let (call, place) = charge.into_parts();
        Self { call, places: place.map_or([0; LIMITS_MOST], |place| place.places) }
    }
}

impl<K: Hash + Eq, S: BuildHasher> Drop for LimitsCharge<K, S> {
    fn drop(&mut self) {
        self.close(&[None; LIMITS_MOST]);
    }
}

impl<K: Hash + Eq + fmt::Debug, S: BuildHasher> fmt::Debug for LimitsCharge<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitsCharge").field("key", self.call.key()).finish_non_exhaustive()
    }
}
