//! Every interleaving of a few callers of the production registry, under loom.
//!
//! ```text
//! RUSTFLAGS="--cfg surefoot_loom" cargo test --release -p surefoot --test loom
//! ```
#![cfg(surefoot_loom)]

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use surefoot::circuit_breaker::CircuitBreakerConfig;
use surefoot::{CircuitBreaker, CircuitState, Registry, SystemClock};

/// A key that lies in a shard of its choice, whatever the registry hashes with: loom asks that
/// every run takes the same steps.
#[derive(Clone, PartialEq, Eq)]
struct Key(&'static str, u64);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // A registry has 16 shards and takes the hash modulo that.
        while state.finish() % 16 != self.1 {
            state.write_u8(0);
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

const A: Key = Key("a", 0);
/// In the shard of `A`.
const B: Key = Key("b", 0);
/// In another.
const C: Key = Key("c", 1);

fn registry(max_breakers: usize) -> Arc<Registry<Key>> {
    let template = CircuitBreakerConfig { failure_threshold: 1, ..CircuitBreakerConfig::default() };
    let builder = Registry::builder("r").template(template).max_breakers(max_breakers);
    Arc::new(builder.clock(SystemClock).build().unwrap())
}

fn get(registry: &Arc<Registry<Key>>, key: &Key) -> loom::thread::JoinHandle<CircuitBreaker> {
    let (registry, key) = (Arc::clone(registry), key.clone());
    loom::thread::spawn(move || registry.get(&key))
}

fn is_own(breaker: &CircuitBreaker, key: &Key) -> bool {
    *breaker.name() == *format!("r/{key}")
}

/// What trips one, trips the other.
fn are_one(breaker: &CircuitBreaker, other: &CircuitBreaker) -> bool {
    assert_eq!(other.state(), CircuitState::Closed);
    breaker.admit().unwrap().failure();
    let are_one = other.state() == CircuitState::Open;
    breaker.reset();
    are_one
}

#[test]
fn two_callers_with_the_same_new_key_share_one_breaker_and_one_place() {
    loom::model(|| {
        let registry = registry(2);
        let theirs = get(&registry, &A);
        let ours = registry.get(&A);
        let theirs = theirs.join().unwrap();
        assert!(is_own(&ours, &A));
        assert!(are_one(&ours, &theirs));
        assert_eq!(registry.len(), 1);
        // One place was taken: another key finds the second, a third finds none.
        let second = registry.get(&B);
        assert!(is_own(&second, &B));
        assert!(!is_own(&registry.get(&C), &C));
    });
}

#[test]
fn two_new_keys_never_take_the_last_place_both() {
    for other in [B, C] {
        loom::model(move || {
            let registry = registry(1);
            let theirs = get(&registry, &other);
            let ours = registry.get(&A);
            let theirs = theirs.join().unwrap();
            assert_ne!(is_own(&ours, &A), is_own(&theirs, &other));
            assert_eq!(registry.len(), 1);
            assert_eq!(registry.overflowed(), 1);
        });
    }
}

#[test]
fn a_breaker_being_let_go_is_never_handed_out() {
    for other in [B, C] {
        loom::model(move || {
            let registry = registry(1);
            drop(registry.get(&A)); // idle: it may go
            let theirs = get(&registry, &other);
            let ours = registry.get(&A);
            let (known, theirs) = (is_own(&ours, &A), theirs.join().unwrap());
            assert!(registry.len() <= 1);
            assert!(!(known && is_own(&theirs, &other)), "two breakers, and room for one");
            if known {
                let again = registry.peek(&A).expect("held, so it stays");
                assert!(are_one(&ours, &again));
            }
        });
    }
}

#[test]
fn two_callers_who_both_have_the_key_s_own_breaker_have_the_same() {
    for other in [B, C] {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(move || {
            let registry = registry(1);
            drop(registry.get(&A));
            let (theirs, third) = (get(&registry, &A), get(&registry, &other));
            let ours = registry.get(&A);
            let (theirs, third) = (theirs.join().unwrap(), third.join().unwrap());
            let (we, they) = (is_own(&ours, &A), is_own(&theirs, &A));
            assert!(!(is_own(&third, &other) && (we || they)), "two keys in one place");
            assert!(!(we && they) || are_one(&ours, &theirs));
            assert!(registry.len() <= 1);
        });
    }
}

#[test]
fn a_breaker_tripped_by_its_last_holder_is_not_let_go() {
    for other in [B, C] {
        loom::model(move || {
            let registry = registry(1);
            let ours = registry.get(&A);
            let theirs = get(&registry, &other);
            ours.admit().unwrap().failure();
            drop(ours);
            drop(theirs.join().unwrap());
            // Held until it had tripped, and open since then.
            assert_eq!(registry.get(&A).state(), CircuitState::Open);
            assert_eq!(registry.len(), 1);
        });
    }
}

#[test]
fn three_new_keys_never_take_two_places_all() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let registry = registry(2);
        let (second, third) = (get(&registry, &B), get(&registry, &C));
        let first = registry.get(&A);
        let (second, third) = (second.join().unwrap(), third.join().unwrap());
        let own = [is_own(&first, &A), is_own(&second, &B), is_own(&third, &C)];
        assert_eq!(own.iter().filter(|own| **own).count(), 2, "{own:?}");
        assert_eq!(registry.len(), 2);
    });
}
