//! Cases of the budget.

use std::fmt;

use surefoot_core::budget::{Cost, Dimension, Money};

use super::fields::{Fields, Problem, Value};
use super::retry::{Outcome, OutcomeKind};
use super::settings::{Kind, Settings};
use super::{Refusal, expectations};

#[derive(Clone, Debug)]
pub(crate) struct BudgetCase {
    pub(crate) config: Settings,
    pub(crate) refusal: Refusal,
    pub(crate) steps: Vec<BudgetStep>,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) struct BudgetStep {
    /// As the file writes it, for messages.
    pub(crate) title: String,
    /// The budget that it is about.
    pub(crate) budget: String,
    pub(crate) action: BudgetAction,
    /// One of these has to hold; with none, nothing is checked.
    pub(crate) accepted: Vec<BudgetExpectation>,
}

#[derive(Clone, Debug)]
pub(crate) enum BudgetAction {
    /// A child is taken out of the budget, or shares it.
    Open {
        child: String,
        sliced: bool,
        config: Settings,
    },
    Reserve {
        charge: String,
        cost: Cost,
    },
    Settle {
        charge: String,
        used: Cost,
    },
    GiveBack {
        charge: String,
    },
    /// A charge is dropped without a word.
    DropCharge {
        charge: String,
    },
    /// The budget's holder lets go of it.
    DropBudget,
    Record {
        used: Cost,
    },
    Call(BudgetCall),
    Observe,
}

/// A call within the scopes of some budgets.
#[derive(Clone, Debug)]
pub(crate) struct BudgetCall {
    /// Further in than the step's budget, the outermost first.
    pub(crate) within: Vec<String>,
    /// The most attempts of each of the retries around the operation, the outermost first.
    pub(crate) retries: Vec<u32>,
    /// Whether a breaker inside them all refuses the call.
    pub(crate) shut: bool,
    pub(crate) outcomes: Vec<Outcome>,
}

/// What a step has to show; what is absent is not checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct BudgetExpectation {
    pub(crate) granted: Option<bool>,
    pub(crate) refused_by: Option<String>,
    pub(crate) dimension: Option<Dimension>,
    pub(crate) calls: Option<u64>,
    pub(crate) outcome: Option<CallEnd>,
    pub(crate) stop: Option<String>,
    /// What listeners were told in this step.
    pub(crate) told: Option<Vec<BudgetNews>>,
    pub(crate) budgets: Vec<(String, Lines)>,
}

/// How a call under budgets ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallEnd {
    Gave(OutcomeKind),
    /// A budget refused it.
    Refused,
}

/// Amounts in some dimensions; `None` where nothing is limited.
pub(crate) type Amounts = Vec<(Dimension, Option<u64>)>;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Lines {
    pub(crate) spent: Amounts,
    pub(crate) reserved: Amounts,
    pub(crate) remaining: Amounts,
}

/// An event: of which budget and dimension, and whether it is the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BudgetNews {
    pub(crate) budget: String,
    pub(crate) dimension: Dimension,
    pub(crate) exhausted: bool,
}

/// The budget that a case begins with.
pub(crate) const ROOT: &str = "run";

const OPTIONS: &[(&str, Kind)] =
    &[("attempts", Kind::Count), ("tokens", Kind::Count), ("money", Kind::Amount)];

const DIMENSIONS: [(&str, Dimension); 3] =
    [("attempts", Dimension::Attempts), ("tokens", Dimension::Tokens), ("money", Dimension::Money)];

#[derive(Clone, Copy)]
enum Verb {
    Slice,
    Share,
    Reserve,
    Settle,
    GiveBack,
    Drop,
    Record,
    Call,
    Observe,
}

const VERBS: [(&str, Verb); 9] = [
    ("slice", Verb::Slice),
    ("share", Verb::Share),
    ("reserve", Verb::Reserve),
    ("settle", Verb::Settle),
    ("give_back", Verb::GiveBack),
    ("drop", Verb::Drop),
    ("record", Verb::Record),
    ("call", Verb::Call),
    ("observe", Verb::Observe),
];

impl BudgetCase {
    pub(super) fn take(fields: &mut Fields<'_>) -> Result<Self, Problem> {
        let config = Settings::read(&fields.require("config")?, OPTIONS)?;
        let refusal = Refusal::take(fields)?;
        let steps = match fields.take("steps") {
            Some(steps) => steps.list()?.iter().map(BudgetStep::read).collect::<Result<_, _>>()?,
            None if refusal.required => Vec::new(),
            None => return Err(fields.missing("steps")),
        };
        Ok(Self { config, refusal, steps })
    }
}

impl BudgetStep {
    fn read(value: &Value<'_>) -> Result<Self, Problem> {
        let mut fields = value.fields()?;
        let verb = fields.require("do")?;
        let word = verb.text()?;
        let verb = verb.word("verb", &VERBS)?;
        let budget = fields.read("budget", |name| name.text().map(str::to_owned))?;
        let budget = budget.unwrap_or_else(|| ROOT.to_owned());
        let action = BudgetAction::take(verb, &mut fields)?;
        let accepted = expectations(&mut fields, BudgetExpectation::read)?;
        fields.finish()?;
        Ok(Self { title: format!("{word} of {budget}"), budget, action, accepted })
    }
}

