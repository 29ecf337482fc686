//! The results as one JSON document, for scripts. The names are a promise: see the README's command reference.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use super::arms::Kind;
use super::measure::Measures;
use super::scene::Outcome;

#[derive(Debug, Serialize)]
struct Document {
    scenes: Vec<Scene>,
}

#[derive(Debug, Serialize)]
struct Scene {
    name: &'static str,
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
}

impl Arm {
    fn new((kind, measures): &(Kind, Measures)) -> Self {
        Self {
            name: kind.key(),
            calls: measures.calls,
            answers: measures.answers,
            failures: measures.failures,
            service_calls: measures.service_calls,
            wasted_calls: measures.wasted_calls,
            p50_ms: milliseconds(measures.p50),
            p99_ms: milliseconds(measures.p99),
            recovery_s: measures
                .recovery
                .map(|time| (time.as_secs_f64() * 1000.0).round() / 1000.0),
        }
    }
}

/// To a tenth of a millisecond: more digits would promise more than a loopback measurement holds.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

/// Writes the document and ends the line.
pub(crate) fn write(out: &mut impl Write, outcomes: &[Outcome]) -> io::Result<()> {
    let scene = |outcome: &Outcome| Scene {
        name: outcome.name,
        arms: outcome.measures().iter().map(Arm::new).collect(),
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
