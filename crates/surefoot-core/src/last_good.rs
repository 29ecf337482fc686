//! The last answers that were good, for when there is no new one.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use crate::config::Check;
use crate::sync::{Arc, Mutex, lock};
use crate::{ConfigError, TimeSource, Timestamp};

/// A cache of the last good answer to each question, each good for a limited age: the last link of
/// a fallback.
///
/// At `max_age` an answer is too old. There are at most `capacity` of them (default 1,000); to make
/// room the oldest is let go, which looks at all of them. An answer is cloned under a lock of its own,
/// not the cache's: an expensive `Clone` holds up only those who want the same answer, and must not
/// ask the cache for that one.
///
/// ```
/// use std::time::Duration;
/// use surefoot_core::{LastGood, ManualClock};
///
/// let clock = ManualClock::new();
/// let rates = LastGood::new(Duration::from_secs(60))?.on_clock(clock.clone());
/// rates.put("EUR", 1.08);
/// clock.advance(Duration::from_secs(59));
/// assert_eq!(rates.get("EUR"), Some((1.08, Duration::from_secs(59))));
/// clock.advance(Duration::from_secs(1));
/// assert_eq!(rates.get("EUR"), None);
/// # Ok::<(), surefoot_core::ConfigError>(())
/// ```
pub struct LastGood<K, V> {
    max_age: Duration,
    capacity: usize,
    time: TimeSource,
    answers: Mutex<HashMap<K, Kept<V>>>,
}

/// An answer, and when it was given.
type Kept<V> = (Arc<Mutex<V>>, Timestamp);

impl<K: Hash + Eq + Clone, V: Clone> LastGood<K, V> {
    /// A cache whose answers are good for `max_age`.
    ///
    /// # Errors
    /// If `max_age` is zero or beyond what a clock can tell.
    pub fn new(max_age: Duration) -> Result<Self, ConfigError> {
        Check("last_good").period("max_age", max_age)?;
        Ok(Self {
            max_age,
            capacity: 1_000,
            time: TimeSource::System,
            answers: Mutex::new(HashMap::new()),
        })
    }

    /// The most answers it holds. Default 1,000.
    ///
    /// # Errors
    /// If `capacity` is zero.
    pub fn capacity(self, capacity: usize) -> Result<Self, ConfigError> {
        Check("last_good").rule(capacity > 0, "capacity", capacity, "must be at least 1")?;
        Ok(Self { capacity, ..self })
    }

    /// The clock that tells ages. Default: the system's.
    pub fn on_clock(self, clock: impl Into<TimeSource>) -> Self {
        Self { time: clock.into(), ..self }
    }

    /// Keeps a good answer in place of the one before.
    pub fn put(&self, key: K, answer: V) {
        let (now, answer) = (self.time.now(), Arc::new(Mutex::new(answer)));
        let mut answers = lock(&self.answers);
        let mut gone = None;
        if answers.len() >= self.capacity && !answers.contains_key(&key) {
            let oldest = answers.iter().min_by_key(|(_, (_, since))| *since);
            gone = oldest.map(|(key, _)| key.clone()).and_then(|key| answers.remove(&key));
        }
        let before = answers.insert(key, (answer, now));
        drop(answers);
        drop((before, gone)); // outside the lock: a value's destructor may call us
    }

    /// The last good answer and its age, unless it is too old.
    pub fn get<Q>(&self, key: &Q) -> Option<(V, Duration)>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let now = self.time.now();
        let (answer, since) = lock(&self.answers).get(key).cloned()?;
        let age = now - since;
        (age < self.max_age).then(|| (lock(&answer).clone(), age))
    }

    /// How many answers it holds, old ones included.
    pub fn len(&self) -> usize {
        lock(&self.answers).len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K, V> fmt::Debug for LastGood<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastGood")
            .field("max_age", &self.max_age)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ManualClock;

    #[test]
    fn the_oldest_answer_makes_room_for_a_new_one() {
        let clock = ManualClock::new();
        let answers = LastGood::new(Duration::from_secs(60))
            .unwrap()
            .capacity(2)
            .unwrap()
            .on_clock(clock.clone());
        for key in ["first", "second", "first", "third"] {
            answers.put(key, key.len());
            clock.advance(Duration::from_secs(1));
        }
        assert_eq!(answers.get("second"), None);
        assert_eq!(answers.get("first"), Some((5, Duration::from_secs(2))));
        assert_eq!(answers.len(), 2);
    }

    /// An answer that asks the cache while it is cloned and while it is dropped.
    #[test]
    fn an_answer_is_cloned_and_dropped_outside_the_caches_lock() {
        struct Asks(std::sync::Weak<LastGood<u8, Self>>);
        impl Asks {
            fn ask(&self) {
                self.0.upgrade().map(|answers| answers.len());
            }
        }
        impl Clone for Asks {
            fn clone(&self) -> Self {
                self.ask();
                Self(self.0.clone())
            }
        }
        impl Drop for Asks {
            fn drop(&mut self) {
                self.ask();
            }
        }
        let answers = Arc::new(LastGood::new(Duration::from_secs(60)).unwrap());
        for _ in 0..2 {
            answers.put(1, Asks(Arc::downgrade(&answers)));
            assert!(answers.get(&1).is_some());
        }
    }

    #[test]
    fn at_its_greatest_age_an_answer_is_too_old_but_still_held() {
        let clock = ManualClock::new();
        let answers = LastGood::new(Duration::from_secs(60)).unwrap().on_clock(clock.clone());
        assert!(answers.is_empty());
        answers.put("first", 1);
        clock.advance(Duration::from_nanos(59_999_999_999));
        assert_eq!(answers.get("first"), Some((1, Duration::from_nanos(59_999_999_999))));
        clock.advance(Duration::from_nanos(1));
        assert_eq!(answers.get("first"), None);
        assert!(!answers.is_empty());
    }

    #[test]
    fn bad_limits_are_named() {
        let none = LastGood::<u8, u8>::new(Duration::ZERO).unwrap_err();
        assert_eq!(none.field(), "max_age");
        let full = LastGood::<u8, u8>::new(Duration::MAX).unwrap_err();
        assert_eq!(full.field(), "max_age");
        let none =
            LastGood::<u8, u8>::new(Duration::from_secs(1)).unwrap().capacity(0).unwrap_err();
        assert_eq!(none.field(), "capacity");
    }
}
