//! gRPC: what a status and its trailers mean.
//!
//! | code | verdict | tried again |
//! |---|---|---|
//! | 0 `OK` | success | |
//! | 1 `CANCELLED` | cancelled: neutral | no |
//! | 2 `UNKNOWN`, 4 `DEADLINE_EXCEEDED`, 10 `ABORTED`, 13 `INTERNAL`, 14 `UNAVAILABLE` | failure | yes |
//! | 8 `RESOURCE_EXHAUSTED` with a wait | throttled | yes |
//! | 8 `RESOURCE_EXHAUSTED` without one | throttled | no |
//! | 15 `DATA_LOSS` | failure | no |
//! | all other | ignored | no |
//!
//! `RESOURCE_EXHAUSTED` may be a rate limit or a full disk. [AIP-194] therefore advises against
//! retrying it; a server that means a rate limit says how long to wait. Codes that do not exist
//! count as `UNKNOWN`, as gRPC asks.
//!
//! The wait is `grpc-retry-pushback-ms` ([gRFC A6]), else `google.rpc.RetryInfo` in
//! `grpc-status-details-bin`. A pushback that is negative or cannot be read says: do not try again.
//! It never makes a code retryable that is not.
//!
//! [AIP-194]: https://google.aip.dev/194
//! [gRFC A6]: https://github.com/grpc/proposal/blob/master/A6-client-retries.md

mod protobuf;

use std::time::Duration;

use ::http::header::{CONTENT_TYPE, HeaderMap, HeaderName};
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, Engine, GeneralPurpose, GeneralPurposeConfig};
use surefoot_core::{Classification, Verdict};

use super::headers::values;

pub use protobuf::retry_delay;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// gRPC says: send without padding, accept both.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What trailers mean, or the headers of an answer that has nothing but trailers. `None` without a
/// `grpc-status`: the call has not ended, or was cut off.
///
/// ```
/// use std::time::Duration;
/// use http::HeaderMap;
/// use surefoot::Classification;
/// use surefoot::http::grpc;
///
/// let mut trailers = HeaderMap::new();
/// assert_eq!(grpc::classify(&trailers), None);
/// trailers.insert("grpc-status", "14".parse()?);
/// assert_eq!(grpc::classify(&trailers), Some(Classification::TRANSIENT));
/// trailers.insert("grpc-retry-pushback-ms", "-1".parse()?);
/// assert_eq!(grpc::classify(&trailers), Some(Classification::TRANSIENT.without_retry()));
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
pub fn classify(trailers: &HeaderMap) -> Option<Classification> {
    trailers.get(&STATUS)?;
    let number = values(trailers, &STATUS).next().and_then(|code| code.parse().ok());
    let code = number.unwrap_or(UNKNOWN);
    Some(match pushback(trailers) {
        Some(Pushback::After(wait)) => classify_code(code, Some(wait)),
        Some(Pushback::Never) => classify_code(code, None).without_retry(),
        None => classify_code(code, retry_delay_in(trailers)),
    })
}

const UNKNOWN: u32 = 2;

/// What a code means, with the wait that the server asks for; the table is the
/// [module's](self).
///
/// ```
/// use std::time::Duration;
/// use surefoot::Classification;
/// use surefoot::http::grpc::classify_code;
///
/// let wait = Some(Duration::from_secs(3));
/// assert_eq!(classify_code(8, wait), Classification::throttled(wait));
/// assert_eq!(classify_code(8, None), Classification::throttled(None).without_retry());
/// assert_eq!(classify_code(3, wait), Classification::PERMANENT);
/// ```
pub const fn classify_code(code: u32, wait: Option<Duration>) -> Classification {
    match code {
        0 => Classification::SUCCESS,
        1 => Classification { verdict: Verdict::Cancelled, retryable: false, retry_after: None },
        // Invalid argument, not found, already exists, permission denied, failed precondition,
        // out of range, unimplemented, unauthenticated.
        3 | 5 | 6 | 7 | 9 | 11 | 12 | 16 => Classification::PERMANENT,
        8 if wait.is_none() => Classification::throttled(None).without_retry(),
        8 => Classification::throttled(wait),
        15 => Classification::TRANSIENT.without_retry(),
        _ => Classification::TRANSIENT.with_retry_after(wait),
    }
}

