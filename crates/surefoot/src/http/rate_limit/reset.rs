//! When something is back, in all the ways in which it is written.

use std::time::{Duration, SystemTime};

use surefoot_core::retry;

use super::super::duration_text;

/// From here on a number is a point in time (2001 and later), below it a wait.
const EPOCH_SECONDS_MIN: Duration = Duration::from_secs(1_000_000_000);
/// From here on it is one in milliseconds.
const EPOCH_SECONDS_MAX: Duration = Duration::from_secs(100_000_000_000);

/// The wait that a reset means: a duration (`6m0s`, `1.5s`, `250ms`), seconds, a point in time
/// (RFC 3339, or seconds or milliseconds since 1970), counted from `now`. What is past is no wait.
///
/// Anything else is `None`: negative, NaN, words.
pub(super) fn wait(text: &str, now: impl Fn() -> SystemTime) -> Option<Duration> {
    if let Some(wait) = duration_text::parse(text) {
        return Some(wait);
    }
    let at = match retry::retry_after_ms(text) {
        Some(millis) => {
            let seconds = millis.checked_mul(1000)?;
            if seconds < EPOCH_SECONDS_MIN {
                return Some(seconds);
            }
            // Some tell the point in time in milliseconds.
            let since_epoch = if seconds < EPOCH_SECONDS_MAX { seconds } else { millis };
            SystemTime::UNIX_EPOCH.checked_add(since_epoch)?
        }
        None => rfc3339(text)?,
    };
    Some(at.duration_since(now()).unwrap_or(Duration::ZERO))
}

fn rfc3339(text: &str) -> Option<SystemTime> {
    if let Ok(at) = humantime::parse_rfc3339(text) {
        return Some(at);
    }
    // With an offset in place of the Z: `+01:00`.
    let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let (sign, offset) = offset.split_at_checked(1)?;
    let (hours, minutes) = offset.split_once(':')?;
    let number = |text: &str, most: u64| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u64>().ok().filter(|number| digits && *number <= most)
    };
    let offset = Duration::from_secs(number(hours, 23)? * 3600 + number(minutes, 59)? * 60);
    let at = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    match sign {
        "+" => at.checked_sub(offset),
        "-" => at.checked_add(offset),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(text: &str) -> Option<u128> {
        let now = || SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        wait(text, now).map(|wait| wait.as_millis())
    }

    #[test]
    fn a_reset_is_a_duration_or_a_number_or_a_point_in_time() {
        for (text, expected) in [
            ("6m0s", 360_000),
            ("1.5s", 1_500),
            ("250ms", 250),
            ("1h2m3s", 3_723_000),
            ("0s", 0),
            ("7", 7_000),
            ("0.25", 250),
            ("999999999", 999_999_999_000),
            // 2023-11-14T22:13:20Z is now.
            ("1700000060", 60_000),
            ("1700000060000", 60_000),
            ("1600000000", 0),
            ("2023-11-14T22:14:20Z", 60_000),
            ("2023-11-14T22:13:20.5Z", 500),
            ("2023-11-14T22:14:20+00:00", 60_000),
            ("2023-11-14T23:14:20+01:00", 60_000),
            ("2023-11-14T16:44:20-05:30", 60_000),
            ("2020-01-01T00:00:00Z", 0),
        ] {
            assert_eq!(millis(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_reset() {
        for text in [
            "",
            "-1",
            "-1s",
            "NaN",
            "inf",
            "soon",
            "1e3",
            "2023-11-14",
            "2023-11-14T22:14:20",
            "2023-13-14T22:14:20Z",
            "2023-11-14T22:14:20+0100",
            "2023-11-14T22:14:20+24:00",
            "2023-11-14T22:14:20+1:000",
            "é-11-14T22:14:20+01:00",
            "5, 6",
        ] {
            assert_eq!(millis(text), None, "{text}");
        }
    }

    #[test]
    fn a_wait_too_long_to_tell_is_cut_to_what_can_be_told() {
        assert!(millis("99999999999999999999999h").is_some());
        let _ = millis("99999999999999999999999"); // a date no clock can show may be none
    }
}
