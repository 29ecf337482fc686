//! What an admitted call holds while it is under way.

use std::borrow::Borrow;
use std::fmt;

use super::LoadShedder;

/// A call's place among those under way, given back when it is dropped, for whatever reason and on
/// whatever thread.
///
/// Handed out by [`LoadShedder::admit`] (owned: it can be stored and sent) and
/// [`Prioritized::admit_borrowed`](super::Prioritized::admit_borrowed).
#[must_use = "a permit that is dropped at once does not count the call as under way"]
pub struct Permit<S: Borrow<LoadShedder> = LoadShedder> {
    shedder: S,
    /// Whether the shedder counts it.
    counted: bool,
}

impl<S: Borrow<LoadShedder>> Permit<S> {
    #[inline]
    pub(super) fn new(shedder: S, counted: bool) -> Self {
        Self { shedder, counted }
    }

    /// Moves the place into a permit with a handle of its own to the shedder, which can outlive a
    /// borrow. This one is empty then.
    pub fn hand_over(&mut self) -> Permit {
        let counted = std::mem::take(&mut self.counted);
        Permit::new(self.shedder.borrow().clone(), counted)
    }
}

impl<S: Borrow<LoadShedder>> Drop for Permit<S> {
    #[inline]
    fn drop(&mut self) {
        if self.counted {
            self.shedder.borrow().machine().leave();
        }
    }
}

impl<S: Borrow<LoadShedder>> fmt::Debug for Permit<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("shedder", self.shedder.borrow().name())
            .field("counted", &self.counted)
            .finish()
    }
}
