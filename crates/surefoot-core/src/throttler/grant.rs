//! What a call was admitted with, in one word.

use crate::Timestamp;

/// When a call was admitted, if that was looked at; or, if its permit is borrowed, the number of the loan,
/// by which [`Fellowship`](super::fellows::Fellowship) knows when and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant(u64);

const UNTIMED: u64 = u64::MAX;
/// Times up to 292 years fit below it.
const BORROWED: u64 = 1 << 63;

impl Grant {
    /// With a permit of the throttler's own, without a look at the time.
    pub(super) const UNTIMED: Self = Self(UNTIMED);

    /// With a permit of the throttler's own.
    pub(super) fn own(at: Timestamp) -> Self {
        Self(at.as_nanos() & !BORROWED)
    }

    /// With a permit that was lent.
    pub(super) fn borrowed(loan: u32) -> Self {
        Self(u64::from(loan) | BORROWED)
    }

    /// For keeping it in an atomic.
    pub(super) fn word(self) -> u64 {
        self.0
    }

    pub(super) fn from_word(word: u64) -> Self {
        Self(word)
    }

    #[inline(always)]
    pub(super) fn is_untimed(self) -> bool {
        self.0 == UNTIMED
    }

    /// The number of the loan, of one that is not [untimed](Self::UNTIMED).
    pub(super) fn loan(self) -> Option<u32> {
        let loan = (self.0 & BORROWED != 0).then_some(self.0 & !BORROWED)?;
        u32::try_from(loan).ok()
    }

    /// Of one that is neither [untimed](Self::UNTIMED) nor borrowed.
    pub(super) fn at(self) -> Timestamp {
        Timestamp::from_nanos(self.0)
    }
}
