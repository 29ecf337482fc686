//! One breaker for each key, in bounded memory.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use surefoot::circuit_breaker::{CircuitBreakerConfig, Trip};
use surefoot::{CircuitBreaker, CircuitState, Event, ManualClock, Registry};

use crate::support::*;

fn registry(clock: &ManualClock, cap: usize) -> Registry<String> {
    registry_of(clock, cap, CircuitBreakerConfig { failure_threshold: 2, ..Default::default() })
}

fn registry_of(
    clock: &ManualClock,
    cap: usize,
    template: CircuitBreakerConfig,
) -> Registry<String> {
    Registry::builder("host").template(template).max_breakers(cap).clock(clock).build().unwrap()
}

fn fail(breaker: &CircuitBreaker) {
    breaker.admit().unwrap().failure();
}

#[test]
fn the_same_key_gives_the_same_breaker_and_another_key_another() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let registry = registry(&clock, 10);
        let down = Service::new(&clock, [fails("down")]);
        for _ in 0..2 {
            let breaker = registry.get("a.example");
            assert!(call!(host, clock, breaker, down).is_err());
        }
        assert_eq!(registry.get("a.example").state(), CircuitState::Open, "{host:?}");
        assert_eq!(registry.get("b.example").state(), CircuitState::Closed, "{host:?}");
        assert_eq!(registry.get("a.example").name(), &"host/a.example");
        assert_eq!(registry.len(), 2);
    }
}

#[test]
fn peeking_makes_nothing() {
    let registry = registry(&ManualClock::new(), 10);
    assert!(registry.peek("a").is_none());
    assert!(registry.is_empty());
    let breaker = registry.get("a");
    breaker.force_open();
    assert_eq!(registry.peek("a").unwrap().state(), CircuitState::Open);
}

#[test]
fn keys_can_be_of_any_type() {
    let registry: Registry<u64> = Registry::builder("shard").build().unwrap();
    assert_eq!(registry.get(&7).name(), &"shard/7");
}

/// policies.md §3, registry memory.
#[test]
fn the_cap_is_hard() {
    let clock = ManualClock::new();
    let registry = registry(&clock, 20);
    let held: Vec<_> = (0..50).map(|key| registry.get(&key.to_string())).collect();
    assert_eq!(registry.len(), 20);
    assert_eq!(registry.breakers().len(), 21, "and the overflow breaker");
    assert_eq!(registry.overflowed(), 30);
    drop(held);
}

/// policies.md §3, registry memory: OmniRoute declared a cap and did not enforce it.
#[test]
fn idle_breakers_make_room_for_new_keys() {
    let clock = ManualClock::new();
    let registry = registry(&clock, 5);
    for key in 0..1000 {
        registry.get(&key.to_string()).admit().unwrap().success();
        assert!(registry.len() <= 5);
    }
    assert_eq!(registry.overflowed(), 0);
}

#[test]
fn a_breaker_in_use_or_with_a_memory_is_never_let_go() {
    let clock = ManualClock::new();
    let registry = registry(&clock, 6);
    let held = registry.get("held");
    let permit = registry.get("in a call").admit().unwrap();
    registry.get("open").force_open();
    registry.get("disabled").disable();
    fail(&registry.get("failed"));
    registry.get("throttled").admit().unwrap().throttled(60 * SEC);
    let keys = ["held", "in a call", "open", "disabled", "failed", "throttled"];
    for key in 0..100 {
        assert_eq!(registry.get(&key.to_string()).name(), &"host/overflow");
    }
    for key in keys {
        assert!(registry.peek(key).is_some(), "{key} was let go");
    }
    assert_eq!(registry.get("failed").status().failure_count, 1);
    permit.success();
    drop(held);
}

/// A window that leads to another decision is a memory too.
#[test]
fn a_breaker_whose_window_holds_slow_calls_is_not_let_go() {
    let clock = ManualClock::new();
    let trip = Trip::Slow { rate: 0.5, slow_after: SEC, window_calls: 10, min_calls: 4 };
    let config = CircuitBreakerConfig { trip: Some(trip), ..Default::default() };
    let registry = registry_of(&clock, 1, config);
    for _ in 0..3 {
        let permit = registry.get("slow").admit().unwrap();
        clock.advance(2 * SEC);
        permit.success();
    }
    registry.get("another");
    let permit = registry.get("slow").admit().unwrap();
    clock.advance(2 * SEC);
    permit.success();
    let breaker = registry.get("slow");
    assert_eq!(breaker.name(), &"host/slow");
    assert_eq!(breaker.state(), CircuitState::Open, "four slow calls of four");
}

/// The same for successes that a share is taken of.
#[test]
fn a_breaker_whose_window_holds_successes_is_not_let_go() {
    let clock = ManualClock::new();
    let trip = Trip::RateCountWindow { rate: 0.5, window_calls: 10, min_calls: 2 };
    let config = CircuitBreakerConfig { trip: Some(trip), ..Default::default() };
    let registry = registry_of(&clock, 1, config);
    for _ in 0..8 {
        registry.get("good").admit().unwrap().success();
    }
    registry.get("another");
    fail(&registry.get("good"));
    fail(&registry.get("good"));
    assert_eq!(registry.get("good").state(), CircuitState::Closed, "2 failures of 10 calls");
}