/// What `grpc-retry-pushback-ms` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushback {
    /// Try again after this time.
    After(Duration),
    /// Do not try again.
    Never,
}

/// Reads `grpc-retry-pushback-ms`: a number of 32 bits with sign. Negative, unreadable or several:
/// [`Pushback::Never`].
pub fn pushback(trailers: &HeaderMap) -> Option<Pushback> {
    let mut all = trailers.get_all(&PUSHBACK).iter();
    let (first, second) = (all.next()?, all.next());
    let millis = first.to_str().ok().and_then(|text| text.trim().parse::<i32>().ok());
    Some(match (millis.map(u64::try_from), second) {
        (Some(Ok(millis)), None) => Pushback::After(Duration::from_millis(millis)),
        _ => Pushback::Never,
    })
}

/// The longest wait that `grpc-status-details-bin` asks for. Values may be joined by commas, as
/// those of every binary header.
fn retry_delay_in(trailers: &HeaderMap) -> Option<Duration> {
    let encoded = values(trailers, &DETAILS).flat_map(|value| value.split(','));
    let details = encoded.filter_map(|text| BASE64.decode(text.trim()).ok());
    details.filter_map(|details| retry_delay(&details)).max()
}

/// Whether an HTTP answer is one of gRPC, whose status is in its trailers, or, where there are none,
/// in its headers. (That of gRPC-Web is in the body.)
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let is_grpc = |value: &str| {
        let (start, rest) = value.split_at_checked(16).unwrap_or((value, ""));
        start.eq_ignore_ascii_case("application/grpc")
            && matches!(rest.trim_start().bytes().next(), None | Some(b'+' | b';'))
    };
    values(headers, &CONTENT_TYPE).next().is_some_and(is_grpc)
}

#[cfg(test)]
mod tests {
    use super::super::headers::tests::headers;
    use super::*;

    /// `google.rpc.Status { code: 8, message: "slow", details: [RetryInfo { 3.5 s }] }`.
    const RETRY_INFO: &[u8] =
        b"CAgSBHNsb3caMgoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIGCgQIAxAB";

    #[test]
    fn grpc_is_known_by_its_content_type() {
        let grpc = |value: &str| is_grpc(&headers(&[("content-type", value.as_bytes())]));
        for value in ["application/grpc", "Application/gRPC+proto", "application/grpc; x=y"] {
            assert!(grpc(value), "{value}");
        }
        for value in ["application/grpc-web+proto", "application/grp", "text/plain", ""] {
            assert!(!grpc(value), "{value}");
        }
    }

    #[test]
    fn every_code_has_its_meaning() {
        use Classification as C;
        let neutral = C { verdict: Verdict::Cancelled, retryable: false, retry_after: None };
        let throttled = C::throttled(None).without_retry();
        for (code, expected) in [
            ("0", C::SUCCESS),
            ("1", neutral),
            ("2", C::TRANSIENT),
            ("3", C::PERMANENT),
            ("4", C::TRANSIENT),
            ("5", C::PERMANENT),
            ("6", C::PERMANENT),
            ("7", C::PERMANENT),
            ("8", throttled),
            ("9", C::PERMANENT),
            ("10", C::TRANSIENT),
            ("11", C::PERMANENT),
            ("12", C::PERMANENT),
            ("13", C::TRANSIENT),
            ("14", C::TRANSIENT),
            ("15", C::TRANSIENT.without_retry()),
            ("16", C::PERMANENT),
            // No such code, or none that can be read: unknown.
            ("17", C::TRANSIENT),
            ("-1", C::TRANSIENT),
            ("99999999999", C::TRANSIENT),
            ("OK", C::TRANSIENT),
            ("", C::TRANSIENT),
        ] {
            let trailers = headers(&[("grpc-status", code.as_bytes())]);
            assert_eq!(classify(&trailers), Some(expected), "{code:?}");
        }
        assert_eq!(classify(&headers(&[("grpc-status", b"\xff")])), Some(C::TRANSIENT));
        assert_eq!(classify(&HeaderMap::new()), None);
    }

