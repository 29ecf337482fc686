//! The results for a reader: what was compared, the chart, the table, what the words mean, what the numbers say.

pub(crate) mod chart;
mod findings;
pub(crate) mod table;
pub(crate) mod text;

use super::arms::surefoot::{BUDGET, EVIDENCE, OPEN, TRIALS, TRIP, TRIP_CALLS, USUAL_ANSWER};
use super::arms::surefoot_stream::IDLE;
use super::measure::{ENOUGH, WINDOW};
use super::scene::{LIMITS, Outcome};
use super::service::{Form, GAP, QUEUE, TOKENS, WORK, WORKERS};
use super::terminal::{BOLD, DIM, paint};
use super::workload::CALLS_PER_SECOND;

/// The whole report in lines of at most `width` columns, coloured.
pub(crate) fn lines(outcome: &Outcome, width: usize) -> Vec<String> {
    let measures = outcome.measures();
    let calls = measures.first().map_or(0, |(_, measures)| measures.calls);
    let mut lines =
        vec![paint(BOLD, &format!("surefoot demo: {}, seed {}", outcome.name, outcome.seed))];
    lines.extend(text::wrap(&setup(outcome.form, calls), width));
    lines.push(String::new());
    lines.extend(chart::lines(outcome, outcome.script.total(), width));
    lines.push(String::new());
    lines.extend(table::lines(&measures));
    lines.push(String::new());
    for line in legend().iter().flat_map(|entry| text::wrap(entry, width)) {
        lines.push(paint(DIM, &line));
    }
    lines.push(String::new());
    lines.extend(
        findings::sentences(&measures).iter().flat_map(|sentence| text::wrap(sentence, width)),
    );
    lines
}

/// What a sceptic asks first: what is the same, and what is not.
fn setup(form: Form, calls: usize) -> String {
    match form {
        Form::Whole => setup_whole(calls),
        Form::Streamed => setup_streamed(calls),
    }
}

fn setup_streamed(calls: usize) -> String {
    format!(
        "The same {calls} calls (about {CALLS_PER_SECOND} a second, deadline {deadline}) asked two instances of the same model for a \
         streamed answer of {TOKENS} tokens, {gap} apart. In both arms a caller whose answer breaks off asks once more, if there is \
         time. Only the pipeline differs: bare has none; surefoot has that of the outage, where the attempt timeout \
         ({attempt}) bounds the first token, and waits no longer than {idle} for the next one.",
        deadline = text::time(LIMITS.deadline),
        gap = text::time(GAP),
        attempt = text::time(LIMITS.attempt),
        idle = text::time(IDLE),
    )
}

fn setup_whole(calls: usize) -> String {
    format!(
        "The same {calls} calls (agents in bursts, about {CALLS_PER_SECOND} a second, deadline {deadline}) went over the \
         same HTTP client to three instances of the same service on 127.0.0.1, at the same time. Only the pipeline \
         differs: bare tries once; retry\u{a0}×\u{a0}3 tries up to three times with backoff and jitter, {attempt} each; \
         surefoot does that with a retry budget of {budget} of the calls, waits as long as a 429 or 503 asks, starts \
         no try with less than {least} left, and has a circuit breaker: open for {open} when {trip} of the last {TRIP_CALLS} calls failed, then {TRIALS} trial calls \
         at a time until {EVIDENCE} were answered. A service has {WORKERS} workers, {work} a call, and a queue of \
         {QUEUE}; as most do, it works off what it accepted even if the caller has left.",
        deadline = text::time(LIMITS.deadline),
        attempt = text::time(LIMITS.attempt),
        budget = text::share(BUDGET),
        least = text::time(USUAL_ANSWER),
        open = text::time(OPEN),
        trip = text::share(TRIP),
        work = text::time(WORK),
    )
}

fn legend() -> [String; 6] {
    [
        "█ answered, ░ failed (height: the share of the calls that began then); load: requests that reached the service then.".to_owned(),
        "at service (received, load): requests the service counted itself, refused and hung and reset ones included.".to_owned(),
        "wasted: requests at the service that gave no caller an answer (at service − answers).".to_owned(),
        "held back: calls that Surefoot did not send, or not again, since the service kept failing or asked for a pause.".to_owned(),
        "p50, p99: how long callers waited until they knew, answered or not.".to_owned(),
        format!(
            "back after: from the end of the last trouble (in the outage: of \"down\") until answers were back for good: of every {WINDOW} calls in a row from \
             then on, at least {ENOUGH} were answered."
        ),
    ]
}
