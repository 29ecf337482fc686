//! Cases of the state machine: held to the format, and not yet run by any host of this build.

use super::fields::{Fields, Problem, Value};
use super::json::Json;
use super::{Refusal, expectations};

const BUILDS: [(&str, ()); 3] = [("ok", ()), ("error", ()), ("error_or_warning", ())];
const ERRORS: [(&str, ()); 4] = [("invalid", ()), ("vetoed", ()), ("hook_failed", ()), ("any", ())];

/// A step has one of these.
const VERBS: [&str; 10] = [
    "trigger",
    "can",
    "valid",
    "observe",
    "serialize",
    "new_machine",
    "restore",
    "restore_raw",
    "restore_foreign",
    "triggers",
];

pub(super) fn take(fields: &mut Fields<'_>) -> Result<(), Problem> {
    definition(&fields.require("definition")?)?;
    fields.read("behaviour", behaviour)?;
    let build = fields.read("build", |build| {
        build.word("build", &BUILDS)?;
        build.text()
    })?;
    let refusal = Refusal::take(fields)?;
    match fields.take("steps") {
        Some(steps) => steps.list()?.iter().try_for_each(step),
        // A definition that is only built has nothing to step through.
        None if build.is_some() || refusal.required => Ok(()),
        None => Err(fields.missing("steps")),
    }
}

fn definition(value: &Value<'_>) -> Result<(), Problem> {
    let mut fields = value.fields()?;
    fields.require("initial")?.text()?;
    fields.require("states")?.list()?.iter().try_for_each(state)?;
    fields.require("transitions")?.list()?.iter().try_for_each(transition)?;
    fields.read("atomic", |atomic| atomic.flag().map(drop))?;
    fields.read("error_trigger", |trigger| trigger.text().map(drop))?;
    fields.read("name", |name| name.text().map(drop))?;
    fields.finish()
}

fn state(value: &Value<'_>) -> Result<(), Problem> {
    let mut fields = value.fields()?;
    fields.require("name")?.text()?;
    fields.read("final", |last| last.flag().map(drop))?;
    hooks(&mut fields, &["on_enter", "on_exit"])?;
    fields.finish()
}

fn transition(value: &Value<'_>) -> Result<(), Problem> {
    let mut fields = value.fields()?;
    for name in ["from", "to", "trigger"] {
        fields.require(name)?.text()?;
    }
    hooks(&mut fields, &["guard", "before", "after"])?;
    fields.finish()
}

fn hooks(fields: &mut Fields<'_>, names: &[&str]) -> Result<(), Problem> {
    names
        .iter()
        .try_for_each(|name| fields.read(name, |labels| labels.text_or_texts().map(drop)).map(drop))
}

/// What labelled hooks do besides being recorded.
fn behaviour(value: &Value<'_>) -> Result<(), Problem> {
    let Json::Object(labels) = value.json() else {
        return value.fields().map(drop);
    };
    let mut fields = value.fields()?;
    for (label, _) in labels {
        let mut hook = fields.require(label)?.fields()?;
        hook.read("returns", |returns| one_or_each(returns, |one| one.flag().map(drop)))?;
        hook.read("raises", |raises| {
            // An entry of `null` is a call that does not raise.
            one_or_each(raises, |one| if one.is_null() { Ok(()) } else { one.text().map(drop) })
        })?;
        hook.read("fires", |triggers| triggers.texts().map(drop))?;
        hook.finish()?;
    }
    Ok(())
}

fn one_or_each(
    value: &Value<'_>,
    check: impl Fn(&Value<'_>) -> Result<(), Problem>,
) -> Result<(), Problem> {
    match value.json() {
        Json::List(entries) if entries.is_empty() => Err(value.problem("must not be empty")),
        Json::List(_) => value.list()?.iter().try_for_each(check),
        _ => check(value),
    }
}

fn step(value: &Value<'_>) -> Result<(), Problem> {
    let mut fields = value.fields()?;
    let Some((verb, given)) = fields.take_one_of(&VERBS) else {
        // Name what stands there instead, if anything does.
        expectations(&mut fields, expectation)?;
        fields.finish()?;
        return Err(value.problem("has no verb"));
    };
    match VERBS[verb] {
        "triggers" | "valid" => drop(given.texts()?),
        // What a host shows is its own.
        "observe" => drop(given.fields()?),
        "restore_foreign" => {
            definition(&given)?;
            fields.read("triggers", |triggers| triggers.texts().map(drop))?;
        }
        // Only that it is there matters.
        "new_machine" => {}
        _ => drop(given.text()?),
    }
    expectations(&mut fields, expectation)?;
    fields.finish()
}

fn expectation(value: &Value<'_>) -> Result<(), Problem> {
    let mut fields = value.fields()?;
    // Of triggers fired at once each has its own answer, or so many of them are fine.
    fields.read("ok", |ok| match ok.json() {
        Json::Number(_) => ok.count().map(drop),
        _ => one_or_each(ok, |one| one.flag().map(drop)),
    })?;
    fields.read("state", |state| state.text_or_texts().map(drop))?;
    fields.read("error", |error| one_or_each(error, |one| one.word("error", &ERRORS)))?;
    fields.read("order", |order| order.texts().map(drop))?;
    fields.read("order_prefix", |order| order.texts().map(drop))?;
    fields.finish()
}
