//! OpenAI's words: errors in bodies and in streams, and how a stream ends.
//!
//! Those who speak its protocol (Azure, vLLM, LiteLLM, OpenRouter, …) mostly use them too.

use std::time::Duration;

use serde_json::Value;

use super::sse::SseEvent;
use super::{ApiError, ApiErrorKind, StreamPart, duration_text};

/// What an event of a stream means, of chat completions as of responses.
///
/// The end is `[DONE]`, `response.completed` or `response.incomplete`; an error is
/// `response.failed`, an `error` event, or an `error` object in a chunk. Everything else is a part
/// of the answer. A stream that ends without an end was cut off, and is a failure.
///
/// ```
/// use surefoot::http::sse::SseParser;
/// use surefoot::http::{ApiErrorKind, StreamPart, openai};
///
/// let mut parser = SseParser::new();
/// let mut chunk: &[u8] = b"data: {\"error\": {\"code\": \"server_error\"}}\n\ndata: [DONE]\n\n";
/// let failed = parser.next_event(&mut chunk)?.ok_or("an event")?;
/// let StreamPart::Error(error) = openai::stream_part(&failed) else { return Err("an error".into()) };
/// assert_eq!(error.kind(), ApiErrorKind::Server);
/// let done = parser.next_event(&mut chunk)?.ok_or("an event")?;
/// assert_eq!(openai::stream_part(&done), StreamPart::End);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn stream_part(event: &SseEvent) -> StreamPart {
    let data = event.data();
    if data.trim() == "[DONE]" {
        return StreamPart::End;
    }
    match event.event() {
        "response.completed" | "response.incomplete" => StreamPart::End,
        "response.failed" | "error" => StreamPart::Error(error(data)),
        // Most parts are text: they are read as JSON only if they may be something else. Some
        // gateways leave out the events' names, which the data repeats as `type`.
        "message" if data.contains("\"error\"") || data.contains("\"response.") => unnamed(data),
        _ => StreamPart::Item,
    }
}

fn unnamed(data: &str) -> StreamPart {
    let Ok(json) = serde_json::from_str::<Value>(data) else { return StreamPart::Item };
    match json.get("type").and_then(Value::as_str) {
        Some("response.completed" | "response.incomplete") => StreamPart::End,
        Some("response.failed") => StreamPart::Error(error(data)),
        _ => ApiError::from_json(&json).map_or(StreamPart::Item, StreamPart::Error),
    }
}

/// The error of an event that is known to tell of one.
fn error(data: &str) -> ApiError {
    let read = || {
        let json: Value = serde_json::from_str(data).ok()?;
        ApiError::from_json(json.get("response").unwrap_or(&json))
    };
    read().unwrap_or_else(|| ApiError::unknown(data))
}

/// The kind of error that a `code` or a `type` stands for.
pub(super) fn kind(word: &str) -> Option<ApiErrorKind> {
    Some(match word {
        "server_is_overloaded"
        | "engine_overloaded"
        | "service_unavailable_error"
        | "service_unavailable" => ApiErrorKind::Overloaded,
        "server_error" | "internal_server_error" | "internal_error" => ApiErrorKind::Server,
        "timeout" | "vector_store_timeout" => ApiErrorKind::Timeout,
        // `slow_down`: the rate rose too fast for the provider to follow.
        "rate_limit_exceeded" | "requests" | "tokens" | "slow_down" | "too_many_requests" => {
            ApiErrorKind::RateLimited
        }
        "insufficient_quota"
        | "billing_hard_limit_reached"
        | "billing_not_active"
        | "credit_balance_exhausted"
        | "organization_spend_limit_exceeded"
        | "organization_usage_limit_exceeded"
        | "project_spend_limit_exceeded"
        | "usage_limit_reached"
        | "usage_not_included" => ApiErrorKind::QuotaExhausted,
        "context_length_exceeded" | "string_above_max_length" => ApiErrorKind::ContextLength,
        "content_filter"
        | "content_policy_violation"
        | "image_content_policy_violation"
        | "moderation_blocked"
        | "invalid_prompt" => ApiErrorKind::ContentPolicy,
        "invalid_api_key" | "account_deactivated" => ApiErrorKind::Authentication,
        "insufficient_permissions" | "ip_not_authorized" | "unsupported_country" => {
            ApiErrorKind::Permission
        }
        "model_not_found" | "DeploymentNotFound" => ApiErrorKind::NotFound,
        "invalid_request_error" => ApiErrorKind::InvalidRequest,
        _ => return None,
    })
}

/// The kind of error for which there is only a message; vLLM's has no code of its own.
pub(super) fn kind_of_message(message: &str) -> Option<ApiErrorKind> {
    message.contains("maximum context length is").then_some(ApiErrorKind::ContextLength)
}

/// The wait in "Please try again in 6m0s.": in a stream there are no headers to say it.
pub(super) fn wait_in_message(message: &str) -> Option<Duration> {
    let (_, rest) = message.split_once("try again in ")?;
    let word = rest.split_whitespace().next()?;
    duration_text::parse(word.trim_end_matches(['.', ',']))
}

