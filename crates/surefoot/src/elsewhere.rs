//! What a call only sometimes has, kept out of what every call moves.

use std::fmt;
use std::pin::Pin;

/// Something in an allocation of its own.
///
/// Dropped out of line: it would take so much code that whatever holds it would be dropped out of line
/// too, and a future that is dropped out of line has to be in memory, even if it never waits.
pub struct Elsewhere<T> {
    /// `None` once it is taken or dropped.
    place: Option<Pin<Box<T>>>,
}

impl<T> Elsewhere<T> {
    /// Puts it there.
    #[cold]
    #[inline(never)]
    pub fn new(it: T) -> Self {
        Self { place: Some(Box::pin(it)) }
    }

    /// It, unless it is taken.
    #[inline]
    pub fn get_mut(&mut self) -> Option<Pin<&mut T>> {
        self.place.as_mut().map(Pin::as_mut)
    }

    /// Takes it out.
    #[inline]
    pub fn take(&mut self) -> Option<Box<T>>
    where
        T: Unpin,
    {
        self.place.take().map(Pin::into_inner)
    }
}

impl<T> From<T> for Elsewhere<T> {
    #[inline]
    fn from(it: T) -> Self {
        Self::new(it)
    }
}

impl<T> Drop for Elsewhere<T> {
    #[inline]
    fn drop(&mut self) {
        #[cold]
        #[inline(never)]
        fn drop_it<T>(place: Pin<Box<T>>) {
            drop(place);
        }
        if let Some(place) = self.place.take() {
            drop_it(place);
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Elsewhere<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}
