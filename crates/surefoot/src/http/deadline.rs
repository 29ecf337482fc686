//! Deadlines that travel: the time left, told to the callee in a header.
//!
//! What travels is the time that is left, never a point in time, so the clocks of the two machines
//! need not agree. The time on the wire is not taken off; each hop starts from what it was told.
//!
//! Whatever cannot be told exactly is rounded down, so that a callee never believes to have more
//! time than its caller will wait. What cannot be read is no deadline; of several the shortest
//! counts.

use std::time::Duration;

use ::http::header::{HeaderMap, HeaderName, HeaderValue};

use super::headers::values;

/// The header in which the time left is told.
///
/// ```
/// use std::time::Duration;
/// use http::HeaderMap;
/// use surefoot::http::deadline::DeadlineHeader;
///
/// let mut headers = HeaderMap::new();
/// DeadlineHeader::grpc().set(&mut headers, Duration::from_millis(1500));
/// assert_eq!(headers["grpc-timeout"], "1500000u");
/// assert_eq!(DeadlineHeader::grpc().get(&headers), Some(Duration::from_millis(1500)));
///
/// DeadlineHeader::default().set(&mut headers, Duration::from_micros(1500));
/// assert_eq!(headers["x-envoy-expected-rq-timeout-ms"], "1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadlineHeader {
    name: HeaderName,
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    GrpcTimeout,
    Milliseconds,
}

impl DeadlineHeader {
    /// `grpc-timeout`, as gRPC over HTTP/2 has it: [`format_grpc_timeout`].
    pub const fn grpc() -> Self {
        Self { name: HeaderName::from_static("grpc-timeout"), format: Format::GrpcTimeout }
    }

    /// A header of whole milliseconds.
    ///
    /// No time left, and less than a millisecond, is written as `1`: to Envoy, `0` means that there
    /// is no limit at all. It is read as a deadline that is over.
    pub const fn milliseconds(name: HeaderName) -> Self {
        Self { name, format: Format::Milliseconds }
    }

    /// The header's name.
    pub const fn name(&self) -> &HeaderName {
        &self.name
    }

    /// Tells the callee the time left, in place of what the header said before.
    pub fn set(&self, headers: &mut HeaderMap, remaining: Duration) {
        let value = match self.format {
            Format::GrpcTimeout => format_grpc_timeout(remaining),
            Format::Milliseconds => remaining.as_millis().clamp(1, u64::MAX.into()).to_string(),
        };
        // Digits and a letter are always a header's value.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(self.name.clone(), value);
        }
    }

    /// The time left according to the caller; zero means that it is over already. `None` if the
    /// header is absent or malformed.
    pub fn get(&self, headers: &HeaderMap) -> Option<Duration> {
        let parse = match self.format {
            Format::GrpcTimeout => parse_grpc_timeout,
            Format::Milliseconds => parse_milliseconds,
        };
        values(headers, &self.name).filter_map(parse).min()
    }
}

/// `x-envoy-expected-rq-timeout-ms`, in which Envoy tells its upstream the time left, and which
/// service meshes built on it understand.
impl Default for DeadlineHeader {
    fn default() -> Self {
        Self::milliseconds(HeaderName::from_static("x-envoy-expected-rq-timeout-ms"))
    }
}

/// The units of `grpc-timeout`, from fine to coarse, with their nanoseconds.
const UNITS: [(char, u128); 6] = [
    ('n', 1),
    ('u', 1_000),
    ('m', 1_000_000),
    ('S', 1_000_000_000),
    ('M', 60_000_000_000),
    ('H', 3_600_000_000_000),
];
/// At most 8 digits.
const MOST: u128 = 99_999_999;

/// The time left as gRPC writes it (`1500000u`): in the finest unit in which at most 8 digits
/// suffice, rounded down; what is longer than 99999999 hours becomes that.
///
/// From the [gRPC protocol over HTTP/2](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
/// Up to 99 ms nothing is lost, and from then on less than one part in a hundred thousand.
///
/// ```
/// use std::time::Duration;
/// use surefoot::http::deadline::format_grpc_timeout;
///
/// assert_eq!(format_grpc_timeout(Duration::from_nanos(99_999_999)), "99999999n");
/// assert_eq!(format_grpc_timeout(Duration::from_nanos(100_000_999)), "100000u");
/// assert_eq!(format_grpc_timeout(Duration::ZERO), "0n");
/// ```
pub fn format_grpc_timeout(remaining: Duration) -> String {
    let nanos = remaining.as_nanos();
    let fits = |(_, unit): &(char, u128)| nanos / unit <= MOST;
    let (letter, unit) = UNITS.into_iter().find(fits).unwrap_or(UNITS[5]);
    format!("{}{letter}", (nanos / unit).min(MOST))
}

