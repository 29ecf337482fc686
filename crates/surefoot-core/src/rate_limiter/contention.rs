//! What a thread does that met another one at a word.

/// Waits longer each time, up to about a microsecond.
///
/// A cache line that two processors write in turn takes a journey for each write, which costs more
/// than all else in a check. Whoever just failed steps back, and the other one makes some calls
/// with the line at hand. The least is the length of some calls, the most bounds what a call may
/// wait for nobody.
///
/// Source: T. Anderson, "The Performance of Spin Lock Alternatives for Shared-Memory
/// Multiprocessors" (1990): exponential backoff.
#[derive(Debug)]
pub(super) struct Contention {
    spins: u32,
}

const SPINS_LEAST: u32 = 8;
const SPINS_MOST: u32 = 32;

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
