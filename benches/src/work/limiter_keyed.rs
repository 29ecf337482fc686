//! Rate limiters with a limit for each key, all of them known, asked in an order that caches cannot foresee.
//!
//! governor keeps its keys in a DashMap, its default; both hash with SipHash and random keys unless a row says
//! otherwise.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::DefaultClock;
use governor::state::keyed::DashMapStateStore;
use surefoot::rate_limiter::{Algorithm, KeyedRateLimiter};

use super::Work;
use super::limiter::{HOUR, quota};
use crate::harness::Subject;
use crate::ours;
use crate::peers::GOVERNOR;

type Governor = governor::RateLimiter<u64, DashMapStateStore<u64>, DefaultClock>;

const SUREFOOT: &str = "surefoot gcra";
const TEN_THOUSAND: u64 = 10_000;
const MILLION: u64 = 1_000_000;

/// Ten thousand keys, on one thread.
pub(super) fn ten_thousand() -> Work {
    one_thread("limiter keyed, 10 000 keys", TEN_THOUSAND).goal(SUREFOOT, 1.0, GOVERNOR)
}

/// A million keys, on one thread.
pub(super) fn million() -> Work {
    one_thread("limiter keyed, 1 000 000 keys", MILLION).goal(SUREFOOT, 0.8, GOVERNOR)
}

/// Both, on two threads.
pub(super) fn two_threads() -> Work {
    let work = Work::new("limiter keyed, shared");
    [("10 000 keys", TEN_THOUSAND), ("1 000 000 keys", MILLION)].into_iter().fold(
        work,
        |work, (name, keys)| {
            let [ours, theirs] = [SUREFOOT, GOVERNOR].map(|subject| format!("{subject}, {name}"));
            let (governor, surefoot) = (Arc::new(governor(keys)), surefoot(keys));
            work.subject(Subject::two_threads(
                theirs.clone(),
                move || {
                    let (governor, mut keys) = (Arc::clone(&governor), Keys::of(keys));
                    move || governor.check_key(&keys.next())
                },
                Result::is_ok,
            ))
            .subject(Subject::two_threads(
                ours.clone(),
                move || {
                    let (surefoot, mut keys) = (surefoot.clone(), Keys::of(keys));
                    move || surefoot.check(&keys.next())
                },
                Result::is_ok,
            ))
            .goal(&ours, 0.8, &theirs)
        },
    )
}

fn one_thread(name: &'static str, keys: u64) -> Work {
    let (governor, surefoot) = (governor(keys), surefoot(keys));
    let log = ours::keyed(Algorithm::SlidingLog, LOG_WINDOW, most(keys));
    (0..keys).for_each(|key| log.check(&key).expect("it admits everything"));
    let [mut first, mut second, mut third, mut fourth] = [(); 4].map(|()| Keys::of(keys));
    Work::new(name)
        .subject(Subject::bare("the next key", move || first.next()))
        .subject(Subject::succeeding(GOVERNOR, move || governor.check_key(&second.next())))
        .subject(Subject::succeeding("surefoot sliding_log", move || log.check(&third.next())))
        .subject(Subject::succeeding(SUREFOOT, move || surefoot.check(&fourth.next())))
}

/// So short that a key's last call has left by the time of the next.
const LOG_WINDOW: Duration = Duration::from_micros(100);

fn governor(keys: u64) -> Governor {
    let governor = Governor::keyed(quota());
    (0..keys).for_each(|key| governor.check_key(&key).expect("it admits everything"));
    governor
}

fn surefoot(keys: u64) -> KeyedRateLimiter<u64> {
    let surefoot = ours::keyed(Algorithm::Gcra, HOUR, most(keys));
    (0..keys).for_each(|key| surefoot.check(&key).expect("it admits everything"));
    surefoot
}

/// Room for all and some more.
fn most(keys: u64) -> u32 {
    u32::try_from(2 * keys).expect("few")
}

/// Keys from below a number, each about as often, spread by a multiplication (Fibonacci hashing).
struct Keys(u64, u64);

impl Keys {
    /// Two of them do not begin at the same key.
    fn of(keys: u64) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(0x5DEE_CE66, Ordering::Relaxed), keys)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        ((self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) * self.1) >> 32
    }
}
