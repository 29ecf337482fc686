//! When a spent rate limit comes back, where no `Retry-After` says it.

use std::time::{Duration, SystemTime};

use ::http::header::{HeaderMap, HeaderName};
use surefoot_core::retry;

use super::duration_text;
use super::headers::values;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// From here on a number is a point in time (2001 and later), below it a wait.
const EPOCH_SECONDS_MIN: Duration = Duration::from_secs(1_000_000_000);
/// From here on it is one in milliseconds.
const EPOCH_SECONDS_MAX: Duration = Duration::from_secs(100_000_000_000);

/// The wait until the last of the spent limits comes back.
///
/// Read from `RateLimit` (IETF draft 10: `"burst";r=0;t=30`), and from
/// `x-ratelimit-remaining-*` with `x-ratelimit-reset-*` (OpenAI: `6m0s`, Azure: seconds) or without
/// a suffix (GitHub: seconds since 1970, counted from `now`). Only limits of which exactly nothing
/// remains count: Azure sends −1 where it does not know. Anthropic's reset is not read: it tells
/// when *everything* is back, which is far longer than a call has to wait.
pub(super) fn wait(headers: &HeaderMap, now: impl Fn() -> SystemTime) -> Option<Duration> {
    let standard = values(headers, &RATE_LIMIT).flat_map(|value| value.split(',')).filter_map(item);
    let suffixes =
        headers.keys().filter_map(|name| name.as_str().strip_prefix("x-ratelimit-remaining"));
    let spent = suffixes.filter(|suffix| {
        let remaining = headers.get(format!("x-ratelimit-remaining{suffix}"));
        remaining.is_some_and(|value| value == "0")
    });
    let resets = spent.filter_map(|suffix| headers.get(format!("x-ratelimit-reset{suffix}")));
    let resets = resets.filter_map(|value| reset(value.to_str().ok()?.trim(), &now));
    standard.chain(resets).max()
}

/// An item of `RateLimit`: the seconds until there is more, if nothing remains.
fn item(text: &str) -> Option<Duration> {
    let parameter = |name: &str| {
        let mut all = text.split(';').filter_map(|part| part.trim().split_once('='));
        all.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let seconds = parameter("t")?;
    let whole = seconds.bytes().all(|byte| byte.is_ascii_digit());
    (whole && parameter("r") == Some("0")).then(|| duration_text::parse(&format!("{seconds}s")))?
}

fn reset(text: &str, now: impl Fn() -> SystemTime) -> Option<Duration> {
    if let Some(wait) = duration_text::parse(text) {
        return Some(wait);
    }
    let seconds = retry::retry_after_ms(text)?.checked_mul(1000)?;
    if seconds < EPOCH_SECONDS_MIN {
        return Some(seconds);
    }
    // Some tell the point in time in milliseconds.
    let since_epoch =
        if seconds < EPOCH_SECONDS_MAX { seconds } else { retry::retry_after_ms(text)? };
    let at = SystemTime::UNIX_EPOCH.checked_add(since_epoch)?;
    Some(at.duration_since(now()).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::super::headers::tests::{Pairs, headers};
    use super::*;

    #[test]
    fn the_latest_reset_of_the_spent_limits_is_the_wait() {
        let now = || SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let table: &[(Pairs<'_>, Option<u64>)] = &[
            (&[], None),
            (&[("ratelimit", b"\"burst\";r=0;t=30")], Some(30_000)),
            (&[("ratelimit", b"\"burst\";r=50;t=30")], None),
            (&[("ratelimit", b"\"a\";r=0;t=30, \"b\"; r=0; t=90, \"c\";r=1;t=900")], Some(90_000)),
            (&[("ratelimit", b"\"a\";r=0;t=-3")], None),
            (&[("ratelimit", b"\"a\";r=0")], None),
            (&[("ratelimit", b"0")], None),
            (
                &[
                    ("x-ratelimit-remaining-requests", b"0"),
                    ("x-ratelimit-reset-requests", b"6m0s"),
                ],
                Some(360_000),
            ),
            (
                &[
                    ("x-ratelimit-remaining-requests", b"0"),
                    ("x-ratelimit-reset-requests", b"120ms"),
                    ("x-ratelimit-remaining-tokens", b"17"),
                    ("x-ratelimit-reset-tokens", b"1h"),
                ],
                Some(120),
            ),
            (
                &[("x-ratelimit-remaining-tokens", b"0"), ("x-ratelimit-reset-tokens", b"7")],
                Some(7_000),
            ),
            (
                &[("x-ratelimit-remaining", b"0"), ("x-ratelimit-reset", b"1700000060")],
                Some(60_000),
            ),
            (&[("x-ratelimit-remaining", b"0"), ("x-ratelimit-reset", b"1600000000")], Some(0)),
            // Unknown, or no number.
            (&[("x-ratelimit-remaining-tokens", b"-1"), ("x-ratelimit-reset-tokens", b"7")], None),
            (&[("x-ratelimit-remaining-tokens", b"0"), ("x-ratelimit-reset-tokens", b"-1")], None),
            (
                &[("x-ratelimit-remaining-tokens", b"0"), ("x-ratelimit-reset-tokens", b"\xff")],
                None,
            ),
            (&[("x-ratelimit-remaining-tokens", b"0")], None),
        ];
        for (pairs, millis) in table {
            assert_eq!(wait(&headers(pairs), now), millis.map(Duration::from_millis), "{pairs:?}");
        }
    }
}
