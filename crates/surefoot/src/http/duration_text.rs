//! Durations as APIs write them: `12ms`, `1.5s`, `6m0s` (Go), `45.837906927s` (Protobuf's JSON).

use std::time::Duration;

const UNITS: [(&str, u64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads numbers with units, one after the other; rounded up to the nanosecond, and as long as
/// can be told where it is longer. Negative is `None`, as is everything else that is no duration.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut nanos = 0u64;
    loop {
        let (number, unit, after) = next_part(rest)?;
        nanos = nanos.saturating_add(decimal(number, unit)?);
        if after.is_empty() {
            return Some(Duration::from_nanos(nanos));
        }
        rest = after;
    }
}

/// The first number of a text, the length of its unit in nanoseconds, and what follows.
fn next_part(text: &str) -> Option<(&str, u64, &str)> {
    let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, rest) = text.split_at(number_end);
    let unit_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_end);
    let (_, nanos) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    Some((number, nanos, rest))
}

/// A number with at most one point, in units of `unit` nanoseconds. Exact: no binary fraction is
/// involved.
fn decimal(number: &str, unit: u64) -> Option<u64> {
    /// More digits than this only decide whether to round up.
    const DIGITS: usize = 15;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole = whole.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(unit);
    let (told, rest) = fraction.split_at(fraction.len().min(DIGITS));
    let scale = 10u128.pow(u32::try_from(told.len()).ok()?);
    let part = format!("0{told}").parse::<u128>().ok()? * u128::from(unit);
    let more = rest.bytes().any(|digit| digit != b'0');
    let part = if more { part / scale + 1 } else { part.div_ceil(scale) };
    Some(whole.saturating_add(u64::try_from(part).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_exactly_and_rounded_up() {
        for (text, nanos) in [
            ("12ms", 12_000_000),
            ("1s", 1_000_000_000),
            (" 6m0s ", 360_000_000_000),
            ("1h2m3.5s", 3_723_500_000_000),
            ("45.837906927s", 45_837_906_927),
            ("0.0000000001s", 1),
            ("0.0000000000000000000000001s", 1),
            ("0.5000000000000000000000001s", 500_000_001),
            ("0.5000000000000000000000000s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("3us4ns", 3_004),
            ("0s", 0),
            ("99999999999999999999999h", u64::MAX),
        ] {
            assert_eq!(parse(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_duration() {
        for text in
            ["", "s", "5", "-1s", "+1s", "1 s", "1d", ".5s", "1.2.3s", "1e3s", "1s ago", "５s"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
