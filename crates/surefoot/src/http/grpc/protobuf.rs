//! The few fields of `google.rpc.Status` that say how long to wait, read by hand.

use std::time::Duration;

const RETRY_INFO: &[u8] = b"google.rpc.RetryInfo";

/// The longest `retry_delay` among the `google.rpc.RetryInfo` in an encoded `google.rpc.Status`:
/// what `grpc-status-details-bin` holds after base64, and `tonic::Status::details()` gives.
///
/// `None` without one. What is malformed ends the reading; what came before it counts. Never
/// panics, allocates nothing, and takes time in proportion to the length.
///
/// ```
/// use std::time::Duration;
/// use surefoot::http::grpc::retry_delay;
///
/// let details = b"\x1a\x30\x0a\x28type.googleapis.com/google.rpc.RetryInfo\x12\x04\x0a\x02\x08\x01";
/// assert_eq!(retry_delay(details), Some(Duration::from_secs(1)));
/// assert_eq!(retry_delay(b"not protobuf"), None);
/// ```
pub fn retry_delay(details: &[u8]) -> Option<Duration> {
    // Status: `repeated google.protobuf.Any details = 3`.
    messages(details, 3).filter_map(retry_info).max()
}

/// The delay in an `Any { type_url = 1, value = 2 }`, if it is a `RetryInfo`.
fn retry_info(any: &[u8]) -> Option<Duration> {
    let name = messages(any, 1).last()?;
    // Only what follows the last slash names the type.
    if name.rsplit(|&byte| byte == b'/').next() != Some(RETRY_INFO) {
        return None;
    }
    // `RetryInfo { Duration retry_delay = 1 }`.
    duration(messages(messages(any, 2).last()?, 1).last()?)
}

/// `Duration { int64 seconds = 1, int32 nanos = 2 }`; negative ones ask for nothing.
fn duration(message: &[u8]) -> Option<Duration> {
    // A negative number is written as one of 64 bits with the highest set.
    let number = |field| numbers(message, field).last().unwrap_or(0);
    let seconds = i64::try_from(number(1)).ok()?.try_into().ok()?;
    let nanos = u32::try_from(number(2)).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(seconds, nanos))
}

fn messages(message: &[u8], field: u64) -> impl Iterator<Item = &[u8]> {
    Fields(message).filter_map(move |found| match found {
        (number, Value::Bytes(bytes)) if number == field => Some(bytes),
        _ => None,
    })
}

fn numbers(message: &[u8], field: u64) -> impl Iterator<Item = u64> {
    Fields(message).filter_map(move |found| match found {
        (number, Value::Number(value)) if number == field => Some(value),
        _ => None,
    })
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// 4 or 8 bytes, which nothing here is.
    Fixed,
}

/// The fields of a message, up to the first that is malformed.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            // Groups, which proto3 does not have, and what does not exist.
            _ => return None,
        };
        Some((tag >> 3, value))
    }
}

impl<'a> Fields<'a> {
    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    /// At most ten bytes of seven bits, the lowest first.
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field of wire type 2.
    fn bytes(field: u8, value: &[u8]) -> Vec<u8> {
        let mut out = vec![field << 3 | 2];
        out.push(u8::try_from(value.len()).expect("short"));
        out.extend_from_slice(value);
        out
    }

    fn status(type_url: &[u8], duration: &[u8]) -> Vec<u8> {
        let any = [bytes(1, type_url), bytes(2, &bytes(1, duration))].concat();
        bytes(3, &any)
    }

    const TYPE: &[u8] = b"type.googleapis.com/google.rpc.RetryInfo";

    #[test]
    fn the_delay_is_read() {
        for (duration, read) in [
            (&b"\x08\x01"[..], Some(Duration::from_secs(1))),
            (b"\x10\x05\x08\x01", Some(Duration::new(1, 5))),
            (b"", Some(Duration::ZERO)),
            (b"\x08\x01\x08\x02", Some(Duration::from_secs(2))), // the last one counts
            (b"\x19AAAAAAAA\x25BBBB\x08\x01", Some(Duration::from_secs(1))), // others are skipped
            (
                b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
                Some(Duration::from_secs(i64::MAX as u64)),
            ),
            (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", None), // -1 s
            (b"\x08\x01\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", None), // -1 ns
            (b"\x10\x80\x94\xeb\xdc\x03", None),                     // 10^9 ns
        ] {
            assert_eq!(retry_delay(&status(TYPE, duration)), read, "{duration:?}");
        }
    }

    #[test]
    fn only_retry_info_is_looked_at() {
        let second = b"\x08\x01";
        assert_eq!(retry_delay(&status(b"type.googleapis.com/google.rpc.DebugInfo", second)), None);
        assert_eq!(retry_delay(&status(b"x/google.rpc.RetryInfo/y", second)), None);
        assert!(retry_delay(&status(b"example.org/google.rpc.RetryInfo", second)).is_some());
        let both = [status(TYPE, b"\x08\x03"), status(TYPE, b"\x08\x02")].concat();
        assert_eq!(retry_delay(&both), Some(Duration::from_secs(3)));
    }

    #[test]
    fn what_is_cut_off_anywhere_says_nothing() {
        let whole = status(TYPE, b"\x08\x01");
        for length in 0..whole.len() {
            assert_eq!(retry_delay(&whole[..length]), None, "{length} bytes");
        }
    }

    #[test]
    fn malformed_fields_end_the_reading() {
        let good = status(TYPE, b"\x08\x01");
        for bad in [
            &b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"[..], // a varint of eleven bytes
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x",     // longer than memory
            b"\x0b\x0c",                                          // a group
            b"\x07",                                              // no such wire type
        ] {
            assert_eq!(retry_delay(&[bad, &good].concat()), None, "{bad:?}");
            assert!(retry_delay(&[&good, bad].concat()).is_some(), "{bad:?}");
        }
    }
}
