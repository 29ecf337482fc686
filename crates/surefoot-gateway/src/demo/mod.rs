//! `surefoot demo`: the same calls, three times at once, against a service that has a bad day.
//!
//! The question a sceptic asks of a reliability layer is "compared with what, and who counted?". So the demo runs
//! three arms side by side that share the client, the arrivals, the deadline and the seed, and differ in nothing
//! but the pipeline between caller and client. Each arm has its own instance of the service on its own loopback
//! port, since an arm that overloads its service must not spoil the others' results; and each service keeps its
//! own count of what reached it.
//!
//! Reading order: [`script`] (what the service does when), [`service`] (how), [`workload`] (who calls when),
//! [`arms`] (the pipelines), [`scene`] (one run of all of it), [`measure`] (what is made of the records), and for
//! showing it [`live`], [`report`] and [`json`].

mod arms;
mod crowd;
mod error;
mod json;
mod live;
mod measure;
mod report;
mod scene;
mod script;
mod service;
mod terminal;
mod workload;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;

use self::crowd::{Crowd, CrowdOutcome};
use self::error::Error;
use self::scene::{Outcome, Scene};

/// What the command line says about the demo.
#[derive(Debug, Args)]
#[command(
    after_help = "Live progress goes to standard error, the results to standard output. Colour is used only on a \
                        terminal, and never when NO_COLOR is set."
)]
pub(crate) struct Options {
    /// Seed of everything drawn by chance: arrivals, service times, jitter
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// How long calls keep arriving in the outage; the script of the service stretches with it. The other scenes
    /// take two fifths of that, at least 3
    #[arg(long, default_value_t = 15, value_parser = seconds)]
    seconds: u64,

    /// Run only this scene
    #[arg(long, value_enum)]
    scene: Option<Which>,

    /// Print the results as one JSON document
    #[arg(long)]
    json: bool,
}

/// The scenes by name, in the order in which they are played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    /// A service that goes through everything a hosted model does on a bad day
    Outage,
    /// A model that streams its answers, and does not always finish them
    Streaming,
    /// More callers than the service has room for, at its own door
    Crowd,
}

impl Which {
    const ALL: [Self; 3] = [Self::Outage, Self::Streaming, Self::Crowd];

    /// Plays the scene to its end. Dropping the future ends it at once.
    async fn play(self, seed: u64, seconds: u64) -> Result<Played, Error> {
        let short = (seconds * 2 / 5).max(*SECONDS.start());
        Ok(match self {
            Self::Outage => Played::Calls(Scene::outage(seed, seconds).run().await?),
            Self::Streaming => Played::Calls(Scene::streaming(seed, short).run().await?),
            Self::Crowd => Played::Crowd(Crowd::new(seed, short).run().await?),
        })
    }
}

/// What came of a scene.
#[derive(Debug)]
enum Played {
    Calls(Outcome),
    Crowd(CrowdOutcome),
}

impl Played {
    fn lines(&self, width: usize) -> Vec<String> {
        match self {
            Self::Calls(outcome) => report::lines(outcome, width),
            Self::Crowd(outcome) => outcome.lines(width),
        }
    }
}

/// The shortest run in which every phase still sees a few dozen calls, and the longest anyone will watch.
const SECONDS: std::ops::RangeInclusive<u64> = 3..=600;

fn seconds(text: &str) -> Result<u64, String> {
    let rule = || {
        format!("must be a whole number of seconds from {} to {}", SECONDS.start(), SECONDS.end())
    };
    text.parse().ok().filter(|seconds| SECONDS.contains(seconds)).ok_or_else(rule)
}

/// Runs the demo and turns its end into an exit code: 0 done, 1 failed, 130 interrupted (as shells count Ctrl-C).
pub(crate) fn main(options: &Options) -> ExitCode {
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read standard output has left, as `| head` does: not a failure of ours.
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing can be done about a standard error that is gone.
            let _ = writeln!(io::stderr(), "surefoot demo: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(options: &Options) -> Result<(), Error> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::Start)?;
    let mut outcomes = Vec::new();
    for scene in Which::ALL.into_iter().filter(|it| options.scene.is_none_or(|only| only == *it)) {
        let outcome = runtime.block_on(async {
            tokio::select! {
                outcome = scene.play(options.seed, options.seconds) => outcome,
                interrupted = tokio::signal::ctrl_c() => Err(interrupted.map_or_else(Error::Start, |()| Error::Interrupted)),
            }
        })?;
        if !options.json {
            print(&outcome).map_err(Error::Output)?;
        }
        outcomes.push(outcome);
    }
    // Hung requests would hold an orderly shutdown for ever.
    runtime.shutdown_background();
    if options.json {
        let mut out = io::stdout().lock();
        json::write(&mut out, &outcomes).and_then(|()| out.flush()).map_err(Error::Output)?;
    }
    Ok(())
}

fn print(outcome: &Played) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    for line in outcome.lines(terminal::width(terminal::size(&io::stdout()))) {
        writeln!(out, "{line}")?;
    }
    writeln!(out)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn a_length_within_the_limits_is_taken() {
        assert_eq!(seconds("3"), Ok(3));
        assert_eq!(seconds("600"), Ok(600));
    }

    #[test]
    fn any_other_length_is_refused_with_the_limits_named() {
        for text in ["0", "2", "601", "-1", "1.5", "", "soon"] {
            let refusal = seconds(text).expect_err(text);
            assert!(refusal.contains("3 to 600"), "{text}: {refusal}");
        }
    }
}
