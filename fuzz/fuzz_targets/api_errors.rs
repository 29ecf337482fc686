//! Error bodies of model APIs: any bytes; shapes that mean the same are read the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use surefoot::Verdict;
use surefoot::http::{ApiError, ApiErrorKind};

fuzz_target!(|body: &[u8]| {
    let Some(error) = ApiError::parse(body) else { return };
    assert!(error.message().len() <= 2048);
    assert!(!error.to_string().is_empty());
    let judged = error.classification();
    assert_ne!(judged.verdict, Verdict::Success, "an error is no success");
    assert_eq!(
        matches!(judged.verdict, Verdict::Throttled { .. }),
        error.kind() == ApiErrorKind::RateLimited
    );
    if error.kind() == ApiErrorKind::QuotaExhausted {
        assert!(!judged.retryable);
    }
    // Google's shape: the same in a list. (One level more may be too deep for JSON.)
    if body.trim_ascii_start().first() == Some(&b'{') {
        let listed = ApiError::parse(&[b"[", body, b"]"].concat());
        assert!(listed.is_none_or(|listed| listed == error));
    }
});