/// Reads a `grpc-timeout`: 1 to 8 digits and one of the units `H`, `M`, `S`, `m`, `u`, `n`.
///
/// ```
/// use std::time::Duration;
/// use surefoot::http::deadline::parse_grpc_timeout;
///
/// assert_eq!(parse_grpc_timeout("100m"), Some(Duration::from_millis(100)));
/// assert_eq!(parse_grpc_timeout("100 ms"), None);
/// ```
pub fn parse_grpc_timeout(text: &str) -> Option<Duration> {
    let letter = text.chars().next_back()?;
    let digits = text.strip_suffix(letter)?;
    let (_, unit) = UNITS.into_iter().find(|(name, _)| *name == letter)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos = digits.parse::<u128>().ok()? * unit;
    let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
    Some(Duration::new(seconds, u32::try_from(nanos % 1_000_000_000).ok()?))
}

fn parse_milliseconds(text: &str) -> Option<Duration> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::super::headers::tests::headers;
    use super::*;

    const HOUR: u64 = 3600;

    #[test]
    fn a_grpc_timeout_has_at_most_8_digits_and_is_rounded_down() {
        for (remaining, text) in [
            (Duration::ZERO, "0n"),
            (Duration::from_nanos(3), "3n"),
            (Duration::from_millis(99), "99000000n"),
            (Duration::from_millis(100), "100000u"),
            (Duration::from_nanos(100_000_999), "100000u"),
            (Duration::from_micros(99_999_999), "99999999u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_secs(99_999), "99999000m"),
            (Duration::from_secs(100_000), "100000S"),
            (Duration::from_secs(99_999_999), "99999999S"),
            (Duration::from_secs(100_000_000), "1666666M"),
            (Duration::from_secs(99_999_999 * HOUR), "99999999H"),
            (Duration::MAX, "99999999H"),
        ] {
            assert_eq!(format_grpc_timeout(remaining), text);
            let read = parse_grpc_timeout(text).expect("what was written");
            assert!(read <= remaining, "{text}");
        }
    }

    #[test]
    fn a_grpc_timeout_is_read_in_every_unit() {
        for (text, read) in [
            ("3n", Some(Duration::from_nanos(3))),
            ("5u", Some(Duration::from_micros(5))),
            ("100m", Some(Duration::from_millis(100))),
            ("1S", Some(Duration::from_secs(1))),
            ("2M", Some(Duration::from_secs(120))),
            ("1H", Some(Duration::from_secs(HOUR))),
            ("0S", Some(Duration::ZERO)),
            ("00000001S", Some(Duration::from_secs(1))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * HOUR))),
            ("100000000n", None),
            ("000000001S", None),
            ("", None),
            ("S", None),
            ("1", None),
            ("1s", None),
            ("-1S", None),
            ("+1S", None),
            ("1.5S", None),
            ("1 S", None),
            ("1ms", None),
            ("1µ", None),
            ("１S", None),
        ] {
            assert_eq!(parse_grpc_timeout(text), read, "{text:?}");
        }
    }

    #[test]
    fn milliseconds_are_whole_and_at_least_one() {
        let header = DeadlineHeader::milliseconds(HeaderName::from_static("x-deadline-ms"));
        for (remaining, text) in [
            (Duration::from_micros(2_999), "2"),
            (Duration::from_micros(999), "1"),
            (Duration::ZERO, "1"),
            (Duration::MAX, "18446744073709551615"),
        ] {
            let mut headers = HeaderMap::new();
            header.set(&mut headers, remaining);
            assert_eq!(headers[header.name()], text);
        }
    }

    #[test]
    fn of_several_deadlines_the_shortest_readable_one_counts() {
        let header = DeadlineHeader::default();
        let name = "x-envoy-expected-rq-timeout-ms";
        let table: &[(&[&[u8]], Option<u64>)] = &[
            (&[], None),
            (&[b"250"], Some(250)),
            (&[b" 250 "], Some(250)),
            (&[b"0"], Some(0)),
            (&[b"300", b"soon", b"200"], Some(200)),
            (&[b""], None),
            (&[b"-1"], None),
            (&[b"1.5"], None),
            (&[b"\xff"], None),
            (&[b"99999999999999999999"], None),
        ];
        for (values, millis) in table {
            let pairs: Vec<_> = values.iter().map(|value| (name, *value)).collect();
            let read = header.get(&headers(&pairs));
            assert_eq!(read, millis.map(Duration::from_millis), "{values:?}");
        }
    }

    #[test]
    fn setting_replaces_what_was_there() {
        let mut headers = headers(&[("grpc-timeout", b"1n"), ("grpc-timeout", b"2n")]);
        DeadlineHeader::grpc().set(&mut headers, Duration::from_secs(1));
        assert_eq!(headers.get_all("grpc-timeout").iter().count(), 1);
        assert_eq!(DeadlineHeader::grpc().get(&headers), Some(Duration::from_secs(1)));
    }
}
