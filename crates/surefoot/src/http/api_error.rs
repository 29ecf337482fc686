//! Error bodies of APIs, OpenAI's, Anthropic's and Google's above all, in one form.

use std::fmt;
use std::time::Duration;

use serde_json::Value;
use surefoot_core::Classification;

use super::{anthropic, google, openai};

/// Longer bodies are not read: an error is told in less.
const BODY_MAX: usize = 256 * 1024;
/// What is kept of a message, in bytes.
const MESSAGE_MAX: usize = 2 * 1024;

/// The error that a body tells of: what kind, in which words, and the wait it asks for.
///
/// Read from the shapes of OpenAI (`{"error": {"type", "code", "message"}}`; so do Azure and the
/// many that are compatible), Anthropic (`{"type": "error", "error": {"type", "message"}}`) and
/// Google (`{"error": {"status", "message", "details"}}`, or a list of such). All three read alike,
/// and each one's words are known wherever they stand, since gateways translate shapes and leave
/// words alone.
///
/// ```
/// use surefoot::Classification;
/// use surefoot::http::{ApiError, ApiErrorKind};
///
/// let body = br#"{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}"#;
/// let error = ApiError::parse(body).ok_or("an error body")?;
/// assert_eq!(error.kind(), ApiErrorKind::Overloaded);
/// assert_eq!(error.classification(), Classification::TRANSIENT);
/// assert_eq!(error.to_string(), "the provider is overloaded: Overloaded (overloaded_error)");
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    kind: ApiErrorKind,
    code: Option<String>,
    message: String,
    retry_after: Option<Duration>,
}

/// What went wrong, whatever the provider calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ApiErrorKind {
    /// The provider has no room for anyone: `overloaded_error`, `server_is_overloaded`,
    /// `UNAVAILABLE`.
    Overloaded,
    /// The provider failed: `server_error`, `api_error`, `INTERNAL`.
    Server,
    /// The provider took too long: `timeout_error`, `DEADLINE_EXCEEDED`.
    Timeout,
    /// This key calls too often for now: `rate_limit_exceeded`, `rate_limit_error`,
    /// `RESOURCE_EXHAUSTED`.
    RateLimited,
    /// This key has spent what it may, until someone pays or the day ends: `insufficient_quota`,
    /// `billing_error`, a quota per day.
    QuotaExhausted,
    /// More than the model can read; one that reads more could answer:
    /// `context_length_exceeded`.
    ContextLength,
    /// The answer is refused: `content_filter`, `content_policy_violation`.
    ContentPolicy,
    /// The key is not accepted: `invalid_api_key`, `authentication_error`.
    Authentication,
    /// The key may not do this: `permission_error`, `PERMISSION_DENIED`.
    Permission,
    /// There is no such model or thing: `model_not_found`, `not_found_error`.
    NotFound,
    /// The request cannot be served as it is: `invalid_request_error`, `request_too_large`.
    InvalidRequest,
    /// None of the words known here.
    Unknown,
}

impl ApiErrorKind {
    /// Whether the words say so little that a status knows better: `invalid_request_error` comes
    /// with 429 and 5xx too.
    pub(super) const fn is_vague(self) -> bool {
        matches!(self, Self::InvalidRequest | Self::Server | Self::Unknown)
    }

    /// What it means on its own, without a status.
    pub(super) const fn classification(self, wait: Option<Duration>) -> Classification {
        match self {
            Self::Overloaded | Self::Server | Self::Timeout | Self::Unknown => {
                Classification::TRANSIENT.with_retry_after(wait)
            }
            Self::RateLimited => Classification::throttled(wait),
            Self::QuotaExhausted
            | Self::ContextLength
            | Self::ContentPolicy
            | Self::Authentication
            | Self::Permission
            | Self::NotFound
            | Self::InvalidRequest => Classification::PERMANENT,
        }
    }

    const fn sentence(self) -> &'static str {
        match self {
            Self::Overloaded => "the provider is overloaded",
            Self::Server => "the provider failed",
            Self::Timeout => "the provider took too long",
            Self::RateLimited => "the rate limit is reached",
            Self::QuotaExhausted => "the quota is spent",
            Self::ContextLength => "the request is longer than the model can read",
            Self::ContentPolicy => "the provider refuses the content",
            Self::Authentication => "the key is not accepted",
            Self::Permission => "the key may not do this",
            Self::NotFound => "there is no such model or resource",
            Self::InvalidRequest => "the request is invalid",
            Self::Unknown => "the provider answered with an error",
        }
    }
}

impl ApiError {
    /// Reads a body. `None` if it is not JSON, longer than 256 KiB, or tells of no error.
    pub fn parse(body: &[u8]) -> Option<Self> {
        if body.len() > BODY_MAX {
            return None;
        }
        Self::from_json(&serde_json::from_slice(body).ok()?)
    }

    /// The same from JSON that is read already.
    pub(super) fn from_json(json: &Value) -> Option<Self> {
        let json = match json {
            Value::Array(errors) => errors.first()?,
            json => json,
        };
        match json.get("error") {
            // `{"error": "no such model"}`, as Ollama and OAuth have it.
            Some(Value::String(text)) if !text.is_empty() => {
                Some(Self::from_fields(&Value::Null, Some(text)))
            }
            Some(error @ Value::Object(_)) => Some(Self::from_fields(error, None)),
            // OpenAI's `error` event in a stream has no inner object.
            _ if json.get("type").is_some_and(|kind| kind == "error") => {
                Some(Self::from_fields(json, None))
            }
            _ => None,
        }
    }