#[cfg(test)]
mod tests {
    use super::super::sse::tests::event;
    use super::*;

    fn parse(body: &str) -> ApiError {
        ApiError::parse(body.as_bytes()).expect("an error body")
    }

    #[test]
    fn bodies_have_their_kinds() {
        use ApiErrorKind::{
            Authentication, ContentPolicy, ContextLength, InvalidRequest, NotFound, Overloaded,
            Permission, QuotaExhausted, RateLimited, Server, Timeout,
        };
        for (r#type, code, expected) in [
            ("tokens", "rate_limit_exceeded", RateLimited),
            ("rate_limit_error", "slow_down", RateLimited),
            ("insufficient_quota", "insufficient_quota", QuotaExhausted),
            ("insufficient_quota", "project_spend_limit_exceeded", QuotaExhausted),
            ("invalid_request_error", "billing_hard_limit_reached", QuotaExhausted),
            ("invalid_request_error", "context_length_exceeded", ContextLength),
            ("invalid_request_error", "invalid_api_key", Authentication),
            ("image_generation_user_error", "moderation_blocked", ContentPolicy),
            ("invalid_request_error", "unsupported_country", Permission),
            ("invalid_request_error", "model_not_found", NotFound),
            ("server_error", "server_error", Server),
            ("server_error", "vector_store_timeout", Timeout),
            ("service_unavailable_error", "server_is_overloaded", Overloaded),
            ("invalid_request_error", "unknown_parameter", InvalidRequest),
        ] {
            let body = format!(r#"{{"error": {{"type": "{type}", "code": "{code}"}}}}"#);
            assert_eq!(parse(&body).kind(), expected, "{body}");
        }
        let vllm = r#"{"error": {"message": "This model's maximum context length is 4096 tokens.",
            "type": "BadRequestError", "param": null, "code": 400}}"#;
        assert_eq!(parse(vllm).kind(), ContextLength);
    }

    #[test]
    fn the_wait_may_stand_in_the_message() {
        for (message, wait) in [
            ("Limit 3 / min. Please try again in 20s. Visit …", Some(20_000)),
            ("Please try again in 11.054s.", Some(11_054)),
            ("Please try again in 6m0s.", Some(360_000)),
            ("Please try again in 28ms. Contact us", Some(28)),
            ("Please try again in a while.", None),
            ("Please try again in ", None),
            ("Please try again later.", None),
        ] {
            let body = format!(
                r#"{{"error": {{"code": "rate_limit_exceeded", "message": "{message}"}}}}"#
            );
            assert_eq!(parse(&body).retry_after(), wait.map(Duration::from_millis), "{message}");
        }
        let other = r#"{"error": {"code": "server_error", "message": "try again in 20s"}}"#;
        assert_eq!(parse(other).retry_after(), None);
    }

    #[test]
    fn a_stream_ends_with_its_terminal_event_only() {
        for (name, data, part) in [
            ("message", "[DONE]", StreamPart::End),
            ("message", " [DONE] ", StreamPart::End),
            ("response.completed", "{}", StreamPart::End),
            ("response.incomplete", "{", StreamPart::End),
            ("message", r#"{"type": "response.completed", "response": {}}"#, StreamPart::End),
            ("message", r#"{"choices": [{"delta": {"content": "[DONE]"}}]}"#, StreamPart::Item),
            ("message", r#"{"choices": [{"delta": {"content": "\"error\""}}]}"#, StreamPart::Item),
            ("message", r#"{"choices": [], "error": null}"#, StreamPart::Item),
            ("message", r#"not JSON, "error" or not"#, StreamPart::Item),
            ("response.created", r#"{"response": {"error": null}}"#, StreamPart::Item),
            ("response.output_text.delta", r#"{"delta": "error"}"#, StreamPart::Item),
        ] {
            assert_eq!(stream_part(&event(name, data)), part, "{name}: {data}");
        }
    }

    #[test]
    fn errors_in_a_stream_have_their_kinds() {
        use ApiErrorKind::{ContextLength, Overloaded, RateLimited, Server, Unknown};
        for (name, data, kind) in [
            ("message", r#"{"error": {"type": "server_error"}}"#, Server),
            ("error", r#"{"type": "error", "code": "server_error", "param": null}"#, Server),
            ("error", r#"{"error": {"code": "rate_limit_exceeded"}}"#, RateLimited),
            (
                "response.failed",
                r#"{"response": {"error": {"code": "context_length_exceeded"}}}"#,
                ContextLength,
            ),
            (
                "message",
                r#"{"type": "response.failed", "response": {"error": {"code": "server_is_overloaded"}}}"#,
                Overloaded,
            ),
            ("response.failed", r#"{"response": {"error": null}}"#, Unknown),
            ("error", "it broke", Unknown),
        ] {
            let StreamPart::Error(error) = stream_part(&event(name, data)) else {
                panic!("no error: {name}: {data}");
            };
            assert_eq!(error.kind(), kind, "{name}: {data}");
        }
    }
}
