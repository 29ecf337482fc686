//! Cases of the circuit breaker.

use std::time::Duration;

use surefoot_core::{CircuitState, Timestamp};

use super::fields::{Fields, Problem, Value};
use super::settings::{Kind, Settings};
use super::{Refusal, expectations};

#[derive(Clone, Debug)]
pub(crate) struct CircuitBreakerCase {
    pub(crate) config: Settings,
    pub(crate) refusal: Refusal,
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) at: Timestamp,
    /// As the file writes it, for messages.
    pub(crate) title: String,
    pub(crate) action: Action,
    /// One of these has to hold; with none, nothing is checked.
    pub(crate) accepted: Vec<StepExpectation>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Asks for a permit, under a name if it is needed again.
    Admit {
        permit: Option<String>,
    },
    /// Closes a permit.
    End {
        permit: String,
        ending: Ending,
    },
    Operate(Operator),
    /// Only reads.
    Observe,
}

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Success,
    Failure,
    Ignore,
    /// The callee asked to wait.
    Throttled {
        retry_after: Option<Duration>,
    },
    /// Dropped by its caller.
    Cancel,
    /// Ended by our own time limit.
    Deadline,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Reset,
    ForceOpen,
    Disable,
    Automatic,
}

/// What a step has to show; what is absent is not checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct StepExpectation {
    pub(crate) admitted: Option<bool>,
    pub(crate) state: Option<CircuitState>,
    pub(crate) retry_after: Option<Promise>,
    pub(crate) failure_count: Option<u64>,
    pub(crate) success_count: Option<u64>,
    pub(crate) failure_rate: Option<f64>,
}

/// The time that a rejection is to promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    /// None at all.
    Nothing,
    /// In nanoseconds.
    Nanos(u128),
}

impl Promise {
    pub(super) fn read(time: &Value<'_>) -> Result<Self, Problem> {
        if time.is_null() {
            return Ok(Self::Nothing);
        }
        time.expected_nanos().map(Self::Nanos)
    }
}

const OPTIONS: &[(&str, Kind)] = &[
    ("failure_threshold", Kind::Count),
    ("success_threshold", Kind::Count),
    ("timeout", Kind::Time),
    ("failure_window", Kind::Time),
    ("half_open_max_calls", Kind::Count),
    ("half_open_timeout", Kind::Time),
    ("timeout_growth", Kind::Group(&[("factor", Kind::Ratio), ("max", Kind::Time)])),
];

/// Which of a trip's options belong to a kind, and which kinds there are.
const TRIPS: [(&str, &[(&str, Kind)]); 4] = [
    ("consecutive", &[("kind", Kind::Word), ("failures", Kind::Count)]),
    (
        "rate_count_window",
        &[
            ("kind", Kind::Word),
            ("rate", Kind::Ratio),
            ("window_calls", Kind::Count),
            ("min_calls", Kind::Count),
        ],
    ),
    (
        "rate_time_window",
        &[
            ("kind", Kind::Word),
            ("rate", Kind::Ratio),
            ("window", Kind::Time),
            ("min_calls", Kind::Count),
            ("buckets", Kind::Count),
        ],
    ),
    (
        "slow",
        &[
            ("kind", Kind::Word),
            ("rate", Kind::Ratio),
            ("slow_after", Kind::Time),
            ("window_calls", Kind::Count),
            ("min_calls", Kind::Count),
        ],
    ),
];

/// A kind that the policy is to refuse.
const UNKNOWN_TRIP: &[(&str, Kind)] = &[("kind", Kind::Word)];

#[derive(Clone, Copy)]
enum Verb {
    Admit,
    End(Ending),
    Operate(Operator),
    Observe,
}

const VERBS: [(&str, Verb); 12] = [
    ("admit", Verb::Admit),
    ("success", Verb::End(Ending::Success)),
    ("failure", Verb::End(Ending::Failure)),
    ("ignore", Verb::End(Ending::Ignore)),
    ("cancel", Verb::End(Ending::Cancel)),
    ("deadline", Verb::End(Ending::Deadline)),
    ("throttled", Verb::End(Ending::Throttled { retry_after: None })),
    ("reset", Verb::Operate(Operator::Reset)),
    ("force_open", Verb::Operate(Operator::ForceOpen)),
    ("disable", Verb::Operate(Operator::Disable)),
    ("automatic", Verb::Operate(Operator::Automatic)),
    ("observe", Verb::Observe),
];

