//! Every interleaving of a few calls on the production machines, under loom.
//!
//! ```text
//! RUSTFLAGS="--cfg surefoot_loom" cargo test --profile loom -p surefoot-core --test loom
//! ```
#![cfg(surefoot_loom)]

mod budget;
mod circuit_breaker;
mod hedge;
mod load_shedder;
mod rate_limiter;
mod retry_budget;
mod throttler;

use loom::thread::JoinHandle;

/// Checks the interleavings in which threads are interrupted at most so often, where all are too many.
fn with_preemptions(most: usize, steps: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(most);
    model.check(steps);
}

/// Takes steps on a thread of their own, with a handle of their own.
fn beside<H: Clone + 'static, T: 'static>(
    handle: &H,
    steps: impl FnOnce(H) -> T + 'static,
) -> JoinHandle<T> {
    let handle = handle.clone();
    loom::thread::spawn(move || steps(handle))
}
