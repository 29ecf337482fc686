//! The likeliest mistakes do not compile, and the compiler says what to do.
//!
//! The whole text of an error is the compiler's own and changes with it, so it is compared only
//! by the compiler it was written with; with another one the programs still must not compile.

use std::process::Command;

/// The compiler that wrote `tests/ui/*.stderr`. Renew with `TRYBUILD=overwrite`.
const WRITTEN_BY: &str = "rustc 1.95.0 ";

#[test]
fn likely_mistakes_do_not_compile_and_say_why() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().expect("rustc runs").stdout;
    if !String::from_utf8_lossy(&version).starts_with(WRITTEN_BY) {
        eprintln!("skipped: the expected texts are those of {WRITTEN_BY}");
        return;
    }
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/a_closure_that_makes_a_future.rs");
    cases.compile_fail("tests/ui/a_future_instead_of_a_closure.rs");
    cases.compile_fail("tests/ui/a_closure_that_gives_a_capture_away.rs");
    cases.compile_fail("tests/ui/an_async_block_that_gives_a_capture_away.rs");
    cases.compile_fail("tests/ui/a_pipeline_with_a_classifier_in_another.rs");
    cases.compile_fail("tests/ui/a_bulkhead_in_a_pipeline.rs");
    cases.compile_fail("tests/ui/a_keyed_limiter_in_a_pipeline.rs");
    cases.compile_fail("tests/ui/a_fallback_in_a_pipeline.rs");
    cases.compile_fail("tests/ui/a_hedge_around_blocking_code.rs");
}

/// What matters in those texts, whoever wrote them: the message names the mistake, points at the
/// caller's own line, and fits on a screen.
#[test]
fn the_messages_are_readable() {
    for (text, says, points_at) in [
        (
            include_str!("../ui/a_future_instead_of_a_closure.stderr"),
            "in a closure with no arguments: `|| { /* code */ }`",
            "breaker.call(ask())",
        ),
        (
            include_str!("../ui/a_closure_that_gives_a_capture_away.stderr"),
            "cannot move out of `prompt`, a captured variable in an `Fn` closure",
            "ask(prompt)",
        ),
        (
            include_str!("../ui/an_async_block_that_gives_a_capture_away.stderr"),
            "cannot move out of `prompt`, a captured variable in an `Fn` closure",
            "ask(prompt)",
        ),
        (
            include_str!("../ui/a_pipeline_with_a_classifier_in_another.stderr"),
            "a pipeline with a classifier of its own cannot be added to another",
            "add(inner.build().unwrap())",
        ),
        (
            include_str!("../ui/a_bulkhead_in_a_pipeline.stderr"),
            "of a `Bulkhead` a compartment is one: `bulkhead.compartment(\"name\")?`",
            "add(bulkhead)",
        ),
        (
            include_str!("../ui/a_keyed_limiter_in_a_pipeline.stderr"),
            "of a `KeyedRateLimiter` one key is one: `limiter.key(key)`",
            "add(limiter)",
        ),
        (
            include_str!("../ui/a_fallback_in_a_pipeline.stderr"),
            "a fallback goes around the whole pipeline",
            "add(fallback)",
        ),
        (
            include_str!("../ui/a_hedge_around_blocking_code.stderr"),
            "a hedge gives up the attempt that lost, which blocking code cannot be made to do",
            "pipeline.call_blocking(|_| ask())",
        ),
    ] {
        assert!(text.starts_with("error[E"), "{text}");
        assert!(text.contains(says), "{says} is not in:\n{text}");
        assert!(text.contains(points_at), "{points_at} is not in:\n{text}");
        assert!(text.lines().count() <= 30, "{} lines:\n{text}", text.lines().count());
    }
}
