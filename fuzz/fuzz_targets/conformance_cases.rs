//! Case files: any text is read, or refused with words.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// The reader itself: the runner is a program, so there is no library to take it from.
#[allow(dead_code, unused_imports, clippy::pedantic)]
#[path = "../../conformance/src/format/mod.rs"]
mod format;

fuzz_target!(|text: &str| {
    match format::read(text) {
        Ok(cases) => {
            for bad in cases.into_iter().filter_map(Result::err) {
                assert!(!bad.problem.to_string().is_empty());
            }
        }
        Err(problem) => assert!(!problem.is_empty()),
    }
});
