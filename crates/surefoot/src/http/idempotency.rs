//! Whether a request may be sent twice.

use ::http::Method;
use ::http::header::{HeaderMap, HeaderName};

use super::headers::values;

/// Where a key is looked for: the IETF's draft and its widespread older spelling.
const KEYS: [HeaderName; 2] =
    [HeaderName::from_static("idempotency-key"), HeaderName::from_static("x-idempotency-key")];

/// Whether sending the request twice is declared to do no more than sending it once: by its method
/// (RFC 9110, section 9.2.2: GET, HEAD, OPTIONS, TRACE, PUT, DELETE; QUERY too), or by an
/// [`idempotency_key`].
///
/// A retry after dispatch asks for this. It is the client's word: that the server honours the key
/// is for the client to know.
///
/// ```
/// use http::{HeaderMap, Method};
/// use surefoot::http::is_idempotent;
///
/// let mut headers = HeaderMap::new();
/// assert!(is_idempotent(&Method::PUT, &headers));
/// assert!(!is_idempotent(&Method::POST, &headers));
/// headers.insert("idempotency-key", "7b0a".parse()?);
/// assert!(is_idempotent(&Method::POST, &headers));
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
pub fn is_idempotent(method: &Method, headers: &HeaderMap) -> bool {
    method.is_idempotent() || idempotency_key(headers).is_some()
}

/// The key in `Idempotency-Key`, or in `X-Idempotency-Key`, as it is written there: quotes, which
/// the IETF's draft asks for and few send, are a part of it.
///
/// `None` if there is none, if it is empty, not ASCII, or if there are several that differ: a
/// server may take either, so they are no key.
pub fn idempotency_key(headers: &HeaderMap) -> Option<&str> {
    let mut sent = KEYS.into_iter().flat_map(|name| headers.get_all(name));
    let mut keys = KEYS.into_iter().flat_map(|name| values(headers, &name));
    let key = keys.next()?;
    let agreed = sent.all(|value| value.to_str().is_ok_and(|value| value.trim() == key));
    (agreed && !key.trim_matches('"').is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::super::headers::tests::{Pairs, headers};
    use super::*;

    #[test]
    fn methods_say_whether_they_are_idempotent() {
        let none = HeaderMap::new();
        for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "QUERY"] {
            assert!(is_idempotent(&method.parse().expect("a method"), &none), "{method}");
        }
        for method in ["POST", "PATCH", "CONNECT", "get"] {
            assert!(!is_idempotent(&method.parse().expect("a method"), &none), "{method}");
        }
    }

    #[test]
    fn a_key_is_one_text_that_is_not_empty() {
        let table: &[(Pairs<'_>, Option<&str>)] = &[
            (&[("idempotency-key", b" a1 ")], Some("a1")),
            (&[("x-idempotency-key", b"a1")], Some("a1")),
            (&[("idempotency-key", b"\"a1\"")], Some("\"a1\"")),
            (&[("idempotency-key", b"a1"), ("x-idempotency-key", b"a1")], Some("a1")),
            (&[], None),
            (&[("idempotency-key", b"")], None),
            (&[("idempotency-key", b"  ")], None),
            (&[("idempotency-key", b"\"\"")], None),
            (&[("idempotency-key", b"\xe9")], None),
            (&[("idempotency-key", b"a1"), ("idempotency-key", b"a2")], None),
            (&[("idempotency-key", b"a1"), ("idempotency-key", b"\xe9")], None),
            (&[("idempotency-key", b""), ("x-idempotency-key", b"a1")], None),
        ];
        for (pairs, key) in table {
            let headers = headers(pairs);
            assert_eq!(idempotency_key(&headers), *key, "{pairs:?}");
            assert_eq!(is_idempotent(&Method::POST, &headers), key.is_some(), "{pairs:?}");
        }
    }
}
