//! A shedder together with what it has to know about a call.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::machine::Arrival;
use super::{LoadShedder, Permit};
use crate::Rejection;

/// A handle to a [`LoadShedder`] whose calls have one priority; made by [`LoadShedder::priority`].
///
/// ```
/// use surefoot_core::LoadShedder;
///
/// let shedder = LoadShedder::builder("api").capacity(100).build()?;
/// let batch = shedder.priority(1)?;
/// let interactive = shedder.priority(3)?.user("alice");
/// let _permit = interactive.admit()?;
/// assert!(shedder.priority(4).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Prioritized {
    shedder: LoadShedder,
    arrival: Arrival,
}

impl Prioritized {
    pub(super) fn new(shedder: LoadShedder, arrival: Arrival) -> Self {
        Self { shedder, arrival }
    }

    /// The same for a call on behalf of `user`. Where sampled signals shed a part of a priority, a
    /// user's calls share one fate, which is drawn anew every hour.
    pub fn user(mut self, user: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        user.hash(&mut hasher);
        self.arrival.user = Some(hasher.finish());
        self
    }

    /// As [`LoadShedder::admit`].
    ///
    /// # Errors
    /// [`Rejection::Shed`].
    #[inline]
    pub fn admit(&self) -> Result<Permit, Rejection> {
        let counted = self.shedder.machine().admit(self.arrival)?;
        Ok(Permit::new(self.shedder.clone(), counted))
    }

    /// The same with a permit that has this handle: two atomic steps cheaper.
    ///
    /// # Errors
    /// [`Rejection::Shed`].
    #[inline]
    pub fn into_permit(self) -> Result<Permit, Rejection> {
        let counted = self.shedder.machine().admit(self.arrival)?;
        Ok(Permit::new(self.shedder, counted))
    }

    /// The same with a permit that borrows the shedder: two atomic steps cheaper.
    ///
    /// # Errors
    /// [`Rejection::Shed`].
    #[inline]
    pub fn admit_borrowed(&self) -> Result<Permit<&LoadShedder>, Rejection> {
        let counted = self.shedder.machine().admit(self.arrival)?;
        Ok(Permit::new(&self.shedder, counted))
    }

    /// As [`LoadShedder::check`].
    ///
    /// # Errors
    /// [`Rejection::Shed`].
    pub fn check(&self) -> Result<(), Rejection> {
        self.shedder.machine().check(self.arrival)
    }

    /// As [`LoadShedder::should_shed`].
    pub fn should_shed(&self) -> bool {
        self.check().is_err()
    }

    /// The shedder.
    pub fn shedder(&self) -> &LoadShedder {
        &self.shedder
    }

    /// The priority, from 1.
    pub fn priority(&self) -> u32 {
        self.arrival.priority()
    }
}

#[cfg(all(test, not(surefoot_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_permit_that_has_the_handle_counts_as_any_other() {
        let shedder = LoadShedder::builder("api").capacity(1).build().unwrap();
        let highest = shedder.priority(shedder.priority_levels()).unwrap();
        let permit = highest.clone().into_permit().unwrap();
        assert!(highest.clone().into_permit().is_err());
        drop(permit);
        assert!(highest.into_permit().is_ok());
    }
}
