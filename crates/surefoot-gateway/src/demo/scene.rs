//! One run: a script, one service and one arm of each kind, all at the same time.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::arms::{self, Arm, Endpoint, Kind, Limits};
use super::error::Error;
use super::live::Live;
use super::measure::Measures;
use super::report::chart;
use super::script::Script;
use super::service::{Form, Service};
use super::workload::{self, Record, Records};

/// The times that all arms share. The attempt timeout is well above the slowest answer of a service that is merely
/// slow, and leaves room for a second try.
pub(crate) const LIMITS: Limits =
    Limits { deadline: Duration::from_secs(2), attempt: Duration::from_millis(800) };
/// Between binding the ports and the first call: all arms start together.
pub(crate) const HEAD_START: Duration = Duration::from_millis(50);
pub(crate) const REDRAW: Duration = Duration::from_millis(200);

/// What will be run.
#[derive(Debug)]
pub(crate) struct Scene {
    name: &'static str,
    seed: u64,
    script: Script,
    form: Form,
}

/// What came of it, or has so far.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    pub(crate) seed: u64,
    pub(crate) script: Script,
    pub(crate) form: Form,
    pub(crate) arms: Vec<ArmOutcome>,
}

/// What the callers of one arm and its service wrote down.
#[derive(Debug)]
pub(crate) struct ArmOutcome {
    pub(crate) kind: Kind,
    pub(crate) records: Vec<Record>,
    pub(crate) arrivals: Vec<Duration>,
}

impl Outcome {
    /// Each arm's numbers, in the order of the arms.
    pub(crate) fn measures(&self) -> Vec<(Kind, Measures)> {
        let again = self.script.answering_again();
        self.arms
            .iter()
            .map(|arm| (arm.kind, Measures::of(&arm.records, arm.arrivals.len(), again)))
            .collect()
    }
}

/// An arm while it runs, with its service.
struct Running {
    kind: Kind,
    service: Service,
    records: Records,
}

impl Scene {
    /// A service that goes through everything a hosted model does on a bad day.
    pub(crate) fn outage(seed: u64, seconds: u64) -> Self {
        Self {
            name: "outage",
            seed,
            script: Script::outage(Duration::from_secs(seconds)),
            form: Form::Whole,
        }
    }

    /// A model that streams its answers, and does not always finish them.
    pub(crate) fn streaming(seed: u64, seconds: u64) -> Self {
        let script = Script::streaming(Duration::from_secs(seconds));
        Self { name: "streaming", seed, script, form: Form::Streamed }
    }

    fn kinds(&self) -> &'static [Kind] {
        match self.form {
            Form::Whole => &Kind::ALL,
            Form::Streamed => &Kind::STREAMING,
        }
    }

    /// Runs all arms to the end of their last call. Dropping the future ends them all at once.
    pub(crate) async fn run(self) -> Result<Outcome, Error> {
        let client = arms::client().map_err(Error::Client)?;
        let schedule: Arc<[Duration]> = workload::schedule(self.seed, self.script.total()).into();
        let start = Instant::now() + HEAD_START;

        let mut running = Vec::new();
        let mut workloads = JoinSet::new();
        for &kind in self.kinds() {
            let service = Service::start(self.script.clone(), self.form, self.seed, start)
                .await
                .map_err(Error::Start)?;
            let endpoint = Endpoint { client: client.clone(), url: service.url() };
            let make = match self.form {
                Form::Whole => Arm::new,
                Form::Streamed => Arm::streaming,
            };
            let arm = Arc::new(make(kind, endpoint, LIMITS, self.seed));
            let records = Records::default();
            workloads.spawn(workload::run(
                Arc::clone(&schedule),
                start,
                LIMITS.deadline,
                records.clone(),
                move |_due| {
                    let arm = Arc::clone(&arm);
                    async move { arm.call().await }
                },
                |_due, record| record,
            ));
            running.push(Running { kind, service, records });
        }

        let mut live = Live::new();
        let mut redraw = interval(REDRAW);
        redraw.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                ended = workloads.join_next() => match ended {
                    Some(ended) => ended.and_then(|calls| calls).map_err(Error::LostCall)?,
                    None => break,
                },
                _ = redraw.tick() => {
                    let (outcome, elapsed) = (self.outcome(&running), start.elapsed());
                    let sentence = self.script.phase_at(elapsed).behaviour.sentence();
                    live.show(self.script.total(), elapsed, sentence, |width| {
                        chart::lines(&outcome, elapsed, width)
                    });
                }
            }
        }
        live.finish();
        Ok(self.outcome(&running))
    }

    fn outcome(&self, running: &[Running]) -> Outcome {
        let arm = |arm: &Running| ArmOutcome {
            kind: arm.kind,
            records: arm.records.snapshot(),
            arrivals: arm.service.arrivals(),
        };
        Outcome {
            name: self.name,
            seed: self.seed,
            script: self.script.clone(),
            form: self.form,
            arms: running.iter().map(arm).collect(),
        }
    }
}
