//! The headers of providers: a limit, what remains and when it is back, each in a header of its own.

use std::time::SystemTime;

use ::http::header::HeaderMap;
use surefoot_core::Name;
use surefoot_core::rate_limiter::ServerBudget;

use super::reset;

/// Whose names for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// `x-ratelimit-remaining-tokens`; without a last word GitHub's, and the early drafts'.
    Suffixed,
    /// `anthropic-ratelimit-tokens-remaining`.
    Anthropic,
    /// `anthropic-ratelimit-unified-status`, of plans.
    AnthropicPlan,
}

/// One limit as its headers have it.
struct Texts<'a> {
    family: Family,
    unit: &'a str,
    limit: Option<&'a str>,
    remaining: Option<&'a str>,
    reset: Option<&'a str>,
    status: Option<&'a str>,
}

const SUFFIXED: [&str; 3] = ["x-ratelimit-", "x-rate-limit-", "ratelimit-"];
const FIELDS: [&str; 4] = ["limit", "remaining", "reset", "status"];

/// The family, the unit's words and the field of a header's name.
fn parts(name: &str) -> Option<(Family, &str, &str)> {
    if let Some(rest) = name.strip_prefix("anthropic-") {
        let rest = rest.strip_prefix("ratelimit-").unwrap_or(rest); // or `priority-`
        let (unit, field) = rest.rsplit_once('-')?;
        let plan = unit == "unified";
        let family = if plan { Family::AnthropicPlan } else { Family::Anthropic };
        return Some((family, unit, field));
    }
    let rest = SUFFIXED.iter().find_map(|prefix| name.strip_prefix(prefix))?;
    let (field, unit) = rest.split_once('-').unwrap_or((rest, ""));
    Some((Family::Suffixed, unit, field))
}

/// Every limit of which the headers tell anything, in their order.
pub(super) fn budgets(
    headers: &HeaderMap,
    now: impl Fn() -> SystemTime,
) -> impl Iterator<Item = (Family, ServerBudget)> {
    let mut read: Vec<Texts<'_>> = vec![];
    for name in headers.keys() {
        let Some((family, unit, field)) = parts(name.as_str()) else { continue };
        let value = headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let (Some(value), true) = (value, FIELDS.contains(&field)) else { continue };
        let known = read.iter().position(|one| one.family == family && one.unit == unit);
        let at = known.unwrap_or_else(|| {
            let (limit, remaining, reset, status) = (None, None, None, None);
            read.push(Texts { family, unit, limit, remaining, reset, status });
            read.len() - 1
        });
        let texts = &mut read[at];
        let place = match field {
            "limit" => &mut texts.limit,
            "remaining" => &mut texts.remaining,
            "reset" => &mut texts.reset,
            _ => &mut texts.status,
        };
        place.get_or_insert(value);
    }
    read.into_iter().filter_map(move |texts| Some((texts.family, texts.budget(&now)?)))
}

impl Texts<'_> {
    /// `None` if nothing can be known from them: a limit of 0 or −1 is that of a server that does
    /// not know its own.
    fn budget(&self, now: impl Fn() -> SystemTime) -> Option<ServerBudget> {
        let number = |text: Option<&str>| text?.parse::<u64>().ok();
        let limit = number(self.limit);
        if self.limit.is_some() && limit.is_none_or(|limit| limit == 0) {
            return None;
        }
        let (unit, window) = unit(self.unit);
        let rejected = self.status.is_some_and(|status| status == "rejected").then_some(0);
        let budget = ServerBudget {
            limit,
            window,
            remaining: number(self.remaining).or(rejected),
            reset_after: self.reset.and_then(|text| reset::wait(text, now)),
            reset_is_full: match self.family {
                Family::Suffixed => !self.unit.is_empty() && window.is_none(),
                Family::Anthropic => true,
                Family::AnthropicPlan => false,
            },
            ..ServerBudget::of(unit)
        };
        let tells = budget.limit.or(budget.remaining).is_some() || budget.reset_after.is_some();
        tells.then_some(budget)
    }
}

/// The unit that a header's words name, and the window, where they name one.
fn unit(words: &str) -> (Name, Option<std::time::Duration>) {
    use std::time::Duration;
    const WINDOWS: [(&str, u64); 4] =
        [("second", 1), ("minute", 60), ("hour", 3600), ("day", 86_400)];
    let (words, window) = WINDOWS
        .iter()
        .find_map(|(name, seconds)| {
            let rest = words.strip_suffix(name)?;
            let rest = if rest.is_empty() { rest } else { rest.strip_suffix('-')? };
            Some((rest, Some(Duration::from_secs(*seconds))))
        })
        .unwrap_or((words, None));
    let words = words.strip_prefix("project-").unwrap_or(words);
    let words = words.strip_suffix("_usage_based").unwrap_or(words);
    let unit = match words {
        "" | "requests" => Name::from("requests"),
        "tokens" => Name::from("tokens"),
        "input-tokens" => Name::from("input_tokens"),
        "output-tokens" => Name::from("output_tokens"),
        other => Name::from(other.replace('-', "_")),
    };
    (unit, window)
}