    /// An error that tells nothing but a text.
    pub(super) fn unknown(message: &str) -> Self {
        Self {
            kind: ApiErrorKind::Unknown,
            code: None,
            message: shortened(message),
            retry_after: None,
        }
    }

    fn from_fields(error: &Value, message: Option<&str>) -> Self {
        let text = |field: &str| error.get(field).and_then(Value::as_str);
        let message = message.or_else(|| text("message")).unwrap_or_default();
        // From the most to the least specific.
        let words = [text("code"), text("type"), text("status")].into_iter().flatten();
        let mut known: Vec<_> = words.filter_map(|word| Some((word, kind_of(word)?))).collect();
        known.sort_by_key(|(_, kind)| kind.is_vague());
        let (word, mut kind) = match known.first() {
            Some((word, kind)) => (Some(*word), *kind),
            None => (None, ApiErrorKind::Unknown),
        };
        if kind.is_vague() || kind == ApiErrorKind::RateLimited {
            kind = kind_of_message(message).unwrap_or(kind);
        }
        let details = google::Details::read(error);
        if details.quota_is_daily {
            kind = ApiErrorKind::QuotaExhausted;
        }
        let told = || match kind {
            ApiErrorKind::RateLimited => openai::wait_in_message(message),
            _ => None,
        };
        let number = || error.get("code").and_then(Value::as_i64).map(|code| code.to_string());
        let code = word.or_else(|| text("code")).or_else(|| text("type")).map(shortened);
        Self {
            kind,
            code: code.or_else(number),
            message: shortened(message),
            retry_after: details.retry_delay.or_else(told),
        }
    }

    /// What went wrong.
    pub fn kind(&self) -> ApiErrorKind {
        self.kind
    }

    /// The provider's word for it (`insufficient_quota`, `overloaded_error`, …), the one that
    /// decided the kind where there are several.
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// The provider's message, at most 2 KiB of it; empty if there is none.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The wait that the body asks for: Google's `retryDelay`, or OpenAI's "try again in 6m0s".
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// What the error means where no status tells more: in the midst of a stream.
    ///
    /// Overloaded, server, timeout and unknown errors are transient failures; a rate limit
    /// throttles; all else is permanent, and says nothing about the provider's health.
    pub fn classification(&self) -> Classification {
        self.kind.classification(self.retry_after)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.sentence())?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        match &self.code {
            Some(code) => write!(f, " ({code})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ApiError {}

fn kind_of(word: &str) -> Option<ApiErrorKind> {
    openai::kind(word).or_else(|| anthropic::kind(word)).or_else(|| google::kind(word))
}

/// Some causes are told in the message only.
fn kind_of_message(message: &str) -> Option<ApiErrorKind> {
    openai::kind_of_message(message).or_else(|| anthropic::kind_of_message(message))
}

fn shortened(text: &str) -> String {
    let fits = (0..=MESSAGE_MAX.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    text[..fits.unwrap_or(0)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_tells_of_no_error_is_none() {
        let long = format!(r#"{{"error": {{"message": "{}"}}}}"#, "x".repeat(BODY_MAX));
        for body in [
            "",
            "<html>502 Bad Gateway</html>",
            "null",
            "[]",
            "{}",
            "3",
            "[[]]",
            r#""error""#,
            r#"{"error": null}"#,
            r#"{"error": ""}"#,
            r#"{"error": false}"#,
            "{\"error\": {",
            r#"{"type": "message"}"#,
            "\u{feff}{}",
            &long,
        ] {
            assert_eq!(ApiError::parse(body.as_bytes()), None, "{}", shortened(body));
        }
    }

    #[test]
    fn a_body_is_read_up_to_256_kib() {
        let error = r#"{"error": "no such model"}"#;
        let body = format!("{error}{}", " ".repeat(262_144 - error.len()));
        assert!(ApiError::parse(body.as_bytes()).is_some());
        assert_eq!(ApiError::parse(format!("{body} ").as_bytes()), None);
    }

    #[test]
    fn fields_of_other_types_are_left_out() {
        let body = br#"{"error": {"type": 7, "code": 400, "message": ["a"], "details": {"b": 1}}}"#;
        let error = ApiError::parse(body).expect("an error");
        assert_eq!(error.kind(), ApiErrorKind::Unknown);
        assert_eq!((error.code(), error.message()), (Some("400"), ""));
        assert_eq!(error.to_string(), "the provider answered with an error (400)");
    }

    #[test]
    fn a_text_alone_is_an_unknown_error() {
        let error = ApiError::parse(br#"{"error": "model 'x' not found"}"#).expect("an error");
        assert_eq!(error, ApiError::unknown("model 'x' not found"));
        assert_eq!(error.classification(), Classification::TRANSIENT);
    }

    #[test]
    fn a_specific_word_counts_more_than_a_vague_one_wherever_it_stands() {
        for body in [
            r#"{"error": {"type": "invalid_request_error", "code": "invalid_api_key"}}"#,
            r#"{"error": {"type": "invalid_api_key", "code": "invalid_request_error"}}"#,
            r#"{"error": {"code": 400, "status": "UNAUTHENTICATED", "type": "server_error"}}"#,
        ] {
            let error = ApiError::parse(body.as_bytes()).expect("an error");
            assert_eq!(error.kind(), ApiErrorKind::Authentication, "{body}");
        }
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let body = format!(r#"{{"error": {{"message": "x{}"}}}}"#, "é".repeat(MESSAGE_MAX));
        let error = ApiError::parse(body.as_bytes()).expect("an error");
        assert_eq!(error.message().len(), MESSAGE_MAX - 1);
    }
}
