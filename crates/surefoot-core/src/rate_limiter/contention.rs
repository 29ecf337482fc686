//! What a thread does that met another one at a word.

/// Waits half a microsecond, and then about one each time.
///
/// A cache line that two processors write in turn takes a journey for each write, which costs more
/// than all else in a check. Whoever just failed steps back, and the other one makes some calls
/// with the line at hand: the least has to be as long as some twenty calls, or the two get in each
/// other's way again before the journey has paid off. The most bounds what a call may wait for nobody.
///
/// Source: T. Anderson, "The Performance of Spin Lock Alternatives for Shared-Memory
/// Multiprocessors" (1990): exponential backoff.
#[derive(Debug)]
pub(super) struct Contention {
    spins: u32,
}

/// A processor takes between 10 and 45 ns for one.
const SPINS_LEAST: u32 = 32;
const SPINS_MOST: u32 = 64;

impl Default for Contention {
    #[inline]
    fn default() -> Self {
        Self { spins: SPINS_LEAST }
    }
}

impl Contention {
    #[cold]
    pub(super) fn back_off(&mut self) {
        for _ in 0..self.spins {
            crate::sync::hint::spin_loop();
        }
        self.spins = (2 * self.spins).min(SPINS_MOST);
    }
}
