//! The results as one JSON document, for scripts. The names are a promise: see the README's command reference.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use super::Played;
use super::arms::Kind;
use super::crowd::{self, CrowdMeasures};
use super::measure::Measures;

#[derive(Debug, Serialize)]
struct Document {
    scenes: Vec<Scene>,
}

#[derive(Debug, Serialize)]
struct Scene {
    name: &'static str,
    seed: u64,
    arms: Vec<Arm>,
}

#[derive(Debug, Serialize)]
struct Arm {
    name: &'static str,
    calls: usize,
    answers: usize,
    failures: usize,
    service_calls: usize,
    wasted_calls: usize,
    p50_ms: f64,
    p99_ms: f64,
    /// `null` if answers were not back for good before the run ended.
    recovery_s: Option<f64>,
    #[serde(flatten)]
    crowd: Option<Crowd>,
}

/// What only the scene `crowd` has.
#[derive(Debug, Serialize)]
struct Crowd {
    p99_admitted_ms: f64,
    /// Of the service's capacity, for each phase.
    goodput: Vec<Goodput>,
    /// Under overload, the most important first.
    priorities: Vec<Priority>,
}

#[derive(Debug, Serialize)]
struct Goodput {
    load: f64,
    share: f64,
}

#[derive(Debug, Serialize)]
struct Priority {
    name: &'static str,
    calls: usize,
    answers: usize,
    refused: usize,
}

impl Crowd {
    fn new(measures: &CrowdMeasures) -> Self {
        let phases = measures.phases.iter();
        let priorities = measures.priorities.iter();
        Self {
            p99_admitted_ms: milliseconds(measures.admitted_p99),
            goodput: phases
                .map(|phase| Goodput { load: phase.multiple, share: thousandths(phase.goodput) })
                .collect(),
            priorities: priorities
                .map(|of| Priority {
                    name: of.priority.name(),
                    calls: of.calls,
                    answers: of.answers,
                    refused: of.refused,
                })
                .collect(),
        }
    }
}

impl Arm {
    fn new(kind: Kind, measures: &Measures, crowd: Option<&CrowdMeasures>) -> Self {
        Self {
            name: kind.key(),
            calls: measures.calls,
            answers: measures.answers,
            failures: measures.failures,
            service_calls: measures.service_calls,
            wasted_calls: measures.wasted_calls,
            p50_ms: milliseconds(measures.p50),
            p99_ms: milliseconds(measures.p99),
            recovery_s: measures.recovery.map(|time| thousandths(time.as_secs_f64())),
            crowd: crowd.map(Crowd::new),
        }
    }
}

/// To a tenth of a millisecond: more digits would promise more than a loopback measurement holds.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

fn thousandths(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Writes the document and ends the line.
pub(crate) fn write(out: &mut impl Write, outcomes: &[Played]) -> io::Result<()> {
    let scene = |played: &Played| match played {
        Played::Calls(outcome) => Scene {
            name: outcome.name,
            seed: outcome.seed,
            arms: outcome.measures().iter().map(|(kind, of)| Arm::new(*kind, of, None)).collect(),
        },
        Played::Crowd(outcome) => Scene {
            name: crowd::Crowd::NAME,
            seed: outcome.seed,
            arms: outcome
                .measures()
                .iter()
                .map(|(kind, of)| Arm::new(*kind, &of.all, Some(of)))
                .collect(),
        },
    };
    let document = Document { scenes: outcomes.iter().map(scene).collect() };
    // `From` keeps the kind of an I/O error, so that a broken pipe is still known as one.
    serde_json::to_writer_pretty(&mut *out, &document).map_err(io::Error::from)?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_rounded_to_a_tenth() {
        assert_eq!(milliseconds(Duration::from_micros(104_273)).to_string(), "104.3");
        assert_eq!(milliseconds(Duration::from_secs(2)).to_string(), "2000");
    }
}
