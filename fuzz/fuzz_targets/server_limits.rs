//! Rate limits in any headers and body: nothing is made up, and a limiter that learns is never
//! more generous than before.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use libfuzzer_sys::fuzz_target;
use surefoot::http::{Usage, server_limits};
use surefoot::{Classification, ManualClock, RateLimiter};

/// Two bytes for the status, lines `name: value`, an empty line, the body.
fn parts(input: &[u8]) -> Option<(StatusCode, HeaderMap, &[u8])> {
    let (status, mut rest) = input.split_first_chunk()?;
    let status = StatusCode::from_u16(100 + u16::from_be_bytes(*status) % 900).ok()?;
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
    Some((status, headers, rest))
}

fuzz_target!(|input: &[u8]| {
    let Some((status, headers, body)) = parts(input) else { return };
    // Points in time are counted from the answer's own date, so that a run can be repeated.
    let mut headers = headers;
    let date = HeaderValue::from_static("Thu, 01 Jan 2026 00:00:00 GMT");
    headers.entry("date").or_insert(date);

    let said = server_limits(status, &headers, Some(body));
    assert_eq!(said, server_limits(status, &headers, Some(body)), "the same again");
    assert!(!(said.quota_spent && said.throttled), "what is spent is no wait");
    assert!(said.budgets.len() <= headers.len() + input.len() / 4, "a budget for what is there");
    for budget in &said.budgets {
        assert!(budget.limit.or(budget.remaining).is_some() || budget.reset_after.is_some());
        assert!(!budget.unit.is_empty());
        assert!(budget.limit != Some(0), "a limit of nothing is none");
    }
    if status.as_u16() < 400 {
        assert!(!said.throttled && !said.quota_spent && said.retry_after.is_none());
    }
    let judged = surefoot::http::classify(status, &headers, Some(body));
    if said.quota_spent {
        assert_eq!(judged.verdict, Classification::PERMANENT.verdict);
    }

    let clock = ManualClock::new();
    let limiter = RateLimiter::builder("fuzz").max_requests(50).clock(&clock).build();
    let Ok(limiter) = limiter else { return };
    for unit in ["requests", "tokens"] {
        let before = limiter.remaining();
        limiter.learn(unit, &said);
        assert!(limiter.remaining() <= before);
        if let Some(pause) = said.pause(unit).filter(|pause| !pause.is_zero()) {
            let wait = limiter.retry_after(1);
            assert!(wait >= Some(pause.min(limiter.config().max_throttle)), "{wait:?} {pause:?}");
        }
    }

    if let Some(usage) = Usage::parse(body) {
        assert_eq!(Usage::parse(body), Some(usage));
        assert_eq!(usage.merge(usage), usage, "the same twice is the same");
    }
});
