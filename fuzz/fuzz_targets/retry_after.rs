//! `Retry-After` and `retry-after-ms`: any text; numbers are read exactly.
#![no_main]

use std::time::{Duration, SystemTime};

use libfuzzer_sys::fuzz_target;
use surefoot_core::retry::{retry_after, retry_after_ms};

fuzz_target!(|text: &str| {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let wait = retry_after(text, now);
    let millis = retry_after_ms(text);
    assert_eq!(retry_after(&format!(" {text} "), now), wait, "space around it is no matter");

    let digits = text.trim();
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let number = digits.parse::<u64>().unwrap_or(u64::MAX);
        let most = Duration::from_nanos(u64::MAX);
        assert_eq!(wait, Some(Duration::from_secs(number).min(most)));
        assert_eq!(millis, Some(Duration::from_millis(number).min(most)));
    }
    if let (Some(wait), Some(millis)) = (wait, millis) {
        assert!(millis <= wait, "a number of milliseconds is no more than so many seconds");
    }
    if millis.is_some() {
        assert!(wait.is_some(), "what is a number for one is a number for the other");
    }
});