const STATES: [(&str, CircuitState); 3] = [
    ("closed", CircuitState::Closed),
    ("open", CircuitState::Open),
    ("half_open", CircuitState::HalfOpen),
];

impl CircuitBreakerCase {
    pub(super) fn take(fields: &mut Fields<'_>) -> Result<Self, Problem> {
        let config = read_config(&fields.require("config")?)?;
        let refusal = Refusal::take(fields)?;
        let steps = match fields.take("steps") {
            Some(steps) => steps.list()?.iter().map(Step::read).collect::<Result<_, _>>()?,
            None if refusal.required => Vec::new(),
            None => return Err(fields.missing("steps")),
        };
        Ok(Self { config, refusal, steps })
    }
}

fn read_config(value: &Value<'_>) -> Result<Settings, Problem> {
    let mut fields = value.fields()?;
    let mut settings = Settings::take(&mut fields, OPTIONS)?;
    if let Some(trip) = fields.take("trip") {
        let kind = trip.fields()?.require("kind")?;
        let known = TRIPS.iter().find(|(name, _)| kind.text() == Ok(*name));
        let options = known.map_or(UNKNOWN_TRIP, |(_, options)| *options);
        settings.0.push(("trip", super::Setting::Group(Settings::read(&trip, options)?)));
    }
    fields.finish()?;
    Ok(settings)
}

impl Step {
    fn read(value: &Value<'_>) -> Result<Self, Problem> {
        let mut fields = value.fields()?;
        let at = fields.require("at")?;
        let at = (at.number()?.text().to_owned(), at.timestamp()?);
        let verb = fields.require("do")?;
        let word = verb.text()?;
        let verb = verb.word("verb", &VERBS)?;
        let permit = match verb {
            Verb::Admit | Verb::End(_) => {
                fields.read("permit", |permit| permit.text().map(str::to_owned))?
            }
            Verb::Operate(_) | Verb::Observe => None,
        };
        let title = match &permit {
            Some(permit) => format!("at {}, {word} {permit}", at.0),
            None => format!("at {}, {word}", at.0),
        };
        let action = match (verb, permit) {
            (Verb::Admit, permit) => Action::Admit { permit },
            (Verb::End(_), None) => return Err(fields.missing("permit")),
            (Verb::End(ending), Some(permit)) => {
                let ending = match ending {
                    Ending::Throttled { .. } => {
                        let retry_after = fields.read("retry_after", Value::seconds)?;
                        Ending::Throttled { retry_after }
                    }
                    ending => ending,
                };
                Action::End { permit, ending }
            }
            (Verb::Operate(operator), _) => Action::Operate(operator),
            (Verb::Observe, _) => Action::Observe,
        };
        let admits = matches!(action, Action::Admit { .. });
        let accepted = expectations(&mut fields, |value| StepExpectation::read(value, admits))?;
        fields.finish()?;
        Ok(Self { at: at.1, title, action, accepted })
    }
}

impl StepExpectation {
    fn read(value: &Value<'_>, admits: bool) -> Result<Self, Problem> {
        let mut fields = value.fields()?;
        let admitted = fields.take("admitted");
        if let Some(admitted) = admitted.as_ref().filter(|_| !admits) {
            return Err(admitted.problem("only an `admit` can be admitted"));
        }
        let expectation = Self {
            admitted: admitted.map(|admitted| admitted.flag()).transpose()?,
            state: fields.read("state", |state| state.word("state", &STATES))?,
            retry_after: fields.read("retry_after", Promise::read)?,
            failure_count: fields.read("failure_count", Value::count)?,
            success_count: fields.read("success_count", Value::count)?,
            failure_rate: fields.read("failure_rate", Value::float)?,
        };
        fields.finish()?;
        Ok(expectation)
    }
}