#[test]
fn what_had_to_be_kept_may_go_once_its_reason_has_passed() {
    let clock = ManualClock::new();
    let registry = registry(&clock, 1);
    fail(&registry.get("a"));
    assert_eq!(registry.get("b").name(), &"host/overflow");
    clock.advance(60 * SEC); // the failure has left the window
    assert_eq!(registry.get("b").name(), &"host/b");
    assert!(registry.peek("a").is_none());
}

#[test]
fn when_full_new_keys_share_one_breaker_and_known_keys_keep_theirs() {
    let clock = ManualClock::new();
    let registry = registry(&clock, 1);
    let known = registry.get("known");
    let (one, other) = (registry.get("one"), registry.get("other"));
    fail(&one);
    fail(&other);
    assert_eq!(one.state(), CircuitState::Open, "they are one");
    assert_eq!(known.state(), CircuitState::Closed);
    assert_eq!(registry.get("known").name(), &"host/known");
    let statuses = registry.statuses();
    let names: Vec<_> = statuses.iter().map(|status| status.name.as_str()).collect();
    assert_eq!(names, ["host/known", "host/overflow"]);
}

#[test]
fn a_full_registry_says_so_once() {
    let clock = ManualClock::new();
    let registry = registry(&clock, 1);
    let log = Log::of(registry.events());
    let _held = registry.get("known");
    for key in 0..100 {
        registry.get(&key.to_string());
    }
    assert_eq!(log.events(), [Event::RegistryFull { policy: "host".into(), max_breakers: 1 }]);
    assert_eq!(registry.overflowed(), 100);
}

#[test]
fn the_overflow_breaker_is_listed_only_once_it_was_used() {
    let registry = registry(&ManualClock::new(), 1);
    let _held = registry.get("known");
    assert_eq!(registry.breakers().len(), 1);
}

#[test]
fn events_of_all_breakers_arrive_at_the_registry() {
    let registry = registry(&ManualClock::new(), 10);
    let log = Log::of(registry.events());
    registry.get("a").force_open();
    registry.get("b").force_open();
    let policies: Vec<_> = log.events().iter().map(|event| event.policy().to_string()).collect();
    assert_eq!(policies, ["host/a", "host/b"]);
}

#[test]
fn a_listener_of_a_registry_may_use_it() {
    let registry = std::sync::Arc::new(registry(&ManualClock::new(), 1));
    let inside = registry.clone();
    registry
        .events()
        .subscribe(move |_| {
            inside.get("from the listener");
            let _ = (inside.len(), inside.statuses(), inside.overflowed());
        })
        .forever();
    let _held = registry.get("a");
    registry.get("b");
    assert_eq!(registry.overflowed(), 2);
}

/// Every call reaches the breaker of its key, however many ask at once.
#[test]
fn sixty_four_threads_get_the_same_breaker_for_the_same_key() {
    const THREADS: usize = 64;
    const KEYS: usize = 50;
    let registry = registry(&ManualClock::new(), KEYS);
    let start = std::sync::Barrier::new(THREADS);
    let mut handles = Vec::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (registry, start) = (&registry, &start);
                scope.spawn(move || {
                    start.wait();
                    (0..KEYS)
                        .map(|key| {
                            let breaker = registry.get(&((key + thread) % KEYS).to_string());
                            breaker.admit().unwrap().success();
                            breaker // held, so that none is let go
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        handles.extend(threads.into_iter().flat_map(|thread| thread.join().unwrap()));
    });
    assert_eq!((registry.len(), registry.overflowed()), (KEYS, 0));
    for status in registry.statuses() {
        assert_eq!(status.totals.successes, THREADS as u64, "{}", status.name);
    }
}

/// There is room for the one key they all ask for.
#[test]
fn threads_racing_for_one_new_key_do_not_fill_the_registry() {
    const THREADS: usize = 64;
    for round in 0..20 {
        let registry = registry(&ManualClock::new(), 1);
        let start = std::sync::Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    start.wait();
                    assert_eq!(registry.get("only").name(), &"host/only", "round {round}");
                });
            }
        });
        assert_eq!(registry.overflowed(), 0, "round {round}");
    }
}

#[test]
fn sixty_four_threads_never_exceed_the_cap() {
    const CAP: usize = 16;
    let clock = ManualClock::new();
    let registry = registry(&clock, CAP);
    let most = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..64 {
            let (registry, most) = (&registry, &most);
            scope.spawn(move || {
                for round in 0..200 {
                    let breaker = registry.get(&((thread * 7 + round) % 100).to_string());
                    if round % 10 == 0 {
                        drop(breaker.admit());
                    }
                    most.fetch_max(registry.len(), Ordering::SeqCst);
                }
            });
        }
    });
    // `len` looks at one shard after the other, so that a key may be seen in two places; the cap
    // itself is exact once all is quiet.
    assert!(registry.len() <= CAP);
    assert!(most.into_inner() <= 2 * CAP);
    clock.advance(Duration::from_secs(3600));
    // Nothing is lost: what may go goes, and every new key finds room again.
    let quiet = registry.overflowed();
    for key in 0..=CAP {
        registry.get(&format!("new {key}"));
    }
    assert!(registry.overflowed() <= quiet + 1, "room was lost: {}", registry.overflowed() - quiet);
    assert!(registry.len() <= CAP);
}
