//! What rate limiters hold and admit: bytes, allocations, and the most in any window beside its bound.

use std::collections::VecDeque;
use std::time::Duration;

use surefoot::rate_limiter::{Algorithm, KeyedRateLimiter};
use surefoot::{Clock as _, ManualClock, RateLimiter};

use crate::allocations;
use crate::figure::Figure;
use crate::ours::{self, limiter_builder};

const SECOND: Duration = Duration::from_secs(1);
const ALGORITHMS: [Algorithm; 6] = [
    Algorithm::SlidingLog,
    Algorithm::Gcra,
    Algorithm::GcraExact,
    Algorithm::TokenBucket,
    Algorithm::BucketRing,
    Algorithm::FixedWindow,
];

/// A name, and what is counted under it.
pub(super) type Counted = (&'static str, fn() -> Vec<Figure>);

/// Allocations of checks that are admitted.
pub(super) const ALLOCATIONS: Counted = ("limiter allocations", || {
    let without_keys = ALGORITHMS.into_iter().map(allocations_of_checks);
    without_keys.chain([allocations_of_keyed_checks()]).collect()
});

/// Bytes for each key, and of a full window.
pub(super) const MEMORY: Counted = ("limiter memory", memory);

/// The most that is admitted in a window, beside what is documented.
pub(super) const BOUNDS: Counted =
    ("limiter bounds", || ALGORITHMS.into_iter().map(over_admission).collect());

/// With a tenth as burst where the whole limit at once would leave no rate.
fn limiter(units: u64, algorithm: Algorithm) -> (RateLimiter, ManualClock) {
    let clock = ManualClock::new();
    let builder = limiter_builder(units, SECOND, algorithm).clock(&clock);
    let builder = match algorithm {
        Algorithm::GcraExact => builder.gcra_exact(units / 10),
        _ => builder,
    };
    (builder.build().expect("valid options"), clock)
}

// ---- allocations ---------------------------------------------------------------------------

pub(super) const CHECKS: u32 = 100_000;

/// Checks that are admitted, once the window has been full.
fn allocations_of_checks(algorithm: Algorithm) -> Figure {
    let (limiter, clock) = limiter(100, algorithm);
    let check = || {
        clock.advance(SECOND / 50);
        limiter.check().expect("half of what is allowed");
    };
    (0..1_000).for_each(|_| check());
    let allocations = allocations_of(|| (0..CHECKS).for_each(|_| check()));
    Figure::plain(ALLOCATIONS.0, algorithm.as_str(), allocations, "in 100 000 checks").at_most(0.0)
}

/// The same with a thousand keys that are known.
fn allocations_of_keyed_checks() -> Figure {
    let limiter = ours::keyed(Algorithm::Gcra, SECOND, 10_000);
    let check = |number: u32| limiter.check(&u64::from(number % 1_000)).expect("allowed");
    (0..1_000).for_each(check);
    let allocations = allocations_of(|| (0..CHECKS).for_each(check));
    Figure::plain(ALLOCATIONS.0, "gcra, keyed", allocations, "in 100 000 checks").at_most(0.0)
}

pub(super) fn allocations_of(work: impl FnOnce()) -> f64 {
    let before = allocations::on_this_thread();
    work();
    exact(allocations::on_this_thread() - before)
}

// ---- memory --------------------------------------------------------------------------------

const KEYS: u64 = 1_000_000;
const FULL: u64 = 1_000;

/// Bytes for each of a million keys that are as good as new, and what stays of them; bytes of a window that is full.
fn memory() -> Vec<Figure> {
    let mut figures = vec![];
    for algorithm in [Algorithm::Gcra, Algorithm::SlidingLog] {
        let name = algorithm.as_str();
        let clock = ManualClock::new();
        let builder = limiter_builder(10, SECOND, algorithm).max_keys(2_000_000).clock(&clock);
        let keyed: KeyedRateLimiter<u64> = builder.build_keyed().expect("valid options");
        let start = allocations::bytes_held();
        (0..KEYS).for_each(|key| keyed.check(&key).expect("a new key"));
        let held = allocations::bytes_held() - start;
        figures.push(Figure::plain(
            MEMORY.0,
            &format!("{name}, a key"),
            exact(held.unsigned_abs()) / exact(KEYS),
            "bytes",
        ));
        clock.advance(10 * SECOND);
        // Each call looks after a part of the table.
        (0..2_000).for_each(|_| drop(keyed.check(&0)));
        let kept = allocations::bytes_held() - start;
        let kept = exact(kept.unsigned_abs()) / exact(held.unsigned_abs());
        let name = format!("{name}, a million keys 10 s later");
        figures.push(Figure::plain(MEMORY.0, &name, kept, "of that").at_most(0.1));
    }
    for algorithm in ALGORITHMS {
        let (limiter, clock) = limiter(FULL, algorithm);
        let empty = allocations::bytes_held();
        for _ in 0..2 * FULL {
            clock.advance(SECOND / 1_000);
            let _ = limiter.check();
        }
        let grown = allocations::bytes_held() - empty;
        figures.push(Figure::plain(
            MEMORY.0,
            &format!("{}, a window of 1 000 calls", algorithm.as_str()),
            exact(grown.unsigned_abs()),
            "bytes more than an empty one",
        ));
    }
    figures
}

// ---- bounds --------------------------------------------------------------------------------

const LIMIT: u64 = 100;

/// The most that any window of the limit's length sees admitted, of callers that ask for more than is allowed: at
/// every instant, and after pauses, which is when bursts meet.
fn over_admission(algorithm: Algorithm) -> Figure {
    let bound = match algorithm {
        Algorithm::Gcra | Algorithm::TokenBucket => 2 * LIMIT - 1,
        Algorithm::FixedWindow => 2 * LIMIT,
        _ => LIMIT,
    };
    let (limiter, clock) = limiter(LIMIT, algorithm);
    let step = SECOND / 1_000;
    let (mut admitted, mut most) = (VecDeque::new(), 0);
    for pause in 0..1_000_u32 {
        // Over every phase of the window.
        clock.advance(SECOND + pause * step);
        for _ in 0..2_000 {
            clock.advance(step);
            let now = clock.now();
            while limiter.is_allowed() {
                admitted.push_back(now);
            }
            while admitted.front().is_some_and(|first| now - *first >= SECOND) {
                admitted.pop_front();
            }
            most = most.max(admitted.len());
        }
    }
    let name = match algorithm {
        Algorithm::GcraExact => "gcra_exact, burst 10",
        other => other.as_str(),
    };
    let most = exact(u64::try_from(most).expect("few"));
    Figure::plain(BOUNDS.0, name, most, "admitted in a window of 100").at_most(exact(bound))
}

/// Counts stay far below 2^53, where every integer is a float.
#[expect(clippy::cast_precision_loss)]
fn exact(count: u64) -> f64 {
    count as f64
}
