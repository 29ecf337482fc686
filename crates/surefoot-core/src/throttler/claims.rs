//! What becomes of claims: under the queue's lock.

use super::word::{Returned, Word};

/// Permits that meet claims, and claims that are met otherwise.
///
/// A claim is made with every call that finds no permit free, and ends in one of three ways: the
/// call is given a permit that was handed in, it withdraws, or the claim was made by a limit that was
/// lowered, and swallows the permit. With that,
///
/// ```text
/// claims that are met = permits handed in + permits on their way to be − permits astray
/// ```
///
/// The word is not told of every claim that is met. A permit that returns while somebody waits is
/// handed in without: that costs an atomic step less, and as long as somebody waits the word has to
/// show claims anyway. What it was not told it is when nobody waits any more.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Permits that were handed in, and that nobody has taken.
    handed_in: u32,
    /// Permits on their way to be handed in, whose claim was withdrawn meanwhile.
    astray: u32,
    /// Claims of a limit that was lowered.
    surplus: u32,
    /// Claims that are met, and that the word still shows.
    untold: u32,
}

/// So many claims are told at once even if somebody waits, as the word counts in 32 bits.
const UNTOLD_MOST: u32 = 1 << 20;

impl Claims {
    /// Takes a permit for a claim that was made.
    pub(super) fn take(&mut self) -> bool {
        let is_there = self.handed_in > 0;
        self.handed_in -= u32::from(is_there);
        is_there
    }

    /// Whether there is a permit to be taken.
    pub(super) fn has_permit(&self) -> bool {
        self.handed_in > 0
    }

    /// A permit that met a claim arrives.
    pub(super) fn hand_in(&mut self, word: &Word) {
        if self.astray > 0 {
            self.astray -= 1;
            return self.put_back(word);
        }
        self.admit(1);
    }

    /// A permit returns, and the word showed claims.
    pub(super) fn bring(&mut self, word: &Word, somebody_waits: bool) {
        if somebody_waits && self.surplus == 0 {
            self.handed_in += 1;
            self.untold += 1;
        } else {
            self.put_back(word);
        }
    }

    /// Has the word show no more claims than there are, unless somebody waits.
    pub(super) fn tell(&mut self, word: &Word, somebody_waits: bool) {
        if self.untold == 0 || (somebody_waits && self.untold < UNTOLD_MOST) {
            return;
        }
        let untold = std::mem::take(&mut self.untold);
        let withdrawn = word.withdraw(untold);
        (withdrawn..untold).for_each(|_| self.one_too_many(word));
    }

    /// A permit returns.
    pub(super) fn put_back(&mut self, word: &Word) {
        if word.put_back() == Returned::Claimed {
            self.admit(1);
        }
    }

    fn admit(&mut self, permits: u32) {
        let swallowed = permits.min(self.surplus);
        self.surplus -= swallowed;
        self.handed_in += permits - swallowed;
    }

    /// Takes a claim back.
    pub(super) fn withdraw(&mut self, word: &Word) {
        if word.withdraw(1) == 0 {
            self.one_too_many(word);
        }
    }

    /// Every claim is met. So one permit too many was handed in, or is on its way.
    fn one_too_many(&mut self, word: &Word) {
        if self.take() { self.put_back(word) } else { self.astray += 1 }
    }

    /// There are more permits.
    pub(super) fn raise(&mut self, word: &Word, permits: u32) {
        let spared = permits.min(self.surplus);
        self.surplus -= spared;
        (0..spared).for_each(|_| self.withdraw(word));
        let met = word.add(permits - spared);
        self.admit(met);
    }

    /// There are fewer permits; those that are out go on, and are swallowed when they return.
    pub(super) fn lower(&mut self, word: &Word, permits: u32) {
        self.surplus += permits - word.remove(permits);
    }

    /// How many permits are out, where there are `limit`.
    pub(super) fn out(&self, word: &Word, limit: u32) -> u32 {
        let home = word.load().free().saturating_add(self.handed_in);
        limit.saturating_add(self.surplus).saturating_sub(home)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A word of which all permits are out, and so many claims are made beyond them.
    fn word(permits: u32, claims: u32) -> Word {
        let word = Word::new(permits);
        word.remove(permits + claims);
        word
    }

    #[test]
    fn a_claim_that_is_met_while_somebody_waits_is_told_when_nobody_does() {
        let (mut claims, word) = (Claims::default(), word(1, 1));
        claims.bring(&word, true);
        assert!(claims.has_permit() && claims.take() && !claims.has_permit());
        claims.tell(&word, true);
        assert!(word.load().has_claims());
        claims.tell(&word, false);
        assert!(!word.load().has_claims());
        assert_eq!(claims.out(&word, 1), 1);
        claims.tell(&word, false);
        claims.put_back(&word);
        assert_eq!((word.load().free(), claims.has_permit()), (1, false));
    }

    #[test]
    fn so_many_claims_are_told_even_if_somebody_waits() {
        let (mut claims, word) = (Claims::default(), word(1, UNTOLD_MOST));
        for _ in 0..UNTOLD_MOST {
            claims.tell(&word, true);
            claims.bring(&word, true);
            assert!(claims.take() && word.load().has_claims());
        }
        claims.tell(&word, true);
        assert!(!word.load().has_claims());
    }

    #[test]
    fn a_permit_whose_claim_was_withdrawn_on_its_way_is_free_again() {
        let (mut claims, word) = (Claims::default(), word(1, 1));
        for _ in 0..3 {
            assert_eq!(word.put_back(), Returned::Claimed);
            claims.withdraw(&word);
            claims.hand_in(&word);
            assert_eq!((word.load().free(), claims.has_permit()), (1, false));
            word.remove(2);
        }
        assert_eq!(word.put_back(), Returned::Claimed);
        claims.hand_in(&word);
        assert!(claims.has_permit(), "the next is for whoever waits");
        claims.withdraw(&word);
        assert_eq!((word.load().free(), claims.has_permit()), (1, false));
    }

    #[test]
    fn a_claim_that_nothing_met_can_be_withdrawn() {
        let (mut claims, word) = (Claims::default(), word(1, 1));
        claims.withdraw(&word);
        assert!(!word.load().has_claims());
        assert_eq!(claims.out(&word, 1), 1);
    }

    #[test]
    fn what_a_lowered_limit_takes_is_swallowed_when_it_returns() {
        let (mut claims, word) = (Claims::default(), word(2, 0));
        claims.lower(&word, 1);
        assert_eq!(claims.out(&word, 1), 2);
        claims.bring(&word, true);
        assert_eq!((claims.out(&word, 1), claims.has_permit()), (1, false));
        claims.put_back(&word);
        assert_eq!((claims.out(&word, 1), word.load().free()), (0, 1));
    }

    #[test]
    fn a_raised_limit_spares_first_what_a_lowered_one_would_swallow() {
        let (mut claims, word) = (Claims::default(), word(2, 0));
        claims.lower(&word, 1);
        claims.raise(&word, 3);
        assert_eq!((claims.out(&word, 4), word.load().free()), (2, 2));
        claims.put_back(&word);
        assert_eq!((claims.out(&word, 4), word.load().free()), (1, 3));
    }
}
