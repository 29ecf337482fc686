//! How many tokens an answer says it used, to settle what was reserved for it.

use std::hash::{BuildHasher, Hash};

use serde_json::Value;
use surefoot_core::rate_limiter::multi::LimitsCharge;

use super::sse::SseEvent;

/// Longer bodies are not read.
const BODY_MAX: usize = 8 * 1024 * 1024;

/// The tokens that a call of a model used, as far as they count towards rate limits.
///
/// ```
/// use surefoot::http::Usage;
///
/// let answer = br#"{"usage": {"prompt_tokens": 120, "completion_tokens": 30, "total_tokens": 150}}"#;
/// let used = Usage::parse(answer).ok_or("no usage")?;
/// assert_eq!((used.input_tokens, used.output_tokens, used.total()), (120, 30, 150));
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the input that count: with OpenAI and Gemini all of them; with Anthropic those
    /// that were not read from its cache, those written to it included.
    pub input_tokens: u64,
    /// Tokens of the output, reasoning included.
    pub output_tokens: u64,
    /// Tokens of the input that came from a cache.
    pub cached_tokens: u64,
}

impl Usage {
    /// Reads the body of an answer: OpenAI's chat completions, responses and embeddings (and of
    /// those who speak like it), Anthropic's messages, Gemini's content, also as a list of parts.
    ///
    /// `None` if it is not JSON, longer than 8 MiB, or says nothing about usage.
    pub fn parse(body: &[u8]) -> Option<Self> {
        if body.len() > BODY_MAX {
            return None;
        }
        Self::from_json(&serde_json::from_slice(body).ok()?)
    }

    /// Reads an event of a stream. [`merge`](Self::merge) what the events of one stream say: some
    /// providers tell the input first and the output last.
    pub fn of_event(event: &SseEvent) -> Option<Self> {
        // Most events are text: they are read as JSON only if they may say it.
        if !event.data().contains("\"usage") {
            return None;
        }
        Self::from_json(&serde_json::from_str(event.data()).ok()?)
    }

