//! Many who wait at once: nobody is forgotten, nothing is lost, and nobody pushes in.

use std::future::Future;
use std::sync::Mutex;
use std::task::Poll;

use surefoot::rate_limiter::RateLimiterBuilder;
use surefoot::{Limiter, ManualClock, RateLimiter};

use super::limiter;
use crate::support::*;

const MANY: usize = 10_000;

fn algorithms() -> [fn(RateLimiterBuilder) -> RateLimiterBuilder; 4] {
    [|b| b, |b| b.gcra_exact(10), |b| b.bucket_ring(10), |b| b.fixed_window()]
}

#[test]
fn ten_thousand_who_wait_are_served_in_order_and_as_fast_as_the_limit_allows() {
    for (algorithm, many) in algorithms().into_iter().zip([MANY, 1_000, 1_000, 1_000]) {
        let clock = ManualClock::new();
        let builder = algorithm(limiter(&clock, 100, SEC).max_wait(100_000 * SEC));
        let limiter = builder.build().unwrap();
        let served = Mutex::new(Vec::new());
        let mut waiting: Vec<_> = (0..many)
            .map(|number| {
                let (limiter, served, clock) = (&limiter, &served, &clock);
                Task::new(async move {
                    limiter.acquire().await.unwrap();
                    served.lock().unwrap().push((number, clock.now_ms()));
                })
            })
            .collect();
        serve(&clock, &mut waiting);
        let served = served.lock().unwrap();
        assert!(served.is_sorted(), "in the order in which they asked");
        assert_eq!(served.len(), many);
        // No window holds more than it may.
        for (first, next) in served.iter().zip(&served[100..]) {
            assert!(
                next.1 - first.1 >= 1000 || limiter.config().algorithm.as_str() == "fixed_window"
            );
        }
        assert_eq!(limiter.totals().admitted, many as u64);
        assert_eq!((limiter.status().waiting, clock.waiting()), (0, 0));
    }
}

/// Polls every task that is woken, and moves time when none is.
fn serve<F: Future>(clock: &ManualClock, tasks: &mut Vec<Task<F>>) {
    loop {
        tasks.retain_mut(|task| !task.is_woken() || task.poll().is_pending());
        if !tasks.iter().any(Task::is_woken) && !clock.advance_to_next_waiter() {
            break;
        }
    }
    assert!(tasks.is_empty(), "{} were never woken", tasks.len());
}

/// overload.md §7, 21: waiters cancelled at random.
#[test]
fn of_those_who_give_up_at_random_no_slot_is_lost() {
    for algorithm in algorithms() {
        let clock = ManualClock::new();
        let builder = algorithm(limiter(&clock, 10, SEC).max_wait(100_000 * SEC));
        let limiter = builder.build().unwrap();
        let mut random = fastrand_like(7);
        let mut waiting: Vec<_> = Vec::new();
        let (mut asked, mut left, mut begun) = (0_u64, 0_u64, 0_u64);
        for _ in 0..3_000 {
            match random() % 10 {
                0..=3 => {
                    asked += 1;
                    waiting.push(Task::new(limiter.acquire()));
                }
                4 | 5 if !waiting.is_empty() => {
                    let at = usize::try_from(random()).unwrap_or(0) % waiting.len();
                    drop(waiting.remove(at));
                    left += 1;
                }
                _ => clock.advance(20 * MS),
            }
            waiting.retain_mut(|task| {
                let pending = !task.is_woken() || task.poll().is_pending();
                begun += u64::from(!pending);
                pending
            });
            let status = limiter.status();
            assert_eq!(status.waiting, waiting.len() as u64);
            assert!(status.remaining == 0 || waiting.is_empty(), "room, and yet somebody waits");
        }
        begun += waiting.len() as u64;
        serve(&clock, &mut waiting);
        assert_eq!(asked, left + begun);
        assert_eq!(limiter.totals().admitted, begun);
        clock.advance(10 * SEC);
        assert_eq!(limiter.remaining(), 10, "all slots are back");
    }
}

/// A few numbers that look random and repeat.
fn fastrand_like(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    }
}

#[test]
fn a_heavy_call_is_not_starved_by_light_ones() {
    let clock = ManualClock::new();
    let tokens = limiter(&clock, 10, 10 * SEC).max_wait(100 * SEC).build().unwrap();
    tokens.check_n(10).unwrap();
    let mut heavy = Task::new(tokens.acquire_n(10));
    assert!(heavy.poll().is_pending());
    let mut light = Task::new(tokens.acquire());
    assert!(light.poll().is_pending());
    clock.advance(10 * SEC);
    assert!(light.poll().is_pending(), "behind the heavy one");
    assert!(!tokens.is_allowed());
    assert!(matches!(heavy.poll(), Poll::Ready(Ok(_))));
    clock.advance(10 * SEC);
    assert!(light.poll().is_ready());
}

#[test]
fn threads_that_wait_and_give_up_leave_nothing_behind() {
    let limiter = RateLimiter::builder("real")
        .max_requests(50)
        .time_window(5 * MS)
        .max_wait(60 * SEC)
        .build()
        .unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8_u32 {
            let limiter = &limiter;
            scope.spawn(move || {
                for call in 0..100 {
                    if (thread + call) % 3 == 0 {
                        // Asks, and goes away without waiting.
                        let mut asked = Task::new(limiter.acquire());
                        let _ = asked.poll();
                    } else {
                        drop(limiter.acquire_blocking().unwrap());
                    }
                }
            });
        }
    });
    assert_eq!(limiter.status().waiting, 0);
    let totals = limiter.totals();
    assert!(totals.admitted >= 8 * 66, "{totals:?}");
    assert_eq!(totals.rejected, 0);
}
