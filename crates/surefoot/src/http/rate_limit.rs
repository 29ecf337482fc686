//! What answers say about rate limits.

mod reset;
mod structured;
mod vendor;

use std::time::{Duration, SystemTime};

use ::http::StatusCode;
use ::http::header::{HeaderMap, HeaderName};
use surefoot_core::rate_limiter::{ServerBudget, ServerLimits};
use surefoot_core::{Name, Verdict};

use super::headers::{sent_at, values};
use super::{ApiError, ApiErrorKind, HttpClassifier};
use structured::Item;
use vendor::Family;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What an answer says about the limits of its server: what is left of each, and the wait it asks
/// for. A rate limiter [learns](surefoot_core::RateLimiter::learn) from it. `body` is `None` where
/// it was not read.
///
/// | from | what is read | when it is back |
/// |---|---|---|
/// | OpenAI, and who speaks like it | `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, also `tokens_usage_based` and `project-tokens`, which count tokens | `6m0s`: all of it |
/// | Azure | the same, and `x-rate-limit-reset-tokens` | whole seconds: all of it |
/// | Anthropic | `anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining,reset}`, `anthropic-priority-…` | RFC 3339: all of it |
/// | Anthropic's plans | `anthropic-ratelimit-unified-{status,reset}`; `rejected` means nothing is left | seconds since 1970 |
/// | GitHub, Kong, the IETF's early drafts | `x-ratelimit-…` or `ratelimit-…` without a unit, or with `minute`, `hour`, `day` | seconds, also since 1970 |
/// | IETF draft 10 | `RateLimit` (`r`, `t`) with `RateLimit-Policy` (`q`, `w`, `qu`) | `t`: something |
/// | Google | `RetryInfo` and quotas per day, in the body | |
///
/// Units are called `requests`, `tokens`, `input_tokens`, `output_tokens`, and by the header's own
/// words where there are others.
///
/// **The wait** and whether the call was throttled are what [`classify`](super::classify) finds;
/// a 503 or 529 is about the provider, not about this key, and throttles nobody. **A spent quota**
/// (`insufficient_quota`, a spend limit, a quota per day, 402) is told apart, because no wait
/// helps.
///
/// **Ignored**: what is malformed (a structured field as a whole, as RFC 9651 wants it); negative
/// numbers; a limit of 0 or −1, which Azure sends where it does not know; in an answer that is not
/// throttled a budget of nothing that does not say when there is more.
///
/// ```
/// use std::time::Duration;
/// use http::{HeaderMap, StatusCode};
/// use surefoot::http::server_limits;
///
/// let mut headers = HeaderMap::new();
/// headers.insert("x-ratelimit-limit-tokens", "30000".parse()?);
/// headers.insert("x-ratelimit-remaining-tokens", "12000".parse()?);
/// headers.insert("x-ratelimit-reset-tokens", "36s".parse()?);
/// let said = server_limits(StatusCode::OK, &headers, None);
/// let tokens = &said.budgets[0];
/// assert_eq!((tokens.unit.as_str(), tokens.remaining), ("tokens", Some(12_000)));
/// assert_eq!(tokens.reset_after, Some(Duration::from_secs(36)));
/// assert_eq!(said.pause("tokens"), None);
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
pub fn server_limits(status: StatusCode, headers: &HeaderMap, body: Option<&[u8]>) -> ServerLimits {
    let now = || sent_at(headers).unwrap_or_else(SystemTime::now);
    let budgets = vendor::budgets(headers, now).map(|(_, budget)| budget).chain(standard(headers));
    let mut budgets: Vec<_> = budgets.collect();
    if status.as_u16() < 400 {
        forget_unfounded(&mut budgets);
        return ServerLimits { budgets, ..ServerLimits::default() };
    }
    let judged = HttpClassifier::new().classify(status, headers, body);
    let throttled = matches!(judged.verdict, Verdict::Throttled { .. });
    let kind = body.and_then(ApiError::parse).map(|error| error.kind());
    let quota_spent = match kind {
        Some(kind) if !kind.is_vague() => kind == ApiErrorKind::QuotaExhausted,
        _ => status == StatusCode::PAYMENT_REQUIRED,
    };
    if !throttled {
        forget_unfounded(&mut budgets);
    }
    ServerLimits { budgets, throttled, retry_after: judged.retry_after, quota_spent }
}

/// A call went through, and yet nothing is left, no one knows until when.
fn forget_unfounded(budgets: &mut Vec<ServerBudget>) {
    budgets.retain(|budget| !budget.is_spent() || budget.reset_after.is_some());
}

/// The wait until the last of the spent limits comes back, where no `Retry-After` says it.
///
/// Anthropic's resets are left out: they tell when *everything* is back, which is far longer than
/// a call has to wait, and it says `Retry-After`.
pub(super) fn wait(headers: &HeaderMap, now: impl Fn() -> SystemTime) -> Option<Duration> {
    let budgets = vendor::budgets(headers, now);
    let budgets = budgets.filter(|(family, _)| *family != Family::Anthropic);
    let spent = budgets.map(|(_, budget)| budget).chain(standard(headers));
    spent.filter(ServerBudget::is_spent).filter_map(|budget| budget.reset_after).max()
}

/// What `RateLimit` and `RateLimit-Policy` say.
fn standard(headers: &HeaderMap) -> Vec<ServerBudget> {
    let field = |name: &HeaderName| {
        let lines: Vec<_> = values(headers, name).filter(|line| !line.is_empty()).collect();
        structured::list(&lines.join(", ")).unwrap_or_default()
    };
    if !headers.contains_key(&RATE_LIMIT) {
        return vec![];
    }
    let policies = field(&RATE_LIMIT_POLICY);
    let budget = |limit: &Item| {
        let policy = policies.iter().find(|policy| policy.name == limit.name);
        let count = |key: &str| policy.and_then(|policy| policy.count(key));
        let unit = policy.and_then(|policy| policy.text("qu"));
        let unit = unit.filter(|unit| !unit.is_empty() && *unit != "requests");
        let unit = unit.map_or(Name::from("requests"), |unit| Name::from(unit.replace('-', "_")));
        Some(ServerBudget {
            limit: count("q").filter(|quota| *quota > 0),
            window: count("w").filter(|w| *w > 0).map(Duration::from_secs),
            remaining: Some(limit.count("r")?),
            reset_after: limit.count("t").map(Duration::from_secs),
            ..ServerBudget::of(unit)
        })
    };
    field(&RATE_LIMIT).iter().filter_map(budget).collect()
}

#[cfg(test)]
mod tests;