    /// Both together, of one answer: counts in a stream only grow, so the larger of each.
    pub fn merge(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.max(other.input_tokens),
            output_tokens: self.output_tokens.max(other.output_tokens),
            cached_tokens: self.cached_tokens.max(other.cached_tokens),
        }
    }

    /// Input and output tokens together, as a limit on `tokens` counts them.
    pub fn total(self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// By the names of [`server_limits`](super::server_limits): `tokens`, `input_tokens` and
    /// `output_tokens`.
    pub fn amounts(self) -> [(&'static str, u64); 3] {
        [
            ("tokens", self.total()),
            ("input_tokens", self.input_tokens),
            ("output_tokens", self.output_tokens),
        ]
    }

    /// Corrects a charge to what was used, of the units that its limits count.
    pub fn settle<K: Hash + Eq, S: BuildHasher>(self, charge: LimitsCharge<K, S>) {
        let counted = |(unit, _): &(&str, u64)| charge.limits().counts(unit);
        let used: Vec<_> = self.amounts().into_iter().filter(counted).collect();
        // None of them is unknown.
        let _ = charge.settle(&used);
    }

    fn from_json(json: &Value) -> Option<Self> {
        if let Value::Array(parts) = json {
            return parts.iter().filter_map(Self::from_object).reduce(Self::merge);
        }
        Self::from_object(json)
    }

    fn from_object(json: &Value) -> Option<Self> {
        let inner = ["response", "message"].into_iter().find_map(|inner| json.get(inner));
        [Some(json), inner].into_iter().flatten().find_map(|json| {
            let usage = json.get("usage").and_then(Self::from_usage);
            usage.or_else(|| json.get("usageMetadata").and_then(Self::from_usage_metadata))
        })
    }

    /// OpenAI's and Anthropic's.
    fn from_usage(usage: &Value) -> Option<Self> {
        let count = |name: &str| usage.get(name).and_then(Value::as_u64);
        let input = count("prompt_tokens").or_else(|| count("input_tokens"));
        let output = count("completion_tokens").or_else(|| count("output_tokens"));
        let details = ["prompt_tokens_details", "input_tokens_details"];
        let details = details.into_iter().find_map(|name| usage.get(name));
        let cached =
            details.and_then(|details| details.get("cached_tokens")).and_then(Value::as_u64);
        input.or(output)?;
        let written = count("cache_creation_input_tokens").unwrap_or(0);
        Some(Self {
            input_tokens: input.unwrap_or(0).saturating_add(written),
            output_tokens: output.unwrap_or(0),
            cached_tokens: cached.or_else(|| count("cache_read_input_tokens")).unwrap_or(0),
        })
    }

    /// Gemini's.
    fn from_usage_metadata(usage: &Value) -> Option<Self> {
        let count = |name: &str| usage.get(name).and_then(Value::as_u64);
        let input = count("promptTokenCount")?;
        let output = count("candidatesTokenCount").unwrap_or(0);
        Some(Self {
            input_tokens: input.saturating_add(count("toolUsePromptTokenCount").unwrap_or(0)),
            output_tokens: output.saturating_add(count("thoughtsTokenCount").unwrap_or(0)),
            cached_tokens: count("cachedContentTokenCount").unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::sse::tests::event;
    use super::*;

    fn usage(input_tokens: u64, output_tokens: u64, cached_tokens: u64) -> Usage {
        Usage { input_tokens, output_tokens, cached_tokens }
    }

    #[test]
    fn answers_say_what_they_used() {
        for (body, expected) in [
            (
                r#"{"usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13,
                    "prompt_tokens_details": {"cached_tokens": 5}}}"#,
                usage(9, 4, 5),
            ),
            (r#"{"data": [], "usage": {"prompt_tokens": 8, "total_tokens": 8}}"#, usage(8, 0, 0)),
            (
                r#"{"usage": {"input_tokens": 7, "output_tokens": 3,
                    "input_tokens_details": {"cached_tokens": 2}}}"#,
                usage(7, 3, 2),
            ),
            (
                r#"{"type": "message", "usage": {"input_tokens": 20, "output_tokens": 50,
                    "cache_creation_input_tokens": 100, "cache_read_input_tokens": 900}}"#,
                usage(120, 50, 900),
            ),
            (
                r#"{"usageMetadata": {"promptTokenCount": 6, "candidatesTokenCount": 10,
                    "thoughtsTokenCount": 30, "totalTokenCount": 46}}"#,
                usage(6, 40, 0),
            ),
            (
                r#"[{"usageMetadata": {"promptTokenCount": 6}},
                    {"usageMetadata": {"promptTokenCount": 6, "candidatesTokenCount": 2}}]"#,
                usage(6, 2, 0),
            ),
            (
                r#"{"usage": {"prompt_tokens": 18446744073709551615, "completion_tokens": 1}}"#,
                usage(u64::MAX, 1, 0),
            ),
        ] {
            assert_eq!(Usage::parse(body.as_bytes()), Some(expected), "{body}");
        }
        assert_eq!(usage(u64::MAX, 1, 0).total(), u64::MAX);
    }

    #[test]
    fn what_says_nothing_about_usage_is_none() {
        for body in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"usage": null}"#,
            r#"{"usage": 5}"#,
            r#"{"usage": {"total_tokens": 5}}"#,
            r#"{"usage": {"prompt_tokens": -1}}"#,
            r#"{"usage": {"prompt_tokens": 1.5, "completion_tokens": "4"}}"#,
            r#"{"usageMetadata": {"totalTokenCount": 5}}"#,
        ] {
            assert_eq!(Usage::parse(body.as_bytes()), None, "{body}");
        }
        let long = format!(r#"{{"usage": {{"prompt_tokens": 1}}}}{}"#, " ".repeat(BODY_MAX));
        assert_eq!(Usage::parse(long.as_bytes()), None);
    }

    #[test]
    fn the_events_of_a_stream_say_it_together() {
        let events = [
            event(
                "message_start",
                r#"{"message": {"usage": {"input_tokens": 25, "output_tokens": 1}}}"#,
            ),
            event("content_block_delta", r#"{"delta": {"text": "the \"usage\" of"}}"#),
            event("message_delta", r#"{"usage": {"output_tokens": 15}}"#),
        ];
        let told = events.iter().filter_map(Usage::of_event).reduce(Usage::merge);
        assert_eq!(told, Some(usage(25, 15, 0)));

        let completed = r#"{"response": {"usage": {"input_tokens": 3, "output_tokens": 4}}}"#;
        assert_eq!(Usage::of_event(&event("response.completed", completed)), Some(usage(3, 4, 0)));
        let chunk = event("message", r#"{"choices": [], "usage": null}"#);
        assert_eq!(Usage::of_event(&chunk), None);
    }
}
