//! Any status, headers and body: the classifier's promises hold.
#![no_main]

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use libfuzzer_sys::fuzz_target;
use surefoot::http::{
    ApiError, HttpClassifier, deadline::DeadlineHeader, idempotency_key, is_idempotent,
    retry_after, should_retry,
};
use surefoot::{Classification, Verdict};

/// Two bytes for the status and the options, lines `name: value`, an empty line, the body.
fn parts(input: &[u8]) -> Option<(StatusCode, u8, HeaderMap, &[u8])> {
    let (&[high, low], mut rest) = input.split_first_chunk()?;
    let status = StatusCode::from_u16(100 + u16::from_be_bytes([high & 3, low]) % 900).ok()?;
    let mut headers = HeaderMap::new();
    while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        if line.is_empty() {
            break;
        }
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    }
    Some((status, high >> 2, headers, rest))
}

fuzz_target!(|input: &[u8]| {
    let Some((status, options, headers, body)) = parts(input) else { return };
    let body = (options & 1 == 0).then_some(body);
    let classifier =
        HttpClassifier::new().body_required(options & 2 != 0).errors_in_success(options & 4 != 0);
    let judged = classifier.classify(status, &headers, body);

    if let Verdict::Throttled { retry_after } = judged.verdict {
        assert_eq!(retry_after, judged.retry_after, "one wait, told twice");
    }
    let grpc = headers.contains_key("grpc-status");
    if status.as_u16() >= 400 && !grpc {
        assert_ne!(judged.verdict, Verdict::Success, "no error is a success");
        let retry = should_retry(&headers);
        assert!(!(judged.retryable && retry == Some(false)), "x-should-retry: false holds");
        let asked = retry_after(&headers, SystemTime::now());
        if judged.retryable && asked.is_some_and(|wait| wait < Duration::from_secs(1 << 20)) {
            assert!(judged.retry_after.is_some(), "a wait that was asked for is not lost");
        }
        let known = body.and_then(ApiError::parse).is_some();
        if retry.is_none() && !known && judged.verdict != Verdict::Ignored && judged.retryable {
            let plain = Classification::from_http_status(status.as_u16(), judged.retry_after);
            assert_eq!(judged, plain, "without a known body the status decides");
        }
    }
    if status.as_u16() < 400 && options & 6 == 0 && !grpc {
        assert_eq!(judged, Classification::SUCCESS);
    }

    if let Some(key) = idempotency_key(&headers) {
        assert!(!key.trim().is_empty() && is_idempotent(&http::Method::POST, &headers));
    }
    for header in [DeadlineHeader::grpc(), DeadlineHeader::default()] {
        if let Some(left) = header.get(&headers) {
            let mut told = HeaderMap::new();
            header.set(&mut told, left);
            let told = header.get(&told).expect("what we write can be read");
            assert!(told <= left.max(Duration::from_millis(1)), "never more than is left");
        }
    }
});
