//! `grpc-timeout`: any text; what is written is read again, and never says more than was left.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use surefoot::http::deadline::{format_grpc_timeout, parse_grpc_timeout};

fn check(remaining: Duration) {
    let text = format_grpc_timeout(remaining);
    assert!(text.len() <= 9, "{text}");
    let told = parse_grpc_timeout(&text).expect("what we write can be read");
    assert!(told <= remaining, "{remaining:?} became {text}");
    if remaining.as_nanos() < 100_000_000 {
        assert_eq!(told, remaining);
    }
    if remaining < Duration::from_secs(99_999_999 * 3600) {
        let lost = remaining.as_nanos() - told.as_nanos();
        assert!(lost * 100_000 < remaining.as_nanos().max(1), "{remaining:?} became {text}");
    }
}

fuzz_target!(|input: &[u8]| {
    if let Some(told) = std::str::from_utf8(input).ok().and_then(parse_grpc_timeout) {
        check(told);
    }
    if let Some((seconds, rest)) = input.split_first_chunk() {
        let nanos = rest.first_chunk().map_or(0, |nanos| u32::from_be_bytes(*nanos));
        check(Duration::new(u64::from_be_bytes(*seconds), nanos % 1_000_000_000));
    }
});
