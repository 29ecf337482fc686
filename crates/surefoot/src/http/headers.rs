//! What the headers of an answer say about trying again.

use std::time::{Duration, SystemTime};

use ::http::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};
use surefoot_core::retry;

const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// The wait that the headers ask for: `retry-after-ms` where it can be read, else `Retry-After`.
///
/// `Retry-After` (RFC 9110, section 10.2.3) is whole or decimal seconds, or a date. A date is
/// compared with the answer's own `Date`, so that the clocks of the two machines need not agree,
/// and with `received` only where there is no valid `Date`. A date in the past asks for no wait.
///
/// What cannot be read (negative, NaN, words, not ASCII, a list in one header) counts as absent.
/// Of several headers the longest wait is taken: nobody who asked is called too early. There is
/// no cap: a retry's own cap decides what is too long.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use http::HeaderMap;
/// use surefoot::http::retry_after;
///
/// let mut headers = HeaderMap::new();
/// headers.insert("date", "Thu, 01 Jan 2026 00:00:00 GMT".parse()?);
/// headers.insert("retry-after", "Thu, 01 Jan 2026 00:00:30 GMT".parse()?);
/// assert_eq!(retry_after(&headers, SystemTime::now()), Some(Duration::from_secs(30)));
/// headers.insert("retry-after-ms", "250".parse()?);
/// assert_eq!(retry_after(&headers, SystemTime::now()), Some(Duration::from_millis(250)));
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
pub fn retry_after(headers: &HeaderMap, received: SystemTime) -> Option<Duration> {
    retry_after_or(headers, || received)
}

/// The same, asking for the time only where it is needed.
pub(super) fn retry_after_or(
    headers: &HeaderMap,
    received: impl FnOnce() -> SystemTime,
) -> Option<Duration> {
    if let Some(wait) = values(headers, &RETRY_AFTER_MS).filter_map(retry::retry_after_ms).max() {
        return Some(wait);
    }
    headers.get(&RETRY_AFTER)?;
    let date = sent_at(headers).unwrap_or_else(received);
    values(headers, &RETRY_AFTER).filter_map(|value| retry::retry_after(value, date)).max()
}

/// What `x-should-retry` says, if it says `true` or `false`: the header by which OpenAI and
/// Anthropic overrule their own statuses. Where several disagree, `false` counts.
///
/// ```
/// use http::HeaderMap;
/// use surefoot::http::should_retry;
///
/// let mut headers = HeaderMap::new();
/// assert_eq!(should_retry(&headers), None);
/// headers.insert("x-should-retry", "false".parse()?);
/// assert_eq!(should_retry(&headers), Some(false));
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
pub fn should_retry(headers: &HeaderMap) -> Option<bool> {
    let says = |value: &str| match value {
        _ if value.eq_ignore_ascii_case("true") => Some(true),
        _ if value.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    };
    values(headers, &SHOULD_RETRY).filter_map(says).min()
}

/// The answer's own `Date`.
pub(super) fn sent_at(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(values(headers, &DATE).next()?).ok()
}

/// The values of a header that are text, without the space around them.
pub(super) fn values<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a str> + use<'a> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(str::trim)
}

#[cfg(test)]
pub(super) mod tests {
    use ::http::HeaderValue;

    use super::*;

    /// Names and values; values may be any bytes that a header may hold.
    pub(in crate::http) type Pairs<'a> = &'a [(&'static str, &'a [u8])];

    pub(in crate::http) fn headers(pairs: Pairs<'_>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value).expect("a header value"));
        }
        headers
    }

    const NOON: &[u8] = b"Thu, 01 Jan 1970 12:00:00 GMT";

    #[test]
    fn the_wait_is_read_from_the_header_that_can_be_read() {
        let received = SystemTime::UNIX_EPOCH;
        let table: &[(Pairs<'_>, Option<u64>)] = &[
            (&[], None),
            (&[("retry-after", b"20")], Some(20_000)),
            (&[("retry-after", b" 1.5 ")], Some(1_500)),
            (&[("retry-after-ms", b"250"), ("retry-after", b"20")], Some(250)),
            (&[("retry-after-ms", b"-1"), ("retry-after", b"20")], Some(20_000)),
            (&[("retry-after-ms", b"0"), ("retry-after", b"20")], Some(0)),
            // Not a number, or not text.
            (&[("retry-after", b"-5")], None),
            (&[("retry-after", b"NaN")], None),
            (&[("retry-after", b"1e9")], None),
            (&[("retry-after", b"soon")], None),
            (&[("retry-after", b"")], None),
            (&[("retry-after", b"10, 20")], None),
            (&[("retry-after", b"2\xff")], None),
            // Several: the longest of those that can be read.
            (
                &[("retry-after", b"3"), ("retry-after", b"7"), ("retry-after", b"\xe9")],
                Some(7_000),
            ),
            // Dates.
            (&[("retry-after", NOON)], Some(43_200_000)),
            (&[("retry-after", NOON), ("date", b"Thu, 01 Jan 1970 11:59:00 GMT")], Some(60_000)),
            (&[("retry-after", NOON), ("date", b"yesterday")], Some(43_200_000)),
            (&[("retry-after", NOON), ("date", b"Thu, 01 Jan 1970 13:00:00 GMT")], Some(0)),
        ];
        for (pairs, millis) in table {
            let wait = retry_after(&headers(pairs), received);
            assert_eq!(wait, millis.map(Duration::from_millis), "{pairs:?}");
        }
    }

    #[test]
    fn a_wait_too_long_to_tell_is_as_good_as_for_ever() {
        let headers = headers(&[("retry-after", b"99999999999999999999999999")]);
        let wait = retry_after(&headers, SystemTime::UNIX_EPOCH);
        assert_eq!(wait, Some(Duration::from_nanos(u64::MAX)));
    }

    #[test]
    fn the_clock_is_asked_only_for_a_date_without_a_date() {
        let asked = |pairs: Pairs<'_>| {
            let mut asked = false;
            retry_after_or(&headers(pairs), || {
                asked = true;
                SystemTime::UNIX_EPOCH
            });
            asked
        };
        assert!(!asked(&[]));
        assert!(!asked(&[("retry-after", NOON), ("date", NOON)]));
        assert!(asked(&[("retry-after", NOON)]));
    }

    #[test]
    fn should_retry_is_true_or_false_or_nothing() {
        let table: &[(&[&[u8]], Option<bool>)] = &[
            (&[], None),
            (&[b"true"], Some(true)),
            (&[b"False "], Some(false)),
            (&[b"1"], None),
            (&[b"\xff"], None),
            (&[b"true", b"false"], Some(false)),
            (&[b"maybe", b"true"], Some(true)),
        ];
        for (values, says) in table {
            let pairs: Vec<_> = values.iter().map(|value| ("x-should-retry", *value)).collect();
            assert_eq!(should_retry(&headers(&pairs)), *says, "{values:?}");
        }
    }
}