impl BudgetAction {
    fn take(verb: Verb, fields: &mut Fields<'_>) -> Result<Self, Problem> {
        let text =
            |fields: &mut Fields<'_>, name: &str| fields.require(name)?.text().map(str::to_owned);
        Ok(match verb {
            Verb::Slice | Verb::Share => Self::Open {
                child: text(fields, "child")?,
                sliced: matches!(verb, Verb::Slice),
                config: Settings::take(fields, OPTIONS)?,
            },
            Verb::Reserve => Self::Reserve { charge: text(fields, "charge")?, cost: cost(fields)? },
            Verb::Settle => Self::Settle { charge: text(fields, "charge")?, used: cost(fields)? },
            Verb::GiveBack => Self::GiveBack { charge: text(fields, "charge")? },
            Verb::Drop => match fields.read("charge", |name| name.text().map(str::to_owned))? {
                Some(charge) => Self::DropCharge { charge },
                None => Self::DropBudget,
            },
            Verb::Record => Self::Record { used: cost(fields)? },
            Verb::Call => Self::Call(BudgetCall {
                within: fields.read("within", Value::texts)?.unwrap_or_default(),
                retries: fields.read("retries", retries)?.unwrap_or_default(),
                shut: fields.read("shut", Value::flag)?.unwrap_or_default(),
                outcomes: Outcome::take_all(fields, false)?,
            }),
            Verb::Observe => Self::Observe,
        })
    }
}

/// At most three.
fn retries(value: &Value<'_>) -> Result<Vec<u32>, Problem> {
    let most = |most: &Value<'_>| {
        u32::try_from(most.count()?).map_err(|_| most.problem("is more than any retry makes"))
    };
    match value.list()? {
        list if list.len() <= 3 => list.iter().map(most).collect(),
        _ => Err(value.problem("must be at most three retries")),
    }
}

fn cost(fields: &mut Fields<'_>) -> Result<Cost, Problem> {
    Ok(Cost {
        attempts: fields.read("attempts", Value::count)?.unwrap_or_default(),
        tokens: fields.read("tokens", Value::count)?.unwrap_or_default(),
        money: fields.read("money", money)?.unwrap_or_default(),
    })
}

fn money(value: &Value<'_>) -> Result<Money, Problem> {
    let number = value.number()?;
    number.plain().parse().map_err(|problem| value.problem(problem))
}

impl BudgetExpectation {
    fn read(value: &Value<'_>) -> Result<Self, Problem> {
        let mut fields = value.fields()?;
        let text = |value: &Value<'_>| value.text().map(str::to_owned);
        let expectation = Self {
            granted: fields.read("granted", Value::flag)?,
            refused_by: fields.read("refused_by", text)?,
            dimension: fields.read("dimension", dimension)?,
            calls: fields.read("calls", Value::count)?,
            outcome: fields.read("outcome", CallEnd::read)?,
            stop: fields.read("stop", text)?,
            told: fields
                .read("told", |told| told.list()?.iter().map(BudgetNews::read).collect())?,
            budgets: fields.read("budgets", budgets)?.unwrap_or_default(),
        };
        fields.finish()?;
        Ok(expectation)
    }
}

fn dimension(value: &Value<'_>) -> Result<Dimension, Problem> {
    value.word("dimension", &DIMENSIONS)
}

/// `[{budget, spent, reserved, remaining}]`.
fn budgets(value: &Value<'_>) -> Result<Vec<(String, Lines)>, Problem> {
    let one = |value: &Value<'_>| {
        let mut fields = value.fields()?;
        let name = fields.require("budget")?.text()?.to_owned();
        let lines = Lines {
            spent: fields.read("spent", amounts)?.unwrap_or_default(),
            reserved: fields.read("reserved", amounts)?.unwrap_or_default(),
            remaining: fields.read("remaining", amounts)?.unwrap_or_default(),
        };
        fields.finish()?;
        Ok((name, lines))
    };
    value.list()?.iter().map(one).collect()
}

fn amounts(value: &Value<'_>) -> Result<Amounts, Problem> {
    let mut fields = value.fields()?;
    let mut amounts = Vec::new();
    for (name, dimension) in DIMENSIONS {
        let Some(amount) = fields.take(name) else { continue };
        amounts.push((
            dimension,
            match (amount.json(), dimension) {
                (super::Json::Null, _) => None,
                (_, Dimension::Money) => Some(money(&amount)?.micros()),
                _ => Some(amount.count()?),
            },
        ));
    }
    fields.finish()?;
    Ok(amounts)
}

impl CallEnd {
    fn read(value: &Value<'_>) -> Result<Self, Problem> {
        match value.text()? {
            "refused" => Ok(Self::Refused),
            _ => OutcomeKind::read(value).map(Self::Gave),
        }
    }
}

impl fmt::Display for CallEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gave(outcome) => outcome.fmt(f),
            Self::Refused => f.write_str("refused"),
        }
    }
}

impl BudgetNews {
    /// `[budget, dimension, "low" or "exhausted"]`.
    fn read(value: &Value<'_>) -> Result<Self, Problem> {
        match value.list()?.as_slice() {
            [budget, of, what] => Ok(Self {
                budget: budget.text()?.to_owned(),
                dimension: dimension(of)?,
                exhausted: what.word("event", &[("low", false), ("exhausted", true)])?,
            }),
            _ => Err(value.problem("must be a budget, a dimension and an event")),
        }
    }
}

impl fmt::Display for BudgetNews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.exhausted { "exhausted" } else { "low" };
        write!(f, "{} {} {what}", self.budget, self.dimension)
    }
}
