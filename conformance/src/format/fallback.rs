//! Cases of the fallback.

use std::time::Duration;

use surefoot_core::Timestamp;

use super::fields::{Fields, Problem, Value};
use super::hedge::Ended;
use super::retry::{Outcome, OutcomeKind, RetryRules};
use super::{Need, Refusal, expectations};

#[derive(Clone, Debug)]
pub(crate) struct FallbackCase {
    /// The links' names, in order.
    pub(crate) links: Vec<String>,
    /// How long a kept answer is good for, if answers are kept.
    pub(crate) last_good: Option<Duration>,
    /// Which errors trying again cannot mend.
    pub(crate) rules: RetryRules,
    pub(crate) refusal: Refusal,
    pub(crate) steps: Vec<FallbackStep>,
}

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct FallbackStep {
    pub(crate) at: Timestamp,
    /// What it asks for: under which key its answer is kept.
    pub(crate) key: String,
    /// What the links give, in order. One that has no outcome must not be called.
    pub(crate) outcomes: Vec<Outcome>,
    /// When the caller drops the call, since it began.
    pub(crate) cancel: Option<Duration>,
    /// Any of these has to hold.
    pub(crate) accepted: Vec<FallbackExpectation>,
}

/// What a call has to have come to; what is absent is not checked. Times are in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FallbackExpectation {
    pub(crate) outcome: Option<Ended>,
    /// The link that answered, or that failed last.
    pub(crate) link: Option<String>,
    /// The links that failed, in order, each with what it gave.
    pub(crate) failures: Option<Vec<(String, OutcomeKind)>>,
    /// Of a kept answer.
    pub(crate) age: Option<u128>,
    pub(crate) elapsed: Option<u128>,
}

/// The most links of a case.
const LINKS_MOST: usize = 3;

impl FallbackCase {
    pub(super) fn take(fields: &mut Fields<'_>) -> Result<Self, Problem> {
        let config = fields.require("config")?;
        let mut options = config.fields()?;
        let links = options.require("links")?;
        let names = links.texts()?;
        if !(2..=LINKS_MOST).contains(&names.len()) {
            return Err(links.problem(format_args!("must be two to {LINKS_MOST} names")));
        }
        let last_good = options.read("last_good", Value::seconds)?;
        let permanent = options.read("permanent", Value::texts)?.unwrap_or_default();
        options.finish()?;
        let refusal = Refusal::take(fields)?;
        let steps = match fields.take("steps") {
            Some(steps) => {
                let read = |step: &Value<'_>| FallbackStep::read(step, names.len());
                steps.list()?.iter().map(read).collect::<Result<_, _>>()?
            }
            None if refusal.required => Vec::new(),
            None => return Err(fields.missing("steps")),
        };
        let rules = RetryRules { permanent, ..RetryRules::default() };
        Ok(Self { links: names, last_good, rules, refusal, steps })
    }

    pub(super) fn needs(&self) -> Vec<Need> {
        let mut needs = vec![Need::Chain];
        needs.extend((self.links.len() > 2).then_some(Need::ManyLinks));
        needs.extend(self.last_good.map(|_| Need::LastGood));
        needs
            .extend(self.steps.iter().any(|step| step.cancel.is_some()).then_some(Need::Interrupt));
        needs
    }
}

impl FallbackStep {
    fn read(value: &Value<'_>, links: usize) -> Result<Self, Problem> {
        let mut fields = value.fields()?;
        let at = fields.require("at")?.timestamp()?;
        let outcomes = fields.require("outcomes")?;
        let read = outcomes.list()?.iter().map(Outcome::read).collect::<Result<Vec<_>, _>>()?;
        if read.len() > links {
            return Err(outcomes.problem(format_args!("must be one for each of {links} links")));
        }
        let key = fields.read("key", |key| key.text().map(str::to_owned))?;
        let cancel = fields.read("cancel", Value::seconds)?;
        let accepted = expectations(&mut fields, FallbackExpectation::read)?;
        fields.finish()?;
        Ok(Self { at, key: key.unwrap_or_default(), outcomes: read, cancel, accepted })
    }
}

impl FallbackExpectation {
    fn read(value: &Value<'_>) -> Result<Self, Problem> {
        let mut fields = value.fields()?;
        let failure = |value: &Value<'_>| match value.list()?.as_slice() {
            [link, outcome] => Ok((link.text()?.to_owned(), OutcomeKind::read(outcome)?)),
            _ => Err(value.problem("must be [link, outcome]")),
        };
        let expectation = Self {
            outcome: fields.read("outcome", Ended::read)?,
            link: fields.read("link", |link| link.text().map(str::to_owned))?,
            failures: fields.read("failures", |list| list.list()?.iter().map(failure).collect())?,
            age: fields.read("age", Value::expected_nanos)?,
            elapsed: fields.read("elapsed", Value::expected_nanos)?,
        };
        fields.finish()?;
        Ok(expectation)
    }
}