    #[test]
    fn retry_info_makes_an_exhausted_resource_a_wait() {
        let wait = Some(Duration::new(3, 1));
        let joined = [RETRY_INFO, b", bm90IHByb3RvYnVm"].concat();
        let padded = [RETRY_INFO, b"=="].concat();
        for details in [RETRY_INFO, &joined] {
            let trailers = headers(&[("grpc-status", b"8"), ("grpc-status-details-bin", details)]);
            assert_eq!(classify(&trailers), Some(Classification::throttled(wait)));
        }
        let trailers = headers(&[("grpc-status", b"14"), ("grpc-status-details-bin", RETRY_INFO)]);
        assert_eq!(classify(&trailers), Some(Classification::TRANSIENT.with_retry_after(wait)));
        for garbage in [&b"%%%"[..], b"", b"CAgS", b"\xff", &padded] {
            let trailers = headers(&[("grpc-status", b"8"), ("grpc-status-details-bin", garbage)]);
            let throttled = Classification::throttled(None).without_retry();
            assert_eq!(classify(&trailers), Some(throttled), "{garbage:?}");
        }
    }

    #[test]
    fn padding_may_be_there_or_not() {
        // `Status { details: [Any { RetryInfo { 1 s } }] }` is a byte short of a multiple of three.
        let details: &[u8] =
            b"\x1a\x30\x0a\x28type.googleapis.com/google.rpc.RetryInfo\x12\x04\x0a\x02\x08\x01";
        let bare = base64::engine::general_purpose::STANDARD_NO_PAD.encode(details);
        let padded = base64::engine::general_purpose::STANDARD.encode(details);
        assert_ne!(bare, padded);
        for text in [bare, padded] {
            let trailers = headers(&[("grpc-status-details-bin", text.as_bytes())]);
            assert_eq!(retry_delay_in(&trailers), Some(Duration::from_secs(1)), "{text}");
        }
    }

    #[test]
    fn a_pushback_is_a_wait_or_a_no() {
        let after = |millis| Some(Pushback::After(Duration::from_millis(millis)));
        let table: &[(&[&[u8]], Option<Pushback>)] = &[
            (&[], None),
            (&[b"0"], after(0)),
            (&[b"1500"], after(1500)),
            (&[b"2147483647"], after(2_147_483_647)),
            (&[b"2147483648"], Some(Pushback::Never)),
            (&[b"-1"], Some(Pushback::Never)),
            (&[b"soon"], Some(Pushback::Never)),
            (&[b""], Some(Pushback::Never)),
            (&[b"\xff"], Some(Pushback::Never)),
            (&[b"1", b"1"], Some(Pushback::Never)),
        ];
        for (values, expected) in table {
            let pairs: Vec<_> =
                values.iter().map(|value| ("grpc-retry-pushback-ms", *value)).collect();
            assert_eq!(pushback(&headers(&pairs)), *expected, "{values:?}");
        }
    }

    #[test]
    fn a_pushback_counts_more_than_retry_info_but_saves_no_permanent_code() {
        let with = |status: &'static [u8], pushback: &'static [u8]| {
            classify(&headers(&[
                ("grpc-status", status),
                ("grpc-status-details-bin", RETRY_INFO),
                ("grpc-retry-pushback-ms", pushback),
            ]))
        };
        let wait = Some(Duration::from_millis(20));
        assert_eq!(with(b"8", b"20"), Some(Classification::throttled(wait)));
        assert_eq!(with(b"14", b"20"), Some(Classification::TRANSIENT.with_retry_after(wait)));
        assert_eq!(with(b"14", b"-1"), Some(Classification::TRANSIENT.without_retry()));
        assert_eq!(with(b"3", b"20"), Some(Classification::PERMANENT));
    }
}
