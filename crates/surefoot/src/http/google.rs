//! Google's words: `google.rpc.Status` as JSON, with its waits and quotas.

use std::time::Duration;

use serde_json::Value;

use super::{ApiErrorKind, duration_text};

/// The kind of error that a `status` stands for.
pub(super) fn kind(word: &str) -> Option<ApiErrorKind> {
    Some(match word {
        "UNAVAILABLE" => ApiErrorKind::Overloaded,
        "INTERNAL" | "UNKNOWN" | "DATA_LOSS" => ApiErrorKind::Server,
        "DEADLINE_EXCEEDED" => ApiErrorKind::Timeout,
        "RESOURCE_EXHAUSTED" => ApiErrorKind::RateLimited,
        "UNAUTHENTICATED" => ApiErrorKind::Authentication,
        "PERMISSION_DENIED" => ApiErrorKind::Permission,
        "NOT_FOUND" => ApiErrorKind::NotFound,
        "INVALID_ARGUMENT"
        | "FAILED_PRECONDITION"
        | "OUT_OF_RANGE"
        | "ALREADY_EXISTS"
        | "UNIMPLEMENTED" => ApiErrorKind::InvalidRequest,
        _ => return None,
    })
}

/// What the `details` of an error say about waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Details {
    /// `RetryInfo.retryDelay`.
    pub(super) retry_delay: Option<Duration>,
    /// A violated quota per day: Gemini gives a `retryDelay` of seconds with it, which cannot be
    /// enough.
    pub(super) quota_is_daily: bool,
}

impl Details {
    pub(super) fn read(error: &Value) -> Self {
        let mut read = Self::default();
        for detail in error.get("details").and_then(Value::as_array).into_iter().flatten() {
            let delay = detail.get("retryDelay").and_then(Value::as_str);
            read.retry_delay = read.retry_delay.max(delay.and_then(duration_text::parse));
            let violations = detail.get("violations").and_then(Value::as_array);
            let daily = |violation: &Value| {
                let quota = violation.get("quotaId").and_then(Value::as_str);
                quota.is_some_and(|quota| quota.contains("PerDay"))
            };
            read.quota_is_daily |= violations.is_some_and(|list| list.iter().any(daily));
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::super::ApiError;
    use super::*;

    const RETRY_INFO: &str =
        r#"{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}"#;

    fn exhausted(details: &str) -> ApiError {
        let error = format!(
            r#"{{"error": {{"code": 429, "status": "RESOURCE_EXHAUSTED", "details": {details}}}}}"#
        );
        let list = format!("[{error}]");
        let read = ApiError::parse(error.as_bytes()).expect("an error body");
        assert_eq!(ApiError::parse(list.as_bytes()).as_ref(), Some(&read), "the same in a list");
        read
    }

    #[test]
    fn the_retry_delay_is_the_wait() {
        let quota = r#"{"violations": [{"quotaId": "GenerateRequestsPerMinutePerProject"}]}"#;
        let error = exhausted(&format!("[{quota}, {RETRY_INFO}]"));
        assert_eq!(error.kind(), ApiErrorKind::RateLimited);
        assert_eq!(error.retry_after(), Some(Duration::from_millis(34_500)));
        assert_eq!(error.code(), Some("RESOURCE_EXHAUSTED"));
    }

    #[test]
    fn a_quota_per_day_is_spent_whatever_the_delay_says() {
        let quota = r#"{"violations": [{}, {"quotaId": "GenerateRequestsPerDayPerProject"}]}"#;
        assert_eq!(
            exhausted(&format!("[{RETRY_INFO}, {quota}]")).kind(),
            ApiErrorKind::QuotaExhausted
        );
    }

    #[test]
    fn details_of_other_shapes_say_nothing() {
        for details in
            ["[]", "{}", "3", "[1]", r#"[{"retryDelay": 5}]"#, r#"[{"retryDelay": "-5s"}]"#]
        {
            let error = exhausted(details);
            assert_eq!(
                (error.kind(), error.retry_after()),
                (ApiErrorKind::RateLimited, None),
                "{details}"
            );
        }
    }

    #[test]
    fn statuses_have_their_kinds() {
        for (status, kind) in [
            ("UNAVAILABLE", ApiErrorKind::Overloaded),
            ("INTERNAL", ApiErrorKind::Server),
            ("DEADLINE_EXCEEDED", ApiErrorKind::Timeout),
            ("UNAUTHENTICATED", ApiErrorKind::Authentication),
            ("PERMISSION_DENIED", ApiErrorKind::Permission),
            ("NOT_FOUND", ApiErrorKind::NotFound),
            ("INVALID_ARGUMENT", ApiErrorKind::InvalidRequest),
            ("ABORTED", ApiErrorKind::Unknown),
        ] {
            let body = format!(r#"{{"error": {{"code": 400, "status": "{status}"}}}}"#);
            let error = ApiError::parse(body.as_bytes()).expect("an error body");
            assert_eq!(error.kind(), kind, "{status}");
        }
    }
}
