//! Anthropic's words: errors in bodies and in streams, and how a stream ends.

use super::sse::SseEvent;
use super::{ApiError, ApiErrorKind, StreamPart};

/// What an event of a stream of messages means.
///
/// `message_stop` is the end, `error` an error (mostly `overloaded_error`), everything else, pings
/// too, a part of the answer. An event that has lost its name is known by the `type` in its data. A stream that ends without `message_stop` was cut off, and is a
/// failure.
///
/// ```
/// use surefoot::Classification;
/// use surefoot::http::sse::SseParser;
/// use surefoot::http::{StreamPart, anthropic};
///
/// let mut chunk: &[u8] = b"event: error\n\
///     data: {\"type\": \"error\", \"error\": {\"type\": \"overloaded_error\"}}\n\n";
/// let event = SseParser::new().next_event(&mut chunk)?.ok_or("an event")?;
/// let StreamPart::Error(error) = anthropic::stream_part(&event) else { return Err("an error".into()) };
/// assert_eq!(error.classification(), Classification::TRANSIENT);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn stream_part(event: &SseEvent) -> StreamPart {
    let unnamed = (event.event() == "message").then(|| r#type(event.data())).flatten();
    match unnamed.as_deref().unwrap_or(event.event()) {
        "message_stop" => StreamPart::End,
        "error" => StreamPart::Error(
            ApiError::parse(event.data().as_bytes())
                .unwrap_or_else(|| ApiError::unknown(event.data())),
        ),
        _ => StreamPart::Item,
    }
}

/// The name of an event as its data repeat it: proxies drop the line with the name.
fn r#type(data: &str) -> Option<String> {
    let data: serde_json::Value = serde_json::from_str(data).ok()?;
    data.get("type")?.as_str().map(str::to_owned)
}

/// The kind of error that a `type` stands for.
pub(super) fn kind(word: &str) -> Option<ApiErrorKind> {
    Some(match word {
        "overloaded_error" => ApiErrorKind::Overloaded,
        "api_error" => ApiErrorKind::Server,
        "timeout_error" => ApiErrorKind::Timeout,
        "rate_limit_error" => ApiErrorKind::RateLimited,
        "billing_error" => ApiErrorKind::QuotaExhausted,
        "authentication_error" => ApiErrorKind::Authentication,
        "permission_error" => ApiErrorKind::Permission,
        "not_found_error" => ApiErrorKind::NotFound,
        "request_too_large" => ApiErrorKind::InvalidRequest,
        _ => return None,
    })
}

/// The kind of error for which there is only a message: `invalid_request_error` stands for a
/// spent quota and for a prompt too long, and a spend limit has come as `rate_limit_error`.
pub(super) fn kind_of_message(message: &str) -> Option<ApiErrorKind> {
    let says = |part: &str| message.contains(part);
    if says("credit balance is too low") || says("specified API usage limits") {
        Some(ApiErrorKind::QuotaExhausted)
    } else if says("prompt is too long") || says("exceed context limit") {
        Some(ApiErrorKind::ContextLength)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::sse::tests::event;
    use super::*;

    #[test]
    fn bodies_have_their_kinds() {
        use ApiErrorKind::{
            Authentication, ContextLength, InvalidRequest, NotFound, Overloaded, Permission,
            QuotaExhausted, RateLimited, Server, Timeout, Unknown,
        };
        for (r#type, message, expected) in [
            ("overloaded_error", "Overloaded", Overloaded),
            ("api_error", "Internal server error", Server),
            ("timeout_error", "", Timeout),
            ("rate_limit_error", "This request would exceed your rate limit", RateLimited),
            (
                "rate_limit_error",
                "You have reached your specified API usage limits.",
                QuotaExhausted,
            ),
            ("billing_error", "", QuotaExhausted),
            ("authentication_error", "invalid x-api-key", Authentication),
            ("permission_error", "", Permission),
            ("not_found_error", "model: x", NotFound),
            ("request_too_large", "", InvalidRequest),
            ("invalid_request_error", "messages: must not be empty", InvalidRequest),
            ("invalid_request_error", "Your credit balance is too low to access", QuotaExhausted),
            ("invalid_request_error", "prompt is too long: 9 tokens > 8 maximum", ContextLength),
            ("brand_new_error", "", Unknown),
        ] {
            let body = format!(
                r#"{{"type": "error", "error": {{"type": "{type}", "message": "{message}"}}}}"#
            );
            let error = ApiError::parse(body.as_bytes()).expect("an error body");
            assert_eq!((error.kind(), error.code()), (expected, Some(r#type)), "{body}");
        }
    }

    #[test]
    fn an_event_without_a_name_is_known_by_its_data() {
        let unnamed = |data| stream_part(&event("message", data));
        assert_eq!(unnamed(r#"{"type": "message_stop"}"#), StreamPart::End);
        assert_eq!(unnamed(r#"{"type": "ping"}"#), StreamPart::Item);
        assert_eq!(unnamed("message_stop"), StreamPart::Item);
        let broken = r#"{"type": "error", "error": {"type": "overloaded_error"}}"#;
        let StreamPart::Error(error) = unnamed(broken) else { panic!("no error") };
        assert_eq!(error.kind(), ApiErrorKind::Overloaded);
        // A name goes before what the data say.
        let named = event("ping", r#"{"type": "message_stop"}"#);
        assert_eq!(stream_part(&named), StreamPart::Item);
    }

    #[test]
    fn a_stream_ends_with_message_stop_or_an_error() {
        assert_eq!(stream_part(&event("message_stop", "{}")), StreamPart::End);
        for name in ["message_start", "ping", "content_block_delta", "message_delta", "message"] {
            assert_eq!(stream_part(&event(name, r#"{"type": "x"}"#)), StreamPart::Item, "{name}");
        }
        let StreamPart::Error(error) = stream_part(&event("error", "it broke")) else {
            panic!("no error");
        };
        assert_eq!((error.kind(), error.message()), (ApiErrorKind::Unknown, "it broke"));
    }
}
