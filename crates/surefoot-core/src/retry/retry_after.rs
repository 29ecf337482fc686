//! Reading the wait that a server asks for.

use std::time::{Duration, SystemTime};

/// The wait in a `Retry-After` header (RFC 9110, section 10.2.3): seconds, or an HTTP date.
///
/// A date is compared with `date`, the response's own `Date` header where there is one, so that
/// the clocks of the two machines need not agree; a date in the past asks for no wait. Decimal
/// seconds, which some servers send, are read too, and rounded up to the nanosecond. Anything
/// else (negative, NaN, words) is `None`: no header.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use surefoot_core::retry::retry_after;
///
/// let now = SystemTime::UNIX_EPOCH;
/// assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
/// let date = "Thu, 01 Jan 1970 00:00:30 GMT";
/// assert_eq!(retry_after(date, now), Some(Duration::from_secs(30)));
/// assert_eq!(retry_after("soon", now), None);
/// ```
pub fn retry_after(value: &str, date: SystemTime) -> Option<Duration> {
    let value = value.trim();
    decimal(value, 9).or_else(|| {
        let at = httpdate::parse_http_date(value).ok()?;
        Some(at.duration_since(date).unwrap_or(Duration::ZERO))
    })
}

/// The wait in a `retry-after-ms` header: milliseconds, whole or decimal.
pub fn retry_after_ms(value: &str) -> Option<Duration> {
    decimal(value.trim(), 6)
}

/// Reads digits with at most one point as a duration in units of `10^exponent` nanoseconds,
/// rounded up. Exact: no binary fraction is involved.
fn decimal(text: &str, exponent: usize) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    // A wait longer than can be told is as good as for ever: the caller's cap decides.
    let unit = 10u64.pow(u32::try_from(exponent).ok()?);
    let whole = whole.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(unit);
    let (told, rest) = fraction.split_at(fraction.len().min(exponent));
    let told = format!("{told:0<exponent$}").parse::<u64>().ok()?;
    let up = u64::from(rest.bytes().any(|digit| digit != b'0'));
    Some(Duration::from_nanos(whole.saturating_add(told).saturating_add(up)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_exactly_and_rounded_up() {
        let epoch = SystemTime::UNIX_EPOCH;
        for (text, nanos) in [
            ("0", 0),
            (" 20 ", 20_000_000_000),
            ("1.5", 1_500_000_000),
            ("0.1", 100_000_000),
            ("0.0000000001", 1),
            ("99999999999999999999999", u64::MAX),
        ] {
            assert_eq!(retry_after(text, epoch), Some(Duration::from_nanos(nanos)), "{text}");
        }
        assert_eq!(retry_after_ms("250"), Some(Duration::from_millis(250)));
        assert_eq!(retry_after_ms("0.5"), Some(Duration::from_micros(500)));
    }

    #[test]
    fn what_is_no_wait_is_no_header() {
        for text in ["", "-1", "NaN", "inf", "1e3", "+5", "1.2.3", ".5", "５", "1 2"] {
            assert_eq!(retry_after(text, SystemTime::UNIX_EPOCH), None, "{text}");
        }
    }

    #[test]
    fn a_date_in_the_past_asks_for_no_wait() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(3600);
        assert_eq!(retry_after("Thu, 01 Jan 1970 00:00:30 GMT", now), Some(Duration::ZERO));
    }
}
