//! Rate limiters against whoever wants the most.

use std::time::Duration;

use surefoot::rate_limiter::Algorithm;
use surefoot::{ManualClock, RateLimiter};

use super::{Bound, Figure, Scenario};
use crate::Chance;

/// The most that is admitted in any window.
pub const ADVERSARY: Scenario = Scenario {
    number: 17,
    name: "rate limiters",
    title: "every rate limiter against four adversaries, 20 in 200 ns",
    run: against_adversaries,
};

/// Refusals take nothing and say when to come back.
pub const WEIGHTS: Scenario = Scenario {
    number: 18,
    name: "weights",
    title: "weighted calls, refused and retried",
    run: weighted,
};

const N: u64 = 20;
const WINDOW: u64 = 200;

/// Gives the times at which somebody asks, in nanoseconds.
type Asks = fn(&mut Chance) -> Vec<u64>;

/// Each with its burst and the most that it promises to admit in a window.
const LIMITERS: [(Algorithm, u64, u64); 7] = [
    (Algorithm::SlidingLog, N, N),
    (Algorithm::BucketRing, N, N),
    (Algorithm::GcraExact, 5, N),
    (Algorithm::Gcra, 5, 5 + N - 1),
    (Algorithm::Gcra, N, 2 * N - 1),
    (Algorithm::TokenBucket, N, 2 * N - 1),
    (Algorithm::FixedWindow, N, 2 * N),
];

/// Whoever wants the most.
const ADVERSARIES: [(&str, Asks); 4] = [
    ("asks all the time", |_| (0..20 * WINDOW).collect()),
    ("bursts as windows end and begin", |_| {
        (1..20).flat_map(|window| [window * WINDOW - 1, window * WINDOW]).flat_map(burst).collect()
    }),
    ("bursts, waits one short of the window, bursts", |_| {
        (0..20).map(|burst| burst * (WINDOW - 1)).flat_map(burst).collect()
    }),
    ("comes at random", |chance| {
        let mut at = 0;
        let mut next = || {
            at += if chance.happens(0.01) { WINDOW } else { chance.below(7) };
            at
        };
        (0..4000).map(|_| next()).collect()
    }),
];

fn burst(at: u64) -> impl Iterator<Item = u64> {
    (0..2 * N).map(move |_| at)
}

fn against_adversaries(seed: u32) -> Vec<Figure> {
    let mut figures = vec![];
    for (algorithm, burst, bound) in LIMITERS {
        let worst = ADVERSARIES
            .iter()
            .map(|(_, asks)| most_in_a_window(&admitted(seed, algorithm, burst, *asks)))
            .max()
            .unwrap_or_default();
        let what = format!("most admitted by {}, burst {burst}", algorithm.as_str());
        // The bound is reached, or it would say nothing.
        let target = Bound::Within(as_f64(bound), as_f64(bound));
        figures.push(Figure::count(what, as_f64(worst), target));
    }
    let open = most_in_a_window(&ADVERSARIES[2].1(&mut Chance::new(seed.into())));
    figures.push(Figure::count("control, no limiter", as_f64(open), Bound::AtLeast(as_f64(2 * N))));
    figures
}

fn limiter(algorithm: Algorithm, burst: u64, clock: &ManualClock) -> RateLimiter {
    let builder = RateLimiter::builder("limit")
        .max_requests(N)
        .time_window(Duration::from_nanos(WINDOW))
        .clock(clock);
    let builder = match algorithm {
        Algorithm::Gcra => builder.gcra(burst),
        Algorithm::GcraExact => builder.gcra_exact(burst),
        Algorithm::TokenBucket => builder.token_bucket(burst),
        other => builder.algorithm(other),
    };
    builder.build().expect("valid")
}

/// The times at which somebody was admitted.
fn admitted(seed: u32, algorithm: Algorithm, burst: u64, asks: Asks) -> Vec<u64> {
    let clock = ManualClock::new();
    let limiter = limiter(algorithm, burst, &clock);
    let mut asks = asks(&mut Chance::new(seed.into()));
    asks.retain(|&at| {
        clock.set(surefoot::Timestamp::from_nanos(at));
        limiter.is_allowed()
    });
    asks
}

/// By brute force: for each admission, how many there were in the window that ends with it.
fn most_in_a_window(admitted: &[u64]) -> u64 {
    let within = |end: usize| {
        let first = admitted[end].saturating_sub(WINDOW - 1);
        end + 1 - admitted.partition_point(|&at| at < first)
    };
    (0..admitted.len()).map(within).max().unwrap_or_default() as u64
}

/// What went wrong in so many weighted calls.
#[derive(Debug, Default)]
struct Wrong {
    took_though_refused: u64,
    refused_when_told: u64,
    admitted_one_early: u64,
    no_never: u64,
    refused_when_truncated: u64,
}

fn weighted(seed: u32) -> Vec<Figure> {
    let mut wrong = Wrong::default();
    for (part, (algorithm, burst, _)) in (0..).zip(LIMITERS) {
        weigh(algorithm, burst, Chance::new(seed.into()).part(part), &mut wrong);
    }
    let none = Bound::AtMost(0.0);
    vec![
        Figure::count("refusals that took something", as_f64(wrong.took_though_refused), none),
        Figure::count(
            "calls refused at the time they were told",
            as_f64(wrong.refused_when_told),
            none,
        ),
        Figure::count(
            "calls admitted 1 ns before it, where it is the earliest",
            as_f64(wrong.admitted_one_early),
            none,
        ),
        Figure::count("calls above the limit that were told a time", as_f64(wrong.no_never), none),
        Figure::count(
            "control, waits rounded down to 10 ns: calls refused",
            as_f64(wrong.refused_when_truncated),
            Bound::AtLeast(1000.0),
        ),
    ]
}

fn weigh(algorithm: Algorithm, burst: u64, mut chance: Chance, wrong: &mut Wrong) {
    let clock = ManualClock::new();
    let limiter = limiter(algorithm, burst, &clock);
    let is_earliest = algorithm != Algorithm::BucketRing;
    let at_once = if limiter.remaining() < N { burst } else { N };
    for _ in 0..2000 {
        clock.advance(Duration::from_nanos(chance.below(40)));
        let weight = 1 + chance.below(at_once);
        wrong.no_never += u64::from(limiter.retry_after(at_once + 1).is_some());
        let before = limiter.remaining();
        let Err(refusal) = limiter.check_n(weight) else { continue };
        wrong.took_though_refused += u64::from(limiter.remaining() != before);
        let wait = refusal.retry_after().expect("it fits some time");
        let truncated =
            Duration::from_nanos(u64::try_from(wait.as_nanos()).expect("small") / 10 * 10);
        clock.advance(truncated);
        let left = wait.saturating_sub(truncated);
        if !left.is_zero() {
            wrong.refused_when_truncated +=
                u64::from(limiter.retry_after(weight) != Some(Duration::ZERO));
            clock.advance(left.saturating_sub(Duration::from_nanos(1)));
            wrong.admitted_one_early += u64::from(is_earliest && limiter.check_n(weight).is_ok());
            clock.advance(Duration::from_nanos(1));
        }
        wrong.refused_when_told += u64::from(limiter.check_n(weight).is_err());
    }
}

fn as_f64(count: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of a simulation are small")]
    let count = count as f64;
    count
}
